"""Rung 0, the clean room: saved rows in, a matplotlib Figure out. Nothing is read, written or trained here.

Every function takes the rows of one file and a print width, draws what the rows hold and says "not run" where they
hold nothing (a quick run stops early). The rows' fields are those of `rewardgap reproduce`:

    single_token   rung0/single_token.jsonl   condition seed kind step split accuracy max_abs_margin cosine
    separator      rung0/unseen_pairs.jsonl   seed pair time separator_margin angle excluded agrees
    one_step       rung0/one_step.jsonl       seed kind step_size pair predicted measured
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullLocator

from figures.marks import (
    FLOOR,
    accuracy_axis,
    kind_handles,
    kinds_in,
    legend_above,
    not_run,
    over_steps,
    power_of_ten,
    step_axis,
    where,
)
from figures.style import COLOUR, INK, MARKER, MUTED, REFERENCE, Width, new_figure, styled
from simulations.results import Row

CONTROLS = {
    "one_seen_token": "one token seen",
    "non_zero_start": "non-zero start",
    "weight_decay": "weight decay",
    "tied_rows": "tied output rows",
}
SMALL_STEP = 1e-2  # up to here the error's order in the step is fitted
EXACT = 1e-12  # the theorems' tolerance, in nats of reward


@styled
def single_token(rows: Sequence[Row], *, width: Width = "double") -> Figure:
    """Single-token responses: both kinds over training on pairs whose tokens were never seen, and the controls."""
    double = width == "double"
    figure = new_figure(width, 4.1 if double else 8.1)
    names = list(CONTROLS)
    if double:  # each row its own grid, so that three and four panels both fill the width
        panels = figure.subplot_mosaic([[[["accuracy", "margin", "angle"]]], [[names]]], height_ratios=[1.15, 1])
    else:
        layout = [["accuracy"] * 2, ["margin"] * 2, ["angle"] * 2, names[:2], names[2:]]
        panels = figure.subplot_mosaic(layout, height_ratios=[1.15, 1.0, 1.0, 1, 1])
    kinds = kinds_in(rows)
    last = max((row["step"] for row in rows), default=1)
    base = where(rows, condition="baseline")
    if base:
        _accuracy_over_training(panels["accuracy"], base, last)
        _margin_over_training(panels["margin"], base, last)
        _angle_over_training(panels["angle"], base, last)
        panels["accuracy"].set_title("a  unseen tokens")
        panels["margin"].set_title("b  unseen tokens, margin")
        panels["angle"].set_title("c  angle to the separator")
    else:
        for name in ("accuracy", "margin", "angle"):
            not_run(panels[name])
    for place, (condition, title) in enumerate(CONTROLS.items()):
        axes, found = panels[condition], where(rows, condition=condition)
        axes.set_title(f"{'defg'[place]}  {title}")
        if not found:
            not_run(axes)
            continue
        _accuracy_over_training(axes, found, last)
        _distance_from_half(axes, found)
        first_in_row = place == 0 if double else place % 2 == 0
        if not first_in_row:
            axes.set_ylabel("")
            axes.set_yticklabels([])
    handles = kind_handles(kinds, line=True)
    handles += [
        Line2D([], [], color=INK, ls=":", lw=1.0, label="training pairs"),
        Line2D([], [], color=REFERENCE, ls="--", lw=0.9, label="max-margin separator"),
    ]
    legend_above(figure, handles, columns=4 if double else 2)
    return figure


def _accuracy_over_training(axes: Axes, rows: Sequence[Row], last: float) -> None:
    unseen = where(rows, split="unseen")
    axes.axhline(0.5, color=MUTED, lw=0.6, ls=(0, (2, 2)), zorder=0)
    for kind in kinds_in(rows):
        over_steps(axes, where(rows, split="train", kind=kind), "accuracy", COLOUR[kind], seeds=False, ls=":", lw=1.0)
        over_steps(axes, where(unseen, kind=kind), "accuracy", COLOUR[kind], zorder=3)
    separator = [row["separator_accuracy"] for row in unseen if row.get("separator_accuracy") is not None]
    if separator:
        axes.axhline(float(np.mean(separator)), color=REFERENCE, lw=0.9, ls="--", zorder=4)
    step_axis(axes, last)
    accuracy_axis(axes.yaxis, axes.set_ylim)
    axes.set_ylabel("accuracy")
    axes.set_xlabel("gradient step")


def _distance_from_half(axes: Axes, rows: Sequence[Row]) -> None:
    """Seeds may lie on either side of one half, so their mean says little: print the mean distance from it."""
    unseen = where(rows, split="unseen", kind="implicit")
    last = where(unseen, step=max((row["step"] for row in unseen), default=None))
    if last:
        distance = float(np.mean([abs(row["accuracy"] - 0.5) for row in last]))
        axes.text(0.97, 0.03, f"mean |acc. − ½| {distance:.2f}", transform=axes.transAxes, ha="right", fontsize=6.5)


def _margin_over_training(axes: Axes, rows: Sequence[Row], last: float) -> None:
    axes.set_yscale("log")
    for kind in kinds_in(rows):
        found = where(rows, split="unseen", kind=kind)
        over_steps(axes, found, "max_abs_margin", COLOUR[kind], floor=FLOOR)
    axes.axhline(EXACT, color=REFERENCE, lw=0.9, ls=(0, (1, 1.5)))
    where_ = {"xycoords": ("axes fraction", "data"), "xytext": (0, 2), "textcoords": "offset points"}
    axes.annotate("tolerance", (0.99, EXACT), va="bottom", ha="right", fontsize=6.5, **where_)
    axes.set_ylim(FLOOR / 8, 1e3)
    axes.set_yticks([FLOOR, EXACT, 1e-6, 1], ["0", "$10^{-12}$", "$10^{-6}$", "1"])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel("largest |margin| (nats)")
    step_axis(axes, last)
    axes.set_xlabel("gradient step")


def _angle_over_training(axes: Axes, rows: Sequence[Row], last: float) -> None:
    found = [{**row, "angle": _degrees(row["cosine"])} for row in rows if row.get("cosine") is not None]
    found = [row for row in found if row.get("split") == found[0].get("split")] if found else []
    if not found:
        not_run(axes)
        return
    over_steps(axes, found, "angle", COLOUR["explicit"])
    axes.set_ylim(bottom=0)
    axes.set_ylabel("angle (degrees)")
    step_axis(axes, last)
    axes.set_xlabel("gradient step")


def _degrees(cosine: float) -> float:
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


@styled
def one_step(rows: Sequence[Row], *, width: Width = "double") -> Figure:
    """Predicted against measured reward change after one step per kind, and the error against the step size.

    The scatter panels show two step sizes, both as change per unit step: the largest of the small ones and the largest
    of all.
    """
    double = width == "double"
    kinds = kinds_in(rows) or ["explicit", "implicit"]
    figure = new_figure(width, 2.45 if double else 1.0 + 1.65 * (len(kinds) // 2 + 1))
    if double:
        layout = [[*kinds, "error"]]
    else:  # two panels to a line; the last is all the error's where the kinds are even in number
        names = [*kinds, "error"] + ["error"] * (1 - len(kinds) % 2)
        layout = [names[i : i + 2] for i in range(0, len(names), 2)]
    panels = figure.subplot_mosaic(layout)
    sizes = sorted({row["step_size"] for row in rows})
    shown = sorted({max(_small(sizes)), sizes[-1]}) if sizes else []
    for place, kind in enumerate(kinds):
        axes = panels[kind]
        axes.set_title(f"{'abc'[place]}  {kind}")
        found = [row for row in rows if row["kind"] == kind and row["step_size"] in shown]
        if not found:
            not_run(axes)
            continue
        _prediction_scatter(axes, found, shown, kind)
    axes = panels["error"]
    axes.set_title(f"{'abcd'[len(kinds)]}  error by step size")
    handles = kind_handles(kinds)
    if rows:
        words = [_error_line(axes, where(rows, kind=kind), kind) for kind in kinds]
        for handle, text in zip(handles, words, strict=True):
            handle.set_label(f"{handle.get_label()}: {text}")
        handles += _size_handles(shown)
        _error_axes(axes, square=double or len(kinds) % 2 == 1)
    else:
        not_run(axes)
    legend_above(figure, handles, columns=(len(handles) + 1) // 2 if double else 1)
    return figure


def _small(sizes: Sequence[float]) -> list[float]:
    return [size for size in sizes if size <= SMALL_STEP] or list(sizes[:1])


def _size_handles(shown: Sequence[float]) -> list[Line2D]:
    dot = {"color": MUTED, "marker": "o", "ls": ""}
    handles = [Line2D([], [], ms=3, mew=0, label=f"step size {shown[0]:g}", **dot)]
    if len(shown) > 1:
        handles += [Line2D([], [], ms=4, mew=0.7, mfc="none", label=f"step size {shown[-1]:g}", **dot)]
    return handles


def _error_axes(axes: Axes, *, square: bool) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(numticks=4 if square else 6))
        axis.set_minor_locator(NullLocator())
    axes.set_xlabel("step size")
    axes.set_ylabel("|error| (nats)")
    if square:
        axes.set_box_aspect(1)


def _prediction_scatter(axes: Axes, rows: Sequence[Row], shown: Sequence[float], kind: str) -> None:
    """Both changes divided by the step size, in a power of ten that leaves short tick labels."""
    pairs = np.array([(row["step_size"], row["predicted"], row["measured"]) for row in rows])
    pairs[:, 1:] /= pairs[:, :1]
    largest = max(float(np.abs(pairs[:, 1:]).max()), 1e-30)
    exponent = int(np.floor(np.log10(largest)))
    pairs[:, 1:] /= 10.0**exponent
    reach = 1.08 * largest / 10.0**exponent
    axes.plot([-reach, reach], [-reach, reach], color=REFERENCE, lw=0.8, ls="--", zorder=1)
    looks = [{"ms": 2.4, "mew": 0, "alpha": 0.6}, {"ms": 3.6, "mew": 0.6, "mfc": "none", "alpha": 0.6}]
    for size, look in zip(shown, looks, strict=False):
        _, predicted, measured = pairs[pairs[:, 0] == size].T
        axes.plot(predicted, measured, ls="", marker="o", color=COLOUR[kind], zorder=2, **look)
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_box_aspect(1)
    tick = float(np.floor(reach))
    axes.set_xticks([-tick, 0.0, tick])
    axes.set_yticks([-tick, 0.0, tick])
    unit = "nats" if exponent == 0 else f"$10^{{{exponent}}}$ nats"
    axes.set_xlabel(f"predicted ({unit})")
    axes.set_ylabel(f"measured ({unit})")


def _error_line(axes: Axes, rows: Sequence[Row], kind: str) -> str:
    """Draw median and 5 % to 95 % of the error at every step size; its order over the small steps in words."""
    sizes = sorted({row["step_size"] for row in rows})
    if not sizes:
        return "not run"
    errors = [np.array([abs(r["measured"] - r["predicted"]) for r in where(rows, step_size=size)]) for size in sizes]
    low, middle, high = np.array([np.quantile(np.maximum(e, FLOOR), [0.05, 0.5, 0.95]) for e in errors]).T
    axes.fill_between(sizes, low, high, color=COLOUR[kind], alpha=0.15, lw=0)
    axes.plot(sizes, middle, color=COLOUR[kind], marker=MARKER[kind], ms=3.5)
    largest = float(max(e.max() for e in errors))
    if largest <= EXACT:
        return f"exact (largest error {largest:.0e})"
    n = len(_small(sizes))
    if n < 2:
        return f"median error {float(middle[0]):.0e}"
    slope = float(np.polyfit(np.log(sizes[:n]), np.log(middle[:n]), 1)[0])
    return f"error ∝ step$^{{{slope:.2f}}}$"


@styled
def separator(rows: Sequence[Row], *, width: Width = "double") -> Figure:
    """Does the explicit head rank unseen pairs as the max-margin separator does, wherever the theorem speaks?

    One dot per unseen pair: the separator's normalised margin against the angle that is left between head and
    separator, at powers of ten of training. Below the diagonal the theorem is silent.
    """
    double = width == "double"
    times = sorted({row["time"] for row in rows})
    columns = max(len(times), 1) if double else 2
    lines = -(-max(len(times), 1) // columns)
    figure = new_figure(width, 2.25 if double else 0.7 + 1.6 * lines)
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axes in panels.flat[len(times) :]:
        not_run(axes, "" if times else "not run")
    top = 1.05 * max((abs(row["separator_margin"]) for row in rows), default=1.0)
    for place, (axes, time) in enumerate(zip(panels.flat, times, strict=False)):
        found = where(rows, time=time)
        axes.fill_between([0, np.pi], [0, np.pi], color="#eeeeee", lw=0, zorder=0)
        for agrees, look in AGREEMENT.items():
            some = where(found, agrees=agrees)
            axes.plot([row["angle"] for row in some], [abs(row["separator_margin"]) for row in some], ls="", **look)
        silent = np.mean([row["excluded"] for row in found])
        axes.set_title(f"{'abcdefgh'[place]}  step {power_of_ten(time)}")
        axes.set_title(f"silent: {silent:.1%}", loc="right", fontsize=6.5, fontweight="normal")
        axes.set_xlim(0, 1.1 * max(row["angle"] for row in rows))
        axes.set_ylim(0, top)
        axes.label_outer()
    if times:
        figure.supxlabel("angle between head and separator (radians)", fontsize=7.5)
        figure.supylabel("separator's normalised margin", fontsize=7.5)
    handles = [Line2D([], [], ls="", **{**look, "ms": 4}) for look in AGREEMENT.values()]
    handles += [Patch(color="#e4e4e4", label="theorem silent")]
    legend_above(figure, handles, columns=3 if double else 1)
    return figure


AGREEMENT = {
    True: {"marker": "o", "ms": 2.2, "mew": 0, "color": COLOUR["explicit"], "label": "ranked as the separator does"},
    False: {"marker": "x", "ms": 3.6, "mew": 1.0, "color": REFERENCE, "label": "ranked the other way"},
}
