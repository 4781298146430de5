"""Log-probabilities of target tokens, tile by tile over the vocabulary: the logits never exist together.

Forward and backward see one tile of columns at a time. The forward pass keeps logsumexp and, of the logits, as many
tiles as a fixed number of bytes holds; the backward pass computes the others again, turns each tile into its gradient
and adds up both products. Memory beyond inputs and gradients is those bytes and a tile, whatever the vocabulary; the
work is four matrix products instead of three, or three where all tiles are kept.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch.autograd.function import once_differentiable

TILE_ELEMENTS = {"cpu": 2**21, "cuda": 2**26}  # logits held at once: 8 MB stay in a processor's cache
KEPT_ELEMENTS = {"cpu": 2**24, "cuda": 2**28}  # logits kept from the forward pass for the backward pass: 64 MB, 1 GB
NARROWEST = 512  # columns; thinner matrix products waste a processor


def tiled_log_probabilities(
    states: Float[torch.Tensor, "tokens dim"],
    weight: Float[torch.Tensor, "vocabulary dim"],
    bias: Float[torch.Tensor, " vocabulary"] | None,
    targets: Int[torch.Tensor, " tokens"],
    rule: Any,
    tile: int = 0,
    aside: list[torch.Tensor] | None = None,
) -> Float[torch.Tensor, " tokens"]:
    """ln softmax(rule(states weight' + bias))[target] in nats; float32 at least, with gradients for the first three.

    Matrix products are taken in the type of `weight` (under autocast in autocast's), everything else in float32, or
    in float64 if `weight` is.

    Args:
        rule: logits are multiplied by its `multiplier`, then capped as cap * tanh(logits / cap).
        tile: columns at a time; 0 for as many as fit `TILE_ELEMENTS`.
        aside: the gradient of `weight` is put here and not passed on.
    """
    device = states.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
    tile = tile or max(NARROWEST, TILE_ELEMENTS.get(device, 2**21) // max(1, len(targets)))
    trained = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (states, weight, bias))
    keep = KEPT_ELEMENTS.get(device, 2**24) if trained else 0
    with torch.autocast(device, enabled=False):
        return _Tiled.apply(states, weight, bias, targets, (rule.multiplier, rule.cap, dtype, tile), keep, aside)


class _Tiled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, states: Any, weight: Any, bias: Any, targets: Any, options: Any, keep: int, aside: Any
    ) -> torch.Tensor:
        inputs = states.to(options[2])
        picked = torch.zeros(len(targets), dtype=_precision(weight), device=states.device)
        parts, kept = [], []
        for start, logits in _tiles(inputs, weight, bias, options):
            inside, column = _local(targets, start, logits.shape[1])
            picked = torch.where(inside, logits.gather(1, column[:, None])[:, 0], picked)
            keep -= logits.numel()
            if keep >= 0:
                kept.append(logits.clone())
            top = logits.amax(1)
            parts.append(logits.sub_(top[:, None]).exp_().sum(1).log_().add_(top))
        total = torch.logsumexp(torch.stack(parts), 0)
        ctx.save_for_backward(states, weight, bias, targets, total)
        ctx.options, ctx.kept, ctx.aside = options, kept, aside
        return picked - total

    @staticmethod
    @once_differentiable  # what is computed here in place has no gradient of its own
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        states, weight, bias, targets, total = ctx.saved_tensors
        multiplier, cap, dtype, _ = ctx.options
        for_states, for_weight, for_bias = ctx.needs_input_grad[:3]
        inputs = states.to(dtype)
        of_states = torch.zeros(states.shape, dtype=total.dtype, device=states.device) if for_states else None
        of_weight = torch.empty_like(weight) if for_weight else None
        of_bias = torch.empty_like(bias) if for_bias else None
        kept, ctx.kept = ctx.kept, []
        for start, logits in _tiles(inputs, weight, bias, ctx.options, kept):
            columns = slice(start, start + logits.shape[1])
            slope = None if cap is None else (logits / cap).square_().neg_().add_(1)
            # the gradient of picked - total: one at the target minus the probabilities
            part = logits.sub_(total[:, None]).exp_().mul_(-gradient[:, None])
            inside, column = _local(targets, start, part.shape[1])
            part.scatter_add_(1, column[:, None], (gradient * inside)[:, None])
            if slope is not None:
                part.mul_(slope)
            if multiplier != 1.0:
                part.mul_(multiplier)
            if of_bias is not None:
                of_bias[columns] = part.sum(0)
            part = part.to(dtype)
            if of_states is not None:
                if dtype == of_states.dtype:
                    of_states.addmm_(part, weight[columns].to(dtype))
                else:
                    of_states += part @ weight[columns].to(dtype)
            if of_weight is not None:
                if dtype == of_weight.dtype:
                    torch.mm(part.T, inputs, out=of_weight[columns])
                else:
                    of_weight[columns] = part.T @ inputs
        if of_weight is not None and ctx.aside is not None:
            ctx.aside.append(of_weight)
            of_weight = None
        return None if of_states is None else of_states.to(states.dtype), of_weight, of_bias, None, None, None, None


def _tiles(inputs: Any, weight: Any, bias: Any, options: Any, kept: Any = ()) -> Any:
    """(first column, logits (tokens, columns) after the rule); the first ones from `kept`, given away."""
    size = options[3]
    room = None
    for number, start in enumerate(range(0, len(weight), size)):
        if number < len(kept):
            logits, kept[number] = kept[number], None
        else:
            if room is None:
                room = torch.empty(len(inputs), min(size, len(weight)), dtype=_precision(weight), device=inputs.device)
            part = None if bias is None else bias[start : start + size]
            logits = _logits(inputs, weight[start : start + size], part, options, room)
        yield start, logits


def _logits(inputs: Any, weight: Any, bias: Any, options: Any, room: Any) -> torch.Tensor:
    """Logits of some columns after the rule; in `room`, over the last tile, if they fill it."""
    multiplier, cap, dtype, _ = options
    columns = weight.to(dtype)
    if dtype != room.dtype:
        wide = inputs.is_cuda and {"out_dtype": room.dtype}
        logits = torch.mm(inputs, columns.T, **(wide or {})).to(room.dtype)
    elif len(columns) == room.shape[1]:
        logits = torch.mm(inputs, columns.T, out=room)
    else:
        logits = inputs @ columns.T
    if bias is not None:
        logits.add_(bias)
    if multiplier != 1.0:
        logits.mul_(multiplier)
    if cap is not None:
        logits.div_(cap).tanh_().mul_(cap)
    return logits


def _precision(weight: torch.Tensor) -> torch.dtype:
    return torch.promote_types(weight.dtype, torch.float32)


def _local(targets: torch.Tensor, start: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Which targets lie in this tile, and their column in it (any column for the others)."""
    return (targets >= start) & (targets < start + columns), (targets - start).clamp(0, columns - 1)
