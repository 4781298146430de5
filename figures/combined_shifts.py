"""Prompt shift x response shift on three rungs: the gap under each, and what is left after adding them up.

One line per arm. On rungs 1 and 2 an arm is a way of training; on rung 0 it is a cell of the grid.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from figures.marks import legend_above, not_run, where
from figures.style import COLOUR, INK, MUTED, Width, new_figure, styled
from llm_experiments.tasks.shift_claims import gaps, interactions, over_clusters, persona_factorial
from llm_experiments.tasks.shifted_pairs import FACTORIAL
from simulations.results import Row

GRID = {"rung 0, half way": (0.5, 2 / 3), "rung 0, largest": (1.0, 1.0)}  # right angles, share of unseen words
PAIRS_OF_THE_GRID = 96
ARMS = {
    "96-pairs": "rung 1, 96 pairs",
    "48-pairs": "… 48 pairs",
    "24-pairs": "… 24 pairs",
    "24-pairs-tied": "… 24, tied",
    "24-pairs-terminator": "… 24, terminator",
    "persona/mistral": "rung 2, Persona",
    "persona/mistral-terminator": "… terminator",
    "persona/gemma": "… Gemma",
    "persona/statement-label": "… label by prompt",
    "persona/without-evaluation-words": "… words left out",
    "persona/verifying": "… can verify",
}
LOOKS = {"none": "o", "prompts": "D", "responses": "s", "both": "X"}
LABELS = {"none": "no shift", "prompts": "new prompts", "responses": "new responses", "both": "both"}
SCALES = {
    "accuracy": "interaction:\naccuracy",
    "log_odds": "interaction:\nlog-odds",
    "share_kept": "interaction:\nshare kept",
}
SHADES = {"none": MUTED, "prompts": COLOUR["generative"], "responses": COLOUR["implicit"], "both": INK}


@styled
def combined_shifts(
    rung1: Sequence[Row], rung0: Sequence[Row], rung2: Sequence[Row], *, width: Width = "double"
) -> Figure:
    """Gaps (explicit minus implicit accuracy) under the four combinations, and their interaction on three scales."""
    rows = [*grid_factorial(rung0), *rung1, *persona_factorial(rung2)]
    found = {row["cell"] for row in rows}
    names = {name: name for name in GRID} | ARMS
    arms = [arm for arm in names if arm in found]
    if not arms:
        figure = new_figure(width, 1.2)
        not_run(figure.subplots())
        return figure
    double = width == "double"
    figure = new_figure(width, 0.95 + 0.2 * max(len(arms), 6) * (1 if double else 2))
    if double:
        panels = list(figure.subplots(1, 4, width_ratios=[1.6, 1, 1, 1]))
    else:
        grid = figure.add_gridspec(2, 3)
        panels = [figure.add_subplot(grid[0, :]), *(figure.add_subplot(grid[1, place]) for place in range(3))]
    for place, arm in enumerate(arms):
        mine = where(rows, cell=arm)
        for step, (shift, values) in enumerate(gaps(mine).items()):
            _mark(panels[0], values, mine, place + 0.16 * (step - 1.5), SHADES[shift], LOOKS[shift])
        for axes, values in zip(panels[1:], interactions(mine).values(), strict=True):
            _mark(axes, values, mine, place, INK, "o")
    panels[0].set_xlabel("explicit minus implicit accuracy")
    for axes, title in zip(panels[1:], SCALES.values(), strict=True):
        axes.set_xlabel(title)
    for number, axes in enumerate(panels):
        axes.axvline(0, color=MUTED, lw=0.7, ls=(0, (2, 2)), zorder=0)
        axes.set_ylim(len(arms) - 0.4, -0.6)
        labelled = number == 0 or (number == 1 and not double)
        axes.set_yticks(range(len(arms)), [names[arm] for arm in arms] if labelled else [])
        axes.set_title("abcd"[number])
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(4 if double or not number else 2))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    handles = [
        Line2D([], [], color=SHADES[shift], marker=LOOKS[shift], ls="", ms=4, label=LABELS[shift])
        for shift in FACTORIAL
    ]
    legend_above(figure, handles, columns=4 if double else 2)
    return figure


def grid_factorial(rows: Sequence[Row]) -> list[Row]:
    """Two cells of rung 0's grid with their margins, as the arms of a factorial; a seed is a cluster."""
    found = []
    for row in rows:
        for arm, (rotation, share) in GRID.items():
            shifts = {
                (0.0, 0.0): "none",
                (rotation, 0.0): "prompts",
                (0.0, share): "responses",
                (rotation, share): "both",
            }
            shift = shifts.get((row["rotation"], row["share"]))
            if shift is not None:
                cluster = {"cluster": row["seed"], "forms": 0, "n": PAIRS_OF_THE_GRID}
                found.append(row | cluster | {"cell": arm, "split": shift})
    return found


def _mark(axes: Axes, values, rows: Sequence[Row], y: float, colour: str, marker: str) -> None:
    interval = over_clusters(values, rows)
    axes.plot([interval.low, interval.high], [y, y], color=colour, lw=1.1, solid_capstyle="butt", zorder=3)
    axes.plot([interval.mean], [y], color=colour, marker=marker, ms=3.6, mew=0.5, mec="white", ls="", zorder=4)
