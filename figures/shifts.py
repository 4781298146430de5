"""Accuracy under token-level shifts as forest plots: the synonym language (rung 1) and the Persona controls (rung 2).

One row per condition, one mark per kind with its 95 % interval, the independent units as dots, baselines in grey and
published values as open diamonds.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

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
from figures.style import FAINT, INK, MUTED, Width, new_figure, styled
from simulations.results import Row

LABELS = {"statement": "label depends on the statement", "constant": "constant label"}
SPLITS = {"seen_forms": "seen forms", "unseen_forms": "unseen forms"}
ARCHITECTURE = {"mistral": "Mistral", "gemma2": "Gemma-2", "gemma": "Gemma"}
PUBLISHED_PERSONA = {"explicit": 1.00, "implicit": 0.02}  # Razin et al. 2025, paraphrased responses, test prompts
INDEPENDENT = "independent"  # in the texts of pretraining, answers do not follow from statements
PERSONA_CONDITIONS = {
    "seen": "training answers",
    "published": "published paraphrase",
    "prefix_swap": "… its prefixes swapped",
    "shared_prefix": "… one prefix for both",
    "same_prefix": "… in training prefixes",
    "prefix_free": "… without prefixes",
    "swapped_training_prefix": "training answers,\nprefixes swapped",
}

Cell = tuple[str, bool, str, bool, int, str]  # architecture, tied, trained, terminator, n_train, answers


@styled
def surface_forms(rows: Sequence[Row], *, width: Width = "double") -> Figure:
    """Seen against unseen surface forms, per kind, architecture and tying, for both labels, with the observations."""
    double = width == "double"
    cells, base = _cells(rows)
    labels = [label for label in LABELS if where(rows, label=label)] or list(LABELS)
    blocks = {
        label: [cell for cell in cells if _in_cell(rows, cell, label)] if not double else cells for label in labels
    }
    if not rows:
        figure = new_figure(width, 1.2)
        not_run(figure.subplots())
        return figure
    heights = [max(len(blocks[label]), 1) for label in labels]
    row_inches = 0.3
    if double:
        figure = new_figure(width, 0.95 + row_inches * len(cells))
        grid = figure.subplots(1, 2 * len(labels), squeeze=False)
        panels = {label: grid[0][2 * i : 2 * i + 2] for i, label in enumerate(labels)}
    else:
        figure = new_figure(width, 0.6 + 0.65 * len(labels) + row_inches * sum(heights))
        grid = figure.subplots(len(labels), 2, squeeze=False, height_ratios=heights)
        panels = {label: grid[i] for i, label in enumerate(labels)}
    kinds = kinds_in(rows)
    for place, label in enumerate(labels):
        for column, (split, split_title) in enumerate(SPLITS.items()):
            axes = panels[label][column]
            lines = [_shift_row(where(rows, label=label), cell, base, split, kinds) for cell in blocks[label]]
            forest(axes, lines, kinds, labels=column == 0 and (place == 0 or not double))
            axes.set_xlabel(split_title)
            axes.xaxis.set_label_position("top")
        panels[label][0].set_title(LABELS[label])  # above the label, over both panels
    figure.supxlabel("accuracy on held-out prompts", fontsize=7.5)
    handles = kind_handles(kinds)
    handles += [
        Line2D([], [], color=INK, marker="|", ms=7, ls="", label="training pairs"),
        Line2D([], [], color=MUTED, lw=0.7, ls=(0, (2, 2)), label="chance"),
    ]
    if any(row.get("bag_of_tokens") is not None for row in rows):
        handles += [Line2D([], [], color=FAINT, lw=2.2, label="bag of tokens")]
    legend_above(figure, handles, columns=len(handles) if double else 2)
    return figure


def _cell(row: Row) -> Cell:
    tied, terminator = bool(row["tied"]), bool(row["terminator"])
    answers = str(row.get("answers") or INDEPENDENT)
    return (row["architecture"], tied, str(row["trained"]), terminator, int(row["n_train"]), answers)


def registered_rows(rows: Sequence[Row]) -> list[Row]:
    """The rows of the cell that the registered claims are about: untied Mistral, all parameters, no terminator."""
    if not rows:
        return []
    _, base = _cells(rows)
    return [row for row in rows if _cell(row) == base]


def _in_cell(rows: Sequence[Row], cell: Cell, label: str) -> bool:
    return any(_cell(row) == cell for row in where(rows, label=label))


def _cells(rows: Sequence[Row]) -> tuple[list[Cell], Cell]:
    """Every cell in reading order, and the one the registered claims are about.

    First all parameters trained without a terminator at the usual number of pairs (architecture x tying), then what
    departs from that.
    """
    found = {_cell(row) for row in rows}
    sizes = Counter(cell[4] for cell in found)
    usual = max(sizes, key=lambda n: (sizes[n], n)) if sizes else 0
    base: Cell = ("mistral", False, "all", False, usual, INDEPENDENT)
    names = list(ARCHITECTURE)

    def order(cell: Cell) -> tuple[Any, ...]:
        departures = sum(mine != other for mine, other in zip(cell[2:], base[2:], strict=True))
        place = names.index(cell[0]) if cell[0] in names else len(names)
        return (departures > 0, cell[2] != base[2], cell[3], cell[5] != base[5], cell[4], place, cell[0], cell[1])

    return sorted(found, key=order), base


def _cell_label(cell: Cell, base: Cell) -> str:
    architecture, tied, trained, terminator, n_train, answers = cell
    model = f"{ARCHITECTURE.get(architecture, architecture)}, {'tied' if tied else 'untied'}"
    departures = []
    if trained != base[2]:
        departures.append("head only" if trained == "head" else f"{trained} trained")
    if terminator:
        departures.append("terminator")
    if n_train != base[4]:
        departures.append(f"{n_train} pairs")
    if answers != base[5]:
        departures.append(f"{answers} answers")
    if not departures:
        return model
    joined = ", ".join(departures)
    return f"{model}\n{joined}"


def _shift_row(rows: Sequence[Row], cell: Cell, base: Cell, split: str, kinds: Sequence[str]) -> ForestRow:
    inside = [row for row in rows if _cell(row) == cell]
    here = where(inside, split=split)
    train = (
        {kind: over_clusters(where(inside, split="train", kind=kind)) for kind in kinds}
        if split == "seen_forms"
        else {}
    )
    grey = over_clusters(here, "bag_of_tokens")
    return ForestRow(
        label=_cell_label(cell, base),
        marks={kind: over_crossed(where(here, kind=kind)) for kind in kinds},
        ticks={kind: estimate.mean for kind, estimate in train.items() if estimate},
        grey=grey.mean if grey else None,
    )


@styled
def persona_controls(rows: Sequence[Row], *, width: Width = "double") -> Figure:
    """The published Persona test and the controls that tell what an implicit model ranked, on held-out prompts.

    One panel per way of training, one line per set of answers.
    """
    rows = [row for row in by_answers(rows) if row.get("prompts") == "test" and row.get("split") != "train"]
    if not rows:
        figure = new_figure(width, 1.2)
        not_run(figure.subplots(), "not run: needs the Persona question files")
        return figure
    double = width == "double"
    kinds, arms = kinds_in(rows), _persona_arms(rows)
    found = {row["condition"] for row in rows}
    conditions = [name for name in PERSONA_CONDITIONS if name in found] + sorted(found - set(PERSONA_CONDITIONS))
    columns = (3 if len(arms) > 4 else len(arms)) if double else min(2, len(arms))
    lines = -(-len(arms) // columns)
    figure = new_figure(width, 0.75 + lines * (0.55 + 0.27 * len(conditions)))
    panels = figure.subplots(lines, columns, squeeze=False)
    for place, axes in enumerate(panels.flat):
        if place >= len(arms):
            not_run(axes, "")
            continue
        inside = [row for row in rows if _persona_arm(row) == arms[place]]
        forest(axes, [_persona_row(inside, name, kinds) for name in conditions], kinds, labels=place % columns == 0)
        axes.set_title(_arm_title(arms[place]), loc="center")
    figure.supxlabel("accuracy on held-out prompts", fontsize=7.5)
    handles = kind_handles(kinds)
    handles += [
        Line2D([], [], color=INK, marker="D", ms=6, mew=0.9, mfc="none", ls="", label="published"),
        Line2D([], [], color=MUTED, lw=0.7, ls=(0, (2, 2)), label="chance"),
    ]
    legend_above(figure, handles, columns=len(handles) if double else 2)
    return figure


def by_answers(rows: Sequence[Row]) -> list[Row]:
    """Rows of rung 2 with one condition per set of answers: the training answers, stored as the published test's half
    of seen forms, become "seen", so that no mean mixes them with the paraphrase."""
    return [
        {**row, "condition": "seen"} if (row["condition"], row["split"]) == ("published", "seen_forms") else dict(row)
        for row in rows
    ]


PRETRAINING = {"without_evaluation_words": "words left out", "with_verification": "can verify"}
PersonaArm = tuple[str, bool, str, str]  # architecture, terminator, label, pretraining


def _persona_arm(row: Row) -> PersonaArm:
    return (row["architecture"], bool(row["terminator"]), row["label"], row["pretraining"])


def _persona_arms(rows: Sequence[Row]) -> list[PersonaArm]:
    """Ways of training in reading order: the architectures as published but for the terminator, then departures."""
    names = list(ARCHITECTURE)

    def order(arm: PersonaArm) -> tuple[Any, ...]:
        architecture, terminator, label, pretraining = arm
        place = names.index(architecture) if architecture in names else len(names)
        return (label != "constant", pretraining != "all_words", terminator, place, arm)

    return sorted({_persona_arm(row) for row in rows}, key=order)


def _arm_title(arm: PersonaArm) -> str:
    """The model, and in a second line what departs from the published study without its terminator."""
    architecture, terminator, label, pretraining = arm
    departures = ["terminator"] if terminator else []
    departures += ["label by prompt"] if label == "statement" else []
    departures += [PRETRAINING.get(pretraining, pretraining)] if pretraining != "all_words" else []
    model = ARCHITECTURE.get(architecture, architecture)
    return f"{model}\n{', '.join(departures) if departures else 'no terminator'}"


def _persona_row(rows: Sequence[Row], condition: str, kinds: Sequence[str]) -> ForestRow:
    here = where(rows, condition=condition)
    # the published study keeps the terminator in the response, has one label, and a language model that knows the words
    published = condition == "published" and any(
        row["label"] == "constant" and row["terminator"] and row["pretraining"] == "all_words" for row in here
    )
    return ForestRow(
        label=PERSONA_CONDITIONS.get(condition, condition.replace("_", " ")),
        marks={kind: over_seeds(where(here, kind=kind)) for kind in kinds},
        stars=PUBLISHED_PERSONA if published else None,
    )


def over_seeds(rows: Sequence[Row]) -> Estimate | None:
    """One seed: the row's own interval over prompts. Several: a t interval over the seeds."""
    if len(rows) == 1 and rows[0].get("accuracy") is not None:
        row = rows[0]
        low, high = row.get("low"), row.get("high")
        mean = float(row["accuracy"])
        return Estimate(mean, mean if low is None else float(low), mean if high is None else float(high), (mean,))
    return over_clusters(rows, cluster="seed")
