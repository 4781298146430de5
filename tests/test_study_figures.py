"""The figures of the studies: legible from made-up and from stored rows, and saying what the rows say."""

import legibility
import numpy as np
import pytest
import study_rows
from story_rows import persona_rows

from figures import cycles, real_pairs, win_rates
from figures.gallery import STUDIES
from figures.marks import over_crossed, where
from figures.picture import load
from figures.published import ITEMS, published_rows
from figures.questions import QUESTIONS
from figures.redraw import STORED
from figures.study_arms import ABLATIONS, ablations
from figures.style import COLOUR, INCHES, MARKER
from llm_experiments.tasks import hamiltonian_claims, hamiltonian_study, real_claims
from simulations.results import Claim, Row, read_json, write_json, write_rows
from simulations.statistics import crossed_interval

PICTURES = {picture.name: picture for picture in (*STUDIES, *QUESTIONS)}
ULTRAFEEDBACK = study_rows.real_rows(study_rows.ULTRAFEEDBACK_SETS)
REWARDMATH = study_rows.real_rows(study_rows.REWARDMATH_SETS, ("published-split", "leak-free"))
ROWS: dict[str, tuple[list[Row], ...]] = {
    "hamiltonian": (study_rows.cycle_rows(), study_rows.generation_rows()),
    "ultrafeedback": (ULTRAFEEDBACK,),
    "rewardmath": (REWARDMATH,),
    "win_rates": (ULTRAFEEDBACK, REWARDMATH),
    "ablations": (study_rows.ablation_rows(),),
    "repair": (study_rows.repair_rows(),),
    "iterative": (study_rows.optimised_rows(),),
    "combined_shifts": (study_rows.factorial_rows("96-pairs", [[1.0, 0.9, 0.6, 0.4]] * 3), [], persona_rows()),
    "scale": (study_rows.scale_rows(0.05),),
    "prediction": (study_rows.predicted_rows(1.0),),
    "lin2024": (study_rows.grid_rows(),),
}


@pytest.mark.integration  # 21 drawings
@pytest.mark.parametrize("name", ROWS)
def test_every_figure_is_legible_from_stored_rows_or_made_up_ones_and_without(name: str) -> None:
    assert set(ROWS) == set(PICTURES)
    stored = load(PICTURES[name], STORED)
    for width in ("double", "single"):
        figure = PICTURES[name].draw(*(stored if all(stored) else ROWS[name]), width=width)
        assert figure.get_size_inches()[0] == INCHES[width]
        assert legibility.problems(figure) == []
    empty = PICTURES[name].draw(*([] for _ in ROWS[name]), width="single")
    assert "not run" in " ".join(text.get_text() for axes in empty.axes for text in [*axes.texts, axes.title])
    assert legibility.problems(empty) == []


def marks(axes, kind: str, size: float = 4.4) -> list[tuple[float, float]]:
    return [
        (float(line.get_xdata()[0]), float(line.get_ydata()[0]))
        for line in axes.lines
        if line.get_marker() == MARKER[kind] and line.get_color() == COLOUR[kind] and line.get_markersize() == size
    ]


def test_an_ablations_mark_stands_where_its_rows_say() -> None:
    figure = ablations(ROWS["ablations"][0])
    paraphrase = [x for x, _ in marks(figure.axes[1], "implicit")]
    expected = [0.1 * place + 0.01 for place, arm in enumerate(ABLATIONS) if arm != "mean-pooling"]
    assert paraphrase == pytest.approx(expected)
    training = [x for x, _ in marks(figure.axes[0], "implicit")]
    assert training == pytest.approx([1.0] * len(training))  # rows about training prompts are 0.2


def test_a_category_is_the_mean_of_its_sets_within_a_cluster_and_rules_stand_beside_it() -> None:
    figure = real_pairs.ultrafeedback(ULTRAFEEDBACK)
    axes = figure.axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    here = where(ULTRAFEEDBACK, category="domain shift", kind="implicit")
    found = [x for x, y in marks(axes, "implicit") if abs(y - labels.index("domain shift")) < 0.5]
    assert found == [pytest.approx(np.mean([row["accuracy"] for row in here]))]
    longest = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == ">"]
    assert longest == pytest.approx([0.58] * len(labels))
    assert "no such pairs" in " ".join(text.get_text() for text in figure.axes[1].texts)


def test_a_slope_in_a_title_and_an_interaction_are_those_of_the_rows() -> None:
    titles = [axes.get_title(loc="left") for axes in PICTURES["scale"].draw(*ROWS["scale"]).axes]
    assert titles[0] == "a  +0.050 [+0.050, +0.050]"
    axes = PICTURES["combined_shifts"].draw(*ROWS["combined_shifts"]).axes
    marks = [line.get_xdata()[0] for line in axes[1].lines if line.get_marker() == "o"]
    assert marks[0] == pytest.approx(0.55 - 0.05 - 0.35 - 0.05)


def test_what_was_published_is_what_the_claims_quote() -> None:
    drawn = {
        ("accuracy", name): (str(kinds["explicit"]), f"{kinds['implicit']:.3f}")
        for name, kinds in real_pairs.PUBLISHED.items()
    }
    assert drawn.items() <= real_claims.PUBLISHED.items()
    assert float(hamiltonian_claims.PUBLISHED["accuracy"]) == cycles.PUBLISHED["implicit"]
    assert hamiltonian_study.BETA == cycles.BETA


def test_none_found_is_drawn_at_its_limit_and_margins_are_in_units_of_beta() -> None:
    generation = ROWS["hamiltonian"][1]
    axes = cycles.cycles(*ROWS["hamiltonian"]).axes[2]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert [label for label in labels if "no format" in label] == [
        "after: random\n(no format)",
        "after: near-cycles\n(no format)",
    ]
    (arrow,) = (line.get_xdata()[0] for line in axes.lines if line.get_marker() == "<")
    assert arrow == pytest.approx(3.8416 / (1200 + 3.8416), rel=1e-3)  # Wilson, none of 1200
    for row in cycles.nats(ROWS["hamiltonian"][0], generation):
        assert row["least"] == pytest.approx(2.0 + row["seed"])
        assert row["silent"] == pytest.approx(9.0)
        assert row["gain"] == pytest.approx(1.0, abs=1e-3)  # of e^-9 to e^-8, odds and probabilities are alike


def test_wins_are_counted_as_the_study_counts_them() -> None:
    claims = {claim.id: claim.measured for claim in real_claims.real_claims("study", ULTRAFEEDBACK, [])}
    for category in real_pairs.CATEGORIES:
        explicit, neither, implicit = win_rates.wins(where(ULTRAFEEDBACK, category=category))
        for kind, count in (("explicit", explicit), ("implicit", implicit)):
            share = claims[f"study/published/{category}/wins/{kind}"]
            assert share == pytest.approx(count / (explicit + neither + implicit))


def test_clusters_that_share_splits_have_the_claims_interval() -> None:
    values, forms, seeds = (0.2, 0.3, 0.8, 0.9), (0, 0, 1, 1), (0, 1, 0, 1)
    rows = [
        {"cluster": c, "forms": f, "seed": s, "accuracy": v}
        for c, (v, f, s) in enumerate(zip(values, forms, seeds, strict=True))
    ]
    estimate, interval = over_crossed(rows), crossed_interval(values, forms, seeds)
    assert estimate is not None
    assert (estimate.low, estimate.high, estimate.dots) == (interval.low, interval.high, values)


def test_every_item_has_lines_or_says_why_not(tmp_path) -> None:
    write_rows(tmp_path / "study/ultrafeedback/rows.jsonl", ULTRAFEEDBACK)
    claims = [
        claim.to_row() for claim in real_claims.real_claims("ultrafeedback", ULTRAFEEDBACK, [], real_claims.PUBLISHED)
    ]
    write_json(tmp_path / "study/ultrafeedback/summary.json", {"claims": claims})
    rows = {row["name"]: row for row in published_rows(tmp_path)}
    assert len(rows) == len(ITEMS)
    for row in rows.values():
        assert row["lines"] or row["missing"] or row["remark"]
    table = next(row for name, row in rows.items() if name.startswith("Figure 2"))
    assert [line["published"] for line in table["lines"]].count("0.720") == 1
    assert len(table["lines"]) == 15
    assert rows["Win-rate bars"]["lines"][0]["ours"] == "1.000"


def test_the_persona_table_is_that_of_the_stored_claims() -> None:
    lines = {
        line["statement"].split(": ")[1]: line
        for row in published_rows(STORED)
        for line in row["lines"]
        if ": " in line["statement"]
    }
    claims = {claim["id"]: Claim.from_row(claim) for claim in read_json(STORED / "summary.json")["claims"]}
    for kind in ("explicit", "implicit"):
        ours = lines[f"{kind}, paraphrased answers, test prompts"]["ours"]
        assert ours.split()[0] == f"{claims[f'rung2/mistral-terminator/published/{kind}'].measured:.3f}"
        assert f"{kind}, original answers, train prompts" in lines
