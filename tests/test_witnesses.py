"""Three witnesses for every proposition, and mistakes planted in each of them.

The proven expression, the closed form of `theory` and an experiment by autograd or enumeration give the same numbers;
a sign flipped, a term, a factor or a beta dropped in any closed form makes them differ.
"""

from functools import cache

import numpy as np
import pytest

from tests.mutants import mutants
from theory import dynamics, preferences, rewards, separation, single_token, verification
from theory.derivations import PROPOSITIONS
from theory.derivations import derive as build
from theory.derivations.derivation import algebra

# Every closed form, and the propositions that witness it. A mistake anywhere in it must be seen by one of them, and the
# first must see some.
CLOSED_FORMS = [
    (preferences, "_exp_of_minus_softplus", ["bradley_terry_gradient"]),
    (preferences, "bradley_terry_probability", ["bradley_terry_gradient"]),
    (rewards, "implicit_reward", ["log_partition"]),
    (dynamics, "explicit_change", ["explicit_one_step"]),
    (dynamics, "implicit_change", ["implicit_one_step"]),
    (dynamics, "overlap_sum", ["implicit_one_step"]),
    (dynamics, "token_overlap_coefficient", ["implicit_one_step", "soft_capped_one_step", "token_overlap_coefficient"]),
    (dynamics.OutputLayer, "logits", ["soft_capped_one_step"]),
    (dynamics.OutputLayer, "slopes", ["soft_capped_one_step"]),
    (dynamics, "generative_change_cross_entropy", ["generative_cross_entropy_one_step"]),
    (dynamics, "generative_change_bradley_terry", ["generative_bradley_terry_one_step"]),
    (verification, "least_generating_verifier", ["verifying_without_generating"]),
    (verification, "verifier_margin", ["verifying_without_generating"]),
    (verification, "log_generation_bound", ["verifying_without_generating"]),
    (verification, "generation_log_odds", ["verifying_needs_some_generating"]),
    (verification, "least_generation_log_odds", ["verifying_needs_some_generating"]),
    (single_token, "implicit_margin", ["single_token_theorem", "non_zero_start"]),
    (single_token, "implicit_margin", ["non_zero_start"]),
    (single_token, "unseen_margin", ["non_zero_start", "weight_decay"]),
    (single_token, "margin_change", ["one_seen_token", "tied_rows"]),
    (separation, "_separator", ["logarithmic_rate", "non_separable"]),
    (separation, "_separator", ["non_separable", "logarithmic_rate"]),
    # These consequences have no function of their own: they must notice mistakes in what they follow from.
    (dynamics, "implicit_change", ["beta_squared", "implicit_one_step"]),
    (dynamics, "token_overlap_coefficient", ["shared_prompts", "soft_capped_one_step"]),
    (dynamics, "token_overlap_coefficient", ["shared_terminator", "soft_capped_one_step"]),
    (dynamics, "token_overlap_coefficient", ["shared_prefix", "soft_capped_one_step"]),
    (dynamics, "token_overlap_coefficient", ["token_overlap_range", "soft_capped_one_step"]),
]

# In `make check`; the others are part of `make test`.
EVERY_COMMIT = {"explicit_one_step", "implicit_one_step", "single_token_theorem"}
NAMES = [
    pytest.param(name, marks=() if name in EVERY_COMMIT else pytest.mark.integration, id=name) for name in PROPOSITIONS
]
FORMS = [
    pytest.param(
        *form, marks=() if set(form[2]) <= EVERY_COMMIT else pytest.mark.integration, id=f"{form[1]}-{form[2][0]}"
    )
    for form in CLOSED_FORMS
]


derive = cache(build)


@cache
def measured(name: str, instances: int = 8) -> list:
    """Instances and what the experiment says about them; computed once, compared with every mutant."""
    witnesses, rng = derive(name).witnesses, np.random.default_rng(7)
    drawn = [witnesses.draw(rng) for _ in range(instances)]
    return [(instance, witnesses.experiment(instance)) for instance in drawn]


def closed_form_agrees(name: str) -> bool:
    witnesses = derive(name).witnesses
    for instance, experiment in measured(name):
        try:
            values = np.asarray(witnesses.closed_form(instance), dtype=float)
        except Exception:  # a mutant may break shapes, which is being noticed too
            return False
        if values.shape != np.shape(experiment):
            return False
        size = max(float(np.max(np.abs(experiment), initial=0.0)), witnesses.floor)
        error = np.max(np.abs(values - experiment), initial=0.0) / size
        if not error <= witnesses.tolerance:
            return False
    return True


@pytest.mark.parametrize("name", NAMES)
def test_three_witnesses_agree(name):
    check = derive(name).check(seed=3, instances=6)
    assert check.holds, check.to_row()


@pytest.mark.parametrize(("module", "function", "names"), FORMS)
def test_a_mistake_in_a_closed_form_is_noticed(module, function, names, monkeypatch):
    assert all(closed_form_agrees(name) for name in names)
    noticed_by_the_first = 0
    for description, mutant in mutants(getattr(module, function)):
        with monkeypatch.context() as patch:
            patch.setattr(module, function, mutant)
            notices = [not closed_form_agrees(name) for name in names]
        assert any(notices), f"nobody noticed {description}"
        noticed_by_the_first += notices[0]
    assert noticed_by_the_first, f"{names[0]} notices no mistake at all"


@pytest.mark.parametrize("name", NAMES)
def test_a_mistake_in_a_step_is_noticed(name):
    for number, step in enumerate(derive(name).steps, start=1):
        if step.kind == "algebra":
            wrong = algebra(step.text, step.left, -step.right if step.right != 0 else 1, given=dict(step.given))
            assert not wrong.check(np.random.default_rng(0)).holds, f"step {number} of {name} shows anything"
