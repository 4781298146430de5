"""Responses drawn from a policy, as token ids; what is made of them is the caller's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from llm_experiments.batches import Line
from llm_experiments.encoding import EncodedPair, Ids
from llm_experiments.models import RewardModel
from llm_experiments.scoring import row_values


@torch.no_grad()
def sample_responses(
    policy: Any, tokenizer: Any, prompts: Sequence[str], *, length: int, seed: int, batch_size: int = 64
) -> list[Ids]:
    """A response to each prompt at temperature 1: up to `length` tokens, the end token included where it was drawn.

    The same policy, seed and batch size give the same responses; torch's own generator is left alone.
    """
    policy.eval()
    found: list[Ids] = []
    side, tokenizer.padding_side = tokenizer.padding_side, "left"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for start in range(0, len(prompts), batch_size):
            batch = tokenizer(list(prompts[start : start + batch_size]), return_tensors="pt", padding=True)
            batch.pop("token_type_ids", None)
            out = policy.generate(
                **batch, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=length,
                pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
            )  # fmt: skip
            for ids in out[:, batch["input_ids"].shape[1] :].tolist():
                ended = ids.index(tokenizer.eos_token_id) + 1 if tokenizer.eos_token_id in ids else len(ids)
                found.append(tuple(ids[:ended]))
    tokenizer.padding_side = side
    return found


@dataclass(frozen=True)
class Samples:
    """Equally many responses to each of some prompts, the first prompt's first."""

    prompts: tuple[str, ...]
    prompt_ids: tuple[Ids, ...]
    responses: tuple[Ids, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Prompts and responses per prompt."""
        return len(self.prompts), len(self.responses) // len(self.prompts)

    def values(self, model: RewardModel) -> Float[np.ndarray, "prompts responses"]:
        """The model's rewards."""
        return self._columns(model)["scores"].reshape(self.shape)

    def log_ratios(self, model: RewardModel) -> Float[np.ndarray, "prompts responses"]:
        """ln pi(response) - ln pi_ref(response) in nats of an implicit model; their mean over responses that the
        policy itself drew estimates its divergence from the reference."""
        columns = self._columns(model)
        return (columns["log_probability"] - columns["reference_log_probability"]).reshape(self.shape)

    def best_and_worst(self, name: str, rewards: Float[np.ndarray, "prompts responses"]) -> list[EncodedPair]:
        """For each prompt the response with the highest reward against the one with the lowest, unless all tie."""
        pairs, per_prompt = [], self.shape[1]
        for number, (prompt, some) in enumerate(zip(self.prompt_ids, rewards, strict=True)):
            best, worst = (self.responses[number * per_prompt + int(at)] for at in (some.argmax(), some.argmin()))
            if some.max() > some.min() and best != worst:
                pairs.append(EncodedPair(f"{name}/{number}", "", prompt, best, worst))
        return pairs

    def _columns(self, model: RewardModel) -> dict[str, np.ndarray]:
        per_prompt = self.shape[1]
        lines: list[Line] = []
        for number, response in enumerate(self.responses):
            prompt = self.prompt_ids[number // per_prompt]
            lines.append((prompt + response, len(prompt), len(response)))
        return row_values(model, lines, 1024, paired=per_prompt % 2 == 0)


def draw_samples(
    policy: Any, tokenizer: Any, prompts: Sequence[str], per_prompt: int, *, length: int, seed: int
) -> Samples:
    """`per_prompt` responses to every prompt, as `sample_responses` draws them."""
    repeated = [prompt for prompt in prompts for _ in range(per_prompt)]
    responses = sample_responses(policy, tokenizer, repeated, length=length, seed=seed, batch_size=4096)
    ids = tuple(tuple(row) for row in tokenizer(list(prompts))["input_ids"])
    return Samples(tuple(prompts), ids, tuple(responses))
