"""The stored results of the stress suite: on models whose truth is known, and on real pairs.

    python benchmarks/store_stress.py rung1 [FOLDER]    the synonym language: two to four minutes
    python benchmarks/store_stress.py real [FOLDER]     the default suite on 500 real pairs; the GPT-4.1 rewrites

The last one pretrains a small language model on local text, trains an explicit and an implicit reward model on
UltraFeedback pairs, and runs `rewardgap stress` on both; it needs $REWARDGAP_DATA, and a quarter of an hour.

Every command writes all of its files; seconds are wall time and processor time of its one process. Run it from a
commit, whose name is stored.

Expected of both rungs, written before the first run, in every cluster: the interval of (change of the explicit model's
accuracy) - (change of the implicit one's) lies above zero, and that of two explicit models trained alike but for their
seed lies within +-0.05; the explicit ones are robust, the implicit one is token-sensitive.

Found on rung 1, in six clusters: all of it.

Rung 2 took four designs; `store_stress_rung2.py` tells their story.

`tests/test_stored_stress.py` decides all of this from the stored rows.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import rewardgap
from figures.redraw import STORED
from llm_experiments.encoding import EncodedPair, encode_pairs
from llm_experiments.models import load_reward_model
from llm_experiments.pairs import Pair, load_pairs
from llm_experiments.settings import EncodingSettings, TrainSettings
from llm_experiments.splits import near_key
from llm_experiments.stress.scorers import ModelScorer
from llm_experiments.stress.shifts import Shift
from llm_experiments.stress.suite import stress_scorers
from llm_experiments.tasks import language_study, real_pairs, ultrafeedback_study
from llm_experiments.tasks.language import Language
from llm_experiments.tasks.language_study import load_base
from llm_experiments.tasks.stress_ladder import language_shifts
from llm_experiments.training import train_reward_model
from simulations.results import Row, provenance, read_json, write_json, write_rows

PLACE = STORED / "stress"
PLAIN = EncodingSettings(terminator="strip", max_length=0)
CLUSTERS = 6
REWRITES = ("paraphrase", "french", "spanish")
DAMAGE = ("shuffled_words", "off_topic_sentences")
LENGTH = 1536  # tokens; no pair of the three sets is longer in a vocabulary of 4096
LANGUAGE_MODEL = replace(real_pairs.PRETRAIN, hidden=64, layers=2, heads=4, steps=300, block=128, max_positions=LENGTH)
TRAINING = {
    "learning_rate": 1e-3,
    "num_train_epochs": 1,
    "max_length": 512,
    "per_device_train_batch_size": 16,
    "lr_scheduler_type": "linear",
    "max_grad_norm": 1.0,
}
ALIKE = 1000  # added to the training seed of the second explicit model


def rung_1(folder: Path) -> None:
    plan = language_study.plan()
    base = "mistral-untied-independent-0"
    language_study.make_base(folder / base, plan.bases[base])
    policy, tokenizer = load_base(str(folder / base / "model"))
    rows = []
    for cluster in range(CLUSTERS):
        language = Language(**plan.bases[base]["language"])
        split = language.split(cluster, 0)
        pairs = language.pairs(split, "statement", language_study.N_TRAIN, cluster)
        shifts = language_shifts(split, pairs["seen_forms"], folder / f"{cluster}", seed=cluster)
        train = encode_pairs(pairs["train"], tokenizer, PLAIN)[0]
        rates = language_study.LEARNING_RATES["all"]
        given = (policy, tokenizer, train, language_study.TRAIN, rates, language_study.BETA)
        rows += cluster_rows(1, cluster, given, pairs["seen_forms"], shifts, folder / f"{cluster}")
    store("rung1", rows)


def cluster_rows(
    rung: int, cluster: int, given: Sequence[Any], pairs: Sequence[Pair], shifts: Sequence[Shift], folder: Path
) -> list[Row]:
    spent = clock()
    asked = {"explicit": ("explicit", 0), "explicit_again": ("explicit", ALIKE), "implicit": ("implicit", 0)}
    scorers = {name: partial(scorer, kind, cluster + more, *given) for name, (kind, more) in asked.items()}
    summary = stress_scorers(pairs, shifts, scorers, folder / "stress")
    about = {"rung": rung, "cluster": cluster}
    verdicts = {row["name"]: row for row in summary["models"]}
    kept = ("n_changed", "n_prompts", "accuracy_before", "accuracy_after", "difference", "p_holm", "flip_rate", "falls")
    rows = [
        about
        | {"model": row["model"], "shift": row["name"], "verdict": verdicts[row["model"]]["verdict"]}
        | {name: row[name] for name in kept}
        for row in summary["table"]
    ]
    kept = ("model_a", "model_b", "n_changed", "difference", "p_holm")
    rows += [about | {"shift": row["name"]} | {name: row[name] for name in kept} for row in summary["comparisons"]]
    return [*rows, about | {"seconds": spent()}]


def scorer(
    kind: Any,
    seed: int,
    policy: Any,
    tokenizer: Any,
    train: Sequence[EncodedPair],
    settings: TrainSettings,
    rates: dict[str, float],
    beta: float,
) -> ModelScorer:
    chosen = TrainSettings(**{**settings.__dict__, "seed": seed, "learning_rate": rates[kind]})
    model = load_reward_model(policy, kind, beta=beta, device="cpu", seed=seed)
    train_reward_model(model, train, chosen)
    return ModelScorer(model, tokenizer, PLAIN, batch_size=128)


def real(folder: Path) -> None:
    """500 pairs of UltraFeedback, LLMBar and HH-RLHF under the default suite; the 200 of UltraFeedback's test set under
    its GPT-4.1 paraphrase, French and Spanish, and under damage."""
    whole, data = clock(), data_folder()
    test = data / "razin2025" / "ultrafeedback_test.jsonl"
    hh = data / "hh_rlhf" / "harmless-base_test.jsonl.gz"
    models = real_models(folder, data, test)
    llmbar = [pair for file in sorted((data / "llmbar").glob("*.json")) for pair in load_pairs(file)]
    write_pairs(folder / "llmbar.jsonl", llmbar)
    rewrites = [data / "razin2025" / f"ultrafeedback_{name}_test.jsonl" for name in REWRITES]
    encoding = ["--max_length", LENGTH, "--bad_pairs", "drop"]
    runs = {
        "default": ["--pairs", test, folder / "llmbar.jsonl", hh, "--limit", 500],
        "rewrites": ["--pairs", test, "--rewrites", *rewrites, "--transforms", *DAMAGE],
    }
    for name, words in runs.items():
        spent, fresh = clock(), not (folder / name).exists()
        command("stress", "--model", *models, *words, *encoding, "--output", folder / name)
        if fresh:  # what was continued has no time of its own
            write_json(folder / f"{name}_seconds.json", spent())
        summary = read_json(folder / name / "summary.json")
        for model in summary["models"]:
            model["source"] = Path(model["source"]).name  # a folder of this machine says nothing to others
        summary["notes"] = [note for note in summary["notes"] if "reference:" not in note]
        seconds = folder / f"{name}_seconds.json"
        summary["seconds"] = read_json(seconds) if seconds.exists() else None
        write_json(PLACE / f"{name}.json", rounded(summary))
    computed = provenance(language_model=asdict(LANGUAGE_MODEL), training=TRAINING, seconds=whole())
    write_json(PLACE / "real_provenance.json", computed)


def real_models(folder: Path, data: Path, test: Path) -> list[Path]:
    """An explicit and an implicit model of UltraFeedback's training pairs, of prompts that are not in the test set."""
    real_pairs.make_base(folder / "lm", language_model_config(data), data=data)
    tested = {near_key(pair.prompt) for pair in load_pairs(test)}
    pairs = real_pairs.read_pairs(data, ultrafeedback_study.TRAIN)
    write_pairs(folder / "train.jsonl", [pair for pair in pairs if near_key(pair.prompt) not in tested])
    for kind in ("explicit", "implicit"):
        words = ["--model", folder / "lm" / "model", "--pairs", folder / "train.jsonl"]
        how = [part for name, value in TRAINING.items() for part in (f"--{name}", value)]
        command("train", "--kind", kind, *words, *how, "--output", folder / kind)
    return [folder / "explicit", folder / "implicit"]


def language_model_config(data: Path) -> Row:
    """The UltraFeedback study's texts, in a model of this file's size."""
    return ultrafeedback_study.plan(data).bases["mistral"] | {"settings": asdict(LANGUAGE_MODEL)}


def command(*words: Any) -> None:
    if rewardgap.main([str(word) for word in words]):
        raise SystemExit(f"rewardgap {' '.join(map(str, words))} failed")


def write_pairs(path: Path, pairs: Sequence[Pair]) -> None:
    subset = [pair.subset or pair.id.split("/")[0] for pair in pairs]
    rows = [{"id": p.id, "subset": s, "prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected}
            for p, s in zip(pairs, subset, strict=True)]  # fmt: skip
    write_rows(path, rows)


def data_folder() -> Path:
    if not os.environ.get("REWARDGAP_DATA"):
        raise SystemExit("REWARDGAP_DATA is not set; it names the folder of real files (README, Real data)")
    return Path(os.environ["REWARDGAP_DATA"]).resolve()


def store(name: str, rows: list[Row]) -> None:
    """Rows with six digits, and where they come from."""
    write_rows(PLACE / f"{name}.jsonl", rounded(rows))
    parts = [row["seconds"] for row in rows if "seconds" in row]
    seconds = {name: round(sum(part[name] for part in parts), 1) for name in ("wall", "processor")}
    write_json(PLACE / f"{name}_provenance.json", provenance(seconds=seconds))


def clock() -> Callable[[], Row]:
    """Starts now; says how many seconds went by since then, and how many all threads of this process computed."""
    start = time.perf_counter(), time.process_time()

    def spent() -> Row:
        now = time.perf_counter(), time.process_time()
        return {name: round(b - a, 1) for name, a, b in zip(("wall", "processor"), start, now, strict=True)}

    return spent


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


if __name__ == "__main__":
    what, *place = sys.argv[1:] or ["help"]
    commands = {"rung1": rung_1, "real": real}
    if what not in commands:
        raise SystemExit(__doc__)
    commands[what](Path(place[0] if place else f"runs/store_stress/{what}"))
