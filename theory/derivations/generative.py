"""What one gradient step on one pair does to a generative reward, P("Yes"), under either loss (paper appendix A)."""

from collections.abc import Callable
from functools import partial

import numpy as np
import sympy as sp

from theory.derivations import closed_forms, experiment
from theory.derivations.algebra import evaluate
from theory.derivations.derivation import Derivation, Step, Witnesses, algebra, non_negative
from theory.derivations.experiment import Case, draw_case
from theory.derivations.shared_steps import ADAM, score_step, theta
from theory.derivations.symbols import (
    D,
    V,
    a,
    b,
    c,
    delta,
    eta,
    f,
    h,
    j,
    over_coordinates,
    over_entries,
    over_words,
    p,
    q,
    reward_change,
)

REFERENCES = ("Razin et al. 2025, arXiv 2507.07981, appendix A (which loss it analyses is not established)",)
ASSUMPTIONS = (
    "the reward is P(Yes) over the full vocabulary, read at the end of a verification prompt that holds x and y",
    "hidden states are fixed; only the output layer U is trained",
)
LIMITS = (
    "To first order in η; the remainder is of order η².",
    ADAM,
    "The tokens of ȳ enter through the hidden state h̄ alone: structurally like the explicit reward.",
)
# Words: Yes, No. States and distributions at the end of the prompts of the chosen and of the rejected response.
yes, no = a, b
f_plus, f_minus, q_plus, q_minus = (sp.IndexedBase(name) for name in ("f^+", "f^-", "q^+", "q^-"))
# Slopes of the logits where they are scaled or soft-capped, one everywhere else (soft_capped_one_step).
slope, slope_plus, slope_minus = (sp.IndexedBase(name) for name in ("d", "e^+", "e^-"))
e = sp.IndexedBase("e")


def generative_cross_entropy_one_step() -> Derivation:
    kept, lost = (sp.Function(name)(theta) for name in ("l^+", "l^-"))
    up, down = _kernel(q_plus, f_plus, slope_plus, yes), _kernel(q_minus, f_minus, slope_minus, no)
    result = eta * p[yes] * (up + down) / 2
    return Derivation(
        name="generative_cross_entropy_one_step",
        title="Trained by cross-entropy, a generative reward moves through hidden states, damped by P(Yes)",
        statement=(
            "One step of size η on -[ln P(Yes | chosen) + ln P(No | rejected)] / 2 changes P(Yes) of any prompt and "
            "response by η p(Yes) [ρ⁺ ⟨h̄, f⁺⟩ + ρ⁻ ⟨h̄, f⁻⟩] / 2 + O(η²), where p is the distribution after the "
            "evaluated verification prompt, ρ⁺ is the overlap coefficient of Yes with Yes and ρ⁻ that of Yes with "
            "No. ρ⁺ is never negative. What is proved is the first-order term. In the formulas a is Yes and b is No."
        ),
        assumptions=(*ASSUMPTIONS, "the loss is cross-entropy on one pair: Yes after chosen, No after rejected"),
        steps=(
            *_shared_steps(),
            algebra(
                "The loss pulls on both log-probabilities with a constant one half; there is no g, and fitted pairs "
                "pull only through their scores:",
                sp.Derivative(-(kept + lost) / 2, theta),
                -(kept.diff(theta) + lost.diff(theta)) / 2,
            ),
            algebra(
                "Yes with No, the overlap coefficient is a mismatch and usually negative:",
                over_words(slope[c] * e[c] * (delta(yes, c) - p[c]) * (delta(no, c) - q[c])),
                -slope[yes] * e[yes] * q[yes] - slope[no] * e[no] * p[no] + over_words(slope[c] * e[c] * p[c] * q[c]),
                given={delta(yes, no): 0},
            ),
            _together(
                result,
                (_pull(q_plus, f_plus, slope_plus, yes) + _pull(q_minus, f_minus, slope_minus, no)) / 2,
                given={delta(yes, no): 0},
            ),
        ),
        result=(reward_change, result),
        witnesses=_witnesses(result, "cross_entropy"),
        limits=(*LIMITS, "Where P(Yes) is near 0 the reward hardly moves; where it is near 1, ρ⁺ is near 0 as well."),
        references=REFERENCES,
    )


def generative_bradley_terry_one_step() -> Derivation:
    up, down = _kernel(q_plus, f_plus, slope_plus, yes), _kernel(q_minus, f_minus, slope_minus, yes)
    result = eta * _losing * p[yes] * (q_plus[yes] * up - q_minus[yes] * down)
    margin = sp.Symbol("m", real=True)
    top, bottom = sp.symbols("P^+ P^-", positive=True)
    return Derivation(
        name="generative_bradley_terry_one_step",
        title="Trained by Bradley-Terry, a generative reward is damped twice and its loss cannot vanish",
        statement=(
            "One step of size η on -ln σ(P(Yes | chosen) - P(Yes | rejected)) changes P(Yes) of any prompt and "
            "response by η g p(Yes) [q⁺(Yes) ρ⁺ ⟨h̄, f⁺⟩ - q⁻(Yes) ρ⁻ ⟨h̄, f⁻⟩] + O(η²), both coefficients of Yes "
            "with Yes and never negative. A margin of probabilities is at most 1, so the loss never falls below ln(1 "
            "+ 1/e) = 0.313 and g never below 0.269. What is proved is the first-order term. In the formulas a is "
            "Yes."
        ),
        assumptions=(*ASSUMPTIONS, "the loss is Bradley-Terry on P(Yes), one pair; g = σ(q⁻(Yes) - q⁺(Yes))"),
        steps=(
            *_shared_steps(),
            algebra(
                "The loss falls with the margin at the rate g:",
                sp.Derivative(sp.log(1 + sp.exp(-margin)), margin),
                -1 / (1 + sp.exp(margin)),
            ),
            non_negative(
                "The margin is at most 1, since P⁺ ≤ 1 and P⁻ ≥ 0 (write the rest of P⁺ as s):",
                1 - (top - bottom),
                sp.Symbol("s", nonnegative=True) + bottom,
                given={top: 1 - sp.Symbol("s", nonnegative=True)},
            ),
            _together(
                result,
                _losing
                * (
                    q_plus[yes] * _pull(q_plus, f_plus, slope_plus, yes)
                    - q_minus[yes] * _pull(q_minus, f_minus, slope_minus, yes)
                ),
            ),
        ),
        result=(reward_change, result),
        witnesses=_witnesses(result, "bradley_terry"),
        limits=(
            *LIMITS,
            "Pairs of equal P(Yes) near 0 pull hardly at all: the factor q(Yes) multiplies every gradient.",
        ),
        references=REFERENCES,
    )


_losing = sp.Symbol("g", positive=True)


def _kernel(other: sp.IndexedBase, state: sp.IndexedBase, slopes: sp.IndexedBase, word: sp.Symbol) -> sp.Expr:
    own, theirs = slope[yes] * slopes[yes], slope[word] * slopes[word]
    rho = (own if word == yes else 0) - own * other[yes] - theirs * p[word]
    return (rho + over_words(slope[c] * slopes[c] * p[c] * other[c])) * over_coordinates(h[j] * state[j])


def _pull(other: sp.IndexedBase, state: sp.IndexedBase, slopes: sp.IndexedBase, word: sp.Symbol) -> sp.Expr:
    """Entry (c, j) of the gradient of ln P(word) in the output layer."""
    return (delta(word, c) - other[c]) * slopes[c] * state[j]


def _together(result: sp.Expr, step: sp.Expr, *, given: dict | None = None) -> Step:
    rising = p[yes] * _pull(p, h, slope, yes)
    return algebra(
        "All together: P(Yes) rises at the rate of the sum, over all entries (c, j) of U, of its gradient times the "
        "step:",
        eta * sp.Sum(rising * step, (c, 1, V), (j, 1, D)),
        result,
        given=given,
    )


def _shared_steps() -> tuple[Step, ...]:
    s, t = sp.IndexedBase("s"), sp.IndexedBase("t")
    log_probability = sp.Function("l")(theta)
    p_a, q_a, rest, others, more, steep = sp.symbols("p_a q_a P Q S s", nonnegative=True)
    return (
        algebra(
            "A probability moves by itself times its logarithm:",
            sp.Derivative(sp.exp(log_probability), theta),
            sp.exp(log_probability) * log_probability.diff(theta),
        ),
        score_step,
        algebra(
            "As for implicit rewards, the inner product of two gradients of log-probabilities in U splits into one "
            "over words and one over coordinates:",
            over_entries(s[b] * h[j] * t[b] * f[j]),
            over_words(s[b] * t[b], b) * over_coordinates(h[j] * f[j]),
        ),
        algebra(
            "Yes with Yes, the one over words is the overlap coefficient of a match (d and e are the slopes of the "
            "logits, one unless they are scaled or soft-capped):",
            over_words(slope[c] * e[c] * (delta(yes, c) - p[c]) * (delta(yes, c) - q[c])),
            slope[yes] * e[yes] * (1 - q[yes] - p[yes]) + over_words(slope[c] * e[c] * p[c] * q[c]),
        ),
        non_negative(
            "which is never negative (P and Q are the probabilities of all other words, S their part of the sum, s the "
            "product of the slopes of Yes; slopes are not negative):",
            steep * (1 - q_a - p_a) + (steep * p_a * q_a + more),
            steep * rest * others + more,
            given={rest: 1 - p_a, others: 1 - q_a},
        ),
    )


def _witnesses(result: sp.Expr, loss: str) -> Witnesses:
    def draw(rng: np.random.Generator) -> Case:
        """Logits as they are, or scaled and soft-capped, with even odds."""
        capped = {"soft_cap": float(rng.uniform(0.5, 3.0)), "scale": float(rng.uniform(0.3, 2.0))}
        return draw_case(rng, **(capped if rng.random() < 0.5 else {}))

    def proven(case: Case) -> float:
        ends = {h: case.evaluated.end, f_plus: case.chosen.end, f_minus: case.rejected.end}
        at = {p: case.evaluated.end, q_plus: case.chosen.end, q_minus: case.rejected.end}
        values = {symbol: experiment.distribution(case, end) for symbol, end in at.items()}
        at = {slope: case.evaluated.end, slope_plus: case.chosen.end, slope_minus: case.rejected.end}
        values |= {symbol: experiment.logit_slopes(case, end) for symbol, end in at.items()}
        losing = 1 / (1 + np.exp(values[q_plus][case.yes] - values[q_minus][case.yes]))
        sizes = {V: case.vocabulary, D: len(case.head), yes: case.yes + 1, no: case.no + 1}
        return evaluate(result, {**sizes, **ends, **values, eta: case.step_size, _losing: losing})

    def measured(case: Case) -> float:
        readings = {"cross_entropy": experiment.yes_no_loss, "bradley_terry": _probability_loss}
        reading: Callable = experiment.generative(case, case.evaluated)
        return case.step_size * experiment.slope(reading, readings[loss](case), case.weights)

    return Witnesses(
        draw=draw,
        algebra=proven,
        closed_form=partial(closed_forms.generative_change, loss=loss),
        experiment=measured,
        closed_form_name=f"theory.dynamics.generative_change_{loss}",
        experiment_text="η times the derivative of P(Yes) along the step, by autograd",
    )


def _probability_loss(case: Case) -> experiment.Reading:
    return experiment.pair_loss(experiment.generative(case, case.chosen), experiment.generative(case, case.rejected))
