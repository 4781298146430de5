"""Two processes on one run compute what one process does: data-parallel through the Trainer, and with sharded weights.

On CPUs, an FSDP request to accelerate silently becomes plain data-parallel, so what ran is asserted, not assumed.
"""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import llm_experiments
from llm_experiments.distributed import Sharding, Spread
from llm_experiments.models import load_reward_model
from llm_experiments.scoring import reward_function, score_pairs
from llm_experiments.training import train_reward_model
from rewardgap import main
from simulations.results import UserError
from tests.lm import KINDS, language_model, random_pairs, tokenizer
from tests.two_processes import PAIRS, arguments

CLOCKS = ("train_runtime", "train_samples_per_second", "train_steps_per_second")
CONFIGS = Path(llm_experiments.__file__).parent / "configs"


def prepare(place):
    language_model().save_pretrained(place / "lm")
    tokenizer().save_pretrained(place / "lm")
    rows = [
        {"id": str(i), "prompt": f"Is {i} even?", "chosen": f" Yes {i}", "rejected": f" No, {i}"} for i in range(PAIRS)
    ]
    (place / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two processes under torchrun, and one, do the same."""
    place = tmp_path_factory.mktemp("processes")
    prepare(place)
    script = Path(__file__).parent / "two_processes.py"
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", script, place],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(script.parents[1])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    for kind in KINDS:
        assert main(arguments(place, kind, f"one-{kind}", "--per_device_train_batch_size", "4")) == 0
    return place


@pytest.fixture(scope="module")
def seen(folder):
    return [json.loads((folder / f"seen-{rank}.json").read_text()) for rank in (0, 1)]


def scores(folder, run):
    rows = [json.loads(line) for line in (folder / run / "scores" / "pairs.jsonl").open()]
    return rows, np.array([[row["scores_chosen"], row["scores_rejected"]] for row in rows])


@pytest.mark.slow
@pytest.mark.parametrize("way", ["parallel", "sharded"])
@pytest.mark.parametrize("kind", KINDS)
def test_each_process_sees_its_own_pairs_and_every_pair_is_seen_once_an_epoch(kind, way, seen):
    steps = [process[f"{way}-{kind}"] for process in seen]
    assert len(steps[0]) == len(steps[1]) == 6  # two epochs of three windows of four pairs, the last of one
    for process in steps:
        for step in process:
            assert step["processes"] == 2
            sharded = way == "sharded"
            assert step["wrapped"].startswith("FSDP") if sharded else step["wrapped"] == "DistributedDataParallel"
            assert step["sharded"] == (step["weights"] if sharded else 0)
            assert step["held"] <= 0.51 * step["all"] if sharded else step["held"] == step["all"]
    for epoch in (range(3), range(3, 6)):
        numbers = [number for step in epoch for process in steps for number in process[step]["numbers"]]
        assert sorted(numbers) == list(range(PAIRS))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "way"), [("explicit", "single"), *itertools.product(KINDS, ("parallel", "sharded"))])
def test_two_processes_train_the_model_that_one_trains(kind, way, folder):
    """Single: one pair at a time, two to a step. Scores after six steps, and every step's loss and gradient norm."""
    rows, values = scores(folder, f"{way}-{kind}")
    assert [row["id"] for row in rows] == [str(number) for number in range(PAIRS)]
    _, one = scores(folder, f"one-{kind}")
    assert np.abs(values - one).max() <= 1e-4 * max(1, np.abs(one).max())
    logs = [
        [json.loads(line) for line in (folder / run / "log.jsonl").open()] for run in (f"{way}-{kind}", f"one-{kind}")
    ]
    for mine, theirs in zip(*logs, strict=True):
        for name in {"loss", "grad_norm", "rewards/chosen", "rewards/margins", "rewards/accuracies"} & theirs.keys():
            assert mine[name] == pytest.approx(theirs[name], rel=1e-3, abs=1e-4), name


@pytest.mark.slow
def test_rows_are_gathered_once_and_each_is_its_pairs_own(folder):
    """The processes share batches, which are those of one process."""
    flags = ["--pairs", str(folder / "pairs.jsonl"), "--batch_size", "4", "--device", "cpu"]
    assert main(["score", "--model", str(folder / "parallel-implicit"), *flags, "--output", str(folder / "alone")]) == 0
    mine, alone = (scores(folder, run)[0] for run in ("scored", "alone"))
    assert [row["id"] for row in mine] == [str(number) for number in range(PAIRS)]
    assert mine == alone


@pytest.mark.slow
def test_a_reward_function_answers_every_process_for_itself(folder, seen):
    """TRL calls its reward functions in each of its processes, with texts of its own."""
    assert [len(process["asked"]) for process in seen] == [3, 4]
    reward = reward_function(str(folder / "parallel-explicit"), device="cpu")
    for process in seen:
        texts = list(process["asked"])
        expected = reward(prompts=["Is 3 even?"] * len(texts), completions=texts)
        assert list(process["asked"].values()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_a_sharded_run_resumes_to_the_same_bits(folder, seen):
    assert len(seen[0]["resumed again"]) == 3
    for name in ("scores/pairs.jsonl", "model/model.safetensors"):
        mine, theirs = (folder / run / name for run in ("resumed", "sharded-implicit"))
        assert mine.read_bytes() == theirs.read_bytes()
    rows = [
        [json.loads(line) for line in (folder / run / "log.jsonl").open()] for run in ("resumed", "sharded-implicit")
    ]
    for mine, theirs in zip(*rows, strict=True):
        assert {k: v for k, v in mine.items() if k not in CLOCKS} == {
            k: v for k, v in theirs.items() if k not in CLOCKS
        }


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_shipped_config_computes_layers_in_bfloat16_and_keeps_heads_and_weights_in_float32(kind, folder, seen):
    """Eight bits of mantissa, hence the tolerance."""
    step = seen[1][f"narrow-{kind}"][0]
    assert step["sharded"] == step["weights"]
    assert step["types"] == ["torch.float32"]
    assert step["computed"] == {"layer": "torch.bfloat16"} | ({"head": "torch.float32"} if kind == "explicit" else {})
    narrow, one = (scores(folder, f"{run}-{kind}")[1] for run in ("narrow", "one"))
    assert 0 < np.abs(narrow - one).max() <= 5e-2 * max(1, np.abs(one).max())


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_sharded_model_scores_as_a_whole_one(kind, seen):
    expected = score_pairs(load_reward_model(language_model(), kind, tokenizer=tokenizer()), random_pairs(PAIRS))
    for process in seen:
        assert set(process[f"fixed-{kind}-weights"]) == {"DTensor"}
        rows = process[f"fixed-{kind}"]
        assert [row["id"] for row in rows] == [row["id"] for row in expected]
        for mine, theirs in zip(rows, expected, strict=True):
            for name in ("scores_chosen", "scores_rejected"):
                assert mine[name] == pytest.approx(theirs[name], rel=1e-5, abs=1e-5)


def launched(monkeypatch, name):
    """The environment in which `accelerate launch` would start each process under a shipped config."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_multi_gpu_env

    given = ["--config_file", str(CONFIGS / name), "--num_processes", "2", "-m", "rewardgap", "train"]
    parsed, *_ = _validate_launch_command(launch_command_parser().parse_args(given))
    for key, value in prepare_multi_gpu_env(parsed).items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr("llm_experiments.distributed.processes", lambda: 2)
    return parsed


@pytest.mark.integration
def test_training_of_somebody_elses_processes_is_refused(monkeypatch):
    """Each would see a part of every batch, and nobody would put them together."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="start this with one"):
        train_reward_model(load_reward_model(language_model(), "explicit"), random_pairs(4))


@pytest.mark.integration
def test_the_shipped_fsdp_config_is_what_accelerate_and_we_understand(monkeypatch):
    parsed = launched(monkeypatch, "fsdp2.yaml")
    assert parsed.use_fsdp
    assert Spread.asked() == Spread(Sharding(reshard=True, bfloat16=True))
    for name, value, match in (
        ("FSDP_OFFLOAD_PARAMS", "true", "fsdp_offload_params"),
        ("ACCELERATE_MIXED_PRECISION", "fp16", "mixed_precision"),
        ("FSDP_VERSION", "1", "fsdp_version: 2"),
    ):
        monkeypatch.setenv(name, value)
        with pytest.raises(UserError, match=match):
            Spread.asked()


@pytest.mark.integration
def test_the_shipped_zero3_config_is_what_accelerate_and_we_understand():
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(CONFIGS / "zero3.yaml"))
    assert config.distributed_type == "DEEPSPEED"
    assert config.deepspeed_config["zero_stage"] == 3
    assert config.deepspeed_config["zero3_save_16bit_model"] is True
    assert config.mixed_precision == "bf16"


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@pytest.mark.parametrize("name", ["fsdp2", "zero3"])
@pytest.mark.parametrize("kind", ["explicit", "implicit"])
def test_the_shipped_configs_train_on_two_gpus_what_one_trains(kind, name, tmp_path):
    """Layers compute in bfloat16, hence the tolerance."""
    if name == "zero3":
        pytest.importorskip("deepspeed")
    prepare(tmp_path)
    flags = arguments(tmp_path, kind, "two", "--per_device_train_batch_size", "2", "--device", "auto")
    launch = ["--config_file", CONFIGS / f"{name}.yaml", "--num_processes", "2", "-m", "rewardgap"]
    start = [sys.executable, "-m", "accelerate.commands.launch", *launch, *flags]
    done = subprocess.run(start, cwd=CONFIGS.parents[1], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    assert main(arguments(tmp_path, kind, "one", "--per_device_train_batch_size", "4")) == 0
    one, two = (scores(tmp_path, run)[1] for run in ("one", "two"))
    assert np.abs(one - two).max() <= 5e-2 * max(1, np.abs(one).max())
