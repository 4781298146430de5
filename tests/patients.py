"""Models for the doctor: sound ones of every family with a tokenizer as the family's, written as anybody would."""

import copy
from functools import cache
from pathlib import Path
from typing import Any

import torch

from llm_experiments.doctor import numbers
from llm_experiments.doctor.examination import examine
from llm_experiments.doctor.finding import Finding
from llm_experiments.doctor.probes import PROBES
from llm_experiments.encoding import EncodedPair, encode_pairs
from llm_experiments.models import quiet_transformers
from llm_experiments.settings import DoctorRequest
from tests import family_tokenizers
from tests.lm import family, language_model, tokenizer


def write(folder: Path, model: Any, tokens: Any = None, **marks: Any) -> Path:
    """A model and its tokenizer; `marks` are special tokens that the tokenizer is given before."""
    one = copy.deepcopy(tokens or tokenizer())
    for name, value in marks.items():
        setattr(one, name, value)
    with quiet_transformers():
        model.save_pretrained(folder)
    one.save_pretrained(folder)
    return folder


def findings(folder: Path, **changes: Any) -> dict[str, Finding]:
    return {one.name: one for one in examine(DoctorRequest(model=str(folder), **{"examples": 3} | changes))}


def unsound(found: dict[str, Finding]) -> list[Finding]:
    return [one for one in found.values() if one.status != "ok"]


def classifier(seed: int = 0, base: Any = None, **changes: Any) -> Any:
    """A sequence classifier of the family of `base` (a small Mistral), with a pad token of its own."""
    from transformers import AutoModelForSequenceClassification

    config = copy.deepcopy((base or language_model("mistral")).config)
    for name, value in ({"num_labels": 1, "pad_token_id": 0} | changes).items():
        setattr(config, name, value)
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name:
                weight.mul_(5)
    return model


def disturbed(seed: int = 0, model: Any = None) -> Any:
    """A policy that has moved a little from where it started."""
    model = model or language_model("mistral")
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.01 * torch.randn_like(weight))
    return model


def with_its_tokenizer(name: str, *, tied: bool = True, **changes: Any) -> tuple[Any, Any]:
    """A language model of a family and a tokenizer in the family's habits, that know each other's special tokens."""
    tokens = family_tokenizers.of_family(name)
    ids = {f"{mark}_token_id": getattr(tokens, f"{mark}_token_id") for mark in ("pad", "bos", "eos")}
    sizes = {"vocab_size": len(tokens), "max_position_embeddings": 512, **ids, **changes}
    model = family(name, tied=tied, factor=5.0, **sizes)
    stops = [tokens.eos_token_id, tokens.convert_tokens_to_ids("<end_of_turn>")]
    model.generation_config.eos_token_id = [stop for stop in stops if stop not in (None, tokens.unk_token_id)]
    return model, tokens


@cache
def probe_pairs() -> list[EncodedPair]:
    """Three of the probes are enough: short, long and in between."""
    return encode_pairs([PROBES[0], PROBES[2], PROBES[5]], tokenizer())[0]


def probe_rows() -> list[numbers.Span]:
    return numbers.spans(probe_pairs())
