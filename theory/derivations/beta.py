"""How the first implicit step depends on beta."""

from dataclasses import replace

import numpy as np
import sympy as sp

from theory.derivations import closed_forms, experiment
from theory.derivations.algebra import evaluate
from theory.derivations.derivation import Derivation, Witnesses, algebra, numeric
from theory.derivations.experiment import Case, draw_case
from theory.derivations.implicit_step import gradient_product, overlap_formula, overlap_values, together
from theory.derivations.shared_steps import RAZIN, chain_step
from theory.derivations.symbols import beta, g, reward_change

BETAS = (0.01, 0.1, 1.0)


def beta_squared() -> Derivation:
    formula, symbols = overlap_formula()
    result = formula.subs(g, sp.Rational(1, 2))
    policy, reference, change = sp.symbols("l l_0 Delta", real=True)

    def draw(rng: np.random.Generator) -> Case:
        case = draw_case(rng)
        return replace(case, reference=case.weights)

    def each_beta(value) -> object:
        return lambda case: np.array([value(replace(case, beta=strength)) for strength in BETAS])

    return Derivation(
        name="beta_squared",
        title="The first implicit step grows with β squared, and its log-probabilities with β",
        statement=(
            "Where the policy is still the reference every margin is 0 and g = 1/2 at any β. The first step of size "
            "η then changes implicit rewards by β² η [S(ȳ, y⁺) - S(ȳ, y⁻)] / 2 to first order, and log-probabilities "
            "by β times the same. Halving β leaves a quarter of the reward's change at the same learning rate."
        ),
        assumptions=(
            "as implicit_one_step, and the policy starts at the reference",
            "plain gradient descent: the step is η times the gradient",
        ),
        steps=(
            algebra(
                "At the reference the implicit reward is zero, whatever β (l is the log-probability under the "
                "policy, l_0 under the reference):",
                beta * (policy - reference),
                0,
                given={policy: reference},
            ),
            algebra(
                "so g is one half for every pair:",
                1 / (1 + sp.exp(beta * (policy - reference))),
                sp.Rational(1, 2),
                given={policy: reference},
            ),
            chain_step,
            algebra(
                "A log-probability changes by the reward's change over β:",
                sp.Derivative(beta * (policy + change - reference), change) * change / beta,
                change,
            ),
            together(result, gradient_product(symbols), given={g: sp.Rational(1, 2)}),
        ),
        result=(reward_change, result),
        witnesses=Witnesses(
            draw=draw,
            algebra=each_beta(lambda case: evaluate(result, overlap_values(case, symbols))),
            closed_form=each_beta(closed_forms.implicit_change),
            experiment=each_beta(
                lambda case: case.step_size * experiment.slope(*experiment.implicit_step(case), case.weights)
            ),
            closed_form_name="theory.dynamics.implicit_change at β = 0.01, 0.1 and 1",
            experiment_text="η times the derivative of the reward along the first step, by autograd, at those β",
        ),
        measurements=(
            numeric(
                "Distance from 2 of the log-log slope in β of the reward's change in one actual step of size 0.001",
                _measured_power,
                0.02,
            ),
        ),
        limits=(
            "From the second step on g depends on β as well; a larger β also saturates the loss sooner.",
            "Adam divides by the gradient's size: there the first step of log-probabilities does not depend on β, "
            "and that of rewards is linear in it.",
        ),
        references=(f"{RAZIN}, equation (5); whether the paper prints or absorbs the factor is not established",),
    )


def _measured_power(rng: np.random.Generator) -> float:
    worst = 0.0
    for _ in range(4):
        case = draw_case(rng, vocabulary=6, width=3, tokens=2, sharpness=1.0, identical=False)
        changes = []
        for strength in BETAS:
            first = replace(case, reference=case.weights, beta=strength)
            reading, loss = experiment.implicit_step(first)
            changes.append(abs(experiment.change(reading, loss, first.weights, 1e-3)))
        worst = max(worst, abs(np.polyfit(np.log(BETAS), np.log(changes), 1)[0] - 2))
    return worst
