"""The stored studies: their claims follow from their rows under today's code, and no threshold has moved since."""

import importlib
from pathlib import Path

import pytest

from figures.redraw import STORED
from simulations.results import Claim, read_json, read_rows

FOLDER = STORED / "study"
MODULES = {"lin2024": "lin", "ablations": "ablation"}


def recomputed(name: str, folder: Path) -> list[Claim]:
    study = importlib.import_module(f"llm_experiments.tasks.{MODULES.get(name, name)}_study")
    rows = read_rows(folder / "rows.jsonl")
    if name == "repair":
        return study.repair_claims(rows)[0]
    if name == "lin2024":
        return study.lin_claims(rows, read_rows(folder / "grid.jsonl"))
    if name == "iterative":
        return study.iterative_claims(rows)[0]
    if name == "shifts":
        return study.shift_claims(rows)[0]
    if name == "prediction":
        return study.prediction_claims(rows)[0]
    if name == "scale":
        return study.scale_claims(rows)[0]
    if name == "ablations":
        return study.ablation_claims(rows)[0]
    if name == "hamiltonian":
        return study.hamiltonian_claims(rows, read_rows(folder / "generation.jsonl"))
    prompts = read_rows(folder / "prompts.jsonl")
    return study.real_claims(name, rows, prompts, *([study.PUBLISHED] if name == "ultrafeedback" else []))


SLOW = ("prediction",)  # seconds: intervals drawn again
STUDIES = [
    pytest.param(path.name, marks=[pytest.mark.integration] * (path.name in SLOW))
    for path in sorted(FOLDER.iterdir())
    if path.is_dir()
]


@pytest.mark.parametrize("name", STUDIES)
def test_stored_claims_follow_from_stored_rows(name):
    stored = {row["id"]: row for row in read_json(FOLDER / name / "summary.json")["claims"]}
    found = {claim.id: claim.to_row() for claim in recomputed(name, FOLDER / name)}
    assert found.keys() == stored.keys()
    for id, row in found.items():
        for key in ("measured", "low", "high"):
            assert row[key] == pytest.approx(stored[id][key], abs=1e-12), (id, key)
        for key in ("type", "holds", "n", "unit"):
            assert row[key] == stored[id][key], (id, key)
        assert Claim.from_row(stored[id]).to_row()["expected"] == row["expected"], id


def test_every_stored_study_says_where_it_was_computed():
    for path in FOLDER.glob("*/summary.json"):
        provenance = read_json(path)["provenance"]
        assert provenance["commit"], path
        assert "+changes" not in provenance["commit"], path
