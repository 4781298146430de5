"""Results on disk: runs as folders, rows as JSONL, claims with their evidence.

A run is a folder. `config.json` says what was asked, `provenance.json` where it was computed, `done.json` is written
last; a folder that has it is finished and skipped on a rerun. Every write is atomic: a reader sees the old file or
the new one, never half of one, also after a power cut. Of several processes that compute one run together (torchrun,
accelerate) the first alone writes.
"""

import json
import math
import os
import platform
import re
import secrets
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

Row = dict[str, Any]
ClaimType = Literal["theorem", "registered", "observation"]

LOCK = ".lock"  # in the folder of a run that several processes share out among themselves; means nothing, and stays

_another_writes = False
_TEMPORARY = re.compile(r"\..+\.\d+\.[0-9a-f]{8}\.tmp")  # what `replacing` leaves where a process is killed


class UserError(Exception):
    """A mistake of the user's that one line can explain: what, where, and what to try. Exit code 2, no traceback."""


@dataclass(frozen=True)
class Claim:
    """A sentence with a number behind it.

    `theorem`: decided by a numerical tolerance. `registered`: a prediction whose threshold was written before the
    run. `observation`: reported, never decided. `low` and `high` are a 95 % interval over the `n` units named in
    `unit`; both equal `measured` where nothing varies.
    """

    id: str
    rung: int
    type: ClaimType
    statement: str
    measured: float
    low: float
    high: float
    n: int
    unit: str
    seeds: int
    op: Literal["<=", ">=", "within", "none"] = "none"
    value: float | tuple[float, float] | None = None
    kind: str = ""
    model: str = ""
    split: str = ""
    published: str = ""
    holds: bool | None = field(init=False)

    def __post_init__(self) -> None:
        # a numpy scalar would make `holds` a numpy bool, which `is False` does not find
        for name in ("measured", "low", "high"):
            object.__setattr__(self, name, float(getattr(self, name)))
        object.__setattr__(self, "holds", self._decide())

    def _decide(self) -> bool | None:
        """A theorem is decided by its measured value. A registered claim is true only if its whole interval meets the
        threshold, false only if the whole interval is on the wrong side, and None (undecided) in between."""
        if self.type == "observation":
            return None
        if self.op == "none" or self.value is None:
            raise ValueError(f"claim {self.id!r} is a {self.type} and needs an op and a value")
        low_ok, high_ok = _bounds(self.op, self.value)
        if any(math.isnan(x) for x in (self.measured, self.low, self.high)):
            return False if self.type == "theorem" else None
        if self.type == "theorem":
            return low_ok <= self.measured <= high_ok
        if self.high < low_ok or self.low > high_ok:
            return False
        return True if low_ok <= self.low and self.high <= high_ok else None

    def to_row(self) -> Row:
        row = asdict(self)
        row["expected"] = {"op": row.pop("op"), "value": row.pop("value")}
        return row

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Claim":
        """A stored claim, decided again from its numbers. Inverse of `to_row`; a stored null is nan."""
        values = {name: value for name, value in row.items() if name not in ("expected", "holds")}
        for name in ("measured", "low", "high"):
            values[name] = math.nan if values[name] is None else values[name]
        value = row["expected"]["value"]
        return cls(**values, op=row["expected"]["op"], value=tuple(value) if isinstance(value, list) else value)


def _bounds(op: str, value: float | tuple[float, float]) -> tuple[float, float]:
    if op == "within":
        low, high = value  # type: ignore[misc]
        return float(low), float(high)
    bound = float(value)  # type: ignore[arg-type]
    return (-math.inf, bound) if op == "<=" else (bound, math.inf)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically.

    Raises:
        OSError: the folder cannot be written to or is full; its `filename` is `path`.
    """
    if is_main_process():
        with replacing(path) as temporary:
            temporary.write_bytes(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file in `path`'s folder to be filled, which becomes `path` at the end, or leaves nothing behind."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")  # mkstemp's would be private
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _to_disk(temporary)
        os.replace(temporary, path)
        if os.name == "posix":  # elsewhere a folder cannot be opened
            _to_disk(path.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):  # a failed write names no file, others name the temporary one
            error.filename = str(path)
        raise


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_main_process() -> bool:
    """False in all but the first of several processes that compute one run together."""
    return not _another_writes


def leave_writing_to_the_first(given: bool) -> None:
    """From now on this process computes and another one writes; or, with False, it writes again."""
    global _another_writes
    _another_writes = given


def write_json(path: Path, value: Any) -> None:
    """Escaped to ASCII, so that lone surrogates from real texts survive as well."""
    write_text(path, json.dumps(_plain(value), indent=2) + "\n")


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(_plain(row)) + "\n" for row in rows))


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({json_fault(error)}); delete it and run again") from None


def json_fault(error: BaseException) -> str:
    """In a few words what was wrong with a text that is no JSON, or with the bytes that are no text."""
    if isinstance(error, json.JSONDecodeError):
        return error.msg
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 text"
    return "nested too deeply" if isinstance(error, RecursionError) else "a number of thousands of digits"


def read_rows(path: Path) -> list[Row]:
    """Raises UserError where a line is no JSON object; the message names file and line."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text; delete the file and run again") from None
    rows = []
    for number, line in enumerate(lines, start=1):  # not splitlines(): U+2028 is text, not a line's end
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            fault = json_fault(error)
            raise UserError(f"{path}:{number}: not valid JSON ({fault}); delete the file and run again") from None
        if not isinstance(row, dict):
            raise UserError(f"{path}:{number}: is no JSON object; delete the file and run again")
        rows.append(row)
    return rows


def open_run(folder: Path, config: Mapping[str, Any], *, name: str = "config.json") -> bool:
    """Claim `folder` for a run with `config`; True if that run is already finished there.

    `name` is the file that says what was asked; a folder whose `config.json` belongs to a model needs another.

    Raises:
        UserError: the folder holds another run, or files that are no run of ours.
    """
    config = _plain(config)
    path = folder / name
    # listed first: where another process opens the same run now, its config is the first thing that it writes
    others = folder.exists() and any(
        item.name != LOCK and not _TEMPORARY.fullmatch(item.name) for item in folder.iterdir()
    )
    if path.exists():
        found = read_json(path)
        if not isinstance(found, dict):
            raise UserError(f"{folder} is not empty and holds no run of ours; choose another --output")
        if found != config:
            names = sorted(key for key in {**found, **config} if found.get(key) != config.get(key))
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise UserError(
                f"{folder} holds another run (it differs in {', '.join(names[:3])}{more}); "
                "choose another --output, or delete the folder"
            )
        return (folder / "done.json").exists()
    if others:
        raise UserError(f"{folder} is not empty and holds no run of ours; choose another --output")
    write_json(path, config)
    return False


def finish_run(folder: Path, **summary: Any) -> None:
    """Mark the run as complete. Nothing may be written after this."""
    remove_temporaries(folder)
    write_json(folder / "done.json", {"finished": _now(), **summary})


def remove_temporaries(folder: Path) -> None:
    """Delete what killed processes had half-written under `folder`; nobody else may be writing there."""
    if is_main_process():
        for item in folder.rglob(".*.tmp"):
            if _TEMPORARY.fullmatch(item.name):
                item.unlink(missing_ok=True)


def provenance(*, seed: int | Sequence[int] | None = None, **extra: Any) -> Row:
    """Where a number comes from: versions, commit, seeds, threads, machine. `extra` adds hashes and audits."""
    import torch

    names = ("rewardgap", "numpy", "scipy", "torch", "transformers", "accelerate", "peft", "datasets")
    return {
        "created": _now(),
        "python": platform.python_version(),
        "platform": _platform(),
        "processor": platform.processor() or platform.machine(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "versions": {name: _version(name) for name in names},
        "commit": _commit(),
        "seed": seed,
        **_plain(extra),
    }


def _platform() -> str:
    """System, machine and C library; which build of Linux's kernel it was says nothing about a number."""
    name = platform.platform()
    return name.replace(f"-{platform.release()}", "", 1) if platform.system() == "Linux" else name


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The checkout's commit, with `+changes` where tracked files differ from it, stored results (figures/data) apart:
    one run that stores its own must not make the next one's commit doubtful. None outside a checkout."""
    here = Path(__file__).resolve().parent
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        code = [":/", ":(top,exclude)figures/data"]
        dirty = subprocess.run(
            ["git", "status", "--porcelain", "-uno", "--", *code], cwd=here, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+changes" if dirty.stdout.strip() else "")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _plain(value: Any) -> Any:
    """JSON's own types; numpy scalars and arrays become numbers and lists, non-finite numbers become null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
