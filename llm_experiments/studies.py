"""Studies: a table or figure of a paper as a grid of independent runs, and the claims that are read off its rows.

    rewardgap study persona --scale small --output runs/study/persona

A study is a module of `llm_experiments.tasks` with four functions:

    plan(data, quick=...)                    language models and cells, folder name -> config
    make_base(folder, config, data=...)      one language model
    compute_cell(folder, config, data=...)   one cell, down to its rows.jsonl
    claims(folder, plan)                     claims and notes, from what the cells have stored

A cell that is finished is not computed again, so a study that was killed goes on where it stopped. The same command
any number of times at once shares the cells out (`cells.py`); the claims are written once, by whoever is done first.
"""

from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from llm_experiments.cells import Plan, compute_plan
from llm_experiments.locks import locked
from simulations.results import (
    Claim,
    Row,
    UserError,
    finish_run,
    open_run,
    provenance,
    read_json,
    write_json,
    write_rows,
)


@dataclass(frozen=True)
class Study:
    """`module` computes it; `needs` is the folder of the data files that it reads, if any."""

    summary: str
    source: str
    module: str
    needs: str = ""


STUDIES = {
    "language": Study(
        "the synonym language: words change, meaning does not (rung 1 of `reproduce`)",
        "after Razin et al. 2025, section 5.1; no published numbers",
        "llm_experiments.tasks.language_study",
    ),
    "persona": Study(
        "controlled token shift on the Persona questions, with the controls nobody ran (rung 2 of `reproduce`)",
        "Razin et al. 2025, section 5.1",
        "llm_experiments.tasks.persona_study",
        needs="persona",
    ),
    "hamiltonian": Study(
        "verifying Hamiltonian cycles without generating them",
        "Razin et al. 2025, section 3.2",
        "llm_experiments.tasks.hamiltonian_study",
    ),
    "ablations": Study(
        "what about the training carries the Persona result: pooling, reference, frozen backbone, tying, terminator",
        "Razin et al. 2025, ablations of sections 4 and 5; its figures are not known",
        "llm_experiments.tasks.ablation_study",
        needs="persona",
    ),
    "repair": Study(
        "the synonym language again: do augmentation or a consistency regulariser stop a model from reading tokens?",
        "ours; no published numbers",
        "llm_experiments.tasks.repair_study",
    ),
    "iterative": Study(
        "the graded synonym language: which reward model to optimise against, by best-of-n and iterative DPO",
        "after Lin et al. 2024; its alignment figures are not known",
        "llm_experiments.tasks.iterative_study",
    ),
    "shifts": Study(
        "prompt shift x response shift on the synonym language: do the gaps between the kinds add or compound?",
        "an open question of Lin et al. 2024; no published numbers",
        "llm_experiments.tasks.shifts_study",
    ),
    "scale": Study(
        "the gap between the kinds against width, depth, vocabulary, pretraining, training pairs and beta (rung 1)",
        "an open question of Lin et al. 2024; no published numbers",
        "llm_experiments.tasks.scale_study",
    ),
    "prediction": Study(
        "can the untrained model and the pairs say which shifted pairs an implicit model will rank right? (rung 1)",
        "ours; no published numbers",
        "llm_experiments.tasks.prediction_study",
    ),
    "ultrafeedback": Study(
        "real preferences, their GPT-4.1 rewrites, and other domains, with length controls",
        "Razin et al. 2025, section 5.2",
        "llm_experiments.tasks.ultrafeedback_study",
        needs=".",
    ),
    "lin2024": Study(
        "six training sets x six evaluation sets of real preferences: who keeps its accuracy under which shift",
        "after Lin et al. 2024, with six other sets; its five settings are not known",
        "llm_experiments.tasks.lin_study",
        needs=".",
    ),
    "rewardmath": Study(
        "mathematics, with the published split and one that does not leak",
        "Razin et al. 2025, section 5.2",
        "llm_experiments.tasks.rewardmath_study",
        needs=".",
    ),
}


def compute_study(
    name: str,
    folder: Path,
    data: Path | None = None,
    *,
    quick: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> tuple[list[Claim], list[str], float]:
    """Claims, notes and seconds of computing; whatever is not there yet is computed into `folder`.

    Args:
        data: the folder that the study `needs`.
        workers: processes; as many as there are cores unless given.
    """
    plan, seconds = _compute(name, folder, data, quick=quick, workers=workers, progress=progress)
    return *_claims(name, folder, plan), seconds


def _compute(name: str, folder: Path, data: Path | None, *, quick: bool, **options: Any) -> tuple[Plan, float]:
    module = import_module(STUDIES[name].module)
    plan = module.plan(data, quick=quick)
    works = (partial(work, data=data) for work in (module.make_base, module.compute_cell))
    return plan, compute_plan(name, folder, plan, *works, **options)


def _claims(name: str, folder: Path, plan: Plan) -> tuple[list[Claim], list[str]]:
    write_rows(folder / "rows.jsonl", plan.gather(folder))
    return import_module(STUDIES[name].module).claims(folder, plan)


def plan_study(name: str, data: Path, *, quick: bool = False) -> Plan:
    """Language models and cells, folder name -> config.

    Raises:
        UserError: the study cannot be made small, or its data are not there.
    """
    return import_module(_known(name).module).plan(_needed(name, data), quick=quick)


def _known(name: str) -> Study:
    if name not in STUDIES:
        raise UserError(f"there is no small study {name!r}; one of {', '.join(STUDIES)}")
    return STUDIES[name]


def _needed(name: str, data: Path) -> Path | None:
    """The folder that the study reads, below `data`."""
    needs = _known(name).needs
    if needs and not (data / needs).is_dir():
        raise UserError(f"{data / needs}: no such folder; study {name} needs it (`make data` fetches what is public)")
    return data / needs if needs else None


def run_study(name: str, folder: Path, data: Path, *, quick: bool = False, workers: int | None = None) -> Row:
    """The study in a folder of its own; its summary as stored, with claims, notes and seconds of computing.

    Raises:
        UserError: its data are not there, or `folder` holds another run.
    """
    needed = _needed(name, data)
    finished = open_run(folder, {"command": "study", "name": name, "quick": quick})
    plan, seconds = _compute(name, folder, needed, quick=quick, workers=workers)
    with locked(folder, wait=True):
        if finished or not (folder / "done.json").exists():  # else another process has just read them off
            claims, notes = _claims(name, folder, plan)
            summary = {
                "study": name,
                "source": STUDIES[name].source,
                "claims": [claim.to_row() for claim in claims],
                "notes": notes,
                "seconds": seconds,
                "provenance": provenance(quick=quick),
            }
            write_json(folder / "summary.json", summary)
            finish_run(folder)
    return read_json(folder / "summary.json")
