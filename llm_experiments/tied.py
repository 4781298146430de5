"""One gradient for a matrix that is both input and output embeddings, where autograd would build two of its size.

At a vocabulary of 256,000 the second one is most of a small model's memory. The output layer's is put aside; the input
embeddings', of the tokens in the batch alone, comes last in a backward pass, and is added to it in place.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from llm_experiments.distributed import processes
from llm_experiments.models import RewardModel


@contextmanager
def one_gradient(model: RewardModel) -> Iterator[None]:
    """While open, backward passes through an implicit model with tied, trained embeddings build one gradient of them.

    Others are left alone; so are several processes, whose reduction of gradients wants them as autograd has them.
    """
    policy = model.policy
    embeddings, layer = policy.get_input_embeddings(), policy.get_output_embeddings()
    suited = model.kind == "implicit" and isinstance(embeddings, nn.Embedding) and isinstance(layer, nn.Linear)
    if not suited or layer.weight is not embeddings.weight or not layer.weight.requires_grad or processes() > 1:
        yield
        return
    aside: list[torch.Tensor] = []

    def add_up(weight: torch.Tensor) -> None:
        parts, found = list(aside), weight.grad
        aside.clear()
        if found.is_sparse:
            if not parts:
                parts = [torch.zeros_like(weight)]
            weight.grad = parts.pop().index_add_(0, found._indices()[0], found._values())
        for part in parts:
            weight.grad.add_(part)

    before = embeddings.sparse
    handle = layer.weight.register_post_accumulate_grad_hook(add_up)
    embeddings.sparse, model.aside = True, aside
    # a backward pass that was cut short has left its part; the next one must not find it
    other = model.register_forward_pre_hook(lambda *_: aside.clear())
    try:
        yield
    finally:
        handle.remove()
        other.remove()
        embeddings.sparse, model.aside = before, None
