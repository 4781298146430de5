"""The witness of one step rejects every formula that somebody could have got wrong."""

from dataclasses import replace

import numpy as np
import pytest

import theory.dynamics as dynamics
from tests.one_step import (
    BETA,
    FORMS,
    NO,
    YES,
    World,
    accepts,
    draw,
    measured_explicit,
    measured_implicit,
    predicted_implicit,
)
from theory.dynamics import Response, ResponsePair, explicit_change, implicit_change, log_probability


def rho_with(match=1.0, cross=1.0, overlap=1.0, one_sided=False, slopes_kept=True):
    """The coefficient with its terms reweighted: 1, 1, 1 is the truth, everything else a mistake somebody can make."""

    def mutant(p, a, q, b, *, slopes=None, other_slopes=None):
        ones = np.ones_like(p)
        w = (ones if slopes is None else slopes) * (ones if other_slopes is None else other_slopes)
        w = w if slopes_kept else ones
        other = 0.0 if one_sided else w[b] * p[b]
        return float(match * w[a] * (a == b) - cross * (w[a] * q[a] + other) + overlap * w @ (p * q))

    return mutant


MUTANT_COEFFICIENTS = {
    "indicator dropped": rho_with(match=0.0),
    "sign of the cross terms": rho_with(cross=-1.0),
    "cross terms dropped": rho_with(cross=0.0),
    "second cross term dropped": rho_with(one_sided=True),
    "overlap of the distributions dropped": rho_with(overlap=0.0),
    "sign of the overlap": rho_with(overlap=-1.0),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mutation", MUTANT_COEFFICIENTS)
def test_a_wrong_coefficient_is_caught(form, mutation, monkeypatch):
    world = draw(11)
    monkeypatch.setattr(dynamics, "token_overlap_coefficient", rho_with())
    assert accepts(*FORMS[form], world)
    monkeypatch.setattr(dynamics, "token_overlap_coefficient", MUTANT_COEFFICIENTS[mutation])
    assert not accepts(*FORMS[form], world)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["capped", "scaled"])
def test_a_coefficient_without_the_cap_and_scale_factors_is_caught(form, name, monkeypatch):
    monkeypatch.setattr(dynamics, "token_overlap_coefficient", rho_with(slopes_kept=False))
    assert not accepts(*FORMS[form], draw(12, name=name))
    assert accepts(*FORMS[form], draw(12))


def losing_flipped(world: World, step: float) -> np.ndarray:
    """g taken at the other end of the sigmoid."""
    true = predicted_implicit(world, step)
    ratios = [log_probability(world.layer, p.chosen) - log_probability(world.layer, p.rejected) for p in world.pairs]
    return true * np.exp(BETA * (np.array(ratios) - world.reference_log_ratios))  # sigma(m) / sigma(-m) = e^m


IMPLICIT_MUTANTS = {
    "sign": lambda w, s: -predicted_implicit(w, s),
    "one beta dropped": lambda w, s: predicted_implicit(w, s) / BETA,
    "both betas dropped": lambda w, s: predicted_implicit(w, s) / BETA**2,
    "g dropped": lambda w, s: predicted_implicit(replace(w, reference=w.layer), s) * 2,
    "reference dropped from g": lambda w, s: implicit_change(
        w.layer, w.evaluated, w.pairs, reference_log_ratios=np.zeros(3), beta=BETA, step_size=s
    ),
    "g at the other end": losing_flipped,
    "rejected response dropped": lambda w, s: predicted_implicit(
        replace(w, pairs=[ResponsePair(p.chosen, Response(0 * p.rejected.hidden, p.rejected.tokens)) for p in w.pairs]),
        s,
    ),
}


@pytest.mark.parametrize("mutation", IMPLICIT_MUTANTS)
def test_a_wrong_implicit_formula_is_caught(mutation):
    world = draw(13)
    assert accepts(predicted_implicit, measured_implicit, world)
    assert not accepts(IMPLICIT_MUTANTS[mutation], measured_implicit, world)


@pytest.mark.parametrize("form", list(FORMS)[1:])
@pytest.mark.parametrize("mutation", ["sign", "P(Yes) not read off", "yes for no"])
def test_a_wrong_generative_formula_is_caught(form, mutation, monkeypatch):
    world, (predict, measured) = draw(14), FORMS[form]
    original = dynamics._verification_kernel

    def trained_turned(*args, trained, **kwargs):
        return original(*args, trained=NO if trained == YES else YES, **kwargs)

    if mutation == "yes for no":
        monkeypatch.setattr(dynamics, "_verification_kernel", trained_turned)
    mutants = {
        "sign": lambda w, s: -predict(w, s),
        "P(Yes) not read off": lambda w, s: predict(w, s) / w.layer.probabilities(w.verification[0])[:, YES, None],
        "yes for no": predict,
    }
    assert not accepts(mutants[mutation], measured, world)


@pytest.mark.parametrize("mutation", ["sign", "rejected dropped", "g dropped", "g at the other end"])
def test_a_wrong_explicit_formula_is_caught(mutation):
    world = draw(15)
    head = np.random.default_rng(15).standard_normal(5)
    evaluated, chosen, rejected = world.verification
    true = explicit_change(head, evaluated, chosen, rejected, step_size=0.1)
    odds = np.exp((chosen - rejected) @ head)
    mutant = {
        "sign": -true,
        "rejected dropped": explicit_change(head, evaluated, chosen, 0 * rejected, step_size=0.1),
        "g dropped": true * (1 + odds),
        "g at the other end": true * odds,
    }[mutation]
    assert np.abs(true - measured_explicit(world, head, 0.1)).max() < 1e-14
    assert np.abs(mutant - measured_explicit(world, head, 0.1)).max() > 1e-3
