"""What one gradient step changes in every reward, at the size of a language model: the engine.

The formulas are those of `theory.dynamics`, the readable reference it is tested against; here they are computed for all
evaluated responses and all training pairs at once, from hidden states, output weights and token ids, in numpy or torch,
holding a stated amount of memory. A step on the mean loss of a batch changes the mean over its pairs.

    prediction = implicit_changes(layer, evaluated, pairs, reference_log_ratios=..., beta=0.1, step_size=1e-3)
    prediction.changes        (evaluated, pairs), nats
    print(prediction.plan)    contracting factors: 1.34e+10 floating-point operations (tokens: 4.13e+10), ...

`token_influences` opens one entry: which token of the training pair moved which token of the reward, and how much.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from jaxtyping import Float

from theory.contraction import OverlapSums, overlap_sums, token_coefficients
from theory.dynamics import OutputLayer, Response, ResponsePair
from theory.plan import Plan
from theory.preferences import Array
from theory.stack import Stack, detached


@dataclass(frozen=True)
class Prediction:
    """`changes[i, j]`: what a step on pair j alone changes in reward (or margin) i; `plan`: how it was computed."""

    changes: Float[Array, "evaluated pairs"]
    plan: Plan | None


@dataclass(frozen=True)
class TokenInfluences:
    """One entry of `implicit_changes`, taken apart. Columns: the chosen tokens of the pair, then the rejected ones."""

    coefficients: Float[Array, "evaluated_tokens trained_tokens"]  # rho
    similarities: Float[Array, "evaluated_tokens trained_tokens"]  # <h', h>
    contributions: Float[
        Array, "evaluated_tokens trained_tokens"
    ]  # nats, rejected tokens negated; they sum to the change


def explicit_changes(
    head: Float[Array, " dim"],
    evaluated: Float[Array, "evaluated dim"],
    chosen: Float[Array, "pairs dim"],
    rejected: Float[Array, "pairs dim"],
    *,
    step_size: float,
) -> Prediction:
    """Explicit rewards, exactly and at any step size; arguments are last hidden states, changes in units of the reward.

    Raises:
        ValueError: chosen and rejected differ in shape.

    References:
        Razin et al. 2025, section 4.
    """
    _refuse_unpaired(chosen, rejected)
    xp = array_namespace(head, evaluated, chosen, rejected)
    head, evaluated, chosen, rejected = (
        xp.astype(detached(array), xp.float64) for array in (head, evaluated, chosen, rejected)
    )
    difference = chosen - rejected
    return Prediction(step_size * _sigmoid(-(difference @ head), xp) * (evaluated @ difference.T), None)


def implicit_changes(
    layer: OutputLayer,
    evaluated: Sequence[Response | ResponsePair],
    pairs: Sequence[ResponsePair],
    *,
    reference_log_ratios: Float[Array, " pairs"],
    beta: float,
    step_size: float,
    memory: int = 2**30,
) -> Prediction:
    """Implicit rewards of responses, or implicit margins of pairs, to first order in the step size.

    Args:
        reference_log_ratios: ln pi_ref(y+|x) - ln pi_ref(y-|x) of each training pair, in nats.
        memory: bytes to hold at a time beyond the arguments and the result.

    Raises:
        ValueError: beta is not positive, not one log-ratio per pair, or as `theory.contraction.overlap_sums`.

    References:
        Razin et al. 2025, eq. (5).
    """
    _refuse_beta(beta)
    if tuple(reference_log_ratios.shape) != (len(pairs),):
        raise ValueError(
            f"reference_log_ratios must hold one number per training pair, shape ({len(pairs)},), got "
            f"{tuple(reference_log_ratios.shape)}"
        )
    sums = overlap_sums(layer, evaluated, pairs, memory=memory)
    return Prediction(step_size * beta**2 * _losing(sums, reference_log_ratios, beta) * sums.values, sums.plan)


def generative_changes_cross_entropy(
    layer: OutputLayer,
    evaluated: Float[Array, "evaluated dim"],
    chosen: Float[Array, "pairs dim"],
    rejected: Float[Array, "pairs dim"],
    *,
    yes: int,
    no: int,
    step_size: float,
    memory: int = 2**30,
) -> Prediction:
    """Change of P(Yes), a probability, after a step on -[ln P(Yes|chosen) + ln P(No|rejected)] / 2, to first order.

    Args:
        evaluated, chosen, rejected: hidden states at the end of the verification prompt, where the answer is predicted.
        yes, no: ids of the two answers.
        memory: bytes to hold at a time beyond the arguments and the result.

    Raises:
        ValueError: yes is no, chosen and rejected differ in shape, or as `theory.contraction.overlap_sums`.

    References:
        Razin et al. 2025, appendix A (which loss it analyses is not established); the official code trains with this
        one.
    """
    if yes == no:
        raise ValueError(f"yes and no must be two tokens, got {yes} for both")
    sums = _verification_sums(layer, evaluated, chosen, rejected, read=yes, trained=(yes, no), memory=memory)
    toward_yes, toward_no = _halves(sums.values)
    return Prediction(step_size / 2 * _read_off(sums) * (toward_yes + toward_no), sums.plan)


def generative_changes_bradley_terry(
    layer: OutputLayer,
    evaluated: Float[Array, "evaluated dim"],
    chosen: Float[Array, "pairs dim"],
    rejected: Float[Array, "pairs dim"],
    *,
    yes: int,
    step_size: float,
    memory: int = 2**30,
) -> Prediction:
    """Change of P(Yes), a probability, after a step on -ln sigma(P(Yes|chosen) - P(Yes|rejected)), to first order.

    Arguments, errors and source are those of `generative_changes_cross_entropy`.
    """
    sums = _verification_sums(layer, evaluated, chosen, rejected, read=yes, trained=(yes, yes), memory=memory)
    xp = array_namespace(sums.values)
    up, down = _halves(sums.values)
    chosen_yes, rejected_yes = _halves(xp.exp(sums.trained_logprobs))
    losing = _sigmoid(rejected_yes - chosen_yes, xp)
    return Prediction(step_size * losing * _read_off(sums) * (chosen_yes * up - rejected_yes * down), sums.plan)


def token_influences(
    layer: OutputLayer,
    evaluated: Response,
    pair: ResponsePair,
    *,
    reference_log_ratio: float,
    beta: float,
    step_size: float,
    chunk: int = 4096,
) -> TokenInfluences:
    """What in the training pair moved this reward, token position by token position: eq. (5) before its sums.

    Args:
        reference_log_ratio: ln pi_ref(y+|x) - ln pi_ref(y-|x) of the pair, in nats.
        chunk: words of the vocabulary at a time.

    Raises:
        ValueError: beta is not positive, or tokens or hidden states as `theory.contraction.overlap_sums` refuses them.

    References:
        Razin et al. 2025, eq. (5).
    """
    _refuse_beta(beta)
    rows, columns = Stack.of(layer, [evaluated]), Stack.of(layer, [pair])
    coefficients, logprobs = token_coefficients(layer, rows, columns, chunk=chunk)
    similarities = rows.hidden @ columns.hidden.T
    log_ratio = columns.signed_sums(logprobs[len(rows.tokens) :])[0]
    losing = _sigmoid(-beta * (log_ratio - reference_log_ratio), rows.xp)
    signs = columns.array(columns.signs, rows.xp.float64)
    contributions = step_size * beta**2 * losing * signs * coefficients * similarities
    return TokenInfluences(coefficients, similarities, contributions)


def _losing(sums: OverlapSums, reference_log_ratios: Float[Array, " pairs"], beta: float) -> Float[Array, " pairs"]:
    """g = sigma(-margin) of every training pair, before the step."""
    xp = array_namespace(sums.values)
    reference = xp.astype(detached(reference_log_ratios), xp.float64)
    return _sigmoid(-beta * (sums.trained_logprobs - reference), xp)


def _verification_sums(
    layer: OutputLayer,
    evaluated: Float[Array, "evaluated dim"],
    chosen: Float[Array, "pairs dim"],
    rejected: Float[Array, "pairs dim"],
    *,
    read: int,
    trained: tuple[int, int],
    memory: int,
) -> OverlapSums:
    """Overlaps of the word read at each evaluated prompt with those trained at the chosen and at the rejected ones."""

    def answered(hidden: Float[Array, "prompts dim"], token: int) -> list[Response]:
        return [Response(hidden[i : i + 1], np.array([token])) for i in range(hidden.shape[0])]

    _refuse_unpaired(chosen, rejected)
    targets = answered(chosen, trained[0]) + answered(rejected, trained[1])
    return overlap_sums(layer, answered(evaluated, read), targets, memory=memory)


def _refuse_beta(beta: float) -> None:
    if not beta > 0:
        raise ValueError(f"beta must be positive, got {beta}; a negative one would reverse every ranking")


def _refuse_unpaired(chosen: Float[Array, "..."], rejected: Float[Array, "..."]) -> None:
    if tuple(chosen.shape) != tuple(rejected.shape):
        raise ValueError(
            f"chosen and rejected must hold one hidden state per pair, got shapes {tuple(chosen.shape)} and "
            f"{tuple(rejected.shape)}"
        )


def _halves(values: Float[Array, "..."]) -> tuple[Array, Array]:
    """Of the chosen prompts and of the rejected ones: the two halves of the last axis."""
    pairs = values.shape[-1] // 2
    return values[..., :pairs], values[..., pairs:]


def _read_off(sums: OverlapSums) -> Float[Array, "evaluated 1"]:
    """P of the word that is read, since dP = P d ln P."""
    return array_namespace(sums.values).exp(sums.evaluated_logprobs)[:, None]


def _sigmoid(values: Float[Array, "..."], xp) -> Float[Array, "..."]:
    return xp.exp(-xp.logaddexp(xp.zeros_like(values), -values))
