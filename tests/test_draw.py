"""The figures say what the rows say, can be read in print, and repeat byte for byte."""

from collections.abc import Callable
from pathlib import Path

import legibility
import numpy as np
import pytest
import story_rows
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from figures.draw import one_step, separator, single_token
from figures.dynamics import along_training, predicted_changes
from figures.ladder import ladder
from figures.marks import over_clusters, where
from figures.shifts import by_answers, over_seeds, persona_controls, surface_forms
from figures.style import COLOUR, INCHES, MARKER, new_figure, pdf_bytes, png_bytes
from simulations.results import Row, read_json, read_rows
from theory.rewards import KINDS

FIGURES = {
    "single_token": (single_token, story_rows.single_token_rows(seeds=2)),
    "one_step": (one_step, story_rows.one_step_rows(pairs=12)),
    "separator": (separator, story_rows.unseen_pair_rows()),
    "surface_forms": (surface_forms, story_rows.surface_form_rows(clusters=3, seeds=1)),
    "predicted_changes": (predicted_changes, story_rows.model_one_step_rows()),
    "along_training": (along_training, story_rows.model_training_rows()),
    "persona_controls": (persona_controls, story_rows.persona_rows()),
}

WIDTHS = [pytest.param("double", marks=pytest.mark.integration), "single"]  # a single column has the less room


def words(figure: Figure) -> str:
    return " ".join(
        text.get_text() for axes in figure.axes for text in [*axes.texts, *axes.get_yticklabels(), axes.title]
    )


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_legible_at_both_print_widths(name: str, width: str) -> None:
    draw, rows = FIGURES[name]
    figure = draw(rows, width=width)
    assert figure.get_size_inches()[0] == INCHES[width]
    assert legibility.problems(figure) == []


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_without_rows_says_so(name: str) -> None:
    draw, _ = FIGURES[name]
    figure = draw([], width="single")
    assert "not run" in words(figure)
    assert legibility.problems(figure) == []


def test_a_quick_run_without_controls_is_drawn_with_gaps() -> None:
    rows = where(FIGURES["single_token"][1], condition="baseline")
    assert words(single_token(rows)).count("not run") == 4


def test_relative_errors_of_models_are_drawn_where_the_rows_put_them() -> None:
    axes = next(
        a
        for a in predicted_changes(FIGURES["predicted_changes"][1]).axes
        if "Mistral,\nerror" in a.get_title(loc="left")
    )
    head = next(line for line in axes.lines if line.get_color() == COLOUR["implicit"] and line.get_linestyle() == "-")
    assert head.get_xdata().tolist() == [1e-5, 1e-3]
    np.testing.assert_allclose(head.get_ydata(), [1e-5, 1e-3], rtol=1e-2)
    axes = along_training(FIGURES["along_training"][1]).axes[0]
    lines = {line.get_linestyle(): line.get_ydata() for line in axes.lines if line.get_color() == COLOUR["implicit"]}
    np.testing.assert_allclose(lines["-"], 0.01, rtol=0.02)
    np.testing.assert_allclose(lines["--"], 0.5, rtol=1e-6)


def test_a_missing_cell_is_marked_in_its_row() -> None:
    rows = [row for row in FIGURES["surface_forms"][1] if not (row["label"] == "constant" and row["trained"] == "head")]
    assert words(surface_forms(rows)).count("not run") == 2  # seen and unseen forms


@pytest.mark.integration  # seven drawings
def test_one_kind_alone_is_drawn() -> None:
    for draw, rows in FIGURES.values():
        assert legibility.problems(draw(where(rows, kind="implicit"), width="single")) == []


@pytest.mark.integration
def test_the_same_rows_give_the_same_bytes() -> None:
    rows = FIGURES["separator"][1]
    first, second = separator(rows, width="single"), separator(rows, width="single")
    assert png_bytes(first) == png_bytes(second)
    assert pdf_bytes(first) == pdf_bytes(second)
    assert b"CreationDate" not in pdf_bytes(first)


def test_drawing_leaves_the_callers_settings_alone() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    one_step(FIGURES["one_step"][1])
    assert dict(matplotlib.rcParams) == before


def test_clusters_are_averaged_before_the_interval() -> None:
    rows: list[Row] = [
        {"cluster": cluster, "seed": seed, "accuracy": accuracy}
        for cluster, accuracies in enumerate([(0.2, 0.4), (0.5, 0.7), (0.9, 0.9)])
        for seed, accuracy in enumerate(accuracies)
    ]
    estimate = over_clusters(rows)
    assert estimate is not None
    assert estimate.dots == pytest.approx((0.3, 0.6, 0.9))
    half = 4.302652729911275 * 0.3 / np.sqrt(3)  # Student's t, 2 degrees of freedom; the means' deviation is 0.3
    assert (estimate.mean, estimate.low, estimate.high) == pytest.approx((0.6, 0.6 - half, 0.6 + half))
    assert over_clusters([]) is None


def test_the_mark_stands_where_the_rows_say() -> None:
    rows = [row for row in FIGURES["surface_forms"][1] if row["label"] == "statement"]
    figure = surface_forms(rows)
    unseen = figure.axes[1]
    base = [
        r
        for r in rows
        if (r["architecture"], r["tied"], r["trained"], r["terminator"], r["n_train"])
        == ("mistral", False, "all", False, 80)
        and r["split"] == "unseen_forms"
    ]
    for kind in ("explicit", "implicit"):
        expected = np.mean([row["accuracy"] for row in where(base, kind=kind)])
        drawn = [
            line.get_xdata()[0]
            for line in unseen.lines
            if line.get_marker() == MARKER[kind] and line.get_color() == COLOUR[kind] and line.get_markersize() == 4.4
        ]
        assert drawn[0] == pytest.approx(expected)  # the first row of the forest


def test_pairs_ranked_the_other_way_are_crosses_where_they_lie() -> None:
    rows = FIGURES["separator"][1]
    figure = separator(rows)
    for axes, time in zip(figure.axes, (100, 1000, 10_000, 100_000), strict=True):
        crosses = [line for line in axes.lines if line.get_marker() == "x"]
        expected = [(row["angle"], abs(row["separator_margin"])) for row in where(rows, time=time, agrees=False)]
        assert np.array_equal(np.array(crosses[0].get_xydata()), np.array(expected))


def test_a_condition_of_pretraining_has_its_own_row() -> None:
    rows = [{**row, "answers": "independent"} for row in FIGURES["surface_forms"][1]]
    other = [{**row, "answers": "predictable"} for row in rows if row["cell"] == "mistral-False-all-False-80"]
    assert "predictable answers" in words(surface_forms(rows + other))
    assert "predictable" not in words(surface_forms(rows))


@pytest.mark.parametrize(("exponent", "shown"), [(1, "1.00"), (2, "2.00"), (3, "3.00")])
def test_the_slope_in_the_legend_is_the_rows_slope(exponent: int, shown: str) -> None:
    rows = [
        {
            "seed": 0,
            "kind": "implicit",
            "step_size": size,
            "pair": 0,
            "predicted": size,
            "measured": size + size**exponent,
        }
        for size in (0.0001, 0.001, 0.01)
    ]
    assert f"step$^{{{shown}}}$" in one_step(rows).legends[0].get_texts()[0].get_text()


# Machado, Oliveira and Fernandes 2009, full severity, on linear RGB
DEFICIENCY = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def _lab(linear: np.ndarray) -> np.ndarray:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    scaled = to_xyz @ np.clip(linear, 0, 1) / np.array([0.9505, 1.0, 1.089])
    x, y, z = np.where(scaled > 0.008856, np.cbrt(scaled), 7.787 * scaled + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("deficiency", ["none", *DEFICIENCY])
def test_the_kinds_colours_stay_apart(deficiency: str) -> None:
    matrix = np.array(DEFICIENCY.get(deficiency, np.eye(3)))
    seen = {}
    for kind, colour in COLOUR.items():
        rgb = np.array(to_rgb(colour))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        seen[kind] = _lab(matrix @ linear)
    assert tuple(seen) == KINDS
    for one in KINDS:
        for other in KINDS:
            if one != other:
                assert np.linalg.norm(seen[one] - seen[other]) > 25  # 2.3 is just noticeable side by side


LADDER = (FIGURES["single_token"][1], FIGURES["surface_forms"][1], FIGURES["persona_controls"][1])


@pytest.mark.parametrize("width", WIDTHS)
def test_the_ladder_is_legible_whole_and_without_its_upper_rungs(width: str) -> None:
    assert legibility.problems(ladder(*LADDER, width=width)) == []
    low = ladder(LADDER[0], [], [], width=width)
    assert words(low).count("not run") == 3
    assert legibility.problems(low) == []


def test_the_ladder_shows_each_rungs_unseen_accuracy() -> None:
    panels = ladder(*LADDER).axes
    simulated = [
        row["accuracy"] for row in where(LADDER[0], condition="baseline", split="unseen", step=100_000, kind="explicit")
    ]
    published = [0.99, 1.0]  # two seeds of the made-up rows; their accuracy on training prompts is another
    for axes, expected in ((panels[0], np.mean(simulated)), (panels[3], np.mean(published))):
        marks = [
            line for line in axes.lines if line.get_marker() == MARKER["explicit"] and line.get_markersize() == 4.8
        ]
        assert marks[1].get_ydata()[0] == pytest.approx(expected)


def test_an_unknown_width_is_refused() -> None:
    draw: Callable[..., Figure] = one_step
    with pytest.raises(ValueError, match="single, double"):
        draw([], width="wide")


def test_the_legibility_check_sees_each_fault() -> None:
    figure = new_figure("single", 2.0)
    figure.set_layout_engine("none")
    for x, size, text in ((0.1, 8, "one"), (0.12, 8, "two"), (0.95, 8, "beyond the edge"), (0.5, 4, "tiny")):
        figure.text(x, 0.5, text, fontsize=size)
    assert [problem.split(" ", 1)[1] for problem in legibility.problems(figure)] == [
        "is 4.0 pt",
        "the edge' leaves the page",
        "overlaps 'two'",
    ]


def test_stored_persona_rows_are_drawn_as_their_claims_say():
    """The training answers are stored under the published condition; a mean over both once showed 0.5 for 0.03."""
    data = Path(__file__).resolve().parent.parent / "figures" / "data"
    rows = by_answers(read_rows(data / "rung2" / "rows.jsonl"))
    claims = {claim["id"]: claim["measured"] for claim in read_json(data / "summary.json")["claims"]}
    for answers in ("seen", "published"):
        for kind in ("explicit", "implicit"):
            asked = where(rows, cell="mistral", condition=answers, kind=kind, prompts="test")
            assert over_seeds(asked).mean == pytest.approx(claims[f"rung2/mistral/{answers}/{kind}"], abs=1e-12)
