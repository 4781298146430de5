"""How the learning rates of rungs 1 and 2 were chosen: by the fit of training pairs, and by nothing else.

    python -m llm_experiments.tasks.pilot FOLDER [PERSONA_DIR]

Every rate of a grid trains both kinds on the training pairs of a few clusters that no claim uses (a language model of
its own, pretraining seed 100, training seeds from 100 on). Both kinds then get one rate: of those at which both rank
every training pair right, the one with the lowest loss. Where only the head is trained not all pairs can be fitted,
and each kind gets the rate with its lowest loss. No held-out pair is looked at. What came out is copied into rung 1's
LEARNING_RATES; a constant rate had been tried before, and left one cluster in eight unfitted. Rung 2 takes rung 1's
rate, one of several at which every pair is fitted. The table is stored in figures/data/pilot.jsonl.
"""

import sys
from functools import partial
from pathlib import Path

import numpy as np

from llm_experiments.cells import run_cells
from llm_experiments.tasks import language_study, persona_study
from simulations.results import Row, read_rows

SEED = 100
CLUSTERS = {"language": 6, "persona": 3}
GRIDS = {"all": (3e-4, 1e-3, 3e-3, 1e-2), "head": (3e-3, 1e-2, 3e-2, 1e-1, 3e-1)}


def language_grid() -> tuple[dict[str, Row], dict[str, Row]]:
    """Language model and cells, by folder name: every rate on the statement label, all parameters and head only."""
    full = language_study.plan()
    base = full.bases["mistral-untied-independent-0"]
    cells = {}
    for trained, condition in (("all", "registered"), ("head", "head-only")):
        for rate in GRIDS[trained]:
            for number in range(CLUSTERS["language"]):
                cell = full.cells[f"{condition}/statement-{number:02d}"]
                training = cell["training"] | {"seed": SEED + number}
                rates = dict.fromkeys(cell["learning_rates"], rate)
                changes = {"seed": SEED, "cluster": SEED + number, "base": "pilot", "training": training}
                cells[f"{trained}/{rate:g}-{number}"] = cell | changes | {"learning_rates": rates}
    return {"pilot": base | {"settings": base["settings"] | {"seed": SEED}}}, cells


def persona_grid(persona: Path) -> tuple[dict[str, Row], dict[str, Row]]:
    full = persona_study.plan(persona)
    base, cell = full.bases["mistral-all_words"], full.cells["mistral/0"]
    cells = {}
    for rate in GRIDS["all"]:
        for number in range(CLUSTERS["persona"]):
            training = cell["training"] | {"seed": SEED + number}
            rates = dict.fromkeys(cell["learning_rates"], rate)
            changes = {"seed": SEED + number, "base": "pilot", "training": training, "learning_rates": rates}
            cells[f"all/{rate:g}-{number}"] = cell | changes
    return {"pilot": base | {"settings": base["settings"] | {"seed": SEED}}}, cells


def pilot(folder: Path, persona: Path | None = None) -> list[Row]:
    """One row per study, what is trained, kind and rate: training loss (nats, mean) and accuracy (least)."""
    studies = {"language": (language_study.make_base, language_study.compute_cell, *language_grid())}
    if persona is not None:
        works = (partial(work, data=persona) for work in (persona_study.make_base, persona_study.compute_cell))
        studies["persona"] = (*works, *persona_grid(persona))
    table = []
    for name, (make_base, compute_cell, bases, cells) in studies.items():
        place = folder / name
        run_cells(make_base, {place / "models" / key: config for key, config in bases.items()}, workers=1)
        run_cells(compute_cell, {place / key: config for key, config in cells.items()})
        groups: dict[tuple[str, str, str], list[Row]] = {}
        for key in cells:
            trained, rate = key.rsplit("-", 1)[0].split("/")
            for row in read_rows(place / key / "rows.jsonl"):
                if row["split"] == "train":
                    groups.setdefault((trained, row["kind"], rate), []).append(row)
        for (trained, kind, rate), rows in groups.items():
            loss, accuracy = np.mean([row["loss"] for row in rows]), min(row["accuracy"] for row in rows)
            table.append(
                {"study": name, "trained": trained, "kind": kind, "rate": float(rate), "loss": loss, "fit": accuracy}
            )
    return table


if __name__ == "__main__":
    for found in pilot(Path(sys.argv[1]), *map(Path, sys.argv[2:3])):
        print("{study:9} {trained:5} {kind:9} {rate:<7g} loss {loss:.4f}  least accuracy {fit:.3f}".format(**found))
