"""What a factorial of prompt shift x response shift claims: gaps, and how they combine on three scales. Rows in."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from llm_experiments.tasks.shifted_pairs import FACTORIAL
from simulations.interval_claims import interval_claim
from simulations.results import Claim, Row
from simulations.statistics import Interval, crossed_interval

Cells = Mapping[str, Float[np.ndarray, " clusters"]]
"""A number per cluster for each of the four combinations of shifts."""

NEW_WORDS = ("96-pairs", "48-pairs", "24-pairs")  # arms of which a gap under new words alone was expected
HALF_GONE = 0.3  # of the half that there is to lose, most
COMPOUNDS = 0.05
COSTLY_PROMPTS = "24-pairs"  # the arm in which new prompts alone were expected to cost something
WORDS = {
    "none": "held-out pairs in seen words",
    "prompts": "unseen prompts",
    "responses": "unseen responses",
    "both": "unseen prompts and responses",
}
SCALES = {
    "accuracy": "of explicit minus implicit accuracy",
    "log_odds": "of explicit minus implicit log-odds of being right",
    "share_kept": "of the share that an implicit model keeps of its skill (2 accuracy - 1)",
}


def interaction(cells: Cells) -> Float[np.ndarray, " clusters"]:
    """What both shifts together do beyond the sum of what each does alone."""
    return cells["both"] - cells["prompts"] - cells["responses"] + cells["none"]


def interactions(rows: Sequence[Row]) -> dict[str, Float[np.ndarray, " clusters"]]:
    """One number per cluster and scale for the rows of one arm. On log-odds half a pair is added to either side, of as
    many pairs as the smallest set has: all right is the same number everywhere."""
    right = {kind: _cells(rows, kind) for kind in ("explicit", "implicit")}
    half = 0.5 / min(row["n"] for row in rows if row["split"] in FACTORIAL)
    odds = {
        kind: {shift: np.log((value + half) / (1 - value + half)) for shift, value in cells.items()}
        for kind, cells in right.items()
    }
    skill = {shift: 2 * value - 1 for shift, value in right["implicit"].items()}
    return {
        "accuracy": interaction(_gap(right)),
        "log_odds": interaction(_gap(odds)),
        "share_kept": skill["both"] * skill["none"] - skill["prompts"] * skill["responses"],
    }


def gaps(rows: Sequence[Row]) -> Cells:
    """Explicit minus implicit accuracy, for the rows of one arm."""
    return _gap({kind: _cells(rows, kind) for kind in ("explicit", "implicit")})


def over_clusters(values: Float[np.ndarray, " clusters"], rows: Sequence[Row]) -> Interval:
    """Of one number per cluster; the clusters of rung 1 share splits of the words and language models."""
    clusters = {row["cluster"]: row for row in rows if row["kind"] == "implicit" and row["split"] == "none"}.values()
    return crossed_interval(values, [row["forms"] for row in clusters], [row["seed"] for row in clusters])


def _cells(rows: Sequence[Row], kind: str) -> Cells:
    return {
        shift: np.array([float(row["accuracy"]) for row in rows if (row["kind"], row["split"]) == (kind, shift)])
        for shift in FACTORIAL
    }


def _gap(cells: Mapping[str, Cells]) -> Cells:
    return {shift: cells["explicit"][shift] - cells["implicit"][shift] for shift in FACTORIAL}


def persona_factorial(rows: Sequence[Row]) -> list[Row]:
    """The four cells of the Persona study's arms, as rows of this study; every training seed is a cluster."""
    found = []
    for row in rows:
        prompts, responses = row["prompts"] == "test", row["split"] == "unseen_forms"
        if row["condition"] == "published" and row["kind"] in ("explicit", "implicit"):
            shift = FACTORIAL[prompts + 2 * responses]
            found.append(row | {"cell": f"persona/{row['cell']}", "split": shift, "cluster": row["seed"], "forms": 0})
    return found


def shift_claims(rows: Sequence[Row]) -> tuple[list[Claim], list[str]]:
    """Gaps and interactions of rung 1 by arm, in the order of the rows."""
    made: list[Claim] = []
    for arm in dict.fromkeys(row["cell"] for row in rows):
        mine = [row for row in rows if row["cell"] == arm]
        for shift, values in gaps(mine).items():
            expected = {"op": ">=", "value": HALF_GONE} if arm in NEW_WORDS and shift == "responses" else {}
            statement = f"explicit minus implicit accuracy, {WORDS[shift]} ({arm})"
            made.append(_claim(f"{arm}/gap/{shift}", statement, over_clusters(values, mine), expected))
        for scale, values in interactions(mine).items():
            most = 0.0 if arm == COSTLY_PROMPTS else COMPOUNDS
            expected = {"op": "<=", "value": most} if scale == "accuracy" else {}
            statement = f"prompt shift x response shift: interaction {SCALES[scale]} (0 adds; {arm})"
            made.append(_claim(f"{arm}/interaction/{scale}", statement, over_clusters(values, mine), expected))
    fits = [row["accuracy"] for row in rows if row["split"] == "train"]
    return made, [
        f"Combined shifts: training pairs are ranked right at {min(fits):.2f} to {max(fits):.2f}. An implicit model "
        "that guesses has nothing left to lose, so an accuracy's interaction below zero may be the floor at one half; "
        f"on log-odds {max(int(row['n']) for row in rows)} pairs all right count as a finite number, so that an "
        "interaction there depends on how many pairs were scored. Neither scale decides alone."
    ]


def _claim(id: str, statement: str, interval: Interval, expected: Row) -> Claim:
    return interval_claim(f"shifts/{id}", statement, interval, rung=1, **expected)
