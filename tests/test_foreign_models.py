"""Reward models that others saved: read as they were meant, or refused with one line that says why."""

import json
import shutil

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
)

from llm_experiments.encoding import encode_pairs
from llm_experiments.models import load_reward_model
from llm_experiments.pairs import load_pairs
from llm_experiments.scoring import run_scoring
from llm_experiments.settings import ScoreRequest
from simulations.results import UserError, read_json, read_rows
from tests.lm import VOCABULARY, language_model, tokenizer

pytestmark = pytest.mark.integration


@pytest.fixture
def pairs_file(tmp_path):
    path = tmp_path / "pairs.jsonl"
    lines = [{"prompt": f"Is {i} even?", "chosen": f" Yes {i}", "rejected": f" No, {i} isn't"} for i in range(4)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def encoded(pairs_file):
    return encode_pairs(load_pairs(pairs_file), tokenizer())[0]


def saved(model, folder):
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def classifier(*, labels=1, pad=0):
    config = language_model("mistral").config
    config.num_labels, config.pad_token_id = labels, pad
    torch.manual_seed(3)
    return AutoModelForSequenceClassification.from_config(config).eval()


def with_lora(model, task, **options):
    torch.manual_seed(5)
    adapter = get_peft_model(model, LoraConfig(r=4, task_type=task, init_lora_weights=False, **options))
    return adapter.eval()


def score(folder, pairs_file, name="scores", **options):
    output = pairs_file.parent / name
    run_scoring(ScoreRequest(model=str(folder), pairs=(str(pairs_file),), output=output, **options))
    rows = read_rows(output / "scores" / "pairs.jsonl")
    return rows, np.array([[row["scores_chosen"], row["scores_rejected"]] for row in rows])


def refused(folder, pairs_file, match, **options):
    with pytest.raises(UserError, match=match) as caught:
        score(folder, pairs_file, **options)
    assert "\n" not in str(caught.value)
    assert not (pairs_file.parent / "scores").exists()


@torch.no_grad()
def alone(model, pairs_file, cut=0):
    """A classifier's logits, one sequence at a time; `cut` tokens early."""
    values = [
        [
            float(model(torch.tensor([p.sequence("explicit", side)[0]])[:, : -cut or None]).logits[0, 0])
            for side in sides
        ]
        for sides in [("chosen", "rejected")]
        for p in encoded(pairs_file)
    ]
    return np.array(values)


@torch.no_grad()
def log_probability(model, pairs_file):
    """Sums over the response from full logits, one sequence at a time."""

    def one(ids, start):
        logs = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1)
        return float(logs[range(start - 1, len(ids) - 1), ids[start:]].sum())

    return np.array(
        [[one(*p.sequence("implicit", side)) for side in ("chosen", "rejected")] for p in encoded(pairs_file)]
    )


def test_a_sequence_classifier_scores_as_it_does_itself(tmp_path, pairs_file, capsys):
    model = classifier()
    _, ours = score(saved(model, tmp_path / "model"), pairs_file)
    assert np.allclose(ours, alone(model, pairs_file), rtol=1e-5, atol=1e-5)
    assert np.ptp(ours) > 1e-3
    assert "another token" not in capsys.readouterr().err


def test_a_classifier_whose_padding_ends_responses_is_read_at_the_last_token_and_said_so(tmp_path, pairs_file, capsys):
    model = classifier(pad=tokenizer().eos_token_id)
    _, ours = score(saved(model, tmp_path / "model"), pairs_file)
    early = alone(model, pairs_file)
    assert np.abs(ours - early).max() > 1e-3
    model.config.pad_token_id = 0
    assert np.allclose(ours, alone(model, pairs_file), rtol=1e-5, atol=1e-5)
    assert np.allclose(early, alone(model, pairs_file, cut=1), rtol=1e-5, atol=1e-5)
    assert "the plain classifier reads another token" in capsys.readouterr().err
    assert "another token" in read_json(tmp_path / "scores" / "provenance.json")["notes"][0]


def test_classifiers_that_are_no_reward_models_are_refused(tmp_path, pairs_file):
    refused(saved(classifier(labels=3), tmp_path / "three"), pairs_file, "with 3 outputs.*num_labels=1")
    folder = saved(classifier(), tmp_path / "headless")
    tensors = load_file(folder / "model.safetensors")
    del tensors["score.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    refused(folder, pairs_file, r"score\.weight is not in its files and would be random")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    bert = BertForSequenceClassification(BertConfig(vocab_size=VOCABULARY, num_labels=1, **sizes))
    refused(saved(bert, tmp_path / "bert"), pairs_file, "BertForSequenceClassification has no linear head")
    refused(tmp_path / "headless", pairs_file, "is a sequence classifier.*--kind explicit", kind="implicit")


@pytest.mark.parametrize("place", ["model.safetensors", "value_head.safetensors"])
def test_value_heads_inside_the_model_and_beside_it(tmp_path, pairs_file, place):
    model = language_model("mistral")
    folder = saved(model, tmp_path / "model")
    torch.manual_seed(4)
    head = {"v_head.summary.weight": torch.randn(1, 32), "v_head.summary.bias": torch.randn(1)}
    tensors = load_file(folder / "model.safetensors") if place == "model.safetensors" else {}
    save_file(tensors | head, folder / place, metadata={"format": "pt"})
    _, ours = score(folder, pairs_file)
    with torch.no_grad():
        states = [
            [model.base_model(torch.tensor([p.sequence("explicit", s)[0]])).last_hidden_state[0, -1] for s in sides]
            for sides in [("chosen", "rejected")]
            for p in encoded(pairs_file)
        ]
    theirs = [
        [float(h @ head["v_head.summary.weight"][0] + head["v_head.summary.bias"]) for h in row] for row in states
    ]
    assert np.allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    head["v_head.out.weight"] = torch.randn(1, 1)
    save_file(tensors | head, folder / place, metadata={"format": "pt"})
    shutil.rmtree(tmp_path / "scores")
    refused(folder, pairs_file, "not one linear layer")


def test_a_plain_language_model_gives_p_yes_but_no_explicit_reward(tmp_path, pairs_file):
    folder = saved(language_model("mistral"), tmp_path / "model")
    refused(folder, pairs_file, "no reward head.*would be a random number.*--kind", kind="explicit")
    refused(folder, pairs_file, "does not say which kind")
    rows, ours = score(folder, pairs_file, kind="generative")
    assert np.all((ours > 0) & (ours < 1))
    assert {"log_odds_chosen", "log_odds_rejected"} <= rows[0].keys()


def test_a_policys_reference_is_found_in_its_model_card_and_named(tmp_path, pairs_file, capsys):
    policy, base = language_model("mistral"), language_model("mistral", seed=1)
    folder, other = saved(policy, tmp_path / "policy"), saved(base, tmp_path / "base")
    refused(folder, pairs_file, "does not say what it was trained from.*--reference", kind="implicit")
    (folder / "README.md").write_text(f"---\nbase_model: {other}\ntags: [dpo]\n---\n# a policy\n")
    capsys.readouterr()
    rows, ours = score(folder, pairs_file, kind="implicit")
    said = capsys.readouterr().err
    assert f"reference: {other} (base_model in its README.md)" in said
    assert "beta: 1 (" in said
    ratio = log_probability(policy, pairs_file) - log_probability(base, pairs_file)
    assert np.allclose(ours, ratio, atol=1e-3)
    for row in rows:
        for side in ("chosen", "rejected"):
            assert row[f"per_token_{side}"] == row[f"scores_{side}"] / row[f"n_tokens_{side}"]
    _, without = score(folder, pairs_file, "without", kind="implicit", reference="none")
    assert np.allclose(without, log_probability(policy, pairs_file), atol=1e-3)
    _, named = score(folder, pairs_file, "named", kind="implicit", reference=str(other), beta=0.5)
    assert np.allclose(named, ours / 2)


def test_a_policy_is_not_scored_against_itself(tmp_path, pairs_file):
    folder = saved(language_model("mistral"), tmp_path / "policy")
    copy = saved(language_model("mistral"), tmp_path / "copy")
    for place in (folder, copy):
        refused(folder, pairs_file, "every reward is 0; give --reference", kind="implicit", reference=str(place))


def test_a_reference_of_another_size_or_with_other_tokens_is_refused(tmp_path, pairs_file):
    folder = saved(language_model("mistral"), tmp_path / "policy")
    larger = language_model("mistral")
    larger.resize_token_embeddings(VOCABULARY + 8)
    place = saved(larger, tmp_path / "larger")
    refused(folder, pairs_file, "it has 308 tokens, the policy 300", kind="implicit", reference=str(place))
    place = saved(language_model("mistral", seed=1), tmp_path / "swapped")
    text = (place / "tokenizer.json").read_text(encoding="utf-8")
    vocabulary = json.loads(text)
    words = vocabulary["model"]["vocab"]
    words["A"], words["B"] = words["B"], words["A"]
    (place / "tokenizer.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    refused(
        folder, pairs_file, "tokenizer differs from the policy's in 2 tokens", kind="implicit", reference=str(place)
    )
    refused(folder, pairs_file, "reference .*no such folder", kind="implicit", reference=str(tmp_path / "absent"))


def test_an_adapters_base_is_its_reference_and_needs_no_second_model(tmp_path, pairs_file, capsys):
    base = saved(language_model("mistral"), tmp_path / "base")
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    adapter = with_lora(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), "CAUSAL_LM")
    adapter.save_pretrained(tmp_path / "adapter")
    _, ours = score(tmp_path / "adapter", pairs_file, kind="implicit")  # without a tokenizer of its own
    assert f"reference: {base} (the adapter's base)" in capsys.readouterr().err
    merged = adapter.merge_and_unload()
    ratio = log_probability(merged, pairs_file) - log_probability(plain, pairs_file)
    assert np.allclose(ours, ratio, atol=1e-3)
    assert np.abs(ours).max() > 1
    model = load_reward_model(tmp_path / "adapter", "implicit", trained=True)
    assert model.reference is model.policy
    shutil.rmtree(tmp_path / "scores")
    refused(tmp_path / "adapter", pairs_file, "no reward head", kind="explicit")
    (tmp_path / "adapter" / "adapter_model.safetensors").rename(tmp_path / "adapter" / "adapter_model.bin")
    refused(tmp_path / "adapter", pairs_file, "pickles are not read", kind="implicit")


def test_a_classifiers_adapter_brings_its_head_or_is_refused(tmp_path, pairs_file):
    base = saved(language_model("mistral"), tmp_path / "base")
    theirs = with_lora(
        AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, dtype=torch.float32), "SEQ_CLS"
    )
    theirs.save_pretrained(tmp_path / "adapter")
    _, ours = score(tmp_path / "adapter", pairs_file)
    assert np.allclose(ours, alone(theirs, pairs_file), rtol=1e-5, atol=1e-5)
    assert np.ptp(ours) > 1e-3
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    save_file({name: tensor for name, tensor in load_file(path).items() if "score" not in name}, path)
    shutil.rmtree(tmp_path / "scores")
    refused(tmp_path / "adapter", pairs_file, "saved without its head")


def test_damaged_files_end_in_one_line(tmp_path, pairs_file):
    folder = saved(classifier(), tmp_path / "model")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:100])
    refused(folder, pairs_file, "no model could be loaded")
    (folder / "model.safetensors").write_bytes(whole)
    (folder / "config.json").write_text("{")
    refused(folder, pairs_file, "config.json", kind="explicit")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("form", ["classifier", "adapter", "implicit"])
def test_models_of_others_on_a_gpu_score_as_on_the_cpu(tmp_path, pairs_file, form):
    base = saved(language_model("mistral"), tmp_path / "base")
    options = {"kind": "implicit"} if form == "implicit" else {}
    if form == "classifier":
        folder = saved(classifier(), tmp_path / "model")
    else:
        policy = form == "implicit"
        loader = AutoModelForCausalLM if policy else AutoModelForSequenceClassification
        task, labels = ("CAUSAL_LM", {}) if policy else ("SEQ_CLS", {"num_labels": 1})
        folder = tmp_path / "adapter"
        with_lora(loader.from_pretrained(base, dtype=torch.float32, **labels), task).save_pretrained(folder)
    found = [score(folder, pairs_file, device, device=device, **options)[1] for device in ("cpu", "cuda")]
    assert np.allclose(*found, rtol=1e-3, atol=1e-3)  # other kernels, other order of sums
