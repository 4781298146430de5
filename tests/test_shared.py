"""A prompt computed once for both responses: outputs and gradients as with a row for each, in every family."""

import pytest
import torch

from llm_experiments.batches import collate_pairs, collate_rows, plan_batches
from llm_experiments.models import load_reward_model
from llm_experiments.shared import SharedPrompts, attention_masks, share_rows
from tests.lm import FAMILIES, KINDS, family, random_pairs, tokenizer

NAMES = ("input_ids", "attention_mask", "position_ids")


def batch_of(pairs, kind="implicit"):
    batch = collate_pairs(pairs, kind)
    return batch, tuple(batch[name] for name in NAMES)


def test_a_shared_row_is_the_prompt_then_both_responses_which_do_not_see_each_other():
    rows = [((5, 6, 7, 8), 3, 1), ((5, 6), 1, 1), ((5, 6, 7, 9, 9), 3, 2), ((5, 6, 4), 1, 2)]
    batch = collate_rows(rows)
    shared = share_rows(*(batch[name] for name in NAMES))
    assert shared.input_ids[0].tolist() == [5, 6, 7, 8, 9, 9]
    assert shared.position_ids[0].tolist() == [0, 1, 2, 3, 3, 4]
    assert shared.input_ids[1, :3].tolist() == [5, 6, 4]  # the first row is the beginning of the second
    sees = [[1], [1, 1], [1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0, 1], [1, 1, 1, 0, 1, 1]]
    for query, wanted in enumerate(sees):
        assert shared.visible[0, query].int().tolist() == wanted + [0] * (6 - len(wanted))
    back = shared.input_ids.reshape(-1)[shared.places].reshape(4, -1)
    for row, (ids, _, _) in zip(back.tolist(), rows, strict=True):
        assert tuple(row[: len(ids)]) == ids


def test_nothing_is_shared_where_it_saves_nothing():
    short = random_pairs(2, prompt=3, response=30, jitter=False)
    assert share_rows(*batch_of(short)[1]) is None
    _, (ids, mask, positions) = batch_of(random_pairs(2, prompt=60, response=6, jitter=False))
    assert share_rows(ids, mask, positions) is not None
    assert share_rows(ids[:3], mask[:3], positions[:3]) is None
    left = (mask.flip(1).cumsum(1) - 1).clamp(min=0)
    assert share_rows(ids, mask, left + 1) is None


def test_every_row_is_in_one_batch_of_its_like():
    pairs = random_pairs(7, prompt=40, response=9) + random_pairs(4, prompt=2, response=30, seed=1)
    rows = [(*pair.sequence("implicit", side), 1) for pair in pairs for side in ("chosen", "rejected")]
    batches = plan_batches(rows, 4, paired=True)
    assert sorted(number for batch in batches for number in batch) == list(range(len(rows)))
    assert max(map(len, batches)) == 4
    assert all(batch[len(batch) // 2 :] == [number + 1 for number in batch[: len(batch) // 2]] for batch in batches[:4])
    lengths = [len(rows[batch[-1]][0]) for batch in batches[4:]]
    assert lengths == sorted(lengths)


def both_ways(model, batch):
    """Outputs and gradients of all parameters, shared and plain."""
    found = []
    for on in (True, False):
        model.shared.on = on
        model.zero_grad()
        output = model(**batch)
        weights = torch.linspace(-1, 2, output.numel(), dtype=output.dtype).reshape(output.shape)
        (output * weights).sum().backward()
        found.append((output.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}))
    return found


def check(name, kind, attention):
    base = family(name, tied=True)
    base.set_attn_implementation(attention)
    model = load_reward_model(base, kind, tokenizer=tokenizer(), device="cpu")
    pairs = random_pairs(3, prompt=50, response=12)  # longer than the tests' sliding window
    if kind == "generative":  # whose common beginning is its own prompt
        pairs = [p.__class__(p.id, "", p.prompt_ids, p.chosen_ids, p.rejected_ids, p.prompt_ids, (4, 5)) for p in pairs]
    batch, rows = batch_of(pairs, kind)
    assert share_rows(*rows) is not None
    assert model.shared.on
    (output, gradients), (plain, others) = both_ways(model, batch)
    assert model.shared.reason == ""
    assert torch.allclose(output.double(), plain.double(), atol=1e-5 * float(plain.abs().max().clamp(min=1)))
    assert gradients.keys() == others.keys()
    assert all((gradients[n] - others[n]).abs().max() <= 1e-4 * others[n].abs().max() + 1e-6 for n in others)


def test_a_shared_prompt_changes_nothing():
    check("gemma2", "implicit", "eager")


@pytest.mark.integration
@pytest.mark.parametrize("name", FAMILIES)
def test_a_shared_prompt_changes_nothing_in_any_family_kind_and_attention(name):
    for attention in ("eager",) if name == "gemma2" else ("eager", "sdpa"):
        for kind in KINDS:
            check(name, kind, attention)


def test_a_family_that_takes_masks_otherwise_is_found_out_and_computed_plainly(monkeypatch):
    monkeypatch.setattr("llm_experiments.shared.ONE_MASK", ("gemma2",))  # in truth it takes one per layer
    monkeypatch.setattr("llm_experiments.shared._additive", lambda visible, dtype: visible.to(dtype)[:, None])
    model = load_reward_model(family("gemma2", tied=True), "implicit", device="cpu")
    batch, _ = batch_of(random_pairs(3, prompt=50, response=12))
    with pytest.warns(UserWarning, match="each: shared, hidden states differ"):
        found = model(**batch)
    assert not model.shared.on
    assert torch.equal(found, model(**batch))


def test_families_that_were_not_compared_are_computed_plainly_and_say_so():
    config = family("gemma", tied=True).config
    config.model_type = "mamba"
    assert SharedPrompts(config).reason == "mamba has not been compared"
    config.model_type, config._attn_implementation = "gemma", "flash_attention_2"
    assert "flash_attention_2" in SharedPrompts(config).reason
    assert not SharedPrompts(config).on


def test_a_window_is_measured_by_position():
    config = family("mistral_windowed", tied=True).config
    config.sliding_window = 2
    batch = collate_rows([((5, 6, 7, 8), 3, 1), ((5, 6, 7, 9, 9), 3, 2)])
    shared = share_rows(*(batch[name] for name in NAMES))
    mask = attention_masks(shared, config, torch.float32)[0, 0]
    assert (mask[4] == 0).nonzero().flatten().tolist() == [2, 4]  # the rejected response's first token sees the prompt
