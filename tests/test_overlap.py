"""The engine against the readable reference: every order, tile, chunk, cap, array type; and within its memory."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import theory.contraction as contraction
from theory import dynamics, overlap
from theory.contraction import contract, overlap_sums
from theory.dynamics import OutputLayer, Response, ResponsePair
from theory.overlap import (
    explicit_changes,
    generative_changes_bradley_terry,
    generative_changes_cross_entropy,
    implicit_changes,
    token_influences,
)
from theory.plan import Plan, choose_plan
from theory.stack import Stack

LAYERS = {"plain": (None, 1.0), "capped": (1.5, 1.0), "scaled": (None, 1.7), "capped and scaled": (2.0, 0.6)}
STEP = {"beta": 0.3, "step_size": 0.1}


def draw(seed=0, *, name="plain", vocabulary=40, dim=5, evaluated=3, pairs=2, longest=5, sharpness=1.0, equal=False):
    """(layer, evaluated responses, training pairs, reference log-ratios); lengths are drawn unless `equal`."""
    rng = np.random.default_rng(seed)

    def response() -> Response:
        n = longest if equal else int(rng.integers(1, longest + 1))
        return Response(rng.standard_normal((n, dim)), rng.integers(0, vocabulary, n))

    weights = sharpness * rng.standard_normal((vocabulary, dim)) / np.sqrt(dim)
    spoken = [response() for _ in range(evaluated)], [ResponsePair(response(), response()) for _ in range(pairs)]
    return OutputLayer(weights, *LAYERS[name]), *spoken, rng.standard_normal(pairs)


def as_torch(drawn, dtype=torch.float64):
    layer, evaluated, pairs, ratios = drawn

    def turn(response: Response) -> Response:
        return Response(torch.tensor(response.hidden, dtype=dtype), torch.tensor(response.tokens))

    turned = [ResponsePair(turn(pair.chosen), turn(pair.rejected)) for pair in pairs]
    layer = replace(layer, weights=torch.tensor(layer.weights, dtype=dtype))
    return layer, [turn(response) for response in evaluated], turned, torch.tensor(ratios)


def reference(drawn) -> np.ndarray:
    layer, evaluated, pairs, ratios = drawn
    return dynamics.implicit_change(layer, evaluated, pairs, reference_log_ratios=ratios, **STEP)


def engine(drawn, **options) -> np.ndarray:
    layer, evaluated, pairs, ratios = drawn
    prediction = implicit_changes(layer, evaluated, pairs, reference_log_ratios=ratios, **STEP, **options)
    return np.asarray(prediction.changes)


def error(ours: np.ndarray, truth: np.ndarray) -> float:
    return float(np.abs(ours - truth).max() / np.abs(truth).max())


@pytest.mark.parametrize("array", ["numpy", "torch"])
@pytest.mark.parametrize("order", ["factors, kept", "factors, twice", "tokens"])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(("sharpness", "unshifted"), [(1.0, 400.0), (20.0, 400.0), (20.0, 0.0)])
def test_every_order_tile_and_chunk_agrees_with_the_reference(
    name, order, array, sharpness, unshifted, tolerance, monkeypatch
):
    monkeypatch.setitem(contraction.UNSHIFTED, 8, unshifted)  # 0: exponentials relative to the highest logit so far
    drawn = draw(1, name=name, sharpness=sharpness)
    layer, evaluated, pairs, _ = drawn if array == "numpy" else as_torch(drawn)
    plan = Plan(order.split(",")[0], 0.0, 0.0, 7, (2, 1), order.endswith("kept"), 0)
    sums = contract(layer, Stack.of(layer, evaluated), Stack.of(layer, pairs), plan)
    margin = np.asarray(sums.trained_logprobs) - drawn[3]
    changes = 0.1 * 0.3**2 / (1 + np.exp(0.3 * margin)) * np.asarray(sums.values)
    assert error(changes, reference(drawn)) < tolerance["float64"]
    logprobs = [dynamics.log_probability(drawn[0], response) for response in drawn[1]]
    np.testing.assert_allclose(np.asarray(sums.evaluated_logprobs), logprobs, rtol=1e-12)


@pytest.mark.integration
@given(
    seed=st.integers(0, 10**6),
    vocabulary=st.sampled_from([2, 3, 40]),
    longest=st.sampled_from([1, 4]),
    sharpness=st.sampled_from([0.1, 1.0, 30.0]),
    name=st.sampled_from(list(LAYERS)),
)
def test_the_corners(seed, vocabulary, longest, sharpness, name):
    """One token, vocabularies of two and three, near-deterministic distributions, identical responses."""
    drawn = draw(seed, name=name, vocabulary=vocabulary, longest=longest, sharpness=sharpness)
    layer, evaluated, pairs, ratios = drawn
    pairs = [*pairs, ResponsePair(pairs[0].chosen, pairs[0].chosen)]
    drawn = layer, evaluated, pairs, np.append(ratios, 0.0)
    ours, truth = engine(drawn), reference(drawn)
    # The reference subtracts probabilities from one: good to 1e-16 of a coefficient of order one, not of a small one.
    np.testing.assert_allclose(ours, truth, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(ours[:, -1], 0, atol=1e-14)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("longest", [1, 12])
def test_float32_and_reduced_weights_agree_with_the_reference(name, longest, tolerance):
    drawn = draw(2, name=name, longest=longest, vocabulary=300, dim=16)
    assert error(engine(as_torch(drawn, torch.float32)), reference(drawn)) < tolerance["float32"]
    assert engine(as_torch(drawn, torch.float32)).dtype == np.float64
    layer, *rest = as_torch(drawn, torch.float32)
    rounded = replace(layer, weights=layer.weights.to(torch.bfloat16))
    widened = replace(layer, weights=rounded.weights.to(torch.float32))
    np.testing.assert_array_equal(engine((rounded, *rest)), engine((widened, *rest)))  # widened a chunk at a time


@pytest.mark.parametrize("order", ["factors, kept", "factors, twice", "tokens"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_logits_whose_exponentials_no_floating_point_number_holds_are_shifted(order, dtype):
    drawn = draw(12, sharpness=3000.0 if dtype == torch.float64 else 300.0)
    layer, evaluated, pairs, _ = as_torch(drawn, dtype)
    plan = Plan(order.split(",")[0], 0.0, 0.0, 7, (3, 2), order.endswith("kept"), 0)
    ours = contract(layer, Stack.of(layer, evaluated), Stack.of(layer, pairs), plan).values.numpy()
    assert drawn[0].logits(drawn[1][0].hidden).max() > {torch.float64: 710, torch.float32: 89}[dtype]
    truth = reference_by_factors(drawn)
    assert error(ours, truth) < {torch.float64: 1e-11, torch.float32: 1e-3}[dtype]


@pytest.mark.parametrize("order", ["factors, kept", "factors, twice", "tokens"])
@pytest.mark.parametrize(("dtype", "bits"), [(torch.float64, 900), (torch.float32, 100)])
def test_so_are_logits_whose_exponentials_are_numbers_but_products_of_two_are_not(order, dtype, bits):
    layer, evaluated, pairs, ratios = draw(14)
    along = np.eye(5)[0]  # all states point along it, and so all have their highest logit, `bits`, at the same word

    def pointed(response: Response) -> Response:
        return Response(0.001 * response.hidden + along, response.tokens)

    weights = np.outer(np.linspace(-1, 1, 40), along) * bits / contraction.BITS + 0.1 * layer.weights
    pairs = [ResponsePair(pointed(pair.chosen), pointed(pair.rejected)) for pair in pairs]
    drawn = replace(layer, weights=weights), [pointed(response) for response in evaluated], pairs, ratios
    layer, evaluated, pairs, _ = as_torch(drawn, dtype)
    plan = Plan(order.split(",")[0], 0.0, 0.0, 7, (3, 2), order.endswith("kept"), 0)
    ours = contract(layer, Stack.of(layer, evaluated), Stack.of(layer, pairs), plan).values.numpy()
    assert error(ours, reference_by_factors(drawn)) < {torch.float64: 1e-11, torch.float32: 1e-3}[dtype]


def test_no_graph_is_recorded_and_none_is_needed():
    drawn = draw(3)
    layer, evaluated, pairs, ratios = as_torch(drawn)
    layer.weights.requires_grad_()
    evaluated = [Response(response.hidden.requires_grad_(), response.tokens) for response in evaluated]
    changes = implicit_changes(layer, evaluated, pairs, reference_log_ratios=ratios, **STEP).changes
    assert not changes.requires_grad
    assert error(changes.numpy(), reference(drawn)) < 1e-12


def test_a_confident_model_loses_no_digits_in_float32():
    # Every token is predicted with 1 - p near 1e-5: a match is worth about (1 - p)(1 - q) = 1e-10, which the formula
    # 1 - q - p + <p, q> cannot hold in float32. Tokens are placed where the logits point.
    layer, evaluated, pairs, ratios = draw(4, vocabulary=30, dim=30, longest=6)
    layer = replace(layer, weights=12.0 * np.eye(30))

    def confident(response: Response) -> Response:
        noise = 0.02 * response.hidden
        return Response(np.eye(30)[response.tokens] * 1.2 + noise, response.tokens)

    pairs = [ResponsePair(confident(p.chosen), confident(p.rejected)) for p in pairs]
    drawn = layer, [confident(r) for r in evaluated], pairs, ratios
    probability = layer.probabilities(drawn[1][0].hidden)[0, drawn[1][0].tokens[0]]
    assert 1e-6 < 1 - probability < 1e-4
    exact = contract(*_stacks(drawn), choose_plan([6], [12], 30, 30)).values
    for order in ("factors", "tokens"):
        plan = Plan(order, 0.0, 0.0, 7, (3, 2), True, 0)
        ours = contract(*_stacks(as_torch(drawn, torch.float32)), plan).values
        # Logits near 14 are good to 1e-6 in float32, and so is every 1 - p, relatively.
        assert error(ours.numpy(), exact) < 1e-5


def _stacks(drawn):
    return drawn[0], Stack.of(drawn[0], drawn[1]), Stack.of(drawn[0], drawn[2])


@pytest.mark.parametrize("array", ["numpy", "torch"])
@pytest.mark.parametrize("name", LAYERS)
def test_explicit_and_generative_predictions_agree_with_the_reference(name, array, tolerance):
    layer = draw(5, name=name)[0]
    rng = np.random.default_rng(5)
    states = tuple(rng.standard_normal((n, 5)) for n in (4, 3, 3))
    head = rng.standard_normal(5)
    turn = torch.tensor if array == "torch" else np.asarray
    turned, turned_layer = [turn(s) for s in states], replace(layer, weights=turn(layer.weights))
    words = {"yes": 7, "step_size": 0.1}
    pairs = [
        (explicit_changes(turn(head), *turned, step_size=0.1), dynamics.explicit_change(head, *states, step_size=0.1)),
        (
            generative_changes_cross_entropy(turned_layer, *turned, no=9, **words),
            dynamics.generative_change_cross_entropy(layer, *states, no=9, **words),
        ),
        (
            generative_changes_bradley_terry(turned_layer, *turned, **words),
            dynamics.generative_change_bradley_terry(layer, *states, **words),
        ),
    ]
    for ours, truth in pairs:
        assert error(np.asarray(ours.changes), truth) < tolerance["float64"]


def test_the_margin_of_an_evaluated_pair_changes_by_the_difference_of_its_rewards(tolerance):
    layer, evaluated, pairs, ratios = draw(6, evaluated=4)
    couples = [ResponsePair(evaluated[0], evaluated[1]), ResponsePair(evaluated[2], evaluated[3])]
    single, double = engine((layer, evaluated, pairs, ratios)), engine((layer, couples, pairs, ratios))
    np.testing.assert_allclose(double, single[[0, 2]] - single[[1, 3]], atol=tolerance["float64"])


@pytest.mark.parametrize("name", LAYERS)
def test_the_heat_map_of_one_pair_holds_the_coefficients_and_sums_to_the_change(name, tolerance):
    drawn = draw(7, name=name)
    layer, evaluated, pairs, ratios = drawn
    influences = token_influences(layer, evaluated[1], pairs[0], reference_log_ratio=float(ratios[0]), **STEP, chunk=7)
    assert influences.contributions.sum() == pytest.approx(reference(drawn)[1, 0], abs=tolerance["float64"])
    halves = [dynamics.token_overlap_coefficients(layer, evaluated[1], r) for r in (pairs[0].chosen, pairs[0].rejected)]
    np.testing.assert_allclose(influences.coefficients, np.hstack(halves), atol=1e-13)


# --- plan and memory --------------------------------------------------------------------------------------------------


def test_the_plan_takes_the_order_with_fewer_operations():
    many_tokens, few_tokens = choose_plan([64] * 16, [128] * 16, 8192, 128), choose_plan([1] * 16, [2] * 16, 8192, 128)
    assert (many_tokens.order, few_tokens.order) == ("factors", "tokens")
    for plan in (many_tokens, few_tokens):
        assert plan.flops <= plan.flops_other_order
    # 2 V D (2 T + E N) and 2 V D T + 2 T' T'' (V + D), counted by hand.
    assert many_tokens.flops == 2 * 8192 * 128 * (2 * 3072 + 256)
    assert few_tokens.flops == 2 * 8192 * 128 * 48 + 2 * 16 * 32 * (8192 + 128)
    assert "contracting factors" in str(many_tokens)


def test_the_plan_of_a_real_vocabulary_fits_its_memory():
    plan = choose_plan([256] * 8, [512] * 8, 256_000, 2048, itemsize=4, memory=2**30)
    assert plan.workspace <= 2**30
    assert plan.flops < 2e13


@pytest.mark.parametrize("memory", [2**21, 2**22, 2**24])
@pytest.mark.parametrize("longest", [4, 40])
def test_the_memory_held_stays_within_the_budget(memory, longest):
    drawn = draw(8, vocabulary=2000, dim=32, evaluated=8, pairs=8, longest=longest, equal=True)
    expected = reference_by_factors(drawn)
    tracemalloc.start()
    sums = overlap_sums(drawn[0], drawn[1], drawn[2], memory=memory)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sums.plan.workspace <= memory
    assert peak <= memory + 2**18  # small objects: spans, index arrays, the interpreter's own
    assert error(sums.values, expected) < 1e-12


@pytest.mark.parametrize(
    ("order", "memory", "dim", "responses", "longest"),
    [("tokens", 2**22, 1024, 1, 1), ("tokens", 2**21, 256, 2, 9), ("factors", 2**22, 64, 6, 40)],
)
def test_so_it_does_with_16_bit_weights_which_are_widened_chunk_by_chunk(order, memory, dim, responses, longest):
    drawn = draw(8, vocabulary=4096, dim=dim, evaluated=responses, pairs=responses, longest=longest, equal=True)
    layer, *others = as_float32(drawn)
    layer = replace(layer, weights=layer.weights.astype(np.float16))
    overlap_sums(layer, *others, memory=memory)  # what a first call imports is none of its workspace
    tracemalloc.start()
    sums = overlap_sums(layer, *others, memory=memory)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sums.plan.order == order
    assert peak <= memory
    wide = replace(layer, weights=layer.weights.astype(np.float64)), *drawn[1:]
    assert error(sums.values, reference_by_factors(wide)) < 1e-4


def as_float32(drawn):
    def turn(response: Response) -> Response:
        return Response(response.hidden.astype(np.float32), response.tokens)

    layer, evaluated, pairs, _ = drawn
    return layer, [turn(r) for r in evaluated], [ResponsePair(turn(p.chosen), turn(p.rejected)) for p in pairs]


def reference_by_factors(drawn) -> np.ndarray:
    """<G, G'> with every gradient written out, for sizes at which the reference would take minutes."""
    layer, evaluated, pairs, _ = drawn

    def gradient(response: Response) -> np.ndarray:
        residual = np.eye(len(layer.weights))[response.tokens] - layer.probabilities(response.hidden)
        return residual.T @ response.hidden

    rows = np.stack([gradient(response) for response in evaluated])
    columns = np.stack([gradient(pair.chosen) - gradient(pair.rejected) for pair in pairs])
    return np.einsum("ivd,jvd->ij", rows, columns, optimize=True)


def test_too_little_memory_and_other_mistakes_are_named():
    layer, evaluated, pairs, _ = draw(9)
    with pytest.raises(ValueError, match="allow more memory"):
        overlap_sums(layer, evaluated, pairs, memory=100)
    with pytest.raises(ValueError, match="at least one"):
        overlap_sums(layer, [], pairs)
    with pytest.raises(ValueError, match="hidden\\[k\\] predicts token k"):
        overlap_sums(layer, [Response(np.zeros((2, 4)), np.array([0, 1]))], pairs)
    with pytest.raises(ValueError, match="0 to 39"):
        overlap_sums(layer, [Response(np.zeros((1, 5)), np.array([40]))], pairs)
    empty = [Response(np.zeros((0, 5)), np.zeros(0, dtype=np.int64)), *evaluated]
    assert np.all(overlap_sums(layer, empty, pairs).values[0] == 0)


# --- planted mistakes -------------------------------------------------------------------------------------------------


def slopes_forgotten(layer, raw, xp):
    original(layer, raw, xp)


original = contraction._shape_in_place


@pytest.mark.parametrize("longest", [1, 40])
@pytest.mark.parametrize("name", ["capped", "scaled"])
def test_a_forgotten_slope_is_caught(name, longest, monkeypatch):
    drawn = draw(10, name=name, longest=longest)
    truth = reference(drawn)
    assert error(engine(drawn), truth) < 1e-12
    monkeypatch.setattr(contraction, "_shape_in_place", slopes_forgotten)
    assert error(engine(drawn), truth) > 1e-2


@pytest.mark.parametrize("mutation", ["rejected added", "beta once", "reference forgotten"])
def test_a_wrong_assembly_is_caught(mutation, monkeypatch):
    drawn = draw(11)
    if mutation == "rejected added":
        plain = Stack.of
        monkeypatch.setattr(
            Stack, "of", lambda layer, items: replace(plain(layer, items), signs=np.abs(plain(layer, items).signs))
        )
        mutant = engine(drawn)
    elif mutation == "beta once":
        mutant = engine(drawn) / STEP["beta"]
    else:
        monkeypatch.setattr(
            overlap, "_losing", lambda sums, ratios, beta: 1 / (1 + np.exp(beta * sums.trained_logprobs))
        )
        mutant = engine(drawn)
    assert error(mutant, reference(drawn)) > 1e-2
