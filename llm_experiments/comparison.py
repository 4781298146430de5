"""Model against model on the same pairs: is the difference more than luck?

Rows are matched by pair id and must be of the same texts. The unit that varies independently is the prompt: the test is
the exact one of McNemar over prompts on which the two differ, the interval of the difference a paired bootstrap that
draws prompts, and many comparisons are corrected together (Holm).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from llm_experiments.evaluation import TIE_TOLERANCE, pair_results, prompts_of
from simulations.results import Row, UserError, read_rows, write_json
from simulations.statistics import cluster_means, holm, mcnemar_test, paired_bootstrap


@dataclass(frozen=True)
class Comparison:
    """Two models on the pairs of one source. `difference` is the first's accuracy minus the second's, with its 95 %
    interval over prompts; `first_better` counts prompts. `p_value` is of a test by itself, `p_holm` corrected for all
    that were made together."""

    source: str
    first: str
    second: str
    pairs: int
    prompts: int
    first_accuracy: float
    second_accuracy: float
    difference: float
    low: float
    high: float
    first_better: int
    second_better: int
    p_value: float
    p_holm: float

    def to_row(self) -> Row:
        return asdict(self)


def compare_runs(
    output: Path, others: Sequence[Path], sources: Sequence[str], *, tie_tolerance: float = TIE_TOLERANCE
) -> list[Comparison]:
    """Compare the scores of `output` with those in the folders of other runs, and those with one another, on the named
    sources of pairs; written to comparisons.json in `output`, in place of earlier ones.

    Raises:
        UserError: a run has no scores of a source, or of other pairs.
    """
    check_runs(output, others, sources)
    runs = (output, *others)
    short = len({run.name for run in runs}) == len(runs)
    scores = {
        source: {run.name if short else str(run): read_rows(scores_of(run, source)) for run in runs}
        for source in sources
    }
    found = compare_models(scores, tie_tolerance=tie_tolerance)
    write_json(output / "comparisons.json", [one.to_row() for one in found])
    return found


def check_runs(output: Path, others: Sequence[Path], sources: Sequence[str]) -> None:
    """Raises UserError, before anything is computed, where one of `others` cannot be compared with."""
    for number, run in enumerate(others):
        if run.resolve() in [other.resolve() for other in (output, *others[:number])]:
            raise UserError(f"--against {run}: a run is compared with itself; name each once, and not --output")
        for source in sources:
            if not scores_of(run, source).exists():
                there = sorted(file.stem for file in (run / "scores").glob("*.jsonl"))
                raise UserError(
                    f"--against {run}: holds no scores of {source!r} (found {', '.join(there) or 'none'}); give the "
                    "--output folder of a run that scored the same pairs"
                )


def scores_of(run: Path, source: str) -> Path:
    """Where a run keeps its rows of one source of pairs."""
    return run / "scores" / f"{source}.jsonl"


def compare_models(
    scores: Mapping[str, Mapping[str, Sequence[Row]]], *, tie_tolerance: float = TIE_TOLERANCE, seed: int = 0
) -> list[Comparison]:
    """Every two models on every source of pairs, given as rows by source and model; Holm-corrected together.

    Raises:
        UserError: two models did not score the same pairs, or one scored a pair twice.
    """
    found = []
    for source, models in scores.items():
        for first, second in combinations(models, 2):
            _same_pairs(first, models[first], second, models[second])
            rng = np.random.default_rng(seed)
            found.append(_compare((source, first, second), models[first], models[second], tie_tolerance, rng))
    corrected = holm([one["p_value"] for one in found])
    return [Comparison(**one, p_holm=p) for one, p in zip(found, corrected, strict=True)]


def _compare(
    names: tuple[str, str, str], some: Sequence[Row], others: Sequence[Row], tolerance: float, rng: np.random.Generator
) -> Row:
    theirs = {row["id"]: row for row in others}
    first, second = pair_results(some, tolerance), pair_results([theirs[row["id"]] for row in some], tolerance)
    prompts = prompts_of(some)
    left, right = (np.array(list(cluster_means(values, prompts).values())) for values in (first, second))
    interval = paired_bootstrap(per_prompt(first - second, prompts), np.zeros(len(left)), rng)
    return {
        **dict(zip(("source", "first", "second"), names, strict=True)),
        "pairs": len(first),
        "prompts": len(left),
        "first_accuracy": float(first.mean()),
        "second_accuracy": float(second.mean()),
        "difference": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "first_better": int((left > right).sum()),
        "second_better": int((left < right).sum()),
        "p_value": mcnemar_test(left, right),
    }


def per_prompt(differences: np.ndarray, prompts: Sequence[str]) -> np.ndarray:
    """One value per prompt with the mean of `differences`, whose spread is that mean's over prompts: to first order
    what drawing prompts, each with all of its pairs, does to a mean over pairs."""
    names, index = np.unique(prompts, return_inverse=True)
    sums, sizes = np.bincount(index, weights=differences), np.bincount(index)
    mean = differences.mean()
    return mean + len(names) / len(prompts) * (sums - mean * sizes)


def _same_pairs(first: str, some: Sequence[Row], second: str, others: Sequence[Row]) -> None:
    for name, rows in ((first, some), (second, others)):
        if len({row["id"] for row in rows}) != len(rows):
            raise UserError(f"{name}: a pair id occurs twice in its scores; every pair may count once")
    here, there = {row["id"] for row in some}, {row["id"] for row in others}
    if here != there:
        example = sorted(here ^ there, key=str)[0]
        raise UserError(
            f"{first} scored {len(here - there)} pairs that {second} did not, and {second} {len(there - here)} that "
            f"{first} did not (such as {example!r}); only scores of the same pairs can be compared"
        )
    texts = {row["id"]: row.get("pair_hash") for row in others}
    for row in some:
        if None not in (row.get("pair_hash"), texts[row["id"]]) and row["pair_hash"] != texts[row["id"]]:
            raise UserError(
                f"{first} and {second} read different texts under the id {row['id']!r}; only scores of the same pairs "
                "can be compared"
            )
