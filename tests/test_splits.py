"""Splits by prompt and the audit of what training and evaluation share."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_experiments.overlap import FORMS, audit_overlap
from llm_experiments.pairs import Pair, load_pairs
from llm_experiments.splits import near_key, pair_hash, prompt_position, split_pairs, text_key
from simulations.results import UserError
from tests.conftest import real_file


def pair(number, prompt="", chosen="", rejected=""):
    return Pair(
        f"p/{number}", "", prompt or f"prompt {number}", chosen or f"good {number}", rejected or f"bad {number}"
    )


PAIRS = [pair(number, prompt=f"prompt {number // 3}") for number in range(3000)]


@given(st.permutations(range(60)), st.integers(0, 5), st.floats(0.1, 0.9))
def test_no_prompt_is_on_both_sides_and_order_does_not_matter(order, seed, share):
    shares = {"train": share, "test": 1 - share}
    pairs = PAIRS[:60]
    parts = split_pairs([pairs[number] for number in order], shares, seed=seed)
    assert {p.prompt for p in parts["train"]}.isdisjoint(p.prompt for p in parts["test"])
    assert sorted(p.id for part in parts.values() for p in part) == sorted(p.id for p in pairs)
    again = split_pairs(pairs, shares, seed=seed)
    assert {p.id for p in again["test"]} == {p.id for p in parts["test"]}


def test_shares_are_met_and_the_seed_matters():
    parts = split_pairs(PAIRS, {"train": 0.7, "dev": 0.1, "test": 0.2})
    sizes = np.array([len(part) for part in parts.values()]) / len(PAIRS)
    assert np.allclose(sizes, [0.7, 0.1, 0.2], atol=4 * np.sqrt(0.7 * 0.3 / 1000))
    other = split_pairs(PAIRS, {"train": 0.7, "dev": 0.1, "test": 0.2}, seed=1)
    both = {p.id for p in parts["test"]} & {p.id for p in other["test"]}
    assert len(both) / len(parts["test"]) < 0.35  # a fifth by chance


def test_a_growing_file_keeps_its_old_pairs_where_they_were():
    shares = {"train": 0.5, "test": 0.5}
    before, after = split_pairs(PAIRS[:90], shares), split_pairs(PAIRS, shares)
    assert {p.id for p in before["test"]} <= {p.id for p in after["test"]}


def test_the_same_text_in_other_clothes():
    messages = ({"role": "user", "content": "What is\n two?"},)
    assert text_key("What is two? ") == text_key(messages) == text_key("\n\nHuman: What is two?\n\nAssistant:")
    assert text_key("What is two?") != text_key("what is two?")
    assert pair_hash(pair(0, prompt="What is two? ")) == pair_hash(replace(pair(0, prompt="-"), prompt=messages))
    assert pair_hash(pair(0, chosen="a", rejected="b")) != pair_hash(pair(0, chosen="b", rejected="a"))


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("What is two?", "“what IS  two”", True),
        ("Ｗhat", "what", True),  # full width
        ("x + 1", "x - 1", False),
        ("1.5 litres.", "15 litres", False),
        ("...", "?!", False),  # nothing but punctuation is its own
    ],
)
def test_nearly_the_same_text(first, second, same):
    assert (near_key(first) == near_key(second)) is same
    assert (prompt_position(pair(0, prompt=first)) == prompt_position(pair(1, prompt=second))) is same


def test_a_lone_surrogate_has_a_place_too():
    assert 0 <= prompt_position(pair(0, prompt="half \ud83d")) < 1


@pytest.mark.parametrize("shares", [{}, {"a": 1.2}, {"a": 0.5}, {"a": 1.5, "b": -0.5}])
def test_shares_that_are_none(shares):
    with pytest.raises(UserError, match="shares"):
        split_pairs(PAIRS[:3], shares)


def test_every_kind_of_overlap_is_counted_once():
    training = [pair(number) for number in range(10)]
    evaluation = [
        pair(20),  # nothing in common
        replace(training[0], id="x/0"),  # the whole pair
        replace(training[1], id="x/1", chosen=training[1].rejected, rejected=training[1].chosen),
        pair(21, prompt=training[2].prompt),
        pair(22, chosen=training[3].rejected),  # a response on the other side
        pair(23, rejected=training[3].chosen),
        pair(24, prompt=training[4].prompt, chosen=training[4].chosen),
        pair(25, prompt=training[4].prompt, chosen=training[5].chosen),
        replace(training[6], id="x/2", chosen=training[6].rejected, rejected=training[6].chosen),
    ]
    found = audit_overlap(training, evaluation)
    assert found.to_row() == dict.fromkeys(FORMS, 0) | {
        "training": 10,
        "evaluation": 9,
        "prompt": 6,
        "chosen": 3,
        "rejected": 1,
        "response": 7,
        "prompt_and_chosen": 2,
        "pair": 1,
        "reversed_pair": 2,
        "any": 8,
    }
    assert "p/20" not in found.shared
    assert "6 prompt" in str(found)
    assert "none" in str(audit_overlap(training, evaluation[:1]))


def test_near_duplicates_are_counted_where_nothing_is_equal():
    training = [pair(0, prompt="What is two?", chosen="A number.", rejected="A bird.")]
    near = pair(1, prompt="what is two", chosen="a number", rejected="A BIRD")
    assert audit_overlap(training, [near]).shared == {"p/1": ("near_prompt", "near_response", "near_pair")}
    assert audit_overlap(training, training).shared == {
        "p/0": ("prompt", "chosen", "rejected", "response", "prompt_and_chosen", "pair")
    }


def test_a_split_has_no_overlap_of_prompts():
    parts = split_pairs(PAIRS, {"train": 0.5, "test": 0.5})
    assert audit_overlap(parts["train"], parts["test"]).counts["prompt"] == 0


@pytest.mark.data
def test_the_known_leaks_of_the_published_files(real_data):
    names = ("rewardmath_train", "rewardmath_test", "rewardbench_math_test")
    training, test, other = (load_pairs(real_file(real_data, f"razin2025/{name}.jsonl")) for name in names)
    same = audit_overlap(training, test)
    counts = same.counts
    assert (same.evaluation, counts["prompt_and_chosen"], counts["pair"]) == (200, 198, 0)  # 99 %
    other = audit_overlap(training, other)
    assert (other.evaluation, other.counts["prompt"]) == (200, 181)  # 90.5 %
