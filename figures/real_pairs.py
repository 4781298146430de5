"""Reward models on real pairs, in distribution, under token-level shift and in other domains: raw and without length.

    study/ultrafeedback/rows.jsonl, study/rewardmath/rows.jsonl
    cell architecture seed kind set category accuracy length_matched length_residual by_overlap baseline_*

Clusters are a language model and a training seed; a category is the mean over its sets, within a cluster first.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.marks import (
    ForestRow,
    forest,
    kind_handles,
    kinds_in,
    legend_above,
    not_run,
    over_clusters,
    over_values,
    where,
)
from figures.style import INK, MUTED, Width, new_figure, styled
from simulations.results import Row

CATEGORIES = {
    "in-distribution": "in distribution",
    "token-level shift": "token-level shift",
    "domain shift": "domain shift",
}
SETS = {
    "ultrafeedback": "UltraFeedback",
    "paraphrase": "paraphrase",
    "french": "French",
    "spanish": "Spanish",
    "rewardmath": "RewardMATH",
    "rewardbench-math": "RewardBench math",
    "rewardbench-code": "RewardBench code",
}
MEASURES = {"accuracy": "accuracy", "length_matched": "equal length", "length_residual": "length removed"}
# Razin et al. 2025, trained on UltraFeedback, means over six models of 1B to 8B parameters
PUBLISHED = {
    "in-distribution": {"explicit": 0.752, "implicit": 0.646},
    "token-level shift": {"explicit": 0.665, "implicit": 0.602},
    "domain shift": {"explicit": 0.621, "implicit": 0.720},
}
RULES = {  # what a reward model must beat
    "baseline_longest": ("longest wins", ">"),
    "baseline_bag_of_tokens": ("bag of tokens", "P"),
    "baseline_token_overlap": ("token overlap", "*"),
}
OVERLAP = "by overlap"
Line = tuple[str, str | None]  # category, and one of its sets or None for their mean


@styled
def ultrafeedback(rows: Sequence[Row], *, width: Width = "double") -> Figure:
    """Trained on UltraFeedback, published means of six larger models as diamonds."""
    return _shifts(rows, PUBLISHED, width)


@styled
def rewardmath(rows: Sequence[Row], *, width: Width = "double") -> Figure:
    """Trained on RewardMATH, the published split and the leak-free one; its published numbers are not known."""
    return _shifts(rows, {}, width)


def _shifts(rows: Sequence[Row], published: dict[str, dict[str, float]], width: Width) -> Figure:
    rows = [{**row, "cluster": f"{row['architecture']}-{row['seed']}"} for row in rows if row["category"] in CATEGORIES]
    if not rows:
        figure = new_figure(width, 1.2)
        not_run(figure.subplots())
        return figure
    arms, kinds = list(dict.fromkeys(row["cell"] for row in rows)), kinds_in(rows)
    lines = _lines(rows)
    double = width == "double"
    panels = [(arm, measure) for arm in arms for measure in (*MEASURES, OVERLAP)]
    columns = 4 if double else 2
    height = 0.62 + 0.235 * len(lines)
    figure = new_figure(width, 0.75 + height * len(panels) / columns)
    for place, (axes, (arm, measure)) in enumerate(
        zip(figure.subplots(len(panels) // columns, columns, squeeze=False).flat, panels, strict=True)
    ):
        mine = where(rows, cell=arm)
        title = MEASURES.get(measure, measure)
        axes.set_title(title if len(arms) == 1 else f"{arm.replace('-', ' ')}\n{title}", loc="center")
        if measure == OVERLAP:
            _by_overlap(axes, mine, label=double)
        else:
            stars = published if measure == "accuracy" else {}
            labels = place % columns == 0
            forest(axes, [_row(mine, line, measure, kinds, stars, lines) for line in lines], kinds, labels=labels)
            _rules(axes, mine, lines, measure)
    handles = [*kind_handles(kinds), Line2D([], [], color=MUTED, lw=0.7, ls=(0, (2, 2)), label="chance")]
    handles += [Line2D([], [], ls="", color=MUTED, marker=mark, ms=4, mfc="none", label=label)
                for label, mark in RULES.values()]  # fmt: skip
    if published:
        handles += [Line2D([], [], color=INK, marker="D", ms=6, mew=0.9, mfc="none", ls="", label="published")]
    legend_above(figure, handles, columns=len(handles) if double else 2)
    return figure


def _lines(rows: Sequence[Row]) -> list[Line]:
    """Every category, and below one that has several sets each of them."""
    lines: list[Line] = []
    for category in CATEGORIES:
        sets = {row["set"] for row in where(rows, category=category)}
        if sets:
            lines.append((category, None))
        if len(sets) > 1:
            lines += [(category, name) for name in SETS if name in sets]
    return lines


def _at(rows: Sequence[Row], line: Line) -> list[Row]:
    category, name = line
    return where(rows, category=category) if name is None else where(rows, category=category, set=name)


def _row(
    rows: Sequence[Row],
    line: Line,
    measure: str,
    kinds: Sequence[str],
    published: dict[str, dict[str, float]],
    lines: Sequence[Line],
) -> ForestRow:
    category, name = line
    here = _at(rows, line)
    label = CATEGORIES[category] if name is None else f"… {SETS[name]}"
    marks = {kind: over_clusters(where(here, kind=kind), measure) for kind in kinds}
    missing = "not run" if not here else "no such pairs"
    return ForestRow(label, marks, stars=published.get(category) if name is None else None, missing=missing)


def _rules(axes: Axes, rows: Sequence[Row], lines: Sequence[Line], measure: str) -> None:
    """The baselines' accuracies beside the raw ones; they are no model's, so any kind's rows say them."""
    for place, line in enumerate(lines if measure == "accuracy" else ()):
        for rule, (_, mark) in RULES.items():
            estimate = over_clusters(_at(rows, line), rule)
            if estimate:
                axes.plot(estimate.mean, place, ls="", marker=mark, ms=4, mew=0.7, mfc="none", color=MUTED, zorder=2)


def _by_overlap(axes: Axes, rows: Sequence[Row], *, label: bool) -> None:
    """In distribution, accuracy by quarter of the test pairs' token overlap with the training responses."""
    found = [
        {"kind": row["kind"], "seed": row["cluster"], "quarter": quarter, "accuracy": value}
        for row in where(rows, category="in-distribution")
        for quarter, value in enumerate(row["by_overlap"], start=1)
        if value is not None
    ]
    quarters = sorted({row["quarter"] for row in found})
    if not quarters:
        not_run(axes)
        return
    over_values(axes, found, "quarter", np.array(quarters, dtype=float))
    axes.set_xticks(quarters)
    axes.set_xlabel("quarter")
    axes.set_ylabel("accuracy in distribution" if label else "")
