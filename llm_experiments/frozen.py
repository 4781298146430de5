"""Training a head on a frozen backbone: hidden states are computed once, and every further pass is over heads alone.

Of each response only those states are kept that its reward is read from: one for explicit models (whatever the pooling)
and for generative ones, one per response token for implicit ones.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from llm_experiments.batches import Batch, Line, collate_rows, pair_lines, plan_batches
from llm_experiments.encoding import EncodedPair
from llm_experiments.models import RewardModel
from llm_experiments.pooling import last_attended, pool, pool_at


@dataclass(frozen=True)
class FrozenStates:
    """What is left of each row, chosen and rejected in turn: the states, and the tokens from the first one on."""

    lines: list[Line]
    states: list[torch.Tensor]  # (tokens, dim) each

    def collate(self, numbers: Sequence[int]) -> Batch:
        """A batch of pairs as `collate_pairs` gives it, with `hidden` (rows, longest, dim) instead of whole rows."""
        rows = [2 * number for number in numbers] + [2 * number + 1 for number in numbers]
        batch = collate_rows([self.lines[row] for row in rows])
        hidden = self.states[0].new_zeros((*batch["input_ids"].shape, self.states[0].shape[-1]))
        for place, row in enumerate(rows):
            hidden[place, : len(self.states[row])] = self.states[row]
        return batch | {"hidden": hidden}

    def tokens(self, number: int) -> int:
        """How many states are kept of a pair."""
        return len(self.states[2 * number]) + len(self.states[2 * number + 1])


def fitting_states(model: RewardModel, pairs: Sequence[EncodedPair], batch_size: int) -> FrozenStates | None:
    """`frozen_states`, unless they would take more than half of the memory that is free."""
    tokens = sum(len(pair.chosen_ids) + len(pair.rejected_ids) for pair in pairs)
    count = tokens if model.kind == "implicit" else 2 * len(pairs)
    size = count * model.config.get_text_config().hidden_size * model.policy.dtype.itemsize
    free = _available_bytes()
    if size > free / 2:
        print(
            f"hidden states would take {size / 1e9:.1f} GB of {free / 1e9:.1f}; they are computed in every pass",
            file=sys.stderr,
        )
        return None
    return frozen_states(model, pairs, batch_size)


def _available_bytes() -> int:
    """Memory that programs can still have, caches of files included; where the system does not say, all there is."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        lines = []
    found = (1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    return next(found, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


@torch.no_grad()
def frozen_states(model: RewardModel, pairs: Sequence[EncodedPair], batch_size: int = 8) -> FrozenStates:
    """The states that the rewards of `pairs` are read from, on the CPU."""
    rows = pair_lines(pairs, model.kind)
    lines, states = list(rows), [torch.empty(0)] * len(rows)
    for chunk in plan_batches(rows, 2 * batch_size, paired=True):
        batch = {name: tensor.to(model.device) for name, tensor in collate_rows([rows[i] for i in chunk]).items()}
        hidden = model.hidden_states(batch["input_ids"], batch["attention_mask"], batch["position_ids"])
        mask = batch["attention_mask"]
        if model.kind == "explicit":
            read = pool(hidden, batch["input_ids"], mask, batch["response_mask"], model.pooling, model.end_id)
        else:
            read = pool_at(hidden, last_attended(mask))
        for place, row in enumerate(chunk):
            ids, start, length = rows[row]
            if model.kind == "implicit":  # a token is predicted by the state before it
                lines[row] = (ids[start - 1 : start + length], 1, length)
                states[row] = hidden[place, start - 1 : start + length - 1].cpu().clone()
            else:
                lines[row] = (ids[-1:], 0, 1)
                states[row] = read[place : place + 1].cpu().clone()
    return FrozenStates(lines, states)
