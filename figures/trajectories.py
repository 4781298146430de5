"""The experiments followed through training: predictions that age, heads that converge, verifiers that cannot write.

Thin lines are seeds, thick ones their mean; on logarithmic axes the median, which no single seed drags.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from figures import marks
from figures.style import COLOUR, INK, MARKER, MUTED, REFERENCE, Width, new_figure, styled
from simulations.results import Row

FAMILIES = {
    "base": ("base", {"color": COLOUR["explicit"], "ls": "-"}),
    "small_margin": ("small margin", {"color": COLOUR["explicit"], "ls": (0, (4, 1.5))}),
    "high_dimension": ("32 dimensions", {"color": COLOUR["explicit"], "ls": (0, (1, 1.2))}),
    "large_start": ("large start", {"color": MUTED, "ls": "-"}),
    "non_separable": ("no separator", {"color": REFERENCE, "ls": (0, (5, 1, 1, 1))}),
}


def _panels(figure: Figure, n: int, width: Width) -> list[Axes]:
    """In one line, or below each other."""
    return list(np.ravel(figure.subplots(1, n) if width == "double" else figure.subplots(n, 1)))


def _both_logarithmic(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())


@styled
def trajectory(rows: Sequence[Row], *, width: Width = "double") -> Figure:
    """Relative error of the margins predicted with coefficients of step 0, agreement of their signs, and the error
    with coefficients of every step against the step size."""
    kinds = marks.kinds_in(rows) or ["explicit", "implicit"]
    figure = new_figure(width, 2.2 if width == "double" else 5.4)
    panels = _panels(figure, 3, width)
    frozen, tracked = marks.where(rows, mode="frozen"), marks.where(rows, mode="tracked")
    titles = ("frozen: error", "frozen: signs", "tracked: error")
    for place, (axes, title) in enumerate(zip(panels, titles, strict=True)):
        axes.set_title(f"{'abc'[place]}  {title}")
    if not rows:
        for axes in panels:
            marks.not_run(axes)
    else:
        _error_axes(panels[0], frozen, "time", kinds)
        panels[0].set_xlabel("time (step size × steps)")
        for kind in kinds:
            marks.over_steps(panels[1], marks.where(frozen, kind=kind), "sign_agreement", COLOUR[kind],
                       x="time", middle=np.median, marker=MARKER[kind], ms=3.5)  # fmt: skip
        panels[1].set_xscale("log")
        panels[1].xaxis.set_minor_locator(NullLocator())
        marks.accuracy_axis(panels[1].yaxis, panels[1].set_ylim)
        panels[1].set_ylabel("share of signs right")
        panels[1].set_xlabel("time (step size × steps)")
        _tracked(panels[2], tracked, kinds)
    marks.legend_above(figure, marks.kind_handles(kinds), columns=2)
    return figure


def _error_axes(axes: Axes, rows: Sequence[Row], x: str, kinds: Sequence[str]) -> None:
    _both_logarithmic(axes)
    for kind in kinds:
        marks.over_steps(axes, marks.where(rows, kind=kind), "relative_error", COLOUR[kind],
                   x=x, middle=np.median, floor=marks.FLOOR, marker=MARKER[kind], ms=3.5)  # fmt: skip
    axes.set_ylim(marks.FLOOR, 10)
    axes.set_yticks([1e-16, 1e-12, 1e-8, 1e-4, 1])
    axes.set_ylabel("relative error")


def _tracked(axes: Axes, rows: Sequence[Row], kinds: Sequence[str]) -> None:
    last = max((row["time"] for row in rows), default=None)
    found = marks.where(rows, time=last)
    _error_axes(axes, found, "step_size", kinds)
    sizes = sorted({row["step_size"] for row in found})
    axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
    errors = (
        [row["relative_error"] for row in marks.where(found, kind="implicit", step_size=sizes[-1])] if sizes else []
    )
    if errors:
        above = 8 * float(np.median(errors))
        axes.plot(sizes, above * np.array(sizes) / sizes[-1], color=REFERENCE, lw=0.8, ls="--")
        axes.text(sizes[0], 3.5 * above * sizes[0] / sizes[-1], "∝ step size", fontsize=6.5, color=REFERENCE)
    axes.set_xlabel("step size")


@styled
def convergence(rows: Sequence[Row], *, width: Width = "double") -> Figure:
    """The angle that is left to the max-margin separator, and the head's length, over training; a line per family."""
    double = width == "double"
    figure = new_figure(width, 2.3 if double else 3.9)
    panels = _panels(figure, 2, width)
    last = max((row["step"] for row in rows), default=1)
    for place, (axes, value, label) in enumerate(
        zip(panels, ("angle", "length"), ("angle to separator", "head's length"), strict=True)
    ):
        axes.set_title(f"{'ab'[place]}  {label}")
        if not rows:
            marks.not_run(axes)
            continue
        _both_logarithmic(axes)
        for family, (_, look) in FAMILIES.items():
            marks.over_steps(axes, marks.where(rows, family=family), value, str(look["color"]),
                       middle=np.median, floor=marks.FLOOR, ls=look["ls"])  # fmt: skip
        axes.set_xlabel("gradient step")
        exponents = range(int(np.log10(last) + 1e-9) + 1)
        axes.set_xticks([10.0**k for k in exponents], [marks.power_of_ten(10.0**k) for k in exponents])
        axes.set_ylabel("radians" if value == "angle" else "norm")
    handles = [Line2D([], [], label=label, **look) for label, look in FAMILIES.values()]
    marks.legend_above(figure, handles, columns=5 if double else 2)
    return figure


@styled
def verify_generate(rows: Sequence[Row], *, width: Width = "double") -> Figure:
    """Accuracy as a verifier and probability of generating a correct response over training, a panel per beta; then
    by how much each verifier's log-odds exceed what its margin demands."""
    betas = sorted({row["beta"] for row in rows}) or [1.0]
    double = width == "double"
    figure = new_figure(width, 2.3 if double else 0.6 + 1.65 * (len(betas) + 1))
    panels = _panels(figure, len(betas) + 1, width)
    for place, (axes, beta) in enumerate(zip(panels, betas, strict=False)):
        axes.set_title(f"{'abcdefg'[place]}  β = {beta:g}" if rows else "not run")
        if not rows:
            marks.not_run(axes)
            continue
        found = marks.where(rows, beta=beta)
        for value, look in LOOKS.items():
            marks.over_steps(axes, found, value, str(look["color"]), ls=look["ls"])
        marks.step_axis(axes, max(row["step"] for row in found))
        marks.accuracy_axis(axes.yaxis, axes.set_ylim)
        axes.set_xlabel("gradient step")
        axes.set_ylabel("accuracy, probability")
    _excess(panels[-1], rows, betas)
    panels[-1].set_title(f"{'abcdefg'[len(betas)]}  above the bound")
    handles = [Line2D([], [], label=look["label"], color=look["color"], ls=look["ls"]) for look in LOOKS.values()]
    marks.legend_above(figure, handles, columns=3 if double else 1)
    return figure


LOOKS = {
    "accuracy": {"label": "verifies: accuracy", "color": COLOUR["implicit"], "ls": "-"},
    "generation": {"label": "generates: P(correct)", "color": INK, "ls": (0, (4, 1.5))},
}


def _excess(axes: Axes, rows: Sequence[Row], betas: Sequence[float]) -> None:
    verifying = [row for row in rows if row["least_log_odds"] is not None and row["margin"] > 0]
    if not verifying:
        marks.not_run(axes)
        return
    for beta, fill in zip(betas, ("none", COLOUR["implicit"], INK), strict=False):
        found = marks.where(verifying, beta=beta)
        axes.plot(
            [row["margin"] for row in found],
            [row["log_odds"] - row["least_log_odds"] for row in found],
            ls="", marker="s", ms=2.4, mew=0.5, mec=COLOUR["implicit"], mfc=fill, alpha=0.6, label=f"β = {beta:g}",
        )  # fmt: skip
    axes.axhline(0, color=REFERENCE, lw=0.9, ls="--")
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(bottom=-0.05 * max(row["log_odds"] - row["least_log_odds"] for row in verifying))
    axes.set_xlabel("worst margin (nats)")
    axes.set_ylabel("excess of log-odds (nats)")
    axes.legend(loc="upper left", handlelength=1.0, borderpad=0.2)
