"""The whole story in one folder: theory's claims in simulations (rung 0), in a language of synonyms (rung 1) and, where
the real question files are given, on Persona (rung 2).

    FOLDER/rung0, rung1, rung2    rows and cells; a cell that is finished is not computed again
    FOLDER/summary.json           claims, provenance, seconds of computing per rung, notes

Pictures and the page are drawn from these files by others.
"""

import time
from dataclasses import replace
from pathlib import Path

from llm_experiments.studies import compute_study
from llm_experiments.tasks.persona import read_personas
from simulations.results import Row, finish_run, open_run, provenance, read_json, write_json


def run_story(folder: Path, *, persona: Path | None = None, quick: bool = False, progress: bool = True) -> Row:
    """Compute what is not there yet and return the summary, as stored.

    Args:
        persona: folder of the 12 Persona question files (*.jsonl or *.jsonl.gz).
        quick: everything smaller; only theorems are decided.

    Raises:
        UserError: `folder` holds another run, or the question files are not as expected (said before anything runs).
    """
    from simulations.experiments import run_rung0

    if persona is not None:
        read_personas(persona)
    open_run(folder, {"command": "reproduce", "quick": quick})
    seconds: dict[str, float] = {}
    notes: list[str] = []
    start = time.perf_counter()
    claims = run_rung0(folder, quick=quick, progress=progress)
    seconds["rung0"] = round(time.perf_counter() - start, 3)
    for rung, study, data in (("rung1", "language", None), ("rung2", "persona", persona)):
        if study == "persona" and persona is None:
            continue
        found, said, seconds[rung] = compute_study(study, folder / rung, data, quick=quick, progress=progress)
        claims += found
        notes += said
    if quick:
        claims = [replace(claim, type="observation") if claim.type == "registered" else claim for claim in claims]
        notes.append("--quick: smaller runs, and only theorems are decided.")
    summary = {
        "claims": [claim.to_row() for claim in claims],
        "provenance": provenance(quick=quick),
        "seconds": seconds,
        "notes": notes,
    }
    write_json(folder / "summary.json", summary)
    finish_run(folder)
    return read_json(folder / "summary.json")
