"""The gap between the kinds against the size of one thing at a time, in the synonym language.

Lines are means over clusters, bands the 95 % intervals of the claims.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from figures.marks import accuracy_axis, kind_handles, legend_above, not_run, over_crossed, where
from figures.style import COLOUR, MARKER, MUTED, Width, new_figure, styled
from llm_experiments.tasks.scale_claims import at_levels, crossed, gaps_by_level, slopes
from simulations.results import Row

TITLES = {
    "training_pairs": "training pairs",
    "width": "width",
    "layers": "layers",
    "vocabulary": "answer words",
    "pretraining": "pretraining steps",
    "beta": r"$\beta$",
}


@styled
def scale(rows: Sequence[Row], *, width: Width = "double") -> Figure:
    """Accuracy on held-out prompts in unseen words (solid) and in seen words (dotted), a panel per sweep; above it the
    slope of the gap on unseen words per doubling."""
    columns = 3 if width == "double" else 2
    lines = len(TITLES) // columns
    figure = new_figure(width, 0.5 + 1.55 * lines)
    panels = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for axes, letter, (sweep, title) in zip(panels.flat, "abcdef", TITLES.items(), strict=True):
        if not where(rows, sweep=sweep):
            not_run(axes)
            axes.set_title(f"{letter}  {title}")
            continue
        found = crossed(slopes(gaps_by_level(rows, sweep, "unseen_forms")))
        limits = f" [{found.low:+.3f}, {found.high:+.3f}]" if found.n > 1 else ""
        axes.set_title(f"{letter}  {found.mean:+.3f}{limits}", fontweight="normal")
        axes.set_xlabel(title)
        _sweep(axes, at_levels(rows, sweep))
    for axes in panels[:, 0]:
        axes.set_ylabel("accuracy")
    styles = {"unseen words": "-", "seen words": (0, (1, 1.2))}
    handles = [
        *kind_handles(["explicit", "implicit"]),
        *(Line2D([], [], color=MUTED, lw=1.2, ls=style, label=label) for label, style in styles.items()),
    ]
    legend_above(figure, handles, columns=4 if width == "double" else 2)
    return figure


def _sweep(axes: Axes, rows: Sequence[Row]) -> None:
    levels = sorted({row["level"] for row in rows})
    axes.set_xscale("log", base=2)
    axes.set_xticks(levels, [f"{level:g}" for level in levels])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.axhline(0.5, color=MUTED, lw=0.7, ls=(0, (2, 2)), zorder=0)
    accuracy_axis(axes.yaxis, axes.set_ylim)
    for kind in ("explicit", "implicit"):
        for split, line in (("unseen_forms", "-"), ("seen_forms", (0, (1, 1.2)))):
            found = {level: over_crossed(where(rows, level=level, kind=kind, split=split)) for level in levels}
            known = {level: estimate for level, estimate in found.items() if estimate is not None}
            if len(known) == 1:  # of explicit models beta changes nothing
                known = dict.fromkeys(levels, *known.values())
            x, means = list(known), [estimate.mean for estimate in known.values()]
            solid = split == "unseen_forms"
            axes.plot(
                x, means, color=COLOUR[kind], ls=line, lw=1.2 if solid else 1.0, marker=MARKER[kind] if solid else "",
                ms=3.4, mew=0.5, mec="white", zorder=4 if solid else 2,
            )  # fmt: skip
            if solid:
                limits = np.clip([(estimate.low, estimate.high) for estimate in known.values()], 0, 1)
                axes.fill_between(x, *limits.T, color=COLOUR[kind], alpha=0.18, lw=0, zorder=1)
