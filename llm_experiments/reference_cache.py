"""A reference that has scored a response once need not score it again: sums of log-probabilities on disk.

One file per reference, named by a hash of its weights and config; one line per response, named by a hash of its tokens
and of where the response starts. So training, evaluation, every edited copy of the pairs and every other run with the
same reference share it, whatever they are called.

Lines are only ever appended, a batch at a time. Each carries a checksum: one that a kill or a full disk cut short, or
that was damaged later, is told apart, named and computed again. A value is stored exactly. It is the one that its
first batch gave, and batches differ in the last digits; a batch is therefore computed whole or not at all, and of runs
that ask at the same time the first to write decides for all. So a run that was killed goes on with the numbers that it
would have had.
"""

import fcntl
import os
import sys
from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

import torch
from jaxtyping import Float
from torch import nn

from simulations.results import UserError

VARIABLE = "REWARDGAP_CACHE"  # a folder, or none
VERSION = "2"  # of how values are computed; those of another are not read
NOT_CONTENT = ("_name_or_path", "transformers_version", "architectures", "torch_dtype", "dtype")


def cache_folder(asked: str = "auto") -> Path | None:
    """Where caches lie: `asked`, or for `auto` the folder in REWARDGAP_CACHE, else the user's own; None for `none`."""
    chosen = os.environ.get(VARIABLE, "auto") if asked == "auto" else asked
    if chosen == "none":
        return None
    if chosen != "auto":
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rewardgap"


class ReferenceCache:
    """Log-probability sums (nats) of one reference, by row.

    Raises:
        UserError: the folder cannot be read or written.
    """

    def __init__(self, folder: Path, reference: Any) -> None:
        self.path = folder / "reference" / f"{weights_hash(reference)}.txt"
        self._found: dict[str, float] = {}
        self._end = self._lines = 0  # of what was read, in bytes and lines
        if not self.path.exists():
            return
        try:
            with self.path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH)
                self._read_on(file)
        except OSError as error:
            raise self._refusal("read", error) from None

    def __len__(self) -> int:
        return len(self._found)

    def values(
        self, batch: Mapping[str, torch.Tensor], ask: Callable[[Mapping[str, torch.Tensor]], torch.Tensor]
    ) -> Float[torch.Tensor, " rows"]:
        """What is known of a batch's rows; where one is not, `ask(batch)` says it and it is stored."""
        keys = row_keys(batch["input_ids"], batch["attention_mask"], batch["response_mask"])
        if torch.is_autocast_enabled(batch["input_ids"].device.type):
            keys = [f"{key}-autocast" for key in keys]
        if any(key not in self._found for key in keys):
            self.add(dict(zip(keys, ask(batch).tolist(), strict=True)))
        known = [self._found[key] for key in keys]
        return torch.tensor(known, dtype=torch.float64, device=batch["input_ids"].device)

    def add(self, values: Mapping[str, float]) -> None:
        """Store what is new; what is there stays, also what another run has put there meanwhile."""
        if not values.keys() - self._found.keys():
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                self._read_on(file)
                new = {key: value for key, value in values.items() if key not in self._found}
                size = file.seek(0, os.SEEK_END)
                torn = size > 0 and os.pread(file.fileno(), 1, size - 1) != b"\n"  # left by a writer that was killed
                rest = ("\n" * torn + "".join(_line(key, value) for key, value in new.items())).encode()
                while rest:  # once, but where the disk is full
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
                self._lines += len(new) + torn
                self._end = file.tell()
        except OSError as error:
            raise self._refusal("written", error) from None
        self._found |= new

    def _read_on(self, file: BinaryIO) -> None:
        """What stands behind what was read before; of two lines about one row, the first counts."""
        file.seek(self._end)
        lines = file.read().split(b"\n")
        damaged = []
        for number, line in enumerate(lines, start=self._lines + 1):
            if not line:
                continue
            key, _, rest = line.partition(b" ")
            try:
                value = float.fromhex(rest.partition(b" ")[0].decode())
                if _line(key.decode(), value).encode().rstrip() != line:
                    raise ValueError(line)
                self._found.setdefault(key.decode(), value)
            except ValueError:  # also what is no ASCII
                damaged.append(str(number))
        self._lines += len(lines) - 1
        self._end = file.tell()
        if damaged:
            some = ", ".join(damaged[:5]) + (", ..." if len(damaged) > 5 else "")
            print(f"{self.path}: damaged in line {some}; what stood there is computed again", file=sys.stderr)

    def _refusal(self, done: str, error: OSError) -> UserError:
        return UserError(
            f"{self.path}: the cache cannot be {done} ({error.strerror}); give --cache DIR, or --cache none"
        )


def row_keys(input_ids: torch.Tensor, attention_mask: torch.Tensor, response_mask: torch.Tensor) -> list[str]:
    """A name for each row's tokens and response, (rows, length) each; the same under any padding, but not on another
    kind of device, which rounds otherwise."""
    device = input_ids.device.type.encode()
    rows = zip(input_ids.cpu(), attention_mask.bool().cpu(), response_mask.cpu(), strict=True)
    return [
        blake2b(device + ids[real].numpy().tobytes() + scored[real].numpy().tobytes(), digest_size=16).hexdigest()
        for ids, real, scored in rows
    ]


@torch.no_grad()
def weights_hash(model: nn.Module) -> str:
    """Of a model's config, and the names, types and contents of what is saved of it; an adapter is left out."""
    config = {key: value for key, value in model.config.to_dict().items() if key not in NOT_CONTENT}
    total = blake2b((VERSION + repr(sorted(config.items(), key=lambda item: item[0]))).encode(), digest_size=16)
    for name, tensor in sorted(_saved(model).items()):
        content = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        total.update(content.numpy())
    return total.hexdigest()


def _saved(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and persistent buffers by the names that they have without an adapter."""
    own = {name: tensor for name, tensor in model.state_dict().items() if "lora_" not in name}
    return {name.replace(".base_layer", ""): tensor for name, tensor in own.items()}


def _line(key: str, value: float) -> str:
    content = f"{key} {value.hex()}"
    return f"{content} {blake2b(content.encode(), digest_size=4).hexdigest()}\n"
