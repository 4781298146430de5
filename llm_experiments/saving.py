"""Reward models on disk, in forms that load without us, and proven to load before the save counts.

explicit    `AutoModelForSequenceClassification` where the family has one (head `score`, one label), else (and where
            the reward is not read at the last token) the backbone and `head.safetensors`
implicit    a plain causal language model: it is a DPO policy
generative  a plain causal language model
adapter     any of them as a peft folder over its base, an explicit one's head beside it

Beside the weights lies `rewardgap.json`: the kind, beta, reference, and a few probes with their values.
"""

import copy
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from llm_experiments.batches import collate_pairs
from llm_experiments.encoding import EncodedPair
from llm_experiments.forward import backbone
from llm_experiments.heads import HEAD_FILE
from llm_experiments.models import (
    MANIFEST,
    RewardModel,
    load_reward_model,
    quiet_transformers,
    read_manifest,
)
from llm_experiments.tensors import system_errors, usual_mode
from simulations.results import Row, UserError, write_json
from theory.rewards import Kind

# Of a reloaded model's values, relative to max(1, |value|). Half precision rounds the head's weights.
SIDES = ("chosen", "rejected")
RELOAD_TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-5, torch.bfloat16: 5e-2, torch.float16: 5e-2}


def save_reward_model(
    model: RewardModel,
    tokenizer: Any,
    folder: Path,
    probes: Sequence[EncodedPair],
    *,
    reference: str = "",
    extra: dict[str, Any] | None = None,
) -> Path:
    """Write `model` to `folder` (replacing what is there), reload it and compare its values on `probes`.

    Written beside and renamed: `folder` holds a proven model or does not exist.

    Args:
        reference: where the reference can be loaded from, for whoever scores with the saved policy.

    Raises:
        UserError: the reloaded model gives other values.
    """
    scratch = folder.with_name(f".{folder.name}.unproven")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    if model.adapter is not None and not model.source:
        raise UserError("an adapter of a model in memory cannot be saved: there would be nothing to load it over")
    probes = list(probes[:4])
    padding, before = pad_token(tokenizer, probes), tokenizer.pad_token
    tokenizer.pad_token = padding
    pad_id = tokenizer.pad_token_id
    tokenizer.save_pretrained(scratch)
    tokenizer.pad_token = before
    with quiet_transformers(), system_errors(folder):
        form = _write_weights(model, scratch, pad_id)
        usual_mode(*scratch.glob("*.safetensors"))
    values = probe_values(model, probes)
    manifest = {
        "kind": model.kind,
        "format": form,
        "beta": model.beta if model.kind == "implicit" else None,
        "reference": reference if model.kind == "implicit" else None,
        "base": model.source,
        "pooling": model.pooling if model.kind == "explicit" else None,
        "end_token_id": model.end_id,
        "answers": list(model.answers) if model.kind == "generative" else None,
        "probes": [_probe(pair, model.kind) for pair in probes],
        "values": values.tolist(),
        **(extra or {}),
    }
    write_json(scratch / MANIFEST, manifest)
    with quiet_transformers():
        _prove(model, scratch, probes, values, pad_id)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(scratch, folder)
    return folder


def _probe(pair: EncodedPair, kind: Kind) -> Row:
    """Both sequences of a pair, and where the response starts in each."""
    ids, starts = zip(*(pair.sequence(kind, side) for side in SIDES), strict=True)
    return {"id": pair.id, "ids": ids, "starts": starts}


@torch.no_grad()
def probe_values(model: RewardModel, probes: Sequence[EncodedPair]) -> torch.Tensor:
    """Rewards, or for implicit the policy's log-probability sums: (2 * probes,), chosen first, on the CPU."""
    if not probes:
        return torch.zeros(0, dtype=torch.float64)
    batch = {name: tensor.to(model.device) for name, tensor in collate_pairs(probes, model.kind).items()}
    output = model.eval()(**batch)
    return (output if model.kind == "implicit" else model.rewards(output, None)).double().cpu()


def pad_token(tokenizer: Any, probes: Sequence[EncodedPair]) -> str:
    """A token that plain classifiers may take for padding: no response ends with it.

    They read the reward at the last token that is not padding; with padding equal to EOS that is one token early.

    Raises:
        UserError: every candidate ends some response.
    """
    ends = {tokenizer.eos_token_id} | {ids[-1] for pair in probes for ids in (pair.chosen_ids, pair.rejected_ids)}
    names = ("pad_token", "unk_token", "bos_token")
    candidates = [getattr(tokenizer, name, None) for name in names]
    candidates += [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    for token in candidates:
        if token is not None and tokenizer.convert_tokens_to_ids(token) not in ends:
            return token
    # bos == eos == unk (GPT-2, Pythia): any token that ends no response will do, and a rare one does best
    for number in range(len(tokenizer) - 1, -1, -1):
        token = tokenizer.convert_ids_to_tokens(number)
        if number not in ends and token is not None:
            return token
    raise UserError("the tokenizer has no token that could serve as padding")


def _write_weights(model: RewardModel, folder: Path, pad_id: int) -> str:
    """The weights in the most widely readable form, whose name is returned."""
    if model.kind == "explicit":
        # float32 whatever the backbone's dtype is: a classifier's copy of it is rounded when it is loaded
        save_file({"weight": model.head.weight.detach().cpu().contiguous()}, str(folder / HEAD_FILE))
    if model.adapter is not None:
        model.adapter.save_pretrained(folder, save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # peft's card, all blanks
        return "adapter"
    if model.kind != "explicit":
        model.policy.save_pretrained(folder)
        return "causal_lm"
    base = backbone(model.policy)
    # a plain classifier reads at the last token: one that was trained otherwise is not saved as one
    classifier = _classifier(base, model.head, pad_id) if model.pooling == "last" else None
    (base if classifier is None else classifier).save_pretrained(folder)
    return "backbone" if classifier is None else "classifier"


def _classifier(base: Any, head: nn.Linear, pad_id: int) -> Any:
    """The family's sequence classifier around `base` itself (no weights are copied), or None where it has none."""
    from transformers import AutoModelForSequenceClassification
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

    if type(base.config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        return None
    config = copy.deepcopy(base.config)
    config.num_labels = 1
    config.get_text_config().pad_token_id = config.pad_token_id = pad_id
    with torch.device("meta"):
        classifier = AutoModelForSequenceClassification.from_config(config, dtype=base.dtype)
    score = getattr(classifier, "score", None)
    if not isinstance(score, nn.Linear) or score.bias is not None or backbone(classifier) is classifier:
        return None
    setattr(classifier, classifier.base_model_prefix, base)
    classifier.score = nn.Linear(head.in_features, 1, bias=False, dtype=base.dtype, device=base.device)
    with torch.no_grad():
        classifier.score.weight.copy_(head.weight)
    return classifier


@torch.no_grad()
def _prove(model: RewardModel, folder: Path, probes: Sequence[EncodedPair], values: torch.Tensor, pad_id: int) -> None:
    """Reload from `folder` as anybody would, and compare on the probes."""
    if not probes:
        return
    dtype = str(model.policy.dtype).removeprefix("torch.")
    reloaded = load_reward_model(
        folder, model.kind, reference="none", dtype=dtype, device=str(model.device), answers=model.answers
    )
    tolerance = RELOAD_TOLERANCE[model.policy.dtype]
    _compare(probe_values(reloaded, probes), values, tolerance, "it scores")
    if read_manifest(folder)["format"] != "classifier":
        return
    from transformers import AutoModelForSequenceClassification

    classifier = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=model.policy.dtype, trust_remote_code=False
    )
    classifier.to(model.device).eval()
    batch = {k: v.to(model.device) for k, v in collate_pairs(probes, "explicit", pad_id=pad_id).items()}
    logits = classifier(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, 0]
    # a float32 dot product against our float64 one, hence ten times the tolerance
    _compare(logits.double().cpu(), values, 10 * tolerance, "as a plain sequence classifier it scores")


def _compare(found: torch.Tensor, values: torch.Tensor, tolerance: float, what: str) -> None:
    worst = float(((found - values).abs() / values.abs().clamp(min=1)).max())
    if not worst <= tolerance:
        raise UserError(f"the saved model was reloaded and {what} differently (by {worst:.3g}); nothing was saved")
