"""Reward models of three kinds on any causal language model.

    explicit    backbone + linear head, read at the last attended token
    implicit    policy against its frozen reference, log-probabilities of the response
    generative  policy, probability of "Yes" after the verification prompt

Weights are loaded with an explicit dtype, dropout is off (a policy in training mode must equal its reference), and
what happens to logits is checked against the model's own before anything is computed with it. An adapter (peft) lies
inside the policy's layers; switched off, it leaves the reference.
"""

import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import nn

from llm_experiments.answers import answer_tokens as answer_tokens
from llm_experiments.batches import Batch
from llm_experiments.foreign import form_of
from llm_experiments.forward import Forward
from llm_experiments.loading import load_policy, load_reference, name_of
from llm_experiments.logprobs import last_logits
from llm_experiments.manifest import MANIFEST as MANIFEST
from llm_experiments.manifest import read_manifest as read_manifest
from llm_experiments.pooling import last_attended, pool
from llm_experiments.reference_cache import ReferenceCache
from llm_experiments.settings import Pooling
from llm_experiments.weights import LOAD_ERRORS as LOAD_ERRORS
from llm_experiments.weights import (
    find_device,
    load_config,
    without_dropout,
)
from llm_experiments.weights import foreign_code as foreign_code
from llm_experiments.weights import load_tokenizer as load_tokenizer
from llm_experiments.weights import quiet_transformers as quiet_transformers
from simulations.results import UserError, read_json
from theory.rewards import KINDS, Kind, explicit_reward, generative_reward, implicit_reward

DEFAULT_BETA = 0.1
FOREIGN_BETA = 1.0  # of a policy that does not say what it was trained with: it changes no ranking


class RewardModel(nn.Module):
    """A policy (explicit: its backbone alone), and what its kind adds: a head, a reference, two answer tokens.

    The reference is no submodule: it is neither trained nor saved, and follows the policy's device when used. It is
    the policy itself where switching the adapter off gives it.
    """

    def __init__(
        self,
        kind: Kind,
        policy: Any,
        *,
        head: nn.Linear | None = None,
        reference: Any = None,
        beta: float = DEFAULT_BETA,
        answers: tuple[int, int] = (-1, -1),
        pooling: Pooling = "last",
        end_id: int = -1,
        source: str = "",
    ) -> None:
        super().__init__()
        self.kind = kind
        self.policy = policy
        self.head = head
        self.beta = beta
        self.answers = answers  # ids of Yes and No
        self.pooling = pooling
        self.end_id = end_id
        self.source = source
        self.notes: list[str] = []  # choices that were made for the user, to be printed and stored
        self._forward = Forward(policy)
        self.rule, self.shared = self._forward.rule, self._forward.shared
        self._reference = None if reference is None else Forward(reference)
        self._adapter: tuple[Any] = (None,)  # tuples hide these from nn.Module
        self._classifier: tuple[Any] = (None,)
        self.cache: ReferenceCache | None = None
        self.aside: list[torch.Tensor] | None = None  # see llm_experiments/tied.py
        for model in (policy, reference):
            if model is not None:
                without_dropout(model)
        if reference is not None:
            reference.requires_grad_(False).eval()

    @property
    def reference(self) -> Any:
        return None if self._reference is None else self._reference.model

    @property
    def adapter(self) -> Any:
        """The peft model around the policy, or None."""
        return self._adapter[0]

    @property
    def classifier(self) -> Any:
        """The plain classifier around the backbone of a model that others saved, or None."""
        return self._classifier[0]

    def attach(self, adapter: Any, *, as_reference: bool) -> None:
        """Remember the adapter that was put into the policy's layers; without it, the policy may be the reference."""
        self._adapter = (adapter,)
        if as_reference:
            self._reference = self._forward

    def remember(self, folder: Path | None) -> None:
        """Keep what the reference says in `folder`, and take it from there; None: ask it every time."""
        known = self.kind == "implicit" and self.reference is not None and folder is not None
        self.cache = ReferenceCache(folder, self.reference) if known else None

    @property
    def config(self) -> Any:
        return self.policy.config

    @property
    def device(self) -> torch.device:
        return next(self.policy.parameters()).device

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        position_ids: torch.Tensor,
        response_mask: torch.Tensor,
        hidden: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Explicit rewards or implicit log-probability sums (float64), (rows,); generative last logits, (rows,
        vocabulary). The backbone's `hidden` states are computed unless given."""
        hidden = self.hidden_states(input_ids, attention_mask, position_ids) if hidden is None else hidden
        if self.kind == "implicit":
            return self._forward.sums(hidden, input_ids, response_mask, self.aside)
        if self.kind == "generative":
            last = last_attended(attention_mask)
            return last_logits(hidden, last, self.policy.get_output_embeddings(), self.rule)
        states = pool(hidden, input_ids, attention_mask, response_mask, self.pooling, self.end_id)
        rewards = explicit_reward(states, self.head.weight[0])
        return rewards if self.head.bias is None else rewards + self.head.bias

    def rewards(self, output: torch.Tensor, reference: torch.Tensor | None) -> Float[torch.Tensor, " rows"]:
        """The rewards that belong to what `forward` returned; `reference` holds the reference's log-probability sums
        (implicit with a reference only)."""
        if self.kind == "explicit":
            return output
        if self.kind == "generative":
            return generative_reward(output, self.answers[0])
        other = torch.zeros_like(output) if reference is None else reference.to(output)
        return implicit_reward(output[:, None], other[:, None], self.beta)

    @torch.no_grad()
    def reference_log_probabilities(self, batch: Batch) -> Float[torch.Tensor, " rows"] | None:
        """Sums of the reference's log-probabilities; None without a reference."""
        if self.kind != "implicit" or self.reference is None:
            return None
        return self._ask_reference(batch) if self.cache is None else self.cache.values(batch, self._ask_reference)

    def _ask_reference(self, batch: Batch) -> torch.Tensor:
        reference = self._reference
        model = reference.model.to(self.device)
        with self.adapter.disable_adapter() if model is self.policy else nullcontext():
            hidden = reference.hidden_states(batch["input_ids"], batch["attention_mask"], batch["position_ids"])
            return reference.sums(hidden, batch["input_ids"], batch["response_mask"])

    def hidden_states(self, input_ids: Any, attention_mask: Any, position_ids: Any) -> torch.Tensor:
        """What the head or the output layer reads, (rows, length, dim)."""
        return self._forward.hidden_states(input_ids, attention_mask, position_ids)


def load_reward_model(
    source: str | Path | Any,
    kind: Kind,
    *,
    tokenizer: Any = None,
    reference: str = "auto",
    beta: float | None = None,
    dtype: str = "float32",
    device: str = "auto",
    seed: int = 0,
    answers: tuple[int, int] | None = None,
    pooling: Pooling = "last",
    end_id: int = -1,
    trained: bool = False,
) -> RewardModel:
    """A reward model of `kind` from a folder, a hub name, or a causal language model in memory (which is copied).

    A folder that this project saved gives back the model as saved (beta, head and reference included). Any other
    causal language model becomes the start of training: explicit gets a new head, drawn with `seed` from a normal of
    the config's `initializer_range`; implicit gets a frozen copy of itself as reference. With `trained`, it is taken
    for a reward model that somebody else has trained, whose head or reference must be found.

    Args:
        tokenizer: needed for `generative`, whose Yes and No must be single tokens, unless `answers` gives their ids;
            a reference must have the same.
        reference: `auto`, `none` (log-probability alone), or a folder or hub name.
        dtype: of the weights; rewards are summed in float64 under any.
        pooling: where a new explicit model reads its reward; `end_id` is the end of a turn.

    Raises:
        UserError: no such model, one of another kind, no head to be found, a reference that does not fit, float16 for
            Gemma.
    """
    if kind not in KINDS:
        raise UserError(f"--kind must be one of {', '.join(KINDS)}, got {kind!r}")
    manifest = read_manifest(source)
    if manifest and manifest["kind"] != kind:
        raise UserError(
            f"{source}: is a reward model of kind {manifest['kind']}, not {kind}; use --kind {manifest['kind']}"
        )
    if kind == "explicit" and not manifest and pooling == "end_of_turn" and end_id < 0:
        raise UserError("--pooling end_of_turn needs a tokenizer with an end-of-turn or end-of-sequence token")
    if answers is None:
        answers = answer_tokens(tokenizer) if kind == "generative" else (-1, -1)
    loaded = load_policy(source, kind, manifest, dtype, seed, trained=trained)
    other, said = None, ""
    if kind == "implicit" and reference != "none":
        other, said = load_reference(source, loaded, manifest, reference, dtype, tokenizer, trained=trained)
    own = manifest.get("beta") or (_stated_beta(loaded.policy.config) if trained else 0.0)
    model = RewardModel(
        kind,
        loaded.policy,
        head=loaded.head,
        reference=None if other is loaded.policy else other,
        beta=beta or own or (FOREIGN_BETA if trained else DEFAULT_BETA),
        answers=answers,
        pooling=manifest.get("pooling") or pooling,
        end_id=manifest.get("end_token_id", end_id),
        source=name_of(source),
    )
    model._classifier = (loaded.classifier,)
    if loaded.adapter is not None:
        model.attach(loaded.adapter, as_reference=other is loaded.policy)
    if said:
        model.notes.append(said)
    if model.shared.reason:
        model.notes.append(f"prompts are computed for chosen and rejected each ({model.shared.reason})")
    if kind == "implicit" and trained and not beta and not own:
        model.notes.append(f"beta: {FOREIGN_BETA:g} (the policy does not say; it changes no ranking)")
    if loaded.classifier is not None:  # no submodule, so that its head does not move along
        loaded.classifier.to(find_device(device))
    return model.to(find_device(device)).eval()


def _stated_beta(config: Any) -> float:
    """What the config of a policy that others trained calls beta; 0 where it says nothing that could be one."""
    beta = getattr(config, "beta", None)
    return float(beta) if isinstance(beta, int | float) and 0 < beta < math.inf else 0.0


def kind_of(source: str) -> Kind | None:
    """The kind that a model says it is, itself or by having a reward head; None for a plain language model.

    Raises:
        UserError: there is no model.
    """
    if manifest := read_manifest(source):
        return manifest["kind"]
    form = form_of(source)
    if form is None:
        load_config(source)  # no model at all is not one that does not say its kind
    return "explicit" if form in ("classifier", "value_head") else None


def model_folder(source: str) -> str:
    """`source`, or the model inside it where it is the folder of a training run.

    Raises:
        UserError: it is the folder of a run that scored.
    """
    inside, config = Path(source) / "model", Path(source) / "config.json"
    if (Path(source) / "scores").is_dir() and config.is_file():
        asked = read_json(config)
        if isinstance(asked, dict) and asked.get("command") == "score":
            raise UserError(f"{source}: is a folder of scores; its model was {asked.get('model')}: give that one")
    return str(inside) if (inside / MANIFEST).exists() else source
