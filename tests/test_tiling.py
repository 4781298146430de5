"""Log-probabilities by tiles of the vocabulary against full logits: values, gradients, and what is left out."""

import pytest
import torch

from llm_experiments import tiling
from llm_experiments.logprobs import LogitRule, token_log_probabilities
from llm_experiments.tiling import tiled_log_probabilities

RULES = [LogitRule(), LogitRule(0.3), LogitRule(1.0, 5.0), LogitRule(1.7, 3.0)]


def problem(dtype=torch.float64, *, tokens=6, dim=5, vocabulary=23):
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(tokens, dim, dtype=torch.float64, generator=generator)
    weight = torch.randn(vocabulary, dim, dtype=torch.float64, generator=generator) * 2
    bias = torch.randn(vocabulary, dtype=torch.float64, generator=generator)
    targets = torch.tensor([0, vocabulary - 1, *range(3, 3 + tokens - 2)])  # both ends of the first and last tile
    return *(tensor.to(dtype).requires_grad_() for tensor in (states, weight, bias)), targets


def plain(states, weight, bias, targets, rule):
    logits = rule.apply(nn_linear(states, weight, bias))
    return torch.log_softmax(logits, -1)[torch.arange(len(targets)), targets]


def nn_linear(states, weight, bias):
    return torch.nn.functional.linear(states, weight, bias)


@pytest.mark.parametrize("tile", [1, 7, 23, 100])
@pytest.mark.parametrize("kept", [0, 50, 2**20])  # none of the logits, some, all
@pytest.mark.parametrize("rule", RULES)
def test_values_and_gradients_are_those_of_full_logits(rule, kept, tile, monkeypatch):
    monkeypatch.setitem(tiling.KEPT_ELEMENTS, "cpu", kept)
    states, weight, bias, targets = problem()
    for some_bias in (bias, None):
        inputs = [states, weight] if some_bias is None else [states, weight, bias]
        values = tiled_log_probabilities(states, weight, some_bias, targets, rule, tile)
        full = plain(states, weight, some_bias, targets, rule)
        assert torch.allclose(values, full, atol=1e-12)
        outer = torch.linspace(-1, 2, len(targets), dtype=torch.float64)
        for ours, theirs in zip(
            torch.autograd.grad(values, inputs, outer), torch.autograd.grad(full, inputs, outer), strict=True
        ):
            assert torch.allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_gradients_are_those_of_finite_differences(rule):
    states, weight, bias, targets = problem()
    assert torch.autograd.gradcheck(
        lambda *inputs: tiled_log_probabilities(*inputs, targets, rule, 7), (states, weight, bias)
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.1)])
def test_smaller_types_stay_close_and_give_gradients_of_their_own_type(dtype, tolerance):
    states, weight, bias, targets = problem(dtype, tokens=40, dim=32, vocabulary=1000)
    values = tiled_log_probabilities(states, weight, bias, targets, LogitRule(1.0, 30.0), 128)
    assert values.dtype == torch.float32
    exact = [tensor.detach().double().requires_grad_() for tensor in (states, weight, bias)]
    full = plain(*exact, targets, LogitRule(1.0, 30.0))
    assert (values - full).abs().max() <= tolerance * full.abs().max()
    outer = torch.linspace(-1, 2, len(targets))
    ours = torch.autograd.grad(values, (states, weight, bias), outer)
    theirs = torch.autograd.grad(full, exact, outer.double())
    for one, other, tensor in zip(ours, theirs, (states, weight, bias), strict=True):
        assert one.dtype == tensor.dtype
        assert (one - other).abs().max() <= tolerance * other.abs().max()


def test_frozen_weights_get_no_gradient_and_cost_none():
    states, weight, _, targets = problem()
    weight.requires_grad_(False)
    tiled_log_probabilities(states, weight, None, targets, LogitRule(), 7).sum().backward()
    assert states.grad is not None
    assert weight.grad is None


def test_a_second_derivative_is_refused_and_not_silently_wrong():
    states, weight, _, targets = problem()
    values = tiled_log_probabilities(states, weight.detach(), None, targets, LogitRule(), 7)
    (slope,) = torch.autograd.grad(values.square().sum(), states, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_an_output_layer_that_must_be_called_is_called():
    """Adapters and sharded weights do their work in hooks and forwards of their own."""
    generator = torch.Generator().manual_seed(0)
    hidden, layer = torch.randn(2, 6, 5, generator=generator), torch.nn.Linear(5, 23)
    ids, mask = torch.randint(0, 23, (2, 6), generator=generator), torch.ones(2, 6, dtype=torch.bool)
    mask[:, 0] = False
    before = token_log_probabilities(hidden, ids, mask, layer, LogitRule())
    layer.register_forward_hook(lambda module, inputs, output: 2 * output)
    after = token_log_probabilities(hidden, ids, mask, layer, LogitRule())
    doubled = torch.nn.Linear(5, 23)
    doubled.weight.data, doubled.bias.data = 2 * layer.weight.data, 2 * layer.bias.data
    assert torch.allclose(after, token_log_probabilities(hidden, ids, mask, doubled, LogitRule()), atol=1e-5)
    assert not torch.allclose(before, after, atol=1e-2)
