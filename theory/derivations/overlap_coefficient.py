"""The token-overlap coefficient: what it is, and its mean (Razin et al. 2025, equation (5))."""

from dataclasses import dataclass

import numpy as np
import sympy as sp

from theory import dynamics
from theory.derivations.algebra import evaluate
from theory.derivations.derivation import Derivation, Witnesses, algebra, numeric
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
    weight = sp.IndexedBase("w")
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
                "The mean over a under p of the inner product of a's score with another score, or with anything that "
                "does not depend on a, word c weighing w_c (one here), has the factor 1 - Σ p and is zero:",
                sp.Sum(p[a] * over_words(weight[c] * (delta(a, c) - p[c]) * (delta(b, c) - q[c])), (a, 1, V)),
                (1 - over_words(p[c])) * over_words(weight[c] * p[c] * (delta(b, c) - q[c])),
            ),
            algebra(
                "The inner product of two scores, one per word of the vocabulary:",
                over_words((delta(a, c) - p[c]) * (delta(b, c) - q[c])),
                formula,
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


def _witnesses(formula: sp.Expr) -> Witnesses:
    def proven(meeting: Meeting) -> float:
        ours, theirs = softmax(meeting.logits), softmax(meeting.other_logits)
        words = {V: len(ours), a: meeting.token + 1, b: meeting.other_token + 1}
        return evaluate(formula, {**words, p: ours, q: theirs})

    return Witnesses(
        draw=draw_meeting,
        algebra=proven,
        closed_form=closed_form,
        experiment=inner_product_of_scores,
        closed_form_name=CLOSED_FORM,
        experiment_text="inner product of the gradients of two log-softmaxes in their logits, by autograd",
    )


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def closed_form(meeting: Meeting) -> float:
    ours, theirs = softmax(meeting.logits), softmax(meeting.other_logits)
    return dynamics.token_overlap_coefficient(ours, meeting.token, theirs, meeting.other_token)


def inner_product_of_scores(meeting: Meeting) -> float:
    import torch

    def score(values: np.ndarray, token: int) -> "torch.Tensor":
        logits = torch.tensor(values, dtype=torch.float64, requires_grad=True)
        return torch.autograd.grad(logits.log_softmax(-1)[token], logits)[0]

    return float(score(meeting.logits, meeting.token) @ score(meeting.other_logits, meeting.other_token))


def _worst_mean(rng: np.random.Generator) -> float:
    worst = 0.0
    for _ in range(200):
        drawn = draw_meeting(rng)
        ours, theirs = softmax(drawn.logits), softmax(drawn.other_logits)
        values = [
            dynamics.token_overlap_coefficient(ours, word, theirs, drawn.other_token) for word in range(len(ours))
        ]
        worst = max(worst, abs(float(ours @ values)))
    return worst
