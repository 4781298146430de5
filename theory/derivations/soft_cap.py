"""The same step where logits are scaled and soft-capped, as in Gemma-2 and Cohere."""

import numpy as np
import sympy as sp

from theory.derivations import closed_forms, experiment
from theory.derivations.algebra import evaluate
from theory.derivations.derivation import Derivation, Witnesses, algebra, numeric
from theory.derivations.experiment import Case, draw_case
from theory.derivations.implicit_step import (
    gradient_product,
    overlap_formula,
    overlap_values,
    remainder_order,
    together,
)
from theory.derivations.shared_steps import ADAM, RAZIN, chain_step, loss_step, score_step
from theory.derivations.symbols import (
    a,
    b,
    c,
    delta,
    h,
    j,
    over_words,
    p,
    q,
    reward_change,
)


def soft_capped_one_step() -> Derivation:
    x, cap, scale = sp.symbols("x C s", positive=True)
    slope, other = sp.IndexedBase("d"), sp.IndexedBase("e")
    result, symbols = overlap_formula(capped=True)
    weighted = slope[c] * other[c]

    def draw(rng: np.random.Generator) -> Case:
        return draw_case(rng, soft_cap=float(rng.uniform(0.5, 3.0)), scale=float(rng.uniform(0.3, 2.0)))

    return Derivation(
        name="soft_capped_one_step",
        title="Soft-capped and scaled logits weigh the words of the token-overlap coefficient",
        statement=(
            "With logits z = C tanh(s U h / C), as in Gemma-2 (s = 1) and Cohere (no cap), the formula of "
            "implicit_one_step holds with ρ(k, l) = Σ_c d_c e_c (1[ȳ_k = c] - p_k(c)) (1[v_l = c] - q_l(c)), where d "
            "and e are the slopes s (1 - tanh²(s U h / C)) of the logits at the two positions. A word at its cap "
            "moves nothing."
        ),
        assumptions=(
            "hidden states are fixed; only the output layer U is trained; the cap C and the scale s are constants",
            "the loss is Bradley-Terry on one pair; g = σ(r(x, y⁻) - r(x, y⁺)) before the step",
        ),
        steps=(
            score_step,
            algebra(
                "A capped logit has the slope",
                sp.Derivative(cap * sp.tanh(scale * x / cap), x),
                scale * (1 - sp.tanh(scale * x / cap) ** 2),
            ),
            algebra(
                "A cap that is never reached changes nothing: as C grows the slope tends to s, that of s x:",
                sp.Limit(scale * (1 - sp.tanh(scale * x / cap) ** 2), cap, sp.oo),
                scale,
            ),
            algebra(
                "The chain rule multiplies the slope onto the score: the gradient of ln π(a) in U is",
                over_words((delta(a, c) - p[c]) * slope[c] * delta(b, c) * h[j]),
                (delta(a, b) - p[b]) * slope[b] * h[j],
            ),
            algebra(
                "The rest is as without a cap; the inner product of two weighted scores is",
                over_words(weighted * (delta(a, c) - p[c]) * (delta(b, c) - q[c])),
                delta(a, b) * slope[a] * other[a]
                - slope[a] * other[a] * q[a]
                - slope[b] * other[b] * p[b]
                + over_words(weighted * p[c] * q[c]),
            ),
            loss_step,
            chain_step,
            together(result, gradient_product(symbols, capped=True)),
        ),
        result=(reward_change, result),
        witnesses=Witnesses(
            draw=draw,
            algebra=lambda case: evaluate(result, overlap_values(case, symbols)),
            closed_form=closed_forms.implicit_change,
            experiment=lambda case: case.step_size * experiment.slope(*experiment.implicit_step(case), case.weights),
            closed_form_name="theory.dynamics.implicit_change with a soft cap and a scale",
            experiment_text="η times the derivative of the reward along the step, by autograd",
        ),
        measurements=(
            numeric(
                "Actual steps differ from the formula by a term of second order: distance from 2 of the log-log "
                "slope of the error in η",
                lambda rng: remainder_order(rng, soft_cap=1.5, scale=0.7),
                0.1,
            ),
        ),
        limits=(
            "To first order in η. The four-term form of ρ and its range need equal weights: with a cap the range "
            "scales with the largest d e. The mean under the model stays zero, since a score has mean zero.",
            ADAM,
            "A formula without the slopes has the right sign most of the time and the wrong size.",
        ),
        references=(f"{RAZIN}, equation (5); the weights are ours",),
    )
