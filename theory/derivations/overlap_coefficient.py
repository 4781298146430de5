"""The token-overlap coefficient: what it is, its mean, its range and its sign (Razin et al. 2025, equation (5))."""

from dataclasses import dataclass

import numpy as np
import sympy as sp

from theory import dynamics
from theory.derivations.algebra import evaluate
from theory.derivations.derivation import Derivation, Witnesses, algebra, non_negative, numeric
from theory.derivations.shared_steps import RAZIN, score_step
from theory.derivations.symbols import V, a, b, c, delta, over_words, p, q

rho = sp.Symbol("rho")
CLOSED_FORM = "theory.dynamics.token_overlap_coefficient"


@dataclass(frozen=True)
class Meeting:
    """Word `token` under softmax(`logits`) meets word `other_token` under softmax(`other_logits`)."""

    logits: np.ndarray
    token: int
    other_logits: np.ndarray
    other_token: int


def draw_meeting(rng: np.random.Generator, *, vocabulary: int | None = None, sharpness: float | None = None) -> Meeting:
    """Vocabularies of two and three and near-deterministic distributions included."""
    vocabulary = vocabulary or int(rng.choice([2, 3, 7]))
    sharpness = sharpness or float(rng.choice([0.3, 1.0, 10.0]))
    logits = sharpness * rng.standard_normal((2, vocabulary))
    token, other = (int(word) for word in rng.integers(0, vocabulary, 2))
    return Meeting(logits[0], token, logits[1], other)


def token_overlap_coefficient() -> Derivation:
    formula = delta(a, b) - q[a] - p[b] + over_words(p[c] * q[c])
    inner = sp.Symbol("X", real=True)
    averaged = sp.Sum(p[a] * (delta(a, b) - q[a] - p[b] + inner), (a, 1, V))
    products = over_words(p[c] * q[c])
    return Derivation(
        name="token_overlap_coefficient",
        title="The token-overlap coefficient is the inner product of two scores, with mean zero under the model",
        statement=(
            "Let word a be followed under distribution p and word b under q. The gradients of ln p(a) and ln q(b) in "
            "the output layer have inner product ρ ⟨h̄, h⟩ with ρ = 1[a = b] - q(a) - p(b) + ⟨p, q⟩. Averaged over a "
            "drawn from p, ρ is zero: on text the model itself would write, training moves nothing on average."
        ),
        assumptions=("logits are linear in the hidden state; no soft cap and no scale", "p and q sum to one"),
        steps=(
            score_step,
            algebra(
                "The inner product of two scores, one per word of the vocabulary:",
                over_words((delta(a, c) - p[c]) * (delta(b, c) - q[c])),
                formula,
            ),
            algebra(
                "Its mean over a under p, writing X for ⟨p, q⟩, which does not depend on a:",
                averaged,
                p[b] - over_words(p[c] * q[c]) + (inner - p[b]) * over_words(p[c]),
            ),
            algebra(
                "which is zero, because p sums to one:",
                p[b] - products + (inner - p[b]) * over_words(p[c]),
                0,
                given={over_words(p[c]): 1, inner: products},
            ),
        ),
        result=(rho, formula),
        witnesses=_witnesses(formula),
        measurements=(
            numeric("Mean of the coefficient over a drawn from p, by summation over all words", _worst_mean, 1e-12),
        ),
        limits=(
            "Soft-capped logits weigh every word (soft_capped_one_step); the mean stays zero, the range does not.",
            "It is one factor of two: orthogonal hidden states make any overlap irrelevant.",
        ),
        references=(f"{RAZIN}, equation (5)",),
    )


def token_overlap_range() -> Derivation:
    p_a, p_b, q_a, q_b, P, Q, S = sp.symbols("p_a p_b q_a q_b P Q S", nonnegative=True)
    gap = sp.Symbol("G", nonnegative=True)
    match = 1 - q_a - p_a + (p_a * q_a + S)
    mismatch = -q_a - p_b + (p_a * q_a + p_b * q_b + S)
    # One is a sum of probabilities, and its square a product of two such sums.
    one_word, two_words = {P: 1 - p_a, Q: 1 - q_a}, {P: 1 - p_a - p_b, Q: 1 - q_a - q_b}
    product = (p_a + p_b + P) * (q_a + q_b + Q)
    down = q_a * (p_b + P) + p_b * (q_a + Q)
    return Derivation(
        name="token_overlap_range",
        title="A match never pushes down; a mismatch pushes up by at most 1, and never between two words only",
        statement=(
            "The coefficient lies in [-2, 2]. Where the words match it lies in [0, 2]; where they do not, in [-2, "
            "1]. In a vocabulary of two a mismatch is never positive; from three words on it takes either sign. The "
            "ends are limits of certain predictions: with every probability positive, as in any softmax, each "
            "right-hand side below has a positive term."
        ),
        assumptions=("p and q are distributions over the same vocabulary; no soft cap and no scale",),
        steps=(
            non_negative(
                "Match, a = b. Let P, Q be the probabilities of all other words and S their part of ⟨p, q⟩, so that "
                "⟨p, q⟩ = p_a q_a + S. The coefficient is never negative:",
                match,
                P * Q + S,
                given=one_word,
            ),
            non_negative(
                "and at most 2, because S ≤ P Q: a sum of products of non-negative numbers is at most the product of "
                "their sums, say S = P Q - G:",
                2 - match,
                2 * (p_a * Q + p_a * q_a + P * q_a) + gap,
                given={S: P * Q - gap, **one_word},
            ),
            non_negative(
                "Mismatch, a ≠ b, with P, Q and S over the words other than a and b. Again S = P Q - G, and the "
                "coefficient is at most 1:",
                1 - mismatch,
                product - P * Q + gap + down,
                given={S: P * Q - gap, **two_words},
            ),
            non_negative("and at least -2:", 2 + mismatch, 2 * product - down + S, given=two_words),
            non_negative(
                "With no third word P, Q and S are zero and a mismatch is never positive:",
                -mismatch,
                2 * p_b * q_a,
                given={S: 0, p_a: 1 - p_b, q_b: 1 - q_a},
            ),
            algebra(
                "With a third word that both positions predict for certain it is 1:", mismatch, 1, given=_certain_third
            ),
            algebra("Each position certain of the other's word, it is -2:", mismatch, -2, given=_crossed),
            algebra("Both certain of the same other word, a match is 2:", match, 2, given={p_a: 0, q_a: 0, S: 1}),
        ),
        result=(rho, delta(a, b) - q[a] - p[b] + over_words(p[c] * q[c])),
        witnesses=_witnesses(delta(a, b) - q[a] - p[b] + over_words(p[c] * q[c])),
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


_pa, _pb, _qa, _qb, _S = sp.symbols("p_a p_b q_a q_b S", nonnegative=True)
_certain_third = {_pa: 0, _pb: 0, _qa: 0, _qb: 0, _S: 1}
_crossed = {_pa: 0, _pb: 1, _qa: 1, _qb: 0, _S: 0}


def _witnesses(formula: sp.Expr) -> Witnesses:
    def proven(meeting: Meeting) -> float:
        ours, theirs = _softmax(meeting.logits), _softmax(meeting.other_logits)
        words = {V: len(ours), a: meeting.token + 1, b: meeting.other_token + 1}
        return evaluate(formula, {**words, p: ours, q: theirs})

    return Witnesses(
        draw=draw_meeting,
        algebra=proven,
        closed_form=_closed_form,
        experiment=_inner_product_of_scores,
        closed_form_name=CLOSED_FORM,
        experiment_text="inner product of the gradients of two log-softmaxes in their logits, by autograd",
    )


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def _closed_form(meeting: Meeting) -> float:
    ours, theirs = _softmax(meeting.logits), _softmax(meeting.other_logits)
    return dynamics.token_overlap_coefficient(ours, meeting.token, theirs, meeting.other_token)


def _inner_product_of_scores(meeting: Meeting) -> float:
    import torch

    def score(values: np.ndarray, token: int) -> "torch.Tensor":
        logits = torch.tensor(values, dtype=torch.float64, requires_grad=True)
        return torch.autograd.grad(logits.log_softmax(-1)[token], logits)[0]

    return float(score(meeting.logits, meeting.token) @ score(meeting.other_logits, meeting.other_token))


def _worst_mean(rng: np.random.Generator) -> float:
    worst = 0.0
    for _ in range(200):
        drawn = draw_meeting(rng)
        ours, theirs = _softmax(drawn.logits), _softmax(drawn.other_logits)
        values = [
            dynamics.token_overlap_coefficient(ours, word, theirs, drawn.other_token) for word in range(len(ours))
        ]
        worst = max(worst, abs(float(ours @ values)))
    return worst


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
    worst = 0.0
    for _ in range(4000):
        drawn = draw_meeting(rng)
        low, high = (0.0, 2.0) if drawn.token == drawn.other_token else (-2.0, 1.0 if len(drawn.logits) > 2 else 0.0)
        value = _closed_form(drawn)
        worst = max(worst, low - value, value - high)
    return worst
