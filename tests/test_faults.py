"""Twenty kills and other misfortunes; whatever happens, the same command again ends with the same scores to the bit."""

import json
import os
import random
import shutil
import time
from pathlib import Path

import pytest

from rewardgap import main
from tests import kills
from tests.lm import KINDS, language_model, tokenizer

pytestmark = pytest.mark.slow
KILLS = 20
CLOCKS = ("train_runtime", "train_samples_per_second", "train_steps_per_second")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    language_model().save_pretrained(folder / "lm")
    tokenizer().save_pretrained(folder / "lm")
    rows = [{"prompt": f"Is {i} even?", "chosen": f" Yes {i}", "rejected": f" No, {i}"} for i in range(12)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


class Commands:
    """Training commands in forked processes, under one folder."""

    def __init__(self, world: Path, folder: Path) -> None:
        self.world, self.folder, self.context = world, folder, kills.server()

    def arguments(self, kind: str, output: str, *flags: str) -> list[str]:
        return [
            "train", "--kind", kind, "--model", str(self.world / "lm"), "--pairs", str(self.world / "pairs.jsonl"),
            "--output", str(self.folder / output), "--num_train_epochs", "2", "--per_device_train_batch_size", "2",
            "--learning_rate", "1e-3", "--logging_steps", "3", "--lr_scheduler_type", "cosine",
            "--cache", str(self.folder / f"cache-{output}"), *flags,
        ]  # fmt: skip

    def said(self, output: str) -> str:
        return (self.folder / f"{output}.txt").read_text()

    def run(self, kind, output, *flags, death=("", 0), largest=0, seconds=0.0) -> tuple[int, float]:
        """Exit code (negative: the signal) and how long it took; with `seconds`, killed from outside after them."""
        arguments = self.arguments(kind, output, *flags)
        process = self.context.Process(
            target=kills.run, args=(arguments, self.folder / f"{output}.txt", death, largest)
        )
        begun = time.perf_counter()
        process.start()
        process.join(seconds or 120)
        if seconds:
            process.kill()
            process.join()
        return process.exitcode, time.perf_counter() - begun


@pytest.fixture(scope="module")
def commands(world, tmp_path_factory):
    return Commands(world, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def whole(commands):
    """Every kind's uninterrupted run, with a checkpoint a step: how often each event happened, and its seconds."""
    found = {}
    for kind in KINDS:
        commands.run(kind, "warm", "--save_steps", "1") if kind == KINDS[0] else None
        code, seconds = commands.run(kind, f"whole-{kind}", "--save_steps", "1")
        assert code == 0, commands.said(f"whole-{kind}")
        counts = (commands.folder / f"whole-{kind}.events").read_text().split()
        found[kind] = dict(zip(kills.EVENTS, map(int, counts), strict=True)), seconds
    return found


def same_results(commands: Commands, kind: str, output: str) -> None:
    mine, theirs = commands.folder / output, commands.folder / f"whole-{kind}"
    for name in ("scores/pairs.jsonl", "metrics.json", "model/model.safetensors"):
        assert (mine / name).read_bytes() == (theirs / name).read_bytes(), (output, name)
    logs = [
        [{k: v for k, v in json.loads(line).items() if k not in CLOCKS} for line in (run / "log.jsonl").open()]
        for run in (mine, theirs)
    ]
    assert logs[0] == logs[1]
    assert not (mine / "checkpoints").exists()
    assert not list(mine.rglob("*.tmp"))


def moments() -> list[tuple[str, str, float]]:
    """Kind, what is killed (an event, or a share of the run's time) and where in it; the same on every machine."""
    generator = random.Random(5)
    ways = {kind: ["half", "time", "rename", "step", "half", "score", "time"] for kind in KINDS}
    ways["implicit"][4:] = ["cache", "score", "cache"]
    return [(KINDS[n % 3], ways[KINDS[n % 3]][n // 3], generator.random()) for n in range(KILLS)]


def test_twenty_kills_change_no_score(commands, whole):
    resumed = 0
    for number, (kind, way, share) in enumerate(moments()):
        counts, seconds = whole[kind]
        output = f"killed-{number}"
        if way == "time":
            wait = (0.1 + 0.8 * share) * seconds
            while (code := commands.run(kind, output, "--save_steps", "1", seconds=wait)[0]) == 0:
                shutil.rmtree(commands.folder / output)  # a less busy machine than before: it was through
                wait *= 0.8
        else:
            death = (way, 1 + int(share * counts[way]))
            code, _ = commands.run(kind, output, "--save_steps", "1", death=death)
        assert code == -9, (number, kind, way, share, commands.said(output))
        assert not (commands.folder / output / "done.json").exists()
        resumed += any((commands.folder / output / "checkpoints").glob("*.safetensors"))
        code, _ = commands.run(kind, output, "--save_steps", "1")
        assert code == 0, commands.said(output)
        same_results(commands, kind, output)
    assert resumed >= KILLS // 3  # most kills fell where there was something to continue from


def test_a_run_that_is_killed_again_and_again_ends_like_the_others(commands, whole):
    for step in (3, 3, 3):  # of what is left
        assert commands.run("implicit", "again", "--save_steps", "1", death=("step", step))[0] == -9
    assert commands.run("implicit", "again", "--save_steps", "1")[0] == 0
    same_results(commands, "implicit", "again")


@pytest.mark.parametrize("flags", [("--save_steps", "1"), ()], ids=["checkpoint", "model"])
def test_a_write_that_runs_out_of_space_is_named_and_the_run_goes_on_when_there_is_some(flags, commands, whole):
    """No file may grow beyond 100 kB: a real error of the system, in the checkpoint or in the trained model."""
    output = f"full{len(flags)}"
    code, _ = commands.run("explicit", output, *flags, largest=100_000)
    said = commands.said(output).strip().split("\n")
    assert code == 2
    assert said[-1].startswith(f"error: {commands.folder / output}")
    assert "file too large" in said[-1]
    assert "Traceback" not in "".join(said)
    assert ("checkpoints/step-00000001" in said[-1]) == bool(flags)
    assert commands.run("explicit", output, *flags)[0] == 0
    same_results(commands, "explicit", output)


def test_a_folder_that_cannot_be_written_to_is_named(commands, tmp_path, capsys):
    """Root may write anywhere but where the kernel forbids it."""
    folder = Path("/sys/kernel") if os.geteuid() == 0 else tmp_path / "closed"
    if not folder.exists():
        folder.mkdir(mode=0o500)
    assert main([*commands.arguments("explicit", "unused"), "--output", str(folder / "run")]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith(f"error: {folder / 'run'}")
    assert "\n" not in said


def test_a_damaged_cache_is_named_and_computed_again(commands, whole):
    assert commands.run("implicit", "cached", "--save_steps", "1", death=("step", 9))[0] == -9
    (path,) = (commands.folder / "cache-cached").rglob("*.txt")
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content[:-9])
    assert commands.run("implicit", "cached", "--save_steps", "1")[0] == 0
    assert f"{path}: damaged in line 1, " in commands.said("cached")
    same_results(commands, "implicit", "cached")


def test_damaged_checkpoints_are_named_and_cost_only_what_they_held(commands, whole):
    assert commands.run("implicit", "damaged", "--save_steps", "1", death=("step", 9))[0] == -9
    older, newest = sorted((commands.folder / "damaged" / "checkpoints").glob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    content = bytearray(older.read_bytes())
    content[-5] ^= 1
    older.write_bytes(content)
    assert commands.run("implicit", "damaged", "--save_steps", "1")[0] == 0
    said = commands.said("damaged")
    for path in (newest, older):
        assert f"{path}: is damaged" in said
    same_results(commands, "implicit", "damaged")
