"""The engine (theory/overlap.py) against per-example gradients and against the formula read literally.

    python benchmarks/bench_engine.py             everything but the real vocabulary, a few minutes
    python benchmarks/bench_engine.py --large     and 8 x 8 pairs of 256 tokens at V 256,000, D 2048

With CUDA the same on the GPU as well (bench_engine_gpu.py).

All sides compute the same matrix: the change of the implicit reward of every evaluated response after a step on every
training pair. The per-example side is torch.func: vmap(grad(log-probability)) with respect to the output layer, then
inner products, with its default chunk and with the chunk that is fastest for it; and once more with grad_and_value,
which spares it the second pass for the log-ratios. Seconds need a quiet machine, processor seconds on one thread less.
Two literal sides, timed on a part and scaled: the formula with each of its probabilities computed where it stands, and
the readable reference of theory/dynamics.py, which computes them once per pair of responses.
"""

import json
import sys

import numpy as np
import torch
from measure import RESULTS, alone, matrix_rate, peak_bytes, processor_seconds, save, seconds
from torch.func import grad, grad_and_value, vmap
from torch.profiler import ProfilerActivity, profile

from theory.dynamics import OutputLayer, Response, ResponsePair, overlap_sum, token_overlap_coefficient
from theory.overlap import implicit_changes

STANDARD = {"evaluated": 16, "pairs": 16, "tokens": 64, "vocabulary": 8192, "dim": 128}
LARGE = {"evaluated": 8, "pairs": 8, "tokens": 256, "vocabulary": 256_000, "dim": 2048, "dtype": "float32"}
SETTINGS = {"beta": 0.1, "step_size": 1e-3}
CHUNKS = (None, 1, 2, 4, 8)  # examples at a time for torch.func; None is its default, all


def draw(evaluated: int, pairs: int, tokens: int, vocabulary: int, dim: int, dtype: str = "float64"):
    generator = torch.Generator().manual_seed(0)
    kind = getattr(torch, dtype)

    def response() -> Response:
        hidden = torch.randn(tokens, dim, generator=generator, dtype=kind)
        return Response(hidden, torch.randint(vocabulary, (tokens,), generator=generator))

    weights = torch.randn(vocabulary, dim, generator=generator, dtype=kind) / dim**0.5
    responses = [response() for _ in range(evaluated)], [ResponsePair(response(), response()) for _ in range(pairs)]
    return OutputLayer(weights), *responses, torch.zeros(pairs, dtype=torch.float64)


def as_numpy(drawn):
    layer, evaluated, pairs, ratios = drawn

    def turn(response: Response) -> Response:
        return Response(response.hidden.numpy(), response.tokens.numpy())

    turned = [ResponsePair(turn(pair.chosen), turn(pair.rejected)) for pair in pairs]
    return OutputLayer(layer.weights.numpy()), [turn(response) for response in evaluated], turned, ratios.numpy()


def ours(drawn, memory: int = 2**30):
    layer, evaluated, pairs, ratios = drawn
    return implicit_changes(layer, evaluated, pairs, reference_log_ratios=ratios, memory=memory, **SETTINGS)


def per_example_gradients(drawn, chunk: int | None, *, log_ratios: str = "apart") -> torch.Tensor:
    """torch.func as its documentation suggests: one gradient per response and per pair, then inner products.

    `log_ratios`: computed "apart" from the gradients, or "together" with them by grad_and_value.
    """
    layer, evaluated, pairs, ratios = drawn

    def log_probability(weights, hidden, tokens):
        return torch.log_softmax(hidden @ weights.T, -1).gather(1, tokens[:, None]).sum()

    def log_ratio(weights, chosen, chosen_tokens, rejected, rejected_tokens):
        return log_probability(weights, chosen, chosen_tokens) - log_probability(weights, rejected, rejected_tokens)

    def stacked(responses):
        return torch.stack([r.hidden for r in responses]), torch.stack([r.tokens for r in responses])

    one = stacked(evaluated)
    two = (*stacked([pair.chosen for pair in pairs]), *stacked([pair.rejected for pair in pairs]))
    read = vmap(grad(log_probability), (None, 0, 0), chunk_size=chunk)(layer.weights, *one)
    axes = (None, 0, 0, 0, 0)
    if log_ratios == "together":
        trained, margins = vmap(grad_and_value(log_ratio), axes, chunk_size=chunk)(layer.weights, *two)
    else:
        trained = vmap(grad(log_ratio), axes, chunk_size=chunk)(layer.weights, *two)
        margins = vmap(log_ratio, axes, chunk_size=chunk)(layer.weights, *two)
    margins = margins.double() - ratios
    products = read.flatten(1) @ trained.flatten(1).T
    return SETTINGS["step_size"] * SETTINGS["beta"] ** 2 * torch.sigmoid(-SETTINGS["beta"] * margins) * products


def literal_sum(layer: OutputLayer, evaluated: Response, trained: Response, positions: int) -> float:
    """sum_kl rho_kl <h_k, h_l> over the first positions of either response, probabilities computed where they stand."""
    total = 0.0
    for k in range(positions):
        for j in range(positions):
            p, q = layer.probabilities(evaluated.hidden[k]), layer.probabilities(trained.hidden[j])
            rho = token_overlap_coefficient(p, int(evaluated.tokens[k]), q, int(trained.tokens[j]))
            total += rho * float(evaluated.hidden[k] @ trained.hidden[j])
    return total


def time_ours(array: str, **sizes) -> dict:
    drawn = draw(**sizes)
    drawn = as_numpy(drawn) if array == "numpy" else drawn
    plan = ours(drawn).plan
    return {"seconds": seconds(lambda: ours(drawn)), "flops": plan.flops, "order": plan.order, "chunk": plan.chunk}


def compare(sizes: dict) -> dict:
    """Times of all sides, and how far apart their answers are."""
    drawn = draw(**sizes)
    literal_layer, literal_evaluated, literal_pairs, _ = as_numpy(drawn)
    truth = per_example_gradients(drawn, None)
    chunks = {
        f"{chunk}, log-ratios {how}": seconds(lambda c=chunk, h=how: per_example_gradients(drawn, c, log_ratios=h))
        for how in ("apart", "together")
        for chunk in CHUNKS
    }
    couple, couples = (literal_evaluated[0], literal_pairs[0].chosen), 2 * sizes["evaluated"] * sizes["pairs"]
    readable = couples * seconds(lambda: overlap_sum(literal_layer, *couple), repeats=1, warm_up=False)
    part = 16  # positions of 64, of one couple of responses
    fraction = (part / sizes["tokens"]) ** 2 / couples
    literal = seconds(lambda: literal_sum(literal_layer, *couple, part), repeats=2) / fraction
    engine = {array: seconds(lambda a=side: ours(a), repeats=5) for array, side in
              (("torch", drawn), ("numpy", as_numpy(drawn)))}  # fmt: skip
    fastest = min(engine.values())
    default = "None, log-ratios apart"
    return {
        "engine_seconds": engine,
        "counted_operations_at_the_matrix_rate_seconds": ours(drawn).plan.flops / matrix_rate("float64"),
        "plan": str(ours(drawn).plan),
        "torch_func_seconds_by_chunk": chunks,
        "literal_seconds_scaled": literal,
        "literal_fraction_timed": fraction,
        "readable_reference_seconds_scaled": readable,
        "readable_reference_fraction_timed": 1 / couples,
        "largest_error_over_largest_change": float((ours(drawn).changes - truth).abs().max() / truth.abs().max()),
        "times_faster_than_torch_func_default": chunks[default] / fastest,
        "times_faster_than_torch_func_at_its_best": min(chunks.values()) / fastest,
        "times_faster_than_literal": literal / fastest,
        "times_faster_than_readable_reference": readable / fastest,
    }


def on_one_thread(sizes: dict) -> dict:
    """Processor seconds of both sides on one thread, the least of three runs, and what ours are spent on."""
    torch.set_num_threads(1)
    drawn = draw(**sizes)

    def least(run) -> float:
        run()
        return min(processor_seconds(run) for _ in range(3))

    engine = least(lambda: ours(drawn))
    theirs = {
        f"{chunk}, log-ratios {how}": least(lambda c=chunk, h=how: per_example_gradients(drawn, c, log_ratios=h))
        for how in ("apart", "together")
        for chunk in CHUNKS[:4]
    }
    a = torch.randn(2048, 2048, dtype=torch.float64)
    product = least(lambda: a @ a)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        ours(drawn)
    spent = {event.key.removeprefix("aten::"): event.self_cpu_time_total for event in profiled.key_averages()}
    whole = sum(spent.values())
    shares = {"logits": "mm", "factors and inner products": "bmm", "exponentials": "exp2", "sums": "sum"}
    named = {stage: round(spent[operation] / whole, 3) for stage, operation in shares.items()}
    return {
        "engine": engine,
        "torch_func_by_chunk": theirs,
        "counted_operations_at_the_matrix_rate": ours(drawn).plan.flops * product / (2 * 2048**3),
        "times_less_than_torch_func_default": theirs["None, log-ratios apart"] / engine,
        "times_less_than_torch_func_at_its_best": min(theirs.values()) / engine,
        "shares_of_the_engine": named | {"everything else": round(1 - sum(named.values()), 3)},
    }


def peak(side: str, sizes: dict, memory: int) -> int | None:
    drawn = draw(**sizes)
    small = draw(2, 2, 4, 64, 8)
    if side == "engine":
        ours(small)
        return peak_bytes(lambda: ours(drawn, memory))
    chunk = None if side == "torch.func, default" else 1
    per_example_gradients(small, chunk)
    return peak_bytes(lambda: per_example_gradients(drawn, chunk))


def growth(axis: str, values: list[int], base: dict) -> list[dict]:
    """Time along one axis, and over the linear extrapolation from the value before."""
    rows = []
    for value in values:
        row = {axis: value, **alone(_timed, {**base, axis: value})}
        if rows:
            expected = rows[-1]["seconds"] * value / rows[-1][axis]
            row["over_linear_extrapolation"] = row["seconds"] / expected
        rows.append(row)
    return rows


def _timed(sizes: dict) -> dict:
    return time_ours("torch", **sizes)


def wide(dim: int, tokens: int, dtype: str) -> dict:
    """Time over (counted operations / the rate of a matrix product in the same run), at large widths."""
    sizes = {**STANDARD, "dim": dim, "tokens": tokens, "dtype": dtype}
    row = time_ours("torch", **sizes)
    rate = matrix_rate(dtype)
    return {"dim": dim, "tokens": tokens, "dtype": dtype, **row, "matrix_rate": rate,
            "over_counted_operations_at_that_rate": row["seconds"] * rate / row["flops"]}  # fmt: skip


def large() -> dict:
    """Eight by eight pairs of 256 tokens at the vocabulary of Gemma."""
    drawn = draw(**LARGE)
    rate = matrix_rate("float32")
    result = {}

    def run() -> None:
        result["seconds"] = seconds(lambda: result.update(plan=ours(drawn, 2 * 2**30).plan), repeats=1, warm_up=False)

    bytes_beyond_inputs = peak_bytes(run)
    plan = result.pop("plan")
    return {**LARGE, **result, "plan": str(plan), "bytes_beyond_inputs": bytes_beyond_inputs, "matrix_rate": rate,
            "over_counted_operations_at_that_rate": result["seconds"] * rate / plan.flops}  # fmt: skip


def stored(part: str) -> dict | str:
    """What an earlier run measured, with the day and the commit of it; a run without --large must not lose it."""
    place = RESULTS / "engine.json"
    document = json.loads(place.read_text()) if place.exists() else {}
    found = document.get(part)
    if not isinstance(found, dict):
        return "not measured: run with --large"
    return {"date": document["date"], "commit": document.get("commit")} | found


def main() -> None:
    rows = {"standard": STANDARD, "comparison": alone(compare, STANDARD)}
    rows["processor_seconds_on_one_thread"] = alone(on_one_thread, STANDARD)
    wider = {**STANDARD, "vocabulary": 32_000}
    sides = ("engine", "torch.func, default", "torch.func, chunk 1")
    rows["peak_bytes_at_vocabulary_32000"] = {side: alone(peak, side, wider, 2**27) for side in sides}
    rows["growth_in_tokens"] = growth("tokens", [16, 32, 64, 128, 256], STANDARD)
    rows["growth_in_vocabulary"] = growth("vocabulary", [2048, 4096, 8192, 16384, 32768], STANDARD)
    rows["growth_in_dim"] = growth("dim", [64, 128, 256, 512], STANDARD)
    rows["growth_in_pairs"] = growth("pairs", [4, 8, 16, 32, 64], STANDARD)
    cases = ((1024, 64, "float32"), (2048, 64, "float32"), (1024, 64, "float64"), (2048, 16, "float32"))
    rows["at_large_width"] = [alone(wide, *case) for case in cases]
    rows["real_vocabulary"] = alone(large) if "--large" in sys.argv else stored("real_vocabulary")
    from bench_engine_gpu import cell  # it needs this file

    rows["gpu"] = cell()
    save("engine", __doc__.strip().splitlines()[0], rows, ("numpy", "torch"))


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    main()
