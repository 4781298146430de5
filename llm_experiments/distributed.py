"""Several processes on one run: who writes, who scores what, and where the weights lie.

    accelerate launch --config_file llm_experiments/configs/fsdp2.yaml -m rewardgap train ...   a part of each weight
    torchrun --nproc_per_node 2 -m rewardgap train ...                                          all weights in each

Every process runs the same command on its share of each batch; the first one alone writes and speaks. Launchers say in
the environment how many there are, and whether weights are to be sharded (FSDP2). We shard models ourselves, for
accelerate knows no reward model, leaves float32 heads no group of their own, and on CPUs silently does not shard.
"""

import copy
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn

from simulations.results import UserError, leave_writing_to_the_first

Item = TypeVar("Item")


@dataclass
class _Processes:
    """What this process knows of the others."""

    together: int = 1  # that compute together now
    acquainted: bool = False  # by us


_known = _Processes()


def launched() -> int:
    """How many processes a launcher started, for whatever program."""
    return int(os.environ.get("WORLD_SIZE", 1))


def processes() -> int:
    """How many processes compute together, within `joined`."""
    return _known.together


def rank() -> int:
    """Which of them this is."""
    return int(os.environ.get("RANK", 0)) if processes() > 1 else 0


@contextmanager
def joined(*, cpu: bool) -> Iterator[None]:
    """Within this the processes that a launcher started compute together, each on a device of its own, and the first
    alone writes and speaks. In a program of somebody else's, which has made them acquainted already, this one stays
    alone: TRL asks its reward functions in every process, for other texts each."""
    strangers = torch.distributed.is_available() and torch.distributed.is_initialized() and not _known.acquainted
    if launched() == 1 or processes() > 1 or strangers:
        yield
        return
    if not _known.acquainted:
        from accelerate import PartialState

        PartialState(cpu=cpu or not torch.cuda.is_available())
        _known.acquainted = True
    _known.together = launched()
    if rank() > 0:
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        leave_writing_to_the_first(True)
    try:
        yield
    finally:
        leave_writing_to_the_first(False)
        _known.together = 1


def wait_for_all() -> None:
    if processes() > 1:
        torch.distributed.barrier()


@contextmanager
def first_process_first() -> Iterator[None]:
    """The others come in when the first one is through."""
    if rank() > 0:
        wait_for_all()
    yield
    if rank() == 0:
        wait_for_all()


def gather(value: Item) -> list[Item]:
    """Every process's `value`, in the order of their ranks, on every process."""
    if processes() == 1:
        return [value]
    values: list[Any] = [None] * processes()
    torch.distributed.all_gather_object(values, value)
    return values


def share(items: Sequence[Item]) -> list[Item]:
    """This process's part of `items`. All parts are equally long, since sharded models compute only together: where the
    processes do not divide them, some items are in two parts."""
    each = -(-len(items) // processes())
    return [items[(number * processes() + rank()) % len(items)] for number in range(each)]


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """`tensor` with all its parts; every process that holds a part must call this."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def like(value: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """`value` where `target` lies, in parts where `target` is."""
    value = value.to(target.device)
    if not hasattr(target, "placements"):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, target.device_mesh, target.placements)


@dataclass(frozen=True)
class Sharding:
    """How weights are spread: `reshard` frees a layer's gathered weights after its forward pass; `bfloat16` computes in
    it, with weights, moments and the sums of gradients as loaded."""

    reshard: bool = True
    bfloat16: bool = False


@dataclass(frozen=True)
class Spread:
    """What the launcher asks for: whole weights in every process, sharded ones, or whatever DeepSpeed does."""

    sharding: Sharding | None = None
    by_deepspeed: bool = False

    @classmethod
    def asked(cls) -> "Spread":
        """Read from the environment that `accelerate launch` sets.

        Raises:
            UserError: FSDP of version 1, float16 (which would need its losses scaled), or weights on the host.
        """
        if processes() == 1:
            return cls()
        if _said("ACCELERATE_USE_DEEPSPEED") == "true":
            return cls(by_deepspeed=True)
        if _said("ACCELERATE_USE_FSDP") != "true":
            return cls()
        if _said("FSDP_VERSION") != "2":
            raise UserError("FSDP version 1 is not supported; set fsdp_version: 2 in accelerate's config file")
        precision = _said("ACCELERATE_MIXED_PRECISION") or "no"
        if precision not in ("no", "bf16"):
            raise UserError(f"mixed_precision: {precision} is not supported with FSDP; use bf16 or no")
        if _said("FSDP_OFFLOAD_PARAMS") == "true":
            raise UserError("fsdp_offload_params: true is not supported; start more processes, or use --use_peft")
        return cls(Sharding(_said("FSDP_RESHARD_AFTER_FORWARD") != "false", precision == "bf16"))

    @contextmanager
    def trainable(self, model: Any) -> Iterator[Any]:
        """The RewardModel to train: `model` itself or, where weights are spread, a copy that can be. `model` waits on
        the CPU, to be whole again at the end."""
        if self.sharding is None and not self.by_deepspeed:
            yield model
            return
        other = model.to("cpu").reference
        # a frozen reference is not trained, and need not be there twice
        trained = copy.deepcopy(model, {} if other is None or other is model.policy else {id(other): other})
        if self.sharding is None:
            yield trained
            return
        names = ("ACCELERATE_USE_FSDP", "ACCELERATE_MIXED_PRECISION")  # what is done already
        before = {name: os.environ.pop(name) for name in names if name in os.environ}
        try:
            yield shard(trained, self.sharding)
        finally:
            os.environ.update(before)

    def put_together(self, model: Any, trainer: Any) -> None:
        """The trained weights, whole, into `model`, back on its device; every process must call this."""
        if self.sharding is None and not self.by_deepspeed:
            return
        model.to(trainer.args.device)
        if self.by_deepspeed:
            state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
            if rank() == 0:  # the others get none
                model.load_state_dict(state)
            for weight in model.parameters():
                torch.distributed.broadcast(weight.data, 0)
            return
        found = dict(trainer.model.named_parameters())
        with torch.no_grad():
            for name, weight in model.named_parameters():
                weight.copy_(whole(found[name].detach()))


def _said(name: str) -> str:
    return os.environ.get(name, "").lower()


def shard(model: Any, how: Sharding = Sharding()) -> Any:
    """Spread the weights of a RewardModel over all processes, in place: each layer a group, an explicit model's head a
    group of its own, in the precision it has.

    Every process must hold the same weights before, and call the model as often as the others after.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    kind = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
    mesh = init_device_mesh(kind, (processes(),))
    narrow = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if how.bfloat16 else MixedPrecisionPolicy()
    for layer in _layers(model.policy):
        fully_shard(layer, reshard_after_forward=how.reshard, mp_policy=narrow, mesh=mesh)
    if model.head is not None:  # else what is left is read by the model's own forward pass, not by the policy's
        fully_shard(model.policy, mp_policy=narrow, mesh=mesh)
        narrow = MixedPrecisionPolicy()
    fully_shard(model, mp_policy=narrow, mesh=mesh)
    model.is_distributed_loading_by_transformers = True  # Trainer: leave its placement and gradients alone
    return model


def _layers(policy: nn.Module) -> list[nn.Module]:
    """The repeated blocks of a transformer, as transformers itself names them."""
    names = set(getattr(policy, "_no_split_modules", None) or ())
    found = [module for module in policy.modules() if type(module).__name__ in names]
    return found or [block for module in policy.modules() if isinstance(module, nn.ModuleList) for block in module]
