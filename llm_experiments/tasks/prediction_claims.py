"""What the prediction study claims: areas under the curve over pairs, rank correlations over cells.

Both pool what shares a language model, so intervals are percentiles over 1000 draws of language models with
replacement, each taken with everything that was trained from it. Of as few models as seven such intervals are narrower
than 95 % says; and six of the seven held-out ones, of several families and options, have one pretraining seed.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from simulations.interval_claims import interval_claim
from simulations.results import Claim, Row
from simulations.statistics import Interval

AIM = 0.9
DRAWS = 1000
LEAST = 5  # pairs of either outcome, for an area within one cell
SCORES = {
    "all": "score by all parameters of the untrained model",
    "head": "score by the theory's coefficients (hidden states fixed)",
    "overlap": "token overlap with the training pairs (baseline)",
}
NEW_SHIFTS = ("no_prefix", "word_first")  # which development never saw
PARTS: dict[str, Callable[[Row], bool]] = {
    "held out": lambda row: row["held_out"],
    "held out, known shifts": lambda row: row["held_out"] and row["shift"] not in NEW_SHIFTS,
    "held out, new shifts": lambda row: row["held_out"] and row["shift"] in NEW_SHIFTS,
    "development": lambda row: not row["held_out"],
}
Table = Float[np.ndarray, "rows columns"]


def prediction_claims(rows: Sequence[Row]) -> tuple[list[Claim], list[str]]:
    """Of the held-out cells, registered where an aim was written down; observed beside that, the held-out cells of
    shifts that development knew and of those it did not, and the development cells.

    Args:
        rows: {model, held_out, kind, shift, accuracy, all, head, overlap}, one per set of pairs and kind; implicit
            ones also {right, pairs: {all, head, overlap}}, a number per pair.
    """
    made: list[Claim] = []
    notes: list[str] = []
    for part, belongs in PARTS.items():
        some = [row for row in rows if belongs(row)]
        implicit = [row for row in some if row["kind"] == "implicit"]
        for score, words in SCORES.items() if some else ():
            aimed = {"op": ">=", "value": AIM} if part == "held out" and score == "all" else {}
            cells = "rank correlation over cells"
            measures = {
                "auc": f"area under the curve: {words}, for which pairs an implicit model ranks right",
                "accuracy": f"{cells}: accuracy predicted by {words}, and measured, implicit models",
                "gap": f"{cells}: gap (explicit minus implicit accuracy) predicted by {words}, and measured",
            }
            intervals = {
                "auc": area_over_models(pair_tables(implicit, score)),
                "accuracy": correlation_over_models(accuracies(implicit, score)),
                "gap": correlation_over_models(gap_tables(some, score)),
            }
            for name, statement in measures.items():
                id = f"prediction/{part.replace(',', '').replace(' ', '_')}/{name}/{score}"
                rest = {"rung": 1, "unit": "language models", "kind": "implicit", **aimed}
                made.append(interval_claim(id, f"{statement} ({part})", intervals[name], **rest))
            error = np.mean([abs(row[score] - row["accuracy"]) for row in implicit])
            notes.append(
                f"Prediction, {part}, {len(implicit)} cells (model, training, shift): {words} is off by {error:.3f} of "
                f"accuracy on average; area within single cells {_within(implicit, score)}."
            )
    return made, notes


def area_over_models(tables: Sequence[Table]) -> Interval:
    """Area under the curve over the pairs of all tables; column 0: is the pair ranked right after training (before it,
    margins are zero), column 1: its score. nan where all are right, or none."""
    right, wrong = ([np.sort(table[table[:, 0] == side, 1]) for table in tables] for side in (1, 0))
    # of a model's right pairs and a model's wrong ones: how often the right one scores higher, ties one half
    wins = np.array(
        [[sum(np.searchsorted(w, r, side).sum() for side in ("left", "right")) / 2 for w in wrong] for r in right]
    )
    hits, others = (np.array([len(some) for some in side]) for side in (right, wrong))

    def area(weights: np.ndarray) -> float:
        chances = (weights @ hits) * (weights @ others)
        return float(weights @ wins @ weights / chances) if chances else np.nan

    return _over_draws(len(tables), area)


def correlation_over_models(tables: Sequence[Table]) -> Interval:
    """Rank correlation of the two columns over the rows of all tables; nan where a column does not vary."""

    def correlation(weights: np.ndarray) -> float:
        rows = np.concatenate([np.tile(table, (int(times), 1)) for table, times in zip(tables, weights, strict=True)])
        return np.nan if (np.ptp(rows, axis=0) == 0).any() else float(np.corrcoef(rankdata(rows, axis=0).T)[0, 1])

    return _over_draws(len(tables), correlation)


def _over_draws(models: int, statistic: Callable[[np.ndarray], float]) -> Interval:
    """The statistic where every model counts once, and its percentiles over how often they count in a draw."""
    random = np.random.default_rng(0)
    draws = random.multinomial(models, np.full(models, 1 / models), size=DRAWS).astype(float)
    found = [value for weights in draws if not np.isnan(value := statistic(weights))] if models > 1 else []
    low, high = np.quantile(found, [0.025, 0.975]) if found else (np.nan, np.nan)
    return Interval(statistic(np.ones(models)), float(low), float(high), models)


def _by_model(rows: Sequence[Row]) -> list[list[Row]]:
    return [[row for row in rows if row["model"] == model] for model in dict.fromkeys(row["model"] for row in rows)]


def pair_tables(rows: Sequence[Row], score: str) -> list[Table]:
    """Of implicit rows, a table per model. Column 0: is the pair ranked right; column 1: its score."""
    return [np.concatenate([_of_row(row, score) for row in some]) for some in _by_model(rows)]


def _of_row(row: Row, score: str) -> Table:
    return np.column_stack([row["right"], row["pairs"][score]])


def accuracies(rows: Sequence[Row], score: str) -> list[Table]:
    """A table per model. Column 0: measured; column 1: predicted."""
    return [np.array([[row["accuracy"], row[score]] for row in some]) for some in _by_model(rows)]


def gap_tables(rows: Sequence[Row], score: str) -> list[Table]:
    """Measured and predicted explicit minus implicit accuracy. The overlap says the same of both kinds: its gap is what
    the implicit model lacks to 1."""
    explicit, implicit = (
        accuracies([row for row in rows if row["kind"] == kind], score) for kind in ("explicit", "implicit")
    )
    predicted = [np.ones_like(table) for table in explicit] if score == "overlap" else explicit
    return [
        np.column_stack([one[:, 0] - other[:, 0], best[:, 1] - other[:, 1]])
        for one, other, best in zip(explicit, implicit, predicted, strict=True)
    ]


def _within(rows: Sequence[Row], score: str) -> str:
    mixed = [row for row in rows if LEAST <= sum(row["right"]) <= len(row["right"]) - LEAST]
    areas = [area_over_models([_of_row(row, score)]).mean for row in mixed]
    return f"{np.mean(areas):.3f} on average (of {len(areas)} cells with {LEAST} of either)" if areas else "undefined"
