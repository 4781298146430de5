"""The stored comparison with TRL: its ratios follow from its rows, and the page quotes them."""

import importlib
import json
import re
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def stored():
    return json.loads((BENCHMARKS / "results" / "training.json").read_text(encoding="utf-8"))


def test_ratios_follow_from_rows(stored, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    assert importlib.import_module("bench_training").ratios(stored["rows"]) == stored["ratios"]


def test_where_the_reference_is_recomputed_ours_has_a_pass_of_it_too(stored):
    """By hand, in either precision."""
    rows = {(r["group"], r.get("column"), r["vocabulary"]): r for r in stored["rows"] if r.get("kind") == "implicit"}
    for ratio in stored["ratios"]:
        if ratio["group"] == "recomputed":
            mine = rows["implicit" if ratio["ours"] == "float32" else "bfloat16", None, ratio["vocabulary"]]
            theirs = rows["recomputed", ratio["column"], ratio["vocabulary"]]
            whole = mine["seconds"] + mine["seconds_reference"]
            assert ratio["times_faster"] == pytest.approx(theirs["seconds"] / whole)


@pytest.mark.integration
def test_the_engines_gpu_cell_is_filled_where_there_is_one_and_runs_anywhere_at_small_sizes(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    script = importlib.import_module("bench_engine_gpu")
    tiny = script.measure(script.TINY, "cpu")
    assert tiny["comparison"]["float64"]["largest_error_over_largest_change"] < 1e-10
    assert tiny["comparison"]["float32"]["largest_error_over_largest_change"] < 1e-4
    assert tiny["real_vocabulary"]["seconds"] > 0
    monkeypatch.setattr(script, "alone", lambda function, sizes, device: (function.__name__, sizes["large"], device))
    for there, wanted in ((True, ("measure", script.LARGE, "cuda")), (False, "not measured: no GPU")):
        monkeypatch.setattr(script.torch.cuda, "is_available", lambda there=there: there)
        assert script.cell() == wanted


def test_the_page_quotes_them(stored):
    page = " ".join((BENCHMARKS / "README.md").read_text(encoding="utf-8").split())
    found = {
        (r["group"], r["column"], r["ours"], r["vocabulary"]): r["times_faster"]
        for r in stored["ratios"]
        if r["kind"] == "implicit"
    }
    quoted = {
        ("implicit", "defaults", "bfloat16"): r"\*\*([\d.]+) times TRL's defaults at 32,000 and ([\d.]+) at 256,000",
        ("implicit", "defaults", "float32"): r"\(our float32: ([\d.]+) and ([\d.]+)\)",
        ("implicit", "float32", "float32"): r"\*\*([\d.]+) and ([\d.]+) times its float32",
        ("implicit", "head", "float32"): r"([\d.]+) and ([\d.]+) times its response-only head\*\*",
        ("recomputed", "head", "float32"): r"recomputed ([\d.]+) and ([\d.]+) times that column",
        ("huge_pages", "float32", "float32"): r"nothing: ([\d.]+) times its float32 .*? at 32,000; ([\d.]+) and",
        ("huge_pages", "head", "float32"): r"\*\*([\d.]+)\*\* times its .*? at 32,000; [\d.]+ and ([\d.]+)",
    }
    for name, pattern in quoted.items():
        numbers = re.search(pattern, page)
        assert numbers, name
        for number, vocabulary in zip(numbers.groups(), (32_000, 256_000), strict=True):
            assert float(number) == pytest.approx(found[*name, vocabulary], abs=0.05), name
