"""Where a number lies on a drawn axis: the little geometry behind pictures that are part of a page's own markup."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from figures.style import MARKER

# Outlines around (0, 0) for SVG's `d`, one for each marker of the house style
OUTLINE = {
    "o": "M-3.6,0a3.6,3.6 0 1,0 7.2,0a3.6,3.6 0 1,0 -7.2,0Z",
    "s": "M-3.2,-3.2H3.2V3.2H-3.2Z",
    "^": "M0,-4.2L4,3H-4Z",
    "D": "M0,-4.4L4.4,0L0,4.4L-4.4,0Z",
    "v": "M0,4.2L4,-3H-4Z",
    "X": "M-4,-2.4L-2.4,-4L0,-1.6L2.4,-4L4,-2.4L1.6,0L4,2.4L2.4,4L0,1.6L-2.4,4L-4,2.4L-1.6,0Z",
}
OUTLINES = tuple(OUTLINE[name] for name in (*MARKER.values(), "D", "v", "X"))


@dataclass(frozen=True)
class Scale:
    """A linear axis from `low` to `high`, drawn from `start` to `stop` (user units of the picture)."""

    low: float
    high: float
    start: float
    stop: float

    def at(self, x: float) -> float:
        """Place of `x`, kept inside the axis, to a tenth of a unit."""
        share = (min(max(x, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.stop - self.start), 1)

    def ticks(self, most: int = 5) -> list[float]:
        """At most `most` round numbers within the axis, zero among them if it is inside."""
        step = 10.0 ** math.floor(math.log10(self.high - self.low))
        sizes = (step * factor for factor in (0.05, 0.1, 0.2, 0.25, 0.5, 1, 2, 5, 10))
        for size in sizes:
            first, last = math.ceil(self.low / size - 1e-9), math.floor(self.high / size + 1e-9)
            if last - first < most:
                return [round(number * size, 10) + 0.0 for number in range(first, last + 1)]
        return [self.low, self.high]


def around(values: Iterable[float], start: float, stop: float, *, least: float = 0.1) -> Scale:
    """The scale that holds all `values` and zero, its ends multiples of 0.05, at least `least` wide."""
    known = [0.0, *(value for value in values if math.isfinite(value))]
    low, high = math.floor(min(known) * 20 - 1e-9) / 20, math.ceil(max(known) * 20 + 1e-9) / 20
    if high - low < least:
        low, high = low - least / 2, high + least / 2
    return Scale(low, high, start, stop)


def limits(estimate: Mapping[str, Any] | None) -> list[float]:
    """The numbers of {value, low, high} that are there."""
    return [estimate[name] for name in ("value", "low", "high") if estimate and estimate.get(name) is not None]
