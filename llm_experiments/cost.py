"""What a training run will take, said before it starts and compared with what it took.

Memory is counted: weights are there already; to them come gradients, the optimiser's moments, what the backward pass
needs of every layer, and the logits at hand. Time is measured: one forward and backward pass over a few pairs of middle
length, scaled by tokens. Both are rough, and say by how much: FACTOR.
"""

import os
import resource
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from llm_experiments.batches import Batch, common_beginning
from llm_experiments.encoding import EncodedPair
from llm_experiments.models import RewardModel
from llm_experiments.out_of_memory import is_out_of_memory
from llm_experiments.settings import TrainSettings
from llm_experiments.shared import worth_sharing
from llm_experiments.tiling import KEPT_ELEMENTS, TILE_ELEMENTS
from simulations.results import Row

FACTOR = 2.0  # what an estimate may be wrong by, either way, on a machine that does nothing else
PROBED = 2  # pairs
MOMENTS = {"sgd": 0, "adafactor": 0}  # weights' sizes that an optimiser keeps; Adam and most others two


@dataclass(frozen=True)
class Cost:
    """Bytes at the peak, of the process or on the accelerator, and seconds of training."""

    memory: float
    seconds: float

    def __str__(self) -> str:
        minutes = self.seconds / 60
        return f"{self.memory / 1e9:.1f} GB and " + (f"{minutes:.0f} min" if minutes >= 2 else f"{self.seconds:.0f} s")


def estimate(model: RewardModel, collator: Any, settings: TrainSettings) -> Cost | None:
    """The cost of training `model` on the collator's pairs; None where memory does not even suffice for the probe.

    Its parameters must have been selected. Leaves no gradient behind.
    """
    pairs, frozen = collator.pairs, collator.frozen
    tokens = [_tokens(model, pair) if frozen is None else frozen.tokens(i) for i, pair in enumerate(pairs)]
    if collator.consistency:
        tokens = [own + tokens[i] for own, i in zip(tokens, collator.consistency.partners, strict=True)]
    order = sorted(range(len(pairs)), key=tokens.__getitem__)
    batch = settings.per_device_train_batch_size
    middle = order[max(0, len(order) - PROBED) // 2 :][: min(PROBED, batch)]
    try:
        with torch.autocast(model.device.type, torch.bfloat16, enabled=settings.bf16):
            seconds = _probe(model, collator(middle))
        seconds /= sum(tokens[number] for number in middle)
    except (RuntimeError, MemoryError) as error:
        model.zero_grad(set_to_none=True)
        if not is_out_of_memory(error):
            raise
        return None
    longest = sum(tokens[number] for number in order[-batch:])
    return Cost(
        _resident(model) + _working_bytes(model, longest, settings),
        float(seconds * sum(tokens)) * passes(settings, len(pairs)),
    )


def passes(settings: TrainSettings, pairs: int) -> float:
    """How often each pair is seen."""
    step = settings.per_device_train_batch_size * settings.gradient_accumulation_steps
    return settings.max_steps * step / pairs if settings.max_steps > 0 else settings.num_train_epochs


def trained_bytes(model: RewardModel) -> int:
    return sum(weight.numel() * weight.element_size() for weight in model.parameters() if weight.requires_grad)


def start_watch(model: RewardModel) -> float:
    """Forget earlier peaks; the time now, for `spent`."""
    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(model.device)
    else:
        with suppress(OSError):  # else the peak is the one of the whole process so far
            Path("/proc/self/clear_refs").write_text("5")
    return time.perf_counter()


def spent(model: RewardModel, started: float) -> Cost:
    """What was taken since `start_watch`."""
    seconds = time.perf_counter() - started
    if model.device.type == "cuda":
        return Cost(float(torch.cuda.max_memory_allocated(model.device)), seconds)
    return Cost(float(_status("VmHWM") or 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss), seconds)


def compared(before: Cost, after: Cost, *, share: float = 1.0) -> Row:
    """Both, and whether each lies within FACTOR of what was said; `share` of the steps were taken by this process."""
    before = Cost(before.memory, before.seconds * share)
    ratios = {"memory": after.memory / before.memory, "seconds": after.seconds / max(before.seconds, 1e-9)}
    return {
        "estimated": asdict(before),
        "measured": asdict(after),
        "factor": FACTOR,
        "within": {name: 1 / FACTOR <= ratio <= FACTOR for name, ratio in ratios.items()},
    }


def _tokens(model: RewardModel, pair: EncodedPair) -> int:
    """What a pair makes the backbone compute."""
    one, other = (pair.sequence(model.kind, side)[0] for side in ("chosen", "rejected"))
    shared = len(one) + len(other) - common_beginning(one, other)
    return shared if model.shared.on and worth_sharing(shared, len(one), len(other)) else 2 * max(len(one), len(other))


def _working_bytes(model: RewardModel, tokens: int, settings: TrainSettings) -> float:
    config, device = model.config.get_text_config(), model.device.type
    width, layers = config.hidden_size, config.num_hidden_layers
    inner = getattr(config, "intermediate_size", None) or 4 * width
    # per token and layer: norms and their float32 copies, projections before and after rotation, attention, residuals;
    # of the MLP both factors, the activation and their product
    each = 14 * width + 5 * inner
    kept = 2 * width + each / layers if settings.gradient_checkpointing else each
    if settings.trainable == "head":
        kept = 0
    activations = tokens * layers * kept * model.policy.dtype.itemsize
    logits = 0 if model.kind != "implicit" else 4 * (KEPT_ELEMENTS.get(device, 0) + 3 * TILE_ELEMENTS.get(device, 0))
    logits = min(logits, 12 * tokens * config.vocab_size)
    moments = MOMENTS.get(settings.optim.split("_")[0], 2)
    return float(activations + logits + (1 + moments) * trained_bytes(model))


def _probe(model: RewardModel, batch: Batch) -> float:
    """Seconds of one forward and backward pass, the second of two."""
    batch = {k: v.to(model.device) for k, v in batch.items() if k not in ("numbers", "reference")}
    for _ in range(2):
        started = time.perf_counter()
        model(**batch).float().sum().backward()
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
        seconds = time.perf_counter() - started
        model.zero_grad(set_to_none=True)
    return seconds


def _resident(model: RewardModel) -> int:
    if model.device.type == "cuda":
        return torch.cuda.memory_allocated(model.device)
    return _status("VmRSS") or 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _status(field: str) -> int:
    """Of this process, in bytes; 0 where /proc does not say."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(field + ":")), 0)


def say(cost: Cost) -> None:
    print(
        f"training will take about {cost}, without scoring (within a factor of {FACTOR:g}; {os.cpu_count()} cores)",
        file=sys.stderr,
    )
