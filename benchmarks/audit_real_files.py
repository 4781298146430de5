"""Audits and baselines of the real preference files, and small models of the three kinds trained and scored on each.

    REWARDGAP_DATA=DIR python benchmarks/audit_real_files.py [FOLDER]      about six minutes on one core

For each file: every pair is read and encoded without a length limit, and counted; the rules that a reward model must
beat are measured on prompts held out by hash (a quarter). Then a small Mistral, pretrained here on local text, is
trained as each kind on a sample of the file and scored on the sample's held-out prompts, and the three models trained
on UltraFeedback are scored on the samples of all files. The models show that every file goes through; one epoch on
some eighty pairs is no evidence on the kinds. FOLDER, figures/data/audits unless given, ends up with files.jsonl,
models.jsonl, comparisons.jsonl, overlaps.jsonl, provenance.json and the page README.md. A file that is not there is
named in a line and left out; the models that are scored on all files are those of the first that is there.
"""

import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rewardgap
from figures.audits import write_page
from figures.redraw import STORED
from llm_experiments.baselines import TokenRules
from llm_experiments.evaluation import baselines
from llm_experiments.inputs import Source, hold_out, read_source
from llm_experiments.models import load_tokenizer
from llm_experiments.overlap import audit_overlap
from llm_experiments.pairs import Pair, PairSet, load_pairs
from llm_experiments.pretraining import pretrain, read_documents
from llm_experiments.scoring import model_free_rows
from llm_experiments.settings import EncodingSettings, PretrainSettings
from llm_experiments.splits import prompt_position
from simulations.results import Row, provenance, read_json, write_json, write_rows
from theory.rewards import KINDS

FILES = (
    "ultrafeedback/train_clean.jsonl.gz",
    "ultrafeedback/eval_clean.jsonl.gz",
    "razin2025/ultrafeedback_test.jsonl",
    *(
        f"razin2025/ultrafeedback_{how}_{part}.jsonl"
        for how in ("paraphrase", "french", "spanish")
        for part in ("train", "test")
    ),
    *(
        f"razin2025/{name}_{part}.jsonl"
        for name in ("rewardmath", "rewardbench_math", "rewardbench_code")
        for part in ("train", "test")
    ),
    "hh_rlhf/harmless-base_test.jsonl.gz",
    *(
        f"llmbar/LLMBar_{name}_dataset.json"
        for name in (
            "Natural",
            "Adversarial_Neighbor",
            "Adversarial_GPTInst",
            "Adversarial_GPTOut",
            "Adversarial_Manual",
        )
    ),
    "xstest",
    "gsm8k/example_model_solutions.jsonl.gz",
)
TEXTS = ("text/wikitext2_valid.txt.gz", "text/tinystories_sample.txt.gz", "text/wiki_demo.txt.gz")
LANGUAGE_MODEL = PretrainSettings(
    hidden=48, layers=2, heads=4, vocab_size=2048, steps=200, block=128, max_positions=1024
)
HELD_OUT = 0.25
SAMPLE = 100  # pairs per file for training and scoring
LIMIT = 512  # tokens of a pair, for the models only
FIT = ("--learning_rate", "1e-3", "--logging_steps", "5")


def place(data: Path, name: str) -> Path:
    """Where a file is, packed or as `make data` leaves it."""
    return data / name if (data / name).exists() else data / name.removesuffix(".gz")


def present(data: Path, names: tuple[str, ...]) -> list[str]:
    """Those of the files that are there.

    Raises:
        SystemExit: none is.
    """
    missing = [name for name in names if not place(data, name).exists()]
    for name in missing:
        print(f"{data / name}: is missing and left out (where it is from: README, 'Real data')", file=sys.stderr)
    if len(missing) == len(names):
        sys.exit(f"error: {data}: has none of these files; is REWARDGAP_DATA the folder of README, 'Real data'?")
    return [name for name in names if name not in missing]


def read(data: Path, name: str, tokenizer: Any) -> Source:
    pairs = load_pairs(place(data, name), bad_pairs="drop")
    return read_source(pairs, tokenizer, EncodingSettings(max_length=0, bad_pairs="drop"))


def audit(data: Path, name: str, source: Source, tokenizer: Any, ultrafeedback: TokenRules) -> Row:
    """What is in a file, and how far the rules without a model get on its held-out prompts."""
    encoding = EncodingSettings(max_length=0)
    train, held_out = (
        read_source(part, tokenizer, encoding) for part in hold_out(PairSet(name, tuple(source.texts)), HELD_OUT)
    )
    return {
        "file": name,
        "sha256": digest(place(data, name)),
        **{key: value for key, value in source.audit.to_row().items() if key != "dropped_ids"},
        "prompts": len({row["prompt_hash"] for row in model_free_rows(source, None)}),
        "baselines": baselines(model_free_rows(source, ultrafeedback)),
        "held_out": len(held_out.pairs),
        "held_out_baselines": baselines(model_free_rows(held_out, TokenRules.of(train.pairs))),
    }


def sample(source: Source) -> list[Pair]:
    """The same pairs on every machine: of those short enough, by the hash of their prompts, which stay together."""
    short = {pair.id for pair in source.pairs if pair.longest <= LIMIT}
    fit = [pair for pair in source.texts if pair.id in short]
    return sorted(fit, key=lambda pair: prompt_position(pair, seed=1))[:SAMPLE]


def train_and_score(model: Path, folder: Path, stems: dict[str, str], name: str) -> Iterator[Row]:
    """The three kinds on the sample of one file, scored on its held-out prompts."""
    for kind in KINDS:
        run = folder / "runs" / stems[name] / kind
        fit = ("--kind", kind, "--model", str(model), "--pairs", pairs_file(folder, stems[name]), "--output", str(run))
        command("train", *fit, "--eval_fraction", str(HELD_OUT), "--max_length", str(LIMIT), *FIT)
        metrics = read_json(run / "metrics.json")
        yield {
            "command": "train",
            "trained_on": name,
            "file": name,
            "kind": kind,
            **short(metrics[f"{stems[name]}_held_out"]),
        }


def score_elsewhere(folder: Path, stems: dict[str, str]) -> Iterator[Row]:
    """The models trained on the first file (UltraFeedback), on the samples of every file; the last run compares every
    two kinds."""
    first, others = next(iter(stems)), list[str]()
    files = [pairs_file(folder, stem) for stem in stems.values()]
    for kind in KINDS:
        run = folder / "scores" / kind
        model = folder / "runs" / stems[first] / kind
        against = ("--against", *others) if kind == KINDS[-1] else ()
        command(
            "score",
            "--model",
            str(model),
            "--pairs",
            *files,
            "--output",
            str(run),
            "--max_length",
            str(LIMIT),
            *against,
        )
        others.append(str(run))
        metrics = read_json(run / "metrics.json")
        for name, stem in stems.items():
            yield {"command": "score", "trained_on": first, "file": name, "kind": kind, **short(metrics[stem])}


def short(metrics: Row) -> Row:
    left_out = ("calibration", "subsets", "unshared")
    return {key: value for key, value in metrics.items() if key not in left_out}


def command(*words: str) -> None:
    if code := rewardgap.main(words):
        sys.exit(code)


def pairs_file(folder: Path, stem: str) -> str:
    return str(folder / "pairs" / f"{stem}.jsonl")


def digest(place: Path) -> str:
    """Of a file, or of the names and contents of the files that are read from a folder."""
    files = [place] if place.is_file() else sorted(place.glob("*_completions_*.csv"))
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()


def main(output: Path, data: Path) -> None:
    start, files = time.process_time(), present(data, FILES)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        texts = read_documents([place(data, name) for name in present(data, TEXTS)])
        model = pretrain(texts + ["Yes\nNo"] * 500, "mistral", folder / "lm", LANGUAGE_MODEL)
        tokenizer = load_tokenizer(model)
        sources = {name: read(data, name, tokenizer) for name in files}
        rules = TokenRules.of(sources[files[0]].pairs)
        audits = [audit(data, name, one, tokenizer, rules) for name, one in sources.items()]
        write_rows(output / "files.jsonl", audits)
        overlaps = [
            {"trained_on": first, "file": second, **audit_overlap(sources[first].texts, sources[second].texts).to_row()}
            for first in files
            for second in files
            if "train" in first and first != second  # what a user would train on
        ]
        write_rows(output / "overlaps.jsonl", [row for row in overlaps if row["any"]])
        stems = {name: name.replace("/", "-").partition(".")[0] for name in files}
        for name, source in sources.items():
            rows = [
                {"id": p.id, "subset": p.subset, "prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected}
                for p in sample(source)
            ]
            write_rows(Path(pairs_file(folder, stems[name])), rows)
        rows = [row for name in files for row in train_and_score(model, folder, stems, name)]
        rows += score_elsewhere(folder, stems)
        write_rows(output / "models.jsonl", rows)
        last = folder / "scores" / KINDS[-1]
        comparisons = read_json(last / "comparisons.json")
    names = {stem: name for name, stem in stems.items()}
    comparisons = [one | {"source": names[one["source"]]} for one in comparisons]
    write_rows(output / "comparisons.jsonl", comparisons)
    settings = {
        "held_out": HELD_OUT,
        "sample": SAMPLE,
        "limit": LIMIT,
        "fit": FIT,
        "language_model": vars(LANGUAGE_MODEL),
    }
    about = provenance(seed=0, seconds=round(time.process_time() - start), settings=settings)
    write_json(output / "provenance.json", about)
    print(write_page(output))


if __name__ == "__main__":
    if not os.environ.get("REWARDGAP_DATA"):
        sys.exit("error: REWARDGAP_DATA names no folder with the real files (README, 'Real data')")
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else STORED / "audits", Path(os.environ["REWARDGAP_DATA"]))
