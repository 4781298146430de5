"""Optimising against reward models: what is sampled is what the policy says, and the advice follows the rows."""

import lm
import numpy as np
import pytest
import study_rows
import torch

from llm_experiments.tasks import iterative_study
from llm_experiments.tasks.iterative_claims import beaten, iterative_claims
from simulations.results import read_rows


def test_the_advice_names_the_kinds_that_no_other_beats():
    clear = study_rows.optimised_rows()
    won = {"explicit": [], "implicit": ["explicit", "ensemble"], "ensemble": ["explicit"]}
    assert beaten(clear)["best_of_n"] == won
    claims, notes = iterative_claims(clear)
    assert "optimise against the explicit model; " in notes[0]
    assert {claim.holds for claim in claims if claim.type == "registered"} == {True}
    alike = study_rows.optimised_rows(dict.fromkeys(study_rows.OPTIMISED, 1.0), noise=1.0)
    assert all("the data cannot decide between the kinds" in note for note in iterative_claims(alike)[1][:2])
    two = study_rows.optimised_rows(study_rows.OPTIMISED | {"explicit": 1.5}, noise=0.2)
    assert "optimise against the explicit model or the ensemble of both; " in iterative_claims(two)[1][0]
    claims, notes = iterative_claims(study_rows.optimised_rows(study_rows.OPTIMISED | {"implicit": 2.5}))
    assert "optimise against the implicit model; " in notes[1]
    assert any(claim.holds is False for claim in claims)


@pytest.mark.integration
def test_samples_come_as_often_as_the_policy_says_and_know_their_divergence():
    from llm_experiments.models import load_reward_model
    from llm_experiments.sampling import Samples, draw_samples

    policy, tokenizer = lm.language_model(), lm.tokenizer()
    prompts = ["Yes No", "No, longer than the first"]
    samples = draw_samples(policy, tokenizer, prompts, 1024, length=1, seed=3)
    assert draw_samples(policy, tokenizer, prompts, 1024, length=1, seed=3) == samples
    for number, ids in enumerate(samples.prompt_ids):
        mine = samples.responses[1024 * number : 1024 * (number + 1)]
        counts = np.bincount([response[0] for response in mine], minlength=lm.VOCABULARY)
        with torch.no_grad():
            likely = policy(torch.tensor([ids])).logits[0, -1].double().softmax(-1).numpy()
        errors = (counts - 1024 * likely) / np.sqrt(1024 * likely * (1 - likely) + 1)
        assert np.abs(errors).max() < 5
    model = load_reward_model(policy, "implicit", device="cpu")
    assert np.abs(samples.log_ratios(model)).max() < 1e-4  # it is its own reference
    with torch.no_grad():
        model.policy.get_output_embeddings().weight.mul_(0.9)
    other = draw_samples(model.policy, tokenizer, prompts, 1024, length=1, seed=3)
    exact = []
    for ids in other.prompt_ids:
        with torch.no_grad():
            new, old = (
                some(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1) for some in (model.policy, policy)
            )
        exact.append(float((new.exp() * (new - old)).sum()))
    assert other.log_ratios(model).mean(1) == pytest.approx(exact, abs=0.05)
    assert other.values(model) == pytest.approx(model.beta * other.log_ratios(model))
    best = Samples(("a", "b"), ((1, 5), (1, 6)), ((7,), (8, 9), (7,), (7,), (8,), (9,)))
    (pair,) = best.best_and_worst("round", np.array([[0.0, 2.0, 1.0], [1.0, 1.0, 1.0]]))
    assert (pair.prompt_ids, pair.chosen_ids, pair.rejected_ids) == ((1, 5), (8, 9), (7,))


@pytest.mark.integration
def test_a_tiny_cell_of_the_study_runs(tmp_path):
    from llm_experiments.cells import run_cells

    tiny = iterative_study.plan(quick=True)
    ((name, base),), ((place, cell),) = tiny.bases.items(), tiny.cells.items()
    base = base | {"documents": 1000, "settings": base["settings"] | {"steps": 60, "hidden": 32, "layers": 1}}
    cell = cell | {
        "n_train": 16,
        "train_prompts": 16,
        "held_out_prompts": 8,
        "samples": 16,
        "largest_n": 8,
        "rounds": 1,
    }
    cell = cell | {"training": cell["training"] | {"max_steps": 3}, "evaluated": 8}
    run_cells(iterative_study.make_base, {tmp_path / "models" / name: base}, workers=1)
    run_cells(iterative_study.compute_cell, {tmp_path / place: cell}, workers=1)
    rows = read_rows(tmp_path / place / "rows.jsonl")
    rounds = [row for row in rows if row["use"] == "iterative"]
    assert len({row["true"] for row in rounds if row["round"] == 0}) == 1  # all labellers start from one policy
    end = {row["kind"]: row for row in rounds if row["round"] == 1}
    assert end["explicit"]["kl"] != end["implicit"]["kl"]
    assert {row["labels_right"] for row in rounds if row["kind"] == "truth" and row["round"] == 0} == {1.0}
    best = {(row["kind"], row["best_of"]): row for row in rows if row["use"] == "best_of_n"}
    for n in (2, 4, 8):
        assert best["truth", n]["true"] > best["truth", n // 2]["true"]
        for kind in ("explicit", "implicit", "ensemble"):
            assert best[kind, n]["proxy"] > best[kind, n // 2]["proxy"]
            assert best[kind, n]["true"] <= best["truth", n]["true"]
            assert best[kind, 1]["true"] == pytest.approx(best["truth", 1]["true"])
