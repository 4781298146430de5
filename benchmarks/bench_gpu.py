"""Training steps at the size of real models on one GPU: Gemma 2B and 7B, Mistral 7B, bfloat16, whole and LoRA; and TRL.

    python benchmarks/bench_gpu.py           writes benchmarks/results/gpu.json; without CUDA: "not measured"
    python benchmarks/bench_gpu.py --tiny    the same program on tiny models and any device, prints only: does it run?

Weights are random (the time of a step does not depend on them): 8 pairs, prompt 256, two responses of 256 tokens.
Weights, gradients and AdamW's moments are bfloat16, there are no float32 master weights; sums are float64. TRL's side:
no gradient checkpointing, `precompute_ref_log_probs`, LoRA by the same peft config; otherwise its defaults. Each cell
is a process of its own; a step is the fastest of a few. A cell that does not fit is stored as out of memory.

Model-FLOP utilisation is 6 x (weights that multiply tokens) x tokens per step (4 x under LoRA, whose frozen weights
need no gradient), over the time and the rate of a 8192 x 8192 bfloat16 product in the same process. Tokens are counted
twice: `rows` as chosen and rejected sequences stand there, prompt in each; `distinct` with the prompt once, which is
what our step computes. The output layer counts for response tokens alone, and not at all for explicit models.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import product
from typing import Any

import torch
from bench_training import words
from measure import save
from transformers import AutoModelForCausalLM, GemmaConfig, MistralConfig, TrainerCallback

PAIRS, PROMPT, RESPONSE, STEPS = 8, 256, 256, 8
PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate")
SIZES: dict[str, Any] = {
    "gemma-2b": lambda: GemmaConfig(
        vocab_size=256_000,
        hidden_size=2048,
        intermediate_size=16_384,
        num_hidden_layers=18,
        num_attention_heads=8,
        num_key_value_heads=1,
        head_dim=256,
    ),
    "gemma-7b": lambda: GemmaConfig(
        vocab_size=256_000,
        hidden_size=3072,
        intermediate_size=24_576,
        num_hidden_layers=28,
        num_attention_heads=16,
        num_key_value_heads=16,
        head_dim=256,
    ),
    "mistral-7b": lambda: MistralConfig(
        vocab_size=32_000,
        hidden_size=4096,
        intermediate_size=14_336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        sliding_window=4096,
    ),
}
TINY = {
    "vocab_size": 500,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "head_dim": 16,
}
PEFT = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear"}


class Watch(TrainerCallback):
    """Seconds of every step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        synchronise()
        self.start = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        synchronise()
        self.seconds.append(time.perf_counter() - self.start)


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def build(name: str, tiny: bool) -> Any:
    torch.manual_seed(0)
    config = SIZES[name]()
    if tiny:
        config = type(config)(**TINY, num_key_value_heads=min(2, config.num_key_value_heads))
    config.pad_token_id, config.bos_token_id, config.eos_token_id = 0, 1, 2
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)


def token_ids(vocabulary: int) -> list[tuple[list[int], ...]]:
    """Random prompts, chosen and rejected; responses end with the end token (2)."""
    generator = torch.Generator().manual_seed(0)

    def draw(count: int) -> list[int]:
        return torch.randint(4, vocabulary, (count,), generator=generator).tolist()

    return [(draw(PROMPT), [*draw(RESPONSE - 1), 2], [*draw(RESPONSE - 1), 2]) for _ in range(PAIRS)]


def ours(base: Any, kind: str, trained: str, watch: Watch) -> None:
    from llm_experiments import training
    from llm_experiments.adapters import add_lora
    from llm_experiments.encoding import EncodedPair
    from llm_experiments.models import load_reward_model
    from llm_experiments.settings import StartSettings, TrainSettings
    from llm_experiments.trainer import RewardTrainer

    ids = token_ids(base.config.vocab_size)
    pairs = [EncodedPair(str(number), "", *map(tuple, some)) for number, some in enumerate(ids)]
    lora = trained == "lora"
    model = load_reward_model(base, kind, reference="none" if lora else "auto", dtype="bfloat16")
    del base
    if lora:
        start = StartSettings(use_peft=True, lora_r=PEFT["r"], lora_alpha=PEFT["lora_alpha"])  # all linear layers
        add_lora(model, start, adapter_reference=kind == "implicit")
    begin = RewardTrainer.__init__

    def watched(self: Any, **options: Any) -> None:
        begin(self, **(options | {"callbacks": [watch]}))

    RewardTrainer.__init__ = watched
    options = {
        "learning_rate": 1e-6,
        "max_steps": STEPS,
        "per_device_train_batch_size": PAIRS,
        "optim": "adamw_torch_fused",
    }
    training.train_reward_model(model, pairs, TrainSettings(**options, max_grad_norm=1.0, logging_steps=STEPS))


def theirs(base: Any, kind: str, trained: str, watch: Watch) -> None:
    import trl
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForSequenceClassification

    ids = token_ids(base.config.vocab_size)
    folder = tempfile.mkdtemp()
    shared = {
        "output_dir": folder,
        "learning_rate": 1e-6,
        "lr_scheduler_type": "constant",
        "per_device_train_batch_size": PAIRS,
        "max_steps": STEPS,
        "optim": "adamw_torch_fused",
        "max_grad_norm": 1.0,
        "gradient_checkpointing": False,
        "bf16": torch.cuda.is_available(),
        "use_cpu": not torch.cuda.is_available(),
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    tokenizer = words(base.config.vocab_size, folder)
    task = "CAUSAL_LM" if kind == "implicit" else "SEQ_CLS"
    extra = {"peft_config": LoraConfig(task_type=task, **PEFT)} if trained == "lora" else {}
    if kind == "implicit":
        text = [[" ".join(f"t{i}" if i > 2 else "<eos>" for i in part) for part in some] for some in ids]
        data = Dataset.from_list([{"prompt": a, "chosen": " " + b, "rejected": " " + c} for a, b, c in text])
        args = trl.DPOConfig(precompute_ref_log_probs=True, max_length=PROMPT + RESPONSE, **shared)
        trainer = trl.DPOTrainer(model=base, args=args, train_dataset=data, processing_class=tokenizer, **extra)
    else:
        base.config.num_labels = 1
        classifier = AutoModelForSequenceClassification.from_config(base.config, dtype=torch.bfloat16)
        data = Dataset.from_list([{"chosen_ids": a + b, "rejected_ids": a + c} for a, b, c in ids])
        args = trl.RewardConfig(max_length=PROMPT + RESPONSE, **shared)
        trainer = trl.RewardTrainer(
            model=classifier, args=args, train_dataset=data, processing_class=tokenizer, **extra
        )
    trainer.add_callback(watch)
    trainer.train()


def model_flops(config: Any, kind: str, trained: str, *, prompts: int) -> float:
    """Of one step with each prompt counted `prompts` times; attention's products of states are left out (few %)."""
    dim, heads, keys = config.head_dim or config.hidden_size // config.num_attention_heads, 0, 0
    heads, keys = config.num_attention_heads * dim, config.num_key_value_heads * dim
    layer = config.hidden_size * (2 * heads + 2 * keys + 3 * config.intermediate_size)
    tokens = PAIRS * (prompts * PROMPT + 2 * RESPONSE) * config.num_hidden_layers * layer
    output = PAIRS * 2 * RESPONSE * config.hidden_size * config.vocab_size if kind == "implicit" else 0
    return (6.0 if trained == "full" else 4.0) * (tokens + output)


def matrix_rate(size: int) -> float:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    a = torch.randn(size, size, dtype=torch.bfloat16, device=device)
    times = []
    for _ in range(5):
        synchronise()
        start = time.perf_counter()
        a @ a
        synchronise()
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times)


def measure(model: str, trained: str, kind: str, side: str, tiny: bool) -> dict[str, Any]:
    rate = matrix_rate(256 if tiny else 8192)
    base, watch = build(model, tiny), Watch()
    config = base.config
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    step = {"ours": ours, "trl": theirs}[side]
    step(base, kind, trained, watch)
    fastest = min(watch.seconds[1:])
    by_tokens = {"rows": 2, "distinct": 1}
    return {
        "seconds": fastest,
        "pairs_per_second": PAIRS / fastest,
        "peak_gigabytes": torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else None,
        "teraflops_of_a_product": rate / 1e12,
        **{
            f"utilisation_{name}": model_flops(config, kind, trained, prompts=prompts) / fastest / rate
            for name, prompts in by_tokens.items()
        },
    }


def in_a_process(cell: dict[str, Any]) -> dict[str, Any]:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, __file__, "--cell", json.dumps(cell)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    found = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode == 0 and found:
        return cell | json.loads(found[-1])
    if "out of memory" in done.stderr:
        return cell | {"seconds": None, "reason": "out of memory"}
    raise SystemExit(f"{cell} failed:\n{done.stderr[-3000:]}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--cell")
    arguments = parser.parse_args()
    if arguments.cell:
        print(json.dumps(measure(**json.loads(arguments.cell))))
        return
    if not (torch.cuda.is_available() or arguments.tiny):
        print("bench_gpu.py: not measured: no CUDA device is here")
        return
    names = ("model", "trained", "kind", "side", "tiny")
    values = product(SIZES, ("full", "lora"), ("explicit", "implicit"), ("ours", "trl"), (arguments.tiny,))
    rows = []
    for some in values:
        rows.append(in_a_process(dict(zip(names, some, strict=True))))
        print(rows[-1], file=sys.stderr, flush=True)
    if not arguments.tiny:
        name = torch.cuda.get_device_name()
        save("gpu", "training steps at real sizes with TRL's", {"accelerator": name, "rows": rows}, PACKAGES)


if __name__ == "__main__":
    main()
