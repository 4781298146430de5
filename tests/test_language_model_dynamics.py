"""Predicted against measured reward changes on small causal language models, through their own forward pass."""

import json

import numpy as np
import pytest
import torch

import rewardgap
import theory.contraction
from figures.redraw import STORED
from llm_experiments import dynamics, predictions
from llm_experiments.agreement import STEP_SIZE, agreement, flip_auc, flips
from llm_experiments.dynamics import Experiment, is_tied, one_step_rows, summarise_dynamics, training_rows
from llm_experiments.models import load_reward_model
from simulations.results import read_json, read_rows
from tests.lm import KINDS, language_model, random_pairs, tokenizer
from theory.dynamics import Response, ResponsePair

STEP = 1e-3
EXACT = 1e-12  # rounding, in nats
RELATIVE_ERROR, SLOPE = 1e-3, 1e-3  # wanted of the output layer alone, at STEP


def experiment(architecture="gemma2", kind="implicit", *, tied=None, loss="cross_entropy") -> Experiment:
    """Margins away from zero, and Gemma-2's logits beyond its cap of 30; Yes and No are tokens that move."""
    policy = language_model(architecture, tied=tied)
    if architecture == "gemma2":
        with torch.no_grad():
            policy.get_output_embeddings().weight.mul_(10)
    model = load_reward_model(policy, kind, tokenizer=tokenizer(), beta=0.4, dtype="float64")
    if kind == "implicit":
        with torch.no_grad():  # a reference nearby: margins of one nat or so, not of hundreds, where losses are flat
            for weight in model.reference.parameters():
                weight.mul_(1 + 0.01 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    given = Experiment(model, random_pairs(5, seed=3), random_pairs(4, seed=4), loss, batch_size=3)
    if kind == "generative":
        with torch.no_grad():
            chances = torch.softmax(model(**given._batch(slice(0, 9))[0]), -1)
        model.answers = tuple((chances * (1 - chances)).mean(0).topk(2).indices.tolist())
    return given


def compare(given: Experiment, trained: str, *sizes: float) -> list[dict]:
    return list(summarise_dynamics(one_step_rows(given, trained, sizes or [STEP]), tie_tolerance=1e-5).values())


CASES = [(kind, "cross_entropy") for kind in KINDS] + [("generative", "bradley_terry")]


@pytest.mark.parametrize(
    ("architecture", "kind", "loss"),
    [("gemma2", "implicit", "cross_entropy")]
    + [
        pytest.param(family, *case, marks=pytest.mark.integration) for family in ("gemma2", "mistral") for case in CASES
    ],
)
def test_a_step_on_the_output_layer_alone_does_what_the_theory_says(architecture, kind, loss):
    given = experiment(architecture, kind, loss=loss)
    if architecture == "gemma2" and kind != "explicit":
        about = dynamics.describe(given)
        assert about["tied"]
        assert about["largest_logit_before_the_cap"] > about["soft_cap"]
    near, nearer = compare(given, "head", STEP, STEP / 4)
    assert near["n"] == 5
    assert near["relative_error"] <= RELATIVE_ERROR
    assert abs(near["slope"] - 1) <= SLOPE
    assert near["sign_agreement"] == 1.0
    if kind == "explicit":
        assert near["largest_error"] <= EXACT
    else:  # a first-order formula: the relative error is proportional to the step
        assert near["relative_error"] / nearer["relative_error"] == pytest.approx(4, rel=0.05)


def slopes_forgotten(layer, raw, xp):
    shape(layer, raw, xp)


shape = theory.contraction._shape_in_place


def one_beta_forgotten(*arguments, beta, **options):
    prediction = implicit_changes(*arguments, beta=beta, **options)
    return type(prediction)(prediction.changes / beta, prediction.plan)


def reference_forgotten(*arguments, reference_log_ratios, **options):
    return implicit_changes(*arguments, reference_log_ratios=0 * reference_log_ratios, **options)


def rejected_forgotten(layer, evaluated, pairs, **options):
    none = [ResponsePair(pair.chosen, Response(pair.rejected.hidden[:0], pair.rejected.tokens[:0])) for pair in pairs]
    return implicit_changes(layer, evaluated, none, **options)


implicit_changes = predictions.implicit_changes
MUTANTS = {
    "soft cap": (theory.contraction, "_shape_in_place", slopes_forgotten),
    "beta": (predictions, "implicit_changes", one_beta_forgotten),
    "reference": (predictions, "implicit_changes", reference_forgotten),
    "rejected": (predictions, "implicit_changes", rejected_forgotten),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_forgotten_factor_is_found_out(name, monkeypatch):
    monkeypatch.setattr(*MUTANTS[name])
    (row,) = compare(experiment(), "head")
    assert row["relative_error"] > 10 * RELATIVE_ERROR
    assert abs(row["slope"] - 1) > SLOPE


def test_a_tied_output_layer_breaks_the_assumption_and_is_said_to():
    given = experiment("gemma2")
    before = [parameter.detach().clone() for parameter in given.model.parameters()]
    (tied,) = compare(given, "tied")
    assert tied["relative_error"] > 0.1
    assert "input embedding" in tied["violation"]
    assert is_tied(given.model)
    for parameter, start in zip(given.model.parameters(), before, strict=True):
        assert torch.equal(parameter, start)
    (head,) = compare(given, "head")
    assert head["relative_error"] <= RELATIVE_ERROR
    assert head["violation"] is None


# --- along training ---------------------------------------------------------------------------------------------------


def errors(given: Experiment, trained: str, rate: float, steps: int) -> tuple[float, float]:
    rows = training_rows(given, trained, learning_rate=rate, max_steps=steps)
    frozen, tracked = summarise_dynamics([r for r in rows if r["step"] == steps], tie_tolerance=1e-5).values()
    assert (frozen["coefficients"], tracked["coefficients"]) == ("frozen", "tracked")
    return frozen["relative_error"], tracked["relative_error"]


@pytest.mark.integration
def test_frozen_coefficients_are_exact_for_an_explicit_head_at_any_rate():
    frozen, tracked = errors(experiment("mistral", "explicit"), "head", 5.0, 6)
    assert frozen <= 1e-12
    assert tracked <= 1e-12


@pytest.mark.integration
def test_tracked_coefficients_follow_training_and_frozen_ones_fall_behind():
    given = experiment("mistral")
    rows = training_rows(given, "head", learning_rate=0.1, max_steps=1)
    assert all(row["frozen"] == pytest.approx(row["tracked"], rel=1e-9) for row in rows)
    frozen, tracked = errors(given, "head", 0.1, 8)
    frozen_finer, tracked_finer = errors(given, "head", 0.05, 16)
    assert tracked_finer / tracked == pytest.approx(0.5, abs=0.15)  # only the step size is left as a source of error
    assert frozen_finer > tracked_finer
    assert frozen_finer / frozen > 0.75  # the coefficients have changed, however small the steps


@pytest.mark.integration
def test_a_training_step_is_the_one_step():
    for kind in KINDS:
        given = experiment("gemma2", kind)
        (one,) = {row["trained"]: row for row in one_step_rows(given, "all", [0.1])[:1]}.values()
        along = training_rows(given, "all", learning_rate=0.1, max_steps=1)[0]
        assert along["measured"] == pytest.approx(one["measured"], rel=1e-12)
        assert along["tracked"] == pytest.approx(one["predicted"], rel=1e-9)


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("dynamics")
    language_model("gemma2").save_pretrained(place / "model")
    tokenizer().save_pretrained(place / "model")
    for name, count in (("train", 3), ("other", 6)):
        lines = [
            json.dumps({"prompt": f"Is {i} {name}?", "chosen": f" It is {i + 1}", "rejected": f" Not {i} at all"})
            for i in range(count)
        ]
        (place / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return place


def words(folder, output, *more):
    where = ["--model", folder / "model", "--train_pairs", folder / "train.jsonl", "--pairs", folder / "other.jsonl"]
    return [str(word) for word in ["dynamics", *where, "--output", folder / output, *more]]


@pytest.mark.integration
def test_the_command_reports_every_kind_and_what_moved(folder, capsys):
    asked = words(folder, "run", "--step", "1e-4", "1e-5", "--max_steps", "2", "--reference", "none", "--beta", "0.1")
    assert rewardgap.main([*asked, "--predict", "all"]) == 0
    text = capsys.readouterr().out
    scores = read_rows(folder / "run" / "prediction.jsonl")
    assert [row["kind"] for row in scores] == ["explicit"] * 6 + ["implicit"] * 6
    assert f"implicit: predicted to rank {np.mean([row['score'] > 0 for row in scores[6:]]):.3f} of 6 pairs" in text
    assert "tied: the output layer is the input embedding" in text
    heads = [row for row in read_rows(folder / "run" / "training.jsonl") if row["trained"] == "head"]
    explicit = [row for row in heads if row["kind"] == "explicit" and row["step"] == 2]
    before = np.mean([row["margin"] > 0 for row in explicit])
    after = np.mean([row["margin"] + row["measured"] > 0 for row in explicit])
    assert f"explicit, head: ranked {before:.3f} of 6 pairs right before and {after:.3f} after 2 steps" in text
    metrics, rows = read_json(folder / "run" / "metrics.json"), read_rows(folder / "run" / "one_step.jsonl")
    arms = {(row["kind"], row["trained"]) for row in rows}
    assert arms == {(kind, arm) for kind in KINDS for arm in ("all", "tied", "head")} - {("explicit", "tied")}
    assert len(rows) == len(arms) * 2 * 6
    assert len(read_rows(folder / "run" / "training.jsonl")) == len(arms) * 2 * 6
    for kind in KINDS:
        assert metrics[f"{kind}/head/one_step/1e-05"]["relative_error"] <= RELATIVE_ERROR
        assert abs(metrics[f"{kind}/head/one_step/1e-05"]["slope"] - 1) <= SLOPE
    about = read_json(folder / "run" / "provenance.json")["models"]["implicit"]
    assert about["soft_cap"] == 30
    assert rewardgap.main([*asked, "--predict", "all", "--json"]) == 0  # finished: read, not computed
    assert json.loads(capsys.readouterr().out)["metrics"] == metrics


@pytest.mark.integration
def test_one_kind_one_arm_and_mistakes(folder, capsys):
    assert rewardgap.main(words(folder, "one", "--kind", "implicit", "--trainable", "head")) == 0
    rows = read_rows(folder / "one" / "one_step.jsonl")
    assert {(row["kind"], row["trained"]) for row in rows} == {("implicit", "tied"), ("implicit", "head")}
    assert {row["trained"]: row["step_size"] for row in rows} == {"tied": 1e-3, "head": 1e-5}
    assert all(row["margin"] == 0 for row in rows)  # the policy is its own reference
    assert rewardgap.main(words(folder, "bad", "--step", "0")) == 2
    assert "--step must be positive" in capsys.readouterr().err
    assert rewardgap.main(words(folder, "bad", "--kind", "generative", "--predict", "head")) == 2
    assert "--predict head: is for explicit and implicit models" in capsys.readouterr().err
    assert not (folder / "bad").exists()


def test_the_default_step_is_the_largest_at_which_the_stored_models_are_predicted_as_wanted():
    found = {(kind, model): [] for kind in KINDS for model in ("gemma2", "mistral")}
    for row in read_rows(STORED / "dynamics" / "one_step.jsonl"):
        if row["trained"] == "head":
            found[row["kind"], row["model"]].append(row)

    def met(rows, size) -> bool:
        chosen = [row for row in rows if row["step_size"] == size]
        one = agreement(*(np.array([row[name] for row in chosen]) for name in ("predicted", "measured")))
        return one.n == 16 and one.relative_error <= RELATIVE_ERROR and abs(one.slope - 1) <= SLOPE

    assert all(met(rows, STEP_SIZE["head"]) for rows in found.values())
    assert not any(met(found["generative", model], 10 * STEP_SIZE["head"]) for model in ("gemma2", "mistral"))


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_slope_and_error_see_a_factor_that_correlation_does_not():
    measured = np.array([1.0, -2.0, 0.0, 4.0])
    half = agreement(measured / 2, measured)
    assert half.correlation == pytest.approx(1)
    assert half.slope == pytest.approx(2)
    assert half.relative_error == pytest.approx(0.5)
    assert half.largest_error == pytest.approx(2)
    assert half.sign_agreement == 1.0
    assert agreement(-measured, measured).sign_agreement == 0.0
    assert agreement(np.zeros(2), np.zeros(2)).slope is None


def test_flips_and_how_well_they_were_foreseen():
    start = np.array([1.0, 1.0, -1.0, -1.0, 0.0, 0.0])
    end = np.array([0.5, -0.1, 0.2, -2.0, 0.3, -0.3])
    flipped = flips(start, end, tie_tolerance=1e-5)
    assert flipped.tolist() == [False, True, True, False, False, True]
    against = np.array([0.1, 1.1, 1.2, -1.0, -0.3, 0.3])  # how far each moved against its side
    signed = np.where(start < 0, against, -against)
    assert flip_auc(start, signed, flipped, tie_tolerance=1e-5) == 1.0
    assert flip_auc(start, -signed, flipped, tie_tolerance=1e-5) == 0.0
    assert flip_auc(start, np.zeros(6), flipped, tie_tolerance=1e-5) == 0.5
    assert flip_auc(start, signed, np.zeros(6, dtype=bool), tie_tolerance=1e-5) is None
