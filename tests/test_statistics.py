"""Error bars against brute force, against scipy where it has the same test, and against their own coverage."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from simulations.statistics import (
    Interval,
    cluster_means,
    crossed_interval,
    holm,
    mcnemar_test,
    mean_interval,
    paired_bootstrap,
    sign_flip_test,
    wilson_interval,
)


def test_mean_interval_is_the_t_interval():
    values = [0.2, 0.5, 0.9, 0.4, 0.7, 0.1]
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    got = mean_interval(values, confidence=0.9)
    assert got.n == 6
    assert (got.mean, got.low, got.high) == pytest.approx((np.mean(values), low, high), abs=1e-12)


def test_mean_interval_where_nothing_varies_or_nothing_is_known():
    assert mean_interval([0.1] * 7) == Interval(0.1, 0.1, 0.1, 7)
    one, none = mean_interval([0.3]), mean_interval([])
    assert one.mean == 0.3
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert math.isnan(none.mean)
    assert none.n == 0


@pytest.mark.integration
def test_mean_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    intervals = [mean_interval(rng.normal(size=6)) for _ in range(2000)]
    hits = sum(i.low <= 0 <= i.high for i in intervals)
    assert abs(hits / 2000 - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 2000)


@pytest.mark.parametrize(("successes", "n"), [(0, 5), (5, 5), (1, 8), (130, 200), (4, 200)])
def test_wilson_is_scipys_for_whole_successes(successes, n):
    low, high = stats.binomtest(successes, n).proportion_ci(method="wilson")
    got = wilson_interval(successes, n)
    assert (got.low, got.high) == pytest.approx((low, high), abs=1e-12)
    assert got.mean == successes / n


def test_wilson_with_ties_lies_between_its_neighbours():
    lower, middle, upper = wilson_interval(10, 40), wilson_interval(10.5, 40), wilson_interval(11, 40)
    assert lower.low < middle.low < upper.low
    assert lower.high < middle.high < upper.high
    assert math.isnan(wilson_interval(0, 0).mean)


@given(st.lists(st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.1, 0.2, 0.3, 1.0]), min_size=1, max_size=9))
def test_sign_flips_against_every_assignment(values):
    observed = abs(sum(values))
    sums = [
        abs(sum(s * v for s, v in zip(signs, values, strict=True)))
        for signs in itertools.product((-1, 1), repeat=len(values))
    ]
    assert sign_flip_test(values) == pytest.approx(np.mean([s >= observed - 1e-9 for s in sums]), abs=1e-12)


def test_sign_flips_reach_what_n_units_can_reach():
    assert sign_flip_test([0.1] * 6) == pytest.approx(2**-5)
    assert sign_flip_test([0.0, 0.0]) == 1.0
    assert sign_flip_test(np.arange(1.0, 41.0)) == pytest.approx(2.0**-39, rel=1e-3)
    with pytest.raises(ValueError, match="1 to 40 units"):
        sign_flip_test(np.ones(41))


def test_mcnemar_is_a_fair_coin_on_the_pairs_that_differ():
    first, second = [1, 1, 1, 1, 1, 0.5, 0, 1], [0, 0, 0, 0, 0.5, 0.5, 0, 1]
    assert mcnemar_test(first, second) == pytest.approx(2 * 0.5**5)
    assert mcnemar_test(second, first) == mcnemar_test(first, second)
    assert mcnemar_test([1, 0.5], [1, 0.5]) == 1.0
    with pytest.raises(ValueError, match="same units"):
        mcnemar_test([1], [1, 0])


def test_bootstrap_is_seeded_paired_and_about_right():
    rng = np.random.default_rng(3)
    shared = rng.normal(size=300, scale=10)  # cancels only if units are resampled as pairs
    first, second = shared + rng.normal(size=300) + 0.5, shared + rng.normal(size=300)
    one = paired_bootstrap(first, second, np.random.default_rng(1))
    assert one == paired_bootstrap(first, second, np.random.default_rng(1))
    assert one != paired_bootstrap(first, second, np.random.default_rng(2))
    t = mean_interval(first - second)
    assert (one.low, one.high) == pytest.approx((t.low, t.high), abs=0.02)
    assert math.isnan(paired_bootstrap([1.0], [0.0], rng).low)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([math.nan])


def test_cluster_means_keep_the_order_of_appearance():
    assert cluster_means([1, 0, 0.5, 1], ["b", "a", "b", "a"]) == {"b": 0.75, "a": 0.5}


@pytest.mark.parametrize(
    "call", [lambda: mean_interval([math.nan]), lambda: mean_interval([1, 2], 1.0), lambda: wilson_interval(3, 2)]
)
def test_nonsense_is_refused(call):
    with pytest.raises(ValueError, match="must"):
        call()


@pytest.mark.integration
def test_a_crossed_interval_covers_where_cells_of_a_row_go_together():
    """With effects of rows and columns as large as the noise, an interval over cells alone is too short."""
    rng = np.random.default_rng(0)
    covered = {"cells": 0, "crossed": 0}
    rows, columns = np.repeat(np.arange(6), 4), np.tile(np.arange(4), 6)
    for _ in range(400):
        values = rng.normal(size=6)[rows] + rng.normal(size=4)[columns] + rng.normal(size=24)
        cells, crossed = mean_interval(values), crossed_interval(values, rows.tolist(), columns.tolist())
        assert crossed.mean == cells.mean
        assert crossed.n == 24
        covered["cells"] += cells.low <= 0 <= cells.high
        covered["crossed"] += crossed.low <= 0 <= crossed.high
    assert covered["cells"] < 0.85 * 400
    assert covered["crossed"] > 0.9 * 400
