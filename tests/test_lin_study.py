"""The study after Lin et al. (2024): its table of shifts, its intervals, and that no prompt is on both sides."""

import math

import numpy as np
import pytest

from llm_experiments.recipes import RECIPES, recipe_claims
from llm_experiments.splits import near_key
from llm_experiments.studies import run_study
from llm_experiments.tasks.lin_claims import drops_of, lin_claims, over_factors
from llm_experiments.tasks.lin_sets import PAPER, SMALL, read_part, shifts_of
from simulations.results import read_rows
from simulations.statistics import mean_interval

SETS = tuple(one.name for one in SMALL)


def rows_of(drop, *, seed=0, clusters=6):
    """Rows of a whole grid: explicit at 0.6 plus noise, the implicit model lower by `drop(cluster, train, set)`."""
    random, rows = np.random.default_rng(seed), []
    for cluster in range(clusters):
        for (train, test), shift in (shifts_of(SMALL) | {(name, "train"): "train" for name in SETS}).items():
            explicit = 0.6 + 0.02 * random.normal()
            for kind in ("explicit", "implicit"):
                lower = drop(cluster, train, test) if kind == "implicit" else 0.0
                rows.append(
                    {"architecture": "mistral", "seed": cluster, "train": train, "set": test, "shift": shift}
                    | {"kind": kind, "accuracy": explicit - lower, "n": 100}
                    | {f"baseline_{rule}": 0.55 for rule in ("longest", "shortest", "bag_of_tokens", "token_overlap")}
                )
    return rows


@pytest.mark.parametrize("sets", [SMALL, PAPER], ids=["small", "paper"])
def test_every_two_sets_have_a_shift_the_same_in_both_directions(sets):
    shifts = shifts_of(sets)
    assert len(shifts) == 36
    assert [pair for pair, shift in shifts.items() if shift == "in-distribution"] == [(s.name, s.name) for s in sets]
    assert all(shifts[train, test] == shifts[test, train] for train, test in shifts)
    assert {"response shift", "prompt shift"} < set(shifts.values())


def test_a_drop_that_is_there_is_reported_with_the_factor_that_varies_most():
    def drop(cluster, train, test):
        return 0.04 + (0.06 if test == "LLMBar" else 0.0) + 0.001 * (-1) ** cluster

    settings = [
        {"train": train, "set": test, "shift": shift, "kind": "difference", "value": value, "low": value, "high": value}
        | {"clusters": 6}
        for (train, test), shift in shifts_of(SMALL).items()
        for value in [drop(0, train, test) + (train == test)]  # its own held-out prompts are no shifted setting
    ]
    claims = {claim.id: claim for claim in lin_claims(rows_of(drop), settings)}
    mean = claims["lin2024/shifted/drop"]
    assert mean.measured == pytest.approx(0.05)
    assert (mean.unit, mean.n, mean.seeds) == ("evaluation sets", 6, 6)
    largest = claims["lin2024/shifted/largest-drop"]
    assert "evaluated on LLMBar" in largest.statement
    assert largest.measured == pytest.approx(0.101)
    assert claims["lin2024/in-distribution/ahead-of-rules"].measured == pytest.approx(0.05, abs=0.02)
    assert not any(math.isnan(claim.low) for claim in claims.values())


def test_the_interval_of_one_factor_is_that_of_its_means():
    rows = rows_of(lambda cluster, train, test: 0.1 * cluster)
    drops = drops_of(row | {"cluster": row["seed"]} for row in rows)
    interval, unit = over_factors(drops, "drop")
    expected = mean_interval([0.1 * cluster for cluster in range(6)])
    assert unit == "clusters"
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_metrics_of_the_recipes_give_the_same_claims_and_register_nothing():
    """Explicit models are right on 0.8 of their own held-out prompts and 0.7 of others, implicit ones on 0.05 less."""
    rules = {rule: {"accuracy": 0.6} for rule in ("longest", "shortest", "bag_of_tokens", "token_overlap")}

    def metrics_of(recipe):
        lower = 0.05 if recipe.kind == "implicit" else 0.0
        return {recipe.trained_on: {"accuracy": 1.0, "baselines": rules}} | {
            f"{one.name}_held_out": {
                "accuracy": (0.8 if one.name == recipe.trained_on else 0.7) - lower,
                "baselines": rules,
            }
            for one in PAPER
        }

    recipes = RECIPES["lin2024"]
    claims = {claim.id: claim for claim in recipe_claims("lin2024", {one.name: metrics_of(one) for one in recipes})}
    measured = {id: claim.measured for id, claim in claims.items()}
    assert measured["lin2024/in-distribution/explicit"] == pytest.approx(0.8)
    assert measured["lin2024/prompt shift/implicit"] == pytest.approx(0.65)
    assert measured["lin2024/shifted/drop"] == pytest.approx(0.05)
    assert measured["lin2024/train/implicit"] == 1
    assert {claim.type for claim in claims.values()} == {"observation"}
    assert claims["lin2024/shifted/drop"].model == "gemma-2b, gemma-7b, Mistral-7B-v0.1"
    assert claims["lin2024/shifted/drop"].seeds == 3
    assert claims["lin2024/shifted/largest-drop"].measured == pytest.approx(0.05)


@pytest.mark.data
def test_no_prompt_is_trained_on_and_held_out_in_any_set(real_data):
    parts = {part: [read_part(real_data, one, part, 0.4) for one in SMALL] for part in ("train", "held-out")}
    keys = {part: [[near_key(pair.prompt) for pair in some] for some in found] for part, found in parts.items()}
    assert not set().union(*keys["train"]) & set().union(*keys["held-out"])
    assert all(len(tested) == len(set(tested)) > 40 for tested in keys["held-out"])


@pytest.mark.slow
@pytest.mark.data
def test_the_study_runs_in_its_quick_form(real_data, tmp_path):
    summary = run_study("lin2024", tmp_path / "run", real_data, quick=True, workers=1)
    grid = read_rows(tmp_path / "run" / "grid.jsonl")
    assert {(row["train"], row["set"]): row["shift"] for row in grid} == shifts_of(SMALL)
    assert len(grid) == 3 * 36
    drops = [row["value"] for row in grid if row["kind"] == "difference" and row["shift"] != "in-distribution"]
    claim = next(claim for claim in summary["claims"] if claim["id"] == "lin2024/shifted/drop")
    assert claim["measured"] == pytest.approx(np.mean(drops))
