"""`rewardgap stress` on saved models: what a rerun computes, what it refuses, and what it says of rung 1."""

import json

import lm
import numpy as np
import pytest
import stress_worlds
import torch

import rewardgap
from llm_experiments.dynamics import Experiment, one_step_rows
from llm_experiments.encoding import encode_pairs
from llm_experiments.models import load_reward_model, load_tokenizer
from llm_experiments.pairs import load_pairs
from llm_experiments.pretraining import pretrain
from llm_experiments.scoring import score_pairs
from llm_experiments.settings import EncodingSettings, PretrainSettings, TrainSettings
from llm_experiments.stress import judges
from llm_experiments.stress.reliance import Coefficient
from llm_experiments.stress.scorers import ModelScorer
from llm_experiments.stress.suite import stress_scorers
from llm_experiments.stress.verdict import VERDICTS
from llm_experiments.tasks.language import Language
from llm_experiments.tasks.stress_ladder import language_shifts
from llm_experiments.training import train_reward_model
from simulations.results import read_json, read_rows

pytestmark = pytest.mark.integration
SIZES = {"hidden": 16, "layers": 1, "heads": 2, "vocab_size": 300, "block": 32, "max_positions": 256}
SMALL = PretrainSettings(**SIZES, steps=2, batch_size=4)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A language model, an explicit and an implicit reward model from it, and pairs."""
    folder = tmp_path_factory.mktemp("models")
    stress_worlds.write_pairs(folder / "train.jsonl", stress_worlds.pairs(8, seed=1))
    stress_worlds.write_pairs(folder / "test.jsonl", stress_worlds.pairs(24))
    pretrain(["a question of good and bad answers"] * 8, "mistral", folder / "lm", SMALL, progress=False)
    for kind in ("explicit", "implicit"):
        words = ["train", "--kind", kind, "--model", folder / "lm", "--pairs", folder / "train.jsonl"]
        assert rewardgap.main([str(word) for word in (*words, "--max_steps", 1, "--output", folder / kind)]) == 0
    return folder


def stress(place, output, *words, models=("explicit",)):
    command = ["stress", "--model", *(place / name for name in models), "--pairs", place / "test.jsonl"]
    return rewardgap.main([str(word) for word in (*command, "--output", place / output, *words)])


def keys(rows):
    return {row[f"key_{side}"] for row in rows for side in ("chosen", "rejected")}


def test_scores_are_those_of_rewardgap_score_and_a_rerun_computes_only_what_is_new(place, monkeypatch):
    models = ("explicit", "implicit")
    first = ("--transforms", "uppercase", "--train_pairs", place / "train.jsonl")
    assert stress(place, "grown", *first, models=models) == 0
    scores = place / "grown" / "scores"
    for kind in models:
        tokenizer = load_tokenizer(place / kind / "model")
        model = load_reward_model(place / kind / "model", kind, tokenizer=tokenizer)
        pairs = encode_pairs(load_pairs(place / "test.jsonl"), tokenizer)[0]
        for mine, theirs in zip(read_rows(scores / kind / "original.jsonl"), score_pairs(model, pairs), strict=True):
            for name in ("scores_chosen", "scores_rejected"):
                assert mine[name] == pytest.approx(theirs[name], abs=1e-5)
            assert {key: mine[key] for key in ("id", "prompt_hash", "n_tokens_chosen", "kind")} == {
                key: theirs[key] for key in ("id", "prompt_hash", "n_tokens_chosen", "kind")
            }
    before = {path: path.read_bytes() for path in scores.glob("*/*.jsonl")}
    more = ("--transforms", "uppercase", "extra_spaces", "--sides", "responses", "prompt", *first[2:])
    assert stress(place, "grown", *more, models=models) == 0
    assert all(path.read_bytes() == text for path, text in before.items())
    monkeypatch.setenv("REWARDGAP_CACHE", str(place / "cache"))
    for name in ("cached", "at_once"):  # the second finds what the reference has said to the first
        assert stress(place, name, *more, models=models) == 0
    costs = [read_json(place / name / "scores/implicit/model.json")["cost"] for name in ("cached", "at_once")]
    assert [sum(part["reference"] for part in cost.values()) > 0 for cost in costs] == [True, False]
    assert sum(part["computed"] for part in costs[1].values()) > 0
    for kind in models:
        cost = read_json(scores / kind / "model.json")["cost"]
        rows = read_rows(scores / kind / "extra_spaces@0.5@responses.jsonl")
        earlier = ("original", "uppercase@0.5@responses")
        known = [row for name in earlier for row in read_rows(scores / kind / f"{name}.jsonl")]
        fresh = keys(rows) - keys(known)
        asked = len(fresh) if kind == "implicit" else 0
        assert cost["extra_spaces@0.5@responses"] == {"responses": 48, "computed": len(fresh), "reference": asked}
    grown, at_once = (read_json(place / name / "summary.json") for name in ("grown", "at_once"))
    assert len(grown["table"]) == 8
    assert len(grown["grid"]) == 8
    for one, other in zip(grown["table"], at_once["table"], strict=True):
        assert one["difference"] == other["difference"]
        assert one["drift"] == pytest.approx(other["drift"], rel=1e-3)
        assert one["token_reliance"]["n_coefficient"] == one["n_changed"]
    monkeypatch.setattr(judges, "load_reward_model", None)  # nothing is left to compute
    assert stress(place, "grown", *more, models=models) == 0
    assert read_json(place / "grown" / "summary.json") == grown


@pytest.mark.parametrize("kind", ["explicit", "implicit"])
def test_the_coefficient_foretells_a_step_from_where_training_began(kind):
    """An implicit model is asked about its reference's first step, however far it has moved since."""
    policy = lm.language_model(tied=False)
    train, others = lm.random_pairs(6, seed=1), lm.random_pairs(5, seed=2)
    start = load_reward_model(policy, kind, dtype="float64", device="cpu")
    rows = one_step_rows(Experiment(start, others, train), "head", [1e-4])
    measured = np.array([[row["measured_chosen"], row["measured_rejected"]] for row in rows]) / 1e-4
    if kind == "implicit":
        with torch.no_grad():
            for parameter in start.policy.parameters():
                parameter.mul_(1.1)
    found = Coefficient(start, train).rates(others)
    assert np.abs(found - measured).max() < 1e-3 * np.abs(measured).max()


def test_the_threshold_decides_the_exit_code(place, capsys):
    assert stress(place, "threshold", "--transforms", "uppercase", "--fail_under", 0) == 0
    assert stress(place, "threshold", "--transforms", "uppercase", "--fail_under", 1) == 3
    out, error = capsys.readouterr()
    assert error.rstrip().split("\n")[-1].startswith("failed: explicit: ")
    assert "failed: " not in out
    (model,) = read_json(place / "threshold" / "summary.json")["models"]
    others = [name for name in VERDICTS if name != model["verdict"]]
    assert stress(place, "threshold", "--transforms", "uppercase", "--fail_on", *others) == 0
    assert stress(place, "threshold", "--transforms", "uppercase", "--fail_on", model["verdict"]) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--transforms", "upercase"), "did you mean uppercase"),
        (("--sides", "both"), "--sides must be of responses, prompt"),
        (("--strength", "0"), "--strength must be above 0"),
        (("--fail_under", "2"), "--fail_under must be at most 1"),
        (("--fail_on", "token_sensitive"), "--fail_on takes verdicts, any of token-sensitive, robust"),
        (("--transforms", "none"), "leaves nothing to do"),
        (("--rewrites", "{place}/other.jsonl"), "none of its 1 rewrites"),
        (("--train_pairs", "{place}/absent.jsonl"), "--train_pairs takes a file"),
        (("--model", "{place}/lm"), "does not say which kind it is; give --kind"),
    ],
)
def test_mistakes_end_in_one_line_and_leave_nothing_behind(place, words, said, capsys):
    line = {"id": "nobody", "prompt": "p", "chosen": "a", "rejected": "b"}
    (place / "other.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    assert stress(place, "mistake", *(word.format(place=place) for word in words)) == 2
    error = capsys.readouterr().err.strip().split("\n")[-1]
    assert error.startswith("error: ")
    assert said in error
    assert not (place / "mistake").exists()


def test_one_of_several_processes_is_refused(place, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert stress(place, "several", "--transforms", "uppercase") == 2
    assert "runs in one process" in capsys.readouterr().err
    assert not (place / "several").exists()


def test_another_question_needs_another_folder(place, capsys):
    pairs = (place / "test.jsonl").read_text(encoding="utf-8")
    assert stress(place, "asked", "--transforms", "uppercase") == 0
    assert stress(place, "asked", "--transforms", "uppercase", "--seed", "1") == 2
    assert "differs in seed" in capsys.readouterr().err
    try:
        (place / "test.jsonl").write_text(pairs.replace("good1", "good2"), encoding="utf-8")
        assert stress(place, "asked", "--transforms", "lowercase") == 2
        assert "has changed" in capsys.readouterr().err
    finally:
        (place / "test.jsonl").write_text(pairs, encoding="utf-8")
    (place / "elsewhere").mkdir()
    (place / "explicit" / "model").rename(place / "elsewhere" / "explicit")
    try:
        assert stress(place, "asked", "--transforms", "uppercase", models=("elsewhere/explicit",)) == 2
        assert "holds the scores of" in capsys.readouterr().err
    finally:
        (place / "elsewhere" / "explicit").rename(place / "explicit" / "model")


def test_an_edit_that_makes_a_text_too_long_leaves_its_pair_out(place):
    longest = max(row["n_tokens_chosen"] for row in read_rows(place / "grown/scores/explicit/original.jsonl"))
    words = ("--transforms", "extra_spaces", "--strength", "1", "--max_length", str(longest + 80))
    assert stress(place, "long", *words) == 0
    (row,) = read_json(place / "long" / "summary.json")["table"]
    assert row["n_pairs"] == row["n_changed"] + row["n_unchanged"] + row["n_rejected"]


def test_on_the_synonym_language_it_tells_an_implicit_from_an_explicit_model(tmp_path):
    """Paired interval above zero; two explicit models that differ in their seed come out equal within 0.05.

    A small world of the registered kind; benchmarks/store_stress.py has six clusters of the full one.
    """
    language = Language(groups=2, words=8, traits=16, prefixes=8)
    sizes = {"hidden": 64, "layers": 2, "heads": 4, "tokenizer": "word", "block": 32, "max_positions": 64}
    settings = PretrainSettings(**sizes, steps=300, batch_size=64)
    base = pretrain(language.documents(12_000, 0), "mistral", tmp_path / "lm", settings, progress=False)
    tokenizer, encoding = load_tokenizer(base), EncodingSettings(terminator="strip", max_length=0)
    split = language.split(0, 0)
    pairs = language.pairs(split, "statement", 96, 0)
    train = encode_pairs(pairs["train"], tokenizer, encoding)[0]
    scorers = {}
    for name, kind, seed in (("explicit", "explicit", 0), ("again", "explicit", 1), ("implicit", "implicit", 0)):
        model = load_reward_model(str(base), kind, beta=0.1, device="cpu", seed=seed)
        how = {"learning_rate": 3e-3, "max_steps": 60, "per_device_train_batch_size": 16, "max_grad_norm": 1.0}
        train_reward_model(model, train, TrainSettings(**how, lr_scheduler_type="linear", seed=seed))
        scorers[name] = ModelScorer(model, tokenizer, encoding, batch_size=128)
    shifts = language_shifts(split, pairs["seen_forms"], tmp_path, seed=0)
    summary = stress_scorers(pairs["seen_forms"], shifts, scorers, tmp_path / "stress")
    found = {(row["model_a"], row["model_b"]): row["difference"] for row in summary["comparisons"]}
    assert found["explicit", "implicit"]["low"] > 0
    assert found["again", "implicit"]["low"] > 0
    assert -0.05 < found["explicit", "again"]["low"] < found["explicit", "again"]["high"] < 0.05
    verdicts = {row["name"]: row["verdict"] for row in summary["models"]}
    assert verdicts["implicit"] == "token-sensitive"
    assert np.mean([row["accuracy"]["value"] for row in summary["models"]]) > 0.9
