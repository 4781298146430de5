"""What the engine is given by mistake: refused in one line, or kept where it is."""

from dataclasses import replace

import jaxtyping
import numpy as np
import pytest

from tests.test_overlap import as_torch, draw
from theory import dynamics
from theory.contraction import contract, overlap_sums
from theory.dynamics import Response
from theory.overlap import explicit_changes, generative_changes_cross_entropy, implicit_changes, token_influences
from theory.plan import Plan
from theory.stack import Stack


def of_tokens(tokens):
    return lambda world: overlap_sums(world[0], [Response(np.zeros((1, 5)), tokens)], world[2])


def one_step(**changes):
    return lambda world: implicit_changes(
        *world[:3], **{"reference_log_ratios": world[3], "beta": 0.3, "step_size": 0.1, **changes}
    )


def verifying(evaluated=1, chosen=2, rejected=2, no=9):
    states = [np.ones((n, 5)) for n in (evaluated, chosen, rejected)]
    return lambda world: generative_changes_cross_entropy(world[0], *states, yes=7, no=no, step_size=0.1)


MISTAKES = {
    "float tokens": (of_tokens(np.array([1.7])), "tokens must be an array of integers"),
    "a table of tokens": (of_tokens(np.array([[1]])), "tokens must be an array of integers"),
    "listed tokens": (of_tokens([1]), "wrap a list in np.array or torch.tensor"),
    "two libraries": (
        lambda world: overlap_sums(as_torch(world)[0], world[1], world[2]), "got ndarray and Tensor; convert one"
    ),
    "listed states": (
        lambda world: overlap_sums(world[0], [Response([[0.0] * 5], np.array([1]))], world[2]), "got list and ndarray"
    ),
    "one log-ratio for two pairs": (one_step(reference_log_ratios=np.zeros(1)), "shape \\(2,\\), got \\(1,\\)"),
    "beta of zero": (one_step(beta=0.0), "beta must be positive, got 0.0"),
    "beta of a heat map": (
        lambda world: token_influences(
            world[0], world[1][0], world[2][0], reference_log_ratio=0.0, beta=-1.0, step_size=0.1
        ),
        "beta must be positive",
    ),
    "two chosen, one rejected": (verifying(rejected=1), "one hidden state per pair, got shapes \\(2, 5\\)"),
    "three chosen, one rejected": (verifying(chosen=3, rejected=1), "one hidden state per pair"),
    "explicit, two chosen, one rejected": (
        lambda world: explicit_changes(np.ones(5), np.ones((1, 5)), np.ones((2, 5)), np.ones((1, 5)), step_size=0.1),
        "one hidden state per pair",
    ),
    "yes is no": (verifying(no=7), "yes and no must be two tokens, got 7 for both"),
    "a cap of infinity": (lambda world: replace(world[0], soft_cap=np.inf), "positive and finite, or None"),
    "the reference asked for the last word": (
        lambda world: dynamics.generative_change_bradley_terry(
            world[0], *[np.ones((1, 5))] * 3, yes=-1, step_size=0.1
        ),
        "0 to 39, got \\[.*-1",
    ),
    "the reference asked for it again": (
        lambda world: dynamics.log_probability(world[0], Response(np.ones((1, 5)), np.array([-1]))), "0 to 39"
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_would_give_a_wrong_number_without_a_word_is_refused_in_one_line(mistake, monkeypatch):
    make, message = MISTAKES[mistake]
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as outside of tests: no annotation is checked
    with pytest.raises(ValueError, match=message) as refusal:
        make(draw(9))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("order", ["factors, kept", "factors, twice", "tokens"])
@pytest.mark.parametrize("array", ["numpy", "torch"])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_state_that_is_not_a_number_spoils_its_own_rewards_only(order, array):
    drawn = draw(13, sharpness=3000.0)  # beyond what exponentials hold without a shift
    layer, evaluated, pairs, _ = drawn if array == "numpy" else as_torch(drawn)
    plan = Plan(order.split(",")[0], 0.0, 0.0, 7, (3, 2), order.endswith("kept"), 0)
    whole = contract(layer, Stack.of(layer, evaluated), Stack.of(layer, pairs), plan)
    evaluated = [replace(evaluated[0], hidden=evaluated[0].hidden * float("nan")), *evaluated[1:]]
    spoilt = contract(layer, Stack.of(layer, evaluated), Stack.of(layer, pairs), plan)
    assert np.isnan(np.asarray(spoilt.values[0])).all()
    np.testing.assert_allclose(np.asarray(spoilt.values[1:]), np.asarray(whole.values[1:]), rtol=1e-10)
