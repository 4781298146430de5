"""What the scale study claims: the gap between the kinds at every level of a sweep, and its slope per doubling."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simulations.interval_claims import interval_claim
from simulations.results import Claim, Row
from simulations.statistics import Interval, crossed_interval

Level = float | int
Gaps = Mapping[tuple[int, int], float]
"""A number per cluster: pretraining seed, split of the words."""

REFERENCE: dict[str, Level] = {  # where rung 1's registered condition stands in every sweep
    "training_pairs": 96,
    "width": 64,
    "layers": 2,
    "vocabulary": 288,
    "pretraining": 800,
    "beta": 0.1,
}
LITTLE = 0.05
KINDS = ("explicit", "implicit")


def scale_claims(rows: Sequence[Row]) -> tuple[list[Claim], list[str]]:
    """The gap at every level, and its slope per doubling, on seen and on unseen words."""
    made: list[Claim] = []
    notes = [
        "Scale: nothing is tuned again. Accuracy on training pairs, lowest of a level's explicit and implicit models:"
    ]
    for sweep in dict.fromkeys(row["sweep"] for row in rows if row["sweep"] != "reference"):
        levels = sorted({row["level"] for row in rows if row["sweep"] == sweep} | {REFERENCE[sweep]})
        for split, words in (("seen_forms", "seen words"), ("unseen_forms", "unseen words")):
            table = gaps_by_level(rows, sweep, split)
            for level in levels:
                statement = f"gap (explicit minus implicit accuracy) at {sweep} {level:g}, {words}"
                made.append(_claim(f"{sweep}/{level:g}/{split}", statement, table[level]))
            expected = {"op": "within", "value": (-LITTLE, LITTLE)} if split == "unseen_forms" else {}
            if (sweep, split) == ("training_pairs", "seen_forms"):
                expected = {"op": "<=", "value": 0.0}
            statement = f"slope of the gap per doubling of {sweep}, {words}"
            made.append(_claim(f"{sweep}/slope/{split}", statement, slopes(table), **expected))
        notes.append(f"Scale: {sweep}: {_fits(rows, sweep, levels)}.")
    return made, notes


def at_levels(rows: Sequence[Row], sweep: str) -> list[Row]:
    """The rows of one sweep, the reference's among them, at its level there."""
    return [
        row | {"level": REFERENCE[sweep]} if row["sweep"] == "reference" else row
        for row in rows
        if row["sweep"] in (sweep, "reference")
    ]


def gaps_by_level(rows: Sequence[Row], sweep: str, split: str) -> dict[Level, Gaps]:
    """Explicit minus implicit accuracy by level and cluster. Where a level has no explicit models of its own, they are
    the reference's."""
    found: dict[str, dict[Level, dict[tuple[int, int], float]]] = {"explicit": {}, "implicit": {}}
    for row in at_levels(rows, sweep):
        if row["split"] == split:
            found[row["kind"]].setdefault(row["level"], {})[row["seed"], row["forms"]] = row["accuracy"]
    explicit = found["explicit"]
    return {
        level: {
            cluster: explicit.get(level, explicit[REFERENCE[sweep]])[cluster] - value
            for cluster, value in found["implicit"][level].items()
        }
        for level in sorted(found["implicit"])
    }


def slopes(table: Mapping[Level, Gaps]) -> dict[tuple[int, int], float]:
    """Per cluster, the least-squares slope against log2 of the level."""
    x = np.log2(sorted(table))
    x = x - x.mean()
    clusters = next(iter(table.values()))
    return {cluster: float(x @ [table[level][cluster] for level in sorted(table)] / (x @ x)) for cluster in clusters}


def _fits(rows: Sequence[Row], sweep: str, levels: Sequence[Level]) -> str:
    lowest: dict[tuple[str, Level], float] = {}
    for row in at_levels(rows, sweep):
        if row["split"] == "train":
            where = row["kind"], row["level"]
            lowest[where] = min(lowest.get(where, 1.0), row["accuracy"])
    return ", ".join(
        f"{level:g} " + " and ".join(f"{lowest[kind, level]:.2f}" for kind in KINDS if (kind, level) in lowest)
        for level in levels
    )


def crossed(values: Gaps) -> Interval:
    """Of one number per cluster; clusters share language models and splits of the words."""
    return crossed_interval(values.values(), [forms for _, forms in values], [seed for seed, _ in values])


def _claim(id: str, statement: str, values: Gaps, **expected: Any) -> Claim:
    rest = {"model": "Mistral, untied", **expected}
    return interval_claim(f"scale/{id}", statement, crossed(values), rung=1, **rest)
