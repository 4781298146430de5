"""The token-overlap coefficient: an inner product, its range, its signs, its mean."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.one_step import draw
from theory.dynamics import token_overlap_coefficient, token_overlap_coefficients


@st.composite
def two_token_draws(draw_from):
    """Two distributions over 2 to 6 tokens, from uniform to deterministic within 1e-13, and a token of each."""
    vocabulary = draw_from(st.integers(2, 6))
    distributions = []
    for _ in range(2):
        sharpness = draw_from(st.sampled_from([0.0, 1.0, 5.0, 30.0]))
        raw = sharpness * np.array(draw_from(st.lists(st.floats(-1, 1), min_size=vocabulary, max_size=vocabulary)))
        distributions.append(np.exp(raw - raw.max()) / np.exp(raw - raw.max()).sum())
    token = st.integers(0, vocabulary - 1)
    return distributions[0], draw_from(token), distributions[1], draw_from(token)


@given(two_token_draws())
def test_the_coefficient_is_an_inner_product_within_its_closed_range_and_obeys_the_sign_lemma(drawn):
    p, a, q, b = drawn
    rho = token_overlap_coefficient(p, a, q, b)
    identity = np.eye(len(p))
    assert rho == pytest.approx((identity[a] - p) @ (identity[b] - q), abs=1e-14)
    low, high = (0, 2) if a == b else (-2, 1)
    assert low - 1e-14 <= rho <= high + 1e-14
    if a != b and len(p) == 2:
        assert rho <= 1e-14


@given(two_token_draws(), st.booleans())
def test_the_coefficient_has_mean_zero_under_the_model_and_is_symmetric(drawn, with_slopes):
    p, a, q, b = drawn
    slopes = {"slopes": 1 - p / 2, "other_slopes": 1 - q / 3} if with_slopes else {}
    rows = [token_overlap_coefficient(p, c, q, b, **slopes) for c in range(len(p))]
    assert p @ np.array(rows) == pytest.approx(0, abs=1e-14)
    turned = {"slopes": slopes["other_slopes"], "other_slopes": slopes["slopes"]} if with_slopes else {}
    assert token_overlap_coefficient(q, b, p, a, **turned) == pytest.approx(rows[a], abs=1e-15)


def test_the_corners_of_the_range_are_reached_in_the_limit_and_either_sign_needs_three_words():
    e = np.eye(3)
    assert token_overlap_coefficient(e[1], 0, e[0], 1) == -2  # each is certain of the other's token
    assert token_overlap_coefficient(e[2], 0, e[2], 0) == 2  # both certain of a third, and wrong
    assert token_overlap_coefficient(e[2], 0, e[2], 1) == 1
    assert token_overlap_coefficient(e[0], 0, e[0], 0) == 0  # nothing to learn


def test_coefficients_of_two_responses_are_those_of_their_positions():
    world = draw(16, name="capped and scaled")
    evaluated, trained = world.evaluated[0], world.pairs[0].chosen
    table = token_overlap_coefficients(world.layer, evaluated, trained)
    p, q = world.layer.probabilities(evaluated.hidden), world.layer.probabilities(trained.hidden)
    d, e = world.layer.slopes(evaluated.hidden), world.layer.slopes(trained.hidden)
    factors = d * (np.eye(7)[evaluated.tokens] - p), e * (np.eye(7)[trained.tokens] - q)
    np.testing.assert_allclose(table, factors[0] @ factors[1].T, atol=1e-14)
