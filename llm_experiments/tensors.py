"""Tensors on disk that say themselves whether they are whole: safetensors with a checksum, published by one rename.

Checkpoints and caches are written with these. A reader finds the old file or the new one; a file that is cut short,
or in which a bit has changed, is refused and named, never used.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from simulations.results import UserError, is_main_process, replacing

CHECKSUM = "blake2b"


class DamagedFile(UserError):
    """A file is not what was written."""


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write `tensors` and `metadata` to `path` atomically, on the disk when this returns.

    Raises:
        OSError: the folder cannot be written to or is full; its `filename` is `path`.
    """
    if not is_main_process():
        return
    whole = {name: _alone(tensor) for name, tensor in tensors.items()}
    said = dict(metadata or {})
    with replacing(path) as temporary, system_errors(path):
        save_file(whole, temporary, metadata=said | {CHECKSUM: _checksum(whole, said)})
        usual_mode(temporary)


def usual_mode(*paths: Path) -> None:
    """Let those read that the umask allows to: safetensors writes files for their owner alone."""
    mask = os.umask(0o077)  # it can only be read by setting it
    os.umask(mask)
    for path in paths:
        path.chmod(0o666 & ~mask)


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """What `write_tensors` wrote to `path`, on the CPU.

    Raises:
        DamagedFile: the file is cut short, changed, or no file of ours.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (SafetensorError, ValueError) as error:
        raise DamagedFile(f"{path}: is damaged ({str(error).strip()}); delete it and run again") from None
    if metadata.pop(CHECKSUM, None) != _checksum(tensors, metadata):
        raise DamagedFile(f"{path}: is damaged (its checksum differs from its content); delete it and run again")
    return tensors, metadata


def _alone(tensor: torch.Tensor) -> torch.Tensor:
    """On the CPU, and no part of a larger tensor, which safetensors would not write."""
    tensor = tensor.detach().cpu().contiguous()
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


def _checksum(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> str:
    digest = blake2b(repr(sorted(metadata.items())).encode("utf-8", "surrogatepass"), digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(torch.as_strided(tensor, (tensor.numel(),), (1,)).view(torch.uint8).numpy())
    return digest.hexdigest()


@contextmanager
def system_errors(path: Path) -> Iterator[None]:
    """What the system refused while `path` was written, as OSError that names it; safetensors says it in words."""
    try:
        yield
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
