"""The engine beside torch.func on a GPU: the cell "gpu" of what bench_engine.py stores, "not measured" without CUDA.

    python benchmarks/bench_engine.py                 measures it with the rest
    python benchmarks/bench_engine_gpu.py             this cell alone, prints only
    python benchmarks/bench_engine_gpu.py --tiny      the same program at small sizes on any device, prints only

Seconds wait for the device to finish. Memory is the growth of what the allocator holds (null on a CPU). Matrix products
are at torch's default precision, without TF32. The two literal sides are not repeated here: they run on the processor.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import torch
from bench_engine import CHUNKS, LARGE, STANDARD, draw, ours, per_example_gradients
from measure import alone, seconds

from theory.dynamics import OutputLayer, Response, ResponsePair

SIZES = {
    "comparison": STANDARD,
    "peak": {**STANDARD, "vocabulary": 32_000},
    "large": LARGE,
    "matrix": 8192,
}
SMALL = {"evaluated": 2, "pairs": 3, "tokens": 4, "vocabulary": 64, "dim": 8}
TINY = {"comparison": SMALL, "peak": SMALL, "large": {**SMALL, "dtype": "float32"}, "matrix": 64}
DTYPES = ("float64", "float32")


def cell() -> dict[str, Any] | str:
    return alone(measure, SIZES, "cuda") if torch.cuda.is_available() else "not measured: no GPU"


def measure(sizes: dict[str, Any], device: str) -> dict[str, Any]:
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "comparison": {dtype: compare({**sizes["comparison"], "dtype": dtype}, device) for dtype in DTYPES},
        "peak_bytes_at_vocabulary_32000": peaks(sizes["peak"], device),
        "real_vocabulary": large(sizes["large"], sizes["matrix"], device),
    }


def compare(sizes: dict[str, Any], device: str) -> dict[str, Any]:
    """Seconds of both sides, and how far apart their answers are."""
    drawn = moved(draw(**sizes), device)
    truth, found = per_example_gradients(drawn, None), ours(drawn)
    chunks = {
        f"{chunk}, log-ratios {how}": timed(
            lambda c=chunk, h=how: per_example_gradients(drawn, c, log_ratios=h), device
        )
        for how in ("apart", "together")
        for chunk in CHUNKS
    }
    engine = timed(lambda: ours(drawn), device)
    return {
        "engine_seconds": engine,
        "plan": str(found.plan),
        "torch_func_seconds_by_chunk": chunks,
        "largest_error_over_largest_change": float((found.changes - truth).abs().max() / truth.abs().max()),
        "times_faster_than_torch_func_default": chunks["None, log-ratios apart"] / engine,
        "times_faster_than_torch_func_at_its_best": min(chunks.values()) / engine,
    }


def peaks(sizes: dict[str, Any], device: str) -> dict[str, int | None]:
    drawn = moved(draw(**sizes), device)
    return {
        "engine": peak(lambda: ours(drawn, 2**27), device),
        "torch.func, default": peak(lambda: per_example_gradients(drawn, None), device),
        "torch.func, chunk 1": peak(lambda: per_example_gradients(drawn, 1), device),
    }


def large(sizes: dict[str, Any], matrix: int, device: str) -> dict[str, Any]:
    """Eight by eight pairs of 256 tokens at the vocabulary of Gemma."""
    drawn = moved(draw(**sizes), device)
    a = torch.randn(matrix, matrix, device=device, dtype=getattr(torch, sizes["dtype"]))
    rate = 2 * matrix**3 / timed(lambda: a @ a, device)
    plan, time = ours(drawn, 2 * 2**30).plan, timed(lambda: ours(drawn, 2 * 2**30), device)
    return {
        **sizes,
        "seconds": time,
        "plan": str(plan),
        "bytes_beyond_inputs": peak(lambda: ours(drawn, 2 * 2**30), device),
        "matrix_rate": rate,
        "over_counted_operations_at_that_rate": time * rate / plan.flops,
    }


def moved(drawn: tuple, device: str) -> tuple:
    layer, evaluated, pairs, ratios = drawn

    def there(response: Response) -> Response:
        return Response(response.hidden.to(device), response.tokens.to(device))

    turned = [ResponsePair(there(pair.chosen), there(pair.rejected)) for pair in pairs]
    return OutputLayer(layer.weights.to(device)), [there(r) for r in evaluated], turned, ratios.to(device)


def timed(run: Callable[[], Any], device: str) -> float:
    """Seconds until the device has finished."""
    return seconds(lambda: (run(), torch.cuda.synchronize() if device == "cuda" else None))


def peak(run: Callable[[], Any], device: str) -> int | None:
    if device != "cuda":
        return None
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    return torch.cuda.max_memory_allocated() - before


if __name__ == "__main__":
    tiny = "--tiny" in sys.argv
    found = measure(TINY, "cuda" if torch.cuda.is_available() else "cpu") if tiny else cell()
    print(json.dumps(found, indent=1))
