"""A study of six cells that take no time, through the front door: `tiny_study.py FOLDER ARGUMENTS...`.

What happens is a line each in FOLDER/log: who (WORKER) starts and ends which cell, who reads off the claims. The worker
that HANGS names a cell for stays in that cell for ever.
"""

import os
import sys
import time
from pathlib import Path

import rewardgap
from llm_experiments.cells import Plan
from llm_experiments.studies import STUDIES, Study
from simulations.results import Claim, write_rows

BASES = {"base": {"number": 0}}
CELLS = {f"cells/{number}": {"number": number} for number in range(1, 6)}
FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()


def plan(data, *, quick):
    return Plan(BASES, CELLS)


def say(event: str, folder: Path) -> None:
    with open(FOLDER / "log", "a") as log:
        log.write(f"{event} {folder.name} {os.environ.get('WORKER')}\n")


def make_base(folder, config, *, data):
    say("starts", folder)
    if os.environ.get("HANGS") == folder.name:
        time.sleep(600)
    time.sleep(0.05)
    write_rows(folder / "rows.jsonl", [{"square": config["number"] ** 2}])
    say("ends", folder)


def compute_cell(folder, config, *, data):
    assert (folder.parents[1] / "models" / "base" / "done.json").exists()
    make_base(folder, config, data=data)


def claims(folder, plan):
    say("claims", folder)
    total = sum(row["square"] for row in plan.gather(folder))
    return [Claim("total", 0, "observation", "sum of squares", total, total, total, 5, "cells", 1)], []


if __name__ == "__main__":
    STUDIES["tiny"] = Study("six cells", "none", "tests.tiny_study")
    sys.exit(rewardgap.main(sys.argv[2:]))
