"""The experiments on families of synthetic languages: what unseen words, carriers, shifts and encoders do to each kind.

Dots are seeds, large marks their mean with a 95 % t interval over seeds.
"""

from collections.abc import Callable, Sequence
from string import ascii_lowercase

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

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
from figures.style import INK, Width, new_figure, styled
from simulations.results import Row

FAMILIES = {
    "base": "one label",
    "statement": "label by prompt",
    "zipf": "Zipf frequencies",
    "anisotropy": "anisotropic states",
    "tied": "tied at the start",
    "vocabulary": "100 more tokens",
    "weak_meaning": "signal × ¼",
    "no_meaning": "no signal",
    "noise": "noise × 3",
}
CARRIERS = {
    "bare": "answer word alone",
    "shared_prefix": "one prefix for both",
    "prefix_by_side": "a prefix per side",
    "prefix_swapped": "… swapped",
    "prefix_dropped": "… left out",
    "prefix_swapped_with_terminator": "… swapped, terminator",
    "terminator": "terminator",
    "saturated_terminator": "… foreseen by the reference",
}
# light enough for black numbers on every cell
SEQUENTIAL = LinearSegmentedColormap.from_list("accuracy", ["#ffffff", "#8fbcdb"])
DIVERGING = LinearSegmentedColormap.from_list("difference", ["#e7a87c", "#ffffff", "#8fbcdb"])


def letter(place: int) -> str:
    return ascii_lowercase[place]


def _grid(
    rows: Sequence[Row], names: Sequence[str], draw: Callable[[Axes, str], None], *, width: Width, columns: int
) -> Figure:
    """One panel per name, lettered by `draw`'s title, with the kinds above."""
    lines = -(-len(names) // columns)
    figure = new_figure(width, 0.5 + 1.5 * lines)
    panels = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for axes in panels.flat[len(names) :]:
        not_run(axes, "")
    for name, axes in zip(names, panels.flat, strict=False):
        draw(axes, name)
    for axes in panels[:, 0]:
        axes.set_ylabel("accuracy")
    legend_above(figure, kind_handles(kinds_in(rows) or ["explicit", "implicit"]), columns=2)
    return figure


@styled
def partly_seen(rows: Sequence[Row], *, width: Width = "double") -> Figure:
    """Accuracy on new prompts against the share of a response's words that training showed, a panel per family."""

    def draw(axes: Axes, family: str) -> None:
        axes.set_title(f"{letter(list(FAMILIES).index(family))}  {FAMILIES[family]}")
        found = where(rows, family=family)
        if not found:
            not_run(axes)
            return
        over_values(axes, found, "share", sorted({row["share"] for row in found}))
        axes.set_xticks([0, 0.5, 1], ["0", "½", "1"])
        axes.set_xlabel("share of words seen")

    return _grid(rows, list(FAMILIES), draw, width=width, columns=3 if width == "double" else 2)


@styled
def carriers(rows: Sequence[Row], *, width: Width = "double") -> Figure:
    """Accuracy per condition: what stands around the answer word, on seen and on unseen words."""
    kinds = kinds_in(rows) or ["explicit", "implicit"]
    double = width == "double"
    figure = new_figure(width, 2.9 if double else 4.9)
    panels = figure.subplots(1, 2) if double else figure.subplots(2, 1)
    for place, (axes, words) in enumerate(zip(panels, ("seen", "unseen"), strict=True)):
        axes.set_title(f"{letter(place)}  {words} words")
        found = where(rows, words=words)
        lines = [
            ForestRow(label, {kind: over_clusters(where(found, condition=name, kind=kind), cluster="seed")
                              for kind in kinds})
            for name, label in CARRIERS.items()
        ]  # fmt: skip
        forest(axes, lines, kinds, labels=place == 0 or not double)
        axes.set_xlabel("accuracy")
    legend_above(figure, kind_handles(kinds), columns=2)
    return figure


@styled
def shift_grid(rows: Sequence[Row], *, width: Width = "double") -> Figure:
    """Four tables, prompt shift downwards and response shift to the right: both accuracies, gap and interaction.

    Differences whose 95 % t interval over seeds leaves out zero are bold.
    """
    double = width == "double"
    figure = new_figure(width, 2.1 if double else 3.9)
    panels = figure.subplots(1 if double else 2, 4 if double else 2, sharex=True, sharey=True, squeeze=False)
    rotations, shares = (sorted({row[name] for row in rows}) for name in ("rotation", "share"))
    accuracy = {
        kind: [[_per_seed(rows, kind, r, s) for s in shares] for r in rotations] for kind in ("explicit", "implicit")
    }
    titles = ("explicit", "implicit", "gap", "interaction")
    for place, (axes, title) in enumerate(zip(panels.flat, titles, strict=True)):
        axes.set_title(f"{letter(place)}  {title}")
        if not all(len(cell) for table in accuracy.values() for line in table for cell in line) or not rows:
            not_run(axes)
            continue
        gap = np.array(accuracy["explicit"]) - np.array(accuracy["implicit"])  # (rotations, shares, seeds)
        tables = {
            "explicit": np.array(accuracy["explicit"]),
            "implicit": np.array(accuracy["implicit"]),
            "gap": gap,
            "interaction": gap - gap[:1] - gap[:, :1] + gap[:1, :1],
        }
        _table(axes, tables[title], signed=place > 1)
        axes.set_xticks(range(len(shares)), [f"{share:.0%}".rstrip("%") for share in shares])
        axes.set_yticks(range(len(rotations)), [f"{90 * rotation:g}°" for rotation in rotations])
    if rows:
        figure.supxlabel("unseen words (%)", fontsize=7.5)
        figure.supylabel("prompts turned by", fontsize=7.5)
    return figure


def _per_seed(rows: Sequence[Row], kind: str, rotation: float, share: float) -> list[float]:
    found = where(rows, kind=kind, rotation=rotation, share=share)
    return [row["accuracy"] for row in sorted(found, key=lambda row: row["seed"])]


def _table(axes: Axes, values: np.ndarray, *, signed: bool) -> None:
    means = values.mean(-1)
    look = {"cmap": DIVERGING, "vmin": -0.6, "vmax": 0.6} if signed else {"cmap": SEQUENTIAL, "vmin": 0.0, "vmax": 1.0}
    axes.imshow(means, aspect="auto", **look)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for (i, j), mean in np.ndenumerate(means):
        dots = [{"seed": seed, "value": float(value)} for seed, value in enumerate(values[i, j])]
        estimate = over_clusters(dots, value="value", cluster="seed")
        sure = signed and estimate is not None and (estimate.low > 0 or estimate.high < 0)
        text = f"{mean:+.2f}".replace("-", "−") if signed else f"{mean:.2f}"
        if not values[i, j].any():  # by definition in the interaction's first row and column
            text = "0"
        elif text[1:] == "0.00":
            text = "0.00"
        axes.text(j, i, text, ha="center", va="center", fontsize=6.2, color=INK, weight="bold" if sure else "normal")


@styled
def representations(rows: Sequence[Row], *, width: Width = "double") -> Figure:
    """Accuracy on unseen words against the similarity of synonyms' output rows, a panel per learning rate of the
    encoder; its first panel is the theory's case."""
    rates = sorted({row["encoder_rate"] for row in rows}) or [0.0]

    def draw(axes: Axes, name: str) -> None:
        rate = float(name)
        axes.set_title(f"{letter(rates.index(rate))}  " + ("frozen encoder" if rate == 0 else f"encoder rate {rate:g}"))
        found = where(rows, encoder_rate=rate, words="unseen")
        if not found:
            not_run(axes)
            return
        similarities = sorted({row["similarity"] for row in found})
        over_values(axes, found, "similarity", range(len(similarities)))
        axes.set_xticks(range(len(similarities)), [f"{similarity:g}" for similarity in similarities])
        axes.set_xlabel("cosine of synonyms' rows")

    return _grid(rows, [str(rate) for rate in rates], draw, width=width, columns=4 if width == "double" else 2)
