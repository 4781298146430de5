"""Responses of one token: what an implicit model's margins do in training, exactly (Razin et al. 2025, theorem 2).

With one token the hidden state belongs to the prompt alone and the log-partition is the same for both responses, so

    margin(x; a, b) = beta <(U_a - R_a) - (U_b - R_b), h_x>

with R the reference's output layer: computed from rows, an exact tie is an exact zero, where a difference of two
log-softmaxes carries 1e-15 of noise. Only rows of trained tokens get a gradient; every other row stays where it is, or
decays if there is weight decay. Margins are in nats, chosen minus rejected. Prompts are hidden states (n, dim), tokens
integers (n,).
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit


def implicit_margin(
    weights: Float[np.ndarray, "vocabulary dim"],
    reference: Float[np.ndarray, "vocabulary dim"],
    prompts: Float[np.ndarray, "pairs dim"],
    chosen: Int[np.ndarray, " pairs"],
    rejected: Int[np.ndarray, " pairs"],
    *,
    beta: float,
) -> Float[np.ndarray, " pairs"]:
    """The implicit reward of the chosen token less that of the rejected one; zero where the policy is the reference."""
    moved = weights - reference
    return beta * np.sum((moved[chosen] - moved[rejected]) * prompts, axis=-1)


def unseen_margin(
    weights: Float[np.ndarray, "vocabulary dim"],
    reference: Float[np.ndarray, "vocabulary dim"],
    prompts: Float[np.ndarray, "pairs dim"],
    chosen: Int[np.ndarray, " pairs"],
    rejected: Int[np.ndarray, " pairs"],
    *,
    beta: float,
    steps: int,
    step_size: float,
    weight_decay: float = 0.0,
) -> Float[np.ndarray, " pairs"]:
    """The margins after `steps` steps of gradient descent on pairs that contain none of these tokens.

    `weights` are those before the first step. Without weight decay nothing moves: the initial margin, zero where the
    policy starts at the reference. With it each row shrinks by (1 - eta lambda) per step and the margin tends to the
    reference's own log-odds, negated: beta <R_b - R_a, h>.
    """
    return implicit_margin(
        weights * (1 - step_size * weight_decay) ** steps, reference, prompts, chosen, rejected, beta=beta
    )


def margin_change(
    evaluated_prompts: Float[np.ndarray, "evaluated dim"],
    evaluated_chosen: Int[np.ndarray, " evaluated"],
    evaluated_rejected: Int[np.ndarray, " evaluated"],
    prompts: Float[np.ndarray, "pairs dim"],
    chosen: Int[np.ndarray, " pairs"],
    rejected: Int[np.ndarray, " pairs"],
    margins: Float[np.ndarray, " pairs"],
    *,
    beta: float,
    step_size: float,
    row_gram: Float[np.ndarray, "vocabulary vocabulary"] | None = None,
) -> Float[np.ndarray, "evaluated pairs"]:
    """Exact change of every evaluated margin after one step on each training pair, whose margins were `margins`.

    beta^2 eta g <h', h> (K[c', c] - K[c', r] - K[r', c] + K[r', r]), K = 1 where tokens are equal and 0 elsewhere.
    Where output rows share parameters, U = F W with W trained, K is their Gram matrix F F^T: pass it as `row_gram`.
    Exact at any step size, because margins are linear in U. Without `row_gram` a pair that shares no token with the
    training pair is not moved at all.
    """

    def kernel(ours: Int[np.ndarray, " evaluated"], theirs: Int[np.ndarray, " pairs"]) -> np.ndarray:
        if row_gram is None:
            return (ours[:, None] == theirs[None, :]).astype(float)
        return row_gram[np.ix_(ours, theirs)]

    tokens = kernel(evaluated_chosen, chosen) - kernel(evaluated_chosen, rejected)
    tokens = tokens - kernel(evaluated_rejected, chosen) + kernel(evaluated_rejected, rejected)
    return beta**2 * step_size * expit(-margins) * (evaluated_prompts @ prompts.T) * tokens
