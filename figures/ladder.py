"""The whole argument in one figure: the same comparison on every rung, from the theorem to real questions."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.marks import (
    Estimate,
    accuracy_axis,
    kind_handles,
    kinds_in,
    legend_above,
    not_run,
    over_clusters,
    over_crossed,
    where,
)
from figures.shifts import by_answers, over_seeds, registered_rows
from figures.style import COLOUR, MARKER, REFERENCE, Width, new_figure, styled
from simulations.results import Row

SEEN, UNSEEN = 0.0, 1.0


@styled
def ladder(
    simulated: Sequence[Row], language: Sequence[Row], persona: Sequence[Row], *, width: Width = "double"
) -> Figure:
    """Accuracy on tokens that training showed and on tokens it did not, one panel per rung and label.

    Args:
        simulated: rung0/single_token.jsonl; seen are its training pairs, the units its seeds.
        language: rung1/rows.jsonl; the registered cell, held-out prompts, the units its clusters.
        persona: rung2/rows.jsonl; published strings without the terminator, held-out questions.
    """
    double = width == "double"
    figure = new_figure(width, 2.3 if double else 3.9)
    grid = figure.subplots(1, 4, squeeze=False) if double else figure.subplots(2, 2, squeeze=False)
    panels = list(grid.flat)
    final = where(simulated, condition="baseline", step=max((row["step"] for row in simulated), default=None))
    _panel(
        panels[0], "a  simulation", {SEEN: where(final, split="train"), UNSEEN: where(final, split="unseen")}, _by_seed
    )
    for axes, title, label in zip(
        panels[1:3], ("b  synonym language", "c  constant label"), ("statement", "constant"), strict=True
    ):
        rows = where(registered_rows(language), label=label)
        _panel(
            axes,
            title,
            {SEEN: where(rows, split="seen_forms"), UNSEEN: where(rows, split="unseen_forms")},
            over_crossed,
        )
    plain = where(persona, architecture="mistral", label="constant", pretraining="all_words", terminator=False)
    asked = where(by_answers(plain), prompts="test")
    by_split = {SEEN: where(asked, condition="seen", split="seen_forms"), UNSEEN: where(asked, condition="published")}
    _panel(panels[3], "d  real questions", by_split, over_seeds)
    for axes in panels:
        if axes.axison and axes.get_subplotspec().is_first_col():
            axes.set_ylabel("accuracy")
        elif axes.axison:
            axes.set_yticklabels([])
    handles = kind_handles(kinds_in([*simulated, *language, *asked]))
    handles += [Line2D([], [], color=REFERENCE, ls="--", lw=0.9, label="theorem: implicit, unseen")]
    legend_above(figure, handles, columns=len(handles) if double else 2)
    return figure


def _by_seed(rows: Sequence[Row]) -> Estimate | None:
    return over_clusters(rows, cluster="seed")


def _panel(
    axes: Axes, title: str, sides: dict[float, list[Row]], estimate: Callable[[Sequence[Row]], Estimate | None]
) -> None:
    axes.set_title(title)
    kinds = kinds_in([row for rows in sides.values() for row in rows])
    if not kinds:
        not_run(axes)
        return
    axes.axhline(0.5, color=REFERENCE, lw=0.9, ls="--", zorder=1)
    for kind, shift in zip(kinds, np.linspace(-0.07, 0.07, len(kinds)) if len(kinds) > 1 else [0.0], strict=True):
        found = {x + shift: estimate(where(rows, kind=kind)) for x, rows in sides.items()}
        ends = {x: value for x, value in found.items() if value is not None}
        axes.plot(list(ends), [value.mean for value in ends.values()], color=COLOUR[kind], lw=1.0, alpha=0.5, zorder=2)
        for x, value in ends.items():
            _mark(axes, x, value, kind)
    accuracy_axis(axes.yaxis, axes.set_ylim)
    axes.set_xlim(-0.4, 1.4)
    axes.set_xticks([SEEN, UNSEEN], ["seen", "unseen"])
    axes.grid(visible=False, axis="x")


def _mark(axes: Axes, x: float, value: Estimate, kind: str) -> None:
    colour = COLOUR[kind]
    if len(value.dots) > 1:
        fan = x + 0.16 * np.linspace(-1, 1, len(value.dots))  # in the order of the rows, so that nothing is random
        axes.plot(fan, value.dots, ls="", marker="o", ms=2.0, mew=0, color=colour, alpha=0.4, zorder=3)
    axes.plot(
        [x, x], [max(value.low, 0.0), min(value.high, 1.0)], color=colour, lw=1.4, solid_capstyle="butt", zorder=4
    )
    axes.plot(x, value.mean, marker=MARKER[kind], ms=4.8, mec="white", mew=0.6, color=colour, ls="", zorder=5)
