"""What optimising against each kind of reward model is worth in true reward: rounds of DPO, and best-of-n.

Lines are means over clusters, bands of the learned kinds their 95 % t intervals.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from figures.marks import legend_above, not_run, over_clusters, where
from figures.style import COLOUR, INK, MARKER, MUTED, Width, new_figure, styled
from simulations.results import Row

LOOKS: dict[str, dict[str, Any]] = {
    "explicit": {"color": COLOUR["explicit"], "marker": MARKER["explicit"], "label": "explicit"},
    "implicit": {"color": COLOUR["implicit"], "marker": MARKER["implicit"], "label": "implicit"},
    "ensemble": {"color": MUTED, "marker": "D", "ls": (0, (5, 1, 1, 1)), "label": "ensemble"},
    "truth": {"color": INK, "ls": (0, (1, 1.2)), "label": "the truth"},
}


@styled
def iterative(rows: Sequence[Row], *, width: Width = "double") -> Figure:
    """True reward of the policy after every round, per labeller; of the best of n under each kind; and the latter
    against what the kind itself says it is worth."""
    double = width == "double"
    figure = new_figure(width, 2.7 if double else 6.4)
    panels = list(np.ravel(figure.subplots(1, 3) if double else figure.subplots(3, 1)))
    rounds, best = where(rows, use="iterative"), where(rows, use="best_of_n")
    for axes, title, found in zip(
        panels, ("a  rounds of DPO", "b  best of n", "c  proxy against truth"), (rounds, best, best), strict=True
    ):
        axes.set_title(title)
        axes.set_ylabel("true reward")
        if not found:
            not_run(axes)
    if rounds:
        steps = _lines(panels[0], rounds, "round")
        panels[0].set_xticks(steps)
        panels[0].set_xlabel("round")
    if best:
        sizes = _lines(panels[1], best, "best_of")
        panels[1].set_xscale("log", base=2)
        panels[1].set_xticks(sizes[::2], [str(size) for size in sizes[::2]])
        panels[1].xaxis.set_minor_locator(NullLocator())
        panels[1].set_xlabel("n")
        _lines(panels[2], best, "best_of", across="proxy")
        panels[2].set_xlabel("proxy reward (spreads)")
    present = {row.get("kind") for row in rows}
    handles = [Line2D([], [], **look) for kind, look in LOOKS.items() if kind in present]
    legend_above(figure, handles, columns=4 if double else 2)
    return figure


def _lines(axes: Axes, rows: Sequence[Row], step: str, *, across: str = "") -> list[int]:
    """True reward of every kind at each value of `step`, which is returned; drawn over it, or over the mean of the
    field `across` there."""
    steps = sorted({row[step] for row in rows})
    for kind, look in LOOKS.items():
        some = [(at, where(rows, kind=kind, **{step: at})) for at in steps]
        found = [(at, here, over_clusters(here, value="true")) for at, here in some if here]
        if not found:
            continue
        places = [float(np.mean([row[across] for row in here])) if across else at for at, here, _ in found]
        estimates = [estimate for _, _, estimate in found if estimate is not None]
        if kind != "truth":  # its band and the ensemble's would be two greys
            low, high = [e.low for e in estimates], [e.high for e in estimates]
            axes.fill_between(places, low, high, color=look["color"], alpha=0.15, lw=0)
        axes.plot(places, [e.mean for e in estimates], lw=1.1, ms=3.4, mew=0.8, **look)
    return steps
