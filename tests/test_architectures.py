"""The laws of a reward model over every family x kind x padding x terminator x tying, and how many of those ran."""

from itertools import product

import numpy as np
import pytest
import torch

from llm_experiments.batches import collate_rows
from llm_experiments.encoding import encode_pairs
from llm_experiments.forward import Forward
from llm_experiments.models import load_reward_model, read_manifest
from llm_experiments.pairs import Pair
from llm_experiments.saving import save_reward_model
from llm_experiments.settings import EncodingSettings
from tests.lm import FAMILIES, KINDS, WINDOW, family, tokenizer

TERMINATORS = ("ensure", "as_is", "strip")
# the side of the padding and the token in it: id 0 is <pad>, 2 is <eos>, which also ends responses
PADDINGS = {"none": ("right", 0), "right": ("right", 0), "right_eos": ("right", 2), "left_eos": ("left", 2)}
WITHOUT_CLASSIFIER = ("cohere", "granite")  # transformers has none for these
PAIRS = [
    Pair("a", "", "Is it?", " Yes, it is.", " No, and it never was, whatever they say<eos>"),
    Pair("b", "", "What is the opposite of a very long night at sea?", " Day.", " I would not know."),
]


def rows(pairs, kind):
    return [
        (*pair.sequence(kind, side), len(pair.chosen_ids if side == "chosen" else pair.rejected_ids))
        for pair in pairs
        for side in ("chosen", "rejected")
    ]


def padded(some, side, pad_id):
    batch = collate_rows(some, pad_id=pad_id)
    if side == "right":
        return batch
    width = batch["input_ids"].shape[1]
    moved = {
        name: torch.stack([row.roll(width - len(ids)) for row, (ids, _, _) in zip(batch[name], some, strict=True)])
        for name in ("input_ids", "attention_mask", "response_mask")
    }
    return moved | {"position_ids": (moved["attention_mask"].cumsum(-1) - 1).clamp(min=0)}


@torch.no_grad()
def values(model, some, side="right", pad_id=0):
    """Rewards before beta: log-ratios, explicit rewards, P(Yes)."""
    batch = padded(some, side, pad_id)
    return model.rewards(model(**batch), model.reference_log_probabilities(batch)).numpy().astype(np.float64)


BETA = 0.5  # neither 0 nor 1, which equal their squares


def build(name, kind, *, tied):
    model = load_reward_model(family(name, tied=tied), kind, tokenizer=tokenizer(), beta=BETA, device="cpu")
    if kind == "implicit":  # another model as reference, or every reward were zero
        model._reference = Forward(family(name, tied=tied, seed=1).requires_grad_(False))
    return model


def check_batches(name, kind, tied, terminator):
    """Alone and in a batch under every padding, the pairs in another order and swapped; returns how many paddings were
    compared."""
    model = build(name, kind, tied=tied)
    some = rows(encode_pairs(PAIRS, tokenizer(), EncodingSettings(terminator=terminator))[0], kind)
    assert max(len(ids) for ids, _, _ in some) > 2 * WINDOW
    ends = [ids[start : start + length].count(tokenizer().eos_token_id) for ids, start, length in some]
    assert ends == {"ensure": [1, 1, 1, 1], "as_is": [0, 1, 0, 0], "strip": [0, 0, 0, 0]}[terminator]
    alone = np.concatenate([values(model, [row]) for row in some])
    assert np.ptp(alone) > 1e-4, "rewards must differ for this test to say anything"
    tokens = np.array([length for _, _, length in some])
    allowed = 1e-5 * (np.sqrt(tokens) if kind == "implicit" else np.maximum(1, np.abs(alone)))
    done = 0
    for padding, (side, pad_id) in PADDINGS.items():
        groups = [[row, row] for row in some] if padding == "none" else [some]
        places = [[i, i] for i in range(len(some))] if padding == "none" else [range(len(some))]
        for group, place in zip(groups, places, strict=True):
            worst = np.abs(values(model, group, side, pad_id) - alone[list(place)]) - allowed[list(place)]
            assert np.all(worst <= 0), (name, kind, tied, terminator, padding, worst + allowed[list(place)])
        done += 1
    mirrored = [Pair(pair.id, "", pair.prompt, pair.rejected, pair.chosen) for pair in PAIRS]
    swapped = rows(encode_pairs(mirrored, tokenizer(), EncodingSettings(terminator=terminator))[0], kind)
    margins = np.subtract(*values(model, some).reshape(-1, 2).T)
    worst = np.abs(np.subtract(*values(model, swapped).reshape(-1, 2).T) + margins) - 2 * allowed.reshape(-1, 2).max(1)
    assert np.all(worst <= 0), (name, kind, tied, terminator, "swapped")
    order = [3, 0, 2, 1]
    worst = np.abs(values(model, [some[place] for place in order]) - alone[order]) - allowed[order]
    assert np.all(worst <= 0), (name, kind, tied, terminator, "in another order")
    return done


def own_log_probabilities(policy, ids):
    """Of every next token, from the logits that the model itself computes."""
    with torch.no_grad():
        return torch.log_softmax(policy(torch.tensor([ids])).logits[0].float(), -1).double()


def beyond_the_cap(*policies):
    """Logits well beyond their soft cap, or a test would not see it."""
    for policy in policies:
        if cap := getattr(policy.config, "final_logit_softcapping", None):
            ids = torch.arange(40)[None]
            with torch.no_grad():
                raw = policy.get_output_embeddings()(policy.base_model(ids).last_hidden_state).abs().max()
                policy.get_output_embeddings().weight.mul_(5 * cap / raw)
                assert policy(ids).logits.abs().max() > 0.95 * cap


def check_by_hand(name, tied):
    """Every kind's reward from the model's own outputs on one unpadded row: the last hidden state under the head, beta
    times the log-ratio of the full logits, P(Yes)."""
    for kind in KINDS:
        model, pairs = build(name, kind, tied=tied), encode_pairs(PAIRS, tokenizer())[0]
        if kind != "explicit":
            beyond_the_cap(*(one for one in (model.policy, model.reference) if one is not None))
        for ids, start, length in rows(pairs, kind):
            found = float(values(model, [(ids, start, length)])[0])
            if kind == "explicit":
                with torch.no_grad():
                    last = model.policy(torch.tensor([ids])).last_hidden_state[0, -1]
                assert abs(found - float(last.double() @ model.head.weight[0].double())) <= 1e-5 * max(1, abs(found))
            elif kind == "implicit":
                places = range(start - 1, start + length - 1), ids[start : start + length]
                full = [own_log_probabilities(one, ids)[places].sum() for one in (model.policy, model.reference)]
                assert abs(found - BETA * float(full[0] - full[1])) <= 1e-5 * length
            else:
                yes, no = own_log_probabilities(model.policy, ids)[-1, list(model.answers)].exp().tolist()
                model.answers = model.answers[::-1]
                refused = float(values(model, [(ids, start, length)])[0])
                model.answers = model.answers[::-1]
                assert abs(found - yes) <= 1e-5
                assert abs(refused - no) <= 1e-5
                assert (
                    found + refused <= 1 + 1e-6
                )  # other words have a share: a softmax over the two alone would not do


def check_gradients(name, tied):
    """A reward moves with every weight as autograd through the model's own logits says: a tied matrix, too, gets each
    of its two uses once."""
    model, pairs = build(name, "implicit", tied=tied), encode_pairs(PAIRS, tokenizer())[0]
    for ids, start, length in rows(pairs[:1], "implicit"):
        wholes = {one: parameter for one, parameter in model.policy.named_parameters() if parameter.requires_grad}
        ours = torch.autograd.grad(model(**collate_rows([(ids, start, length)])).sum(), wholes.values())
        places = range(start - 1, start + length - 1), ids[start : start + length]
        own = torch.log_softmax(model.policy(torch.tensor([ids])).logits[0].float(), -1)[places].sum()
        for one, mine, theirs in zip(wholes, ours, torch.autograd.grad(own, wholes.values()), strict=True):
            # float32 through two layers with large weights, by another order of sums
            assert torch.allclose(mine, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max()) + 1e-6), (name, one)


def check_zero_margin(name, tied):
    model = load_reward_model(family(name, tied=tied), "implicit", device="cpu")
    assert not values(model, rows(encode_pairs(PAIRS, tokenizer())[0], "implicit")).any()


def check_reload(name, kind, tied, folder):
    model, pairs = build(name, kind, tied=tied), encode_pairs(PAIRS, tokenizer())[0]
    # the save itself compares probes with a reload, and explicit ones with a plain sequence classifier
    saved = save_reward_model(model, tokenizer(), folder, pairs)
    again = load_reward_model(saved, kind, tokenizer=tokenizer(), reference="none", device="cpu")
    if kind == "explicit":
        assert (read_manifest(saved)["format"] == "classifier") == (name not in WITHOUT_CLASSIFIER)
    some = rows(pairs, kind)
    for ids, start, length in some:
        batch = collate_rows([(ids, start, length)])
        with torch.no_grad():
            # the same weights; where they lie in memory may change a last digit
            assert torch.allclose(model(**batch), again(**batch), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_of_the_cross_product(kind):
    assert check_batches("gemma2", kind, False, "ensure") == len(PADDINGS)


@pytest.mark.integration
def test_rewards_are_the_pairs_own_over_the_whole_cross_product():
    ran = sum(check_batches(*combination) for combination in product(FAMILIES, KINDS, (True, False), TERMINATORS))
    assert ran == 12 * 3 * 2 * 3 * 4 == 864


@pytest.mark.integration
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", FAMILIES)
def test_rewards_are_those_of_the_models_own_outputs_and_margins_start_at_zero(name, tied):
    check_by_hand(name, tied)
    check_gradients(name, tied)
    check_zero_margin(name, tied)


@pytest.mark.integration
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_and_kind_reloads_to_the_same_values(name, tied, tmp_path):
    for kind in KINDS:
        check_reload(name, kind, tied, tmp_path / kind)
