"""What the stored runs of the stress suite say, decided: the expectations in `benchmarks/store_stress.py`, which were
written before the first run, and the guide's table against the page that it is taken from."""

import importlib
import re
from dataclasses import asdict
from html import unescape
from pathlib import Path

import pytest

from figures.redraw import STORED
from simulations.results import Row, read_json, read_rows

PLACE = STORED / "stress"
BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
GUIDE = Path(__file__).resolve().parent.parent / "llm_experiments" / "stress" / "README.md"
ALIKE = 0.05  # registered, as are the pairs of models below
CLUSTERS = 6


def rows(run: str) -> list[Row]:
    return read_rows(PLACE / f"{run}.jsonl")


def differences(run: str, first: str, second: str) -> list[Row]:
    """(Change of the first's accuracy) - (change of the second's) in every cluster, where the meaning is kept."""
    found = {
        row["cluster"]: row["difference"]
        for row in rows(run)
        if (row.get("model_a"), row.get("model_b")) == (first, second)
    }
    assert sorted(found) == list(range(CLUSTERS))
    return [found[cluster] for cluster in sorted(found)]


def verdicts(run: str, model: str) -> list[str]:
    found = {row["cluster"]: row["verdict"] for row in rows(run) if row.get("model") == model}
    assert sorted(found) == list(range(CLUSTERS))
    return [found[cluster] for cluster in sorted(found)]


def alike(difference: Row) -> bool:
    return difference["low"] > -ALIKE and difference["high"] < ALIKE


@pytest.mark.parametrize("run", ["rung1", "rung2", "rung2_published"])
@pytest.mark.parametrize("explicit", ["explicit", "explicit_again"])
def test_implicit_and_explicit_are_told_apart_in_every_cluster(run: str, explicit: str) -> None:
    assert all(found["low"] > 0 for found in differences(run, explicit, "implicit"))
    assert set(verdicts(run, "implicit")) == {"token-sensitive"}


@pytest.mark.parametrize("run", ["rung1", "rung2", "rung2_one_rate"])
def test_two_explicit_models_trained_alike_come_out_alike_and_robust(run: str) -> None:
    assert all(map(alike, differences(run, "explicit", "explicit_again")))
    assert {*verdicts(run, "explicit"), *verdicts(run, "explicit_again")} == {"robust"}


def test_on_rung_2_with_published_prefixes_two_explicit_models_differ_in_two_clusters_of_six() -> None:
    """A failed prediction: there a seed decides whether a model follows the prefix or the word."""
    found = differences("rung2_published", "explicit", "explicit_again")
    different = [one["value"] for one in found if not alike(one)]
    assert different == [pytest.approx(0.394, abs=1e-3), pytest.approx(0.033, abs=1e-3)]
    both = [*verdicts("rung2_published", "explicit"), *verdicts("rung2_published", "explicit_again")]
    assert {name: both.count(name) for name in set(both)} == {"robust": 10, "token-sensitive": 1, "inconclusive": 1}


def test_on_rung_2_at_one_rate_the_kinds_are_told_apart_in_five_clusters_of_six() -> None:
    """A failed prediction: at that rate implicit models do not rank their own training answers right."""
    for explicit in ("explicit", "explicit_again"):
        apart = [found["low"] > 0 for found in differences("rung2_one_rate", explicit, "implicit")]
        assert apart == [True, True, True, False, True, True]
    assert verdicts("rung2_one_rate", "implicit").count("token-sensitive") == 5


def test_the_rates_of_rung_2_are_the_pilots_by_the_rules_written_before() -> None:
    """Explicit: crossed, every training pair ranked right, least different at worst. Implicit: the lowest rate at which
    all models rank 0.99 of their training answers right."""
    worst: dict[float, float] = {}
    for row in read_rows(PLACE / "explicit_pilot.jsonl"):
        if row["crossed"] and min(row["fit"]) == 1:
            rate, (one, other) = row["learning_rate"], row["paraphrase"]
            worst[rate] = max(worst.get(rate, 0.0), abs(one - other))
    assert min(worst, key=worst.__getitem__) == 1e-3
    fitted: dict[float, float] = {}
    for row in read_rows(PLACE / "implicit_pilot.jsonl"):
        rate = row["learning_rate"]
        fitted[rate] = min(fitted.get(rate, 1.0), *row["training_answers"])
    assert min(rate for rate, least in fitted.items() if least >= 0.99) == 1e-2


@pytest.mark.data
def test_the_driver_would_make_the_language_model_that_was_stored(real_data: Path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    driver = importlib.import_module("store_stress")
    assert asdict(driver.LANGUAGE_MODEL) == read_json(PLACE / "real_provenance.json")["language_model"]
    assert driver.language_model_config(real_data)["settings"] == asdict(driver.LANGUAGE_MODEL)


def test_the_guide_shows_the_numbers_of_its_page() -> None:
    text, guide = (PLACE / "example.html").read_text(encoding="utf-8"), GUIDE.read_text(encoding="utf-8")
    shown = {}
    for line in re.findall(r"<tr data-model=.*?</tr>", text, re.DOTALL):
        tags = dict(re.findall(r'data-(\w+)="([^"]*)"', line.split(">")[0]))
        cells = {
            label: " ".join(unescape(re.sub(r"<[^>]+>", " ", cell)).split())
            for label, cell in re.findall(r'<td [^>]*data-label="([^"]+)"[^>]*>(.*?)</td>', line, re.DOTALL)
        }
        shown[tags["model"], tags["transformation"], tags["side"], cells["strength"]] = cells
    table = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", guide.split("| edit of the responses")[1], re.MULTILINE)
    lines = [line for line in table if line[1][0] in "−+0"]
    assert len(lines) == 4
    for label, *numbers in lines:
        name = (re.search("`(.+)`", label) or [None, label.replace(" ", "_")])[1]
        for model, number in zip(("explicit", "implicit"), numbers, strict=True):
            assert number == shown[model, name, "responses", "1"]["change of accuracy"]
    overlap = [shown[model, "synonyms", "responses", "1"]["overlap"] for model in ("explicit", "implicit")]
    assert "(rank correlation {}\nand {})".format(*overlap) in guide
    assert "Both models are token-sensitive" in text
