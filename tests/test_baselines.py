"""The rules that a reward model must beat, against their definitions read literally."""

import numpy as np
import pytest

from llm_experiments.baselines import TokenRules, bag_of_tokens, token_overlap
from llm_experiments.encoding import EncodedPair
from tests.lm import random_pairs


def literal_overlap(response, training):
    """Mean share of equal token pairs (i, j): with the chosen responses, minus with the rejected ones."""

    def share(other):
        return np.mean([[left == right for right in other] for left in response])

    return np.mean([share(pair.chosen_ids) for pair in training]) - np.mean([share(p.rejected_ids) for p in training])


def test_token_overlap_is_its_definition():
    train, pairs = random_pairs(12, response=6, seed=0), random_pairs(9, response=40, seed=1)
    found = TokenRules.of(train).rewards(pairs)["token_overlap"]
    assert found.chosen == pytest.approx([literal_overlap(pair.chosen_ids, train) for pair in pairs], abs=1e-12)
    assert found.rejected == pytest.approx([literal_overlap(pair.rejected_ids, train) for pair in pairs], abs=1e-12)
    assert np.ptp(found.margin) > 1e-3


def test_the_bag_minimises_its_loss_and_unseen_tokens_weigh_nothing():
    train = random_pairs(30, response=5, seed=2)
    weights = bag_of_tokens(train, ridge=0.1)
    counts = np.zeros((len(train), len(weights)))
    for row, pair in enumerate(train):
        np.add.at(counts[row], list(pair.chosen_ids), 1)
        np.subtract.at(counts[row], list(pair.rejected_ids), 1)
    slope = -(counts / (1 + np.exp(counts @ weights))[:, None]).mean(0) + 0.1 * weights
    assert np.abs(slope).max() < 1e-6
    assert not weights[~counts.any(0)].any()


def test_swapping_the_training_pairs_mirrors_both_rules():
    train, pairs = random_pairs(20, seed=3), random_pairs(20, seed=4)
    there, back = (TokenRules.of(some).rewards(pairs) for some in (train, [pair.swapped() for pair in train]))
    for name, rewards in there.items():
        assert back[name].margin == pytest.approx(-rewards.margin, abs=1e-6)
        assert np.abs(rewards.margin).max() > 1e-3


def test_tokens_beyond_what_training_saw_are_ties():
    seen = EncodedPair("a", "", (1,), (4, 5), (6,))
    unseen = EncodedPair("b", "", (1,), (900, 901), (902,))
    rules = TokenRules.of([seen])
    for rewards in rules.rewards([unseen, seen]).values():
        assert rewards.margin[0] == 0
        assert rewards.margin[1] > 0
    assert len(token_overlap([seen])) == 7
