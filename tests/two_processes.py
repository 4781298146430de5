"""What each of the processes that test_distributed.py starts with torchrun does: `two_processes.py FOLDER`.

Trains data-parallel and sharded through the front door, and computes with sharded models of fixed weights. What this
process saw goes to FOLDER/seen-RANK.json.
"""

import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path

from llm_experiments.distributed import joined, shard
from llm_experiments.models import load_reward_model
from llm_experiments.scoring import reward_function, score_pairs
from llm_experiments.trainer import RewardTrainer
from rewardgap import main
from tests.lm import KINDS, language_model, random_pairs, tokenizer

PAIRS = 9  # in batches of two: one process ends an epoch with one pair and a repeated one, the other with repeats alone
RANK = int(os.environ.get("RANK", 0))
SHARDED = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_RESHARD_AFTER_FORWARD": "true"}


def arguments(folder: Path, kind: str, output: str, *flags: str) -> list[str]:
    return [
        "train", "--kind", kind, "--model", str(folder / "lm"), "--pairs", str(folder / "pairs.jsonl"), "--output",
        str(folder / output), "--num_train_epochs", "2", "--learning_rate", "1e-3", "--logging_steps", "2", "--device",
        "cpu", *flags,
    ]  # fmt: skip


@contextmanager
def environment(**values: str):
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            os.environ.pop(name, None)


class Killed(BaseException):
    pass


def run(folder: Path) -> dict:
    seen: dict = {}
    output = ""
    stop_at = 0
    step = RewardTrainer.training_step

    def watched(self, model, inputs, *rest):
        parts = sum(hasattr(weight, "placements") for weight in self.model.parameters())
        seen.setdefault(output, []).append(
            {
                "numbers": inputs["numbers"].tolist(),
                "processes": self.accelerator.num_processes,
                "wrapped": type(model).__name__,
                "sharded": parts,
                "weights": len(list(self.model.parameters())),
                "types": sorted({str(weight.dtype) for weight in self.model.parameters()}),
                "held": sum((w.to_local() if hasattr(w, "to_local") else w).numel() for w in self.model.parameters()),
                "all": sum(weight.numel() for weight in self.model.parameters()),
            }
        )
        if self.state.global_step == stop_at > 0:
            raise Killed
        return step(self, model, inputs, *rest)

    RewardTrainer.training_step = watched
    compute = RewardTrainer.compute_loss

    def typed(self, model, inputs, *rest, **options):
        """The types in which weights take part in the computation: while a module computes, they are whole."""
        found = seen[output][-1]["computed"] = {}
        layer = self.model.policy.base_model.layers[0].mlp
        handles = [layer.register_forward_pre_hook(lambda *_: found.update(layer=str(layer.up_proj.weight.dtype)))]
        if self.model.head is not None:
            last = self.model.policy.norm
            handles.append(last.register_forward_hook(lambda *_: found.update(head=str(self.model.head.weight.dtype))))
        loss = compute(self, model, inputs, *rest, **options)
        for handle in handles:
            handle.remove()
        return loss

    RewardTrainer.compute_loss = typed
    batch = ("--per_device_train_batch_size", "2")
    output = "single-explicit"
    one = ("--per_device_train_batch_size", "1", "--gradient_accumulation_steps", "2")
    assert main(arguments(folder, "explicit", output, *one)) == 0
    for kind in KINDS:
        output = f"parallel-{kind}"
        assert main(arguments(folder, kind, output, *batch)) == 0
        with environment(**SHARDED):
            output = f"sharded-{kind}"
            assert main(arguments(folder, kind, output, *batch, "--save_steps", "1")) == 0
        with environment(**SHARDED, ACCELERATE_MIXED_PRECISION="bf16"):
            output = f"narrow-{kind}"
            assert main(arguments(folder, kind, output, *batch)) == 0
    with environment(**SHARDED):
        output, stop_at = "resumed", 3
        again = arguments(folder, "implicit", output, *batch, "--save_steps", "1")
        try:
            main(again)
        except Killed:
            stop_at, output = 0, "resumed again"
            assert main(again) == 0
    flags = ["--pairs", str(folder / "pairs.jsonl"), "--batch_size", "4", "--device", "cpu"]
    assert (
        main(["score", "--model", str(folder / "parallel-implicit"), *flags, "--output", str(folder / "scored")]) == 0
    )
    for kind in KINDS:
        with joined(cpu=True):
            model = shard(load_reward_model(language_model(), kind, tokenizer=tokenizer()))
            seen[f"fixed-{kind}-weights"] = [type(weight).__name__ for weight in model.parameters()]
            seen[f"fixed-{kind}"] = score_pairs(model, random_pairs(PAIRS), batch_size=4)
    # as TRL asks: each process for completions of its own, and for another number of them
    asked = [f"No, {number}" for number in range(3 + RANK)]
    reward = reward_function(str(folder / "parallel-explicit"), device="cpu")
    seen["asked"] = dict(zip(asked, reward(prompts=["Is 3 even?"] * len(asked), completions=asked), strict=True))
    return seen


if __name__ == "__main__":
    place = Path(sys.argv[1])
    (place / f"seen-{RANK}.json").write_text(json.dumps(run(place)))
