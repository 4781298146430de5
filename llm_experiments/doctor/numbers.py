"""Checks of arithmetic: a reward is a property of its pair, finite, and finer than the differences that matter."""

import inspect
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float

from llm_experiments.batches import Batch, collate_rows
from llm_experiments.doctor.classifiers import inputs, padded
from llm_experiments.doctor.finding import Finding
from llm_experiments.encoding import EncodedPair, Ids
from llm_experiments.forward import backbone
from llm_experiments.logprobs import LogitRule, pool_at, token_log_probabilities
from llm_experiments.weights import DTYPES
from theory.preferences import PairRewards

Span = tuple[Ids, int, int]  # token ids, where the response starts, how many tokens it has

# Of a token's log-probability in nats, and of a reward relative to max(1, |r|): the contract in float32. In half
# precision the weights' own noise, about eight bits, decides.
INVARIANCE = {torch.float64: 1e-5, torch.float32: 1e-5, torch.bfloat16: 0.1, torch.float16: 0.02}


def spans(pairs: Sequence[EncodedPair]) -> list[Span]:
    """Both responses of every pair behind their prompt."""
    rows = []
    for pair in pairs:
        for response in (pair.chosen_ids, pair.rejected_ids):
            rows.append((pair.prompt_ids + response, len(pair.prompt_ids), len(response)))
    return rows


@torch.no_grad()
def check_batch_invariance(model: Any, rows: Sequence[Span], pad_id: int, *, classifier: bool) -> Finding:
    """Every response alone and in one batch, padded on the right and on the left."""
    name, tolerance = "batch invariance", INVARIANCE[model.dtype]
    read = _classifier_readings if classifier else response_log_probabilities
    alone = torch.cat([read(model, [row], pad_id, "right") for row in rows])
    worst_of = {}
    for side in ("right", "left"):
        together = read(model, rows, pad_id, side)
        worst_of[side] = float(((together - alone).abs() / alone.abs().clamp(min=1)).max())
    bad = {side: value for side, value in worst_of.items() if not value <= tolerance}
    said = ", ".join(f"{value:.1e} padded on the {side}" for side, value in worst_of.items())
    detail = f"largest change of a {'reward' if classifier else 'log-probability'} in a batch ({said})"
    if not bad:
        return Finding(name, "ok", max(worst_of.values()), f"{detail}; allowed {tolerance:.0e}")
    if list(bad) == ["left"]:
        cure = "pad on the right (rewardgap does): masks or positions of this model do not survive padding on the left"
        return Finding(name, "warning", bad["left"], detail, cure)
    cure = "score with --batch_size 1, in float32, and report the model: a reward must not depend on its neighbours"
    return Finding(name, "problem", bad["right"], detail, cure)


def check_gradients(model: Any, rows: Sequence[Span], pad_id: int) -> Finding:
    """Forward and backward through a padded batch without a number that is none, not even at the padding: zero times
    NaN is NaN, so what is masked out of the loss comes back in the gradients."""
    name = "finite numbers"
    model.eval()
    for side in ("right", "left"):
        batch = inputs(model, [row[0] for row in rows], pad_id, side)
        mask = batch["attention_mask"]
        with _watched(model) as bad:
            values = model(**batch, **_positions(model, mask)).logits.float()
            last = (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(-1)
            picked = values if values.ndim == 2 else pool_at(values, last)
            loss = picked.logsumexp(-1).mean() if picked.shape[-1] > 1 else picked.mean()
            embedded = bad.pop(_EMBEDDED)
            (gradient,) = torch.autograd.grad(loss, embedded)
        bad.update({} if torch.isfinite(gradient).all() else {"the backward pass": None})
        if bad:
            where = next(iter(bad))
            cure = (
                "use --dtype float32 (or bfloat16); if it persists, --attn_implementation eager and a trained pad token"
            )
            detail = f"is the first module with a number that is not finite, in a batch padded on the {side}"
            return Finding(name, "problem", where, detail, cure)
    return Finding(name, "ok", "all", "activations and gradients of a padded batch")


@torch.no_grad()
def check_logits(model: Any, rows: Sequence[Span]) -> Finding:
    """Our log-probabilities, which never build the full logits, against the model's own; where the config states a
    soft cap, also with logits far above it."""
    name, rule = "log-probabilities", LogitRule.of(model.config)
    tolerance = 1e-5 if model.dtype in (torch.float32, torch.float64) else 0.1
    worst, largest = _largest_difference(model, rows, rule)
    if rule.cap and largest > 0:
        # a power of two, by which weights are scaled and scaled back exactly
        with _scaled(model.get_output_embeddings(), 2.0 ** math.ceil(math.log2(2 * rule.cap / largest))):
            beyond, largest = _largest_difference(model, rows, rule)
        worst = max(worst, beyond)
    cap = f"soft cap {rule.cap:g}, logits up to {largest:.3g} before it" if rule.cap else "no soft cap"
    detail = f"largest difference from the model's full logits ({cap})"
    if worst <= tolerance:
        return Finding(name, "ok", worst, f"{detail}; allowed {tolerance:.0e}")
    cure = "this family does something to its logits that its config does not say: use --kind explicit, and report it"
    return Finding(name, "problem", worst, detail, cure)


def check_dtype(family: str, stored: str, dtype: str) -> Finding:
    """The precision asked for, beside the one the files are in."""
    name = "dtype"
    if dtype == "float16" and "gemma" in family:
        return Finding(name, "problem", dtype, "overflows in Gemma's activations", "use --dtype bfloat16 or float32")
    if dtype == "float16" and stored == "bfloat16":
        detail = "holds numbers up to 65504; the files are bfloat16, whose range is larger"
        return Finding(name, "warning", dtype, detail, "use --dtype bfloat16 or float32")
    return Finding(name, "ok", dtype, f"weights (stored as {stored}), heads float32, sums float64")


def check_resolution(rewards: PairRewards, stored: str) -> Finding:
    """Are the steps between rewards, in the precision that other tools load and return, smaller than the margins?"""
    name, dtype = "resolution", DTYPES.get(stored, torch.float32)
    margins, scale = abs(rewards.margin), float(max(abs(rewards.chosen).max(), abs(rewards.rejected).max()))
    step = spacing(scale, dtype)
    lost = int((margins < step).sum())
    detail = f"is the step of {stored} at rewards of {scale:.3g}; {lost} of {len(margins)} probe margins are below it"
    if lost > len(margins) / 10:
        cure = "read rewards in float32: --dtype float32 (others load this model in the precision it is stored in)"
        return Finding(name, "warning", step, detail, cure)
    return Finding(name, "ok", step, detail)


def check_ties(rewards: PairRewards, tie_tolerance: float) -> Finding:
    """Different responses get different rewards."""
    ties, name = int((abs(rewards.margin) <= tie_tolerance).sum()), "ties"
    if not ties:
        return Finding(name, "ok", 0, f"of {len(rewards.margin)} probe pairs tie")
    cure = "is the head zero, or the policy its own reference? see the checks of head and reference"
    status = "problem" if ties == len(rewards.margin) else "warning"
    return Finding(
        name, status, ties, f"of {len(rewards.margin)} probe pairs tie (margin below {tie_tolerance:g})", cure
    )


def check_attention(config: Any) -> Finding:
    """Attention soft-capping needs a back-end that knows it."""
    used, name = getattr(config, "_attn_implementation", None) or "eager", "attention"
    cap = getattr(config.get_text_config(), "attn_logit_softcapping", None)
    if cap and used == "sdpa":
        cure = "load with attn_implementation='eager' (or flex_attention); sdpa leaves the cap out"
        return Finding(name, "problem", used, f"ignores the attention soft cap of {cap:g} that the config states", cure)
    return Finding(name, "ok", used, f"attention, soft cap {cap:g}" if cap else "attention, no soft cap")


def spacing(scale: float, dtype: torch.dtype) -> float:
    """Distance from `scale` to the next number of this precision: 0.125 for bfloat16 near 20."""
    if scale == 0 or not math.isfinite(scale):
        return float(torch.finfo(dtype).tiny)
    return float(torch.finfo(dtype).eps * 2.0 ** math.floor(math.log2(scale)))


_EMBEDDED = "embedded"


def _classifier_readings(model: Any, rows: Sequence[Span], pad_id: int, side: str) -> Float[torch.Tensor, " values"]:
    return model(**inputs(model, [row[0] for row in rows], pad_id, side)).logits.double().reshape(-1)


def response_log_probabilities(
    model: Any, rows: Sequence[Span], pad_id: int, side: str
) -> Float[torch.Tensor, " values"]:
    """Log-probabilities of all response tokens, row after row, through the path that scoring takes."""
    batch = collate_rows(rows, pad_id=pad_id) if side == "right" else _left(rows, pad_id)
    batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
    hidden = _hidden(model, batch)
    values = token_log_probabilities(
        hidden, batch["input_ids"], batch["response_mask"], model.get_output_embeddings(), LogitRule.of(model.config)
    )
    return values[batch["response_mask"]]


def _left(rows: Sequence[Span], pad_id: int) -> Batch:
    ids, mask = padded([row[0] for row in rows], pad_id, "left")
    responses = torch.zeros_like(ids, dtype=torch.bool)
    for number, (row, start, length) in enumerate(rows):
        first = ids.shape[1] - len(row) + start
        responses[number, first : first + length] = True
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    return {"input_ids": ids, "attention_mask": mask, "position_ids": positions, "response_mask": responses}


def _hidden(model: Any, batch: Batch) -> torch.Tensor:
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    return backbone(model)(**inputs, **_positions(model, batch["attention_mask"]), use_cache=False).last_hidden_state


def _positions(model: Any, mask: torch.Tensor) -> dict[str, torch.Tensor]:
    if "position_ids" not in inspect.signature(backbone(model).forward).parameters:
        return {}
    return {"position_ids": (mask.cumsum(-1) - 1).clamp(min=0)}


def _largest_difference(model: Any, rows: Sequence[Span], rule: LogitRule) -> tuple[float, float]:
    """Of our log-probabilities from the model's own, relative to max(1, |ln p|); and the largest logit."""
    differences, sizes = [], []
    for row in rows:
        ours, theirs, size = _both_log_probabilities(model, row, rule)
        differences.append(float(((ours - theirs).abs() / theirs.abs().clamp(min=1)).max()))
        sizes.append(size)
    return max(differences), max(sizes)


def _both_log_probabilities(model: Any, row: Span, rule: LogitRule) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Ours, the model's own, and the largest logit before the cap."""
    _, start, length = row
    batch = {name: tensor.to(model.device) for name, tensor in collate_rows([row]).items()}
    layer = model.get_output_embeddings()
    hidden = _hidden(model, batch)
    ours = token_log_probabilities(hidden, batch["input_ids"], batch["response_mask"], layer, rule)
    full = torch.log_softmax(model(input_ids=batch["input_ids"]).logits[0].double(), -1)
    places = torch.arange(start - 1, start + length - 1, device=model.device)
    theirs = full[places, batch["input_ids"][0, places + 1]]
    return ours[batch["response_mask"]], theirs, float(layer(hidden).abs().max())


@contextmanager
def _scaled(layer: Any, factor: float) -> Iterator[None]:
    layer.weight.data.mul_(factor)
    try:
        yield
    finally:
        layer.weight.data.div_(factor)


@contextmanager
def _watched(model: Any) -> Iterator[dict[str, Any]]:
    """Names of modules whose output is not finite, in the order of the forward pass; and the embedded tokens, from
    which a gradient can be asked without holding one for every weight."""
    bad: dict[str, Any] = {}
    before = {name: weight.requires_grad for name, weight in model.named_parameters()}
    model.requires_grad_(False)

    def embed(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
        bad[_EMBEDDED] = output.detach().requires_grad_()
        return bad[_EMBEDDED]

    def watch(name: str) -> Any:
        def hook(_: Any, __: Any, output: Any) -> None:
            tensors = output if isinstance(output, tuple | list) else [output]
            if any(
                isinstance(t, torch.Tensor) and t.is_floating_point() and not torch.isfinite(t).all() for t in tensors
            ):
                bad.setdefault(name, None)

        return hook

    hooks = [model.get_input_embeddings().register_forward_hook(embed)]
    hooks += [module.register_forward_hook(watch(name)) for name, module in model.named_modules() if name]
    try:
        yield bad
    finally:
        for hook in hooks:
            hook.remove()
        for name, weight in model.named_parameters():
            weight.requires_grad_(before[name])
