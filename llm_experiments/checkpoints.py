"""Everything a training run needs to continue as if nothing had happened, in one file per checkpoint.

Trained weights, optimiser, schedule, position in the data, random numbers, log and running means, in safetensors (text
as its metadata, nothing pickled), published by one rename and checked when read. transformers' own checkpoints are
folders that are filled file by file: a kill in between leaves one that looks complete.

The two newest are kept: should the newest be damaged, the one before it is taken.
"""

import dataclasses
import json
import random
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llm_experiments.distributed import gather, like, processes, whole
from llm_experiments.tensors import DamagedFile, read_tensors, write_tensors
from simulations.results import UserError, is_main_process, remove_temporaries

CHECKPOINTS = "checkpoints"  # in a run's folder; removed once the trained model is there
KEPT = 2
RUNNING = ("_total_loss_scalar", "_globalstep_last_logged")  # the Trainer's, from one log row to the next


@dataclass(frozen=True)
class Checkpoint:
    """The content of one file: `said` holds what is no tensor."""

    tensors: dict[str, torch.Tensor]
    said: dict[str, Any]

    def part(self, prefix: str) -> dict[str, torch.Tensor]:
        """The tensors whose names start with `prefix/`, without it."""
        return {
            name.removeprefix(f"{prefix}/"): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(f"{prefix}/")
        }


def write_checkpoint(folder: Path, trainer: Any) -> None:
    """Write the state of `trainer` between two steps, then delete all but the newest checkpoints. Called by every
    process of a run, since sharded tensors are put together; the first one writes.

    Raises:
        OSError: the folder cannot be written to or is full; the checkpoints before are untouched.
        UserError: an optimiser or schedule whose state is not made of numbers and tensors.
    """
    found = take(trainer)
    try:
        said = {"state": json.dumps(found.said)}
    except TypeError as error:
        raise UserError(
            f"the state of --optim {trainer.args.optim} or --lr_scheduler_type {trainer.args.lr_scheduler_type} cannot "
            f"be stored ({error}); try adamw_torch and linear"
        ) from None
    if is_main_process():
        remove_temporaries(folder)
        write_tensors(folder / f"step-{trainer.state.global_step:08d}.safetensors", found.tensors, said)
        for path in _stored(folder)[:-KEPT]:
            path.unlink()


def read_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest whole checkpoint, or None; damaged ones are named on stderr and passed over.

    Raises:
        UserError: it was written by another number of processes.
    """
    for path in reversed(_stored(folder)):
        try:
            tensors, said = read_tensors(path)
        except DamagedFile as error:
            if is_main_process():
                print(f"{str(error).partition(';')[0]}; taking the one before it, if any", file=sys.stderr)
            continue
        found = Checkpoint(tensors, json.loads(said["state"]))
        if found.said["processes"] != processes():  # each has its share of every batch
            raise UserError(
                f"{path}: was written by {found.said['processes']} processes, now there are {processes()}; start "
                "as many, or train in another --output"
            )
        if found.said["threads"] != torch.get_num_threads() and is_main_process():
            threads = f"{found.said['threads']} threads, now there are {torch.get_num_threads()}"
            print(f"{path}: was written with {threads}; last digits may differ", file=sys.stderr)
        return found
    return None


def has_checkpoint(folder: Path) -> bool:
    return bool(_stored(folder))


def _stored(folder: Path) -> list[Path]:
    """From the oldest to the newest."""
    return sorted(path for path in folder.glob("*.safetensors") if re.fullmatch(r"step-\d{8}", path.stem))


def take(trainer: Any) -> Checkpoint:
    """The state of a transformers Trainer between two steps; on the first process, and in part on the others."""
    tensors: dict[str, torch.Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}

    def keep(name: str, tensor: torch.Tensor) -> None:
        tensor = whole(tensor.detach())
        if is_main_process():  # the only one that writes; the host may have no room for every process's copy
            tensors[name] = tensor.cpu()

    for name, parameter in _trained(trainer):
        keep(f"parameter/{name}", parameter)
        for key, value in trainer.optimizer.state.get(parameter, {}).items():
            if isinstance(value, torch.Tensor):
                keep(f"optimizer/{name}/{key}", value)
            else:
                plain.setdefault(name, {})[key] = value
    own = {name: torch.from_numpy(state) for name, state in _random_numbers().items()}
    own["loss"] = trainer._tr_loss.cpu()
    for number, (chosen, rejected) in enumerate(trainer.seen):
        own[f"seen/{number}"] = torch.stack([chosen, rejected]).cpu()
    for rank, some in enumerate(gather(own)):
        tensors |= {f"process/{rank}/{name}": tensor for name, tensor in some.items()}
    said = {
        "trainer": dataclasses.asdict(trainer.state),
        "schedule": trainer.lr_scheduler.state_dict(),
        "optimizer": plain,
        "groups": [_without_parameters(group) for group in trainer.optimizer.param_groups],
        "running": {name: float(getattr(trainer, name)) for name in RUNNING},
        "micro_batch": trainer.micro_batch,
        "processes": processes(),
        "threads": torch.get_num_threads(),
    }
    return Checkpoint(tensors, said)


def put_weights_and_optimizer(trainer: Any, found: Checkpoint) -> None:
    """Called once model, optimiser and schedule exist and are spread over the processes."""
    weights, names = found.part("parameter"), {parameter: name for name, parameter in _trained(trainer)}
    states: dict[str, dict[str, Any]] = {name: dict(state) for name, state in found.said["optimizer"].items()}
    for key, value in found.part("optimizer").items():
        name, _, field = key.rpartition("/")
        states.setdefault(name, {})[field] = value
    for group, stored in zip(trainer.optimizer.param_groups, found.said["groups"], strict=True):
        for key, value in stored.items():
            group[key] = tuple(value) if isinstance(value, list) else value
        for parameter in group["params"]:
            name = names[parameter]
            with torch.no_grad():
                parameter.copy_(like(weights[name], parameter))
            if name in states:
                trainer.optimizer.state[parameter] = {
                    key: _placed(value, parameter, group) for key, value in states[name].items()
                }
    trainer.lr_scheduler.load_state_dict(found.said["schedule"])


def _placed(value: Any, parameter: torch.Tensor, group: dict[str, Any]) -> Any:
    """A moment lies where its weight does; torch keeps step counters on the CPU, with two exceptions."""
    if not isinstance(value, torch.Tensor):
        return value
    if value.shape == parameter.shape:
        return like(value, parameter)
    counter = value.dim() == 0 and not (group.get("fused") or group.get("capturable"))
    return value if counter else value.to(parameter.device)


def put_running_means(trainer: Any, found: Checkpoint, rank: int) -> None:
    """Called after the Trainer has set them to zero."""
    trainer._tr_loss.copy_(found.tensors[f"process/{rank}/loss"])
    trainer._total_loss_scalar = found.said["running"]["_total_loss_scalar"]
    trainer._globalstep_last_logged = int(found.said["running"]["_globalstep_last_logged"])
    trainer.micro_batch = found.said["micro_batch"]
    seen = found.part(f"process/{rank}/seen")
    trainer.seen[:] = [seen[str(number)].to(trainer.args.device).unbind() for number in range(len(seen))]


def put_random_numbers(found: Checkpoint, rank: int) -> None:
    """Called after the resumed epoch's batches before the checkpoint have been passed over."""
    numbers = found.part(f"process/{rank}")
    gauss = numbers["python_gauss"].tolist()
    random.setstate((3, tuple(numbers["python"].tolist()), gauss[0] if gauss else None))
    position, half_used = numbers["numpy_position"].tolist()
    gauss = float(numbers["numpy_gauss"])
    np.random.set_state(("MT19937", numbers["numpy"].numpy().astype(np.uint32), position, half_used, gauss))  # noqa: NPY002
    torch.set_rng_state(numbers["torch"])
    if "cuda" in numbers and torch.cuda.is_available():
        torch.cuda.set_rng_state(numbers["cuda"])


def _random_numbers() -> dict[str, np.ndarray]:
    """The state of every generator of this process."""
    _, python, python_gauss = random.getstate()
    _, numpy, position, half_used, numpy_gauss = np.random.get_state()  # noqa: NPY002
    found = {
        "python": np.array(python, dtype=np.int64),
        "python_gauss": np.array([] if python_gauss is None else [python_gauss]),
        "numpy": numpy.astype(np.int64),
        "numpy_position": np.array([position, half_used]),
        "numpy_gauss": np.array(numpy_gauss),
        "torch": torch.get_rng_state().numpy(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        found["cuda"] = torch.cuda.get_rng_state().numpy()
    return found


def _trained(trainer: Any) -> list[tuple[str, torch.nn.Parameter]]:
    """Names are the unwrapped model's, so that the number of processes may change in between."""
    return [(name, value) for name, value in trainer.model.named_parameters() if value.requires_grad]


def _without_parameters(group: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key != "params"}


def check_space(folder: Path, needed: int) -> None:
    """Raises UserError where less than `needed` bytes are free, or taken by earlier checkpoints, on `folder`'s disk."""
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free + sum(path.stat().st_size for path in _stored(folder))
    if free < needed:
        raise UserError(
            f"{folder.parent}: training writes up to {needed / 1e9:.2g} GB (checkpoints and the model), "
            f"{free / 1e9:.2g} GB are free; choose another --output, or free some space"
        )


def bytes_needed(model: torch.nn.Module, optim: str) -> int:
    """An upper bound on what lies on the disk at once: checkpoints with two moments a weight, and the model.

    Plain gradient descent has no moments; other optimisers are taken for Adam.
    """
    trained = sum(value.numel() * value.element_size() for value in model.parameters() if value.requires_grad)
    every = sum(value.numel() * value.element_size() for value in model.parameters())
    return trained * (1 if optim == "sgd" else 3) * (KEPT + 1) + every
