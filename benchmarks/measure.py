"""How the benchmarks measure: seconds, memory beyond the inputs, the machine's own rate, and a file with all of it.

Every measurement runs in its own process, so that one's memory and caches are not another's. Times are the best of a
few runs: on a shared machine the minimum is the least disturbed. Memory is the growth of the resident set's high-water
mark over what was resident once the inputs were there (Linux; elsewhere it is null, not measured).
"""

import json
import multiprocessing
import os
import platform
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from simulations.results import provenance

RESULTS = Path(__file__).parent / "results"


def seconds(run: Callable[[], Any], *, repeats: int = 3, warm_up: bool = True) -> float:
    """Wall-clock seconds of the fastest of `repeats` runs, after one that does not count."""
    if warm_up:
        run()
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def processor_seconds(run: Callable[[], Any]) -> float:
    """Processor seconds of one run, all threads of this process together: what a busy machine disturbs least."""
    start = time.process_time()
    run()
    return time.process_time() - start


def peak_bytes(run: Callable[[], Any]) -> int | None:
    """Largest growth of resident memory while `run` runs once, over what is resident before it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
        before = process_memory("VmRSS")
        run()
        return process_memory("VmHWM") - before
    except OSError:
        return None


def matrix_rate(dtype: str) -> float:
    """Floating-point operations per second of a 2048 x 2048 matrix product, measured now."""
    import torch

    a = torch.randn(2048, 2048, dtype=getattr(torch, dtype))
    return 2 * 2048**3 / seconds(lambda: a @ a, repeats=5)


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """function(*arguments) in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def save(name: str, compared: str, rows: dict[str, Any], packages: tuple[str, ...]) -> Path:
    """benchmarks/results/<name>.json, and the rows on stdout."""
    document = {
        "compared": compared,
        "date": date.today().isoformat(),
        "commit": provenance()["commit"],
        "hardware": f"{os.cpu_count()}-core {platform.machine().replace('_', '-')} CPU",
        "load_at_the_end": round(os.getloadavg()[0], 1),
        "versions": {"python": platform.python_version(), **{package: _version(package) for package in packages}},
        **rows,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document, indent=1))
    return path


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def process_memory(field: str) -> int:
    """One of the memory figures that the system keeps of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return 1024 * int(line.split()[1])
    raise OSError(f"no {field} in /proc/self/status")
