"""What a reward model is put together from: a policy, and the reference that belongs to it."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from llm_experiments.foreign import form_of, load_explicit, trained_from, with_adapter
from llm_experiments.forward import backbone
from llm_experiments.heads import HEAD_FILE, load_head, new_head
from llm_experiments.logprobs import check_logits
from llm_experiments.weights import DTYPES, adapter_base, check_runs, check_same_tokens, load_weights
from simulations.results import UserError
from theory.rewards import Kind


@dataclass(frozen=True)
class Loaded:
    policy: Any
    head: nn.Linear | None = None
    classifier: Any = None
    adapter: Any = None


def load_policy(source: Any, kind: Kind, manifest: dict[str, Any], dtype: str, seed: int, *, trained: bool) -> Loaded:
    if kind == "explicit" and trained and not manifest:
        found = load_explicit(source, dtype)
        return Loaded(found.backbone, found.head, found.classifier, found.adapter)
    base = adapter_base(source)
    if kind != "explicit" and isinstance(source, str | Path) and form_of(source) == "classifier":
        raise UserError(f"{source}: is a sequence classifier, not a language model; use --kind explicit")
    if kind == "explicit" and not isinstance(source, str | Path):
        policy = copy.deepcopy(backbone(source)).to(DTYPES[dtype])
    else:
        policy = load_weights(base or source, "AutoModel" if kind == "explicit" else "AutoModelForCausalLM", dtype)
    adapter = with_adapter(policy, source) if base else None
    check_runs(policy, name_of(policy))
    if kind != "explicit":
        check_logits(policy, name_of(policy))
        return Loaded(policy, adapter=adapter)
    head = new_head(policy.config, seed, dtype)
    if manifest:
        weight = load_head(source)
        if weight.shape != head.weight.shape:
            raise UserError(
                f"{source}/{HEAD_FILE}: is a head for {weight.shape[1]} numbers, the model has {head.in_features}; "
                "do the files belong together?"
            )
        head.weight.data = weight.to(head.weight)
    return Loaded(policy, head, adapter=adapter)


def load_reference(
    source: Any, loaded: Loaded, manifest: dict[str, Any], reference: str, dtype: str, tokenizer: Any, *, trained: bool
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
    if trained and not manifest and _same_weights(policy, other):
        raise UserError(
            f"{source}: has the weights of its reference {place}, so that every reward is 0; give --reference the "
            "model that the policy was trained from, or none"
        )
    mine, theirs = policy.get_output_embeddings().weight.shape[0], other.get_output_embeddings().weight.shape[0]
    if mine != theirs:
        raise UserError(
            f"{place}: as reference it has {theirs} tokens, the policy {mine}; give the model that the policy was "
            "trained from, or --reference none"
        )
    if tokenizer is not None:
        check_same_tokens(tokenizer, place)
    check_runs(other, place)
    check_logits(other, place)
    return other, f"reference: {place} ({why})"


def _same_weights(policy: Any, reference: Any) -> bool:
    mine, theirs = list(policy.parameters()), list(reference.parameters())
    return len(mine) == len(theirs) and all(map(torch.equal, mine, theirs))


def name_of(source: Any) -> str:
    """Of a folder or hub name, or what a model in memory was loaded from; it may be empty."""
    return str(source) if isinstance(source, str | Path) else str(getattr(source, "name_or_path", ""))
