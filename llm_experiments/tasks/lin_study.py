"""Six training sets x six evaluation sets, explicit and implicit (after Lin et al. 2024), made small.

Not as published: six other sets (`lin_sets.SMALL`), language models of a quarter of a million parameters made here,
beta 0.1, 96 pairs that are short enough. As published, the implicit model is trained for twice as many epochs. The
learning rate is that of the other studies on real pairs; nothing was tuned for this one.

The unit of evidence is the cluster: a language model pretrained here and a training seed, one of its own each. All
clusters are evaluated on the same pairs, so that intervals are the widest of those over clusters and over what else
varies (`lin_claims.py`).
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from llm_experiments.cells import Plan
from llm_experiments.pairs import Pair, plain_text
from llm_experiments.settings import EncodingSettings, PretrainSettings, TrainSettings
from llm_experiments.tasks.language_study import load_base
from llm_experiments.tasks.lin_claims import lin_claims, lin_notes, setting_rows
from llm_experiments.tasks.lin_sets import SMALL, read_part, shifts_of
from llm_experiments.tasks.real_pairs import LEARNING_RATES, TEXTS, TRAIN, measure, train_and_score
from simulations.results import Claim, Row, write_rows

ARCHITECTURES = ("mistral", "gemma")
SEEDS = 2
HELD_OUT = 0.4  # of the prompts
PAIRS, TEST_PAIRS = 96, 50
BETA = 0.1
EPOCHS = {"explicit": 3.0, "implicit": 6.0}
ENCODING = EncodingSettings(max_length=256, over_length="truncate_prompt", bad_pairs="drop")
PRETRAIN = PretrainSettings(
    hidden=64, layers=2, heads=4, vocab_size=2048, block=192, max_positions=256, steps=200, batch_size=8
)


def plan(data: Path, *, quick: bool = False) -> Plan:
    """A language model per cluster, a cell per training set and cluster."""
    bases: dict[str, Row] = {}
    cells: dict[str, Row] = {}
    small = {"steps": 4, "hidden": 16, "layers": 1, "heads": 2, "vocab_size": 300} if quick else {}
    for architecture in ARCHITECTURES[:1] if quick else ARCHITECTURES:
        for seed in range(1 if quick else SEEDS):
            base = f"{architecture}-{seed}"
            bases[base] = {"architecture": architecture, "settings": asdict(PRETRAIN) | small | {"seed": seed}}
            bases[base] |= {"documents": 500} if quick else {}
            for train in SMALL:
                cells[f"{train.name.replace(' ', '-')}/{base}"] = {
                    "train": train.name,
                    "architecture": architecture,
                    "seed": seed,
                    "base": base,
                    "pairs": 8 if quick else PAIRS,
                    "test_pairs": 6 if quick else TEST_PAIRS,
                    "training": {
                        kind: asdict(
                            replace(
                                TRAIN,
                                num_train_epochs=EPOCHS[kind],
                                learning_rate=LEARNING_RATES[kind],
                                seed=seed,
                                max_steps=2 if quick else TRAIN.max_steps,
                            )
                        )
                        for kind in EPOCHS
                    },
                    "encoding": asdict(ENCODING),
                    "beta": BETA,
                }
    return Plan(bases, cells)


def make_base(folder: Path, config: Mapping[str, Any], *, data: Path) -> None:
    """Pretrain one language model on local text and on the training parts' prompts and answers, chosen and rejected."""
    from llm_experiments.pretraining import pretrain, read_documents

    documents = read_documents([data / name for name in TEXTS])
    for one in SMALL:
        for pair in read_part(data, one, "train", HELD_OUT):
            documents += [f"{plain_text(pair.prompt)}\n{plain_text(text)}" for text in (pair.chosen, pair.rejected)]
    settings = PretrainSettings(**config["settings"])
    pretrain(documents[: config.get("documents")], config["architecture"], folder / "model", settings, progress=False)


def compute_cell(folder: Path, config: Mapping[str, Any], *, data: Path) -> None:
    """Train both kinds on one set's training part, and score its pairs and the held-out part of every set."""
    from llm_experiments.encoding import encode_pairs

    policy, tokenizer = load_base(str(folder.parents[1] / "models" / config["base"] / "model"))
    encoding = EncodingSettings(**config["encoding"])
    parts: dict[str, list[Pair]] = {one.name: read_part(data, one, "held-out", HELD_OUT) for one in SMALL}
    pool = next(read_part(data, one, "train", HELD_OUT) for one in SMALL if one.name == config["train"])
    order = np.random.default_rng([config["seed"], 13]).permutation(len(pool))
    encoded = {"train": encode_pairs([pool[i] for i in order], tokenizer, encoding)[0][: config["pairs"]]}
    encoded |= {
        name: encode_pairs(some, tokenizer, encoding)[0][: config["test_pairs"]] for name, some in parts.items()
    }
    training = {kind: TrainSettings(**fields) for kind, fields in config["training"].items()}
    shifts = shifts_of(SMALL)
    rows = [
        {"train": config["train"], "architecture": config["architecture"], "seed": config["seed"], "kind": kind}
        | {"set": name, "shift": shifts.get((config["train"], name), "train")}
        | measure(scores, encoded[name], encoded["train"])
        for kind, name, scores in train_and_score(folder, policy, encoded, training, config["beta"])
    ]
    write_rows(folder / "rows.jsonl", rows)


def claims(folder: Path, plan: Plan) -> tuple[list[Claim], list[str]]:
    """Also grid.jsonl in `folder`: a row per setting and kind, and their difference, with intervals."""
    rows = plan.gather(folder)
    settings = setting_rows(folder, plan)
    write_rows(folder / "grid.jsonl", settings)
    return lin_claims(rows, settings), lin_notes(rows, settings)
