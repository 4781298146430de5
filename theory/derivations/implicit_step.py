"""What one gradient step on one pair does to an implicit reward (Razin et al. 2025, equation (5))."""

from dataclasses import replace

import numpy as np
import sympy as sp

from theory.derivations import closed_forms, experiment
from theory.derivations.algebra import evaluate
from theory.derivations.derivation import Derivation, Step, Witnesses, algebra, numeric
from theory.derivations.experiment import Case, draw_case
from theory.derivations.shared_steps import ADAM, RAZIN, chain_step, loss_step, score_step
from theory.derivations.symbols import (
    D,
    M,
    N,
    T,
    U,
    V,
    a,
    b,
    beta,
    c,
    delta,
    eta,
    f,
    g,
    h,
    i,
    j,
    k,
    l,
    over_coordinates,
    over_entries,
    over_words,
    p,
    q,
    reward_change,
)


def implicit_one_step() -> Derivation:
    s, t = sp.IndexedBase("s"), sp.IndexedBase("t")
    result, symbols = overlap_formula()
    return Derivation(
        name="implicit_one_step",
        title="One step moves an implicit reward through token overlap",
        statement=(
            "One gradient step of size η on the pair (x, y⁺, y⁻) changes the implicit reward of a response ȳ to a "
            "prompt x̄ by β² η g [S(ȳ, y⁺) - S(ȳ, y⁻)] + O(η²). S(ȳ, v) sums ρ(k, l) ⟨h̄_k, h_l⟩ over all pairs of "
            "token positions, and ρ(k, l) = 1[ȳ_k = v_l] - q_l(ȳ_k) - p_k(v_l) + ⟨p_k, q_l⟩ is the token-overlap "
            "coefficient; p_k and q_l are the next-token distributions there. What is proved is the first-order "
            "term, the derivative of the reward in η at 0; in the formula below h_k is h̄_k, and f⁺, f⁻ are the "
            "training responses' states."
        ),
        assumptions=(
            "hidden states are fixed; only the output layer U is trained; logits are U h",
            "the loss is Bradley-Terry on one pair; g = σ(r(x, y⁻) - r(x, y⁺)) before the step",
        ),
        steps=(
            score_step,
            algebra(
                "Logits are linear in the output layer:",
                sp.Derivative(over_coordinates(U[c, i] * h[i], i), U[b, j]),
                delta(b, c) * h[j],
            ),
            algebra(
                "so the gradient of ln π(a) in U is the score times the hidden state, a matrix of rank one:",
                over_words((delta(a, c) - p[c]) * delta(b, c) * h[j]),
                (delta(a, b) - p[b]) * h[j],
            ),
            loss_step,
            chain_step,
            algebra(
                "Every G is a sum over token positions, and the inner product of two sums is the sum over all pairs of "
                "positions of inner products:",
                sp.Sum(s[k], (k, 1, T)) * sp.Sum(t[l], (l, 1, M)),
                sp.Sum(s[k] * t[l], (k, 1, T), (l, 1, M)),
            ),
            algebra(
                "At one pair of positions both matrices are of rank one, and their inner product splits into one over "
                "words and one over coordinates:",
                over_entries(s[b] * h[j] * t[b] * f[j]),
                over_words(s[b] * t[b], b) * over_coordinates(h[j] * f[j]),
            ),
            algebra(
                "The one over words, of two scores, is the token-overlap coefficient:",
                over_words((delta(a, c) - p[c]) * (delta(b, c) - q[c])),
                delta(a, b) - q[a] - p[b] + over_words(p[c] * q[c]),
            ),
            together(result, gradient_product(symbols)),
        ),
        result=(reward_change, result),
        witnesses=Witnesses(
            draw=draw_case,
            algebra=lambda case: evaluate(result, overlap_values(case, symbols)),
            closed_form=closed_forms.implicit_change,
            experiment=lambda case: case.step_size * experiment.slope(*experiment.implicit_step(case), case.weights),
            closed_form_name="theory.dynamics.implicit_change",
            experiment_text="η times the derivative of the reward along the step, by autograd",
        ),
        measurements=(
            numeric(
                "Actual steps differ from the formula by a term of second order: distance from 2 of the log-log "
                "slope of the error in η",
                remainder_order,
                0.1,
            ),
        ),
        limits=(
            "To first order in η; the remainder is of order η².",
            ADAM,
            "Soft-capped or scaled logits weigh the words: see soft_capped_one_step.",
            "If the embedding is tied to the output layer, or the backbone is trained, hidden states move too and "
            "this is the output layer's share only.",
            "A batch: the change is the mean of the pairs' changes.",
        ),
        references=(f"{RAZIN}, equation (5)",),
    )


def overlap_formula(*, capped: bool = False) -> tuple[sp.Expr, tuple[sp.IndexedBase, ...]]:
    """The right-hand side of equation (5) for responses of any length, and the arrays that stand in it."""
    names = ("ybar", "y^+", "y^-", "q^+", "q^-", "f^+", "f^-", "d", "e^+", "e^-")
    symbols = tuple(sp.IndexedBase(name) for name in names)
    y, y_plus, y_minus, q_plus, q_minus, f_plus, f_minus, slope, slope_plus, slope_minus = symbols

    def overlap(v: sp.IndexedBase, other: sp.IndexedBase, e: sp.IndexedBase) -> sp.Expr:
        if not capped:
            return delta(y[k], v[l]) - other[l, y[k]] - p[k, v[l]] + over_words(p[k, c] * other[l, c])
        own, theirs = slope[k, y[k]] * e[l, y[k]], slope[k, v[l]] * e[l, v[l]]
        rest = over_words(slope[k, c] * e[l, c] * p[k, c] * other[l, c])
        return delta(y[k], v[l]) * own - own * other[l, y[k]] - theirs * p[k, v[l]] + rest

    def pairs_of_positions(rho: sp.Expr, state: sp.IndexedBase, length: sp.Symbol) -> sp.Expr:
        return sp.Sum(rho * over_coordinates(h[k, j] * state[l, j]), (k, 1, T), (l, 1, length))

    plus = pairs_of_positions(overlap(y_plus, q_plus, slope_plus), f_plus, M)
    minus = pairs_of_positions(overlap(y_minus, q_minus, slope_minus), f_minus, N)
    return beta**2 * eta * g * (plus - minus), symbols


def gradient_product(symbols: tuple[sp.IndexedBase, ...], *, capped: bool = False) -> sp.Expr:
    """η times the inner product of the reward's gradient with the step's direction, entry by entry."""
    y, y_plus, y_minus, q_plus, q_minus, f_plus, f_minus, slope, slope_plus, slope_minus = symbols

    def gradient(place: sp.Symbol, length: sp.Symbol, *arrays: sp.IndexedBase) -> sp.Expr:
        words, predicted, states, e = arrays
        score = (delta(words[place], b) - predicted[place, b]) * (e[place, b] if capped else 1)
        return sp.Sum(score * states[place, j], (place, 1, length))

    up = gradient(l, M, y_plus, q_plus, f_plus, slope_plus)
    down = gradient(l, N, y_minus, q_minus, f_minus, slope_minus)
    return eta * over_entries(beta * gradient(k, T, y, p, h, slope) * g * beta * (up - down))


def together(result: sp.Expr, product: sp.Expr, *, given: dict | None = None) -> Step:
    return algebra(
        "All together: the reward rises at the rate of the sum, over all entries (b, j) of U, of its gradient β Ḡ "
        "times the step g β (G⁺ - G⁻), where every G is a sum over the response's positions:",
        product,
        result,
        given=given,
    )


def overlap_values(case: Case, symbols: tuple[sp.IndexedBase, ...]) -> dict:
    """Numbers for the arrays of `overlap_formula`, from the definitions."""
    y, y_plus, y_minus, q_plus, q_minus, f_plus, f_minus, *slopes = symbols
    ours, chosen, rejected = case.evaluated, case.chosen, case.rejected
    return {
        V: case.vocabulary,
        D: len(case.head),
        beta: case.beta,
        eta: case.step_size,
        g: experiment.losing(case),
        T: len(ours.tokens),
        M: len(chosen.tokens),
        N: len(rejected.tokens),
        y: ours.tokens + 1,
        y_plus: chosen.tokens + 1,
        y_minus: rejected.tokens + 1,
        h: ours.hidden,
        f_plus: chosen.hidden,
        f_minus: rejected.hidden,
        p: experiment.next_token(case, ours),
        q_plus: experiment.next_token(case, chosen),
        q_minus: experiment.next_token(case, rejected),
        **{e: experiment.logit_slopes(case, x.hidden) for e, x in zip(slopes, (ours, chosen, rejected), strict=True)},
    }


def remainder_order(rng: np.random.Generator, **settings: float) -> float:
    """|log-log slope - 2| of the first-order formula's error, summed over eight cases, over two decades of step size.

    The policy starts at the reference: a pair ranked safely right moves nothing, and its remainder is rounding.
    """
    sizes, errors = np.array([1e-2, 1e-3, 1e-4]), np.zeros(3)
    for _ in range(8):
        case = draw_case(rng, vocabulary=6, width=3, tokens=2, sharpness=1.0, identical=False, **settings)
        case = replace(case, reference=case.weights)
        actual = [experiment.change(*experiment.implicit_step(case), case.weights, size) for size in sizes]
        errors += np.abs(np.array(actual) - closed_forms.implicit_change(case) * sizes / case.step_size)
    return abs(np.polyfit(np.log(sizes), np.log(errors), 1)[0] - 2)
