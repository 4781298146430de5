"""One-step formulas against autograd: exact for explicit models, else with an error of order step squared."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.one_step import FORMS, LAYERS, accepts, draw, measured_explicit, measured_implicit, predicted_implicit
from theory.dynamics import OutputLayer, Response, ResponsePair, explicit_change, implicit_change


@pytest.mark.parametrize("step_size", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("seed", range(3))
def test_the_explicit_formula_is_exact_at_any_step(seed, step_size):
    world = draw(seed)
    head = np.random.default_rng(seed + 100).standard_normal(5)
    predicted = explicit_change(head, *world.verification, step_size=step_size)
    measured = measured_explicit(world, head, step_size)
    # Rewards of order 10 and changes of order step size: rounding of either, nothing else.
    np.testing.assert_allclose(predicted, measured, rtol=1e-12, atol=1e-14 + 1e-13 * step_size)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", LAYERS)
def test_the_other_formulas_err_by_the_square_of_the_step(form, name):
    for seed in range(3):
        assert accepts(*FORMS[form], draw(seed, name=name)), (form, name, seed)


@pytest.mark.parametrize("form", FORMS)
def test_a_step_on_the_mean_loss_changes_the_mean_of_the_pairs_changes(form):
    # First order: the gradient of a mean is the mean of gradients. Each formula's batch prediction is its row mean.
    predict, _ = FORMS[form]
    world = draw(4)
    single = [predict(replace(world, pairs=[pair]), 1e-3)[:, 0] for pair in world.pairs]
    np.testing.assert_allclose(predict(world, 1e-3), np.stack(single, axis=1), atol=1e-15)


def test_the_first_implicit_step_scales_with_beta_squared():
    world = draw(5)
    world = replace(world, reference=world.layer)  # policy = reference: g = 1/2 whatever beta is
    np.testing.assert_allclose(
        predicted_implicit(world, 1e-3, beta=0.6), 4 * predicted_implicit(world, 1e-3, beta=0.3), rtol=1e-12
    )


def test_explicit_changes_ignore_a_shift_of_every_hidden_state_of_the_training_pair():
    world, head = draw(6), np.ones(5)
    evaluated, chosen, rejected = world.verification
    shift = np.linspace(-3, 3, 5)
    np.testing.assert_allclose(
        explicit_change(head, evaluated, chosen + shift, rejected + shift, step_size=0.5),
        explicit_change(head, evaluated, chosen, rejected, step_size=0.5),
        atol=1e-13,
    )


def test_identical_responses_teach_an_implicit_and_an_explicit_model_nothing():
    world = draw(7)
    same = [ResponsePair(p.chosen, p.chosen) for p in world.pairs]
    np.testing.assert_array_equal(predicted_implicit(replace(world, pairs=same), 1.0), 0)
    evaluated, chosen, _ = world.verification
    np.testing.assert_array_equal(explicit_change(np.ones(5), evaluated, chosen, chosen, step_size=1.0), 0)


def test_single_token_responses_to_one_prompt_move_unseen_tokens_by_the_same_amount():
    # The single-token theorem at one step: the difference of two unseen tokens stays, each of them moves.
    rng = np.random.default_rng(8)
    layer = OutputLayer(rng.standard_normal((6, 5)))
    h, other = rng.standard_normal((2, 1, 5))
    pair = ResponsePair(Response(h, np.array([0])), Response(h, np.array([1])))
    unseen = [Response(other, np.array([token])) for token in (2, 3)]
    seen = [Response(other, np.array([token])) for token in (0, 2)]
    change = implicit_change(
        layer, unseen + seen, [pair], reference_log_ratios=np.zeros(1), beta=1.0, step_size=1.0
    )[:, 0]  # fmt: skip
    assert change[0] == pytest.approx(change[1], abs=1e-15)
    assert abs(change[0]) > 1e-3
    assert abs(change[2] - change[3]) > 1e-3


def test_a_cap_that_is_no_cap_is_refused():
    with pytest.raises(ValueError, match="None \\(no cap\\)"):
        OutputLayer(np.zeros((2, 2)), soft_cap=0.0)


@pytest.mark.integration
@given(
    seed=st.integers(0, 10**6),
    vocabulary=st.sampled_from([2, 3]),
    longest=st.sampled_from([1, 3]),
    sharpness=st.sampled_from([0.1, 1.0, 8.0]),
    name=st.sampled_from(list(LAYERS)),
)
def test_the_implicit_formula_in_the_corners(seed, vocabulary, longest, sharpness, name):
    """One token, vocabularies of two and three, near-deterministic distributions, identical responses."""
    world = draw(seed, name=name, vocabulary=vocabulary, longest=longest)
    sharp = replace(world.layer, weights=sharpness * world.layer.weights)
    twin = ResponsePair(world.pairs[0].chosen, world.pairs[0].chosen)
    world = replace(world, layer=sharp, pairs=[*world.pairs, twin])
    step = 1e-6
    predicted, measured = predicted_implicit(world, step), measured_implicit(world, step)
    scale = step * max(1.0, np.abs(predicted / step).max())
    # Remainder at most step^2 / 2 x |Hessian| x |gradient|^2. With beta .3, three tokens, |h| about 4 and scale 1.7 the
    # gradient is below 9 and the Hessian below 21: 8e-4 step. Rewards of order ten are differenced, good to 1e-14.
    np.testing.assert_allclose(predicted, measured, rtol=0, atol=1e-3 * scale + 1e-13)
