"""A training command in a process of its own that dies at a chosen moment: what test_faults.py starts.

Processes are forked from one that has imported everything (seconds) and has one thread.
"""

import os
import signal
import sys
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from rewardgap import main

EVENTS = ("half", "cache", "rename", "step", "score")  # in the middle of a tensor file or of a cache's line, ...


def server() -> ForkServerContext:
    context = get_context("forkserver")
    context.set_forkserver_preload(["tests.kills", "llm_experiments.trainer", "llm_experiments.training", "peft"])
    return context


def run(arguments: list[str], said: Path, death: tuple[str, int] = ("", 0), largest: int = 0) -> None:
    """`rewardgap ARGUMENTS`, whose stdout and stderr go to `said` and which counts its events there.

    `death`: kills itself at that event, counted from 1. `largest`: no file may grow beyond so many bytes.
    """
    handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1), os.dup2(handle, 2)
    counts = dict.fromkeys(EVENTS, 0)

    def event(name: str) -> bool:
        counts[name] += 1
        return death == (name, counts[name])

    _watch(event)
    if largest:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    code = main(arguments)
    sys.stdout.flush()
    said.with_suffix(".events").write_text(" ".join(str(counts[name]) for name in EVENTS))
    os._exit(code)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _watch(event: Any) -> None:
    import llm_experiments.tensors as tensors
    import llm_experiments.training as training
    from llm_experiments.reference_cache import ReferenceCache
    from llm_experiments.trainer import RewardTrainer

    save_file, replace, add = tensors.save_file, os.replace, ReferenceCache.add
    score, step = training.score_source, RewardTrainer._get_grad_norm

    def half(content: Any, path: Path, **options: Any) -> None:
        save_file(content, path, **options)
        if event("half"):
            os.truncate(path, os.path.getsize(path) // 2)
            _die()

    def before(name: str, function: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            if event(name):
                _die()
            return function(*args, **options)

        return call

    def half_a_line(self: Any, values: Any) -> None:
        before = self.path.stat().st_size if self.path.exists() else 0
        add(self, values)
        if event("cache"):
            os.truncate(self.path, before + (self.path.stat().st_size - before) // 2)
            _die()

    ReferenceCache.add = half_a_line
    tensors.save_file, os.replace = half, before("rename", replace)
    training.score_source, RewardTrainer._get_grad_norm = before("score", score), before("step", step)
