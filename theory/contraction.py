"""Inner products of the gradients of ln pi(y|x) with respect to the output layer, for all pairs of responses.

With G(y) = sum_k r_k h_k', r_k = d_k (e_{y_k} - p_k), a matrix (vocabulary, dim), the overlap of two responses is

    S(y', y) = sum_kl rho_kl <h'_k, h_l> = <G(y'), G(y)>,     rho_kl = <r'_k, r_l>.

Two orders of contraction give the same number at different costs. *factors*: form G(y) of every response, a chunk of
the vocabulary at a time, and take inner products; linear in tokens. *tokens*: form rho and <h', h> for every pair of
token positions, multiply and sum; quadratic in tokens, with one matrix product fewer per token. `theory.plan` counts.

numpy or torch, CPU or GPU: everything lives where the hidden states do. With float64 states all is float64; with others
matrix products are float32, and sums over the vocabulary and over responses float64. 1 - p_a is taken as the sum of the
*other* probabilities, so that a confident model loses no digits.

Time is spent where the vocabulary is, so as little as possible is done there. Logits are in bits (powers of two are
cheaper than powers of e), the factor that makes them so is in the hidden states, and so are the signs and normalisers.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from theory.dynamics import OutputLayer, Response, ResponsePair
from theory.plan import Plan, choose_plan
from theory.preferences import Array
from theory.stack import Stack, detached

BITS = math.log2(math.e)  # in a nat

# Below these many bits, by bytes of a number, a logit's exponential needs no shift: neither it nor a product of two,
# summed over a million words, leaves the range of the floating-point numbers.
UNSHIFTED = {8: 400.0, 4: 45.0}


@dataclass(frozen=True)
class OverlapSums:
    """`values[i, j]` is S of evaluated i and trained j. Log-probabilities are ln pi(y|x), of a pair the log-ratio."""

    values: Float[Array, "evaluated trained"]
    evaluated_logprobs: Float[Array, " evaluated"]
    trained_logprobs: Float[Array, " trained"]
    plan: Plan


def overlap_sums(
    layer: OutputLayer,
    evaluated: Sequence[Response | ResponsePair],
    trained: Sequence[Response | ResponsePair],
    *,
    memory: int = 2**30,
) -> OverlapSums:
    """S for all pairs; a `ResponsePair` stands for chosen minus rejected. What is not a number spoils its own S only.

    Args:
        memory: bytes to hold at a time beyond the arguments and the result.

    Raises:
        ValueError: nothing to compare, tokens that are no integers or outside the vocabulary, hidden states of another
            width or array library than the weights, or not enough memory for one response against one.
    """
    rows, columns = Stack.of(layer, evaluated), Stack.of(layer, trained)
    plan = choose_plan(rows.lengths, columns.lengths, *layer.weights.shape, itemsize=rows.itemsize, memory=memory)
    return contract(layer, rows, columns, plan)


def contract(layer: OutputLayer, rows: Stack, columns: Stack, plan: Plan) -> OverlapSums:
    """Carries out a plan, tile by tile."""
    float64 = rows.xp.float64
    values = rows.zeros(len(rows), len(columns), dtype=float64)
    row_logprobs, column_logprobs = (rows.zeros(len(part), dtype=float64) for part in (rows, columns))
    in_order = {"factors": _by_factors, "tokens": _by_tokens}[plan.order]
    height, width = plan.tile
    for i in range(0, len(rows), height):
        for j in range(0, len(columns), width):
            tile = rows.part(i, i + height), columns.part(j, j + width)
            block, logprobs = in_order(layer, *tile, plan)
            values[i : i + height, j : j + width] = block
            row_logprobs[i : i + height] = tile[0].signed_sums(logprobs[: len(tile[0].tokens)])
            column_logprobs[j : j + width] = tile[1].signed_sums(logprobs[len(tile[0].tokens) :])
    return OverlapSums(values, row_logprobs, column_logprobs, plan)


def token_coefficients(layer: OutputLayer, rows: Stack, columns: Stack, *, chunk: int) -> tuple[Array, Array]:
    """rho (row tokens, column tokens), and ln pi of every token, rows before columns; one pass over the vocabulary."""
    both, split = rows.joined(columns), len(rows.tokens)
    xp, dtype = both.xp, both.hidden.dtype
    softmax = _OnlineSoftmax(layer, both, chunk)
    shared = both.zeros(split, len(columns.tokens))  # sum of p_c q_c over words that are neither token
    row_words = both.zeros(*shared.shape)  # logit of the row's token at the column's position
    column_words = both.zeros(*shared.shape)  # and the other way round
    for words in _chunks(layer, both, chunk):
        where, column = words.own
        upper = where < split
        row_words[both.array(where[upper])] = words.logits[split:][:, both.array(column[upper])].T
        column_words[:, both.array(where[~upper] - split)] = words.logits[:split][:, both.array(column[~upper])]
        shrink = softmax.advance(words)
        if shrink is not None:
            shared *= xp.astype(shrink[:split, None], dtype)
            shared *= xp.astype(shrink[None, split:], dtype)
        exponentials = words.sloped()
        shared += exponentials[:split] @ exponentials[split:].T
    scale = xp.exp2(softmax.base - softmax.log_normaliser)
    shared *= xp.astype(scale[:split, None], dtype)
    shared *= xp.astype(scale[None, split:], dtype)

    lse, slope, rest = (xp.astype(a, dtype) for a in (softmax.log_normaliser, softmax.own_slope, softmax.rest))
    at_row_word = slope[:split, None] * _slope(layer, row_words)
    at_column_word = slope[None, split:] * _slope(layer, column_words)
    q = xp.exp2(row_words - lse[None, split:])
    p = xp.exp2(column_words - lse[:split, None])
    match = both.array(rows.tokens[:, None] == columns.tokens[None, :])
    matched = at_row_word * rest[:split, None] * rest[None, split:]
    mismatched = -at_row_word * q * rest[:split, None] - at_column_word * p * rest[None, split:]
    return shared + xp.where(match, matched, mismatched), softmax.own_logprobs


def _by_tokens(layer: OutputLayer, rows: Stack, columns: Stack, plan: Plan) -> tuple[Array, Array]:
    """S = sum_kl rho_kl <h_k, h_l>."""
    xp = rows.xp
    products, logprobs = token_coefficients(layer, rows, columns, chunk=plan.chunk)
    products *= rows.hidden @ columns.hidden.T
    by_column = columns.signed_sums(products)
    return xp.permute_dims(rows.signed_sums(xp.permute_dims(by_column, (1, 0))), (1, 0)), logprobs


def _by_factors(layer: OutputLayer, rows: Stack, columns: Stack, plan: Plan) -> tuple[Array, Array]:
    """S = <G, G'>, the factors formed for one chunk of the vocabulary at a time."""
    both = rows.joined(columns)
    xp, dtype = both.xp, both.hidden.dtype
    dim = layer.weights.shape[1]
    softmax = _OnlineSoftmax(layer, both, plan.chunk)
    kept = []
    for words in _chunks(layer, both, plan.chunk, keep=plan.keep_logits):
        softmax.advance(words)
        if plan.keep_logits:
            kept.append((words.sloped(), words.own, softmax.base))

    def again() -> Iterator[tuple[Array, tuple[np.ndarray, np.ndarray], Array]]:
        for words in _chunks(layer, both, plan.chunk):
            words.exponentiate(softmax.base if softmax.shifted else None)
            yield words.sloped(), words.own, softmax.base

    # Residual = d p - d e_y, the gradient's sign reversed; it is reversed in both factors. Here times the normaliser.
    own = xp.astype(-softmax.others * softmax.own_slope, dtype)
    share = xp.exp2(softmax.base - softmax.log_normaliser) * both.array(both.signs, xp.float64)
    scaled = both.hidden * xp.astype(share, dtype)[:, None]
    values = both.zeros(len(rows), len(columns), dtype=xp.float64)
    factors = both.buffer(len(both) * plan.chunk * dim)
    runs = list(both.runs())
    for residual, (where, column), base in kept or again():
        if bool(xp.any(base < softmax.base)):  # higher logits have come since
            residual *= xp.astype(xp.exp2(base - softmax.base), dtype)[:, None]
        where = both.array(where)
        residual[where, both.array(column)] = own[where]
        chunk = residual.shape[1]
        block = xp.reshape(factors[: len(both) * dim * chunk], (len(both), dim, chunk))
        for items, shape, span in runs:  # neighbours of equal length in one batched product
            left, right = xp.reshape(scaled[span], (*shape, dim)), xp.reshape(residual[span], (*shape, chunk))
            xp.matmul(xp.permute_dims(left, (0, 2, 1)), right, out=block[items])
        by_dim = xp.permute_dims(block, (1, 0, 2))
        products = by_dim[:, : len(rows)] @ xp.permute_dims(by_dim[:, len(rows) :], (0, 2, 1))
        values += xp.sum(products, axis=0, dtype=xp.float64)
    return values, softmax.own_logprobs


# --- the vocabulary, a chunk at a time --------------------------------------------------------------------------------


@dataclass
class _Words:
    """Logits of every token position for one chunk of the vocabulary, overwritten as they turn into exponentials."""

    xp: Any
    logits: Array  # (tokens, words), in bits
    slopes: Array | None
    own: tuple[np.ndarray, np.ndarray]  # token positions whose token is in the chunk, and its column

    def exponentiate(self, base: Array | None) -> None:
        """2^(logit - base of the position), in place; the base is zero where None."""
        if base is not None:
            self.logits -= self.xp.astype(base, self.logits.dtype)[:, None]
        self.xp.exp2(self.logits, out=self.logits)

    def sloped(self) -> Array:
        """Each entry times its logit's slope, in place."""
        if self.slopes is not None:
            self.logits *= self.slopes
        return self.logits


def _chunks(layer: OutputLayer, stack: Stack, chunk: int, *, keep: bool = False) -> Iterator[_Words]:
    """The logits of all positions, chunk by chunk, in one buffer that is overwritten unless all are to be kept."""
    xp, tokens = stack.xp, len(stack.tokens)
    vocabulary = layer.weights.shape[0]
    buffer = stack.buffer(tokens * (vocabulary if keep else min(chunk, vocabulary)))
    hidden = stack.hidden * _inner_scale(layer)
    order = np.argsort(stack.tokens, kind="stable")
    ordered = stack.tokens[order]
    for start in range(0, vocabulary, chunk):
        stop = min(start + chunk, vocabulary)
        offset = tokens * start if keep else 0
        logits = xp.reshape(buffer[offset : offset + tokens * (stop - start)], (tokens, stop - start))
        xp.matmul(hidden, _widened(layer, stack, start, stop).T, out=logits)  # unnamed: one chunk's rows at a time
        slopes = _shape_in_place(layer, logits, xp)
        where = order[np.searchsorted(ordered, start) : np.searchsorted(ordered, stop)]
        yield _Words(xp, logits, slopes, (where, stack.tokens[where] - start))


class _OnlineSoftmax:
    """Normalisers of all positions from one pass over the vocabulary, leaving each position's own token aside."""

    def __init__(self, layer: OutputLayer, stack: Stack, chunk: int) -> None:
        xp, self.stack = stack.xp, stack
        own_rows = xp.astype(detached(layer.weights[stack.array(stack.tokens)]), stack.hidden.dtype, copy=False)
        own = xp.sum(stack.hidden * own_rows, axis=-1) * _inner_scale(layer)
        slopes = _shape_in_place(layer, own, xp)
        self.own = xp.astype(own, xp.float64)
        ones = xp.ones_like(self.own)
        self.own_slope = ones if slopes is None else ones * slopes
        self.others = xp.zeros_like(self.own)
        # "not below" rather than "above": where one position is not a number, the others keep their shift.
        self.shifted = not _largest_logit(layer, stack, chunk) <= UNSHIFTED[stack.itemsize]
        # What exponentials are relative to: the highest logit so far, the own token's from the start; or nothing.
        self.base = self.own if self.shifted else self.others

    def advance(self, words: _Words) -> Array | None:
        """Turns logits into exponentials relative to the base, own tokens to zero.

        Returns what earlier exponentials shrink by as the base rises, None where it does not.
        """
        xp, shrink = self.stack.xp, None
        where, column = (self.stack.array(index) for index in words.own)
        words.logits[where, column] = -xp.inf
        if self.shifted:
            base = xp.maximum(self.base, xp.astype(xp.max(words.logits, axis=1), xp.float64))
            if bool(xp.any(base > self.base)):
                shrink = xp.exp2(self.base - base)
                self.base, self.others = base, self.others * shrink
        words.exponentiate(self.base if self.shifted else None)
        self.others = self.others + xp.sum(words.logits, axis=1, dtype=xp.float64)
        return shrink

    @property
    def log_normaliser(self) -> Array:
        xp = self.stack.xp
        return self.base + xp.log2(self.others + xp.exp2(self.own - self.base))

    @property
    def own_logprobs(self) -> Array:
        """In nats."""
        return (self.own - self.log_normaliser) / BITS

    @property
    def rest(self) -> Array:
        """1 - p of each position's own token."""
        return self.others / (self.others + self.stack.xp.exp2(self.own - self.base))


def _largest_logit(layer: OutputLayer, stack: Stack, chunk: int) -> float:
    """No logit is further from zero, in bits: the cap, or the longest hidden state times the longest row."""
    if layer.soft_cap is not None:
        return layer.soft_cap * BITS
    xp, longest = stack.xp, 0.0
    half = max(chunk // 2, 1)  # widened rows and their squares are held together; the plan counts one of the two
    for start in range(0, layer.weights.shape[0], half):
        rows = _widened(layer, stack, start, start + half)
        longest = max(longest, float(xp.max(xp.sum(rows * rows, axis=1))))
    squares = xp.sum(stack.hidden * stack.hidden, axis=1)
    return abs(_inner_scale(layer)) * math.sqrt(longest * (float(xp.max(squares)) if len(squares) else 0.0))


def _widened(layer: OutputLayer, stack: Stack, start: int, stop: int) -> Array:
    """Rows of the output layer in the precision of the hidden states; not copied if they have it."""
    return stack.xp.astype(detached(layer.weights[start:stop]), stack.hidden.dtype, copy=False)


def _inner_scale(layer: OutputLayer) -> float:
    """What multiplies U h: before the cap if there is one, else to give logits in bits."""
    return layer.scale * BITS if layer.soft_cap is None else layer.scale / layer.soft_cap


def _shape_in_place(layer: OutputLayer, scaled: Array, xp: Any) -> Array | None:
    """Turns U h times the inner scale into logits in bits; returns their slopes d, None where all are one."""
    if layer.soft_cap is None:
        return None if layer.scale == 1.0 else xp.full_like(scaled, layer.scale)
    xp.tanh(scaled, out=scaled)
    slopes = layer.scale * (1 - scaled * scaled)
    scaled *= layer.soft_cap * BITS
    return slopes


def _slope(layer: OutputLayer, logits: Array) -> Array | float:
    if layer.soft_cap is None:
        return layer.scale
    return layer.scale * (1 - (logits / (layer.soft_cap * BITS)) ** 2)
