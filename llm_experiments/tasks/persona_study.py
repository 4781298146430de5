"""Rung 2: explicit and implicit reward models on the real Persona questions, with the controls.

As published: 80 training and 40 test prompts about agreeableness, answers drawn per prompt, accuracy as the mean over
the four combinations of the paraphrase. Not as published: the language models are small and made here (persona.py says
from which texts), several clusters with intervals, the terminator as a factor, and the controls.

What is chosen freely is chosen by the fit of training pairs alone: the schedule and the rate are rung 1's, and pilot.py
shows that both kinds rank every training pair right with them (so they do at a third, a tenth and at three times it).

The unit of evidence is the cluster: training seed, training and test prompts of its own; one language model for all.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llm_experiments.cells import Plan
from llm_experiments.settings import EncodingSettings, PretrainSettings, TrainSettings
from llm_experiments.tasks.language import Label
from llm_experiments.tasks.language_study import load_base
from llm_experiments.tasks.persona import (
    CONDITIONS,
    EVALUATED,
    answer_pairs,
    answers_of,
    describe,
    pretraining_texts,
    read_personas,
    remark_pairs,
    sample_prompts,
    training_pairs,
)
from llm_experiments.tasks.persona_claims import persona_claims, persona_notes
from simulations.results import Claim, Row, read_json, write_json, write_rows
from simulations.statistics import cluster_means, wilson_interval
from theory.preferences import PairRewards, absolute_margin, accuracy, bradley_terry_loss, normalised_margin, tie_rate

BETA = 0.1
LEARNING_RATES = {"explicit": 3e-3, "implicit": 3e-3}  # rung 1's; pilot.py
TRAIN = TrainSettings(
    max_steps=100, per_device_train_batch_size=16, lr_scheduler_type="linear", max_grad_norm=1.0, logging_steps=50
)
PRETRAIN = PretrainSettings(
    hidden=96, layers=3, heads=4, vocab_size=2048, block=128, max_positions=256, steps=700, batch_size=32
)
N_TRAIN, N_TEST = 80, 40
REPEATS = 2  # answers per question in the pretraining texts
TIE = 1e-5


@dataclass(frozen=True)
class Arm:
    """One way of training; its models are tested on every condition."""

    name: str
    architecture: str = "mistral"
    label: Label = "constant"
    terminator: bool = False
    pretraining: str = "all_words"
    clusters: int = 6

    @property
    def base(self) -> str:
        return f"{self.architecture}-{self.pretraining}"


ARMS = (
    Arm("mistral"),
    Arm("mistral-terminator", terminator=True),
    Arm("gemma", architecture="gemma"),
    Arm("statement-label", label="statement"),
    Arm("without-evaluation-words", pretraining="without_evaluation_words"),
)
QUICK = (Arm("mistral", clusters=1),)


def plan(data: Path, *, quick: bool = False) -> Plan:
    """Language models and cells by folder name; `data` is the folder of question files, of which configs hold the hash
    and not the place."""
    personas = read_personas(data)
    digest = hashlib.sha256(repr(sorted(personas.items())).encode()).hexdigest()
    bases: dict[str, Row] = {}
    cells: dict[str, Row] = {}
    for arm in QUICK if quick else ARMS:
        bases[arm.base] = {
            "architecture": arm.architecture,
            "pretraining": arm.pretraining,
            "questions": digest,
            "repeats": REPEATS,
            "settings": asdict(PRETRAIN) | ({"steps": 60} if quick else {}),
        }
        about = {key: value for key, value in asdict(arm).items() if key not in ("name", "clusters")}
        for seed in range(arm.clusters):
            cells[f"{arm.name}/{seed}"] = {
                "cell": arm.name,
                **about,
                "seed": seed,
                "base": arm.base,
                "questions": digest,
                "n_train": N_TRAIN,
                "n_test": N_TEST,
                "training": asdict(TRAIN) | {"seed": seed},
                "learning_rates": LEARNING_RATES,
                "beta": BETA,
            }
    return Plan(bases, cells)


def claims(folder: Path, plan: Plan) -> tuple[list[Claim], list[str]]:
    """Claims and notes of a finished study."""
    rows = plan.gather(folder)
    texts = {name: read_json(folder / "models" / name / "texts.json") for name in plan.bases}
    return persona_claims(rows), persona_notes(rows, texts)


def make_base(folder: Path, config: Mapping[str, Any], *, data: Path) -> None:
    """Pretrain one language model; count its texts' answer words, and check that it knows what they mean."""
    from llm_experiments.encoding import encode_pairs
    from llm_experiments.models import load_reward_model
    from llm_experiments.pretraining import pretrain
    from llm_experiments.scoring import score_pairs

    personas = read_personas(data)
    texts = pretraining_texts(
        personas,
        evaluation_words=config["pretraining"] == "all_words",
        repeats=config["repeats"],
        seed=config["settings"]["seed"],
    )
    settings = PretrainSettings(**config["settings"])
    pretrain(texts, config["architecture"], folder / "model", settings, progress=False)
    policy, tokenizer = load_base(str(folder / "model"))
    model = load_reward_model(policy, "implicit", reference="none", device="cpu")
    remarks = remark_pairs(personas[EVALUATED][:10])
    encoding = EncodingSettings(terminator="strip", max_length=0)
    rows = score_pairs(model, encode_pairs(remarks, tokenizer, encoding)[0], batch_size=64)
    known = cluster_means([row["results"] for row in rows], [row["subset"] for row in rows])
    write_json(folder / "texts.json", describe(texts, tokenizer) | {"meaning_known": known})


def compute_cell(folder: Path, config: Mapping[str, Any], *, data: Path) -> None:
    """Train both kinds on the same pairs, and reward every answer of every condition on training and test prompts."""
    from llm_experiments.encoding import encode_pairs
    from llm_experiments.models import load_reward_model
    from llm_experiments.scoring import pair_rewards, score_pairs
    from llm_experiments.training import train_reward_model

    policy, tokenizer = load_base(str(folder.parents[1] / "models" / config["base"] / "model"))
    questions = read_personas(data)[EVALUATED]
    train, test = sample_prompts(questions, config["label"], config["n_train"], config["n_test"], config["seed"])
    encoding = EncodingSettings(terminator="ensure" if config["terminator"] else "strip", max_length=0)
    pairs = encode_pairs(training_pairs(train, config["seed"]), tokenizer, encoding)[0]
    about = {key: config[key] for key in ("cell", "architecture", "label", "terminator", "pretraining", "seed")}
    rows = []
    for kind, learning_rate in config["learning_rates"].items():
        settings = TrainSettings(**{**config["training"], "learning_rate": learning_rate})
        model = load_reward_model(policy, kind, beta=config["beta"], device="cpu", seed=settings.seed)
        train_reward_model(model, pairs, settings)
        scores = score_pairs(model, pairs, batch_size=64)
        write_rows(folder / "scores" / f"{kind}_train.jsonl", scores)
        fit = _measure(pair_rewards(scores), len(train)) | {
            "condition": "published",
            "split": "train",
            "prompts": "train",
        }
        rows.append(about | {"kind": kind} | fit | {"loss": float(bradley_terry_loss(pair_rewards(scores)))})
        for name, prompts, conditions in (("train", train, ("published",)), ("test", test, CONDITIONS)):
            some = answer_pairs(prompts, conditions)
            scores = score_pairs(model, encode_pairs(some, tokenizer, encoding)[0], batch_size=64)
            write_rows(folder / "scores" / f"{kind}_answers_{name}.jsonl", scores)
            rewards = {}
            for pair, row in zip(some, scores, strict=True):
                rewards[pair.prompt, pair.chosen] = row["scores_chosen"]
                rewards[pair.prompt, pair.rejected] = row["scores_rejected"]
            for condition in conditions:
                sides = np.array(
                    [
                        [rewards[question.text + "\n", answer] for answer in (both if question.yes else both[::-1])]
                        for question in prompts
                        for both in answers_of(condition)
                    ]
                )
                split = "seen_forms" if condition in ("seen", "swapped_training_prefix") else "unseen_forms"
                # the training answers belong to the published test, as its half of seen forms
                called = "published" if condition == "seen" else condition
                where = {"condition": called, "split": split, "prompts": name}
                rows.append(about | {"kind": kind} | where | _measure(PairRewards(*sides.T), len(prompts)))
    write_rows(folder / "rows.jsonl", rows)


def _measure(rewards: PairRewards, prompts: int) -> Row:
    """Ties count one half. The Wilson interval counts prompts, not answers: those of one prompt go together."""
    share = float(accuracy(rewards, tie_tolerance=TIE))
    interval = wilson_interval(share * prompts, prompts)
    return {
        "n": prompts,
        "accuracy": share,
        "low": interval.low,
        "high": interval.high,
        "tie_rate": float(tie_rate(rewards, tie_tolerance=TIE)),
        "absolute_margin": float(absolute_margin(rewards)),
        "normalised_margin": float(normalised_margin(rewards)),
    }
