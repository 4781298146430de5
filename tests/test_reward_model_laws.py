"""What must hold of every kind of reward model, on small random models: batches, order, swaps, reference, reloads."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from llm_experiments.forward import Forward
from llm_experiments.models import load_reward_model
from llm_experiments.scoring import score_pairs
from tests.lm import KINDS, language_model, random_pairs, tokenizer

ARCHITECTURES = ("mistral", "gemma", "gemma2")
pytestmark = pytest.mark.integration


def scores(model, pairs, **options):
    rows = score_pairs(model, pairs, **options)
    return np.array([[row["scores_chosen"], row["scores_rejected"]] for row in rows])


def reward_model(architecture, kind, **options):
    """Implicit: against another random model, so that no reward is zero."""
    model = load_reward_model(language_model(architecture, **options), kind, tokenizer=tokenizer(), beta=1.0)
    if kind == "implicit":
        other = language_model(architecture, seed=1, **options)
        model._reference = Forward(other.requires_grad_(False))
    return model


def allowed(kind, values, tokens):
    """The tolerances of the design: log-ratio 1e-5 * max(1, sqrt(tokens)), explicit 1e-5 * max(1, |r|)."""
    if kind == "implicit":
        return 1e-5 * max(1.0, tokens**0.5)
    return 1e-5 * np.maximum(1, np.abs(values))


@pytest.mark.parametrize("tokens", [8, 64, 512])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_pairs_reward_is_its_own_in_any_batch_order_and_padding(architecture, kind, tokens):
    model = reward_model(architecture, kind)
    # one long companion forces padding on all the others
    pairs = random_pairs(4, response=tokens) + random_pairs(1, response=tokens + 40, seed=7)
    alone = np.concatenate([scores(model, [pair], batch_size=1) for pair in pairs])
    assert np.ptp(alone) > 1e-3, "rewards must differ for this test to say anything"
    for some, order in ((10, [0, 1, 2, 3, 4]), (3, [4, 2, 0, 3, 1])):
        together = scores(model, [pairs[i] for i in order], batch_size=some)
        assert np.all(np.abs(together - alone[order]) <= allowed(kind, alone[order], tokens))


@pytest.mark.parametrize("kind", KINDS)
def test_swapping_chosen_and_rejected_negates_the_margin(kind):
    model, pairs = reward_model("gemma2", kind), random_pairs(5)
    there, back = scores(model, pairs), scores(model, [pair.swapped() for pair in pairs])
    assert np.allclose(there, back[:, ::-1], atol=1e-6)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_policy_equal_to_its_reference_ties_every_pair(architecture):
    model = load_reward_model(language_model(architecture), "implicit")
    rows = score_pairs(model, random_pairs(5, response=64))
    assert all(row["results"] == 0.5 and row["scores_chosen"] == 0.0 for row in rows)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_log_probabilities_equal_those_of_the_full_logits(architecture):
    model = reward_model(architecture, "implicit")
    if architecture == "gemma2":  # logits well beyond the cap, or the test would not see it
        with torch.no_grad():
            model.policy.lm_head.weight.mul_(10)
    for pair, row in zip(pairs := random_pairs(3, response=20), score_pairs(model, pairs), strict=True):
        ids, start = pair.sequence("implicit", "chosen")
        with torch.no_grad():
            logits = model.policy(torch.tensor([ids])).logits[0].float()
        full = torch.log_softmax(logits, -1)[range(start - 1, len(ids) - 1), ids[start:]].double().sum()
        if architecture == "gemma2":
            assert logits.abs().max() > 25
        assert abs(float(full) - row["log_probability_chosen"]) <= 1e-5 * 20


def test_the_audit_and_scores_carry_ids_and_subsets():
    pairs = [replace(pair, subset="hard") for pair in random_pairs(3)]
    rows = score_pairs(reward_model("mistral", "explicit"), pairs)
    assert [row["id"] for row in rows] == [pair.id for pair in pairs]
    assert {row["subset"] for row in rows} == {"hard"}
