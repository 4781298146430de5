"""A training step beside TRL's: 4 pairs, prompt 192, response 64, Gemma of width 256 with 4 layers, two vocabularies.

    python benchmarks/bench_training.py                    everything; writes benchmarks/results/training.json
    python benchmarks/bench_training.py --only implicit    one group again, the others kept

Same model, token ids, batch, optimiser (AdamW, fused) and learning rate on both sides; float32 unless the column says
otherwise; ours also with `--bf16`, which is the precision of TRL's defaults. Both run in transformers' training loop,
each measurement in a process of its own. A step is what lies between the loop's beginning and end of one, the fastest
of a few; the processor seconds beside it are of all threads.
Working memory is what a step adds to resident memory at its peak, less the gradients, which are there at that moment;
weights and optimiser state were resident before.

TRL's columns: `defaults` as its config has them (bfloat16 autocast and gradient checkpointing); `float32` with both
off; `head` float32 with its response-only output head as well, which 1.16 keeps for devices with Triton.
MEASURE_WITH is a command put before each measurement (a lock, taskset).
"""

import argparse
import ctypes
import json
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

from measure import RESULTS, save

PAIRS, PROMPT, RESPONSE = 4, 192, 64
VOCABULARIES = (32_000, 256_000)
PACKAGES = ("torch", "transformers", "trl", "accelerate")
FEWEST, MOST, BUDGET = 3, 80, 5.0  # steps, and seconds after which no further one is begun
MEMORY_STEP = 2
GROUPS = ("implicit", "explicit", "bfloat16", "recomputed", "huge_pages", "devices", "sizes")


def build(vocabulary: int) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    from llm_experiments.pretraining import build_config

    torch.manual_seed(0)
    config = build_config("gemma", vocab_size=vocabulary, hidden=256, layers=4, heads=4)
    return AutoModelForCausalLM.from_config(config)


def token_ids(vocabulary: int, prompt: int, response: int, pairs: int = PAIRS) -> list[tuple[list[int], ...]]:
    """Random prompts, chosen and rejected; responses end with the end token (2)."""
    import torch

    generator = torch.Generator().manual_seed(0)
    sizes = (prompt, response - 1, response - 1)
    some = [[torch.randint(4, vocabulary, (n,), generator=generator).tolist() for n in sizes] for _ in range(pairs)]
    return [(a, [*b, 2], [*c, 2]) for a, b, c in some]


class Meter:
    """transformers' callback: seconds and processor seconds per step, and the peak of one; stops when it has enough."""

    def __init__(self, model: Any) -> None:
        from transformers import TrainerCallback

        meter, self.seconds, self.processor, self.bytes = self, [], [], None

        class Callback(TrainerCallback):
            def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if state.global_step == MEMORY_STEP - 1:
                    ctypes.CDLL("libc.so.6").malloc_trim(0)  # what is free is given back, or growth would hide in it
                    Path("/proc/self/clear_refs").write_text("5")
                    meter.before = _status("VmRSS")
                meter.start = time.perf_counter(), processor_seconds()

            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                meter.seconds.append(time.perf_counter() - meter.start[0])
                meter.processor.append(processor_seconds() - meter.start[1])
                if state.global_step == MEMORY_STEP:
                    meter.bytes = _status("VmHWM") - meter.before
                control.should_training_stop |= len(meter.seconds) >= FEWEST and sum(meter.seconds) > BUDGET

        self.model, self.callback = model, Callback()

    def row(self) -> dict[str, Any]:
        gradients = sum(p.numel() * p.element_size() for p in self.model.parameters() if p.requires_grad)
        return {
            "seconds": min(self.seconds[1:]),
            "processor_seconds": min(self.processor[1:]),
            "steps": len(self.seconds),
            "working_megabytes": (self.bytes - gradients) / 1e6,
        }


def ours(kind: str, vocabulary: int, prompt: int, response: int, group: str, **_: Any) -> dict[str, Any]:
    from llm_experiments import training
    from llm_experiments.encoding import EncodedPair
    from llm_experiments.models import load_reward_model
    from llm_experiments.settings import TrainSettings
    from llm_experiments.trainer import RewardTrainer

    base = build(vocabulary)
    pairs = [EncodedPair(str(i), "", *map(tuple, ids)) for i, ids in enumerate(token_ids(vocabulary, prompt, response))]
    model = load_reward_model(base, kind, device="cpu")
    del base
    meter, begin = Meter(model), RewardTrainer.__init__

    def watched(self: Any, **options: Any) -> None:
        begin(self, **(options | {"callbacks": [meter.callback]}))

    RewardTrainer.__init__ = watched
    row = {}
    if kind == "implicit":
        started = time.perf_counter()
        training.reference_log_probabilities(model, pairs, PAIRS)
        started = time.perf_counter() - started
        again = time.perf_counter()
        training.reference_log_probabilities(model, pairs, PAIRS)
        row["seconds_reference"] = min(started, time.perf_counter() - again)
    settings = TrainSettings(
        learning_rate=1e-6,
        max_steps=MOST,
        per_device_train_batch_size=PAIRS,
        optim="adamw_torch_fused",
        max_grad_norm=1.0,
        logging_steps=1,
        bf16=group == "bfloat16",
    )
    rows = training.train_reward_model(model, pairs, settings)
    return meter.row() | row | {"loss": rows[0]["loss"]}


def theirs(
    kind: str, vocabulary: int, column: str, cached: bool, prompt: int, response: int, **_: Any
) -> dict[str, Any]:
    import transformers
    import trl
    from datasets import Dataset
    from trl.trainer import utils

    transformers.logging.set_verbosity_error()
    if column == "head":
        utils._use_triton = lambda device: True
    options = {} if column == "defaults" else {"bf16": False, "gradient_checkpointing": False}
    ids = token_ids(vocabulary, prompt, response)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = words(vocabulary, folder)
        shared = dict(
            output_dir=folder,
            use_cpu=True,
            learning_rate=1e-6,
            lr_scheduler_type="constant",
            per_device_train_batch_size=PAIRS,
            max_steps=MOST,
            optim="adamw_torch_fused",
            max_grad_norm=1.0,
            logging_steps=1,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            **options,
        )
        base = build(vocabulary)
        row = {}
        if kind == "implicit":
            base.save_pretrained(f"{folder}/model")
            text = [[" ".join(f"t{i}" if i > 2 else "<eos>" for i in part) for part in some] for some in ids]
            data = Dataset.from_list([{"prompt": a, "chosen": " " + b, "rejected": " " + c} for a, b, c in text])
            reference = None if cached else transformers.AutoModelForCausalLM.from_pretrained(f"{folder}/model")
            started = time.perf_counter()
            trainer = trl.DPOTrainer(
                model=base,
                ref_model=reference,
                args=trl.DPOConfig(precompute_ref_log_probs=cached, **shared),
                train_dataset=data,
                processing_class=tokenizer,
            )
            for found, (a, b, c) in zip(trainer.train_dataset, ids, strict=True):
                assert (found["prompt_ids"], found["chosen_ids"], found["rejected_ids"]) == (a, b, c)
            row["seconds_to_build_the_trainer"] = time.perf_counter() - started
        else:
            base.base_model.save_pretrained(f"{folder}/model")
            classifier = transformers.AutoModelForSequenceClassification.from_pretrained(
                f"{folder}/model", num_labels=1, dtype="float32"
            )
            data = Dataset.from_list([{"chosen_ids": a + b, "rejected_ids": a + c} for a, b, c in ids])
            trainer = trl.RewardTrainer(
                model=classifier, args=trl.RewardConfig(**shared), train_dataset=data, processing_class=tokenizer
            )
            del classifier
        del base
        meter = Meter(trainer.model)
        trainer.add_callback(meter.callback)
        trainer.train()
        loss = next(line["loss"] for line in trainer.state.log_history if "loss" in line)
    return meter.row() | row | {"loss": loss}


def words(vocabulary: int, folder: str) -> Any:
    """A tokenizer whose token i is the word "ti"."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ["<pad>", "<bos>", "<eos>", *(f"t{i}" for i in range(3, vocabulary))]
    inner = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>")


def device(vocabulary: int, use: str, prompt: int, response: int, **_: Any) -> dict[str, Any]:
    """Forward and backward of an implicit step with one device at a time; `none` has full logits everywhere."""
    import torch

    from llm_experiments.batches import collate_pairs
    from llm_experiments.encoding import EncodedPair
    from llm_experiments.models import load_reward_model
    from llm_experiments.tiling import tiled_log_probabilities

    pairs = [EncodedPair(str(i), "", *map(tuple, ids)) for i, ids in enumerate(token_ids(vocabulary, prompt, response))]
    model = load_reward_model(build(vocabulary), "implicit", device="cpu")
    policy, reference = model._forward, model._reference
    batch, used = collate_pairs(pairs, "implicit"), use.split("+")
    rows = tuple(batch[name] for name in ("input_ids", "attention_mask", "position_ids"))
    policy.shared.on = reference.shared.on = "prompt" in used

    def sums(part: Any) -> Any:
        hidden = part.hidden_states(*rows)[:, :-1]
        mask, targets = batch["response_mask"][:, 1:], batch["input_ids"][:, 1:]
        if "response" in used:
            states, some = hidden[mask], targets[mask]
        else:
            states, some = hidden.reshape(-1, hidden.shape[-1]), targets.reshape(-1)
        weight = part.model.get_output_embeddings().weight
        if "tiles" in used:
            values = tiled_log_probabilities(states, weight, None, some, part.rule)
        else:
            values = torch.log_softmax(part.rule.apply(states @ weight.T), -1).gather(1, some[:, None])[:, 0]
        return (values if "response" in used else values[mask.reshape(-1)]).reshape(2 * PAIRS, -1).double().sum(1)

    stored = sums(reference).detach() if "cache" in used else None

    def step() -> None:
        model.zero_grad()
        with torch.no_grad():
            other = sums(reference) if stored is None else stored
        chosen, rejected = (sums(policy) - other).chunk(2)
        torch.nn.functional.softplus(rejected - chosen).mean().backward()

    from measure import peak_bytes, seconds

    fastest = seconds(step, repeats=2 if vocabulary > 100_000 else 4)
    model.zero_grad()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    gradients = sum(p.numel() * p.element_size() for p in model.parameters())
    return {"seconds": fastest, "working_megabytes": (peak_bytes(step) - gradients) / 1e6}


def cells(group: str) -> list[dict[str, Any]]:
    size = {"prompt": PROMPT, "response": RESPONSE}
    sides = [{"side": "ours"}, *({"side": "trl", "column": c} for c in ("defaults", "float32", "head"))]
    if group in ("implicit", "recomputed", "huge_pages"):
        cached = group != "recomputed"
        some = sides if cached else sides[1:]  # ours: a step and a pass over the batch, both measured anyway
        return [
            {"group": group, "kind": "implicit", "vocabulary": v, "cached": cached, **size, **side}
            for v, side in product(VOCABULARIES, some)
        ]
    if group == "explicit":
        return [
            {"group": group, "kind": "explicit", "vocabulary": v, "cached": True, **size, **side}
            for v, side in product(VOCABULARIES, sides[:3])
        ]
    if group == "bfloat16":
        return [
            {"group": group, "side": "ours", "kind": kind, "vocabulary": v, "cached": True, **size}
            for v, kind in product(VOCABULARIES, ("implicit", "explicit"))
        ]
    if group == "devices":
        uses = ("none", "response", "tiles", "prompt", "cache", "response+tiles+prompt+cache")
        return [{"group": group, "side": "device", "vocabulary": 32_000, "use": use, **size} for use in uses] + [
            {"group": group, "side": "device", "vocabulary": 256_000, "use": use, **size}
            for use in ("response", "response+tiles", "response+tiles+cache", "response+tiles+prompt+cache")
        ]
    ours = {"group": group, "side": "ours", "kind": "implicit", "cached": True}
    return (
        [{**ours, "vocabulary": 32_000, "prompt": n, "response": RESPONSE} for n in (48, 96, 192, 384, 768)]
        + [{**ours, "vocabulary": 32_000, "prompt": PROMPT, "response": n} for n in (16, 32, 64, 128, 256)]
        + [{**ours, "vocabulary": v, **size} for v in (32_000, 64_000, 128_000, 256_000)]
    )


def ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """TRL's numbers over ours, per group, vocabulary and column; its defaults also over ours in bfloat16, which was not
    measured with huge pages.

    Where the reference is recomputed, ours is the step with it cached plus a pass of the reference over the batch.
    """
    mine = {
        (row["kind"], row["vocabulary"]): row
        for row in rows
        if row["group"] in ("implicit", "explicit") and row["side"] == "ours"
    }
    mine |= {
        ("huge_pages", row["vocabulary"]): row for row in rows if row["group"] == "huge_pages" and row["side"] == "ours"
    }
    found = []
    for row in rows:
        key = "huge_pages" if row["group"] == "huge_pages" else row.get("kind")
        if row["side"] != "trl" or (key, row["vocabulary"]) not in mine:
            continue
        if row["column"] == "defaults" and key != "huge_pages":  # both in bfloat16 autocast
            same = (row["kind"], row["vocabulary"])
            narrow = [r for r in rows if r["group"] == "bfloat16" and (r["kind"], r["vocabulary"]) == same]
            found += [line(row, other) | {"ours": "bfloat16"} for other in narrow]
        found.append(line(row, mine[key, row["vocabulary"]]) | {"ours": "float32"})
    return found


def line(row: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    extra = ours["seconds_reference"] if row["group"] == "recomputed" else 0.0
    whole = 1 + extra / ours["seconds"]
    return {name: row[name] for name in ("group", "kind", "vocabulary", "column")} | {
        "times_faster": row["seconds"] / (ours["seconds"] * whole),
        "times_fewer_processor_seconds": row["processor_seconds"] / (ours["processor_seconds"] * whole),
        "share_of_its_working_memory": ours["working_megabytes"] / row["working_megabytes"],
    }


def measure(cell: dict[str, Any]) -> dict[str, Any]:
    """The cell's row, from a process of its own."""
    environment = os.environ | {"THP_MEM_ALLOC_ENABLE": "1" if cell["group"] == "huge_pages" else "0"}
    environment |= {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    environment.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))
    environment["HF_DATASETS_CACHE"] = tempfile.mkdtemp()
    command = [*shlex.split(os.environ.get("MEASURE_WITH", "")), sys.executable, __file__, "--cell", json.dumps(cell)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise SystemExit(f"{cell} failed:\n{done.stderr[-3000:]}")
    return json.loads(lines[-1])


def run_cell(cell: dict[str, Any]) -> dict[str, Any]:
    run = {"ours": ours, "trl": theirs, "device": device}[cell["side"]]
    row = run(**{k: v for k, v in cell.items() if k != "side"})
    row["threads"] = int(os.environ["OMP_NUM_THREADS"])
    return cell | {key: float(f"{value:.4g}") for key, value in row.items() if value is not None}


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _status(field: str) -> int:
    from measure import process_memory

    return process_memory(field)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=GROUPS, nargs="*", default=GROUPS)
    parser.add_argument("--cell")
    arguments = parser.parse_args()
    if arguments.cell:
        print(json.dumps(run_cell(json.loads(arguments.cell))))
        return
    if find_spec("trl") is None:
        print("bench_training.py: not measured: trl is not installed (pip install -c constraints.txt -e '.[bench]')")
        return
    place = RESULTS / "training.json"
    rows = json.loads(place.read_text())["rows"] if place.exists() else []
    for group in arguments.only:
        rows = [row for row in rows if row["group"] != group]
        for cell in cells(group):
            rows.append(measure(cell))
            print(rows[-1], file=sys.stderr, flush=True)
        found = {"ratios": ratios(rows), "rows": rows}
        save("training", "rewardgap's training step with TRL's", found, PACKAGES)


if __name__ == "__main__":
    main()
