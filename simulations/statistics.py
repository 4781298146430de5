"""Error bars and tests over the unit that varies independently.

The unit is the prompt for one model on natural text (Wilson, McNemar, bootstrap), and the surface form or the seed
where a study draws those (t interval over cluster means, sign flips). Callers reduce their rows to one number per unit
first, `cluster_means` does that; nothing here knows what a unit is. A tied pair is half a success everywhere.
"""

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

MAX_SIGN_FLIP_UNITS = 40  # 2^20 sums on each side; more units are better served by the bootstrap


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence limits over `n` units. Limits are nan where nothing can be said (n < 2)."""

    mean: float
    low: float
    high: float
    n: int


def cluster_means(values: Iterable[float | int], clusters: Iterable[Hashable]) -> dict[Hashable, float]:
    """The mean of each cluster's values, in order of first appearance.

    Raises:
        ValueError: the two sequences differ in length.
    """
    groups: dict[Hashable, list[float]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        groups.setdefault(cluster, []).append(float(value))
    return {cluster: math.fsum(group) / len(group) for cluster, group in groups.items()}


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Student's t interval for the mean of independent units (cluster means).

    Units that all agree give an interval of zero width. One unit gives its value with nan limits, none gives nan.

    Raises:
        ValueError: a value is not finite, or `confidence` is not in (0, 1).
    """
    values = _finite(values, "values")
    _check_confidence(confidence)
    n = values.size
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(mean, math.nan, math.nan, 1)
    if np.ptp(values) == 0:
        value = float(values[0])
        return Interval(value, value, value, n)
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1) * stats.sem(values))
    return Interval(mean, mean - half, mean + half, n)


def crossed_interval(
    values: Iterable[float | int],
    rows: Iterable[Hashable],
    columns: Iterable[Hashable],
    confidence: float = 0.95,
) -> Interval:
    """Interval for units that two factors share: cells (row, column) of a crossed design, as split x language model.

    Cells of one row, or of one column, may go together, and then there are fewer independent units than cells. Of the t
    intervals over cells, over row means and over column means the widest is taken; `n` counts the cells. A factor with
    one level only cannot be judged and is left out.
    """
    values, rows, columns = list(values), list(rows), list(columns)
    intervals = [mean_interval(values, confidence)]
    for factor in (rows, columns):
        means = cluster_means(values, factor)
        if len(means) > 1:
            intervals.append(mean_interval(list(means.values()), confidence))
    widest = max(intervals, key=lambda interval: interval.high - interval.low)
    centre = intervals[0].mean
    half = (widest.high - widest.low) / 2
    return Interval(centre, centre - half, centre + half, len(values))


def wilson_interval(successes: float | int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval for a share of `n` independent units.

    `successes` may be a fraction, because a tie is half a success; the formula needs only the share. With whole
    successes this is `scipy.stats.binomtest(...).proportion_ci(method="wilson")`.

    Raises:
        ValueError: `successes` is outside [0, n], or `confidence` is not in (0, 1).
    """
    _check_confidence(confidence)
    if n < 0 or not 0 <= successes <= n:
        raise ValueError(f"successes must lie between 0 and n, got {successes} of {n}")
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    z = float(stats.norm.ppf((1 + confidence) / 2))
    share, z2 = float(successes / n), z * z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # at the ends one limit is the share itself; rounding must not push it past
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return Interval(share, low, high, n)


def clustered_wilson_interval(results: ArrayLike, clusters: Iterable[Hashable], confidence: float = 0.95) -> Interval:
    """Wilson's interval for the mean of `results` (in [0, 1]) that come in clusters, such as pairs of one prompt.

    The share is over results; the interval is that of as many independent results as carry the same information,
    share * (1 - share) / variance, with the variance between clusters' totals (Kish's effective sample size), at most
    as many as there are results. Where all results agree the data say nothing about the clusters, and a cluster
    counts once. With one result per cluster this is `wilson_interval`. `n` is the number of clusters; one alone gives
    nan limits.

    Raises:
        ValueError: lengths differ, or a result is outside [0, 1].
    """
    values, names = _finite(results, "results"), list(clusters)
    if values.size != len(names):
        raise ValueError(f"every result needs its cluster, got {values.size} and {len(names)}")
    if ((values < 0) | (values > 1)).any():
        raise ValueError("results must lie between 0 (wrong) and 1 (right)")
    numbers: dict[Hashable, int] = {}
    index = [numbers.setdefault(name, len(numbers)) for name in names]
    groups, n = len(numbers), values.size
    if groups == n:
        return wilson_interval(math.fsum(values), n, confidence)
    share = math.fsum(values) / n
    if groups == 1:
        return Interval(share, math.nan, math.nan, 1)
    totals = np.bincount(index, weights=values - share, minlength=groups)
    variance = groups / (groups - 1) * float((totals**2).sum()) / n**2
    effective = n if variance == 0 else min(n, share * (1 - share) / variance)
    if np.ptp(values) == 0:
        effective = groups
    size = max(1, int(effective + 1e-9))  # 58.999... is 59
    found = wilson_interval(share * size, size, confidence)
    return Interval(share, found.low, found.high, groups)


def sign_flip_test(values: ArrayLike) -> float:
    """Exact two-sided p-value of "the units' values are symmetric around zero".

    All 2^n sign assignments are counted: the share of them whose sum is at least as far from zero as the observed one.
    Counting meets in the middle (sums of either half, one sorted), so 40 units are exact. The smallest p-value that n
    units can give is 2^(1 - n): below 6 units nothing reaches 0.05.

    Raises:
        ValueError: no value, more than 40, or one that is not finite.
    """
    values = _finite(values, "values")
    if not 1 <= values.size <= MAX_SIGN_FLIP_UNITS:
        raise ValueError(
            f"an exact sign-flip test takes 1 to {MAX_SIGN_FLIP_UNITS} units, got {values.size}; "
            "reduce rows to one value per cluster first, or use paired_bootstrap"
        )
    scale = float(np.abs(values).sum())
    # sums that differ by rounding only are equal: without this, equal values would be counted unevenly
    bound = abs(math.fsum(values)) - 1e-12 * scale
    left = _signed_sums(values[: values.size // 2])
    right = np.sort(_signed_sums(values[values.size // 2 :]))
    inside = np.searchsorted(right, bound - left, side="left") - np.searchsorted(right, -bound - left, side="right")
    return 1 - int(np.maximum(inside, 0).sum()) / 2**values.size


def mcnemar_test(first: ArrayLike, second: ArrayLike) -> float:
    """Exact two-sided McNemar p-value that two models rank the same pairs equally well.

    `first` and `second` hold one result per pair (1 right, 0.5 tied, 0 wrong). Only pairs on which they differ count;
    under the null each of those is a fair coin. No such pair gives 1.

    Raises:
        ValueError: lengths differ or a result is not finite.
    """
    first, second = _paired(first, second)
    better, worse = int((first > second).sum()), int((first < second).sum())
    return float(stats.binomtest(better, better + worse).pvalue) if better + worse else 1.0


def paired_bootstrap(
    first: ArrayLike,
    second: ArrayLike,
    rng: np.random.Generator,
    *,
    samples: int = 10_000,
    confidence: float = 0.95,
) -> Interval:
    """Percentile bootstrap of mean(first - second), resampling units (pairs, or clusters reduced to one value each).

    The same generator state gives the same interval. Fewer than two units give nan limits.

    Raises:
        ValueError: lengths differ, no unit, or a value is not finite.
    """
    first, second = _paired(first, second)
    _check_confidence(confidence)
    difference = first - second
    n = difference.size
    if n == 0:
        raise ValueError("a bootstrap needs at least one unit, got none")
    mean = math.fsum(difference) / n
    if n == 1:
        return Interval(mean, math.nan, math.nan, 1)
    limits = stats.bootstrap(
        (difference,),
        np.mean,
        n_resamples=samples,
        batch=max(1, 2_000_000 // n),  # 16 MB of resampled values at a time
        confidence_level=confidence,
        method="percentile",
        rng=rng,
    ).confidence_interval
    return Interval(mean, float(limits.low), float(limits.high), n)


def paired_difference_interval(
    first: ArrayLike, second: ArrayLike, confidence: float = 0.95, *, largest: float = 1.0
) -> Interval:
    """Agresti and Min's (2005) interval for mean(first - second) on the same units.

    Two half units are added that differ by `largest` in either direction, so that units which all agree give an
    interval of about +-2 `largest` / n around zero, where a bootstrap would be certain. `mean` is the plain one, limits
    stay within +-`largest`. Fewer than two units give nan limits.

    Args:
        largest: the largest difference that is possible: 1 for results in [0, 1], 2 for changes of such results. Given
            too small, a large but rare difference is missed more often than the confidence says.

    Raises:
        ValueError: lengths differ, a value is not finite, `confidence` is not in (0, 1), `largest` is not positive.
    """
    first, second = _paired(first, second)
    _check_confidence(confidence)
    if not largest > 0:
        raise ValueError(f"the largest possible difference must be positive, got {largest}")
    difference = first - second
    n = difference.size
    if n < 2:
        return Interval(math.fsum(difference) / n if n else math.nan, math.nan, math.nan, n)
    total, squares = math.fsum(difference), math.fsum(difference**2) + largest**2
    centre = total / (n + 2)
    half = float(stats.norm.ppf((1 + confidence) / 2)) * math.sqrt((squares / (n + 2) - centre**2) / (n + 2))
    return Interval(total / n, max(-largest, centre - half), min(largest, centre + half), n)


def holm(p_values: ArrayLike) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given: reject those at or below the family-wise level.

    Raises:
        ValueError: a p-value is outside [0, 1].
    """
    p = np.asarray(p_values, dtype=np.float64).reshape(-1)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p-values must lie between 0 and 1, got {p.tolist()}")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)))
    return adjusted.tolist()


def _signed_sums(values: np.ndarray) -> np.ndarray:
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums - value, sums + value])
    return sums


def _paired(first: ArrayLike, second: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    first, second = _finite(first, "first"), _finite(second, "second")
    if first.size != second.size:
        raise ValueError(f"both sides must rank the same units, got {first.size} and {second.size}")
    return first, second


def _finite(values: ArrayLike, name: str) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64).reshape(-1)
    if not np.isfinite(array).all():
        raise ValueError(
            f"{name} must be finite, got {array[~np.isfinite(array)][0]} at {np.argmin(np.isfinite(array))}"
        )
    return array


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
