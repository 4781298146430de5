"""Which kind wins: the share of (model, seed, set) evaluations in which either is ahead by more than one percent."""

from collections import defaultdict
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from figures.marks import legend_above, not_run, where
from figures.real_pairs import CATEGORIES
from figures.style import COLOUR, FAINT, Width, new_figure, styled
from simulations.results import Row

TIE = 0.01  # accuracies closer than this count for neither, as in the paper


def wins(rows: Sequence[Row]) -> tuple[int, int, int]:
    """Evaluations that the explicit model wins, that neither does, and that the implicit one wins."""
    found: dict[tuple, dict[str, float]] = defaultdict(dict)
    for row in rows:
        found[row["architecture"], row["seed"], row["set"]][row["kind"]] = row["accuracy"]
    gaps = [both["explicit"] - both["implicit"] for both in found.values() if {"explicit", "implicit"} <= both.keys()]
    ahead, behind = sum(gap > TIE for gap in gaps), sum(gap < -TIE for gap in gaps)
    return ahead, len(gaps) - ahead - behind, behind


@styled
def win_rates(ultrafeedback: Sequence[Row], rewardmath: Sequence[Row], *, width: Width = "double") -> Figure:
    """A bar per training set and category, its parts labelled with how many evaluations they are."""
    bars = [
        (f"{name}{'' if arm == 'published' else ', ' + arm.replace('-', ' ')}: {words}", wins(mine))
        for name, rows in (("UltraFeedback", ultrafeedback), ("RewardMATH", rewardmath))
        for arm in dict.fromkeys(row["cell"] for row in rows)
        for category, words in CATEGORIES.items()
        if sum(wins(mine := where(rows, cell=arm, category=category)))
    ]
    figure = new_figure(width, 0.7 + 0.24 * max(len(bars), 2))
    axes = figure.subplots()
    if not bars:
        not_run(axes)
        return figure
    colours = {"explicit": COLOUR["explicit"], "within 1 %": FAINT, "implicit": COLOUR["implicit"]}
    for place, (_, counts) in enumerate(bars):
        left = 0.0
        for count, colour in zip(counts, colours.values(), strict=True):
            share = count / sum(counts)
            axes.barh(place, share, left=left, color=colour, height=0.7, lw=0)
            if count:
                dark = colour == FAINT
                axes.text(left + share / 2, place, str(count), ha="center", va="center", fontsize=6.5,
                          color="black" if dark else "white")  # fmt: skip
            left += share
    if width == "single":
        bars = [(label.replace(": ", ":\n").replace(", ", ",\n"), counts) for label, counts in bars]
        figure.set_figheight(0.7 + 0.42 * len(bars))
    axes.set_yticks(range(len(bars)), [label for label, _ in bars])
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.grid(visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("share of (model, seed, set) evaluations won")
    legend_above(figure, [Patch(color=colour, label=name) for name, colour in colours.items()], columns=3)
    return figure
