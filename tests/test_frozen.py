"""Heads on a frozen backbone: the states are computed once, and training goes as if they were computed every time."""

import numpy as np
import pytest
import torch

from llm_experiments.batches import collate_pairs
from llm_experiments.frozen import fitting_states, frozen_states
from llm_experiments.models import load_reward_model
from llm_experiments.settings import TrainSettings
from llm_experiments.training import train_reward_model
from tests.lm import KINDS, language_model, random_pairs, tokenizer

pytestmark = pytest.mark.integration
PAIRS = random_pairs(6)


def model_of(kind, pooling="last"):
    return load_reward_model(
        language_model(), kind, tokenizer=tokenizer(), pooling=pooling, end_id=PAIRS[0].chosen_ids[2], device="cpu"
    )


@pytest.mark.parametrize(
    ("kind", "pooling"), [*((kind, "last") for kind in KINDS), ("explicit", "mean"), ("explicit", "end_of_turn")]
)
def test_outputs_are_those_of_whole_rows(kind, pooling):
    model, numbers = model_of(kind, pooling), [4, 0, 1]
    whole = model(**collate_pairs([PAIRS[number] for number in numbers], kind))
    batch = frozen_states(model, PAIRS, 4).collate(numbers)
    if kind != "implicit":
        assert batch["hidden"].shape[1] == 1
    assert torch.allclose(model(**batch), whole, atol=1e-5)
    assert not torch.allclose(whole[0], whole[1], atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_training_is_the_same_and_asks_the_backbone_once(kind, monkeypatch):
    results, counts = [], []
    for frozen in (True, False):
        if not frozen:
            monkeypatch.setattr("llm_experiments.training.fitting_states", lambda *arguments: None)
        model, count = model_of(kind), [0]
        model.policy.base_model.register_forward_hook(lambda *_, count=count: count.__setitem__(0, count[0] + 1))
        settings = TrainSettings(
            trainable="head", learning_rate=1e-2, num_train_epochs=4.0, per_device_train_batch_size=2, logging_steps=1
        )
        rows = train_reward_model(model, PAIRS, settings)
        results.append([row["loss"] for row in rows if "loss" in row])
        counts.append(count[0])
    assert np.allclose(*results, atol=1e-4)
    assert np.ptp(results[0]) > 1e-3
    assert counts[0] <= 3 < 12 <= counts[1]


def test_states_that_would_not_fit_are_not_kept(monkeypatch, capsys):
    monkeypatch.setattr("llm_experiments.frozen._available_bytes", lambda: 64)
    assert fitting_states(model_of("explicit"), PAIRS, 4) is None
    assert "computed in every pass" in capsys.readouterr().err
