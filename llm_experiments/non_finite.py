"""Where a number first stops being finite, found by running the batch again with every module watched."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


def first_non_finite(model: nn.Module, compute: Callable[[], Any]) -> str:
    """Name of the first module whose output is not finite while `compute()` runs, the innermost one; "" if none is."""
    found: list[str] = []

    def watch(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if not found and not all(torch.isfinite(tensor).all() for tensor in _tensors(output)):
                found.append(name)

        return hook

    with _watched(model, watch), torch.no_grad():
        compute()
    return found[0] if found else ""


def first_non_finite_gradient(model: nn.Module, compute: Callable[[], torch.Tensor]) -> str:
    """Name of the first module, from the loss backwards, at whose output the gradient of `compute()` is not finite;
    else of the last weight whose gradient is not; "" if all are. Gradients of `model` are overwritten."""
    found: list[str] = []

    def watch(name: str) -> Callable[..., None]:
        def gradient(value: torch.Tensor) -> None:
            if not found and not torch.isfinite(value).all():
                found.append(name)

        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            for tensor in _tensors(output):
                if tensor.requires_grad:
                    tensor.register_hook(gradient)

        return hook

    model.zero_grad()
    with _watched(model, watch):
        compute().backward()
    for name, weight in reversed(list(model.named_parameters())):
        if not found and weight.grad is not None and not torch.isfinite(weight.grad).all():
            found.append(name)
    return found[0] if found else ""


@contextmanager
def _watched(model: nn.Module, watch: Callable[[str], Callable[..., None]]) -> Iterator[None]:
    handles = [module.register_forward_hook(watch(name)) for name, module in model.named_modules() if name]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _tensors(output: Any) -> Iterator[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, list | tuple):
        for value in output:
            yield from _tensors(value)
