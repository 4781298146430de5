"""Paraphrase and translation by a local language model, paragraph by paragraph, every answer kept in a cache.

Such a rewrite is as good as its model: the gate compares numbers, code, language and length, not meaning. A paragraph
whose rewrite loses a protected span (a formula, an address, a number) stays as it was.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from llm_experiments.stress.edits import Edit, make
from llm_experiments.stress.protected import Span, protected_spans
from llm_experiments.stress.transformation import Transformation
from llm_experiments.stress.validity import Gate
from simulations.results import UserError, read_json, write_json

PARAPHRASE = (
    "Rewrite the following text in other words. Keep its meaning, its numbers and its tone.\n\n{text}\n\nRewritten:"
)
TRANSLATION = "Translate the following text to {language}.\n\n{text}\n\n{language}:"
_PARAGRAPH = re.compile(r"\S(?:[^\n]|\n(?![ \t]*\n))*")
_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]  # no pickles


@dataclass(frozen=True)
class Rewriter:
    """A model that rewrites: a folder or a hub name, causal or encoder-decoder.

    `prompt` has "{text}" where the paragraph goes ("{text}" alone for a model that needs no instruction).
    `temperature` 0 decodes greedily; otherwise the seed of an answer comes from the transformation's generator.
    `folder` is where answers are kept (None: nowhere), one file for each (model, revision, prompt, temperature, seed,
    text).
    """

    model: str
    revision: str
    prompt: str
    temperature: float
    folder: Path | None

    def rewrite(self, text: str, seed: int) -> str:
        """The model's answer, from the cache if it was given before."""
        if self.folder is None:
            return _generate(self, text, seed)
        asked = {**asdict(self), "revision": _state(self.model, self.revision)[1], "seed": seed, "text": text}
        del asked["folder"]
        key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        path = self.folder / key[:2] / f"{key}.json"
        if path.exists():
            return read_json(path)["answer"]
        answer = _generate(self, text, seed)
        write_json(path, {**asked, "answer": answer})
        return answer


def _folder(asked: Path | None) -> Path | None:
    from llm_experiments.reference_cache import cache_folder  # imports torch

    user = None if asked else cache_folder()
    return asked or (user / "rewrites" if user else None)


def paraphrase(
    model: str,
    *,
    revision: str = "",
    prompt: str = PARAPHRASE,
    temperature: float = 0.7,
    folder: Path | None = None,
) -> Transformation:
    """The transformation `paraphrase_<model>`: a share `strength` of the paragraphs rewritten by `model`.

    The model is loaded at the first paragraph that is not in the cache: `folder`, or "rewrites" in the folder that
    REWARDGAP_CACHE names (none: no cache), or the user's own.
    """
    rewriter = Rewriter(model, revision, prompt, temperature, _folder(folder))
    gate = Gate(english_kept=True, max_similarity=0.99, min_length_ratio=0.4, max_length_ratio=2.5)
    return _transformation("paraphrase", rewriter, gate, f"rewritten by {model}")


def translation(
    model: str,
    language: str,
    *,
    revision: str = "",
    prompt: str = TRANSLATION,
    temperature: float = 0.0,
    folder: Path | None = None,
) -> Transformation:
    """The transformation `translation_<language>_<model>`; see `paraphrase`."""
    rewriter = Rewriter(model, revision, prompt.replace("{language}", language), temperature, _folder(folder))
    # numbers as words change with the language; digits are protected paragraph by paragraph
    gate = Gate(
        numbers_preserved=False, script_kept=False, max_similarity=0.9, min_length_ratio=0.3, max_length_ratio=3.0
    )
    return _transformation(f"translation_{language}", rewriter, gate, f"translated to {language} by {model}")


def _transformation(name: str, rewriter: Rewriter, gate: Gate, description: str) -> Transformation:
    model = Path(rewriter.model).name if Path(rewriter.model).is_dir() else rewriter.model  # of the hub, with its owner
    name = re.sub(r"\W+", "_", f"{name}_{model}".lower())
    family = name.split("_", 1)[0]
    return Transformation(name, family, "invariance", partial(_rewritten, rewriter), gate, description)


def _rewritten(rewriter: Rewriter, text: str, generator: np.random.Generator, strength: float) -> str:
    if strength == 0:
        return text
    spans, edits = protected_spans(text), []
    for paragraph in _paragraphs(text, spans):
        draw, seed = generator.random(), int(generator.integers(2**31))
        before = text[slice(*paragraph)]
        inside = [
            text[span.start : span.end] for span in spans if paragraph[0] <= span.start and span.end <= paragraph[1]
        ]
        if draw >= strength or len("".join(inside)) > len(before) / 2 or any("\ud800" <= c <= "\udfff" for c in before):
            continue  # mostly code or formulas; or a lone surrogate, which no tokenizer takes
        after = rewriter.rewrite(before, seed)
        if after and all(after.count(span) >= before.count(span) for span in inside):
            edits.append(Edit(*paragraph, after))
    return make(text, edits)


def _paragraphs(text: str, spans: list[Span]) -> list[tuple[int, int]]:
    """Where paragraphs stand that no block of code or formula of several lines reaches into."""
    blocks = [span for span in spans if "\n" in text[span.start : span.end]]
    found, at = [], 0
    for match in _PARAGRAPH.finditer(text):
        start, end = match.span()
        while at < len(blocks) and blocks[at].end <= start:
            at += 1
        if at == len(blocks) or blocks[at].start >= end:
            found.append((start, start + len(match[0].rstrip())))
    return found


@cache
def _state(model: str, revision: str) -> tuple[str, str]:
    """The folder that a model lies in (fetched from the hub if it is none), and what its weights are: the hub's commit,
    or a hash of the folder's files."""
    if Path(model).is_dir():
        digest = hashlib.sha256()
        for path in sorted(Path(model).glob("*.safetensors")):
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return model, digest.hexdigest()[:16]
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(model, revision=revision or None, allow_patterns=_FILES)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"{model}: no model to rewrite with ({str(error).splitlines()[0]}); give a folder or a hub name"
        ) from None
    return folder, Path(folder).name


@cache
def _loaded(model: str, revision: str) -> tuple[Any, Any]:
    import transformers

    from llm_experiments.weights import load_tokenizer, load_weights

    folder, _ = _state(model, revision)
    tokenizer = load_tokenizer(folder)
    try:
        seq2seq = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False).is_encoder_decoder
    except (OSError, ValueError):
        seq2seq = False  # what is wrong with the folder, loading it tells
    loader = "AutoModelForSeq2SeqLM" if seq2seq else "AutoModelForCausalLM"
    return tokenizer, load_weights(folder, loader, "float32").eval()


def _generate(rewriter: Rewriter, text: str, seed: int) -> str:
    import torch

    tokenizer, model = _loaded(rewriter.model, rewriter.revision)
    request = rewriter.prompt.replace("{text}", text)
    if tokenizer.chat_template:
        messages = [{"role": "user", "content": request}]
        asked = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
    else:
        asked = tokenizer(request, return_tensors="pt")
    longest = 2 * len(tokenizer(text)["input_ids"]) + 16
    sampling = (
        {"do_sample": True, "temperature": rewriter.temperature} if rewriter.temperature else {"do_sample": False}
    )
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(seed)
        answer = model.generate(
            asked["input_ids"],
            attention_mask=asked["attention_mask"],
            max_new_tokens=longest,
            pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
            **sampling,
        )[0]
    if not model.config.is_encoder_decoder:
        answer = answer[asked["input_ids"].shape[1] :]
    return tokenizer.decode(answer, skip_special_tokens=True).strip()
