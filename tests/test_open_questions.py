"""Combined shifts, scale, and the prediction before training: studies of rung 1 that answer open questions."""

import numpy as np
import pytest
import torch

from llm_experiments.agreement import flip_auc
from llm_experiments.models import load_reward_model
from llm_experiments.prediction import margin_kernel, predicted_margins, prompt_likeness
from llm_experiments.tasks import prediction_study, scale_study, shifts_study
from llm_experiments.tasks.language import Language
from llm_experiments.tasks.prediction_claims import area_over_models, prediction_claims
from llm_experiments.tasks.scale_claims import REFERENCE, scale_claims
from llm_experiments.tasks.scale_study import own_levels
from llm_experiments.tasks.shift_claims import interactions, persona_factorial, shift_claims
from llm_experiments.tasks.shifted_pairs import FACTORIAL, marked_pairs, shifted_pairs
from simulations.results import read_rows
from tests.lm import language_model, random_pairs
from tests.study_rows import factorial_rows, predicted_rows, scale_rows

LANGUAGE = Language(groups=2, words=4, meetings=2, traits=8)
SPLIT = LANGUAGE.split(0, seed=3)
SEEN = {
    "prompts": {*SPLIT.seen_traits[0], *SPLIT.seen_traits[1]},
    "prefixes": set(SPLIT.seen_prefixes),
    "words": {*SPLIT.seen_agree, *SPLIT.seen_disagree},
}


def parts(pair):
    return {
        "prompts": {pair.prompt.split()[2]},
        "prefixes": {pair.chosen.split()[0], pair.rejected.split()[0]},
        "words": {pair.chosen.split()[-1], pair.rejected.split()[-1]},
    }


def test_a_shift_changes_what_its_name_says_and_nothing_else():
    sets = shifted_pairs(LANGUAGE, SPLIT, "statement", 16, seed=1)
    shifted = {
        "train": set(),
        "none": set(),
        "prompts": {"prompts"},
        "prefixes": {"prefixes"},
        "words": {"words"},
        "responses": {"prefixes", "words"},
        "both": {"prompts", "prefixes", "words"},
    }
    for name, unseen in shifted.items():
        for pair in sets[name]:
            assert {part for part, words in parts(pair).items() if not words & SEEN[part]} == unseen
            assert {part for part, words in parts(pair).items() if words & SEEN[part]} == set(SEEN) - unseen
    for plain, bare, turned in zip(sets["none"], sets["no_prefix"], sets["word_first"], strict=True):
        assert plain.chosen.split()[1:] == bare.chosen.split()
        assert plain.rejected.split()[::-1] == turned.rejected.split()


def test_a_marked_prefix_tells_the_sides_apart_and_swapping_it_tells_them_apart_the_other_way():
    sets = marked_pairs(LANGUAGE, SPLIT, "statement", 16, seed=1)
    opening = {
        name: [{pair.chosen.split()[0] for pair in some}, {pair.rejected.split()[0] for pair in some}]
        for name, some in sets.items()
    }
    right, wrong = opening["train"]
    assert not right & wrong
    for name in ("none", "prompts", "words"):
        assert opening[name][0] <= right
        assert opening[name][1] <= wrong
    for name in ("swapped_prefixes", "words_swapped_prefixes"):
        assert opening[name][0] <= wrong
        assert opening[name][1] <= right
    assert all(pair.chosen.split()[0] == pair.rejected.split()[0] for pair in sets["one_prefix"])


def test_interactions_are_zero_for_shifts_that_add_and_each_scale_has_its_own_zero():
    adds = interactions(factorial_rows("a", [[0.9, 0.8, 0.7, 0.6], [0.85, 0.8, 0.75, 0.7]]))
    np.testing.assert_allclose(adds["accuracy"], 0, atol=1e-12)
    assert (np.abs(adds["log_odds"]) > 0.05).all()
    compounds = interactions(factorial_rows("a", [[0.9, 0.8, 0.7, 0.4]]))
    assert compounds["accuracy"] == pytest.approx([0.2])
    keeps = interactions(factorial_rows("a", [[0.9, 0.7, 0.6, 0.55]]))
    assert keeps["share_kept"] == pytest.approx([0.0])
    logit = [1 / (1 + np.exp(-x)) for x in (2.0, 1.0, 0.5, -0.5)]
    odds = interactions(factorial_rows("a", [logit], n=10**7))
    assert odds["log_odds"] == pytest.approx([0.0], abs=1e-5)


def test_what_was_expected_of_combined_shifts_can_fail():
    def holds(both):
        found, _ = shift_claims(factorial_rows("96-pairs", [[1.0, 0.9, 0.5 + c / 100, both] for c in range(6)]))
        return {claim.id: claim.holds for claim in found if claim.type == "registered"}

    assert set(holds(0.5).values()) == {True}
    assert list(holds(0.1).values()) == [True, False]


def test_the_four_cells_of_the_persona_study_are_found_in_its_rows():
    stored = [
        {"cell": "mistral", "condition": condition, "split": split, "prompts": prompts, "kind": kind, "seed": seed}
        | {"accuracy": 0.5, "n": 40}
        for condition, split, prompts in (
            ("published", "train", "train"),
            ("published", "unseen_forms", "train"),
            ("published", "seen_forms", "test"),
            ("published", "unseen_forms", "test"),
            ("prefix_swap", "unseen_forms", "test"),
        )
        for kind in ("explicit", "implicit", "generative")
        for seed in range(2)
    ]
    found = persona_factorial(stored)
    mine = [row["split"] for row in found if (row["kind"], row["seed"]) == ("implicit", 0)]
    assert mine == ["none", "responses", "prompts", "both"]
    assert interactions(found)["accuracy"].tolist() == [0.0, 0.0]


def test_every_level_of_every_sweep_has_the_same_clusters_and_one_thing_changed():
    plan, own = scale_study.plan(), REFERENCE
    clusters: dict[str, set] = {}
    for cell in plan.cells.values():
        clusters.setdefault(cell["cell"], set()).add((cell["seed"], cell["forms"]))
        here = own_levels(cell, plan.bases[cell["base"]])
        changed = {name for name, value in here.items() if value != own[name]}
        assert changed == {cell["sweep"]} - {"reference"}
        assert here.get(cell["sweep"]) in (None, cell["level"])
    assert len({frozenset(some) for some in clusters.values()}) == 1
    for sweep, levels in scale_study.LEVELS.items():
        assert own[sweep] in levels
        assert {level for level in levels if level != own[sweep]} == {
            cell["level"] for cell in plan.cells.values() if cell["sweep"] == sweep
        }


def test_a_planted_slope_is_found_per_doubling_and_decides_what_was_expected():
    for slope, flat in ((0.1, False), (0.01, True)):
        found, _ = scale_claims(scale_rows(slope))
        claims = {claim.id: claim for claim in found}
        for sweep in ("training_pairs", "beta"):
            claim = claims[f"scale/{sweep}/slope/unseen_forms"]
            assert (claim.measured, claim.holds) == (pytest.approx(slope), flat)
        assert claims["scale/training_pairs/slope/seen_forms"].holds is False
        assert claims["scale/beta/0.4/unseen_forms"].measured == pytest.approx(0.3 - 0.03 + 2 * slope)


@pytest.mark.integration
def test_a_score_that_knows_and_one_that_guesses_are_told_apart():
    for noise, good in ((0.01, True), (1000.0, False)):
        claims = {claim.id: claim for claim in prediction_claims(predicted_rows(noise))[0]}
        aimed = [claim for claim in claims.values() if claim.type == "registered"]
        assert [claim.holds for claim in aimed] == [good] * 3
        assert claims["prediction/held_out/auc/head"].measured == 0.5
        assert np.isnan(claims["prediction/held_out/accuracy/overlap"].measured)


def test_the_area_over_models_is_that_of_all_pairs_together():
    random = np.random.default_rng(3)
    tables = [np.column_stack([random.integers(2, size=30), random.integers(5, size=30)]).astype(float) for _ in "abc"]
    right, score = np.concatenate(tables).T
    known = flip_auc(np.zeros_like(right), score, right < 0.5, tie_tolerance=0.0)
    assert area_over_models(tables).mean == pytest.approx(known)


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["explicit", "implicit"])
def test_the_kernel_is_what_a_step_on_one_pair_does_to_another(kind):
    """A step along the gradient of one trained pair's margin, by hand; and over the head alone for `head`."""
    pairs = random_pairs(5, seed=2)
    evaluated, trained = pairs[:3], pairs[3:]
    model = load_reward_model(language_model(), kind, dtype="float64", beta=0.3)
    kernel = margin_kernel(model, evaluated, trained)
    heads = margin_kernel(model, evaluated, trained, moved="head")
    assert kernel.shape == heads.shape == (5, 2)
    np.testing.assert_allclose(kernel[3:], kernel[3:].T, rtol=1e-10)
    from llm_experiments.prediction import _margin_gradient

    every = [parameter for parameter in model.parameters() if parameter.requires_grad]
    head = model.head.weight if kind == "explicit" else model.policy.get_output_embeddings().weight
    size = 1e-6
    for found, parameters, tolerance in ((kernel, every, 1e-3), (heads, [head], 1e-5)):
        moved = []
        for sign in (1, -1):
            steps = _margin_gradient(model, trained[1], parameters).split([p.numel() for p in parameters])
            with torch.no_grad():
                for parameter, step in zip(parameters, steps, strict=True):
                    parameter.add_(sign * size * step.view_as(parameter))
                moved.append(_margins(model, pairs))
                for parameter, step in zip(parameters, steps, strict=True):
                    parameter.sub_(sign * size * step.view_as(parameter))
        measured = (moved[0] - moved[1]) / (2 * size)
        np.testing.assert_allclose(measured, found[:, 1], rtol=tolerance, atol=tolerance * np.abs(found).max())


def _margins(model, pairs):
    from llm_experiments.dynamics import Experiment

    rewards = Experiment(model, pairs, ()).rewards()
    return rewards[:, 0] - rewards[:, 1]


@pytest.mark.integration
def test_the_score_turns_with_a_pair_and_training_pairs_are_its_unit():
    pairs = random_pairs(12, seed=4)
    evaluated, trained = pairs[:4], pairs[4:]
    model = load_reward_model(language_model(), "implicit")
    scores = predicted_margins(model, evaluated, trained)
    np.testing.assert_allclose(
        predicted_margins(model, [pair.swapped() for pair in evaluated], trained), -scores, rtol=1e-4, atol=1e-6
    )
    assert np.abs(predicted_margins(model, trained, trained)).mean() == pytest.approx(1)
    assert predicted_margins(model, trained[:1], trained[:1]) == pytest.approx([1])  # a step helps its own pair
    likeness = prompt_likeness(model, trained, trained)
    np.testing.assert_allclose(np.diag(likeness), 1)
    assert likeness.min() == 0
    same = [trained[0]] * 11  # whose mean is not theirs to the last digit
    assert (prompt_likeness(model, evaluated, same) == 1).all()


@pytest.mark.integration
def test_a_tiny_cell_of_each_study_runs_and_is_claimed(tmp_path):
    from dataclasses import replace

    from llm_experiments.cells import Plan, run_cells

    wanted = {
        shifts_study: ["96-pairs/00"],
        scale_study: ["reference-0/00", "beta-0.3/00"],
        prediction_study: ["mistral-0/statement"],
    }
    (name, base), *_ = scale_study.plan(quick=True).bases.items()
    base = {**base, "documents": 200, "settings": base["settings"] | {"steps": 5, "hidden": 16, "layers": 1}}
    run_cells(scale_study.make_base, {tmp_path / "models" / name: base}, workers=1)
    for study, names in wanted.items():
        plan = study.plan(quick=True)
        assert name in plan.bases
        cells = {
            cell: config | {"training": config["training"] | {"max_steps": 2}, "evaluated": 4, "n_train": 16}
            for cell, config in plan.cells.items()
            if cell in names
        }
        assert len(cells) == len(names)
        plan = replace(plan, cells=cells, bases={name: plan.bases[name]})
        run_cells(study.compute_cell, {tmp_path / cell: config for cell, config in cells.items()}, workers=1)
        claims, notes = study.claims(tmp_path, Plan(plan.bases, cells))
        assert claims
        assert notes
    rows = read_rows(tmp_path / "mistral-0/statement" / "rows.jsonl")
    assert {row["shift"] for row in rows} >= {*FACTORIAL, "no_prefix", "both_other_end"}
    assert all(0 <= row[name] <= 1 for row in rows for name in ("accuracy", "all", "head", "overlap"))
