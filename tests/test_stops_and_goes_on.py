"""Training stops at the first number that is not finite, saying where; it goes on where memory does not suffice."""

import pytest
import torch

from llm_experiments.models import load_reward_model
from llm_experiments.scoring import score_pairs
from llm_experiments.settings import TrainSettings
from llm_experiments.training import train_reward_model
from simulations.results import UserError
from tests.lm import KINDS, language_model, random_pairs, tokenizer

pytestmark = pytest.mark.integration


def start(kind, **options):
    return load_reward_model(language_model(), kind, tokenizer=tokenizer(), **options)


def poison_output(module, inputs, output):
    first = output[0] if isinstance(output, tuple) else output
    first = first.clone()
    first[0] = float("nan")
    return (first, *output[1:]) if isinstance(output, tuple) else first


def poison_gradient(module, inputs, output):
    """Finite forwards, not finite backwards."""
    first = output[0] if isinstance(output, tuple) else output
    if first.requires_grad:
        first.register_hook(lambda gradient: gradient * float("inf"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_module_whose_output_is_not_finite_is_named_with_the_pairs(kind):
    model = start(kind)
    model.policy.base_model.layers[1].mlp.down_proj.register_forward_hook(poison_output)
    with pytest.raises(UserError, match=r"the loss is not finite at step 1 \(pairs pair/\d.*; first in .*layers.1.mlp"):
        train_reward_model(model, random_pairs(4), TrainSettings(max_steps=1))


@pytest.mark.parametrize("kind", KINDS)
def test_a_gradient_that_is_not_finite_stops_before_it_reaches_the_weights(kind):
    model = start(kind)
    before = [weight.detach().clone() for weight in model.parameters()]
    # the module's own hook multiplies what comes from above, so that the ones below see infinities first
    model.policy.base_model.layers[1].register_forward_hook(poison_gradient)
    stops = r"the gradient is not finite at step 1 \(pairs pair/.*; first in .*layers.1.*--learning_rate"
    with pytest.raises(UserError, match=stops):
        train_reward_model(model, random_pairs(4), TrainSettings(max_steps=1))
    assert all(torch.equal(new, old) for new, old in zip(model.parameters(), before, strict=True))


def test_a_stop_leaves_the_last_good_checkpoint(tmp_path):
    model = start("explicit")

    def poison(row):
        if row["step"] == 3:
            with torch.no_grad():
                model.policy.embed_tokens.weight.fill_(float("inf"))

    settings = TrainSettings(max_steps=6, save_steps=1, logging_steps=1, per_device_train_batch_size=4)
    with pytest.raises(UserError, match=r"loss is not finite at step 4 .*first in policy.embed_tokens"):
        train_reward_model(model, random_pairs(10), settings, on_log=poison, checkpoints=tmp_path)
    # the third was written after the log; what is broken is the memory of this process
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "step-00000002.safetensors",
        "step-00000003.safetensors",
    ]


def too_large(rows, *, backward=False, after=0, error=None):
    """A hook under which more than `rows` rows do not fit, forwards or only backwards; the first `after` times do."""
    calls = []
    error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def refuse(*_):
        raise error

    def hook(module, inputs, output):
        first = output[0] if isinstance(output, tuple) else output
        calls.append(None)
        if len(first) <= rows or len(calls) <= after:
            return
        if not backward:
            refuse()
        if first.requires_grad:
            first.register_hook(refuse)

    return hook


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_smaller_pieces_of_the_same_batch_give_the_same_weights(kind, accumulation, backward, capsys):
    """Two rows a pair: neither eight pairs fit nor four, two do. With accumulation, the second micro-batch is the first
    that fails, and the first one's gradients are computed again."""
    settings = TrainSettings(
        optim="sgd", learning_rate=1e-3, max_steps=2, logging_steps=1, gradient_accumulation_steps=accumulation
    )
    pairs, weights, logs = random_pairs(18), [], []
    for fits in (True, False):
        model = start(kind, dtype="float64")
        if not fits:
            layer = model.policy.base_model.layers[0].mlp
            layer.register_forward_hook(too_large(6, backward=backward, after=accumulation - 1))
        logs.append(train_reward_model(model, pairs, settings))
        weights.append(torch.cat([weight.detach().flatten() for weight in model.parameters()]))
    assert torch.allclose(weights[0], weights[1], rtol=1e-9, atol=1e-12)
    assert "out of memory with 8 pairs per forward pass; going on with 4" in capsys.readouterr().err
    assert [row.get("micro_batch") for row in logs[0]] == [None] * 3
    assert [row["micro_batch"] for row in logs[1]] == [2] * 3
    for row, other in zip(*logs, strict=True):
        for name in {"loss", "grad_norm", "rewards/chosen", "rewards/accuracies", "train_loss"} & row.keys():
            assert row[name] == pytest.approx(other[name], rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_do_not_depend_on_what_fits(kind):
    pairs, model = random_pairs(9), start(kind)
    expected = score_pairs(model, pairs)
    model.policy.base_model.layers[0].mlp.register_forward_hook(too_large(3))
    for row, other in zip(score_pairs(model, pairs), expected, strict=True):
        for name in ("scores_chosen", "scores_rejected"):
            assert row[name] == pytest.approx(other[name], rel=1e-5, abs=1e-5)


def test_one_pair_that_does_not_fit_is_named_and_other_errors_are_not_swallowed():
    settings = TrainSettings(max_steps=1)
    model = start("explicit")
    model.policy.layers[0].mlp.register_forward_hook(too_large(0, error=MemoryError()))
    with pytest.raises(UserError, match=r"out of memory at step 1 with one pair at a time \(the longest is pair/"):
        train_reward_model(model, random_pairs(4), settings)
    model = start("explicit")
    model.policy.layers[0].mlp.register_forward_hook(too_large(0, error=RuntimeError("mat1 and mat2 shapes")))
    with pytest.raises(RuntimeError, match="mat1"):
        train_reward_model(model, random_pairs(4), settings)
