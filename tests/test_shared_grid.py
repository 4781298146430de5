"""Several workers on one grid: every cell is computed once, and a killed worker loses nothing but its own cell."""

import os
import subprocess
import sys
import time
from collections import Counter
from multiprocessing import get_context
from pathlib import Path

import pytest

import llm_experiments
from llm_experiments.locks import locked
from simulations.results import finish_run, open_run, read_json

SLURM = Path(llm_experiments.__file__).parent / "configs" / "slurm_array.sh"


def hold(folder, ready, end):
    with locked(folder) as mine:
        ready.put(mine)
        end.wait()


def test_a_folder_is_held_by_one_process_until_that_dies(tmp_path):
    context = get_context("fork")
    ready, end = context.Queue(), context.Event()
    holder = context.Process(target=hold, args=(tmp_path / "cell", ready, end), daemon=True)
    holder.start()
    assert ready.get(timeout=300)
    with locked(tmp_path / "cell") as mine, locked(tmp_path / "other") as other:
        assert (mine, other) == (False, True)
    holder.kill()
    holder.join()
    with locked(tmp_path / "cell") as mine:
        assert mine
        assert not open_run(tmp_path / "cell", {"number": 1})  # the lock is nobody's foreign file
        finish_run(tmp_path / "cell")


def events(folder: Path) -> list[tuple[str, str, str]]:
    log = folder / "log"
    return [tuple(line.split()) for line in log.read_text().splitlines()] if log.exists() else []


def until(happens, worker) -> None:
    for _ in range(600):
        if happens():
            return
        assert worker.poll() is None, worker.communicate()
        time.sleep(0.05)
    raise AssertionError("it did not happen within half a minute")


@pytest.mark.integration
def test_a_study_that_is_told_to_stop_says_how_to_continue(tmp_path, request):
    environment = {**os.environ, "HANGS": "base"}
    arguments = [sys.executable, "-m", "tests.tiny_study", str(tmp_path), "study", "tiny", "--quick"]
    arguments += ["--output", str(tmp_path / "run")]
    pipe = subprocess.PIPE
    study = subprocess.Popen(arguments, env=environment, stdout=pipe, stderr=pipe, text=True)
    request.addfinalizer(study.kill)
    until(lambda: events(tmp_path), study)
    study.terminate()
    _, said = study.communicate(timeout=60)
    assert study.returncode == 130
    assert said.splitlines()[-1] == "interrupted; run the same command again to continue"
    del environment["HANGS"]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=300)
    assert done.stdout.splitlines()[0] == "quick: shows that it runs, decides nothing"


@pytest.mark.integration
def test_two_workers_of_a_slurm_array_do_what_a_killed_third_left(tmp_path, request):
    """The third hangs in a cell while the two compute all others and wait for it; then it is killed."""
    program = tmp_path / "bin" / "rewardgap"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.tiny_study {tmp_path} "$@"\n')
    program.chmod(0o755)

    def start(number: int, output: str = "shared", **changes: str) -> subprocess.Popen:
        environment = {
            **os.environ,
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "SLURM_ARRAY_TASK_ID": str(number),
            "WORKER": str(number),
            **changes,
        }
        arguments = ["bash", str(SLURM), "tiny", "--output", str(tmp_path / output)]
        pipe = subprocess.PIPE
        return subprocess.Popen(arguments, env=environment, stdout=pipe, stderr=pipe, text=True)

    first = start(0, HANGS="3")
    request.addfinalizer(first.kill)
    until(lambda: ("starts", "3", "0") in events(tmp_path), first)
    others = [start(1), start(2)]
    until(lambda: sum(event == "ends" for event, _, _ in events(tmp_path)) == 5, others[0])
    assert all(worker.poll() is None for worker in others)  # they wait for the cell that is taken
    assert not (tmp_path / "shared" / "summary.json").exists()
    first.kill()
    first.wait()
    for number, worker in enumerate(others, start=1):
        out, error = worker.communicate(timeout=300)
        assert worker.returncode == 0, error
        assert f"worker {number} on " in out
        assert "sum of squares" in out
    seen = events(tmp_path)
    assert Counter(cell for event, cell, _ in seen if event == "ends") == Counter(["base", *"12345"])
    assert Counter(cell for event, cell, _ in seen if event == "starts") == Counter(["base", *"123345"])
    assert [event for event, _, _ in seen].count("claims") == 1
    assert not list((tmp_path / "shared").rglob("*.tmp"))

    alone = start(9, "alone")
    assert alone.wait(timeout=300) == 0
    one, other = tmp_path / "alone", tmp_path / "shared"
    assert (one / "rows.jsonl").read_bytes() == (other / "rows.jsonl").read_bytes()
    assert read_json(one / "summary.json")["claims"] == read_json(other / "summary.json")["claims"]
