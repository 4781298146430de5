"""The law of the front door, whatever it is given, and ways to spoil what it is given.

It works, or it ends with exit code 2 and one line, `error: ...`, that names a file or a flag; nothing is half-written,
and it never hangs. For a long hunt from new seeds:

    REWARDGAP_FUZZ=2000 python -m pytest -m integration tests/test_fuzz_*.py
"""

import contextlib
import io
import json
import os
import shutil
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from rewardgap import main

EXAMPLES = int(os.environ.get("REWARDGAP_FUZZ", "0"))
SECONDS = 60  # of one command on these small files: whatever takes longer hangs


def hunt(examples: int) -> Callable:
    """So many examples, always the same ones; or as many as the environment asks for, each time others."""
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    return settings(
        max_examples=EXAMPLES or examples,
        derandomize=not EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=quiet,
        report_multiple_bugs=True,
    )


def obeys(words: Sequence[object], *names: object, output: Path | None = None, finished: bool = False) -> str:
    """Run the command and hold it to the law; returns the error line, empty where it worked.

    Args:
        names: of the files that it may complain about; a flag always will do.
        output: the folder of its run, which an error leaves as it was.
        finished: the folder holds another run already.
    """
    before = _tree(output) if finished else {}
    out, err = io.StringIO(), io.StringIO()
    with _alarm(words), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = main([str(word) for word in words])
    said = (code, words, err.getvalue()[-2000:])
    assert code in (0, 2, 3), said
    assert "Traceback" not in err.getvalue(), said
    if code != 2:
        assert out.getvalue().strip(), said
        return ""
    lines = [line for line in err.getvalue().split("\n") if line.strip()]
    assert out.getvalue() == "", said
    assert [line.startswith("error: ") for line in lines].count(True) == 1, said
    assert lines[-1].startswith("error: "), said
    assert "--" in lines[-1] or any(str(name) in lines[-1] for name in names), said
    if output is not None:
        assert _tree(output) == before, said
        assert finished or not output.exists(), said
    return lines[-1]


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Hangs(BaseException):
    """No Exception, which somebody might catch and report in one line."""


@contextlib.contextmanager
def _alarm(words: Sequence[object]) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise Hangs(f"still running after {SECONDS} s: {words}")

    old = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for one example."""
    folder = Path(tempfile.mkdtemp())
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# ---- spoiling


def spoilt(data: bytes, head: int = 0) -> st.SearchStrategy[bytes]:
    """`data` cut short, with bits flipped (in its first `head` bytes), with a piece lost, repeated or put in, or
    something else altogether."""
    size = max(1, min(len(data), head) if head else len(data))
    place = st.integers(0, size - 1)
    junk = st.binary(min_size=1, max_size=12)

    def flipped(spots: list[tuple[int, int]]) -> bytes:
        changed = bytearray(data)
        for spot, bit in spots:
            changed[spot] ^= 1 << bit
        return bytes(changed)

    return st.one_of(
        place.map(lambda n: data[:n]),
        st.lists(st.tuples(place, st.integers(0, 7)), min_size=1, max_size=4).map(flipped),
        st.tuples(place, st.integers(1, 40)).map(lambda cut: data[: cut[0]] + data[sum(cut) :]),
        st.tuples(place, junk).map(lambda put: data[: put[0]] + put[1] + data[put[0] :]),
        place.map(lambda n: data + data[n:]),
        st.binary(max_size=64),
    )


NUMBERS = [0, 1, -1, 2, 7, 0.5, -0.0, 1e308, 5e-324, float("nan"), float("inf"), float("-inf"), 2**31, 2**63, -(2**70)]
TEXTS = ["", " ", "\x00", "\n", "\ud800", "\u2028", "é" * 3, "../..", "/", "none", "auto", "{", "a" * 300, "%s{}"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.sampled_from(NUMBERS) | st.sampled_from(TEXTS) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "a"]), inner),
    max_leaves=5,
)
ABSENT = object()


@st.composite
def revalued(draw: st.DrawFn, value: Any, values: st.SearchStrategy = VALUES) -> Any:
    """JSON with one to three of its values, anywhere in it, replaced or taken out."""
    value = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, 3))):
        place: Any = value
        while isinstance(place, dict | list) and place:
            key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            if isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            new = draw(st.just(ABSENT) | values)
            if new is ABSENT:
                del place[key]
            else:
                place[key] = new
            break
    return value
