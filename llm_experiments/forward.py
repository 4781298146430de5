"""Forward passes of one transformer, as its own config wants them.

What happens to logits, how far a window of attention reaches and whether positions are taken are read from the config
of the model that is run. A policy and its reference are two of these: they may differ in all three.
"""

import inspect
from typing import Any

import torch
from jaxtyping import Bool, Float, Int

from llm_experiments.logprobs import LogitRule, token_log_probabilities
from llm_experiments.shared import SharedPrompts


def backbone(model: Any) -> Any:
    """The transformer below the output layer or head."""
    return model.base_model


class Forward:
    """Runs `model`, a causal language model or its backbone alone; the prompt of a pair once where that is safe."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.rule = LogitRule.of(model.config)
        self.shared = SharedPrompts(backbone(model).config)
        self._takes_positions = "position_ids" in inspect.signature(backbone(model).forward).parameters

    def hidden_states(
        self,
        input_ids: Int[torch.Tensor, "rows length"],
        attention_mask: Int[torch.Tensor, "rows length"],
        position_ids: Int[torch.Tensor, "rows length"],
    ) -> Float[torch.Tensor, "rows length dim"]:
        """What a head or the output layer reads; in the padding stands anything."""
        return self.shared.hidden_states(self._run, self.model.dtype, input_ids, attention_mask, position_ids)

    def sums(
        self,
        hidden: Float[torch.Tensor, "rows length dim"],
        input_ids: Int[torch.Tensor, "rows length"],
        response_mask: Bool[torch.Tensor, "rows length"],
        aside: list[torch.Tensor] | None = None,
    ) -> Float[torch.Tensor, " rows"]:
        """Each response's log-probability in nats, float64, from its `hidden` states; `aside` as for
        `token_log_probabilities`."""
        layer = self.model.get_output_embeddings()
        return token_log_probabilities(hidden, input_ids, response_mask, layer, self.rule, aside).sum(-1)

    def _run(self, input_ids: Any, attention_mask: Any, position_ids: Any) -> torch.Tensor:
        positions = {"position_ids": position_ids} if self._takes_positions else {}
        return backbone(self.model)(
            input_ids=input_ids, attention_mask=attention_mask, use_cache=False, **positions
        ).last_hidden_state
