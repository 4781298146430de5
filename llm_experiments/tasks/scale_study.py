"""Does the gap between the kinds close with scale? One size at a time, in the synonym language. (rung 1)

Untied Mistral, label by the statement, no terminator: rung 1's registered condition is the reference, and each sweep
changes one number of it, by factors of two or so:

    training_pairs   preference pairs; steps of training stay 100, so that more pairs are each seen less often
    width            of the hidden states
    layers           of the transformer
    vocabulary       answer words of the language; as many of them are seen and evaluated as before
    pretraining      steps of pretraining, 64 texts each; the rate's schedule ends with them
    beta             of the implicit reward; explicit models have none, and the reference's stand beside all levels

Nothing is tuned again at any level: learning rates and steps of training are rung 1's. What fits badly shows in the
accuracy on training pairs, which the notes print. The number of a sweep is the slope of the gap (explicit minus
implicit accuracy) per doubling, by least squares within each cluster, and its mean over clusters. A cluster is a split
of the words over a pretraining seed; all levels have the same clusters, so slopes are paired.

Expected, written before the first run (rung 1's 48 and 288 pairs were known). Unrelated output rows of unseen words are
what the gap comes from, and no size brings them together: on unseen words the gap's slope lies within +-0.05 per
doubling in every sweep. On seen words the gap falls with training pairs (slope at most 0).

Found (6 clusters): on unseen words the gap is 0.44 to 0.55 at every level of every sweep. That its slope lies within
+-0.05 per doubling is shown for training pairs (24 to 768: -0.008 [-0.035, 0.019]) and beta (0.01 to 0.3: -0.001
[-0.012, 0.009]), and undecided for width (16 to 128: -0.003 [-0.060, 0.055]), layers (1 to 4: 0.007 [-0.092, 0.106]),
vocabulary (-0.024 [-0.084, 0.036]) and pretraining (0.039 [-0.042, 0.121]): clusters scatter too much for that few. On
seen words it falls from 0.254 at 24 pairs to about 0 at 96 (-0.039 [-0.072, -0.006] per doubling). One implicit model
of 384 pairs did not learn its training pairs (0.72).

The stored runs of this study, of `shifts` and of `prediction` took the language models that rung 1 has as well from its
stored run; the seconds of this one include eleven minutes in which it was halted.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm_experiments.cells import Plan
from llm_experiments.tasks import language_study
from llm_experiments.tasks.language import Language
from llm_experiments.tasks.language_study import ABOUT, encoded_pairs, load_base, make_base, spread_clusters
from llm_experiments.tasks.scale_claims import REFERENCE, Level, scale_claims
from simulations.results import Claim, Row

__all__ = ["claims", "compute_cell", "make_base", "plan"]

LEVELS: dict[str, tuple[Level, ...]] = {  # the reference's level is among them
    "training_pairs": (24, 48, 96, 192, 384, 768),
    "width": (16, 32, 64, 128),
    "layers": (1, 2, 4),
    "vocabulary": (288, 576, 1152),
    "pretraining": (200, 400, 800),
    "beta": (0.01, 0.03, 0.1, 0.3),
}
QUICK = {"training_pairs": (24, 96), "beta": (0.1, 0.3)}
CLUSTERS = 6


def plan(data: None = None, *, quick: bool = False) -> Plan:
    """The reference once, and every other level of every sweep, each in every cluster."""
    rung1 = language_study.plan(quick=quick)
    bases: dict[str, Row] = {}
    cells: dict[str, Row] = {}
    levels = QUICK if quick else LEVELS
    others = [(sweep, level) for sweep, some in levels.items() for level in some if level != REFERENCE[sweep]]
    for number in [0] if quick else spread_clusters(CLUSTERS):
        reference = rung1.cells[f"registered/statement-{number:02d}"]
        for sweep, level in [("reference", 0.0), *others]:
            cell, base = _changed(reference, rung1.bases[reference["base"]], sweep, level)
            name = f"{sweep}-{level:g}"
            bases[cell["base"]] = base
            cells[f"{name}/{number:02d}"] = cell | {"cell": name, "sweep": sweep, "level": level}
    return Plan(bases, cells)


def own_levels(cell: Row, base: Row) -> dict[str, Level]:
    """Where a cell stands in every sweep."""
    language, settings = Language(**cell["language"]), base["settings"]
    return {
        "training_pairs": cell["n_train"],
        "width": settings["hidden"],
        "layers": settings["layers"],
        "vocabulary": 2 * language.groups * language.words,
        "pretraining": settings["steps"],
        "beta": cell["beta"],
    }


def _changed(cell: Row, base: Row, sweep: str, level: Level) -> tuple[Row, Row]:
    """The reference's cell and language model with one number changed."""
    settings, world = base["settings"], cell["language"]
    if sweep == "training_pairs":
        return cell | {"n_train": level}, base
    if sweep == "beta":
        implicit = {"implicit": cell["learning_rates"]["implicit"]}
        return cell | {"beta": level, "learning_rates": implicit}, base
    if sweep == "vocabulary":
        groups = int(level) // (2 * world["words"])
        world = world | {"groups": groups}
    elif sweep != "reference":
        name = {"width": "hidden", "layers": "layers", "pretraining": "steps"}[sweep]
        settings = settings | {name: level}
    named = cell["base"] if sweep == "reference" else f"{sweep}-{level:g}-{settings['seed']}"
    return cell | {"base": named, "language": world}, base | {"language": world, "settings": settings}


def compute_cell(folder: Path, config: Mapping[str, Any], *, data: None = None) -> None:
    """Train the level's kinds on the cluster's pairs, and score every split."""
    policy, tokenizer = load_base(str(folder.parents[1] / "models" / config["base"] / "model"))
    _, encoded, _ = encoded_pairs(config, tokenizer)
    about = (*ABOUT, "sweep", "level", "beta")
    language_study.train_and_score(folder, config, policy, encoded, encoded["train"], about=about)


def claims(folder: Path, plan: Plan) -> tuple[list[Claim], list[str]]:
    return scale_claims(plan.gather(folder))
