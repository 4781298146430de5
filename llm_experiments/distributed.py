"""Several processes on one run: who writes, who scores what, and where the weights lie.

    torchrun --nproc_per_node 2 -m rewardgap train ...        each process holds the model (data-parallel)
    accelerate launch --config_file fsdp2.yaml ...            each process holds a part of every weight (FSDP2)

Every process runs the same command. The first one alone writes and speaks.
"""

import os
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")


def processes() -> int:
    """How many processes run this command together."""
    return int(os.environ.get("WORLD_SIZE", 1))


def rank() -> int:
    """Which of them this is."""
    return int(os.environ.get("RANK", 0)) if processes() > 1 else 0


def gather(value: Item) -> list[Item]:
    """Every process's `value`, in the order of their ranks, on every process."""
    if processes() == 1:
        return [value]
    values: list[Any] = [None] * processes()
    torch.distributed.all_gather_object(values, value)
    return values


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """`tensor` with all its parts, on the CPU; every process that holds a part must call this."""
    return (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).cpu()


def like(value: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """`value` where `target` lies, in parts where `target` is."""
    value = value.to(target.device)
    if not hasattr(target, "placements"):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, target.device_mesh, target.placements)
