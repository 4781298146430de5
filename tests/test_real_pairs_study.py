"""Studies on real pairs: the length controls and the overlap measure, and that no tested prompt was trained on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_experiments.encoding import EncodedPair
from llm_experiments.splits import near_key
from llm_experiments.tasks.real_claims import MEASURES, by_cluster, real_claims
from llm_experiments.tasks.real_pairs import (
    _training_pairs,
    by_prompt,
    in_every_version,
    matching_share,
    read_pairs,
    residual_accuracy,
)


@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_a_reward_that_is_length_has_nothing_left_without_it(seed, weight):
    longer = np.random.default_rng(seed).integers(-50, 50, 40).astype(float)
    assert residual_accuracy(weight * longer, longer) == 0.5


@given(st.integers(0, 1000), st.floats(-3, 3))
def test_length_residual_accuracy_ignores_what_length_adds(seed, weight):
    random = np.random.default_rng(seed)
    margin, longer = random.normal(size=50), random.integers(-50, 50, 50).astype(float)
    assert residual_accuracy(margin + weight * longer, longer) == residual_accuracy(margin, longer)
    assert residual_accuracy(-margin, -longer) == pytest.approx(1 - residual_accuracy(margin, longer))


def test_matching_share_counts_equal_token_pairs():
    def pair(chosen, rejected):
        return EncodedPair("a", "", (1,), tuple(map(int, chosen)), tuple(map(int, rejected)))

    random = np.random.default_rng(0)
    train = [pair(random.integers(2, 9, 5), random.integers(2, 9, 7)) for _ in range(4)]
    tests = [pair(random.integers(2, 9, 6), random.integers(2, 9, 3)), pair([20, 21], [22])]
    seen = [token for one in train for token in one.chosen_ids + one.rejected_ids]
    literal = [
        np.mean([np.mean([[a == b for b in seen] for a in ids]) for ids in (one.chosen_ids, one.rejected_ids)])
        for one in tests
    ]
    assert matching_share(tests, train) == pytest.approx(literal)
    assert matching_share(tests, train)[1] == 0


def test_by_cluster_averages_sets_before_clusters():
    def row(seed, accuracy):
        return {"architecture": "mistral", "seed": seed, "accuracy": accuracy}

    rows = [row(0, 0.5), row(0, 0.7), row(1, 0.2), row(1, None)]
    found = by_cluster(rows, "accuracy")
    assert found == {("mistral", 0): pytest.approx(0.6), ("mistral", 1): pytest.approx(0.2)}


def test_versions_of_the_same_pairs_are_compared_on_the_same_prompts():
    def pairs(*prompts):
        return [EncodedPair(f"a/{prompt}", "", (prompt,), (7,), (8,)) for prompt in prompts]

    encoded = {"original": pairs(1, 2, 3), "french": pairs(2, 3, 4), "other": pairs(5, 1)}
    kept = in_every_version(encoded, {"original": "it", "french": "it", "other": ""})
    prompts = {name: [pair.prompt_ids[0] for pair in some] for name, some in kept.items()}
    assert prompts == {"original": [2, 3], "french": [2, 3], "other": [5, 1]}


def test_pairs_are_parted_by_whether_their_prompt_was_trained_on():
    scores = [{"id": "a", "results": 1.0}, {"id": "b", "results": 0.5}, {"id": "c", "results": 0.0}]
    shared = {"a": ("prompt", "chosen"), "b": ("chosen",), "c": ("near_prompt",)}
    assert by_prompt(scores, shared) == {
        "prompt_trained_on": 0.5,
        "prompt_trained_on_n": 2,
        "prompt_not_trained_on": 0.5,
    }
    assert by_prompt(scores, {})["prompt_not_trained_on"] is None  # all of them: the accuracy itself


@pytest.mark.parametrize("seed", range(3))
def test_exchanging_the_kinds_negates_every_gap_and_exchanges_what_either_won(seed):
    random = np.random.default_rng(seed)
    share = dict.fromkeys([*MEASURES, "by_overlap"])
    rows = [
        share
        | {"cell": "arm", "architecture": "mistral", "seed": cluster, "kind": kind, "set": name, "n": 9}
        | {"category": "in-distribution", "accuracy": random.integers(50) / 50, "by_overlap": random.random(4).tolist()}
        for cluster in range(3)
        for name in ("one", "two")
        for kind in ("explicit", "implicit")
    ]
    prompts = [
        {"cell": "arm", "kind": kind, "category": "in-distribution", "prompt": prompt, "accuracy": random.random()}
        for kind in ("explicit", "implicit")
        for prompt in "abc"
    ]
    other = {"explicit": "implicit", "implicit": "explicit"}
    turned = [[row | {"kind": other[row["kind"]]} for row in some] for some in (rows, prompts)]
    found, exchanged = ({c.id: c for c in real_claims("study", *some)} for some in ((rows, prompts), turned))
    gaps = [name for name in found if "/gap/" in name]
    assert {name.rpartition("/")[2] for name in gaps} == {"accuracy", "over_prompts", "overlap"}
    for name in gaps:
        assert found[name].measured == pytest.approx(-exchanged[name].measured)
    wins = [found[f"study/arm/in-distribution/wins/{kind}"].measured for kind in other]
    assert wins == [exchanged[f"study/arm/in-distribution/wins/{kind}"].measured for kind in reversed(other)]
    assert sum(wins) <= 1
    assert wins[0] == np.mean(
        [one["accuracy"] - two["accuracy"] > 0.01 for one, two in zip(rows[::2], rows[1::2], strict=True)]
    )


@pytest.mark.data
def test_no_tested_prompt_is_trained_on_unless_the_published_split_is_asked_for(real_data):
    train, test = "razin2025/rewardmath_train.jsonl", "razin2025/rewardmath_test.jsonl"
    tests = {"rewardmath": read_pairs(real_data, test)}
    prompts = {near_key(pair.prompt) for pair in tests["rewardmath"]}
    config = {"train": train, "seed": 0, "leak_free": True}
    kept, audit = _training_pairs(real_data, config, tests)
    assert not {near_key(pair.prompt) for pair in kept} & prompts
    assert len(kept) > 500
    leaky, _ = _training_pairs(real_data, config | {"leak_free": False}, tests)
    assert len(leaky) == 2000
    assert audit["before"]["rewardmath"]["prompt_and_chosen"] >= 0.98 * len(tests["rewardmath"])
