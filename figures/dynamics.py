"""Language models under gradient steps: predicted against measured changes of margins. Saved rows in, a Figure out.

predicted_changes   dynamics/one_step.jsonl   model kind trained step_size id margin predicted measured
along_training      dynamics/training.jsonl   model kind trained step id margin measured frozen tracked
"""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from figures.marks import kind_handles, kinds_in, legend_above, not_run, power_of_ten, where
from figures.shifts import ARCHITECTURE
from figures.style import COLOUR, INK, MARKER, MUTED, REFERENCE, Width, new_figure, styled
from llm_experiments.agreement import STEP_SIZE, agreement
from simulations.results import Row

TRAINED = {"head": "output layer or head", "tied": "tied output layer", "all": "all parameters"}
LINE = {"head": "-", "tied": (0, (3, 1.5)), "all": (0, (1, 1.2))}
EXACT = 1e-15  # relative errors are drawn no lower, explicit models' being rounding alone
FLOOR = 1e-6  # the same along training


@styled
def predicted_changes(rows: Sequence[Row], *, width: Width = "double") -> Figure:
    """Per model a scatter of predicted against measured changes for each kind, and the error against the step size."""
    models, kinds = _models(rows), kinds_in(rows)
    panels = [(model, kind) for model in models or [""] for kind in [*(kinds or ["implicit"]), "error"]]
    columns = len(panels) // max(len(models), 1) if width == "double" else 2
    lines = -(-len(panels) // columns)
    figure = new_figure(width, 0.75 + (1.75 if width == "double" else 1.7) * lines)
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes, place in zip(grid.flat, range(lines * columns), strict=True):
        if place >= len(panels):
            not_run(axes, "")
            continue
        model, kind = panels[place]
        found = where(rows, model=model)
        what = kind if kind != "error" else "error by step size"
        gap = "\n" if width == "single" or kind == "error" else " "
        axes.set_title(f"{'abcdefghijkl'[place]}  {_name(model)},{gap}{what}")
        if not found:
            not_run(axes)
        elif kind == "error":
            _errors_by_step_size(axes, found)
        else:
            _scatter(axes, where(found, kind=kind), kind)
    handles = kind_handles(kinds, line=True) + _trained_handles(rows)
    legend_above(figure, handles, columns=len(handles) if width == "double" else 2)
    return figure


def _scatter(axes: Axes, rows: Sequence[Row], kind: str) -> None:
    """At one step size each, or the nearest there is, in units of the largest change of what was moved."""
    if not rows:
        not_run(axes)
        return
    axes.plot([-1.15, 1.15], [-1.15, 1.15], color=REFERENCE, lw=0.8, ls="--", zorder=1)
    looks = {
        "all": {"marker": "x", "ms": 3.2, "color": MUTED, "mew": 0.7},
        "tied": {"marker": "D", "ms": 3.4, "color": COLOUR[kind], "mfc": "none", "mew": 0.7},
        "head": {"marker": MARKER[kind], "ms": 3.0, "color": COLOUR[kind], "mew": 0},
    }
    for trained, look in looks.items():
        found = where(rows, trained=trained)
        if not found:
            continue
        size = min({row["step_size"] for row in found}, key=lambda size: abs(np.log(size / STEP_SIZE[trained])))
        found = where(found, step_size=size)
        changes = np.array([(row["predicted"], row["measured"]) for row in found])
        changes /= max(float(np.abs(changes).max()), 1e-300)
        axes.plot(*changes.T, ls="", alpha=0.8, zorder=2, **look)
    axes.set_xlim(-1.15, 1.15)
    axes.set_ylim(-1.15, 1.15)
    axes.set_box_aspect(1)
    axes.set_xticks([-1, 0, 1])
    axes.set_yticks([-1, 0, 1])
    axes.set_xlabel("predicted")
    axes.set_ylabel("measured")


def _errors_by_step_size(axes: Axes, rows: Sequence[Row]) -> None:
    for kind in kinds_in(rows):
        for trained, line in LINE.items():
            found = where(rows, kind=kind, trained=trained)
            _line(axes, found, "step_size", "predicted", COLOUR[kind], EXACT, ls=line, marker=MARKER[kind], ms=2.6)
    sizes = sorted({row["step_size"] for row in rows})
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sizes[:: max(1, len(sizes) // 2)]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("step size")
    _error_axis(axes, EXACT, 5)
    axes.set_box_aspect(1)


@styled
def along_training(rows: Sequence[Row], *, width: Width = "double") -> Figure:
    """Relative error of both predictions over training, per model and what was moved."""
    models = _models(rows)
    kinds = kinds_in(rows)
    panels = [(model, name) for model in models for name in TRAINED if where(rows, model=model, trained=name)]
    if not panels:
        figure = new_figure(width, 1.2)
        not_run(figure.subplots())
        return figure
    columns = min(len(panels), 5) if width == "double" else 2
    lines = -(-len(panels) // columns)
    figure = new_figure(width, 0.75 + (1.75 if width == "double" else 1.7) * lines)
    grid = figure.subplots(lines, columns, squeeze=False)
    for place, axes in enumerate(grid.flat):
        if place >= len(panels):
            not_run(axes, "")
            continue
        model, trained = panels[place]
        found = where(rows, model=model, trained=trained)
        for kind in kinds_in(found):
            for coefficients, line in (("frozen", (0, (3, 1.5))), ("tracked", "-")):
                _line(axes, where(found, kind=kind), "step", coefficients, COLOUR[kind], FLOOR, ls=line)
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: power_of_ten(x)))
        axes.set_xlabel("gradient step")
        _error_axis(axes, FLOOR, 2)
        if place % columns:
            axes.set_ylabel("")
        axes.set_title(f"{'abcdefghijkl'[place]}  {_name(model)},\n{TRAINED[trained]}")
    handles = kind_handles(kinds, line=True)
    handles += [
        Line2D([], [], color=INK, ls=(0, (3, 1.5)), label="coefficients of step 0"),
        Line2D([], [], color=INK, ls="-", label="coefficients tracked"),
    ]
    legend_above(figure, handles, columns=len(handles) if width == "double" else 2)
    return figure


def _line(
    axes: Axes, rows: Sequence[Row], along: str, prediction: str, colour: str, floor: float, **look: object
) -> None:
    """Relative error at every value of `along`."""
    points = []
    for value in sorted({row[along] for row in rows}):
        group = where(rows, **{along: value})
        found = agreement(*(np.array([row[name] for row in group]) for name in (prediction, "measured")))
        if found.relative_error is not None:
            points.append((value, max(found.relative_error, floor)))
    if points:
        axes.plot(*np.array(points).T, color=colour, **look)


def _error_axis(axes: Axes, floor: float, every: int) -> None:
    """Relative error on a logarithmic axis; its lowest tick reads as 'or less'."""
    axes.set_yscale("log")
    highest = max([1.0, *(float(np.max(line.get_ydata())) for line in axes.lines)])
    axes.set_ylim(floor / 3, highest * 3)
    powers = range(round(np.log10(floor)), 1, every)
    axes.yaxis.set_major_locator(FixedLocator([10.0**power for power in powers]))
    axes.yaxis.set_minor_locator(NullLocator())
    label: Callable[[float, int], str] = lambda y, _: ("≤" if y <= 1.01 * floor else "") + power_of_ten(y)  # noqa: E731
    axes.yaxis.set_major_formatter(FuncFormatter(label))
    axes.set_ylabel("relative error")


def _trained_handles(rows: Sequence[Row]) -> list[Line2D]:
    looks = {"head": {"marker": "o", "mew": 0}, "tied": {"marker": "D", "mfc": "none"}, "all": {"marker": "x"}}
    return [
        Line2D([], [], color=INK, ls=LINE[name], ms=3.2, label=label, **looks[name])
        for name, label in TRAINED.items()
        if where(rows, trained=name)
    ]


def _models(rows: Sequence[Row]) -> list[str]:
    found = {row["model"] for row in rows}
    return [name for name in ARCHITECTURE if name in found] + sorted(found - set(ARCHITECTURE))


def _name(model: str) -> str:
    return ARCHITECTURE.get(model, model)
