"""What is said about score rows: known answers, invariances, and calibration of rewards drawn from their own model."""

import math

import numpy as np
import pytest
from scipy import stats

from llm_experiments.comparison import compare_models, per_prompt
from llm_experiments.evaluation import (
    brier_score,
    calibration_bins,
    expected_calibration_error,
    pair_rewards,
    summarise,
)
from simulations.results import UserError
from simulations.statistics import clustered_wilson_interval, mean_interval, wilson_interval


def rows_of(margins, **columns):
    """One row per margin; a column is one value for all or one per row."""
    rows = []
    for number, margin in enumerate(margins):
        row = {"id": f"p/{number}", "subset": "", "scores_chosen": float(margin), "scores_rejected": 0.0}
        row |= {name: value[number] if isinstance(value, list) else value for name, value in columns.items()}
        rows.append(row)
    return rows


def test_a_hand_made_summary():
    rows = rows_of([2.0, -1.0, 1e-6, 3.0], n_tokens_chosen=[5, 5, 5, 1], n_tokens_rejected=[1, 1, 5, 5])
    found = summarise(rows)
    assert found["accuracy"] == (1 + 0 + 0.5 + 1) / 4
    assert found["tie_rate"] == 0.25
    assert found["baselines"]["longest"]["accuracy"] == (1 + 1 + 0.5 + 0) / 4
    assert found["baselines"]["shortest"]["accuracy"] == (0 + 0 + 0.5 + 1) / 4
    assert found["baselines"]["shortest"]["low"] == wilson_interval(1.5, 4).low
    assert found["baselines"]["bag_of_tokens"] is found["baselines"]["token_overlap"] is None
    assert found["absolute_margin"] == pytest.approx((2 + 1 + 1e-6 + 3) / 4)
    assert found["mean_margin"] == pytest.approx((2 - 1 + 1e-6 + 3) / 4)
    assert found["loss"] == pytest.approx(np.mean([math.log1p(math.exp(-m)) for m in (2, -1, 1e-6, 3)]))
    expected = wilson_interval(2.5, 4)
    assert (found["low"], found["high"]) == (expected.low, expected.high)
    assert found["length_correlation"] == pytest.approx(
        stats.spearmanr([2.0, -1.0, 1e-6, 3.0], [4, 4, 0, -4]).statistic
    )


def test_subsets_are_computed_from_rows_and_not_from_one_another():
    rows = rows_of([1.0] * 8 + [-1.0] * 2, subset=["a"] * 9 + ["b"])
    found = summarise(rows)
    assert found["accuracy"] == 0.8  # the mean over subsets would be (8/9 + 0) / 2
    assert found["subsets"]["a"]["accuracy"] == pytest.approx(8 / 9)
    assert found["subsets"]["b"]["n"] == 1
    lengths = {"n_tokens_chosen": list(range(10)), "n_tokens_rejected": 5}
    parts = summarise(rows_of([1.0] * 10, subset=["a"] * 5 + ["b"] * 5, **lengths))["subsets"]
    assert [parts[name]["baselines"]["longest"]["accuracy"] for name in "ab"] == [0.0, 0.9]
    assert "subsets" not in summarise(rows_of([1.0, 2.0]))


def test_order_of_rows_changes_nothing():
    rng = np.random.default_rng(0)
    rows = rows_of(
        rng.normal(size=30), subset=["a", "b", "c"] * 10, n_tokens_chosen=list(range(30)), n_tokens_rejected=9
    )
    shuffled = [rows[number] for number in rng.permutation(30)]
    assert numbers(summarise(rows)) == pytest.approx(numbers(summarise(shuffled)), rel=1e-9)


def numbers(summary, prefix="") -> dict[str, float]:
    """All numbers of a nested summary, by path."""
    items = summary.items() if isinstance(summary, dict) else enumerate(summary)
    found = {}
    for key, value in items:
        if value is None:
            continue
        nested = isinstance(value, dict | list)
        found |= numbers(value, f"{prefix}{key}/") if nested else {f"{prefix}{key}": value}
    return found


def test_swapping_chosen_and_rejected_mirrors_what_depends_on_the_side():
    rows = rows_of(np.random.default_rng(1).normal(size=40), n_tokens_chosen=list(range(40)), n_tokens_rejected=20)
    swap = {"scores_chosen": "scores_rejected", "n_tokens_chosen": "n_tokens_rejected"}
    swap |= {there: here for here, there in swap.items()}
    there, back = summarise(rows), summarise([{swap.get(key, key): v for key, v in row.items()} for row in rows])
    assert back["accuracy"] == pytest.approx(1 - there["accuracy"])
    assert back["low"] == pytest.approx(1 - there["high"])
    longest = [found["baselines"]["longest"]["accuracy"] for found in (back, there)]
    assert longest[0] == pytest.approx(1 - longest[1])
    assert back["normalised_margin"] == pytest.approx(there["normalised_margin"])
    assert back["length_correlation"] == pytest.approx(there["length_correlation"])


def test_calibration_by_hand():
    # confidences .9 (right), .9 (wrong), .6 (right), and a coin: half right at one half
    probability = np.array([0.9, 0.1, 0.6, 0.5])
    bins = calibration_bins(probability)
    assert [(round(b["low"], 2), round(b["high"], 2), b["n"]) for b in bins] == [
        (0.5, 0.55, 1),
        (0.55, 0.6, 1),
        (0.85, 0.9, 2),
    ]
    assert [b["accuracy"] for b in bins] == [0.5, 1.0, 0.5]
    assert expected_calibration_error(probability) == pytest.approx((0 + 0.4 + 2 * 0.4) / 4)
    assert brier_score(probability) == pytest.approx((0.1**2 + 0.9**2 + 0.4**2 + 0.5**2) / 4)


def test_rewards_that_mean_what_they_say_are_calibrated_and_doubled_ones_are_not():
    rng = np.random.default_rng(2)
    margin = rng.normal(scale=2, size=200_000)
    right = rng.random(margin.size) < 1 / (1 + np.exp(-margin))  # the first response is the better one
    said = np.where(right, margin, -margin)
    assert expected_calibration_error(1 / (1 + np.exp(-said))) < 0.005
    assert expected_calibration_error(1 / (1 + np.exp(-2 * said))) > 0.05
    rows = rows_of(said[:2000])
    assert summarise(rows)["ece"] == pytest.approx(expected_calibration_error(1 / (1 + np.exp(-said[:2000]))))
    assert sum(row["n"] for row in summarise(rows)["calibration"]) == 2000


def test_a_generative_models_probabilities_are_read_through_its_log_odds():
    odds = [(3.0, -3.0), (0.0, 1.0)]
    rows = [
        {
            "id": str(number),
            "scores_chosen": 1 / (1 + math.exp(-first)),
            "scores_rejected": 1 / (1 + math.exp(-second)),
            "log_odds_chosen": first,
            "log_odds_rejected": second,
        }
        for number, (first, second) in enumerate(odds)
    ]
    said = [1 / (1 + math.exp(second - first)) for first, second in odds]
    assert summarise(rows)["brier"] == pytest.approx(np.mean([(1 - p) ** 2 for p in said]))


def test_pairs_of_one_prompt_count_once_where_they_agree():
    """Every pair written down four times: no more is known than before."""
    results = np.random.default_rng(3).integers(0, 2, size=60).astype(float)
    once = wilson_interval(results.sum(), 60)
    four = clustered_wilson_interval(np.repeat(results, 4), np.repeat(np.arange(60), 4))
    assert four.n == 60
    assert four.mean == pytest.approx(once.mean)
    fewer = wilson_interval(59 * once.mean, 59)  # one less, since the variance is estimated
    assert (four.low, four.high) == pytest.approx((fewer.low, fewer.high))
    assert four.high - four.low > 1.9 * (lambda i: i.high - i.low)(wilson_interval(4 * results.sum(), 240))
    rows = rows_of(np.repeat(2 * results - 1, 4), prompt_hash=[str(number // 4) for number in range(240)])
    assert summarise(rows)["prompts"] == 60
    assert summarise(rows)["low"] == pytest.approx(four.low)


def test_clusters_of_one_give_wilson_and_the_corners_hold():
    results = [1.0, 0.0, 0.5, 1.0]
    assert clustered_wilson_interval(results, range(4)) == wilson_interval(2.5, 4)
    all_right = clustered_wilson_interval([1.0] * 9, [0, 0, 0, 1, 1, 1, 2, 2, 2])
    assert (all_right.low, all_right.high) == (wilson_interval(3, 3).low, 1.0)
    assert math.isnan(clustered_wilson_interval([1.0, 0.0], [0, 0]).low)
    with pytest.raises(ValueError, match="cluster"):
        clustered_wilson_interval([1.0], [1, 2])
    with pytest.raises(ValueError, match="between 0"):
        clustered_wilson_interval([2.0], [1])


def test_the_clustered_interval_covers():
    """Prompts with a difficulty of their own, five pairs each: 95 % must hold; pretending independence gives 75 %."""
    rng, hits, naive = np.random.default_rng(4), 0, 0
    for _ in range(400):
        difficulty = rng.beta(0.7, 0.3, size=80)
        results = (rng.random((80, 5)) < difficulty[:, None]).astype(float).reshape(-1)
        found = clustered_wilson_interval(results, np.repeat(np.arange(80), 5))
        other = wilson_interval(results.sum(), results.size)
        hits += found.low <= 0.7 <= found.high
        naive += other.low <= 0.7 <= other.high
    assert 0.92 <= hits / 400 <= 0.98
    assert naive / 400 < 0.85


def compare(**models):
    return compare_models({"pairs": models})


def test_comparing_models():
    better, worse = rows_of([1.0] * 29 + [-1.0]), rows_of([1.0] * 19 + [-1.0] * 11)
    (one,) = compare(better=better, worse=worse[::-1])
    assert one.difference == pytest.approx(1 / 3)
    assert 0 < one.low < 1 / 3 < one.high
    assert (one.first_better, one.second_better, one.prompts) == (10, 0, 30)
    assert one.p_value == pytest.approx(2 * 0.5**10)
    three = compare(a=better, b=worse, c=rows_of([1.0] * 25 + [-1.0] * 5))
    assert [(c.first, c.second) for c in three] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert three[0].p_holm == pytest.approx(3 * three[0].p_value)
    assert all(c.p_holm >= c.p_value for c in three)


def test_sources_are_corrected_together():
    better, worse = rows_of([1.0] * 29 + [-1.0]), rows_of([1.0] * 19 + [-1.0] * 11)
    found = compare_models({"x": {"a": better, "b": worse}, "y": {"a": better, "b": better}})
    assert [(one.source, one.p_value == 1) for one in found] == [("x", False), ("y", True)]
    assert found[0].p_holm == pytest.approx(2 * found[0].p_value)


def test_comparing_counts_prompts_and_not_copies():
    prompts = [str(number // 10) for number in range(60)]
    (copies,) = compare(a=rows_of([1.0] * 60, prompt_hash=prompts), b=rows_of([-1.0] * 60, prompt_hash=prompts))
    assert (copies.pairs, copies.prompts) == (60, 6)
    assert copies.p_value == pytest.approx(2 * 0.5**6)


def test_the_difference_is_that_of_the_accuracies_whatever_the_prompts_sizes():
    prompts = ["a"] * 7 + ["b"] * 2 + ["c"]
    first = rows_of([1.0] * 6 + [-1.0] * 4, prompt_hash=prompts)
    second = rows_of([-1.0] * 4 + [1.0] * 6, prompt_hash=prompts)
    (one,) = compare(a=first, b=second)
    assert one.difference == pytest.approx(one.first_accuracy - one.second_accuracy)
    copies = [{**row, "id": f"{row['id']}/{copy}"} for copy in range(3) for row in first]
    others = [{**row, "id": f"{row['id']}/{copy}"} for copy in range(3) for row in second]
    (three,) = compare(a=copies, b=others)  # every pair three times: no more is known
    assert (three.low, three.high, three.p_value) == pytest.approx((one.low, one.high, one.p_value))


def test_its_interval_covers_where_large_prompts_differ_most():
    """Prompts of one to nine pairs, on which the first model gains with their size."""
    rng, hits = np.random.default_rng(5), 0
    for _ in range(400):
        sizes = rng.integers(1, 10, size=80)
        prompts = np.repeat(np.arange(80), sizes)
        first, second = rng.random(len(prompts)) < 0.5 + 0.04 * sizes[prompts], rng.random(len(prompts)) < 0.5
        found = mean_interval(per_prompt(first.astype(float) - second, list(map(str, prompts))))
        hits += found.low <= 0.04 * 285 / 45 <= found.high  # squares of 1 to 9 over their sum
    assert 0.92 <= hits / 400 <= 0.98


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (rows_of([1.0, 1.0]), "1 pairs that b did not"),
        (rows_of([1.0, 1.0, 1.0]) + rows_of([1.0]), "twice"),
        (rows_of([1.0, 1.0, 1.0], pair_hash=["x", "y", "other"]), "different texts under the id 'p/2'"),
    ],
)
def test_only_the_same_pairs_can_be_compared(second, said):
    with pytest.raises(UserError, match=said):
        compare(a=rows_of([1.0, 1.0, 1.0], pair_hash=["x", "y", "z"]), b=second)


def test_what_pairs_share_with_training_is_counted_from_rows():
    shared = [["prompt", "pair"], [], ["prompt"], []]
    found = summarise(rows_of([1.0, 1.0, 1.0, -1.0], shared=shared))
    assert found["overlap"] == {"any": 2, "pair": 1, "prompt": 2}
    assert (found["accuracy"], found["unshared"]["accuracy"], found["unshared"]["n"]) == (0.75, 0.5, 2)
    assert "unshared" not in summarise(rows_of([1.0, 1.0], shared=[["pair"], ["pair"]]))
    assert "overlap" not in summarise(rows_of([1.0, 1.0]))


def test_trained_baselines_come_from_rows_and_ties_count_half():
    columns = {"bag_of_tokens_chosen": [1.0, 0.0, 3.0, 1.0], "bag_of_tokens_rejected": [0.0, 1.0, 3.0, 1.0 - 1e-10]}
    found = summarise(rows_of([1.0] * 4, **columns))["baselines"]
    assert found["bag_of_tokens"]["accuracy"] == 0.5
    assert found["bag_of_tokens"]["tie_rate"] == 0.5
    assert found["token_overlap"] is None


@pytest.mark.parametrize("value", [None, math.nan, "1.0", True])
def test_a_score_that_is_no_number_is_named(value):
    rows = rows_of([1.0, 2.0])
    rows[1]["scores_rejected"] = value
    with pytest.raises(UserError, match=r"p/1.*scores_rejected"):
        pair_rewards(rows)


def test_no_rows_no_summary():
    with pytest.raises(UserError, match="no score rows"):
        summarise([])
