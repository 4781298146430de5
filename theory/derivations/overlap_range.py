"""The range and the sign of the token-overlap coefficient, whose largest mismatch is the least obvious."""

import numpy as np
import sympy as sp

from theory import dynamics
from theory.derivations.algebra import evaluate
from theory.derivations.derivation import Derivation, Witnesses, algebra, non_negative, numeric
from theory.derivations.overlap_coefficient import (
    CLOSED_FORM,
    Meeting,
    closed_form,
    draw_meeting,
    inner_product_of_scores,
    softmax,
)
from theory.derivations.shared_steps import RAZIN
from theory.derivations.symbols import a, c, delta, over_words

# Probabilities of the two words, P and Q those of all others, S the others' part of <p, q>, and G = P Q - S.
LETTERS = p_a, p_b, q_a, q_b, P, Q, S, G = sp.symbols("p_a p_b q_a q_b P Q S G", nonnegative=True)
MATCH = 1 - q_a - p_a + (p_a * q_a + S)
MISMATCH = -q_a - p_b + (p_a * q_a + p_b * q_b + S)
_all, _down = (p_a + p_b + P) * (q_a + q_b + Q), q_a * (p_b + P) + p_b * (q_a + Q)
# The distances from the lower and from the upper end of the range, as sums of terms that are never negative.
MATCH_ABOVE_0, MATCH_BELOW_2 = P * Q + S, 2 * (p_a * Q + p_a * q_a + P * q_a) + G
MISMATCH_ABOVE_MINUS_2, MISMATCH_BELOW_1, MISMATCH_BELOW_0 = (
    2 * _all - _down + S,
    _all - P * Q + G + _down,
    2 * p_b * q_a,
)


def token_overlap_range() -> Derivation:
    x, y = sp.IndexedBase("x"), sp.IndexedBase("y")
    one_word, two_words = {P: 1 - p_a, Q: 1 - q_a}, {P: 1 - p_a - p_b, Q: 1 - q_a - q_b}
    return Derivation(
        name="token_overlap_range",
        title="A match never pushes down; a mismatch pushes up by at most 1, and never between two words only",
        statement=(
            "The coefficient lies in [-2, 2]. Where the words match it lies in [0, 2]; where they do not, in [-2, "
            "1]. In a vocabulary of two a mismatch is never positive; from three words on it takes either sign. The "
            "ends are limits of certain predictions: with every probability positive, as in any softmax, each "
            "right-hand side below has a positive term. The closed form is how far below 1 a mismatch stays."
        ),
        assumptions=("p and q are distributions over the same vocabulary; no soft cap and no scale",),
        steps=(
            algebra(
                "Let P = Σ x_c and Q = Σ y_c be the probabilities of all other words under p and q, and S = Σ x_c y_c "
                "their part of ⟨p, q⟩. A sum of products is at most the product of the sums, S = P Q - G with G ≥ 0, "
                "because G is the sum of the products of different words:",
                over_words(x[c]) * over_words(y[c]) - over_words(x[c] * y[c]),
                over_words(x[c] * y[a] * (1 - delta(a, c)), c, a),
            ),
            non_negative(
                "Match, a = b, all words other than a: ⟨p, q⟩ = p_a q_a + S. The coefficient is never negative:",
                MATCH,
                MATCH_ABOVE_0,
                given=one_word,
            ),
            non_negative("and at most 2:", 2 - MATCH, MATCH_BELOW_2, given={S: P * Q - G, **one_word}),
            algebra("Both certain of the same other word, a match is 2:", MATCH, 2, given={p_a: 0, q_a: 0, S: 1}),
            non_negative(
                "Mismatch, a ≠ b, all words other than a and b. The coefficient is at least -2:",
                2 + MISMATCH,
                MISMATCH_ABOVE_MINUS_2,
                given=two_words,
            ),
            algebra(
                "Each position certain of the other's word, it is -2:",
                MISMATCH,
                -2,
                given={p_a: 0, p_b: 1, q_a: 1, q_b: 0, S: 0},
            ),
            non_negative(
                "With no third word P, Q and S are zero and a mismatch is never positive:",
                -MISMATCH,
                MISMATCH_BELOW_0,
                given={S: 0, p_a: 1 - p_b, q_b: 1 - q_a},
            ),
            algebra(
                "With a third word that both positions predict for certain it is 1:",
                MISMATCH,
                1,
                given={p_a: 0, p_b: 0, q_a: 0, q_b: 0, S: 1},
            ),
            non_negative(
                "and never more, as one is the product of two sums of probabilities:",
                1 - MISMATCH,
                MISMATCH_BELOW_1,
                given={S: P * Q - G, **two_words},
            ),
        ),
        result=(1 - sp.Symbol("rho"), MISMATCH_BELOW_1),
        witnesses=Witnesses(
            draw=draw_meeting,
            algebra=_proven_distances,
            closed_form=lambda meeting: _distances(meeting, closed_form(meeting)),
            experiment=lambda meeting: _distances(meeting, inner_product_of_scores(meeting)),
            closed_form_name=CLOSED_FORM,
            experiment_text=(
                "distances of the coefficient from both ends of the range for that match or mismatch, as the inner "
                "product of the gradients of two log-softmaxes, by autograd"
            ),
        ),
        measurements=(
            numeric(
                "Largest distance of the extremes from those stated, over all pairs of certain predictions in "
                "vocabularies of two to five (the coefficient is linear in p and in q, so its extremes are there)",
                lambda rng: _worst_extreme(),
                0.0,
            ),
            numeric("Largest excess over the stated range in 4000 random meetings", _worst_excess, 1e-15),
        ),
        limits=(
            "Soft-capped or scaled logits multiply the range by the largest product of two slopes.",
            "A sign of ρ is the sign of its contribution only if ⟨h̄, h⟩ is positive.",
        ),
        references=(f"{RAZIN}, equation (5); the sign lemma is ours",),
    )


def _ends(meeting: Meeting) -> tuple[float, float]:
    if meeting.token == meeting.other_token:
        return 0.0, 2.0
    return -2.0, 1.0 if len(meeting.logits) > 2 else 0.0


def _distances(meeting: Meeting, coefficient: float) -> np.ndarray:
    low, high = _ends(meeting)
    return np.array([coefficient - low, high - coefficient])


def _proven_distances(meeting: Meeting) -> np.ndarray:
    ours, theirs = softmax(meeting.logits), softmax(meeting.other_logits)
    one, two = meeting.token, meeting.other_token
    others = [word for word in range(len(ours)) if word not in (one, two)]
    rest, other_rest, shared = ours[others].sum(), theirs[others].sum(), ours[others] @ theirs[others]
    numbers = (ours[one], ours[two], theirs[one], theirs[two], rest, other_rest, shared, rest * other_rest - shared)
    if one == two:
        ends = MATCH_ABOVE_0, MATCH_BELOW_2
    else:
        ends = MISMATCH_ABOVE_MINUS_2, MISMATCH_BELOW_1 if others else MISMATCH_BELOW_0
    return np.array([evaluate(end, dict(zip(LETTERS, map(float, numbers), strict=True))) for end in ends])


def _worst_extreme() -> float:
    """Stated and enumerated (lowest, highest) coefficient, of matches and of mismatches, by vocabulary."""
    worst = 0.0
    for size in (2, 3, 4, 5):
        corners = np.eye(size)
        stated = {True: (0.0, 2.0), False: (-2.0, 1.0 if size > 2 else 0.0)}
        for match, (low, high) in stated.items():
            values = [
                dynamics.token_overlap_coefficient(ours, 0, theirs, 0 if match else 1)
                for ours in corners
                for theirs in corners
            ]
            worst = max(worst, abs(min(values) - low), abs(max(values) - high))
    return worst


def _worst_excess(rng: np.random.Generator) -> float:
    drawn = [draw_meeting(rng) for _ in range(4000)]
    return max(-_distances(meeting, closed_form(meeting)).min() for meeting in drawn)
