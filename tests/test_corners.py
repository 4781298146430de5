"""The three witnesses in the corners, by hypothesis: one token, two words, certain predictions, equal responses."""

from functools import cache

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from theory.derivations import derive
from theory.derivations.experiment import draw_case
from theory.derivations.overlap_coefficient import draw_meeting

witnesses = cache(lambda name: derive(name).witnesses)

corner = {
    "vocabulary": st.sampled_from([2, 3, 5]),
    "width": st.integers(1, 3),
    "tokens": st.integers(1, 3),
    "sharpness": st.sampled_from([1e-3, 1.0, 30.0]),
    "identical": st.booleans(),
    "soft_cap": st.none() | st.floats(0.5, 30.0),
    "scale": st.sampled_from([0.25, 1.0, 4.0]),
    "seed": st.integers(0, 2**32 - 1),
}
# One token, two words, a prediction that leaves others e^-60, and equal responses, at once.
WORST = {
    "vocabulary": 2,
    "width": 1,
    "tokens": 1,
    "sharpness": 30.0,
    "identical": True,
    "soft_cap": None,
    "scale": 1.0,
    "seed": 0,
}


def agree(name: str, instance: object) -> None:
    algebra, closed_form = witnesses(name).errors(instance)
    assert max(algebra, closed_form) <= witnesses(name).tolerance, (algebra, closed_form)


@pytest.mark.integration
@settings(max_examples=25, deadline=None, derandomize=True)
@given(**corner)
@example(**WORST)
@example(**{**WORST, "identical": False, "tokens": 3, "vocabulary": 3})
def test_one_step_changes_agree_in_the_corners(seed, soft_cap, **sizes):
    case = draw_case(np.random.default_rng(seed), soft_cap=soft_cap, **sizes)
    agree("explicit_one_step", case)
    agree("soft_capped_one_step", case)
    agree("generative_cross_entropy_one_step", case)
    agree("generative_bradley_terry_one_step", case)
    if soft_cap is None and sizes["scale"] == 1.0:
        agree("implicit_one_step", case)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    vocabulary=st.sampled_from([2, 3, 9]),
    sharpness=st.sampled_from([1e-3, 1.0, 300.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_coefficient_agrees_and_keeps_its_range_in_the_corners(vocabulary, sharpness, seed):
    meeting = draw_meeting(np.random.default_rng(seed), vocabulary=vocabulary, sharpness=sharpness)
    agree("token_overlap_coefficient", meeting)
    agree("token_overlap_range", meeting)
    value = witnesses("token_overlap_coefficient").closed_form(meeting)
    if meeting.token == meeting.other_token:
        assert -1e-15 <= value <= 2
    else:
        assert -2 <= value <= (1e-15 if vocabulary == 2 else 1)


@pytest.mark.parametrize("tokens", [1, 2, 3])
def test_equal_responses_move_nothing(tokens):
    case = draw_case(np.random.default_rng(tokens), tokens=tokens, identical=True)
    for name in ("explicit_one_step", "implicit_one_step"):
        assert witnesses(name).closed_form(case) == pytest.approx(0, abs=1e-15)
        assert witnesses(name).experiment(case) == pytest.approx(0, abs=1e-15)
