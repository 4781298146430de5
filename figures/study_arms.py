"""Studies whose arms each change one thing about the same training: a line per arm, a panel per set of answers.

ablations   study/ablations/rows.jsonl   cell seed kind condition split prompts accuracy
repair      study/repair/rows.jsonl      cell cluster forms seed kind split accuracy
"""

from collections.abc import Callable, Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.marks import (
    Estimate,
    ForestRow,
    forest,
    kind_handles,
    kinds_in,
    legend_above,
    not_run,
    over_clusters,
    over_crossed,
    where,
)
from figures.shifts import by_answers
from figures.style import MUTED, Width, new_figure, styled
from simulations.results import Row

ABLATIONS = {
    "none": "nothing changed",
    "mean-pooling": "mean of the states",
    "no-reference": "no reference",
    "frozen-backbone": "frozen backbone",
    "tied": "tied embeddings",
    "terminator": "terminator",
    "dropped-last-token": "… last token lost",
    "on-the-other-kind": "other kind's model",
}
ANSWERS = {"seen": "training answers", "published": "paraphrase", "shared_prefix": "… one prefix"}
REPAIRS = {
    "none": "no copies",
    "seen": "copies: training words",
    "third": "copies: other words",
    "third-consistency": "… and regulariser",
    "many": "copies: four groups",
    "evaluated": "copies: tested words",
}
SPLITS = {"train": "training pairs", "seen_forms": "seen words", "unseen_forms": "unseen words"}


@styled
def ablations(rows: Sequence[Row], *, width: Width = "double") -> Figure:
    """Both kinds under every ablation, on held-out prompts: training answers, the paraphrase, and its words behind
    one prefix."""
    asked = where(by_answers(rows), prompts="test")
    panels = {title: where(asked, condition=condition) for condition, title in ANSWERS.items()}
    return _arms(panels, ABLATIONS, lambda some: over_clusters(some, cluster="seed"), width)


@styled
def repair(rows: Sequence[Row], *, width: Width = "double") -> Figure:
    """The synonym language with copies of the training pairs in other words: fit, seen words, unseen words."""
    return _arms({title: where(rows, split=split) for split, title in SPLITS.items()}, REPAIRS, over_crossed, width)


def _arms(
    panels: Mapping[str, Sequence[Row]],
    names: Mapping[str, str],
    estimate: Callable[[Sequence[Row]], Estimate | None],
    width: Width,
) -> Figure:
    """One forest per panel, its lines the arms; those without a name come last, under their own."""
    every = [row for rows in panels.values() for row in rows]
    if not every:
        figure = new_figure(width, 1.2)
        not_run(figure.subplots())
        return figure
    found, kinds = {row["cell"] for row in every}, kinds_in(every)
    arms = [*names, *sorted(found - set(names))]
    figure = new_figure(width, 0.75 + 0.27 * len(arms))
    for place, (axes, (title, rows)) in enumerate(zip(figure.subplots(1, len(panels)), panels.items(), strict=True)):
        lines = [
            ForestRow(names.get(arm, arm), {kind: estimate(where(rows, cell=arm, kind=kind)) for kind in kinds})
            for arm in arms
        ]
        forest(axes, lines, kinds, labels=place == 0)
        axes.set_title(title if width == "double" else title.replace(" ", "\n", 1), loc="center")
    figure.supxlabel("accuracy", fontsize=7.5)
    handles = [*kind_handles(kinds), Line2D([], [], color=MUTED, lw=0.7, ls=(0, (2, 2)), label="chance")]
    legend_above(figure, handles, columns=len(handles))
    return figure
