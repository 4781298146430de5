"""Which order of contraction is cheaper, and how to cut it to fit the memory: a count of operations and bytes.

See `theory.contraction` for the two orders. With T tokens in all, E and N responses of t tokens, vocabulary V, dim D,

    factors   2 V D (2 T + E N)            logits, gradient factors, inner products; 3 T if logits do not fit in memory
    tokens    2 V D T + 2 (E t) (N t) (V + D)    logits, then one product per pair of token positions
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Order = Literal["factors", "tokens"]

# Words of the vocabulary at a time. Factors: chunks stay in the processor's cache; no power of two, which would crowd
# the rows of a matrix into few of its sets. Tokens: each chunk adds to a matrix of token pairs, so few large ones.
# Measured on a two-core x86-64 CPU; flat within a factor of two of either.
WIDEST: dict[Order, int] = {"factors": 504, "tokens": 4096}
NARROWEST = 32


@dataclass(frozen=True)
class Plan:
    """How the sums are to be computed, what it costs, and what the other order would have cost."""

    order: Order
    flops: float
    flops_other_order: float
    chunk: int  # words of the vocabulary at a time
    tile: tuple[int, int]  # evaluated and trained responses at a time
    keep_logits: bool  # whether logits are computed once and kept, or twice
    workspace: int  # bytes held at a time, by count

    def __str__(self) -> str:
        other = "tokens" if self.order == "factors" else "factors"
        tile = f"{self.tile[0]} x {self.tile[1]} responses and {self.chunk} words at a time"
        cost = f"{self.flops:.2e} floating-point operations ({other}: {self.flops_other_order:.2e})"
        return f"contracting {self.order}: {cost}, {tile}, {self.workspace / 2**20:.0f} MiB"


def choose_plan(
    evaluated_tokens: Sequence[int],
    trained_tokens: Sequence[int],
    vocabulary: int,
    dim: int,
    *,
    itemsize: int = 8,
    memory: int = 2**30,
) -> Plan:
    """The cheaper order by counted floating-point operations (two per multiply-add), within the memory."""
    if not evaluated_tokens or not trained_tokens:
        raise ValueError("no responses to compare; both evaluated and trained must hold at least one")
    options = [
        option
        for order in ("factors", "tokens")
        for option in _fit(order, evaluated_tokens, trained_tokens, vocabulary, dim, itemsize, memory)
    ]
    if not options:
        raise ValueError(
            f"{memory} bytes hold not even {NARROWEST} words of the vocabulary for one pair of responses of "
            f"{max(evaluated_tokens)} and {max(trained_tokens)} tokens; allow more memory"
        )
    best = min(options, key=lambda option: option[1])
    other = min((flops for order, flops, *_ in options if order != best[0]), default=float("inf"))
    order, flops, chunk, tile, keep, workspace = best
    return Plan(order, flops, other, chunk, tile, keep, workspace)


def _fit(
    order: Order,
    evaluated_tokens: Sequence[int],
    trained_tokens: Sequence[int],
    vocabulary: int,
    dim: int,
    itemsize: int,
    memory: int,
) -> Iterator[tuple]:
    """Every way to run one order within the memory: (order, FLOPs, chunk, tile, keep logits, bytes)."""
    total = sum(evaluated_tokens), sum(trained_tokens)
    count = len(evaluated_tokens), len(trained_tokens)
    longest = max(1, *evaluated_tokens), max(1, *trained_tokens)
    narrowest = min(NARROWEST, vocabulary)
    for keep in (True, False) if order == "factors" else (False,):
        for tile in _tiles(*count):
            tokens = [min(n * width, whole) for n, width, whole in zip(tile, longest, total, strict=True)]
            held = itemsize * dim * (sum(total) + 4 * sum(tokens))  # hidden states, stacked, joined and signed
            per_word = itemsize * (3 * sum(tokens) + dim)  # logits, slopes, what is made in passing; widened weights
            if order == "factors":
                per_word += itemsize * sum(tile) * dim
                held += itemsize * sum(tokens) * vocabulary if keep else 0
            else:
                held += 8 * itemsize * tokens[0] * tokens[1]
            chunk = int(min((memory - held) // per_word, WIDEST[order], vocabulary))
            if chunk < narrowest:
                continue
            passes = [-(-n // width) for n, width in zip(count, tile, strict=True)]  # of the other side
            logits = total[0] * passes[1] + total[1] * passes[0]
            if order == "factors":
                flops = 2.0 * vocabulary * dim * (logits * (2 if keep else 3) + count[0] * count[1])
            else:
                flops = 2.0 * vocabulary * dim * logits + 2.0 * total[0] * total[1] * (vocabulary + dim)
            yield order, flops, chunk, tile, keep, int(held + chunk * per_word)
            break


def _tiles(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """All responses at once, then half of the more numerous side, down to one against one."""
    while True:
        yield rows, columns
        if (rows, columns) == (1, 1):
            return
        rows, columns = ((rows + 1) // 2, columns) if rows >= columns else (rows, (columns + 1) // 2)
