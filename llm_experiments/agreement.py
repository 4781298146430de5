"""How well predicted changes agree with measured ones. Correlation alone says little: a formula that forgets a factor
correlates perfectly and has the wrong size, which the slope and the relative error show."""

from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import rankdata

from simulations.results import Row

# Step size of a comparison, unless another is asked for. Of the output layer alone: the largest power of ten at which
# every kind's relative error stays below 1e-3 on either stored model (generative models curve most). Where hidden
# states move the formulas promise nothing, and transformers' norms, float32 in any model, drown a smaller step.
STEP_SIZE = {"head": 1e-5, "tied": 1e-3, "all": 1e-3}


@dataclass(frozen=True)
class Agreement:
    """`slope`: of measured on predicted, through the origin; `relative_error`: |measured - predicted| / |measured|,
    Euclidean norms over all pairs; `sign_agreement`: share of the measured changes that have the predicted sign (zeros
    left out). None where there is nothing to divide by."""

    n: int
    slope: float | None
    relative_error: float | None
    sign_agreement: float | None
    correlation: float | None
    largest_error: float
    largest_change: float

    def to_row(self) -> Row:
        return asdict(self)


def agreement(predicted: Float[np.ndarray, " pairs"], measured: Float[np.ndarray, " pairs"]) -> Agreement:
    """Compare changes, in the units of the reward."""
    error, moved = measured - predicted, measured != 0
    weight, size = float(predicted @ predicted), float(np.linalg.norm(measured))
    spread = float(predicted.std() * measured.std())
    together = float(np.mean((predicted - predicted.mean()) * (measured - measured.mean())))
    return Agreement(
        n=len(measured),
        slope=float(predicted @ measured) / weight if weight > 0 else None,
        relative_error=float(np.linalg.norm(error)) / size if size > 0 else None,
        sign_agreement=float(np.mean(np.sign(predicted[moved]) == np.sign(measured[moved]))) if moved.any() else None,
        correlation=together / spread if spread > 0 else None,
        largest_error=float(np.abs(error).max()),
        largest_change=float(np.abs(measured).max()),
    )


def flips(
    start: Float[np.ndarray, " pairs"], end: Float[np.ndarray, " pairs"], *, tie_tolerance: float
) -> Bool[np.ndarray, " pairs"]:
    """Which pairs are ranked the other way in the end.

    A pair that starts tied stands on the right side, as it were, and flips if it ends on the wrong one: every pair of
    an implicit model that is its own reference does.
    """
    wrong_before, wrong_after = start < -tie_tolerance, end < -tie_tolerance
    return np.where(wrong_before, end > tie_tolerance, wrong_after)


def flip_auc(
    start: Float[np.ndarray, " pairs"],
    predicted: Float[np.ndarray, " pairs"],
    flipped: Bool[np.ndarray, " pairs"],
    *,
    tie_tolerance: float,
) -> float | None:
    """Area under the ROC curve of "the margin is predicted to move against its present side" for which pairs flip.

    One half says nothing, 1 that all that flip are predicted to move further against themselves than any other. None
    where none or all flip.
    """
    against = np.where(start < -tie_tolerance, predicted, -predicted)
    hits, others = int(flipped.sum()), int((~flipped).sum())
    if not hits or not others:
        return None
    ranks = rankdata(against)
    return float((ranks[flipped].sum() - hits * (hits + 1) / 2) / (hits * others))
