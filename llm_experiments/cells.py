"""A grid of runs as independent folders: finished ones are skipped, the others shared out among processes.

Every cell is computed by one process with one thread, so its numbers do not depend on how many work at a time, on the
order, or on whether an earlier attempt was killed. The same command may run several times at once, on one machine or
on several that share the folder: each process takes cells that are free (`locks.py`), and waits for those of others.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import torch

from llm_experiments.locks import POLL, locked
from simulations.descent import one_thread
from simulations.progress import progress_bar
from simulations.results import Row, UserError, finish_run, open_run, read_json, read_rows

BASE_WEIGHT = 4  # a language model takes about as long as this many cells; for the bar's estimate

Work = Callable[[Path, Mapping[str, Any]], None]
"""Computes one cell into its folder; a function at the top of a module, so that another process can import it."""


@dataclass(frozen=True)
class Plan:
    """What a study computes, as folder name -> config: language models first, then what is trained from them."""

    bases: dict[str, Row]
    cells: dict[str, Row]

    def gather(self, folder: Path) -> list[Row]:
        """The rows of all cells, in the order of the plan."""
        return [row for name in self.cells for row in read_rows(folder / name / "rows.jsonl")]


def run_cells(
    work: Work,
    cells: Mapping[Path, Mapping[str, Any]],
    *,
    workers: int | None = None,
    tick: Callable[[Path], object] = lambda folder: None,
) -> None:
    """Compute every cell, folder -> config, that is not finished yet. `tick` hears of each one when it is done.

    Cells that another process computes now are waited for; should it die, they are computed here.

    Args:
        workers: processes; as many as there are cores by default, and 1 computes here, without starting any.

    Raises:
        UserError: a folder holds a cell of another config, or a process was killed.
    """
    waiting = {}
    for folder, config in cells.items():
        if (folder / "config.json").exists() and open_run(folder, config):
            tick(folder)
        else:
            waiting[folder] = config
    workers, said = min(workers or cores(), len(waiting)), False
    while True:
        done = _compute_free(work, waiting, workers, tick)
        waiting = {folder: config for folder, config in waiting.items() if folder not in done}
        if not waiting:
            return
        if not said:
            print(f"{len(waiting)} cells are being computed by other processes; waiting for them", file=sys.stderr)
            said = True
        while not any(map(_is_free, waiting)):  # a round starts new processes: not before there is work
            time.sleep(POLL)


def _compute_free(
    work: Work, cells: Mapping[Path, Mapping[str, Any]], workers: int, tick: Callable[[Path], object]
) -> set[Path]:
    """One round: the cells that are done after it; the others are being computed by other processes."""
    done = set()

    def hear(folder: Path, finished: bool) -> None:
        if finished:
            done.add(folder)
            tick(folder)

    if workers <= 1:
        with one_thread():
            for folder, config in cells.items():
                hear(folder, _compute(work, folder, config))
        return done
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker)
    try:
        futures = {pool.submit(_compute, work, folder, config): folder for folder, config in cells.items()}
        for future in as_completed(futures):
            hear(futures[future], future.result())
    except BrokenProcessPool:
        raise UserError("a worker process was killed (out of memory?); run the command again to continue") from None
    finally:
        pool.shutdown(cancel_futures=True)
    return done


def compute_plan(
    name: str,
    folder: Path,
    plan: Plan,
    make_base: Work,
    compute_cell: Work,
    *,
    workers: int | None = None,
    progress: bool = True,
) -> float:
    """Language models first, then cells, under one bar; seconds of computing, all processes together."""
    bases = {folder / "models" / key: config for key, config in plan.bases.items()}
    cells = {folder / key: config for key, config in plan.cells.items()}
    total = BASE_WEIGHT * len(bases) + len(cells)
    with progress_bar(total=total, desc=name, unit="cell", show=progress) as bar:
        # a few small cells are not worth the seconds that new processes take to import torch
        workers = workers or (1 if len(cells) < 4 else None)
        run_cells(make_base, bases, workers=workers, tick=lambda place: bar.update(BASE_WEIGHT))
        run_cells(compute_cell, cells, workers=workers, tick=lambda place: bar.update(1))
    return seconds_of([*bases, *cells])


def seconds_of(cells: Sequence[Path]) -> float:
    """What the cells took to compute, all processes together."""
    return sum(read_json(folder / "done.json")["seconds"] for folder in cells)


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _compute(work: Work, folder: Path, config: Mapping[str, Any]) -> bool:
    """Is the cell done? False where another process is at it."""
    with locked(folder) as mine:
        if mine and not open_run(folder, config):
            start = time.perf_counter()
            work(folder, config)
            finish_run(folder, seconds=round(time.perf_counter() - start, 3))
        return mine


def _is_free(folder: Path) -> bool:
    with locked(folder) as mine:
        return mine


def _start_worker() -> None:
    """One thread, and an end when the parent is killed: a pool's process would otherwise wait for work for ever."""
    torch.set_num_threads(1)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent_process().join()
    os._exit(1)
