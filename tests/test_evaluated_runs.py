"""From the command line: held-out prompts, the overlap audit, baselines that know the training pairs, two models."""

import json

import pytest

from rewardgap import main
from simulations.results import read_json, read_rows
from tests.lm import language_model, tokenizer

pytestmark = pytest.mark.integration
RULES = ("longest", "shortest", "bag_of_tokens", "token_overlap")


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    language_model().save_pretrained(folder / "lm")
    tokenizer().save_pretrained(folder / "lm")
    rows = [
        {"prompt": f"Is {i // 2} even?", "chosen": f" Yes {i}", "rejected": f" No, {i}", "subset": "ab"[i % 2]}
        for i in range(60)
    ]
    write(folder / "pairs.jsonl", rows)
    other = {"prompt": "Who?", "chosen": " Me, yes", "rejected": " You"}
    write(folder / "other.jsonl", [rows[0], {**rows[1], "prompt": "is 0 EVEN"}, other])
    return folder


@pytest.fixture(scope="module")
def trained(place):
    words = ["--model", str(place / "lm"), "--pairs", str(place / "pairs.jsonl"), "--max_steps", "2"]
    words += ["--eval_fraction", "0.3", "--eval_pairs", str(place / "other.jsonl")]
    for kind in ("implicit", "explicit"):
        assert main(["train", "--kind", kind, *words, "--output", str(place / kind)]) == 0
    return place


def test_training_holds_prompts_out_and_knows_every_baseline(trained):
    run = trained / "implicit"
    metrics, audits = read_json(run / "metrics.json"), read_json(run / "provenance.json")["audits"]
    rows = {name: read_rows(run / "scores" / f"{name}.jsonl") for name in metrics}
    train, held_out = rows["pairs"], rows["pairs_held_out"]
    assert len(train) + len(held_out) == 60
    assert 0 < len(held_out) < 40
    assert {r["prompt_hash"] for r in train}.isdisjoint(r["prompt_hash"] for r in held_out)
    assert {row["id"] for row in read_rows(run / "pairs.jsonl")} == {row["id"] for row in train}
    assert {row["id"] for row in held_out} == {
        row["id"] for row in read_rows(trained / "explicit" / "scores" / "pairs_held_out.jsonl")
    }
    for row in metrics.values():
        assert all(0 <= row["baselines"][name]["accuracy"] <= 1 for name in RULES)
    assert metrics["pairs"]["baselines"]["bag_of_tokens"]["accuracy"] == 1.0  # " Yes" against " No,"
    assert audits["pairs_held_out"]["overlap"]["prompt"] == 0
    card = (run / "model" / "README.md").read_text(encoding="utf-8")
    assert "bag of tokens" in card
    assert "overlap     of 3 with" in card


def test_what_is_shared_with_training_is_said_and_scored_apart(trained):
    metrics = read_json(trained / "implicit" / "metrics.json")["other"]
    assert "overlap" not in read_json(trained / "implicit" / "metrics.json")["pairs"]
    shared = {row["id"]: row["shared"] for row in read_rows(trained / "implicit" / "scores" / "other.jsonl")}
    if "pair" in shared["other/1"]:  # prompt 0 trains
        assert {"near_prompt", "response"} <= set(shared["other/2"])
    assert shared["other/3"] == []
    assert metrics["overlap"]["any"] == 2
    assert metrics["unshared"]["n"] == 1


def test_scoring_a_model_of_ours_finds_its_training_pairs_and_compares_runs(trained, capsys):
    files = ["--pairs", str(trained / "pairs.jsonl"), str(trained / "other.jsonl")]
    for kind in ("implicit", "explicit"):
        words = ["score", "--model", str(trained / kind), *files, "--output", str(trained / f"{kind}-scores")]
        assert main(words) == 0
    then, now = (read_rows(trained / run / "scores" / "other.jsonl") for run in ("explicit", "explicit-scores"))
    for one, other in zip(then, now, strict=True):
        assert one == other
        assert {"bag_of_tokens_chosen", "token_overlap_rejected", "pair_hash"} <= one.keys()
    capsys.readouterr()
    assert main([*words, "--against", str(trained / "implicit-scores"), "--json"]) == 0  # finished: nothing is scored
    data = json.loads(capsys.readouterr().out)
    assert data["comparisons"] == read_json(trained / "explicit-scores" / "comparisons.json")
    assert [one["source"] for one in data["comparisons"]] == ["pairs", "other"]
    one = data["comparisons"][0]
    accuracies = [
        read_json(trained / f"{kind}-scores" / "metrics.json")["pairs"]["accuracy"] for kind in ("explicit", "implicit")
    ]
    assert [one["first_accuracy"], one["second_accuracy"]] == pytest.approx(accuracies)
    assert one["prompts"] == 30
    assert [one["first"], one["second"]] == ["explicit-scores", "implicit-scores"]
    assert main([*words, "--against", str(trained / "implicit-scores")]) == 0
    assert "p (Holm)" in capsys.readouterr().out


def test_whoever_does_not_know_the_training_pairs_is_told(trained, capsys):
    words = ["score", "--model", str(trained / "lm"), "--kind", "implicit", "--reference", "none"]
    words += ["--pairs", str(trained / "other.jsonl"), "--output"]
    assert main([*words, str(trained / "unknown")]) == 0
    assert "training pairs unknown; name them with --train_pairs" in capsys.readouterr().out
    assert main([*words, str(trained / "known"), "--train_pairs", str(trained / "pairs.jsonl")]) == 0
    captured = capsys.readouterr()
    assert "unknown" not in captured.out
    assert "overlap of other with training: 1 prompt" in captured.err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--against", "nowhere"], "holds no scores of 'other'"),
        (["--against", "{place}/mine"], "compared with itself"),
        (["--against", "{place}/implicit/scores"], "holds no scores of 'other' (found none)"),
        (["--train_pairs", "{place}/none.jsonl"], "none.jsonl: no such file"),
    ],
)
def test_mistakes_end_in_one_line_before_anything_is_scored(trained, flags, said, capsys):
    words = ["score", "--model", str(trained / "lm"), "--kind", "implicit", "--reference", "none"]
    words += ["--pairs", str(trained / "other.jsonl"), "--output", str(trained / "mine")]
    assert main([*words, *(flag.format(place=trained) for flag in flags)]) == 2
    error = capsys.readouterr().err
    assert said in error.strip().split("\n")[-1]
    assert not (trained / "mine").exists()


@pytest.mark.parametrize(
    ("fraction", "said"), [("0.0001", "no pair to evaluate on"), ("0.95", "at most 0.9"), ("-0.1", "at least 0")]
)
def test_a_fraction_that_leaves_nothing(place, fraction, said, capsys):
    words = ["train", "--kind", "implicit", "--model", str(place / "lm"), "--pairs", str(place / "pairs.jsonl")]
    assert main([*words, "--eval_fraction", fraction, "--output", str(place / "nothing")]) == 2
    assert said in capsys.readouterr().err
    assert not (place / "nothing").exists()
