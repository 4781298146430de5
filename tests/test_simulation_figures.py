"""The figures of the simulations: drawn from the stored results, legible, and saying what the rows say."""

import shutil
from pathlib import Path

import legibility
import numpy as np
import pytest

import figures.simulations
import figures.trajectories
from figures.gallery import SIMULATIONS
from figures.marks import where
from figures.picture import load
from figures.redraw import STORED, redraw
from figures.style import COLOUR, INCHES
from simulations import carriers, convergence, partly_seen
from simulations.experiments import EXPERIMENTS
from simulations.results import Claim, Row, read_json

PICTURES = {picture.name: picture for picture in SIMULATIONS}


def stored(name: str) -> list[Row]:
    (rows,) = load(PICTURES[name], STORED)
    return rows


def test_every_experiment_outside_the_story_has_a_figure_and_every_variant_a_name():
    assert set(PICTURES) == set(EXPERIMENTS) - {"single_token", "one_step"}
    assert set(figures.simulations.FAMILIES) == set(partly_seen.VARIANTS)
    assert set(figures.simulations.CARRIERS) == set(carriers.CONDITIONS)
    assert set(figures.trajectories.FAMILIES) == set(convergence.VARIANTS)


@pytest.mark.integration  # 21 drawings
@pytest.mark.parametrize("name", PICTURES)
def test_every_figure_is_legible_from_stored_results_and_without_rows(name):
    for width in ("double", "single"):
        figure = PICTURES[name].draw(stored(name), width=width)
        assert figure.get_size_inches()[0] == INCHES[width]
        assert legibility.problems(figure) == []
    empty = PICTURES[name].draw([], width="single")
    assert legibility.problems(empty) == []
    assert "not run" in " ".join(text.get_text() for axes in empty.axes for text in [*axes.texts, axes.title])


@pytest.mark.parametrize("name", PICTURES)
def test_stored_results_name_their_source_and_decide_their_claims_as_stored(name):
    folder = STORED / "simulate" / name
    source = read_json(folder / "provenance.json")
    assert source["commit"]
    assert "+" not in source["commit"]
    assert {row["seed"] for row in stored(name)} <= set(source["seed"])
    settings = read_json(folder / "config.json")["experiments"][name]
    assert settings["seeds"] == EXPERIMENTS[name].settings.seeds
    assert settings.get("first_seed") == getattr(EXPERIMENTS[name].settings, "first_seed", None)
    for row in read_json(folder / "metrics.json")["claims"]:
        assert Claim.from_row(row).holds == row["holds"]
        assert row["holds"] is not False


def test_the_grid_prints_the_rows_means():
    rows = stored("shift_grid")
    figure = PICTURES["shift_grid"].draw(rows, width="double")
    cell = where(rows, rotation=1.0, share=1.0)
    gap = np.mean([row["accuracy"] for row in where(cell, kind="explicit")]) - np.mean(
        [row["accuracy"] for row in where(cell, kind="implicit")]
    )
    printed = [[text.get_text().replace("−", "-") for text in axes.texts] for axes in figure.axes]
    assert printed[2][-1] == f"{gap:+.2f}"
    corner = where(rows, rotation=0.0, share=1.0, kind="implicit")
    assert printed[1][3] == f"{np.mean([row['accuracy'] for row in corner]):.2f}"
    assert printed[3][:4] == ["0"] * 4  # nothing is left of a gap whose own effect is taken off


def test_carriers_stand_where_the_rows_say():
    rows = stored("carriers")
    figure = PICTURES["carriers"].draw(rows, width="double")
    place = list(carriers.CONDITIONS).index("prefix_swapped")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == list(figures.simulations.CARRIERS.values())
    line = list(figures.simulations.CARRIERS).index("prefix_swapped")
    assert place != line  # the figure has an order of its own
    marks = [
        mark for mark in figure.axes[1].lines if mark.get_marker() == "s" and mark.get_color() == COLOUR["implicit"]
    ]
    found = [mark.get_xdata()[0] for mark in marks if abs(mark.get_ydata()[0] - line) < 0.5]
    wanted = where(rows, condition="prefix_swapped", words="unseen", kind="implicit")
    assert found == [pytest.approx(np.mean([row["accuracy"] for row in wanted]))]


@pytest.mark.integration
def test_figures_are_redrawn_from_what_is_committed(tmp_path: Path):
    shutil.copytree(STORED / "simulate/carriers", tmp_path / "runs/simulate/carriers")
    redraw(tmp_path / "out", tmp_path / "runs")
    written = (tmp_path / "out/index.md").read_text(encoding="utf-8")
    assert (tmp_path / "out/carriers.png").stat().st_size > 1000
    assert (tmp_path / "out/carriers_single.pdf").stat().st_size > 1000
    assert "`rewardgap simulate carriers`" in written
    assert PICTURES["carriers"].caption in written
    assert not (tmp_path / "out/shift_grid.png").exists()
