"""Accuracy and gap as predicted before training against what was measured after: a dot per model, training, shift."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.marks import legend_above, not_run, where
from figures.style import COLOUR, FAINT, MUTED, Width, new_figure, styled
from llm_experiments.tasks.prediction_claims import (
    accuracies,
    area_over_models,
    correlation_over_models,
    gap_tables,
    pair_tables,
)
from simulations.results import Row

SCORES = {"all": "all parameters", "head": "the head's theory", "overlap": "token overlap"}
GAP = COLOUR["generative"]


@styled
def prediction(rows: Sequence[Row], *, width: Width = "double") -> Figure:
    """Implicit models' accuracy by three predictions, and the gap by the first; held-out cells, and development's."""
    double = width == "double"
    figure = new_figure(width, 2.35 if double else 4.1)
    panels = list(np.ravel(figure.subplots(1, 4) if double else figure.subplots(2, 2)))
    if not rows:
        for axes in panels:
            not_run(axes)
        return figure
    held, before = where(rows, held_out=True), where(rows, held_out=False)
    for axes, (score, title) in zip(panels, SCORES.items(), strict=False):
        _dots(axes, *(accuracies(where(some, kind="implicit"), score) for some in (before, held)), COLOUR["implicit"])
        area = area_over_models(pair_tables(where(held, kind="implicit"), score)).mean
        said = correlation_over_models(accuracies(where(held, kind="implicit"), score)).mean
        axes.set_title(f"{title}\n" + _numbers(rank=said, AUC=area), loc="center")
        axes.set_xlabel("predicted accuracy")
    _dots(panels[3], *(gap_tables(some, "all") for some in (before, held)), GAP)
    said = correlation_over_models(gap_tables(held, "all")).mean
    panels[3].set_title("gap, all parameters\n" + _numbers(rank=said), loc="center")
    panels[3].set_xlabel("predicted gap")
    panels[0].set_ylabel("measured")
    if not double:
        panels[2].set_ylabel("measured")
    handles = [
        Line2D([], [], color=COLOUR["implicit"], marker="o", ms=3.5, ls="", label="held out"),
        Line2D([], [], mec=MUTED, mfc="none", marker="o", ms=3.5, ls="", label="development"),
    ]
    legend_above(figure, handles, columns=2)
    return figure


def _numbers(**values: float) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in values.items() if np.isfinite(value)) or "does not vary"


def _dots(axes: Axes, before: list[np.ndarray], held: list[np.ndarray], colour: str) -> None:
    """Measured (column 0) against predicted (column 1), a little beside each other where many would coincide."""
    random = np.random.default_rng(0)
    shaken: Callable[[np.ndarray], np.ndarray] = lambda table: table + random.uniform(-0.02, 0.02, table.shape)  # noqa: E731
    axes.plot([-1, 1], [-1, 1], color=FAINT, lw=0.8, zorder=0)
    if before:
        measured, predicted = shaken(np.concatenate(before)).T
        axes.plot(predicted, measured, ls="", marker="o", ms=2.6, mfc="none", mec=MUTED, mew=0.6, alpha=0.6, zorder=2)
    if held:
        measured, predicted = shaken(np.concatenate(held)).T
        axes.plot(predicted, measured, ls="", marker="o", ms=2.6, mew=0, color=colour, alpha=0.5, zorder=3)
    lowest = min([0.0, *(float(table.min()) for table in (*before, *held))])
    axes.set_xlim(lowest - 0.06, 1.06)
    axes.set_ylim(lowest - 0.06, 1.06)
    axes.set_aspect("equal")
    ticks = [0, 0.5, 1] if lowest > -0.25 else [-1, -0.5, 0, 0.5, 1]
    ticks = [tick for tick in ticks if tick >= lowest - 0.06]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
