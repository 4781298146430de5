"""What one gradient step on one pair changes in every reward: the readable float64 reference.

Razin et al. 2025 (arXiv 2507.07981), section 4: hidden states are fixed; explicit models train the head u, implicit
and generative ones the output layer U. One step of size eta on the loss of the pair (x, y+, y-), with
g = sigma(r(x, y-) - r(x, y+)) taken before the step, changes the reward of a response y' to a prompt x' by

    explicit    eta g <h(x', y'), h(x, y+) - h(x, y-)>                                      exactly, at any eta
    implicit    beta^2 eta g [S(y', y+) - S(y', y-)]                                        + O(eta^2)
                with S(y', v) = sum_kl rho_kl <h(x', y'_<k), h(x, v_<l)>, eq. (5)
    generative  eta P'(Yes) [w+ rho+ <h', h+> + w- rho- <h', h->]                           + O(eta^2)

where rho is the token-overlap coefficient. Every function returns an array (evaluated, pairs): entry (i, j) is what a
step on pair j alone changes; a step on the mean loss of a batch changes the mean over its pairs.

Loops stand where the formula has sums. `theory.overlap` computes the same at scale and is tested against this file.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit, log_softmax, softmax

from theory.preferences import Array


@dataclass(frozen=True)
class OutputLayer:
    """Logits z = cap tanh(s U h / cap) of hidden states h; z = s U h where there is no cap.

    `soft_cap` is Gemma-2's `final_logit_softcapping`, `scale` Cohere's `logit_scale` (one over Granite's). The methods
    are for numpy; layers and responses of torch tensors are for `theory.overlap`.
    """

    weights: Float[Array, "vocabulary dim"]
    soft_cap: float | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.soft_cap is not None and not 0 < self.soft_cap < float("inf"):
            raise ValueError(f"soft_cap must be positive and finite, or None (no cap), got {self.soft_cap}")

    def logits(self, hidden: Float[np.ndarray, "*batch dim"]) -> Float[np.ndarray, "*batch vocabulary"]:
        raw = self.scale * (hidden @ self.weights.T)
        return raw if self.soft_cap is None else self.soft_cap * np.tanh(raw / self.soft_cap)

    def probabilities(self, hidden: Float[np.ndarray, "*batch dim"]) -> Float[np.ndarray, "*batch vocabulary"]:
        return softmax(self.logits(hidden), axis=-1)

    def slopes(self, hidden: Float[np.ndarray, "*batch dim"]) -> Float[np.ndarray, "*batch vocabulary"]:
        """dz_v / d(U_v h) = s (1 - tanh^2(s U_v h / cap)): how much of a logit's gradient the cap lets through."""
        if self.soft_cap is None:
            return np.full((*hidden.shape[:-1], len(self.weights)), self.scale)
        return self.scale * (1 - (self.logits(hidden) / self.soft_cap) ** 2)


@dataclass(frozen=True)
class Response:
    """One response to one prompt: `hidden[k]` is the hidden state that predicts `tokens[k]`."""

    hidden: Float[Array, "tokens dim"]
    tokens: Int[Array, " tokens"]


@dataclass(frozen=True)
class ResponsePair:
    chosen: Response
    rejected: Response


def log_probability(layer: OutputLayer, response: Response) -> float:
    """ln pi(y|x), summed over the response's tokens, in nats."""
    _refuse_foreign_tokens(layer, response)
    logprobs = log_softmax(layer.logits(response.hidden), axis=-1)
    return float(sum(logprobs[k, token] for k, token in enumerate(response.tokens)))


def token_overlap_coefficient(
    probabilities: Float[np.ndarray, " vocabulary"],
    token: int,
    other_probabilities: Float[np.ndarray, " vocabulary"],
    other_token: int,
    *,
    slopes: Float[np.ndarray, " vocabulary"] | None = None,
    other_slopes: Float[np.ndarray, " vocabulary"] | None = None,
) -> float:
    """rho = sum_c d_c d'_c (1[a = c] - p_c)(1[b = c] - q_c), for token a drawn under p and token b under q.

    d and d' are the slopes of the logits (`OutputLayer.slopes`); without a cap and a scale they are 1 and

        rho = 1[a = b] - q_a - p_b + <p, q>.

    Then rho lies in (-2, 2); in (0, 2) where the tokens match, in (-2, 1) where they do not, negative for certain in
    a vocabulary of two; and its mean over a ~ p is zero.

    References:
        Razin et al. 2025, eq. (5); the factor d d' is ours.
    """
    ones = np.ones_like(probabilities)
    weight = (ones if slopes is None else slopes) * (ones if other_slopes is None else other_slopes)
    match = weight[token] if token == other_token else 0.0
    return float(
        match
        - weight[token] * other_probabilities[token]
        - weight[other_token] * probabilities[other_token]
        + weight @ (probabilities * other_probabilities)
    )


def token_overlap_coefficients(
    layer: OutputLayer, evaluated: Response, trained: Response
) -> Float[np.ndarray, "evaluated_tokens trained_tokens"]:
    """rho_kl of every pair of token positions of two responses."""
    _refuse_foreign_tokens(layer, evaluated, trained)
    p, q = layer.probabilities(evaluated.hidden), layer.probabilities(trained.hidden)
    d, e = layer.slopes(evaluated.hidden), layer.slopes(trained.hidden)
    rho = np.zeros((len(evaluated.tokens), len(trained.tokens)))
    for k, a in enumerate(evaluated.tokens):
        for j, b in enumerate(trained.tokens):
            rho[k, j] = token_overlap_coefficient(p[k], int(a), q[j], int(b), slopes=d[k], other_slopes=e[j])
    return rho


def overlap_sum(layer: OutputLayer, evaluated: Response, trained: Response) -> float:
    """S(y', v) = sum_kl rho_kl <h'_k, h_l>, the inner product of the gradients of ln pi(y'|x') and ln pi(v|x)."""
    rho = token_overlap_coefficients(layer, evaluated, trained)
    return float(np.sum(rho * (evaluated.hidden @ trained.hidden.T)))


def explicit_change(
    head: Float[np.ndarray, " dim"],
    evaluated: Float[np.ndarray, "evaluated dim"],
    chosen: Float[np.ndarray, "pairs dim"],
    rejected: Float[np.ndarray, "pairs dim"],
    *,
    step_size: float,
) -> Float[np.ndarray, "evaluated pairs"]:
    """Exact change of every explicit reward after one step on each pair; all arguments are last hidden states."""
    losing = expit(-(chosen - rejected) @ head)
    return step_size * losing * (evaluated @ (chosen - rejected).T)


def implicit_change(
    layer: OutputLayer,
    evaluated: Sequence[Response],
    pairs: Sequence[ResponsePair],
    *,
    reference_log_ratios: Float[np.ndarray, " pairs"],
    beta: float,
    step_size: float,
) -> Float[np.ndarray, "evaluated pairs"]:
    """Change of every implicit reward after one step on each pair, to first order in the step size.

    One beta comes from the reward that is read off, one from the loss; g holds a third. The reference model enters
    through g alone: `reference_log_ratios[j]` = ln pi_ref(y+|x) - ln pi_ref(y-|x) of pair j, in nats.
    """
    change = np.zeros((len(evaluated), len(pairs)))
    for j, pair in enumerate(pairs):
        log_ratio = log_probability(layer, pair.chosen) - log_probability(layer, pair.rejected)
        losing = expit(-beta * (log_ratio - reference_log_ratios[j]))
        for i, response in enumerate(evaluated):
            overlap = overlap_sum(layer, response, pair.chosen) - overlap_sum(layer, response, pair.rejected)
            change[i, j] = beta**2 * step_size * losing * overlap  # eq. (5)
    return change


def generative_change_cross_entropy(
    layer: OutputLayer,
    evaluated: Float[np.ndarray, "evaluated dim"],
    chosen: Float[np.ndarray, "pairs dim"],
    rejected: Float[np.ndarray, "pairs dim"],
    *,
    yes: int,
    no: int,
    step_size: float,
) -> Float[np.ndarray, "evaluated pairs"]:
    """Change of every P(Yes) after a step on -[ln P(Yes|chosen) + ln P(No|rejected)] / 2, to first order.

    Hidden states are those at the end of the verification prompt, so the tokens of the evaluated response enter
    through the hidden state only: structurally like the explicit reward, unlike the implicit one.
    """
    toward_yes = _verification_kernel(layer, evaluated, chosen, read=yes, trained=yes)
    toward_no = _verification_kernel(layer, evaluated, rejected, read=yes, trained=no)
    read_off = layer.probabilities(evaluated)[:, yes, None]  # dP(Yes) = P(Yes) d ln P(Yes)
    return step_size * read_off * (toward_yes + toward_no) / 2


def generative_change_bradley_terry(
    layer: OutputLayer,
    evaluated: Float[np.ndarray, "evaluated dim"],
    chosen: Float[np.ndarray, "pairs dim"],
    rejected: Float[np.ndarray, "pairs dim"],
    *,
    yes: int,
    step_size: float,
) -> Float[np.ndarray, "evaluated pairs"]:
    """Change of every P(Yes) after a step on -ln sigma(P(Yes|chosen) - P(Yes|rejected)), to first order."""
    up = _verification_kernel(layer, evaluated, chosen, read=yes, trained=yes)
    down = _verification_kernel(layer, evaluated, rejected, read=yes, trained=yes)
    chosen_yes, rejected_yes = layer.probabilities(chosen)[:, yes], layer.probabilities(rejected)[:, yes]
    losing = expit(rejected_yes - chosen_yes)
    read_off = layer.probabilities(evaluated)[:, yes, None]
    return step_size * losing * read_off * (chosen_yes * up - rejected_yes * down)


def _verification_kernel(
    layer: OutputLayer,
    evaluated: Float[np.ndarray, "evaluated dim"],
    hidden: Float[np.ndarray, "pairs dim"],
    *,
    read: int,
    trained: int,
) -> Float[np.ndarray, "evaluated pairs"]:
    """rho <h', h>: the inner product of the gradients of ln P(read) at one prompt and ln P(trained) at another."""
    kernel = np.zeros((len(evaluated), len(hidden)))
    for i in range(len(evaluated)):
        for j in range(len(hidden)):
            one = Response(evaluated[i : i + 1], np.array([read]))
            other = Response(hidden[j : j + 1], np.array([trained]))
            kernel[i, j] = overlap_sum(layer, one, other)
    return kernel


def _refuse_foreign_tokens(layer: OutputLayer, *responses: Response) -> None:
    """A negative id would silently read the vocabulary from its end."""
    for response in responses:
        if len(response.tokens) and not 0 <= min(response.tokens) <= max(response.tokens) < len(layer.weights):
            raise ValueError(f"token ids must lie in 0 to {len(layer.weights) - 1}, got {list(response.tokens)}")
