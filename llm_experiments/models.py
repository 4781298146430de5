"""Reward models of three kinds on any causal language model.

    explicit    backbone + linear head, read at the last attended token
    implicit    policy against its frozen reference, log-probabilities of the response
    generative  policy, probability of "Yes" after the verification prompt

Weights are loaded with an explicit dtype, dropout is off (a policy in training mode must equal its reference), and
what happens to logits is checked against the model's own before anything is computed with it. An adapter (peft) lies
inside the policy's layers; switched off, it leaves the reference.
"""

import copy
import inspect
import math
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from llm_experiments.answers import answer_tokens as answer_tokens
from llm_experiments.batches import Batch
from llm_experiments.foreign import form_of, load_explicit, trained_from, with_adapter
from llm_experiments.logprobs import LogitRule, check_logits, last_logits, token_log_probabilities
from llm_experiments.manifest import MANIFEST as MANIFEST
from llm_experiments.manifest import read_manifest as read_manifest
from llm_experiments.pooling import last_attended, pool
from llm_experiments.reference_cache import ReferenceCache
from llm_experiments.settings import Pooling
from llm_experiments.shared import SharedPrompts
from llm_experiments.weights import (
    DTYPES,
    adapter_base,
    check_runs,
    check_same_tokens,
    find_device,
    first_line,
    load_weights,
    stored_file,
    without_dropout,
)
from llm_experiments.weights import LOAD_ERRORS as LOAD_ERRORS
from llm_experiments.weights import foreign_code as foreign_code
from llm_experiments.weights import load_tokenizer as load_tokenizer
from llm_experiments.weights import quiet_transformers as quiet_transformers
from simulations.results import UserError
from theory.rewards import KINDS, Kind, explicit_reward, generative_reward, implicit_reward

HEAD_FILE = "head.safetensors"  # the explicit head, float32, beside whatever else holds it
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
        self.rule = LogitRule.of(policy.config)
        self._reference = (reference,)  # tuples hide these from nn.Module
        self._adapter: tuple[Any] = (None,)
        self._classifier: tuple[Any] = (None,)
        self.cache: ReferenceCache | None = None
        self.aside: list[torch.Tensor] | None = None  # see llm_experiments/tied.py
        self.shared = SharedPrompts(backbone(policy).config)
        self._takes_positions = "position_ids" in inspect.signature(backbone(policy).forward).parameters
        for model in (policy, reference):
            if model is not None:
                without_dropout(model)
        if reference is not None:
            reference.requires_grad_(False).eval()

    @property
    def reference(self) -> Any:
        return self._reference[0]

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
            self._reference = (self.policy,)

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
        rows = (input_ids, attention_mask, position_ids)
        hidden = self._hidden(self.policy, *rows) if hidden is None else hidden
        if self.kind == "implicit":
            layer = self.policy.get_output_embeddings()
            return token_log_probabilities(hidden, input_ids, response_mask, layer, self.rule, self.aside).sum(-1)
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
        model = self.reference.to(self.device)
        with self.adapter.disable_adapter() if model is self.policy else nullcontext():
            hidden = self._hidden(model, batch["input_ids"], batch["attention_mask"], batch["position_ids"])
            layer = model.get_output_embeddings()
            return token_log_probabilities(hidden, batch["input_ids"], batch["response_mask"], layer, self.rule).sum(-1)

    def hidden_states(self, input_ids: Any, attention_mask: Any, position_ids: Any) -> torch.Tensor:
        """What the head or the output layer reads, (rows, length, dim)."""
        return self._hidden(self.policy, input_ids, attention_mask, position_ids)

    def _hidden(self, model: Any, *rows: torch.Tensor) -> torch.Tensor:
        def run(input_ids: Any, attention_mask: Any, position_ids: Any) -> torch.Tensor:
            positions = {"position_ids": position_ids} if self._takes_positions else {}
            return backbone(model)(
                input_ids=input_ids, attention_mask=attention_mask, use_cache=False, **positions
            ).last_hidden_state

        return self.shared.hidden_states(run, model.dtype, *rows)


def backbone(model: Any) -> Any:
    """The transformer below the output layer or head."""
    return model.base_model


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
    loaded = _load_policy(source, kind, manifest, dtype, seed, trained=trained)
    other, said = None, ""
    if kind == "implicit" and reference != "none":
        other, said = _load_reference(source, loaded, manifest, reference, dtype, tokenizer, trained=trained)
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
        source=_name(source),
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
    """The kind that a model says it is, itself or by having a reward head; None for a plain language model."""
    if manifest := read_manifest(source):
        return manifest["kind"]
    return "explicit" if form_of(source) in ("classifier", "value_head") else None


def model_folder(source: str) -> str:
    """`source`, or the model inside it where it is the folder of a training run."""
    inside = Path(source) / "model"
    return str(inside) if (inside / MANIFEST).exists() else source


def new_head(config: Any, seed: int, dtype: str = "float32") -> nn.Linear:
    """A linear head without bias, float32 under any smaller `dtype`, normal with the config's `initializer_range`
    (0.02 where it has none).

    Not zero: every pair would be a tie before the first step.
    """
    text = config.get_text_config()
    head = nn.Linear(text.hidden_size, 1, bias=False, dtype=torch.float32)
    spread = getattr(text, "initializer_range", None) or 0.02
    with torch.no_grad():
        head.weight.normal_(0.0, spread, generator=torch.Generator().manual_seed(seed))
    return head.to(torch.promote_types(DTYPES[dtype], torch.float32))


def load_head(source: str | Path) -> Float[torch.Tensor, "1 dim"]:
    """The weights of a saved explicit head.

    Raises:
        UserError: the file is missing or damaged: a new head in its place would be noise.
    """
    path = stored_file(source, HEAD_FILE)
    try:
        weight = load_file(str(path or Path(source) / HEAD_FILE))["weight"]
        if weight.ndim != 2 or len(weight) != 1 or not weight.is_floating_point():
            raise ValueError(f"a {weight.dtype} of shape {tuple(weight.shape)} is no head")
        return weight
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise UserError(
            f"{path or Path(source) / HEAD_FILE}: the head cannot be read ({first_line(error)}); train again, or find "
            "the file"
        ) from None


@dataclass(frozen=True)
class _Loaded:
    policy: Any
    head: nn.Linear | None = None
    classifier: Any = None
    adapter: Any = None


def _load_policy(source: Any, kind: Kind, manifest: dict[str, Any], dtype: str, seed: int, *, trained: bool) -> _Loaded:
    if kind == "explicit" and trained and not manifest:
        found = load_explicit(source, dtype)
        return _Loaded(found.backbone, found.head, found.classifier, found.adapter)
    base = adapter_base(source)
    if kind != "explicit" and isinstance(source, str | Path) and form_of(source) == "classifier":
        raise UserError(f"{source}: is a sequence classifier, not a language model; use --kind explicit")
    if kind == "explicit" and not isinstance(source, str | Path):
        policy = copy.deepcopy(backbone(source)).to(DTYPES[dtype])
    else:
        policy = load_weights(base or source, "AutoModel" if kind == "explicit" else "AutoModelForCausalLM", dtype)
    adapter = with_adapter(policy, source) if base else None
    check_runs(policy, _name(policy))
    if kind != "explicit":
        check_logits(policy, _name(policy))
        return _Loaded(policy, adapter=adapter)
    head = new_head(policy.config, seed, dtype)
    if manifest:
        weight = load_head(source)
        if weight.shape != head.weight.shape:
            raise UserError(
                f"{source}/{HEAD_FILE}: is a head for {weight.shape[1]} numbers, the model has {head.in_features}; "
                "do the files belong together?"
            )
        head.weight.data = weight.to(head.weight)
    return _Loaded(policy, head, adapter=adapter)


def _load_reference(
    source: Any, loaded: _Loaded, manifest: dict[str, Any], reference: str, dtype: str, tokenizer: Any, *, trained: bool
) -> tuple[Any, str]:
    """The reference and what to tell about its choice; the policy itself where the adapter's base is the reference."""
    policy, base = loaded.policy, adapter_base(source)
    place, why = reference, "given"
    if reference == "auto":
        place, why = manifest.get("reference") or "", "what it was trained from"
        if place == "none":
            return None, "reference: none (as it was trained)"
        if base and place in ("", base):
            return policy, f"reference: {base} (the adapter's base)"
        if not place and not trained:
            return copy.deepcopy(policy), ""
        if not place:
            place, why = trained_from(source) or ("", "")
    if not place:
        # a guess would be worse than nothing: against itself every policy ties every pair
        raise UserError(f"{source}: does not say what it was trained from; give --reference MODEL, or none")
    if base and place == base:
        return policy, f"reference: {base} (the adapter's base)"
    try:
        other = load_weights(place, "AutoModelForCausalLM", dtype)
    except UserError as error:
        raise UserError(f"reference {error}; give --reference the model that the policy was trained from") from None
    mine, theirs = policy.get_output_embeddings().weight.shape[0], other.get_output_embeddings().weight.shape[0]
    if mine != theirs:
        raise UserError(
            f"{place}: as reference it has {theirs} tokens, the policy {mine}; give the model that the policy was "
            "trained from, or --reference none"
        )
    if tokenizer is not None:
        check_same_tokens(tokenizer, place)
    return other, f"reference: {place} ({why})"


def _name(source: Any) -> str:
    return str(source) if isinstance(source, str | Path) else str(getattr(source, "name_or_path", ""))
