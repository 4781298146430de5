"""Responses of any lengths laid end to end, so that one matrix product serves all of them; numpy or torch.

A `ResponsePair` is laid down as one item, the tokens of its rejected response with sign -1: sums over an item are then
differences, chosen minus rejected.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj

from theory.dynamics import OutputLayer, Response, ResponsePair
from theory.preferences import Array


@dataclass(frozen=True)
class Stack:
    """`hidden` (tokens, dim), an id and a sign per token, and the items' bounds: item i is bounds[i]:bounds[i + 1].

    Hidden states are float64 or float32, where they came from; ids, signs and bounds are numpy on the host.
    """

    xp: Any
    hidden: Array
    tokens: np.ndarray
    signs: np.ndarray
    bounds: np.ndarray

    @classmethod
    def of(cls, layer: OutputLayer, items: Sequence[Response | ResponsePair]) -> "Stack":
        if not items:
            raise ValueError("no responses to compare; both evaluated and trained must hold at least one")
        responses: list[Response] = []
        signs, lengths = [], []
        for item in items:
            signed = [(item.chosen, 1.0), (item.rejected, -1.0)] if isinstance(item, ResponsePair) else [(item, 1.0)]
            responses += [response for response, _ in signed]
            signs += [np.full(len(response.tokens), sign) for response, sign in signed]
            lengths.append(sum(len(response.tokens) for response, _ in signed))
        xp = array_namespace(layer.weights)
        vocabulary, dim = layer.weights.shape
        for response in responses:
            if not is_array_api_obj(response.hidden) or array_namespace(response.hidden) is not xp:
                raise ValueError(
                    f"hidden states must be arrays of the library the weights are of, got "
                    f"{type(response.hidden).__name__} and {type(layer.weights).__name__}; convert one of them"
                )
            if not _integers(response.tokens):
                raise ValueError(
                    f"tokens must be an array of integers, shape (tokens,), got {_kind(response.tokens)}; "
                    "wrap a list in np.array or torch.tensor"
                )
            if tuple(response.hidden.shape) != (len(response.tokens), dim):
                raise ValueError(
                    f"a response of {len(response.tokens)} tokens needs hidden states of shape "
                    f"({len(response.tokens)}, {dim}), got {tuple(response.hidden.shape)}; hidden[k] predicts token k"
                )
        hidden = xp.concat([detached(response.hidden) for response in responses])
        if hidden.dtype != xp.float64:
            hidden = xp.astype(hidden, xp.float32, copy=False)
        tokens = np.concatenate([np.asarray(response.tokens.tolist(), dtype=np.int64) for response in responses])
        if tokens.size and not (tokens.min() >= 0 and tokens.max() < vocabulary):
            raise ValueError(
                f"token ids must lie in 0 to {vocabulary - 1}, the rows of the output layer, got "
                f"{tokens.min()} to {tokens.max()}"
            )
        return cls(xp, hidden, tokens, np.concatenate(signs), np.concatenate([[0], np.cumsum(lengths)]))

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def lengths(self) -> list[int]:
        return np.diff(self.bounds).tolist()

    @property
    def itemsize(self) -> int:
        return 8 if self.hidden.dtype == self.xp.float64 else 4

    def spans(self) -> Iterator[slice]:
        """Where each item's tokens are."""
        return (slice(int(a), int(b)) for a, b in zip(self.bounds[:-1], self.bounds[1:], strict=True))

    def runs(self) -> Iterator[tuple[slice, tuple[int, int], slice]]:
        """Neighbours of equal length: which items, (how many, tokens each), and where their tokens are."""
        lengths = self.lengths
        start = 0
        for stop in range(1, len(lengths) + 1):
            if stop == len(lengths) or lengths[stop] != lengths[start]:
                span = slice(int(self.bounds[start]), int(self.bounds[stop]))
                yield slice(start, stop), (stop - start, lengths[start]), span
                start = stop

    def part(self, start: int, stop: int) -> "Stack":
        bounds = self.bounds[start : stop + 1]
        cut = slice(int(bounds[0]), int(bounds[-1]))
        return Stack(self.xp, self.hidden[cut], self.tokens[cut], self.signs[cut], bounds - bounds[0])

    def joined(self, other: "Stack") -> "Stack":
        return Stack(
            self.xp,
            self.xp.concat([self.hidden, other.hidden]),
            np.concatenate([self.tokens, other.tokens]),
            np.concatenate([self.signs, other.signs]),
            np.concatenate([self.bounds, self.bounds[-1] + other.bounds[1:]]),
        )

    def array(self, values: np.ndarray, dtype: Any = None) -> Array:
        """A host array as an array of this stack's kind, on its device."""
        return self.xp.asarray(values, dtype=dtype, device=device(self.hidden))

    def zeros(self, *shape: int, dtype: Any = None) -> Array:
        return self.xp.zeros(shape, dtype=dtype or self.hidden.dtype, device=device(self.hidden))

    def buffer(self, size: int) -> Array:
        """Uninitialised room for `size` numbers of the hidden states' type.

        On the host it is numpy's, whoever uses it: numpy asks for huge pages, torch does not, and touching 200 MB for
        the first time takes 0.02 s with them and 0.08 s without.
        """
        if str(device(self.hidden)) == "cpu":
            return self.xp.asarray(np.empty(size, dtype=np.float64 if self.itemsize == 8 else np.float32))
        return self.xp.empty((size,), dtype=self.hidden.dtype, device=device(self.hidden))

    def signed_sums(self, per_token: Array) -> Array:
        """Signed float64 sums over the tokens of each item; tokens are the last axis."""
        signed = self.xp.astype(per_token, self.xp.float64) * self.array(self.signs, self.xp.float64)
        return self.xp.stack([self.xp.sum(signed[..., span], axis=-1) for span in self.spans()], axis=-1)


def _integers(tokens: Any) -> bool:
    return is_array_api_obj(tokens) and tokens.ndim == 1 and array_namespace(tokens).isdtype(tokens.dtype, "integral")


def _kind(value: Any) -> str:
    return f"{value.dtype}, shape {tuple(value.shape)}" if is_array_api_obj(value) else type(value).__name__


def detached(array: Array) -> Array:
    """Without the graph that made it: the formulas are the derivative, there is nothing to record."""
    return array.detach() if hasattr(array, "detach") else array
