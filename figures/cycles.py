"""Verifying without generating on Hamiltonian cycles: who tells a cycle, who writes one, and what Theorem 1 allows.

rows         study/hamiltonian/rows.jsonl         cell kind split negatives seed accuracy least_margin median_margin
generation   study/hamiltonian/generation.jsonl   cell policy seed samples orders cycles chance log_probability_correct
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.marks import (
    Estimate,
    ForestRow,
    forest,
    kind_handles,
    legend_above,
    not_run,
    over_clusters,
    power_of_ten,
    where,
)
from figures.style import COLOUR, INK, MUTED, REFERENCE, Width, new_figure, styled
from simulations.results import Row
from simulations.statistics import wilson_interval

BETA = 0.01  # of the study, as published
PUBLISHED = {"implicit": 0.993}  # Razin et al. 2025, Pythia-1B, test graphs, random negatives
ARMS = {"published": "random orders", "near-cycle": "near-cycles"}
NEGATIVES = {"random": "a random order", "one_swap": "two exchanged", "near_cycle": "one step wrong"}
POLICIES = {
    ("published", "reference"): "before training",
    ("published", "implicit"): "after: random",
    ("near-cycle", "implicit"): "after: near-cycles",
    ("control", "reference"): "pretrained on cycles",
}
QUANTITIES = {
    "median": "median margin / β",
    "least": "least margin / β",
    "silent": r"$-\ln\,\pi_{ref}$(correct)",
    "gain": "log-odds gained",
}
SHARES = {"orders": ("o", MUTED, "all vertices"), "cycles": ("s", COLOUR["implicit"], "cycles")}


@styled
def cycles(rows: Sequence[Row], generation: Sequence[Row], *, width: Width = "double") -> Figure:
    """Accuracy on three kinds of negatives for models trained on either of two; what policies write; margins over beta
    beside the point from which Theorem 1 says nothing."""
    double = width == "double"
    figure = new_figure(width, 2.3 if double else 5.1)
    if not rows and not generation:
        not_run(figure.subplots())
        return figure
    layout = [["a", "b", "c", "d"]] if double else [["a", "b"], ["c", "c"], ["d", "d"]]
    heights = {} if double else {"height_ratios": [1, 1.6, 1.15]}
    panels = figure.subplot_mosaic(layout, **heights)
    for name, (cell, words) in zip("ab", ARMS.items(), strict=True):
        axes, mine = panels[name], where(rows, cell=cell)
        axes.set_title(f"{name}  trained on\n{words}", loc="left")
        if not mine:
            not_run(axes)
            continue
        forest(axes, [_line(mine, negatives, cell) for negatives in NEGATIVES], ("explicit", "implicit"),
               labels=name == "a")  # fmt: skip
        axes.set_xlabel("accuracy")
    _writing(panels["c"], generation)
    panels["c"].set_title("c  what is written")
    _margins(panels["d"], rows, generation)
    panels["d"].set_title("d  Theorem 1")
    handles = kind_handles(("explicit", "implicit"))
    handles += [Line2D([], [], color=INK, marker="D", ms=6, mew=0.9, mfc="none", ls="", label="published")]
    handles += [Line2D([], [], color=colour, marker=mark, mfc="none", ls="", label=f"written: {label}")
                for mark, colour, label in SHARES.values()]  # fmt: skip
    handles += [Line2D([], [], color=REFERENCE, marker="|", ms=8, ls="", label="exact")]
    handles += [Line2D([], [], color=REFERENCE, lw=0.9, ls="--", label="random order")]
    legend_above(figure, handles, columns=len(handles) if double else 2)
    return figure


def _line(rows: Sequence[Row], negatives: str, cell: str) -> ForestRow:
    here = where(rows, split="test", negatives=negatives)
    marks = {kind: over_clusters(where(here, kind=kind), cluster="seed") for kind in ("explicit", "implicit")}
    published = cell == "published" and negatives == "random"
    return ForestRow(NEGATIVES[negatives], marks, stars=PUBLISHED if published else None)


def _writing(axes: Axes, generation: Sequence[Row]) -> None:
    """Shares of samples on a logarithmic axis with Wilson intervals over samples; none found is an arrow at the limit,
    and the stroke is the exact probability of a cycle (mean over graphs and clusters). A policy whose
    samples are orders less than half of the time cannot write the format."""
    if not generation:
        not_run(axes)
        return
    floor, labels = 1e-5, list(POLICIES.values())
    for place, (cell, policy) in enumerate(POLICIES):
        some = where(generation, cell=cell, policy=policy)
        if not some:
            axes.text(0.5, place, "not run", transform=axes.get_yaxis_transform(), ha="center", va="center",
                      color=MUTED, style="italic", fontsize=6.5)  # fmt: skip
            continue
        samples = sum(row["samples"] for row in some)
        if sum(row["orders"] for row in some) < samples / 2:
            labels[place] += "\n(no format)"
        for offset, (name, (mark, colour, _)) in zip((-0.18, 0.18), SHARES.items(), strict=True):
            count = sum(row[name] for row in some)
            interval = wilson_interval(count, samples)
            y = place + offset
            low = max(interval.low, floor)
            axes.plot([low, interval.high], [y, y], color=colour, lw=1.3, solid_capstyle="butt", zorder=3)
            if count:
                axes.plot(count / samples, y, marker=mark, ms=4.2, color=colour, mfc="none", ls="", zorder=4)
            else:
                axes.plot(interval.high, y, marker="<", ms=4.2, color=colour, ls="", zorder=4)
        exact = [float(np.mean(np.exp(row["log_probability_correct"]))) for row in some
                 if row.get("log_probability_correct")]  # fmt: skip
        if exact:
            axes.plot(max(float(np.mean(exact)), floor), place + 0.18, marker="|", ms=8, color=REFERENCE, zorder=5)
    chance = [row["chance"] for row in generation if row.get("chance") is not None]
    axes.axvline(float(np.mean(chance)), color=REFERENCE, lw=0.9, ls="--", zorder=1)
    axes.set_xscale("log")
    axes.set_xlim(floor, 1.5)
    ticks = [1e-4, 1e-2, 1.0]
    axes.set_xticks(ticks, [power_of_ten(tick) for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("share of samples")
    _names(axes, labels)


def _margins(axes: Axes, rows: Sequence[Row], generation: Sequence[Row]) -> None:
    """In nats, per cluster: margins over beta on random negatives, -ln pi_ref(correct), from where the bound exceeds
    one, and how much the log-odds of a correct sample grew, which no margin over all responses can exceed."""
    found = nats(rows, generation)
    if not found:
        not_run(axes)
        return
    for place, name in enumerate(QUANTITIES):
        for offset, fill, arm in ((-0.15, COLOUR["implicit"], "published"), (0.15, "white", "near-cycle")):
            estimate = over_clusters(where(found, cell=arm), name, "seed")
            if estimate is None:
                continue
            _bar(axes, estimate, place + offset, fill)
    axes.axvline(0, color=MUTED, lw=0.7, ls=(0, (2, 2)), zorder=0)
    axes.set_xlabel("nats")
    _names(axes, list(QUANTITIES.values()))


def nats(rows: Sequence[Row], generation: Sequence[Row]) -> list[Row]:
    """Per cluster of either arm the quantities of the last panel, medians over graphs."""
    found: list[Row] = []
    for row in where(rows, kind="implicit", split="test", negatives="random"):
        before, after = (
            [np.array(one["log_probability_correct"])
             for one in where(generation, cell=row["cell"], seed=row["seed"], policy=policy)]
            for policy in ("reference", "implicit")
        )  # fmt: skip
        if before and after:
            odds = [logs - np.log1p(-np.exp(np.minimum(logs, -1e-12))) for logs in (before[0], after[0])]
            found.append(
                {"cell": row["cell"], "seed": row["seed"]}
                | {"least": row["least_margin"] / BETA, "median": row["median_margin"] / BETA}
                | {"silent": -float(np.median(before[0])), "gain": float(np.median(odds[1] - odds[0]))}
            )
    return found


def _bar(axes: Axes, estimate: Estimate, y: float, fill: str) -> None:
    colour = COLOUR["implicit"]
    axes.plot(estimate.dots, [y] * len(estimate.dots), ls="", marker="o", ms=2.0, mew=0, color=colour, alpha=0.45)
    axes.plot([estimate.low, estimate.high], [y, y], color=colour, lw=1.3, solid_capstyle="butt", zorder=3)
    axes.plot(estimate.mean, y, marker="s", ms=4.2, color=colour, mfc=fill, ls="", zorder=4)


def _names(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
