"""What score rows say: accuracy with its interval, ties, margins, calibration, baselines, subset by subset.

Everything is computed from one row per pair and never from other averages. The unit that varies independently is the
prompt: pairs that share one (several rejected responses to one question) widen the interval as they must.

Calibration takes the model at its word. Rewards with a margin m say that the chosen response is the better one with
probability sigma(m), Bradley and Terry's; of a generative model m is the difference of its log-odds, since given
that exactly one of two answers is right, P(the first is) = sigma(that difference).
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

from llm_experiments.baselines import BASELINES, TIES
from simulations.results import Row, UserError
from simulations.statistics import clustered_wilson_interval
from theory.preferences import (
    PairRewards,
    absolute_margin,
    accuracy,
    bradley_terry_loss,
    bradley_terry_probability,
    normalised_margin,
    tie_rate,
)

TIE_TOLERANCE = 1e-5
BINS = 10  # of equal width, over confidences from 1/2 to 1


def pair_rewards(rows: Sequence[Row]) -> PairRewards:
    """The rewards in score rows as arrays.

    Raises:
        UserError: there is no row, or one lacks a score; the message names its id.
    """
    if not rows:
        raise UserError("there are no score rows; nothing can be said about no pairs")
    return PairRewards(*(np.array([_number(row, f"scores_{side}") for row in rows]) for side in ("chosen", "rejected")))


def pair_results(rows: Sequence[Row], tie_tolerance: float = TIE_TOLERANCE) -> Float[np.ndarray, " pairs"]:
    """1 where a pair is ranked right, 0.5 for a tie, 0 where it is ranked wrong."""
    return _results(pair_rewards(rows), tie_tolerance)


def summarise(rows: Sequence[Row], *, tie_tolerance: float = TIE_TOLERANCE) -> dict[str, Any]:
    """Everything about one model on one set of pairs, as one JSON object.

    Rows that say what their pair shares with the training pairs (`shared`) add `overlap`, the number of pairs by what
    they share, and `unshared`, the numbers of the pairs that share nothing, where there are both.
    """
    pair_rewards(rows)  # whatever is wrong with them is said first
    summary = _summary(rows, tie_tolerance)
    summary["calibration"] = calibration_bins(bradley_terry_probability(stated_rewards(rows)))
    if all("shared" in row for row in rows):
        counts = Counter(name for row in rows for name in row["shared"])
        alone = [row for row in rows if not row["shared"]]
        summary["overlap"] = {"any": len(rows) - len(alone), **dict(sorted(counts.items()))}
        if 0 < len(alone) < len(rows):
            summary["unshared"] = _summary(alone, tie_tolerance)
    names = list(dict.fromkeys(row.get("subset", "") for row in rows))
    if names != [""]:
        summary["subsets"] = {
            name: _summary([row for row in rows if row.get("subset", "") == name], tie_tolerance)
            for name in sorted(names)
        }
    return summary


def baseline_rewards(rows: Sequence[Row]) -> dict[str, PairRewards | None]:
    """The rewards of the same pairs under what a reward model must beat, by name of the rule; None where the rows do
    not know them: they hold no lengths, or nobody knew the training pairs."""
    found = {name: _columns(rows, name) for name in ("bag_of_tokens", "token_overlap")}
    lengths = _columns(rows, "n_tokens")
    shorter = None if lengths is None else PairRewards(-lengths.chosen, -lengths.rejected)
    return {name: {"longest": lengths, "shortest": shorter, **found}[name] for name in BASELINES}


def baselines(rows: Sequence[Row]) -> dict[str, Row | None]:
    """Accuracy, its interval over prompts and tie rate of each of `baseline_rewards`."""
    prompts = prompts_of(rows)
    return {name: _baseline(name, found, prompts) for name, found in baseline_rewards(rows).items()}


def _columns(rows: Sequence[Row], name: str) -> PairRewards | None:
    if any(row.get(f"{name}_{side}") is None for row in rows for side in _SIDES):
        return None
    return PairRewards(*(np.array([float(row[f"{name}_{side}"]) for row in rows]) for side in _SIDES))


def stated_rewards(rows: Sequence[Row]) -> PairRewards:
    """The rewards whose difference is the log-odds of "chosen is better": a generative model's own log-odds, any
    other's scores."""
    if all(row.get("log_odds_chosen") is not None for row in rows):
        return PairRewards(*(np.array([float(row[f"log_odds_{side}"]) for row in rows]) for side in _SIDES))
    return pair_rewards(rows)


def brier_score(probability: Float[np.ndarray, " pairs"]) -> float:
    """Mean of (1 - P(chosen is better))^2: 0 is perfect, 1/4 is what a coin gets."""
    return float(np.mean((1 - probability) ** 2))


def calibration_bins(probability: Float[np.ndarray, " pairs"]) -> list[Row]:
    """How often the model is right where it is this sure: per bin its limits, n, mean confidence and accuracy.

    The confidence in a pair is max(p, 1 - p), from 1/2 to 1, since which response is called chosen is the answer; a
    pair at exactly 1/2 is half right. Bins are closed on the right, the first on both sides; empty ones are left out.
    """
    confidence, right = _confidence(probability)
    edges = np.linspace(0.5, 1, BINS + 1)
    index = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, BINS - 1)
    rows = []
    for number in np.unique(index):
        inside = index == number
        rows.append(
            {
                "low": float(edges[number]),
                "high": float(edges[number + 1]),
                "n": int(inside.sum()),
                "confidence": float(confidence[inside].mean()),
                "accuracy": float(right[inside].mean()),
            }
        )
    return rows


def expected_calibration_error(probability: Float[np.ndarray, " pairs"]) -> float:
    """Mean over pairs of |accuracy - confidence| of the pair's bin."""
    bins = calibration_bins(probability)
    return sum(row["n"] * abs(row["accuracy"] - row["confidence"]) for row in bins) / len(probability)


def prompts_of(rows: Sequence[Row]) -> list[str]:
    """Which prompt each row belongs to; rows that do not say are taken to have their own."""
    return [str(row.get("prompt_hash") or f"row {number}") for number, row in enumerate(rows)]


_SIDES = ("chosen", "rejected")


def _summary(rows: Sequence[Row], tie_tolerance: float) -> Row:
    rewards, prompts = pair_rewards(rows), prompts_of(rows)
    probability = bradley_terry_probability(stated_rewards(rows))
    interval = clustered_wilson_interval(pair_results(rows, tie_tolerance), prompts)
    summary = {
        "n": len(rows),
        "prompts": len(set(prompts)),
        "accuracy": accuracy(rewards, tie_tolerance=tie_tolerance),
        "low": interval.low,
        "high": interval.high,
        "tie_rate": tie_rate(rewards, tie_tolerance=tie_tolerance),
        "tie_tolerance": tie_tolerance,
        "absolute_margin": absolute_margin(rewards),
        "normalised_margin": normalised_margin(rewards),
        "mean_margin": float(np.mean(rewards.margin)),
        "mean_chosen": float(np.mean(rewards.chosen)),
        "mean_rejected": float(np.mean(rewards.rejected)),
        "loss": float(bradley_terry_loss(stated_rewards(rows))),
        "brier": brier_score(probability),
        "ece": expected_calibration_error(probability),
    }
    summary["baselines"] = baselines(rows)
    if (longest := baseline_rewards(rows)["longest"]) is not None:
        summary["length_correlation"] = rank_correlation(rewards.margin, longest.margin)
    return summary


def _baseline(name: str, rewards: PairRewards | None, prompts: Sequence[str]) -> Row | None:
    if rewards is None:
        return None
    found = clustered_wilson_interval(_results(rewards, TIES[name]), prompts)
    ties = tie_rate(rewards, tie_tolerance=TIES[name])
    return {"accuracy": found.mean, "low": found.low, "high": found.high, "tie_rate": ties}


def _results(rewards: PairRewards, tie_tolerance: float) -> np.ndarray:
    return np.where(np.abs(rewards.margin) <= tie_tolerance, 0.5, (rewards.margin > 0).astype(float))


def _confidence(probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    right = np.where(probability == 0.5, 0.5, (probability > 0.5).astype(float))
    return np.maximum(probability, 1 - probability), right


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    """Spearman's; None where one of the two does not vary."""
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(stats.spearmanr(first, second).statistic)


def _number(row: Row, key: str) -> float:
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise UserError(f"score row {row.get('id', '?')!r}: {key!r} should be a finite number, found {value!r}")
    return float(value)
