"""The doctor on arithmetic: neighbours, padding, gradients, soft caps, precision, ties."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from llm_experiments.doctor import numbers
from tests.lm import language_model
from tests.patients import classifier, probe_rows
from theory.preferences import PairRewards

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def rows():
    return probe_rows()


def test_rewards_that_depend_on_their_neighbours(rows):
    model = language_model("mistral")
    model.model.norm.register_forward_hook(lambda _, __, output: output + 0.01 * output.mean(0, keepdim=True))
    found = numbers.check_batch_invariance(model, rows, 0, classifier=False)
    assert found.status == "problem"
    assert found.measured > 1e-4
    reward = classifier()
    reward.model.norm.register_forward_hook(lambda _, __, output: output + 0.01 * output.mean(0, keepdim=True))
    assert numbers.check_batch_invariance(reward, rows, 0, classifier=True).status == "problem"


def test_padding_on_the_left_that_is_not_masked(rows):
    """A model that forgets its mask survives padding on the right, where a causal model looks at nothing."""
    model = language_model("mistral")
    inner = model.model.forward
    model.model.forward = lambda *args, attention_mask=None, **options: inner(*args, **options)
    found = numbers.check_batch_invariance(model, rows, 0, classifier=False)
    assert (found.status, "right" in found.cure) == ("warning", True)


def test_a_pad_token_that_is_not_a_number_comes_back_in_the_gradients(rows):
    model = language_model("mistral")
    assert numbers.check_gradients(model, rows, 0).status == "ok"
    model.model.embed_tokens.weight.data[0] = torch.nan
    found = numbers.check_gradients(model, rows, 0)
    assert found.status == "problem"
    assert "embed_tokens" in found.measured
    assert numbers.check_gradients(model, rows, 3).status == "ok"  # another pad token


def test_the_first_module_that_overflows_is_named(rows):
    model = language_model("mistral")
    model.model.layers[1].mlp.down_proj.weight.data.mul_(torch.inf)
    assert numbers.check_gradients(model, rows, 0).measured == "model.layers.1.mlp.down_proj"


def test_gradients_that_break_where_activations_do_not(rows):
    """A square root at zero: harmless forwards, infinite backwards."""
    model = language_model("mistral")
    model.model.norm.register_forward_hook(lambda _, __, output: output + (output - output.detach()).sqrt())
    found = numbers.check_gradients(model, rows, 0)
    assert (found.status, found.measured) == ("problem", "the backward pass")


def test_examining_leaves_the_model_as_it_was(rows):
    model = language_model("gemma2")
    model.model.layers[0].requires_grad_(False)
    before = {name: (weight.clone(), weight.requires_grad) for name, weight in model.named_parameters()}
    numbers.check_gradients(model, rows, 0)
    numbers.check_logits(model, rows)
    for name, weight in model.named_parameters():
        assert torch.equal(weight, before[name][0]), name
        assert (weight.requires_grad, weight.grad) == (before[name][1], None), name


def test_logits_that_the_config_does_not_explain(rows):
    model = language_model("mistral")
    assert numbers.check_logits(model, rows).status == "ok"
    inner = model.forward

    def capped(*args, **options):
        output = inner(*args, **options)
        output.logits = 30 * torch.tanh(output.logits / 30)
        return output

    model.forward = capped
    found = numbers.check_logits(model, rows)
    assert found.status == "problem"
    assert found.measured > 1e-4


def test_a_cap_is_tested_with_logits_above_it(rows):
    model = language_model("gemma2")
    model.lm_head.weight.data.mul_(0.01)  # far below the cap, where tanh is a straight line
    found = numbers.check_logits(model, rows)
    assert found.status == "ok"
    assert float(found.detail.split("logits up to ")[1].split()[0]) >= 60
    inner = model.forward

    def uncapped(*args, **options):
        output = inner(*args, **options)
        output.logits = 30 * torch.atanh((output.logits / 30).clamp(-0.999999, 0.999999))
        return output

    model.forward = uncapped
    assert numbers.check_logits(model, rows).status == "problem"


@pytest.mark.parametrize(
    ("family", "stored", "asked", "status"),
    [
        ("gemma", "float32", "float16", "problem"),
        ("mistral", "bfloat16", "float16", "warning"),
        ("mistral", "float16", "float16", "ok"),
        ("gemma2", "bfloat16", "bfloat16", "ok"),
    ],
)
def test_precision(family, stored, asked, status):
    assert numbers.check_dtype(family, stored, asked).status == status


def test_steps_of_half_precision_beside_the_margins():
    assert numbers.spacing(20.0, torch.bfloat16) == 0.125
    near = torch.tensor(20.0, dtype=torch.bfloat16)
    assert float(torch.nextafter(near, near + 1) - near) == 0.125
    rewards = PairRewards(np.array([20.0, 19.0, 20.05]), np.array([19.95, 17.0, 20.0]))
    found = numbers.check_resolution(rewards, "bfloat16")
    assert (found.status, found.measured) == ("warning", 0.125)
    assert "2 of 3" in found.detail
    assert numbers.check_resolution(rewards, "float32").status == "ok"


def test_ties():
    some = PairRewards(np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0, 1.0]))
    assert numbers.check_ties(some, 1e-5).status == "warning"
    assert numbers.check_ties(replace(some, chosen=some.rejected), 1e-5).status == "problem"
    assert numbers.check_ties(replace(some, chosen=some.rejected + 1), 1e-5).status == "ok"


def test_an_attention_that_leaves_the_cap_out():
    config = language_model("gemma2").config
    assert numbers.check_attention(config).status == "ok"
    config._attn_implementation = "sdpa"
    assert numbers.check_attention(config).status == "problem"
