"""Tied embeddings get one gradient, which is the sum of the two that autograd would build."""

import pytest
import torch

from llm_experiments.batches import collate_pairs
from llm_experiments.models import load_reward_model
from llm_experiments.tied import one_gradient
from tests.lm import language_model, random_pairs

pytestmark = pytest.mark.integration


def gradients(model, *, micro_batches=1):
    """Of all parameters, after one backward pass per micro-batch."""
    model.zero_grad()
    for number in range(micro_batches):
        model(**collate_pairs(random_pairs(3, seed=number), "implicit")).sum().backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("micro_batches", [1, 3])
def test_gradients_are_those_of_autograd(tied, micro_batches):
    model = load_reward_model(language_model("gemma", tied=tied), "implicit", device="cpu")
    plain = gradients(model, micro_batches=micro_batches)
    with one_gradient(model):
        assert model.policy.get_input_embeddings().sparse is tied
        ours = gradients(model, micro_batches=micro_batches)
    assert ours.keys() == plain.keys()
    for name, gradient in ours.items():
        assert not gradient.is_sparse
        assert torch.allclose(gradient, plain[name], rtol=1e-5, atol=1e-5 * float(plain[name].abs().max()))
    after = gradients(model, micro_batches=micro_batches)
    assert all(torch.equal(after[name], plain[name]) for name in plain)


def test_a_backward_pass_that_was_cut_short_leaves_nothing_for_the_next():
    model = load_reward_model(language_model("gemma", tied=True), "implicit", device="cpu")
    with one_gradient(model):
        first = gradients(model)
        layer = model.policy.base_model.layers[0]
        handle = layer.register_full_backward_hook(lambda *_: (_ for _ in ()).throw(MemoryError("out of memory")))
        with pytest.raises(MemoryError):
            gradients(model)
        handle.remove()
        assert model.aside
        again = gradients(model)
    assert all(torch.allclose(again[name], first[name]) for name in first)


def test_models_without_such_a_matrix_are_left_alone():
    for kind in ("explicit", "implicit"):
        model = load_reward_model(language_model("gemma", tied=True), kind, device="cpu")
        model.requires_grad_(kind == "explicit")
        with one_gradient(model):
            assert model.aside is None
