"""Reward models that other tools saved: which form they have, where their head is, what they were trained from.

classifier    AutoModelForSequenceClassification with one label (TRL's RewardTrainer, OpenRLHF, most on the hub)
value_head    a causal language model with `v_head.*` tensors beside its own (TRL's value heads, LLaMA-Factory)
adapter       a peft folder over its base: a classifier where its task is SEQ_CLS, else a policy
policy        a causal language model; what it was trained from is in its model card, if anywhere
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open
from torch import nn

from llm_experiments.weights import (
    DTYPES,
    LOAD_ERRORS,
    adapter_base,
    adapter_config,
    first_line,
    load_config,
    load_weights,
    quiet_transformers,
    stored_file,
    tensor_names,
)
from simulations.results import UserError, read_json

ADAPTER_WEIGHTS = "adapter_model.safetensors"
VALUE_HEADS = ("v_head.", "value_head.")
Form = Literal["classifier", "value_head", "policy"]


@dataclass(frozen=True)
class Explicit:
    """An explicit reward model of somebody else's: the transformer, its head (float32 at least), the plain classifier
    around both where there is one, and the peft model where there is an adapter."""

    backbone: Any
    head: nn.Linear
    classifier: Any = None
    adapter: Any = None


def form_of(source: str | Path) -> Form | None:
    """The form of a folder or hub name, by its files alone; None if it has no config to tell."""
    if adapter := adapter_config(source):
        return "classifier" if adapter.get("task_type") == "SEQ_CLS" else "policy"
    path = stored_file(source, "config.json")
    if path is None:
        return None
    config = read_json(path)
    names = config.get("architectures") if isinstance(config, dict) else None
    if any("ForSequenceClassification" in str(name) for name in (names if isinstance(names, list) else ())):
        return "classifier"
    return "value_head" if any(name.startswith(VALUE_HEADS) for name in tensor_names(source)) else "policy"


def trained_from(source: str | Path) -> tuple[str, str] | None:
    """The model that a policy was trained from, and where that is said: its model card."""
    from huggingface_hub import metadata_load
    from yaml import YAMLError

    card = stored_file(source, "README.md")
    try:
        base = (metadata_load(card) or {}).get("base_model") if card else None
    except (ValueError, AttributeError, YAMLError):
        return None
    base = base[0] if isinstance(base, list) and base else base
    return (base, "base_model in its README.md") if isinstance(base, str) else None


def with_adapter(base: Any, source: str | Path) -> Any:
    """The peft model over `base`, which is changed in place.

    Raises:
        UserError: the adapter is a pickle, adds no weights to layers, or does not fit its base.
    """
    from peft import PeftModel

    if adapter_config(source).get("peft_type") in ("PROMPT_TUNING", "PREFIX_TUNING", "P_TUNING", "ADAPTION_PROMPT"):
        raise UserError(f"{source}: is a prompt adapter; only adapters of weights (LoRA and its kin) are supported")
    if stored_file(source, ADAPTER_WEIGHTS) is None:
        raise UserError(f"{source}: has no {ADAPTER_WEIGHTS}; save the adapter as safetensors, pickles are not read")
    try:
        with quiet_transformers():
            return PeftModel.from_pretrained(base, str(source))
    except LOAD_ERRORS as error:
        raise UserError(f"{source}: the adapter does not fit its base model ({first_line(error)})") from None


def load_explicit(source: str | Path, dtype: str) -> Explicit:
    """A classifier, or a language model with a value head.

    Raises:
        UserError: there is no head, it was not in the file, or it gives more than one number.
    """
    form = form_of(source)
    if form == "classifier":
        return _load_classifier(source, dtype)
    if form != "value_head":
        raise UserError(
            f"{source}: has no reward head, so an explicit reward would be a random number; train one (rewardgap train "
            "--kind explicit), or score the model with --kind implicit or generative"
        )
    places = {name: path for name, path in tensor_names(source).items() if name.startswith(VALUE_HEADS)}
    weights = [name for name in places if name.endswith("weight")]
    head = {}
    for name, path in places.items():
        with safe_open(path, framework="pt") as file:
            head[name] = file.get_tensor(name)
    if len(weights) != 1 or head[weights[0]].ndim != 2 or head[weights[0]].shape[0] != 1:
        raise UserError(f"{source}: its value head ({', '.join(sorted(places))}) is not one linear layer to one number")
    bias = [tensor for name, tensor in head.items() if name.endswith("bias")]
    model = load_weights(source, "AutoModel", dtype)
    return Explicit(model, _linear(head[weights[0]], bias[0] if bias else None, dtype))


def _load_classifier(source: str | Path, dtype: str) -> Explicit:
    base = adapter_base(source)
    if not base:
        labels = load_config(source).num_labels
        if labels != 1:
            raise UserError(f"{source}: is a classifier with {labels} outputs; a reward model has one (num_labels=1)")
    loader = "AutoModelForSequenceClassification"
    options = {"num_labels": 1, "new": ("score.", "classifier.")} if base else {}
    classifier = load_weights(base or source, loader, dtype, **options)
    score = getattr(classifier, "score", None)
    if not isinstance(score, nn.Linear) or score.out_features != 1 or classifier.base_model is classifier:
        raise UserError(
            f"{source}: {type(classifier).__name__} has no linear head called `score` on a causal language model; "
            "this form of reward model is not supported"
        )
    adapter = None
    if base:
        stored = tensor_names(source)
        if not any(".score." in name or name.startswith("score.") for name in stored):
            raise UserError(
                f"{source}: the adapter was saved without its head (score.weight); save it with "
                'modules_to_save=["score"], or train it again'
            )
        adapter = with_adapter(classifier, source)
        score = adapter.get_base_model().score
        score = getattr(score, "modules_to_save", {"default": score})["default"]
    return Explicit(classifier.base_model, _linear(score.weight, score.bias, dtype), classifier, adapter)


def _linear(weight: torch.Tensor, bias: torch.Tensor | None, dtype: str) -> nn.Linear:
    """The head in float32 at least, whatever the transformer's dtype is."""
    wide = torch.promote_types(DTYPES[dtype], torch.float32)
    head = nn.Linear(weight.shape[1], 1, bias=bias is not None, dtype=wide)
    with torch.no_grad():
        head.weight.copy_(weight)
        if bias is not None:
            head.bias.copy_(bias)
    return head


@torch.no_grad()
def pooling_note(classifier: Any, rewards: torch.Tensor, sequences: list[tuple[int, ...]]) -> str:
    """Whether the plain classifier, alone on each sequence, gives the rewards that we read at the last token.

    Plain classifiers read at the last token whose id is not the padding's, so one whose padding ends responses reads
    too early. Returns what to tell the user, or nothing if they agree.
    """
    half = classifier.dtype in (torch.bfloat16, torch.float16)
    device = next(classifier.parameters()).device
    worst = 0.0
    for ids, reward in zip(sequences, rewards.tolist(), strict=True):
        own = float(classifier(input_ids=torch.tensor([ids], device=device), use_cache=False).logits[0, 0])
        worst = max(worst, abs(own - reward) / max(1.0, abs(reward)))
    if worst <= (5e-2 if half else 1e-4):
        return ""
    token = classifier.config.get_text_config().pad_token_id
    return (
        f"the plain classifier reads another token than the last one (its pad_token_id {token} ends responses; rewards "
        f"differ by up to {worst:.3g}): rewards here are read at the last token; if it was trained one token early, "
        "use --terminator strip"
    )
