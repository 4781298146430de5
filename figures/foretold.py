"""Accuracy and gap as predicted before training against what was measured after: a dot per model, training, shift."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.marks import legend_above, not_run, where
from figures.style import COLOUR, FAINT, MUTED, Width, new_figure, styled
from llm_experiments.tasks.prediction_claims import (
    PARTS,
    accuracies,
    area_over_models,
    correlation_over_models,
    gap_tables,
    pair_tables,
)
from simulations.results import Row

SCORES = {"all": "all parameters", "head": "the head's theory", "overlap": "token overlap"}
GAP = COLOUR["generative"]
LOOKS: dict[str, dict[str, Any]] = {
    "development": {"color": MUTED, "marker": "o", "mfc": "none", "ms": 2.6, "mew": 0.6, "label": "development"},
    "held out, known shifts": {"marker": "o", "ms": 2.6, "mew": 0, "label": "held out"},
    "held out, new shifts": {"marker": "x", "ms": 3.0, "mew": 0.7, "label": "held out, shifts unknown to development"},
}


@styled
def prediction(rows: Sequence[Row], *, width: Width = "double") -> Figure:
    """Implicit models' accuracy by three predictions, and the gap by the first; held-out cells, and development's."""
    double = width == "double"
    figure = new_figure(width, 2.35 if double else 4.7)
    panels = list(np.ravel(figure.subplots(1, 4) if double else figure.subplots(2, 2)))
    if not rows:
        for axes in panels:
            not_run(axes)
        return figure
    held = where(rows, held_out=True)
    implicit = where(held, kind="implicit")
    for axes, (score, title) in zip(panels, SCORES.items(), strict=False):
        tables = {part: accuracies(where(some, kind="implicit"), score) for part, some in _parts(rows).items()}
        _dots(axes, tables, COLOUR["implicit"])
        said = correlation_over_models(accuracies(implicit, score)).mean
        area = area_over_models(pair_tables(implicit, score)).mean
        axes.set_title(f"{title}\n" + _numbers(rank=said, AUC=area), loc="center")
        axes.set_xlabel("predicted accuracy")
    _dots(panels[3], {part: gap_tables(some, "all") for part, some in _parts(rows).items()}, GAP)
    said = correlation_over_models(gap_tables(held, "all")).mean
    panels[3].set_title("gap, all parameters\n" + _numbers(rank=said), loc="center")
    panels[3].set_xlabel("predicted gap")
    panels[0].set_ylabel("measured")
    if not double:
        panels[2].set_ylabel("measured")
    handles = [
        Line2D([], [], **look | {"color": look.get("color", COLOUR["implicit"])}, ls="") for look in LOOKS.values()
    ]
    legend_above(figure, handles, columns=3 if double else 2)
    return figure


def _parts(rows: Sequence[Row]) -> dict[str, list[Row]]:
    return {part: some for part in LOOKS if (some := list(filter(PARTS[part], rows)))}


def _numbers(**values: float) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in values.items() if np.isfinite(value)) or "does not vary"


def _dots(axes: Axes, parts: Mapping[str, list[np.ndarray]], colour: str) -> None:
    """Measured (column 0) against predicted (column 1), a little beside each other where many would coincide."""
    random = np.random.default_rng(0)
    axes.plot([-1, 1], [-1, 1], color=FAINT, lw=0.8, zorder=0)
    for part, tables in parts.items():
        table = np.concatenate(tables)
        measured, predicted = (table + random.uniform(-0.02, 0.02, table.shape)).T
        axes.plot(predicted, measured, ls="", **{"color": colour, "alpha": 0.55, "zorder": 3} | LOOKS[part])
    lowest = min([0.0, *(float(table.min()) for tables in parts.values() for table in tables)])
    axes.set_xlim(lowest - 0.06, 1.06)
    axes.set_ylim(lowest - 0.06, 1.06)
    axes.set_aspect("equal")
    ticks = [tick for tick in ([0, 0.5, 1] if lowest > -0.25 else [-1, -0.5, 0, 0.5, 1]) if tick >= lowest - 0.06]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
