"""Log-probabilities of target tokens, tile by tile over the vocabulary: the logits never exist together.

Forward and backward see one tile of columns at a time. The forward pass keeps logsumexp alone; the backward pass
computes each tile's logits again, turns them into their gradient and adds up both products. Memory beyond inputs and
gradients is a tile, whatever the vocabulary; the work is four matrix products instead of three.
"""

from typing import Any

import torch
from jaxtyping import Float, Int

TILE_ELEMENTS = {"cpu": 2**21, "cuda": 2**26}  # logits held at once: 8 MB stay in a processor's cache
NARROWEST = 512  # columns; thinner matrix products waste a processor


def tiled_log_probabilities(
    states: Float[torch.Tensor, "tokens dim"],
    weight: Float[torch.Tensor, "vocabulary dim"],
    bias: Float[torch.Tensor, " vocabulary"] | None,
    targets: Int[torch.Tensor, " tokens"],
    rule: Any,
    tile: int = 0,
) -> Float[torch.Tensor, " tokens"]:
    """ln softmax(rule(states weight' + bias))[target] in nats; float32 at least, with gradients for the first three.

    Matrix products are taken in the type of `weight` (under autocast in autocast's), everything else in float32, or
    in float64 if `weight` is.

    Args:
        rule: logits are multiplied by its `multiplier`, then capped as cap * tanh(logits / cap).
        tile: columns at a time; 0 for as many as fit `TILE_ELEMENTS`.
    """
    device = states.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
    tile = tile or max(NARROWEST, TILE_ELEMENTS.get(device, 2**21) // max(1, len(targets)))
    with torch.autocast(device, enabled=False):
        return _Tiled.apply(states, weight, bias, targets, (rule.multiplier, rule.cap, dtype, tile))


class _Tiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Any, weight: Any, bias: Any, targets: Any, options: Any) -> torch.Tensor:
        inputs = states.to(options[2])
        picked = torch.zeros(len(targets), dtype=_precision(weight), device=states.device)
        parts = []
        for start, logits in _tiles(inputs, weight, bias, options):
            inside, column = _local(targets, start, logits.shape[1])
            picked = torch.where(inside, logits.gather(1, column[:, None])[:, 0], picked)
            top = logits.amax(1)
            parts.append(logits.sub_(top[:, None]).exp_().sum(1).log_().add_(top))
        total = torch.logsumexp(torch.stack(parts), 0)
        ctx.save_for_backward(states, weight, bias, targets, total)
        ctx.options = options
        return picked - total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        states, weight, bias, targets, total = ctx.saved_tensors
        multiplier, cap, dtype, _ = ctx.options
        for_states, for_weight, for_bias = ctx.needs_input_grad[:3]
        inputs = states.to(dtype)
        of_states = torch.zeros(states.shape, dtype=total.dtype, device=states.device) if for_states else None
        of_weight = torch.empty_like(weight) if for_weight else None
        of_bias = torch.empty_like(bias) if for_bias else None
        for start, logits in _tiles(inputs, weight, bias, ctx.options):
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
        return None if of_states is None else of_states.to(states.dtype), of_weight, of_bias, None, None


def _tiles(inputs: Any, weight: Any, bias: Any, options: Any) -> Any:
    """(first column, logits (tokens, columns) after the rule); the next tile overwrites the last."""
    multiplier, cap, dtype, size = options
    precision = _precision(weight)
    room = torch.empty(len(inputs), min(size, len(weight)), dtype=precision, device=inputs.device)
    for start in range(0, len(weight), size):
        columns = weight[start : start + size].to(dtype)
        logits = room[:, : len(columns)]
        if dtype == precision:
            # written where the last tile was, unless this one is narrower and would not lie in one piece
            if logits.is_contiguous():
                torch.mm(inputs, columns.T, out=logits)
            else:
                logits = inputs @ columns.T
        elif inputs.is_cuda:
            logits = torch.mm(inputs, columns.T, out_dtype=precision)
        else:
            logits = (inputs @ columns.T).to(precision)
        if bias is not None:
            logits.add_(bias[start : start + size])
        if multiplier != 1.0:
            logits.mul_(multiplier)
        if cap is not None:
            logits.div_(cap).tanh_().mul_(cap)
        yield start, logits


def _precision(weight: torch.Tensor) -> torch.dtype:
    return torch.promote_types(weight.dtype, torch.float32)


def _local(targets: torch.Tensor, start: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Which targets lie in this tile, and their column in it (any column for the others)."""
    return (targets >= start) & (targets < start + columns), (targets - start).clamp(0, columns - 1)
