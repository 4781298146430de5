"""How far a long computation is, on stderr: a bar on a terminal; elsewhere, as under nohup or in the log of a job, a
plain line at most every half minute."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

SECONDS = 30.0  # between plain lines; what is shorter says nothing


def progress_bar(
    iterable: Iterable[Any] | None = None,
    *,
    desc: str,
    unit: str,
    total: int | None = None,
    initial: int = 0,
    show: bool = True,
    **options: Any,
) -> Any:
    """A tqdm bar where stderr is a terminal, else `Lines`, with the same `update`, `n`, `close`, iteration and `with`.

    Args:
        total: how many there will be; the iterable's length unless given.
        show: say nothing at all if false.
        options: of tqdm alone.
    """
    if show and not sys.stderr.isatty():
        return Lines(iterable, desc=desc, unit=unit, total=total, initial=initial)
    from tqdm import tqdm

    return tqdm(iterable, desc=desc, unit=unit, total=total, initial=initial, disable=not show, **options)


class Lines:
    """Progress as lines of text; `clock` gives seconds."""

    def __init__(
        self,
        iterable: Iterable[Any] | None = None,
        *,
        desc: str,
        unit: str,
        total: int | None = None,
        initial: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.iterable, self.desc, self.unit = iterable, desc, unit.strip()
        self.total = len(iterable) if total is None and hasattr(iterable, "__len__") else total
        self.n = self.initial = initial
        self.clock = clock
        self.start = self.last = clock()

    def update(self, count: float | int = 1) -> None:
        self.n += count
        now = self.clock()
        if now - self.last >= SECONDS:
            self.last = now
            print(self, file=sys.stderr, flush=True)

    def __str__(self) -> str:
        done, spent = self.n - self.initial, self.last - self.start
        if not self.total or not done:
            return f"{self.desc}: {self.n} ({self.unit}) after {spent:.0f} s"
        left = spent * (self.total - self.n) / done
        return f"{self.desc}: {self.n} of {self.total} ({self.unit}) after {spent:.0f} s, about {left:.0f} s left"

    def set_postfix(self, **_: Any) -> None:
        """A bar's last column; lines have none."""

    def close(self) -> None:
        """Nothing is open."""

    def __iter__(self) -> Iterator[Any]:
        for item in self.iterable or ():
            yield item
            self.update()

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
