"""Small language models made here: a config, a tokenizer trained on the text, a causal language model.

Gemma, Gemma-2 and Mistral are built from transformers' own config classes, so a model made here takes the same code
path as the published one of its family, only smaller. The output folder is a plain Hugging Face folder (config,
safetensors, tokenizer) and loads with `AutoModelForCausalLM`; beside it lie `pretraining.json` (what was asked),
`provenance.json` and `done.json`.

    rewardgap pretrain --architecture mistral --text stories.txt --output runs/mistral-small

Every batch is a function of (seed, step) alone and a checkpoint holds parameters and both Adam moments, so a run that
is killed and started again ends with the same weights, bit for bit, on the same machine and number of threads.
"""

import gzip
import hashlib
import json
import math
import shutil
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llm_experiments.models import quiet_transformers
from llm_experiments.settings import ARCHITECTURES, PretrainSettings
from llm_experiments.tensors import DamagedFile, read_tensors, usual_mode, write_tensors
from simulations.progress import progress_bar
from simulations.results import UserError, finish_run, open_run, provenance, write_json

STATE = "state.safetensors"
SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>", "<unk>")  # ids 0 to 3, all distinct: plain HF pooling needs that


def read_documents(paths: Sequence[Path]) -> list[str]:
    """Paragraphs (separated by blank lines) of UTF-8 text files, plain or gzipped.

    Raises:
        UserError: a file is missing, is not text, or there is no text in any of them.
    """
    documents = []
    for path in paths:
        try:
            raw = path.read_bytes()
            text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; --text takes plain text files") from None
        except IsADirectoryError:
            raise UserError(f"{path}: is a folder; --text takes plain text files") from None
        except (UnicodeDecodeError, gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise UserError(f"{path}: not UTF-8 text ({error}); convert it first") from None
        paragraph: list[str] = []
        for line in [*text.split("\n"), ""]:
            if line.strip():
                paragraph.append(line.strip())
            elif paragraph:
                documents.append("\n".join(paragraph))
                paragraph = []
    if not documents:
        raise UserError(
            f"{', '.join(map(str, paths)) or '--text'}: no text to train on; give at least one non-empty file"
        )
    return documents


def train_tokenizer(documents: Sequence[str], settings: PretrainSettings) -> Any:
    """A fast tokenizer trained on `documents`, byte-level BPE (no unknown tokens) or one token per word.

    As published tokenizers of these families do, it puts `<bos>` first unless asked to add no special tokens.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    pad, bos, eos, unknown = SPECIAL_TOKENS
    common = {"vocab_size": settings.vocab_size, "special_tokens": list(SPECIAL_TOKENS), "show_progress": False}
    if settings.tokenizer == "word":
        tokenizer = Tokenizer(models.WordLevel(unk_token=unknown))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        trainer = trainers.WordLevelTrainer(**common)
    else:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(**common, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(documents, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A $B", special_tokens=[(bos, SPECIAL_TOKENS.index(bos))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        bos_token=bos,
        eos_token=eos,
        unk_token=unknown,
        model_max_length=settings.max_positions,
        clean_up_tokenization_spaces=False,
    )


def build_config(
    architecture: str,
    *,
    vocab_size: int,
    hidden: int = 128,
    layers: int = 4,
    heads: int = 4,
    tied: bool | None = None,
    max_positions: int = 1024,
) -> Any:
    """The family's config class at a small size; `tied=None` keeps the family's own habit.

    Raises:
        ValueError: an unknown family, or a width that the heads do not divide into even parts (rotary embeddings).
    """
    from transformers import Gemma2Config, GemmaConfig, MistralConfig

    if architecture not in ARCHITECTURES:
        raise ValueError(f"architecture must be one of {', '.join(ARCHITECTURES)}, got {architecture!r}")
    if hidden % (2 * heads):
        raise ValueError(f"hidden={hidden} must be a multiple of 2 * heads={2 * heads}")
    pad, bos, eos = (SPECIAL_TOKENS.index(token) for token in ("<pad>", "<bos>", "<eos>"))
    sizes = {
        "vocab_size": vocab_size,
        "hidden_size": hidden,
        "intermediate_size": 4 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "head_dim": hidden // heads,
        "max_position_embeddings": max_positions,
        "pad_token_id": pad,
        "bos_token_id": bos,
        "eos_token_id": eos,
        "tie_word_embeddings": tied if tied is not None else architecture != "mistral",
        "dtype": "float32",
    }
    if architecture == "gemma":
        return GemmaConfig(**sizes)
    if architecture == "gemma2":
        return Gemma2Config(**sizes, query_pre_attn_scalar=hidden // heads, sliding_window=max_positions)
    return MistralConfig(**sizes, sliding_window=None)


def pretrain(
    documents: Sequence[str],
    architecture: str,
    output: Path,
    settings: PretrainSettings = PretrainSettings(),
    *,
    device: str = "cpu",
    progress: bool = True,
) -> Path:
    """Train a causal language model on `documents` and save it under `output`; a finished folder is returned as it is.

    Raises:
        UserError: unknown architecture, no documents, `output` holds another run, or the loss is not finite (nothing
            is left behind then).
    """
    if architecture not in ARCHITECTURES:
        raise UserError(f"--architecture {architecture}: must be one of {', '.join(ARCHITECTURES)}")
    documents = [document for document in documents if document.strip()]
    if not documents:
        raise UserError("--text: no text to train on; give at least one non-empty file")
    config = {"architecture": architecture, "text_sha256": _hash(documents), "documents": len(documents)}
    if open_run(output, config | asdict(settings), name="pretraining.json"):
        return output

    tokenizer = train_tokenizer(documents, settings)
    rows = _rows(documents, tokenizer, settings.block)
    model = _fresh_model(architecture, len(tokenizer), settings).to(device)
    try:
        losses = _train(model, rows, settings, output / "checkpoint", device, progress)
    except UserError:  # the same settings would end here again, and others must find the folder free
        shutil.rmtree(output, ignore_errors=True)
        raise

    with quiet_transformers():
        tokenizer.save_pretrained(output)
        model.cpu().save_pretrained(output)
        usual_mode(*output.glob("*.safetensors"))
    tokens = sum(len(row) for row in rows)
    summary = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "vocabulary": len(tokenizer),
        "tokens": tokens,
        "epochs": settings.steps * settings.batch_size / len(rows),
        "loss_nats_per_token": float(np.mean(losses[-max(1, len(losses) // 20) :])),
    }
    write_json(output / "provenance.json", provenance(seed=settings.seed, **summary))
    finish_run(output, **summary)
    shutil.rmtree(output / "checkpoint", ignore_errors=True)
    return output


def _fresh_model(architecture: str, vocab_size: int, settings: PretrainSettings) -> Any:
    from transformers import AutoModelForCausalLM

    config = build_config(
        architecture,
        vocab_size=vocab_size,
        hidden=settings.hidden,
        layers=settings.layers,
        heads=settings.heads,
        tied=settings.tied,
        max_positions=settings.max_positions,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        # Gemma-2's soft-capping needs eager attention; the others take it too, so that families differ in nothing else.
        return AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32)


def _rows(documents: Sequence[str], tokenizer: Any, block: int) -> list[list[int]]:
    """`<bos> document <eos>` cut into pieces of at most `block` tokens; one piece per row, never two documents."""
    rows = []
    for ids in tokenizer(list(documents), verbose=False)["input_ids"]:  # longer ones than a model reads are cut here
        ids = [*ids, tokenizer.eos_token_id]
        rows += [piece for start in range(0, len(ids), block) if len(piece := ids[start : start + block]) > 1]
    return rows


def _batches(rows: list[list[int]], settings: PretrainSettings, start: int) -> Iterator[list[list[int]]]:
    """Batches from step `start` on, each a function of (seed, step) alone.

    An epoch is a shuffle cut into pools of 16 batches; a pool's rows are sorted by length, to waste little padding,
    and the epoch's batches are visited in random order.
    """
    size = min(settings.batch_size, len(rows))
    per_epoch = len(rows) // size
    epoch, index = divmod(start, per_epoch)
    while True:
        order = np.random.default_rng([settings.seed, epoch]).permutation(len(rows))[: per_epoch * size]
        pools = [np.array(sorted(pool, key=lambda i: len(rows[i]))) for pool in _pieces(order, 16 * size)]
        batches = [batch for pool in pools for batch in _pieces(pool, size)]
        for visited in np.random.default_rng([settings.seed, epoch, 1]).permutation(len(batches))[index:]:
            yield [rows[i] for i in batches[visited]]
        epoch, index = epoch + 1, 0


def _pieces(values: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _train(
    model: Any, rows: list[list[int]], settings: PretrainSettings, folder: Path, device: str, progress: bool
) -> list[float]:
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=settings.weight_decay
    )
    start, losses = _resume(folder, model, optimizer)
    model.train()
    steps = range(start, settings.steps)
    bar = progress_bar(steps, initial=start, total=settings.steps, desc="pretraining", unit="step", show=progress)
    for step, batch in zip(bar, _batches(rows, settings, start), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _schedule(step, settings.steps)
        loss = _loss(model, batch, device)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise UserError(f"pretraining: the loss is not finite at step {step + 1}; try a smaller --learning_rate")
        if (step + 1) % settings.checkpoint_every == 0 and step + 1 < settings.steps:
            _checkpoint(folder, model, optimizer, losses)
            bar.set_postfix(loss=f"{np.mean(losses[-50:]):.3f}")
    return losses


def _schedule(step: int, steps: int) -> float:
    warmup = max(1, steps // 20)
    if step < warmup:
        return (step + 1) / warmup
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _loss(model: Any, batch: list[list[int]], device: str) -> torch.Tensor:
    """Mean negative log-likelihood in nats per token. Rows are padded on the right; a causal model never sees that."""
    width = max(map(len, batch))
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    labels = torch.full((len(batch), width), -100)
    for i, row in enumerate(batch):
        ids[i, : len(row)] = labels[i, : len(row)] = torch.tensor(row)
    logits = model(input_ids=ids.to(device), use_cache=False).logits[:, :-1]
    return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), labels[:, 1:].flatten().to(device))


def _checkpoint(folder: Path, model: Any, optimizer: torch.optim.Optimizer, losses: list[float]) -> None:
    tensors = {}
    for name, parameter in model.named_parameters():
        tensors[f"parameter/{name}"] = parameter
        for moment in ("exp_avg", "exp_avg_sq"):
            tensors[f"{moment}/{name}"] = optimizer.state[parameter][moment]
    write_tensors(folder / STATE, tensors, {"losses": json.dumps(losses)})


def _resume(folder: Path, model: Any, optimizer: torch.optim.Optimizer) -> tuple[int, list[float]]:
    """Steps done and their losses; none where there is no checkpoint, or only a damaged one, which is named."""
    if not (folder / STATE).exists():
        return 0, []
    try:
        tensors, said = read_tensors(folder / STATE)
    except DamagedFile as error:
        print(f"{str(error).partition(';')[0]}; starting again", file=sys.stderr)
        return 0, []
    losses = json.loads(said["losses"])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"parameter/{name}"])
            optimizer.state[parameter] = {
                "step": torch.tensor(float(len(losses))),
                "exp_avg": tensors[f"exp_avg/{name}"].to(parameter.device),
                "exp_avg_sq": tensors[f"exp_avg_sq/{name}"].to(parameter.device),
            }
    return len(losses), losses


def _hash(documents: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for document in documents:
        digest.update(document.encode("utf-8", "surrogatepass"))
        digest.update(b"\0")
    return digest.hexdigest()
