"""Rung 0 decides its claims, and would decide them otherwise if the thing it watches were not there."""

from dataclasses import replace

import numpy as np
import pytest

import simulations.one_step
import simulations.single_token
from simulations.embeddings import PopulationSettings, draw_population
from simulations.experiments import EXPERIMENTS, run_rung0, simulate
from simulations.one_step import OneStepSettings, error_slope, one_step_claims, run_one_step
from simulations.results import Claim, UserError, read_json, read_rows
from simulations.single_token import CONDITIONS, SingleTokenSettings, run_single_token
from simulations.single_token_claims import separator_table, single_token_claims

SETTINGS = SingleTokenSettings(steps=1000, seeds=8)


@pytest.fixture(scope="module")
def result():
    return run_single_token(SETTINGS)


@pytest.fixture(scope="module")
def claims(result):
    return {claim.id.removeprefix("rung0."): claim for claim in single_token_claims(result, SETTINGS)}


def test_every_theorem_of_rung_0_holds_and_no_control_fails(claims):
    decided = {name: claim.holds for name, claim in claims.items() if claim.type == "theorem"}
    assert len(decided) == 6
    assert all(decided.values()), decided
    controls = {name: claim.holds for name, claim in claims.items() if claim.type == "registered"}
    # eight seeds leave the interval of this one on both sides of its threshold; the stored run's sixteen do not
    assert controls.pop("control.weight_decay") is not False
    assert len(controls) == 3
    assert all(controls.values()), controls


def test_every_condition_has_its_rows(result):
    assert {row["condition"] for row in result.rows} == set(CONDITIONS)
    steps = {row["step"] for row in result.rows}
    assert steps == set(SETTINGS.record()) == {0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000}
    assert len(result.rows) == len(steps) * SETTINGS.seeds * 2 * (len(CONDITIONS) + 1)
    assert {row["time"] for row in result.unseen_pairs} == {100, 1000}
    assert len(result.unseen_pairs) == 2 * SETTINGS.seeds * SETTINGS.population.unseen_pairs


def test_the_separator_comes_closer_and_the_theorem_speaks_about_more_pairs(result):
    early, late = separator_table(result.unseen_pairs, result.rows)
    assert early["cosine"] < late["cosine"] < 1
    assert late["excluded_share"] < early["excluded_share"]
    assert early["agreement"] == late["agreement"] == 1


def test_a_head_that_ignored_the_separator_would_be_found_out(result):
    wrong = [row | {"agrees": row["separator_margin"] < 0} for row in result.unseen_pairs]
    claim = _claims(replace(result, unseen_pairs=wrong))["explicit_follows_separator"]
    assert claim.holds is False


def test_one_margin_off_zero_at_one_step_is_found_out(result):
    rows = [dict(row) for row in result.rows]
    moved = next(r for r in rows if (r["condition"], r["kind"], r["split"]) == ("baseline", "implicit", "unseen"))
    moved["max_abs_margin"] = 1e-11
    moved["tie_rate"] = 31 / 32
    claims = _claims(replace(result, rows=rows))
    assert claims["unseen_margins_zero"].holds is False
    assert claims["unseen_all_tied"].holds is False


def test_a_control_is_decided_by_its_whole_interval(result):
    """Two seeds whose mean is far from one half say nothing about others."""
    rows = [dict(row) for row in result.rows if row["seed"] < 2]
    for row in rows:
        row["accuracy"] = (1.0, 0.55)[row["seed"]]
    claim = _claims(replace(result, rows=rows))["control.tied_rows"]
    assert claim.measured > 0.1 > claim.low
    assert claim.holds is None


def test_weight_decay_without_its_law_is_found_out(monkeypatch):
    plain = simulations.single_token.descend

    def without_decay(*args, **kwargs):
        return plain(*args, **{**kwargs, "weight_decay": 0.0})

    monkeypatch.setattr(simulations.single_token, "descend", without_decay)
    settings = replace(SETTINGS, steps=100)
    claims = {c.id: c for c in single_token_claims(run_single_token(settings), settings)}
    assert claims["rung0.control.weight_decay"].holds is False
    assert claims["rung0.control.weight_decay.law"].holds is False
    assert claims["rung0.control.tied_rows"].holds is True


def test_training_pairs_without_a_separator_are_refused():
    noisy = replace(SETTINGS, population=PopulationSettings(signal=0.0, train_pairs=60))
    with pytest.raises(ValueError, match="seed 0: the training pairs are non-separable"):
        run_single_token(noisy)


def test_a_population_needs_pairs():
    with pytest.raises(ValueError, match="train_pairs must be at least 1"):
        draw_population(PopulationSettings(train_pairs=0), np.random.default_rng(0))


def test_one_step_claims_hold_and_the_error_halves_with_the_square():
    settings = OneStepSettings()
    rows = run_one_step(settings)
    claims = one_step_claims(rows, settings)
    assert [claim.holds for claim in claims] == [True, True, True]
    assert max(abs(row["measured"]) for row in rows if row["kind"] == "implicit" and row["step_size"] == 1e-2) > 1e-4
    # a seed does not depend on how many others there are
    assert [row for row in rows if row["seed"] < 2] == run_one_step(replace(settings, seeds=2))


@pytest.mark.parametrize(
    ("target", "mutation"),
    [
        ("implicit_change", lambda change: 1.01 * change),
        ("implicit_change", lambda change: change - 1e-3 * np.sign(change)),
        ("generative_change_bradley_terry", lambda change: -change),
        ("explicit_change", lambda change: change * (1 + 1e-9)),
    ],
)
def test_a_wrong_formula_is_found_out(monkeypatch, target, mutation):
    formula = getattr(simulations.one_step, target)
    monkeypatch.setattr(simulations.one_step, target, lambda *args, **kwargs: mutation(formula(*args, **kwargs)))
    settings = OneStepSettings(seeds=3)
    assert [claim.holds for claim in one_step_claims(run_one_step(settings), settings)].count(False) == 1


def test_error_slope_of_a_known_power():
    steps = (1e-1, 1e-2, 1e-3)
    rows = [
        {"kind": "k", "seed": 0, "step_size": s, "pair": p, "predicted": (p + 1) * s**3, "measured": 0.0}
        for s in steps
        for p in range(3)
    ]
    assert error_slope(rows, "k", 0, steps) == pytest.approx(3)


def test_a_run_folder_is_written_once_and_read_back(tmp_path):
    claims = simulate("one_step", tmp_path / "run", seeds=2, progress=False)
    written = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()}
    assert set(written) == {"config.json", "provenance.json", "one_step.jsonl", "metrics.json", "done.json"}
    assert simulate("one_step", tmp_path / "run", seeds=2, progress=False) == claims
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()} == written
    assert set(read_rows(tmp_path / "run" / "one_step.jsonl")[0]) == {
        "seed", "kind", "step_size", "pair", "predicted", "measured",
    }  # fmt: skip
    (tmp_path / "run" / "done.json").unlink()  # killed before the end: computed again, same numbers
    assert simulate("one_step", tmp_path / "run", seeds=2, progress=False) == claims
    with pytest.raises(UserError, match="holds another run"):
        simulate("one_step", tmp_path / "run", seeds=3, progress=False)


@pytest.mark.integration
def test_rung_0_of_the_story(tmp_path, monkeypatch):
    monkeypatch.setattr("simulations.experiments.QUICK_STEPS", 200)
    claims = run_rung0(tmp_path, quick=True, progress=False)
    assert {claim.rung for claim in claims} == {0}
    assert all(claim.holds for claim in claims if claim.type == "theorem")
    assert len({claim.id for claim in claims}) == len(claims)
    for name in ("single_token", "one_step", "unseen_pairs"):
        assert read_rows(tmp_path / "rung0" / f"{name}.jsonl")
    metrics = read_json(tmp_path / "rung0" / "metrics.json")
    assert [Claim.from_row(row) for row in metrics["claims"]] == claims
    assert [line["time"] for line in metrics["single_token"]["separator"]] == [100]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda folder: simulate("two_step", folder), "no experiment is called 'two_step'; choose one of single_token"),
        (lambda folder: simulate("one_step", folder, seeds=1), "--seeds must be at least 2"),
        (lambda folder: simulate("one_step", folder, colour=3), "one_step has no such setting; it has seeds"),
    ],
)
def test_mistakes_are_answered_before_anything_is_written(tmp_path, call, message):
    with pytest.raises(UserError, match=message):
        call(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_experiments_say_what_they_do():
    for experiment in EXPERIMENTS.values():
        assert experiment.summary
        assert experiment.settings.seeds >= 6


def _claims(result):
    return {claim.id.removeprefix("rung0."): claim for claim in single_token_claims(result, SETTINGS)}
