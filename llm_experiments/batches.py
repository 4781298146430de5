"""Encoded pairs as rectangular tensors: padded on the right, positions explicit, responses marked."""

from collections.abc import Sequence

import torch

from llm_experiments.encoding import EncodedPair, Ids
from llm_experiments.shared import worth_sharing
from theory.rewards import Kind

Batch = dict[str, torch.Tensor]
Line = tuple[Ids, int, int]  # token ids, where the response starts, its length


def collate_pairs(pairs: Sequence[EncodedPair], kind: Kind, *, pad_id: int = 0) -> Batch:
    """All chosen rows, then all rejected rows, so that one forward pass sees both."""
    rows = pair_lines(pairs, kind)
    return collate_rows(rows[::2] + rows[1::2], pad_id=pad_id)


def pair_lines(pairs: Sequence[EncodedPair], kind: Kind) -> list[Line]:
    """Chosen and rejected row of each pair in turn."""
    return [
        (*pair.sequence(kind, side), len(pair.chosen_ids if side == "chosen" else pair.rejected_ids))
        for pair in pairs
        for side in ("chosen", "rejected")
    ]


def collate_rows(rows: Sequence[Line], *, pad_id: int = 0) -> Batch:
    """Rows of (token ids, start of the response, its length) as input_ids, attention_mask, position_ids and
    response_mask, each (rows, longest). What stands in the padding is masked and never read."""
    width = max(len(ids) for ids, _, _ in rows)
    input_ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    attention_mask = torch.zeros((len(rows), width), dtype=torch.long)
    response_mask = torch.zeros((len(rows), width), dtype=torch.bool)
    for row, (ids, start, length) in enumerate(rows):
        input_ids[row, : len(ids)] = torch.tensor(ids, dtype=torch.long)
        attention_mask[row, : len(ids)] = 1
        response_mask[row, start : start + length] = True
    return {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "position_ids": torch.arange(width).expand(len(rows), width).contiguous(),
        "response_mask": response_mask,
    }


def common_beginning(one: Ids, other: Ids) -> int:
    """How many tokens two rows begin with alike."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def plan_batches(rows: Sequence[Line], batch_size: int, *, paired: bool = False) -> list[list[int]]:
    """Numbers of rows that are computed together, up to `batch_size`, of similar length; every row once.

    Args:
        paired: rows 2k and 2k + 1 belong together; where they begin alike they share a batch, which holds all first
            rows and then all second ones.
    """
    together: dict[int, int] = {}  # first row: tokens of both
    for first in range(0, len(rows) if paired and batch_size > 1 else 0, 2):
        one, other = rows[first][0], rows[first + 1][0]
        tokens = len(one) + len(other) - common_beginning(one, other)
        if worth_sharing(tokens, len(one), len(other)):
            together[first] = tokens
    firsts = sorted(together, key=together.__getitem__)
    size = batch_size // 2
    batches = [
        [*firsts[at : at + size], *(first + 1 for first in firsts[at : at + size])]
        for at in range(0, len(firsts), max(1, size))
    ]
    alone = [number for number in range(len(rows)) if number - number % 2 not in together]
    alone.sort(key=lambda number: len(rows[number][0]))
    return batches + [alone[at : at + batch_size] for at in range(0, len(alone), batch_size)]
