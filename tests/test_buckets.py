"""Steps of similar length: every pair once an epoch, by the seed and the epoch alone, and little padding."""

import pytest
import torch

from llm_experiments.buckets import LengthBuckets
from llm_experiments.models import load_reward_model
from llm_experiments.settings import TrainSettings
from llm_experiments.training import train_reward_model
from tests.lm import language_model, random_pairs

LENGTHS = torch.randint(1, 200, (1003,), generator=torch.Generator().manual_seed(0)).tolist()


def epoch(seed=0, number=0, size=4):
    sampler = LengthBuckets(LENGTHS, size, seed)
    sampler.set_epoch(number)
    return list(sampler)


def test_every_pair_once_an_epoch_by_seed_and_epoch_alone():
    orders = [epoch(), epoch(), epoch(number=1), epoch(seed=1)]
    assert all(sorted(order) == list(range(len(LENGTHS))) for order in orders)
    assert orders[0] == orders[1]
    assert orders[2] != orders[0] != orders[3] != orders[2]


def test_steps_have_similar_lengths_in_random_order():
    steps = [[LENGTHS[i] for i in epoch()[at : at + 4]] for at in range(0, 1000, 4)]
    assert sum(max(step) - min(step) for step in steps) / len(steps) < 5  # unsorted: 120
    longest = torch.tensor([max(step) for step in steps]).float()
    place = torch.arange(len(steps)).float()
    assert abs(float(torch.corrcoef(torch.stack([longest, place]))[0, 1])) < 0.2


@pytest.mark.integration
def test_training_takes_them_and_says_what_it_cost():
    model, pairs, costs = load_reward_model(language_model(), "implicit", device="cpu"), random_pairs(8), []
    seen = []
    settings = TrainSettings(per_device_train_batch_size=2, group_by_length=True, num_train_epochs=2.0)
    forward = model.forward
    model.forward = lambda **batch: seen.append(batch["attention_mask"].sum(1).tolist()) or forward(**batch)
    train_reward_model(model, pairs, settings, on_cost=costs.append)
    assert len(seen) == 2 + 2 * 4  # two probes of the time come first
    (row,) = costs
    assert row["estimated"].keys() == row["measured"].keys() == {"memory", "seconds"}
    assert row["within"]["memory"]
    assert all(weight.grad is None for weight in model.parameters())
