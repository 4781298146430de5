"""Training set against evaluation set: accuracy of both kinds, and the implicit model's drop in every setting.

study/lin2024/grid.jsonl
train set shift kind (explicit, implicit, difference) value low high pairs clusters
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from figures.marks import legend_above, not_run, where
from figures.simulations import DIVERGING, SEQUENTIAL, letter
from figures.style import INK, MUTED, REFERENCE, Width, new_figure, styled
from simulations.results import Row

TABLES = {"explicit": "explicit", "implicit": "implicit", "difference": "explicit − implicit"}
SHIFTS = {"in-distribution": "-", "response shift": ":"}  # how a cell is framed; a prompt shift has no frame
PUBLISHED = (0.03, 0.07)  # Lin et al. 2024, abstract: mean and largest over five settings, which is not known


@styled
def lin_grid(rows: Sequence[Row], *, width: Width = "double") -> Figure:
    """Three tables with half the 95 % interval in every cell, and below them the drops in order with theirs."""
    double = width == "double"
    if not rows:
        figure = new_figure(width, 1.2)
        not_run(figure.subplots())
        return figure
    figure = new_figure(width, 4.9 if double else 9.6)
    if double:
        grid = figure.add_gridspec(2, 3, height_ratios=(1.35, 1))
        places = [grid[0, column] for column in range(3)] + [grid[1, :]]
    else:
        grid = figure.add_gridspec(4, 1, height_ratios=(1, 1, 1, 0.8))
        places = [grid[line, 0] for line in range(4)]
    panels = [figure.add_subplot(place) for place in places]
    names = list(dict.fromkeys(row["train"] for row in rows))
    for place, (kind, title) in enumerate(TABLES.items()):
        panels[place].set_title(f"{letter(place)}  {title}")
        _table(
            panels[place], where(rows, kind=kind), names, signed=kind == "difference", labels=place == 0 or not double
        )
    panels[3].set_title(f"{letter(3)}  drop in every setting")
    _drops(panels[3], where(rows, kind="difference"))
    handles: list[Patch | Line2D] = [
        Patch(fill=False, edgecolor=INK, ls=style, lw=1.0, label=name) for name, style in SHIFTS.items()
    ]
    handles += [
        Line2D([], [], color=REFERENCE, lw=0.9, ls="--", label="published mean and largest (of five unknown settings)")
    ]
    legend_above(figure, handles, columns=3 if double else 1)
    return figure


def _table(axes: Axes, rows: Sequence[Row], names: Sequence[str], *, signed: bool, labels: bool) -> None:
    cells = {(row["train"], row["set"]): row for row in rows}
    values = np.array([[cells[train, test]["value"] for test in names] for train in names])
    look = {"cmap": DIVERGING, "vmin": -0.4, "vmax": 0.4} if signed else {"cmap": SEQUENTIAL, "vmin": 0.3, "vmax": 1.0}
    axes.imshow(values, aspect="auto", **look)
    for (i, j), value in np.ndenumerate(values):
        row = cells[names[i], names[j]]
        sure = signed and (row["low"] > 0 or row["high"] < 0)
        half = (row["high"] - row["low"]) / 2
        text = f"{value:+.2f}".replace("-", "−") if signed else f"{value:.2f}"
        axes.text(
            j, i, f"{text}\n±{half:.2f}", ha="center", va="center", fontsize=6, linespacing=0.95, color=INK,
            weight="bold" if sure else "normal",
        )  # fmt: skip
        if row["shift"] in SHIFTS:
            frame = {"fill": False, "edgecolor": INK, "lw": 0.9, "ls": SHIFTS[row["shift"]]}
            axes.add_patch(Rectangle((j - 0.47, i - 0.47), 0.94, 0.94, **frame))
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names if labels else [""] * len(names))
    axes.set_xlabel("evaluated on")
    if labels:
        axes.set_ylabel("trained on")


def _drops(axes: Axes, rows: Sequence[Row]) -> None:
    """Settings by shift, within it by their drop."""
    shifts = list(dict.fromkeys([*SHIFTS, *(row["shift"] for row in rows)]))
    ordered = sorted(rows, key=lambda row: (shifts.index(row["shift"]), row["value"]))
    axes.axhline(0, color=MUTED, lw=0.7)
    own = sum(row["shift"] == "in-distribution" for row in rows)
    for value in PUBLISHED:  # of shifted settings
        axes.plot([own - 0.5, len(rows) - 0.3], [value, value], color=REFERENCE, lw=0.9, ls="--", zorder=1)
    for place, row in enumerate(ordered):
        axes.plot([place, place], [row["low"], row["high"]], color=INK, lw=0.9, solid_capstyle="butt")
        axes.plot(place, row["value"], marker="o", ms=3, color=INK, ls="")
    edge = 0
    for shift in shifts:
        count = sum(row["shift"] == shift for row in ordered)
        if not count:
            continue
        if edge:
            axes.axvline(edge - 0.5, color=MUTED, lw=0.5)
        axes.plot(
            [edge - 0.3, edge + count - 0.7], [np.mean([row["value"] for row in ordered[edge : edge + count]])] * 2,
            color="#0072B2", lw=1.4, zorder=3,
        )  # fmt: skip
        axes.text(
            edge + (count - 1) / 2, -0.03, shift.replace("-distribution", "\ndist.").replace(" ", "\n"), fontsize=6,
            transform=axes.get_xaxis_transform(), ha="center", va="top",
        )  # fmt: skip
        edge += count
    axes.set_xlim(-0.7, len(ordered) - 0.3)
    axes.set_xticks([])
    axes.grid(visible=False, axis="x")
    axes.set_ylabel("explicit − implicit")
