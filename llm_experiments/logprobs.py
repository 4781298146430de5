"""Token log-probabilities where they are needed and nowhere else.

Hidden states are picked at the positions that predict a response token, and only those meet the output layer: at a
vocabulary of 256,000 the full logits of one batch would not fit. They meet it a tile of the vocabulary at a time
(tiling.py). What a family does to its logits (Gemma-2's soft cap, Cohere's and Granite's scale) is read from the config
and applied in float32, before logsumexp minus gather.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import nn
from torch.utils.checkpoint import checkpoint

from llm_experiments.pooling import pool_at as pool_at
from llm_experiments.tiling import tiled_log_probabilities
from simulations.results import UserError

CHUNK_ELEMENTS = 2**26  # logits held at once: 256 MB in float32
LOGIT_TOLERANCE = 1e-3  # relative; our logits against the model's own, at any dtype's noise


@dataclass(frozen=True)
class LogitRule:
    """What happens between the output layer and the softmax: logits * multiplier, then cap * tanh(logits / cap)."""

    multiplier: float = 1.0
    cap: float | None = None

    @classmethod
    def of(cls, config: Any) -> "LogitRule":
        """The rule of a model's config (its text part's, if it has several)."""
        config = config.get_text_config()
        multiplier = 1.0
        for name in ("logit_scale", "lm_head_multiplier", "output_multiplier"):
            multiplier *= _number(config, name) or 1.0
        if scaling := _number(config, "logits_scaling"):
            # one name, two meanings: HyperCLOVA-X multiplies, Granite and MiniCPM divide
            multiplier *= scaling if config.model_type.startswith("hyperclovax") else 1 / scaling
        return cls(multiplier, _number(config, "final_logit_softcapping"))

    def apply(self, logits: Float[torch.Tensor, "..."]) -> Float[torch.Tensor, "..."]:
        """In float32 at least; a bfloat16 logit near 20 has steps of 0.125."""
        logits = logits if logits.dtype == torch.float64 else logits.float()
        if self.multiplier != 1.0:
            logits = logits * self.multiplier
        if self.cap is not None:
            logits = self.cap * torch.tanh(logits / self.cap)
        return logits


def token_log_probabilities(
    hidden: Float[torch.Tensor, "rows length dim"],
    input_ids: Int[torch.Tensor, "rows length"],
    response_mask: Bool[torch.Tensor, "rows length"],
    output_layer: nn.Module,
    rule: LogitRule,
    aside: list[torch.Tensor] | None = None,
) -> Float[torch.Tensor, "rows length"]:
    """ln pi(token | tokens before) in nats at the masked tokens, 0 elsewhere; float64.

    The first position of a row has nothing before it and must not be masked. With `aside`, the gradient of a plain
    output layer's weights is put there and not passed on.
    """
    mask = response_mask[:, 1:]
    states, targets = hidden[:, :-1][mask], input_ids[:, 1:][mask]
    if _is_plain(output_layer):
        values = tiled_log_probabilities(
            states, output_layer.weight, output_layer.bias, targets, rule, aside=aside
        ).double()
    else:
        values = _by_rows(states, targets, output_layer, rule).double()
    return torch.zeros(input_ids.shape, dtype=torch.float64, device=hidden.device).masked_scatter(
        nn.functional.pad(mask, (1, 0)), values
    )


def last_logits(
    hidden: Float[torch.Tensor, "rows length dim"],
    last: Int[torch.Tensor, " rows"],
    output_layer: nn.Module,
    rule: LogitRule,
) -> Float[torch.Tensor, "rows vocabulary"]:
    """Logits after each row's last token, float32 at least."""
    return rule.apply(output_layer(pool_at(hidden, last)))


@torch.no_grad()
def check_logits(policy: Any, name: str) -> None:
    """Our output path against the model's own on a few tokens: a family with another rule must not go unnoticed."""
    ids = torch.arange(8).remainder(policy.config.get_text_config().vocab_size)[None].to(policy.device)
    own = policy.eval()(input_ids=ids, use_cache=False).logits.float()
    hidden = policy.base_model(input_ids=ids, use_cache=False).last_hidden_state
    if not torch.isfinite(own).all():
        raise UserError(f"{name}: its logits are not finite; are the weights damaged? else try --dtype float32")
    ours = LogitRule.of(policy.config).apply(policy.get_output_embeddings()(hidden)).float()
    tolerance = LOGIT_TOLERANCE if policy.dtype in (torch.float32, torch.float64) else 2e-2
    if not torch.allclose(own, ours, rtol=tolerance, atol=tolerance * float(own.abs().max())):
        raise UserError(
            f"{policy.config.model_type}: its logits are not what its config says (they differ by "
            f"{float((own - ours).abs().max()):.3g}); this family is not supported yet for implicit and generative"
        )


def _is_plain(output_layer: nn.Module) -> bool:
    """A matrix that lies here whole: no adapter around it, nothing that fetches it only when it is called."""
    hooks = hasattr(output_layer, "_hf_hook") or output_layer._forward_pre_hooks or output_layer._forward_hooks
    return isinstance(output_layer, nn.Linear) and not hooks and not hasattr(output_layer, "parametrizations")


def _by_rows(states: Any, targets: Any, output_layer: nn.Module, rule: LogitRule) -> torch.Tensor:
    """Any other output layer is called, on some tokens at a time."""
    vocabulary = getattr(output_layer, "out_features", None) or output_layer.weight.shape[0]
    chunks = max(1, math.ceil(len(targets) * vocabulary / CHUNK_ELEMENTS))
    parts = []
    for some_states, some_targets in zip(states.chunk(chunks), targets.chunk(chunks), strict=True):
        if chunks > 1 and torch.is_grad_enabled():
            part = checkpoint(_log_probability, some_states, some_targets, output_layer, rule, use_reentrant=False)
        else:
            part = _log_probability(some_states, some_targets, output_layer, rule)
        parts.append(part)
    return torch.cat(parts)


def _log_probability(states: Any, targets: Any, output_layer: nn.Module, rule: LogitRule) -> Any:
    logits = rule.apply(output_layer(states))
    return logits.gather(-1, targets[:, None])[:, 0] - torch.logsumexp(logits, dim=-1)


def _number(config: Any, name: str) -> float | None:
    value = getattr(config, name, None)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
