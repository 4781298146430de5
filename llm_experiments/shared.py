"""The prompt of chosen and rejected, computed once: both responses follow it in one row and do not see each other.

    prompt  chosen  rejected                attention: a response sees the prompt and itself
    0 1 2   3 4     3 4 5                   positions: each response goes on from the prompt

Every token attends to what it attends to in a row of its own, at the same positions, so hidden states are the plain
ones up to rounding. That rests on a float mask of one's own being taken as it is. Families differ in the form they
take it in, and one in the wrong form passes silently; only those that the tests compare with the plain path are here.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int

from llm_experiments.distributed import processes

ONE_MASK = ("gemma", "llama", "mistral", "gpt_neox", "cohere", "granite", "gpt2")
MASK_BY_LAYER = ("gemma2", "gemma3_text", "qwen2", "qwen3")  # {"full_attention": ..., "sliding_attention": ...}
ATTENTION = ("eager", "sdpa")  # the others take no mask, or one of another kind
TOLERANCE = {torch.float32: 1e-3}  # relative; 0.1 in smaller types
WORTH = 0.9  # of the plain tokens; less is not worth the mask
LARGEST_MASK = 2**27  # elements


@dataclass(frozen=True)
class SharedRows:
    """One row per pair; where padding was there is padding.

    `visible` says which token (last axis) each token sees before any window; `places` gives for each position of the
    plain rows, chosen ones first, its position in the flattened `input_ids`.
    """

    input_ids: Int[torch.Tensor, "pairs length"]
    position_ids: Int[torch.Tensor, "pairs length"]
    visible: Bool[torch.Tensor, "pairs length length"]
    places: Int[torch.Tensor, " positions"]


class SharedPrompts:
    """Runs a model on rows whose first half is chosen, whose second half is rejected, sharing what both begin with.

    `on` says whether it does; where it does not, `reason` says why, and rows are computed as they are. The first pair
    is computed both ways: another version of transformers may treat a mask differently.
    """

    def __init__(self, config: Any) -> None:
        self.config = config
        self.reason = _unsuited(config)
        self.on = not self.reason
        # processes of one run must make the same forward passes, and may differ in which batch is their first
        self._compared = processes() > 1

    def hidden_states(
        self, run: Callable[..., torch.Tensor], dtype: torch.dtype, *rows: Int[torch.Tensor, "rows length"]
    ) -> Float[torch.Tensor, "rows length dim"]:
        """What `run` gives for (input_ids, attention_mask, position_ids); in the padding stands anything."""
        # float64 asks for last digits, and families normalise in float32: a rounding there tells batches apart
        shared = share_rows(*rows) if self.on and dtype != torch.float64 else None
        if shared is None:
            return run(*rows)
        hidden = run(shared.input_ids, attention_masks(shared, self.config, dtype), shared.position_ids)
        hidden = _unfold(hidden, shared, len(rows[0]))
        if not self._compared:
            self._compared = True
            self._compare(run, hidden.detach(), *rows)
        return hidden if self.on else run(*rows)

    @torch.no_grad()
    def _compare(self, run: Callable[..., torch.Tensor], hidden: torch.Tensor, *rows: torch.Tensor) -> None:
        some = [0, len(hidden) // 2]
        real = rows[1][some].bool()
        plain = run(*(tensor[some] for tensor in rows))[real]
        difference = float((hidden[some][real] - plain).abs().max() / plain.abs().max())
        tolerance = 0.1 if torch.is_autocast_enabled(plain.device.type) else TOLERANCE.get(plain.dtype, 0.1)
        if not difference <= tolerance:
            self.on, self.reason = False, f"shared, hidden states differ by {difference:.1e}"
            warnings.warn(f"prompts are computed for chosen and rejected each: {self.reason}", stacklevel=2)


def _unsuited(config: Any) -> str:
    if config.model_type not in ONE_MASK + MASK_BY_LAYER:
        return f"{config.model_type} has not been compared"
    attention = config._attn_implementation
    return "" if attention in ATTENTION else f"{attention} attention takes no such mask"


def worth_sharing(shared: int, first: int, second: int) -> bool:
    """Fewer tokens in one row than in two, and no more products of queries and keys."""
    return shared <= WORTH * (first + second) and shared**2 <= first**2 + second**2


def share_rows(
    input_ids: Int[torch.Tensor, "rows length"],
    attention_mask: Int[torch.Tensor, "rows length"],
    position_ids: Int[torch.Tensor, "rows length"],
) -> SharedRows | None:
    """Row i and row i + rows / 2 in one, their common beginning once; None where that saves nothing."""
    rows, width = input_ids.shape
    ordinary = torch.arange(width, device=input_ids.device)
    if rows % 2 or bool(((position_ids != ordinary) & attention_mask.bool()).any()):
        return None
    pairs = rows // 2
    first, second = input_ids.chunk(2)
    lengths, others = attention_mask.sum(1).chunk(2)
    same = (first == second) & (ordinary < torch.minimum(lengths, others)[:, None])
    common = same.long().cumprod(1).sum(1)
    totals = lengths + others - common
    total = int(totals.max())
    if not worth_sharing(total, width, width) or pairs * total**2 > LARGEST_MASK:
        return None
    place = torch.arange(total, device=input_ids.device).expand(pairs, total)
    common, lengths, totals = common[:, None], lengths[:, None], totals[:, None]
    # 0 the common beginning, 1 the rest of the first row, 2 that of the second, 3 padding
    part = (place >= common).long() + (place >= lengths) + (place >= totals)
    positions = torch.where(part < 2, place, (place - lengths + common).clamp(max=width - 1))
    ids = torch.where(part < 2, first.gather(1, place.clamp(max=width - 1)), second.gather(1, positions))
    visible = (part[:, None, :] == 0) | (part[:, None, :] == part[:, :, None])
    visible &= place[:, None, :] <= place[:, :, None]
    start = total * torch.arange(pairs, device=input_ids.device)[:, None]
    to_second = torch.where(ordinary < common, ordinary, ordinary + lengths - common)
    places = torch.cat([ordinary.expand(pairs, width), to_second]).clamp(max=total - 1) + start.repeat(2, 1)
    return SharedRows(ids, positions, visible, places.reshape(-1))


def attention_masks(shared: SharedRows, config: Any, dtype: torch.dtype) -> Any:
    """What the family takes as attention mask: 0 where a token is seen, the least number of `dtype` elsewhere."""
    window = getattr(config, "sliding_window", None)
    near = shared.visible
    if window:
        near = near & (shared.position_ids[:, :, None] - shared.position_ids[:, None, :] < window)
    if config.model_type in ONE_MASK:
        return _additive(near, dtype)
    return {"full_attention": _additive(shared.visible, dtype), "sliding_attention": _additive(near, dtype)}


def _unfold(hidden: torch.Tensor, shared: SharedRows, rows: int) -> torch.Tensor:
    """Hidden states where the plain rows have them."""
    dim = hidden.shape[-1]
    return hidden.reshape(-1, dim).index_select(0, shared.places).reshape(rows, -1, dim)


def _additive(visible: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    mask = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return mask.masked_fill_(~visible, torch.finfo(dtype).min)[:, None]
