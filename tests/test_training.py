"""Laws of the training loop over the three kinds, and the run folder it fills."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from llm_experiments.batches import collate_pairs
from llm_experiments.evaluation import summarise
from llm_experiments.models import load_reward_model, read_manifest
from llm_experiments.saving import save_reward_model
from llm_experiments.scoring import run_scoring, score_pairs
from llm_experiments.settings import ScoreRequest, TrainRequest, TrainSettings
from llm_experiments.training import run_training, train_reward_model
from rewardgap import main
from simulations.results import UserError
from tests.lm import KINDS, language_model, random_pairs, tokenizer

pytestmark = pytest.mark.integration


def start(kind, architecture="mistral", **options):
    return load_reward_model(language_model(architecture), kind, tokenizer=tokenizer(), **options)


def weights(model):
    return torch.cat([parameter.detach().double().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("kind", KINDS)
def test_micro_batches_times_accumulation_equal_the_full_batch(kind):
    """Ten pairs in windows of eight: the second window is incomplete, and is not weakened for it."""
    pairs, moved = random_pairs(10), []
    for micro, accumulation in ((8, 1), (4, 2), (2, 4), (1, 8)):
        model = start(kind, dtype="float64")
        before = weights(model)
        train_reward_model(
            model,
            pairs,
            TrainSettings(
                optim="sgd",
                learning_rate=1e-3,
                per_device_train_batch_size=micro,
                gradient_accumulation_steps=accumulation,
            ),
        )
        moved.append(weights(model) - before)
    assert moved[0].abs().max() > 1e-6
    for other in moved[1:]:
        assert torch.allclose(other, moved[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_training_is_a_function_of_the_seed(kind):
    results = []
    for seed in (1, 1, 2):
        model = start(kind)
        train_reward_model(model, random_pairs(10), TrainSettings(max_steps=3, seed=seed, learning_rate=1e-3))
        results.append(weights(model))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_learns_its_training_pairs(kind):
    model, pairs = start(kind), random_pairs(16)
    rows = train_reward_model(model, pairs, TrainSettings(max_steps=60, learning_rate=3e-3, logging_steps=20))
    assert rows[0]["loss"] > rows[-2]["loss"] > 0
    assert summarise(score_pairs(model, pairs))["accuracy"] == 1.0


def test_an_implicit_model_starts_at_ln_2_and_its_first_step_scales_with_beta_squared():
    """One plain gradient step: the loss's gradient carries one beta, the reward another. To first order in the step;
    the norms compute in float32 under any dtype, so a much smaller step would drown in their rounding."""
    pairs, changes = random_pairs(6), []
    for beta in (0.5, 1.0, 2.0):
        model = start("implicit", beta=beta, dtype="float64")
        rows = train_reward_model(
            model, pairs, TrainSettings(max_steps=1, optim="sgd", learning_rate=1e-5, logging_steps=1)
        )
        assert rows[0]["loss"] == pytest.approx(math.log(2), abs=1e-7)  # logged in float32
        scored = score_pairs(model, pairs)
        changes.append(np.array([[row["scores_chosen"], row["scores_rejected"]] for row in scored]))
    assert np.abs(changes[1]).min() > 0
    assert np.allclose(changes[0] * 4, changes[1], rtol=1e-3)
    assert np.allclose(changes[2], changes[1] * 4, rtol=1e-3)


@pytest.mark.parametrize("architecture", ["mistral", "gemma2"])  # untied, tied
@pytest.mark.parametrize("kind", KINDS)
def test_head_only_training_moves_the_head_alone(kind, architecture):
    model, pairs = start(kind, architecture), random_pairs(8)
    ids = {key: value for key, value in collate_pairs(pairs, kind).items() if key != "response_mask"}
    hidden = model.policy.base_model(**ids).last_hidden_state.detach()
    before = score_pairs(model, pairs)
    train_reward_model(model, pairs, TrainSettings(max_steps=3, learning_rate=1e-2, trainable="head"))
    assert torch.equal(model.policy.base_model(**ids).last_hidden_state, hidden)
    after = score_pairs(model, pairs)
    assert all(new["scores_chosen"] != old["scores_chosen"] for new, old in zip(after, before, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_that_is_not_finite_stops_with_the_pairs_named(kind):
    model = start(kind)
    with torch.no_grad():
        model.policy.get_input_embeddings().weight[250] = float("nan")
    pairs = random_pairs(6)
    broken = [pair for pair in pairs if 250 in pair.prompt_ids + pair.chosen_ids + pair.rejected_ids]
    broken += [pairs[2].swapped()] if not broken else []
    poisoned = [*pairs[:5], type(pairs[0])("the-bad-one", "", (1, 250), (5, 6), (7, 8), (1, 250), (9,))]
    pairs = [pair for pair in poisoned if pair.id == "the-bad-one" or 250 not in pair.prompt_ids + pair.chosen_ids]
    with pytest.raises(UserError, match=r"not finite at step 1 \(pairs .*the-bad-one.*--learning_rate"):
        train_reward_model(model, pairs, TrainSettings(max_steps=1, per_device_train_batch_size=16))


@pytest.mark.parametrize("architecture", ["mistral", "gemma", "gemma2"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("trainable", ["all", "head"])
def test_a_saved_model_reloads_to_the_same_scores(architecture, kind, trainable, tmp_path):
    language_model(architecture).save_pretrained(tmp_path / "base")
    tokenizer().save_pretrained(tmp_path / "base")
    pairs = random_pairs(6)
    model = load_reward_model(tmp_path / "base", kind, tokenizer=tokenizer(), beta=0.3)
    train_reward_model(model, pairs, TrainSettings(max_steps=3, learning_rate=1e-3, trainable=trainable))
    folder = save_reward_model(model, tokenizer(), tmp_path / "saved", pairs, reference=str(tmp_path / "base"))
    again = load_reward_model(folder, kind, tokenizer=tokenizer())
    assert again.beta == (0.3 if kind == "implicit" else 0.1)
    assert score_pairs(again, pairs) == score_pairs(model, pairs)
    assert not any(".unproven" in path.name for path in tmp_path.iterdir())
    assert not list(folder.glob("*.bin"))
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1  # safetensors writes for its owner alone


def test_an_explicit_model_is_a_plain_sequence_classifier_and_an_implicit_one_a_plain_language_model(tmp_path):
    pairs = random_pairs(5)
    explicit, implicit = start("explicit"), start("implicit")
    save_reward_model(explicit, tokenizer(), tmp_path / "explicit", pairs)
    save_reward_model(implicit, tokenizer(), tmp_path / "implicit", pairs)
    classifier = AutoModelForSequenceClassification.from_pretrained(tmp_path / "explicit", dtype=torch.float32).eval()
    batch = collate_pairs(pairs, "explicit", pad_id=classifier.config.pad_token_id)
    logits = classifier(batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, 0].detach()
    rows = score_pairs(explicit, pairs)
    ours = [row["scores_chosen"] for row in rows] + [row["scores_rejected"] for row in rows]
    assert np.allclose(logits.numpy(), ours, rtol=1e-5, atol=1e-5)
    assert sum(p.numel() for p in AutoModelForCausalLM.from_pretrained(tmp_path / "implicit").parameters()) > 0


def test_padding_that_ends_responses_is_not_used_and_would_be_caught(tmp_path, monkeypatch):
    """Plain classifiers read the last token that is not padding: with pad = EOS, one token early."""
    import llm_experiments.saving as saving

    model = start("explicit")
    pairs = [
        type(pair)(pair.id, "", pair.prompt_ids, pair.chosen_ids + (2,), pair.rejected_ids + (2,), (1,), (2,))
        for pair in random_pairs(4)
    ]
    assert saving.pad_token(tokenizer(), pairs) == "<pad>"
    monkeypatch.setattr(saving, "pad_token", lambda *_: "<eos>")
    with pytest.raises(UserError, match="plain sequence classifier it scores differently"):
        save_reward_model(model, tokenizer(), tmp_path / "model", pairs)
    assert not (tmp_path / "model").exists()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lm")
    language_model().save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def pairs_file(tmp_path):
    path = tmp_path / "pairs.jsonl"
    lines = [{"prompt": f"Is {i} even?", "chosen": f" Yes {i}", "rejected": f" No, {i}"} for i in range(8)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_run_folder_is_complete_and_a_killed_run_ends_with_the_same_numbers(base, pairs_file, tmp_path, monkeypatch):
    def request(name):
        return TrainRequest(
            kind="implicit", model=str(base), pairs=str(pairs_file), output=tmp_path / name, max_steps=3
        )

    metrics = run_training(request("whole"))
    whole = tmp_path / "whole"
    for name in ("config.json", "provenance.json", "pairs.jsonl", "log.jsonl", "metrics.json", "done.json"):
        assert (whole / name).is_file(), name
    assert metrics["pairs"]["n"] == 8
    assert read_manifest(whole / "model")["kind"] == "implicit"

    import llm_experiments.training as training

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "score_source", killed)
        with pytest.raises(KeyboardInterrupt):
            run_training(request("killed"))
    assert not (tmp_path / "killed" / "done.json").exists()
    run_training(request("killed"))
    for name in ("metrics.json", "scores/pairs.jsonl", "log.jsonl", "model/model.safetensors"):
        mine, theirs = (tmp_path / run / name for run in ("killed", "whole"))
        if name != "log.jsonl":  # holds run times
            assert mine.read_bytes() == theirs.read_bytes(), name
    with monkeypatch.context() as patch:  # finished: nothing is computed again
        patch.setattr(training, "train_reward_model", killed)
        assert run_training(request("whole")) == json.loads((whole / "metrics.json").read_text())


def test_a_finished_run_says_the_same_again_where_an_interval_is_undefined(base, tmp_path, capsys):
    """Two pairs of one prompt and ranked alike: there is no interval."""
    row = {"prompt": "Is it?", "chosen": " Yes", "rejected": " No"}
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row | {"rejected": f" No {n}"}) + "\n" for n in range(2)))
    shared = ["--model", str(base), "--pairs", str(file), "--kind", "implicit"]
    for command, flags in (("train", ["--max_steps", "1"]), ("score", ["--reference", "none"])):
        said = []
        for _ in range(2):
            assert main([command, *shared, *flags, "--output", str(tmp_path / command)]) == 0
            said.append(capsys.readouterr().out)
            assert main([command, *shared, *flags, "--output", str(tmp_path / command), "--json"]) == 0
            said.append(capsys.readouterr().out)
        assert said[:2] == said[2:]
        assert "nan" not in said[0]
        assert json.loads(said[1])["metrics"]["pairs"]["low"] is None


def test_the_same_command_on_edited_files_is_another_run(base, pairs_file, tmp_path, monkeypatch):
    lm = tmp_path / "lm"
    shutil.copytree(base, lm)
    options = {"kind": "explicit", "model": str(lm), "pairs": str(pairs_file), "output": tmp_path / "run"}
    options["max_steps"] = 1

    def train():
        return run_training(TrainRequest(**options))

    def score():
        return run_scoring(
            ScoreRequest(model=str(tmp_path / "run"), pairs=(str(pairs_file),), output=tmp_path / "scores")
        )

    train(), score()
    hashes = json.loads((tmp_path / "run" / "provenance.json").read_text())["inputs"]
    assert len(hashes["model"][str(lm)]) == len(hashes["pairs"][str(pairs_file)]) == 64
    before = pairs_file.read_text()
    pairs_file.write_text(before.replace("Is 3 even?", "Is 3 odd?"))
    for command in (train, score):
        with pytest.raises(UserError, match=r"content of --pairs .*pairs\.jsonl has changed.*--output"):
            command()
    pairs_file.write_text(before)
    train()
    save_reward_model(start("explicit"), tokenizer(), tmp_path / "run" / "model", random_pairs(2))
    with pytest.raises(UserError, match="content of --model"):
        score()
    language_model(seed=7).save_pretrained(lm)
    with pytest.raises(UserError, match="content of --model"):
        train()


def test_eval_pairs_that_do_not_fit_are_found_before_training(tmp_path, pairs_file, monkeypatch):
    import llm_experiments.training as training

    language_model(max_position_embeddings=64).save_pretrained(tmp_path / "lm")
    tokenizer().save_pretrained(tmp_path / "lm")
    (tmp_path / "long.jsonl").write_text(json.dumps({"prompt": "a " * 60, "chosen": "b", "rejected": "c"}) + "\n")
    monkeypatch.setattr(training, "train_reward_model", lambda *_, **__: pytest.fail("trained first"))
    refused(
        tmp_path,
        tmp_path / "lm",
        pairs_file,
        "--max_length 64",
        eval_pairs=(str(tmp_path / "long.jsonl"),),
        max_steps=1,
    )


def test_a_trained_model_outlives_a_mistake_in_what_follows(base, pairs_file, tmp_path, monkeypatch):
    import llm_experiments.training as training

    request = TrainRequest(
        kind="explicit", model=str(base), pairs=str(pairs_file), output=tmp_path / "run", max_steps=1
    )

    def fails(*_, **__):
        raise UserError("pair 'x': its reward is not a finite number")

    with monkeypatch.context() as patch:
        patch.setattr(training, "score_source", fails)
        with pytest.raises(UserError, match="finite"):
            run_training(request)
    assert read_manifest(tmp_path / "run" / "model")["kind"] == "explicit"
    monkeypatch.setattr(training, "train_reward_model", lambda *_, **__: pytest.fail("trained again"))
    assert run_training(request)["pairs"]["n"] == 8


def test_beta_of_a_foreign_policy(base, pairs_file, tmp_path, capsys):
    """From its config, else 1 with a note; it scales margins and changes no ranking."""
    policy = tmp_path / "policy"
    language_model(seed=3).save_pretrained(policy)
    tokenizer().save_pretrained(policy)

    def margin(name, **flags):
        scored = run_scoring(
            ScoreRequest(
                model=str(policy), kind="implicit", reference=str(base), pairs=(str(pairs_file),),
                output=tmp_path / name, **flags,
            )
        )  # fmt: skip
        return scored["pairs"]["absolute_margin"], "beta: 1" in capsys.readouterr().err

    one, noted = margin("one")
    assert noted
    assert margin("given", beta=0.5) == (pytest.approx(0.5 * one), False)
    config = json.loads((policy / "config.json").read_text())
    (policy / "config.json").write_text(json.dumps(config | {"beta": 0.25}))
    assert margin("own") == (pytest.approx(0.25 * one), False)


def refused(tmp_path, base, pairs_file, match, **changes):
    """The command ends with a one-line UserError and leaves nothing behind."""
    options = {"kind": "explicit", "model": str(base), "pairs": str(pairs_file), "output": tmp_path / "run"} | changes
    with pytest.raises(UserError, match=match) as caught:
        run_training(TrainRequest(**options))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_mistakes_end_in_one_line_and_leave_nothing_behind(base, pairs_file, tmp_path):
    refused(tmp_path, base, pairs_file, "no such file", pairs=str(tmp_path / "absent.jsonl"))
    refused(tmp_path, base, pairs_file, r"2 too long.*|no pair is left.*--max_length", max_length=3)
    refused(tmp_path, base, pairs_file, "no such folder, and no hub name", model=str(tmp_path / "absent"))
    refused(tmp_path, base, pairs_file, "not finite.*--learning_rate", learning_rate=1e30, max_steps=9)
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    refused(tmp_path, base, pairs_file, "is not empty and holds no run of ours", output=other)
    assert [path.name for path in Path(other).iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_products_leave_weights_heads_and_sums_as_they_are(kind):
    """Prompts are shared, the reference is computed alike, and losses are float32's up to the products' eight bits."""
    pairs, losses = random_pairs(4, prompt=40), []
    for bf16 in (True, False):
        model = start(kind)
        settings = TrainSettings(bf16=bf16, learning_rate=0.0, per_device_train_batch_size=4, logging_steps=1)
        rows = train_reward_model(model, pairs, settings)
        assert {weight.dtype for weight in model.parameters()} == {torch.float32}
        assert model.shared.on
        losses.append(rows[0]["loss"])
    assert losses[0] == pytest.approx(losses[1], abs=5e-2)
    if kind == "implicit":  # against itself a policy ties every pair, in any precision
        assert losses[0] == pytest.approx(np.log(2), abs=1e-6)
    else:
        assert losses[0] != losses[1]


def test_a_head_on_frozen_states_starts_from_its_reference_in_bfloat16_too():
    settings = TrainSettings(trainable="head", bf16=True, num_train_epochs=2.0, logging_steps=1)
    rows = train_reward_model(start("implicit"), random_pairs(8), settings)
    assert rows[0]["rewards/margins"] == pytest.approx(0, abs=1e-6)
    assert rows[0]["rewards/chosen"] == pytest.approx(0, abs=1e-6)


def test_an_architecture_without_the_fast_path_is_trained_plainly_and_said_so(
    base, pairs_file, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("llm_experiments.shared.ONE_MASK", ())
    words = [
        "--kind",
        "explicit",
        "--model",
        base,
        "--pairs",
        pairs_file,
        "--max_steps",
        1,
        "--output",
        tmp_path / "run",
    ]
    assert main(["train", *map(str, words)]) == 0
    note = "prompts are computed for chosen and rejected each (mistral has not been compared)"
    assert note in capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "provenance.json").read_text())["notes"] == [note]
