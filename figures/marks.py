"""What every figure is made of: an estimate with its interval and its clusters, lines over training, honest gaps.

All functions draw onto axes they are given and return nothing, or compute plain numbers from rows.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from figures.style import COLOUR, FAINT, INK, MARKER, MUTED
from simulations.results import Row
from simulations.statistics import cluster_means, crossed_interval, mean_interval
from theory.rewards import KINDS

FLOOR = 1e-17  # zeros on a logarithmic axis are drawn here, below float64's resolution at one


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval over `dots`, the means of the units that vary independently."""

    mean: float
    low: float
    high: float
    dots: tuple[float, ...]


def where(rows: Iterable[Row], **wanted: Any) -> list[Row]:
    """The rows whose fields equal `wanted`; a field that a row lacks matches None only."""
    return [row for row in rows if all(row.get(name) == value for name, value in wanted.items())]


def kinds_in(rows: Iterable[Row]) -> list[str]:
    """The kinds present, in the house order."""
    present = {row.get("kind") for row in rows}
    return [kind for kind in KINDS if kind in present]


def over_clusters(rows: Sequence[Row], value: str = "accuracy", cluster: str = "cluster") -> Estimate | None:
    """Average within clusters (their seeds), then a t interval over the cluster means. None without a number.

    One cluster has no interval: its limits are its value.
    """
    known = [row for row in rows if row.get(value) is not None]
    if not known:
        return None
    means = tuple(cluster_means((row[value] for row in known), (row.get(cluster) for row in known)).values())
    if len(means) == 1:
        return Estimate(means[0], means[0], means[0], means)
    interval = mean_interval(np.array(means))
    return Estimate(interval.mean, interval.low, interval.high, means)


def over_crossed(rows: Sequence[Row], value: str = "accuracy") -> Estimate | None:
    """As `over_clusters` for clusters that share a split of the words (`forms`) or a language model (`seed`): the
    interval is the widest of those over clusters, over splits and over models, as in the claims."""
    plain = over_clusters(rows, value)
    if plain is None or len(plain.dots) == 1:
        return plain
    owners = {row.get("cluster"): row for row in reversed(rows) if row.get(value) is not None}
    order = dict.fromkeys(row.get("cluster") for row in rows if row.get(value) is not None)
    factors = ([owners[cluster][name] for cluster in order] for name in ("forms", "seed"))
    interval = crossed_interval(plain.dots, *factors)
    return Estimate(interval.mean, interval.low, interval.high, plain.dots)


def not_run(axes: Axes, what: str = "not run") -> None:
    """Say in the panel that its rows are missing."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, what, transform=axes.transAxes, ha="center", va="center", color=MUTED, style="italic")


def kind_handles(kinds: Iterable[str], *, line: bool = False) -> list[Line2D]:
    """Legend entries for the kinds: a line where the figure draws lines, otherwise the kind's marker."""
    return [
        Line2D([], [], color=COLOUR[kind], marker="" if line else MARKER[kind], ls="-" if line else "", label=kind)
        for kind in kinds
    ]


def legend_above(figure: Figure, handles: Sequence[Line2D], columns: int) -> None:
    figure.legend(handles=list(handles), loc="outside upper center", ncols=columns)


def step_axis(axes: Axes, last: float) -> None:
    """Training steps on a logarithmic axis that has room for step 0."""
    axes.set_xscale("symlog", linthresh=1.0, linscale=0.35)
    axes.set_xlim(-0.08, last * 1.25)
    powers = np.arange(0, int(np.log10(max(last, 1.0)) + 1e-9) + 1)
    shown = powers if len(powers) <= 4 else powers[::2]
    axes.xaxis.set_major_locator(FixedLocator([0.0, *(10.0**shown)]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: "0" if x == 0 else power_of_ten(x)))


def power_of_ten(x: float) -> str:
    exponent = round(float(np.log10(x)))
    return f"{x:g}" if exponent in (0, 1) else f"$10^{{{exponent}}}$"


def accuracy_axis(axis: Any, setter: Callable[..., Any]) -> None:
    """0 to 1 with a little air, so that a line at 1.00 is seen, and round ticks."""
    setter(-0.06, 1.06)
    axis.set_major_locator(FixedLocator([0.0, 0.5, 1.0]))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))


def over_steps(
    axes: Axes,
    rows: Sequence[Row],
    value: str,
    colour: str,
    *,
    x: str = "step",
    middle: Callable[..., Any] = np.mean,
    seeds: bool = True,
    floor: float | None = None,
    **line: Any,
) -> None:
    """The mean over seeds at every step, with the seeds as thin lines behind it.

    Args:
        x: the field that takes the place of the step.
        middle: of a step's values; the median is dragged by no single seed on a logarithmic axis.
        floor: values below it are drawn at it (a logarithmic axis has no zero).
    """
    table: dict[Any, dict[float, float]] = {}
    for row in rows:
        if row.get(value) is not None:
            number = float(row[value]) if floor is None else max(float(row[value]), floor)
            table.setdefault(row.get("seed"), {})[float(row[x])] = number
    if not table:
        return
    if seeds and len(table) > 1:
        for curve in table.values():
            steps = sorted(curve)
            axes.plot(steps, [curve[s] for s in steps], color=colour, lw=0.5, alpha=0.3)
    steps = sorted({step for curve in table.values() for step in curve})
    middles = [float(middle([curve[s] for curve in table.values() if s in curve])) for s in steps]
    axes.plot(steps, middles, color=colour, **line)


def over_values(axes: Axes, rows: Sequence[Row], x: str, places: Sequence[float], *, line: bool = True) -> None:
    """Accuracy against `x`, whose sorted values stand at `places`, the kinds side by side."""
    values = sorted({row[x] for row in rows})
    gap = 0.035 * (max(places) - min(places)) if len(places) > 1 else 0.1
    for kind, side in zip(kinds_in(rows), (-1, 1, 0), strict=False):
        found = [(place, over_clusters(where(rows, kind=kind, **{x: value}), cluster="seed"))
                 for place, value in zip(places, values, strict=True)]  # fmt: skip
        known = [(place + side * gap / 2, estimate) for place, estimate in found if estimate is not None]
        for place, estimate in known:
            axes.plot([place + side * gap / 2] * len(estimate.dots), estimate.dots, ls="", marker="o", ms=1.6, mew=0,
                      color=COLOUR[kind], alpha=0.35, zorder=2)  # fmt: skip
            _bar(axes, place, estimate, kind)
        axes.plot([place for place, _ in known], [e.mean for _, e in known], color=COLOUR[kind], lw=1.0,
                  ls="-" if line else "", marker=MARKER[kind], ms=3.8, mew=0.5, mec="white", zorder=4)  # fmt: skip
    axes.axhline(0.5, color=MUTED, lw=0.7, ls=(0, (2, 2)), zorder=0)
    accuracy_axis(axes.yaxis, axes.set_ylim)


def _bar(axes: Axes, x: float, estimate: Estimate, kind: str) -> None:
    low, high = max(estimate.low, 0.0), min(estimate.high, 1.0)
    axes.plot([x, x], [low, high], color=COLOUR[kind], lw=1.3, solid_capstyle="butt", zorder=3)


@dataclass(frozen=True)
class ForestRow:
    """One line of a forest plot: a label and, per kind, an estimate; with none of them it says `missing`.

    `ticks` are per-kind values of a comparison (training pairs), `grey` a baseline, `stars` per-kind published values.
    """

    label: str
    marks: dict[str, Estimate | None]
    ticks: dict[str, float] | None = None
    grey: float | None = None
    stars: dict[str, float] | None = None
    missing: str = "not run"


def forest(axes: Axes, rows: Sequence[ForestRow], kinds: Sequence[str], *, labels: bool = True) -> None:
    """Rows from top to bottom, the kinds side by side within a row, accuracy from 0 to 1 to the right."""
    spread = 0.28 if len(kinds) > 1 else 0.0
    offsets = dict(zip(kinds, np.linspace(-spread, spread, max(len(kinds), 1)), strict=False))
    for place, row in enumerate(rows):
        if place % 2:
            axes.axhspan(place - 0.5, place + 0.5, color="#f6f6f6", lw=0, zorder=-2)
        if row.grey is not None:
            axes.plot(
                [row.grey] * 2, [place - 0.42, place + 0.42], color=FAINT, lw=2.2, solid_capstyle="butt", zorder=1
            )
        if not any(estimate is not None for estimate in row.marks.values()):
            axes.text(0.5, place, row.missing, ha="center", va="center", color=MUTED, style="italic", fontsize=6.5)
        for kind, estimate in row.marks.items():
            if estimate is None or kind not in offsets:
                continue
            _mark(axes, estimate, place + offsets[kind], kind)
            if row.ticks and row.ticks.get(kind) is not None:
                axes.plot(
                    row.ticks[kind], place + offsets[kind], marker="|", ms=7, mew=1.0, color=COLOUR[kind], zorder=2
                )
            if row.stars and row.stars.get(kind) is not None:
                star = {"marker": "D", "ms": 6.5, "mew": 0.9, "mfc": "none", "mec": INK, "ls": ""}
                axes.plot(row.stars[kind], place + offsets[kind], zorder=6, clip_on=False, **star)
    axes.axvline(0.5, color=MUTED, lw=0.7, ls=(0, (2, 2)), zorder=0)
    accuracy_axis(axes.xaxis, axes.set_xlim)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [row.label for row in rows] if labels else [""] * len(rows))
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)


def _mark(axes: Axes, estimate: Estimate, y: float, kind: str) -> None:
    colour = COLOUR[kind]
    if len(estimate.dots) > 1:
        # a fixed zigzag instead of random jitter: the same rows give the same bytes
        zigzag = [0.07 * (-1) ** i for i in range(len(estimate.dots))]
        axes.plot(
            estimate.dots, y + np.array(zigzag), ls="", marker="o", ms=2.0, mew=0, color=colour, alpha=0.45, zorder=3
        )
    low, high = max(estimate.low, 0.0), min(estimate.high, 1.0)
    axes.plot([low, high], [y, y], color=colour, lw=1.3, solid_capstyle="butt", zorder=4)
    axes.plot(estimate.mean, y, marker=MARKER[kind], ms=4.4, mec="white", mew=0.6, color=colour, ls="", zorder=5)
