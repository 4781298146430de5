"""What score rows before and after a shift say; everything on the pairs that the shift changed.

Every mean is over pairs, so that a difference is that of the two accuracies beside it; pairs of one prompt go together,
so that intervals and tests count prompts. A tie is half right, a reward that did not move has half fallen.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from llm_experiments.comparison import per_prompt
from llm_experiments.evaluation import TIE_TOLERANCE, rank_correlation
from llm_experiments.stress.scorers import SIDES, result
from llm_experiments.stress.shifts import CHANGED, REJECTED, UNCHANGED
from simulations.results import Row
from simulations.statistics import (
    Interval,
    cluster_means,
    clustered_wilson_interval,
    mcnemar_test,
    mean_interval,
    paired_difference_interval,
)

LENGTH_RULES = ("longest", "shortest")
Values = Float[np.ndarray, " pairs"]
ByPrompt = Float[np.ndarray, " prompts"]


@dataclass(frozen=True)
class Change:
    """Rows of the same pairs in the same order, before and after one shift."""

    before: Sequence[Row]
    after: Sequence[Row]

    @classmethod
    def of(cls, originals: Sequence[Row], shifted: Sequence[Row]) -> "Change":
        """The pairs that the shift changed."""
        known = {row["id"]: row for row in originals}
        after = [row for row in shifted if row["fate"] == CHANGED]
        return cls([known[row["id"]] for row in after], after)

    @property
    def ids(self) -> list[str]:
        return [row["id"] for row in self.before]

    @property
    def prompts(self) -> list[str]:
        """The original's: an edited prompt is still the same unit."""
        return [str(row["prompt_hash"]) for row in self.before]

    def results(self) -> tuple[Values, Values]:
        return column(self.before, "results"), column(self.after, "results")

    def results_by_prompt(self) -> tuple[ByPrompt, ByPrompt]:
        return tuple(by_prompt(values, self.prompts) for values in self.results())  # type: ignore[return-value]

    def margins(self) -> tuple[Values, Values]:
        return margins(self.before), margins(self.after)

    def edited(self, name: str) -> tuple[Values, Values]:
        """A column of the responses that were edited, one after another: before, and after."""
        pairs = [(old[f"{name}_{side}"], new[f"{name}_{side}"]) for old, new, side in self._edited()]
        before, after = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
        return before, after

    def edited_prompts(self) -> list[str]:
        """The prompt of every edited response."""
        return [str(old["prompt_hash"]) for old, _, _ in self._edited()]

    def _edited(self) -> list[tuple[Row, Row, str]]:
        both = zip(self.before, self.after, strict=True)
        return [(old, new, side) for old, new in both for side in SIDES if new[f"edited_{side}"]]


def column(rows: Sequence[Row], name: str) -> Values:
    return np.array([float(row[name]) for row in rows])


def margins(rows: Sequence[Row], name: str = "scores") -> Values:
    return column(rows, f"{name}_chosen") - column(rows, f"{name}_rejected")


def by_prompt(values: Sequence[float] | Values, prompts: Sequence[str]) -> ByPrompt:
    return np.array(list(cluster_means(values, prompts).values()))


def as_compared(rows: Sequence[Row]) -> list[Row]:
    """Score rows with the rewards that differences are taken of: a generative model's log-odds, since P(Yes) of a sure
    one is 1 whatever it reads; every other's scores. Results go with them. Rejected pairs have neither."""
    return [row if row.get("log_odds_chosen") is None else _on_log_odds(row) for row in rows]


def _on_log_odds(row: Row) -> Row:
    rewards = {f"scores_{side}": row[f"log_odds_{side}"] for side in SIDES}
    return row | rewards | {"results": result(rewards["scores_chosen"] - rewards["scores_rejected"], tolerance_of(row))}


def tolerance_of(row: Row) -> float:
    """Up to which margin the row's pair is a tie; rows from before did not say."""
    return row.get("tie_tolerance", TIE_TOLERANCE)


def near_ties(rows: Sequence[Row]) -> float:
    """The share of pairs that count as ties although their rewards differ."""
    return float(np.mean((column(rows, "results") == 0.5) & (margins(rows) != 0)))


def interval_row(interval: Interval) -> Row:
    return {"value": interval.mean, "low": interval.low, "high": interval.high, "n": interval.n}


def difference_row(differences: Values, prompts: Sequence[str], *, largest: float = 1.0) -> Row:
    """Their mean over pairs, with an interval over prompts; `largest` is the largest that is possible."""
    by_prompt = per_prompt(differences, prompts)
    interval = paired_difference_interval(by_prompt, np.zeros(len(by_prompt)), largest=largest)
    return interval_row(interval) | {"value": float(differences.mean())}


def spread_of(rows: Sequence[Row]) -> float:
    """Root mean square of the margins, a model's own unit: their standard deviation if either response may come first.
    What a prompt adds to the rewards of both its responses is not in it."""
    return float(np.sqrt(np.mean(margins(rows) ** 2)))


def accuracy_row(results: Values, prompts: Sequence[str]) -> Row:
    return interval_row(clustered_wilson_interval(results, prompts))


def fates(rows: Sequence[Row]) -> Row:
    """How many pairs were changed, unchanged and rejected, and why."""
    counts = Counter(row["fate"] for row in rows)
    reasons = {fate.removeprefix(REJECTED): n for fate, n in counts.items() if fate.startswith(REJECTED)}
    return {
        "n_pairs": len(rows),
        "n_changed": counts[CHANGED],
        "n_unchanged": counts[UNCHANGED],
        "n_rejected": sum(reasons.values()),
        "rejected_reasons": reasons,
    }


def overall_accuracy(rows: Sequence[Row]) -> float | None:
    """Of all pairs after the shift, those that it left alone included; None where it left no pair."""
    results = [float(row["results"]) for row in rows if not row["fate"].startswith(REJECTED)]
    return float(np.mean(results)) if results else None


def one_sided(rows: Sequence[Row]) -> int:
    """Of how many changed pairs the edit changed one response alone."""
    return sum(row["edited_chosen"] != row["edited_rejected"] for row in rows if row["fate"] == CHANGED)


def measure(change: Change, *, purpose: str, spread: float) -> Row:
    """The numbers of one row of the table, nulls where no pair changed; `p_holm` is the caller's, who sees all rows."""
    if not change.before:
        return dict.fromkeys(MEASURES)
    prompts = change.prompts
    (before, after), (first, second) = change.results(), change.results_by_prompt()
    (old, new) = change.margins()
    moved = change.edited("scores")
    lengths = change.edited("n_tokens")
    row: Row = {
        "n_prompts": len(first),
        "accuracy_before": float(before.mean()),
        "accuracy_after": float(after.mean()),
        "difference": difference_row(after - before, prompts),
        "p_value": mcnemar_test(first, second),
        "flip_rate": accuracy_row(np.abs(after - before), prompts),
        "margin_shift": interval_row(mean_interval(per_prompt((new - old) / spread, prompts))) if spread else None,
        "drift": float(np.mean(np.abs(moved[1] - moved[0]))) / spread if spread else None,
        "rank_correlation": rank_correlation(old, new),
        "falls": None,
        "tokens_before": float(lengths[0].mean()),
        "tokens_after": float(lengths[1].mean()),
        "length_correlation": rank_correlation(
            new - old, margins(change.after, "n_tokens") - margins(change.before, "n_tokens")
        ),
    }
    if purpose == "sensitivity":
        owners = change.edited_prompts()
        falls = _falls(*moved, tolerance_of(change.before[0]))
        fell = by_prompt(falls, owners)
        row |= {"falls": accuracy_row(falls, owners), "p_value": mcnemar_test(fell, 1 - fell)}
    return row


MEASURES = (
    "n_prompts",
    "accuracy_before",
    "accuracy_after",
    "difference",
    "p_value",
    "flip_rate",
    "margin_shift",
    "drift",
    "rank_correlation",
    "falls",
    "tokens_before",
    "tokens_after",
    "length_correlation",
)


def length_rule(rows: Sequence[Row]) -> Row | None:
    """Which of longest and shortest ranks more as the model does, on pairs of different lengths: how often they agree,
    and how often the model is right where that rule is wrong. None if no two responses differ in length."""
    found = []
    for rule in LENGTH_RULES:
        theirs, prompts = length_results(rows, rule), [str(row["prompt_hash"]) for row in rows]
        uneven = theirs != 0.5
        if not uneven.any():
            return None
        mine = column(rows, "results")
        agreement = 1 - np.abs(mine - theirs)
        wrong = theirs == 0
        found.append(
            {
                "rule": rule,
                "agreement": accuracy_row(agreement[uneven], _some(prompts, uneven)),
                "where_wrong": accuracy_row(mine[wrong], _some(prompts, wrong)) if wrong.any() else None,
            }
        )
    return max(found, key=lambda row: row["agreement"]["value"])


def length_results(rows: Sequence[Row], rule: str) -> Values:
    """Results of "the longest response wins" or "the shortest does"; 0.5 where both are as long."""
    sign = 1 if rule == "longest" else -1
    return (np.sign(sign * margins(rows, "n_tokens")) + 1) / 2


def rule_results(rows: Sequence[Row], rule: str, tie: float) -> Values:
    """Results of a rule whose rewards are columns of `rows`."""
    margin = margins(rows, rule)
    return np.where(np.abs(margin) <= tie, 0.5, (margin > 0).astype(float))


def foretold(change: Change, rules: Mapping[str, Row], shifted_rules: Mapping[str, Row], rule: str) -> Row:
    """Spearman's correlation of the changes of the model's margins with those that a rule foretells, over the changed
    pairs of which it says something; `rules` holds its rows by pair id."""
    known = [
        number
        for number, name in enumerate(change.ids)
        if all(table.get(name, {}).get(f"{rule}_chosen") is not None for table in (rules, shifted_rules))
    ]
    if not known:
        return {"r": None, "n": 0}
    ids = [change.ids[number] for number in known]
    said = margins([shifted_rules[name] for name in ids], rule) - margins([rules[name] for name in ids], rule)
    old, new = change.margins()
    return {"r": rank_correlation(said, (new - old)[known]), "n": len(known)}


def _falls(before: Values, after: Values, tolerance: float) -> Values:
    return np.where(np.abs(after - before) <= tolerance, 0.5, (after < before).astype(float))


def _some(values: Sequence[str], mask: np.ndarray) -> list[str]:
    return [value for value, here in zip(values, mask, strict=True) if here]
