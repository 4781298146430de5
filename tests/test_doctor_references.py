"""The doctor on answers and references: which tokens are read, and whether two models belong together."""

import copy

import pytest
import torch

from llm_experiments.doctor import language
from llm_experiments.models import RewardModel, answer_tokens
from tests.lm import language_model, tokenizer
from tests.patients import disturbed, findings, probe_pairs, unsound, write

pytestmark = pytest.mark.integration


def test_answers_that_are_said_in_another_spelling():
    model = language_model("mistral", tied=False)
    other = tokenizer()(" No", add_special_tokens=False)["input_ids"]
    assert len(other) == 1
    # a constant direction in every hidden state, which only " No" answers to
    model.model.norm.register_forward_hook(
        lambda _, __, output: torch.cat([output[..., :-1], 9 + 0 * output[..., -1:]], -1)
    )
    model.lm_head.weight.data[:, -1] = 0
    model.lm_head.weight.data[other[0], -1] = 2.0
    reader = RewardModel("generative", model, answers=answer_tokens(tokenizer()))
    found = language.check_answer_mass(reader, tokenizer(), probe_pairs(), wanted=True)
    assert found.status == "warning"
    assert "' No'" in found.detail
    assert language.check_answer_mass(reader, tokenizer(), probe_pairs(), wanted=False).status == "ok"


def test_references(tmp_path):
    policy = write(tmp_path / "policy", disturbed())
    base = write(tmp_path / "base", language_model("mistral"))
    found = findings(policy, kind="implicit", reference=str(base))
    assert not unsound(found)
    assert 0 < found["reference"].measured < 1
    assert findings(policy, kind="implicit", reference=str(policy))["reference"].status == "problem"
    stranger = language_model("mistral", seed=9, tied=False)
    stranger.lm_head.weight.data.mul_(5)  # random as it is, it has opinions
    write(tmp_path / "stranger", stranger)
    assert findings(policy, kind="implicit", reference=str(tmp_path / "stranger"))["reference"].status == "warning"


def test_a_reference_of_another_vocabulary(tmp_path):
    model = language_model("mistral")
    model.resize_token_embeddings(310)
    policy, other = write(tmp_path / "policy", disturbed()), write(tmp_path / "other", model)
    found = findings(policy, kind="implicit", reference=str(other))
    assert found["reference size"].status == "problem"
    assert "reference" not in found
    one = copy.deepcopy(tokenizer())
    one.add_tokens(["<extra>"])
    one.save_pretrained(other)
    assert findings(policy, kind="implicit", reference=str(other))["reference tokens"].status == "problem"


def test_noise_in_training_mode():
    model = language_model("mistral")
    reader = RewardModel("implicit", model, beta=1.0)
    assert language.check_start(reader, probe_pairs()).status == "ok"
    # dropout written as a function: no module whose probability could be set to zero
    model.model.norm.register_forward_hook(lambda m, _, output: torch.nn.functional.dropout(output, 0.1, m.training))
    assert language.check_start(reader, probe_pairs()).status == "problem"
