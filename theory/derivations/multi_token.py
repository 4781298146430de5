"""Responses of two tokens: what a shared terminator carries and what a shared prefix does, from equation (5)."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import sympy as sp

from theory.derivations import closed_forms, experiment
from theory.derivations.algebra import evaluate
from theory.derivations.derivation import Derivation, Step, Witnesses, algebra, non_negative
from theory.derivations.experiment import Case, Spoken, draw_case
from theory.derivations.shared_steps import ADAM, RAZIN
from theory.derivations.symbols import (
    TWO_TOKEN_WORDS,
    D,
    V,
    a,
    b,
    beta,
    c,
    chosen,
    delta,
    eta,
    g,
    h,
    j,
    margin_change,
    over_coordinates,
    over_words,
    p,
    q,
    rejected,
)

t, u, u2, v, v2 = TWO_TOKEN_WORDS
# States and distributions: at the prompt (h, p; f, q in training) and after the first token of chosen and rejected.
h_plus, h_minus, f, f_plus, f_minus = (sp.IndexedBase(name) for name in ("h^+", "h^-", "f", "f^+", "f^-"))
p_plus, p_minus, q_plus, q_minus = (sp.IndexedBase(name) for name in ("p^+", "p^-", "q^+", "q^-"))


def shared_terminator() -> Derivation:
    """Evaluated (a, t) over (b, t), trained on (w, t) over (w', t)."""
    same = {delta(x, y): 0 for x in (a, b) for y in (chosen, rejected, t)} | {
        delta(t, y): 0 for y in (chosen, rejected)
    }
    ends = _corners(lambda ours, theirs: 1 - theirs[t] - ours[t] + over_words(ours[c] * theirs[c]))
    result = beta**2 * eta * g * (_cross(a, b, chosen, rejected) + ends)
    coefficient, s_t, rest, others = sp.symbols("rho s_t P S", nonnegative=True)
    corners = _corners(lambda ours, theirs: coefficient)
    return Derivation(
        name="shared_terminator",
        title="A terminator that all responses share carries the margin to words that were never trained",
        statement=(
            "Train on (w, t) over (w', t) and evaluate (a, t) over (b, t), all words different, t a terminator. The "
            "words have no overlap, but the terminator meets itself: to first order the margin changes by the "
            "formula below, whose last four terms are its overlap with itself. If the distribution after every word "
            "is the same s, with the same probability for each word, what is left is β² η g ρ ⟨h⁺ - h⁻, f⁺ - f⁻⟩ "
            "with ρ = (1 - s_t)² + Σ s_c² over the other words: the explicit model's change, weighted by how unsure "
            "the model is of the terminator. A saturated terminator, s_t = 1, carries nothing. What is proved is the "
            "first-order term."
        ),
        assumptions=_ASSUMPTIONS,
        steps=(
            _overlap_step(),
            algebra(
                "Words with words, at the two prompts: all four indicators are zero and everything else cancels:",
                _bracket(a, b, chosen, rejected),
                0,
                given=_bearing(same, _bracket(a, b, chosen, rejected)),
            ),
            *_cross_steps(a, b, t, chosen, rejected, t, same),
            algebra(
                "Terminator with terminator is a match at every pair of contexts:",
                over_words((delta(t, c) - p_plus[c]) * (delta(t, c) - q_plus[c])),
                1 - q_plus[t] - p_plus[t] + over_words(p_plus[c] * q_plus[c]),
            ),
            algebra(
                "With one and the same coefficient at all four pairs of contexts they are an inner product of "
                "differences, the kernel of the explicit model:",
                corners,
                coefficient * over_coordinates((h_plus[j] - h_minus[j]) * (f_plus[j] - f_minus[j])),
            ),
            non_negative(
                "and the coefficient is never negative (S sums the squares over the words other than t):",
                1 - 2 * s_t + (s_t**2 + others),
                rest**2 + others,
                given={rest: 1 - s_t},
            ),
            _together(result, (a, t), (b, t), (chosen, t), (rejected, t), same),
        ),
        result=(margin_change, result),
        witnesses=_witnesses(result, _draw_terminator),
        limits=(
            ADAM,
            "The cross terms vanish only if the words are equally likely where they do not occur; real words are not.",
            "Responses of different length put the terminator after different contexts; the same four terms remain.",
            "If hidden states are trained as well, the terminator's state moves and this is the output layer's share.",
        ),
        references=(f"{RAZIN}, equation (5); this consequence is ours",),
    )


def shared_prefix() -> Derivation:
    """Evaluated (v, a) over (v', b), trained on (u, w) over (u', w')."""
    words = (a, b, chosen, rejected)
    apart = {delta(x, y): 0 for x in words for y in (u, u2, v, v2)}
    apart |= {delta(x, y): 0 for x in (a, b) for y in (chosen, rejected)}
    indicators = delta(v, u) - delta(v, u2) - delta(v2, u) + delta(v2, u2)
    first = indicators * over_coordinates(h[j] * f[j])

    def mismatch(x: sp.Symbol, y: sp.Symbol) -> Callable[[sp.IndexedBase, sp.IndexedBase], sp.Expr]:
        return lambda ours, theirs: -theirs[x] - ours[y] + over_words(ours[c] * theirs[c])

    seconds = _corners(mismatch(a, chosen), mismatch(a, rejected), mismatch(b, chosen), mismatch(b, rejected))
    result = beta**2 * eta * g * (first + _cross(v, v2, u, u2) + seconds)
    opposite = {delta(v, u2): 1, delta(v, u): 0, delta(v2, u): 0, delta(v2, u2): 0}
    return Derivation(
        name="shared_prefix",
        title="A prefix that opened the wrong side in training pushes against the right answer",
        statement=(
            "Train on (u, w) over (u', w') and evaluate (v, a) over (v', b): prefixes and then answers that were "
            "never trained. To first order the first position moves the margin by β² η g ⟨h, f⟩ (1[v = u] - 1[v = "
            "u'] - 1[v' = u] + 1[v' = u']), whatever the answers mean. If the right answer opens as rejected ones "
            "did in training, v = u', and the wrong one with something new, that is -β² η g ⟨h, f⟩: a push "
            "against the right answer wherever prompts resemble those of training. The other terms, in full below, "
            "have no indicator in them and can outweigh this one. What is proved is the first-order term."
        ),
        assumptions=_ASSUMPTIONS,
        steps=(
            _overlap_step(),
            algebra("Prefixes with prefixes, at the two prompts:", _bracket(v, v2, u, u2), indicators),
            algebra("Opening as the rejected response did, against something new:", indicators, -1, given=opposite),
            *_cross_steps(v, v2, a, u, u2, chosen, apart),
            algebra(
                "Answers with answers have nothing but mismatches, at each of the four pairs of contexts:",
                _rho(a, chosen, p_plus, q_plus),
                -q_plus[a] - p_plus[chosen] + over_words(p_plus[c] * q_plus[c]),
                given=_bearing(apart, delta(a, chosen)),
            ),
            _together(result, (v, a), (v2, b), (u, chosen), (u2, rejected), apart),
        ),
        result=(margin_change, result),
        witnesses=_witnesses(result, _draw_prefix),
        limits=(
            ADAM,
            "Longer prefixes add one such term per position; where responses share a beginning, contexts differ only "
            "after it.",
            "A prefix both sides share in training (u = u') contributes nothing at its own position.",
            "The sign needs ⟨h, f⟩ > 0, as between prompts of one kind.",
        ),
        references=(f"{RAZIN}, equation (5); this consequence, and the Persona controls it explains, are ours",),
    )


_ASSUMPTIONS = (
    "hidden states are fixed; only the output layer U is trained; logits are U h, no soft cap",
    "the loss is Bradley-Terry on one pair; both responses have two tokens",
    "h, p: state and distribution at the evaluated prompt; h⁺, p⁺ and h⁻, p⁻: after the first token of the right and "
    "of the wrong response; f, q and their signs likewise for the training pair",
)


def _rho(x: sp.Symbol, y: sp.Symbol, ours: sp.IndexedBase, theirs: sp.IndexedBase) -> sp.Expr:
    return delta(x, y) - theirs[x] - ours[y] + over_words(ours[c] * theirs[c])


def _bracket(right: sp.Symbol, wrong: sp.Symbol, up: sp.Symbol, down: sp.Symbol) -> sp.Expr:
    """First tokens with first tokens: four coefficients at one pair of contexts."""
    return _less(
        _less(_rho(right, up, p, q), _rho(right, down, p, q)), _less(_rho(wrong, up, p, q), _rho(wrong, down, p, q))
    )


def _less(one: sp.Expr, other: sp.Expr) -> sp.Expr:
    """one - other, left as it stands: sympy would cancel before the reader sees it."""
    return sp.Add(one, sp.Mul(-1, other, evaluate=False), evaluate=False)


def _bearing(given: dict, *places: sp.Expr) -> dict:
    """Of all the pairs of words that differ, those that this step speaks of."""
    return {key: value for key, value in given.items() if any(place.has(key) for place in places)}


def _overlap_step() -> Step:
    return algebra(
        "The reward changes by β² η g times the sum over pairs of positions of coefficient times inner product of "
        "states (implicit_one_step); the coefficient of word a under p with word b under q is",
        over_words((delta(a, c) - p[c]) * (delta(b, c) - q[c])),
        _rho(a, b, p, q),
    )


def _cross_steps(
    right: sp.Symbol,
    wrong: sp.Symbol,
    second: sp.Symbol,
    up: sp.Symbol,
    down: sp.Symbol,
    trained_second: sp.Symbol,
    given: dict,
) -> tuple[Step, Step]:
    ours = _less(_rho(right, trained_second, p, q_plus), _rho(wrong, trained_second, p, q_plus))
    theirs = _less(_rho(second, up, p_plus, q), _rho(second, down, p_plus, q))
    return (
        algebra(
            "First tokens of the evaluated pair with a second token in training, after the chosen first token (after "
            "the rejected one alike): the evaluated context is the same, so only the training context's view of them "
            "is left:",
            ours,
            q_plus[wrong] - q_plus[right],
            given=_bearing(given, ours),
        ),
        algebra(
            "A second token of the evaluated pair with the first tokens of training: again one context is the same:",
            theirs,
            p_plus[down] - p_plus[up],
            given=_bearing(given, theirs),
        ),
    )


def _together(result: sp.Expr, right: tuple, wrong: tuple, up: tuple, down: tuple, given: dict) -> Step:
    """All pairs of the evaluated pair's four positions with the training pair's four."""
    ours = [(right[0], p, h, 1), (right[1], p_plus, h_plus, 1), (wrong[0], p, h, -1), (wrong[1], p_minus, h_minus, -1)]
    theirs = [(up[0], q, f, 1), (up[1], q_plus, f_plus, 1), (down[0], q, f, -1), (down[1], q_minus, f_minus, -1)]
    pairs = sum(
        sign * other_sign * _rho(x, y, ours_at, theirs_at) * over_coordinates(state[j] * trained[j])
        for x, ours_at, state, sign in ours
        for y, theirs_at, trained, other_sign in theirs
    )
    return algebra(
        "All together: the margin changes by β² η g times the sum over all pairs of positions, sixteen terms, which is",
        beta**2 * eta * g * pairs,
        result,
        given=given,
    )


def _cross(right: sp.Symbol, wrong: sp.Symbol, up: sp.Symbol, down: sp.Symbol) -> sp.Expr:
    """Positions 1 with 2 and 2 with 1."""
    ours = (q_plus[wrong] - q_plus[right]) * over_coordinates(h[j] * f_plus[j])
    ours -= (q_minus[wrong] - q_minus[right]) * over_coordinates(h[j] * f_minus[j])
    theirs = (p_plus[down] - p_plus[up]) * over_coordinates(h_plus[j] * f[j])
    return ours + theirs - (p_minus[down] - p_minus[up]) * over_coordinates(h_minus[j] * f[j])


def _corners(*coefficients: Callable[[sp.IndexedBase, sp.IndexedBase], sp.Expr]) -> sp.Expr:
    """Second tokens with second tokens: right and wrong against chosen and rejected, with their signs."""
    pairs = (
        (p_plus, q_plus, h_plus, f_plus, 1),
        (p_plus, q_minus, h_plus, f_minus, -1),
        (p_minus, q_plus, h_minus, f_plus, -1),
        (p_minus, q_minus, h_minus, f_minus, 1),
    )
    each = coefficients if len(coefficients) == 4 else coefficients * 4
    return sum(
        sign * coefficient(ours, theirs) * over_coordinates(state[j] * trained[j])
        for coefficient, (ours, theirs, state, trained, sign) in zip(each, pairs, strict=True)
    )


@dataclass(frozen=True)
class TwoTokens:
    """`case.evaluated` is the right response, `wrong` the other one; `words` gives every letter its word."""

    case: Case
    wrong: Spoken
    words: dict[sp.Symbol, int]


def _draw_terminator(rng: np.random.Generator) -> TwoTokens:
    words = dict(zip((a, b, chosen, rejected, t), rng.permutation(8)[:5].tolist(), strict=True))
    return _draw(rng, words, (a, t), (b, t), (chosen, t), (rejected, t))


def _draw_prefix(rng: np.random.Generator) -> TwoTokens:
    """Evaluated prefixes: those of training in either order, one of them against a new one, or two new ones."""
    words = dict(zip((a, b, chosen, rejected, u, u2), rng.permutation(8)[:6].tolist(), strict=True))
    new = [word for word in range(8) if word not in words.values()]
    words[v], words[v2] = rng.permutation([words[u], words[u2], *new])[:2].tolist()
    return _draw(rng, words, (v, a), (v2, b), (u, chosen), (u2, rejected))


def _draw(rng: np.random.Generator, words: dict, *responses: tuple[sp.Symbol, sp.Symbol]) -> TwoTokens:
    case = draw_case(rng, vocabulary=8, width=3, tokens=2, identical=False)
    spoken = []
    for number, tokens in enumerate(responses):
        states = rng.standard_normal((2, 3))
        if number % 2:  # both responses to a prompt start from the prompt's hidden state
            states[0] = spoken[-1].hidden[0]
        spoken.append(Spoken(states, np.array([words[token] for token in tokens]), states[-1]))
    right, wrong, up, down = spoken
    return TwoTokens(replace(case, evaluated=right, chosen=up, rejected=down), wrong, words)


def _witnesses(result: sp.Expr, draw: Callable[[np.random.Generator], TwoTokens]) -> Witnesses:
    def proven(drawn: TwoTokens) -> float:
        case = drawn.case
        values = {V: 8, D: 3, beta: case.beta, eta: case.step_size, g: experiment.losing(case)}
        spoken = (case.evaluated, drawn.wrong, case.chosen, case.rejected)
        states = [case.evaluated.hidden[0], case.chosen.hidden[0]] + [response.hidden[1] for response in spoken]
        letters = zip((h, f, h_plus, h_minus, f_plus, f_minus), (p, q, p_plus, p_minus, q_plus, q_minus), strict=True)
        for (state, distribution), hidden in zip(letters, states, strict=True):
            values |= {state: hidden, distribution: experiment.distribution(case, hidden)}
        return evaluate(result, {**values, **{letter: word + 1 for letter, word in drawn.words.items()}})

    def closed_form(drawn: TwoTokens) -> float:
        right = closed_forms.implicit_change(drawn.case)
        return right - closed_forms.implicit_change(drawn.case, evaluated=drawn.wrong)

    def measured(drawn: TwoTokens) -> float:
        right, loss = experiment.implicit_step(drawn.case)
        wrong = experiment.implicit(drawn.case, drawn.wrong)
        margin = lambda weights: right(weights) - wrong(weights)  # noqa: E731
        return drawn.case.step_size * experiment.slope(margin, loss, drawn.case.weights)

    return Witnesses(
        draw=draw,
        algebra=proven,
        closed_form=closed_form,
        experiment=measured,
        closed_form_name="theory.dynamics.implicit_change, right response less wrong one",
        experiment_text="η times the derivative of the margin along the step, by autograd, on random words and states",
    )
