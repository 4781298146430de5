"""Intervals of paired differences cover what they claim to, also where few pairs change, by much, or by prompt."""

import numpy as np
import pytest

from llm_experiments.stress.measures import difference_row
from simulations.statistics import paired_difference_interval


def test_the_interval_of_a_paired_difference_covers_and_is_never_certain():
    always = paired_difference_interval(np.ones(8), np.zeros(8))
    assert (always.mean, always.high) == (1, 1)
    assert 0.4 < always.low < 0.9
    still = paired_difference_interval(np.ones(50), np.ones(50))
    assert still.mean == 0
    assert 0.02 < still.high == -still.low < 0.05
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(600):  # 40 pairs, of which a tenth gets worse and a fiftieth better
        change = random.choice([-1.0, 0.0, 1.0], size=40, p=[0.1, 0.88, 0.02])
        interval = paired_difference_interval(np.clip(change, 0, 1), np.clip(-change, 0, 1))
        covered += interval.low <= -0.08 <= interval.high
    assert 0.93 <= covered / 600 <= 0.99


def test_an_interval_of_changes_that_reach_two_covers_where_few_do():
    """Three in a hundred units differ by two. Half units that differ by one are too narrow where none is drawn, which
    is where 40 are drawn in three of ten cases."""
    random = np.random.default_rng(0)
    covered = {1.0: 0, 2.0: 0}
    for _ in range(600):
        change = random.choice([0.0, 2.0], size=40, p=[0.97, 0.03])
        for largest in covered:
            interval = paired_difference_interval(change, np.zeros(40), largest=largest)
            covered[largest] += interval.low <= 0.06 <= interval.high
    assert covered[1] / 600 < 0.75
    assert covered[2] / 600 >= 0.93
    still = paired_difference_interval(np.zeros(50), np.zeros(50), largest=2.0)
    assert 0.07 < still.high == -still.low < 0.08
    assert paired_difference_interval(np.full(8, 2.0), np.zeros(8), largest=2.0).high == 2
    with pytest.raises(ValueError, match="must be positive"):
        paired_difference_interval([1.0], [0.0], largest=0.0)


def test_an_interval_over_prompts_of_unlike_size_covers_the_mean_over_pairs():
    """What the edit does grows with a prompt's number of pairs, so that the mean over prompts is another number."""
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        sizes = random.choice([1, 8], size=60)
        prompts = np.repeat(np.arange(60), sizes)
        lost = np.repeat(random.random(60) < np.where(sizes == 8, 0.4, 0.05), sizes)
        found = difference_row(-lost.astype(float), [str(name) for name in prompts])
        covered += found["low"] <= -(0.4 * 8 + 0.05) / 9 <= found["high"]
    assert 0.92 <= covered / 400 <= 0.98
