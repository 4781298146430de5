"""A training run that stops and continues is the run that did not stop, to the last bit."""

import json
import signal

import pytest
import torch

from llm_experiments.checkpoints import check_space, read_checkpoint
from llm_experiments.models import load_reward_model
from llm_experiments.settings import StartSettings, TrainSettings
from llm_experiments.training import train_reward_model
from simulations.results import UserError
from tests.lm import language_model, random_pairs, tokenizer

pytestmark = pytest.mark.integration
CLOCKS = ("train_runtime", "train_samples_per_second", "train_steps_per_second")


def start(kind, *, lora=False):
    model = load_reward_model(language_model(), kind, tokenizer=tokenizer())
    if lora:
        from llm_experiments.adapters import add_lora

        add_lora(model, StartSettings(use_peft=True, lora_dropout=0.5), seed=0, adapter_reference=False)
    return model


class Killed(BaseException):
    """What a kill looks like from inside: nothing is caught, nothing is cleaned up."""


def run(kind, settings, checkpoints=None, *, stop_at=0, lora=False):
    """The trained weights, and the rows of the log without its clocks."""
    model, rows = start(kind, lora=lora), []

    def log(row):
        rows.append({key: value for key, value in row.items() if key not in CLOCKS})
        if row["step"] == stop_at and "loss" in row:
            raise Killed

    train_reward_model(model, random_pairs(10), settings, on_log=log, checkpoints=checkpoints)
    return [weight.detach().clone() for weight in model.parameters()], rows


CASES = {
    "adam": ("explicit", {}),
    "clipped": ("implicit", {"lr_scheduler_type": "cosine", "max_grad_norm": 0.1}),
    "factored": ("generative", {"optim": "adafactor", "group_by_length": True}),
    "frozen": ("implicit", {"trainable": "head"}),
    "plain": (
        "explicit",
        {
            "optim": "sgd",
            "lr_scheduler_type": "linear",
            "warmup_steps": 2.0,
            "per_device_train_batch_size": 1,
            "gradient_accumulation_steps": 4,
        },
    ),
    "dropout": ("implicit", {"lora": True}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_resumed_run_is_the_run_that_never_stopped(case, tmp_path):
    """Ten pairs in batches of four, three epochs: a checkpoint falls in the middle of an epoch and between two rows of
    the log, or at an epoch's end."""
    kind, options = CASES[case]
    options = {"per_device_train_batch_size": 4, **options}
    lora = options.pop("lora", False)
    settings = TrainSettings(learning_rate=1e-3, num_train_epochs=3.0, save_steps=1, logging_steps=2, **options)
    expected, rows = run(kind, settings, lora=lora)
    for stop_at in (2, 4):
        folder = tmp_path / str(stop_at)
        with pytest.raises(Killed):
            run(kind, settings, folder, stop_at=stop_at, lora=lora)
        assert sorted(p.name for p in folder.iterdir()) == [
            f"step-{n:08d}.safetensors" for n in (stop_at - 2, stop_at - 1) if n
        ]
        weights, resumed = run(kind, settings, folder, lora=lora)
        assert all(torch.equal(new, old) for new, old in zip(weights, expected, strict=True))
        assert resumed == rows


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(tmp_path, capsys):
    settings = TrainSettings(
        learning_rate=1e-3, max_steps=6, save_steps=1, logging_steps=1, per_device_train_batch_size=4
    )
    expected, rows = run("implicit", settings)
    with pytest.raises(Killed):
        run("implicit", settings, tmp_path, stop_at=4)
    newest = max(tmp_path.iterdir())
    newest.write_bytes(newest.read_bytes()[:-100])
    assert read_checkpoint(tmp_path).said["trainer"]["global_step"] == 2
    assert "step-00000003.safetensors: is damaged" in capsys.readouterr().err
    weights, resumed = run("implicit", settings, tmp_path)
    assert resumed == rows
    assert all(torch.equal(new, old) for new, old in zip(weights, expected, strict=True))
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    assert read_checkpoint(tmp_path) is None
    assert run("implicit", settings, tmp_path)[1] == rows


def test_a_process_that_is_asked_to_stop_keeps_what_it_has(tmp_path, capfd):
    settings = TrainSettings(learning_rate=1e-3, max_steps=6, logging_steps=1, per_device_train_batch_size=4)
    expected, _ = run("explicit", settings)
    before = signal.getsignal(signal.SIGTERM)

    def ask(row):
        if row["step"] == 3:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        train_reward_model(start("explicit"), random_pairs(10), settings, on_log=ask, checkpoints=tmp_path)
    assert signal.getsignal(signal.SIGTERM) is before
    assert "with a checkpoint" in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000004.safetensors"]
    weights, _ = run("explicit", settings, tmp_path)
    assert all(torch.equal(new, old) for new, old in zip(weights, expected, strict=True))


def test_without_save_steps_the_clock_decides(tmp_path, monkeypatch):
    from llm_experiments.callbacks import Saving

    settings = TrainSettings(max_steps=4, logging_steps=1, per_device_train_batch_size=4)
    for seconds, names in ((1e9, []), (0.0, ["step-00000002.safetensors", "step-00000003.safetensors"])):
        monkeypatch.setattr(Saving, "SECONDS", seconds)
        run("explicit", settings, tmp_path)
        assert sorted(path.name for path in tmp_path.glob("*")) == names


def test_a_disk_that_is_too_small_is_found_before_the_first_step(tmp_path):
    check_space(tmp_path / "not" / "there" / "yet", 1000)
    with pytest.raises(UserError, match=r"run: training writes up to 1e\+06 GB .*GB are free; choose another --output"):
        check_space(tmp_path / "run" / "checkpoints", 10**15)


def test_a_checkpoint_is_all_text_and_tensors_and_belongs_to_its_number_of_processes(tmp_path, monkeypatch, capsys):
    settings = TrainSettings(max_steps=2, save_steps=1, per_device_train_batch_size=4)
    run("explicit", settings, tmp_path)
    (path,) = tmp_path.iterdir()
    monkeypatch.setattr("torch.get_num_threads", lambda: 64)
    assert read_checkpoint(tmp_path) is not None
    assert "was written with 1 threads, now there are 64; last digits may differ" in capsys.readouterr().err
    monkeypatch.setattr("llm_experiments.checkpoints.processes", lambda: 3)
    with pytest.raises(UserError, match="written by 1 processes, now there are 3; start as many, or"):
        read_checkpoint(tmp_path)
    header = json.loads(path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")])
    assert json.loads(header["__metadata__"]["state"])["trainer"]["global_step"] == 1
