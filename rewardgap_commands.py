"""The commands of `rewardgap`, one dataclass each: its fields are the flags, the string under a field is its help.

Every `run` imports what it needs when it is called, so that `--help` answers before torch could be imported, and hands
back an `Answer`.
"""

import difflib
import os
import shlex
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from llm_experiments.settings import (
    Architecture,
    DoctorRequest,
    DynamicsRequest,
    PretrainSettings,
    ScoreRequest,
    StressRequest,
    TrainRequest,
)
from rewardgap_arguments import POSITIONAL
from simulations.results import UserError, read_json

WORKERS = (
    "For a scheduler, any number of these at once; each takes what is free (llm_experiments/configs/slurm_array.sh):"
)
INTERRUPTED = "interrupted; run the same command again to continue"


@dataclass(frozen=True)
class Answer:
    """What a command has to say: `text` for people, `data` for machines (`--json`).

    A claim in `data["claims"]` has `holds`: true, false, or null where it is undecided or only an observation.
    """

    text: str
    data: Mapping[str, Any]

    @property
    def refuted(self) -> bool:
        """Is a claim false, did the doctor find a problem, is an accuracy or a verdict what it was not to be?"""
        problems = (finding["status"] == "problem" for finding in self.data.get("findings", ()))
        false = any(claim["holds"] is False for claim in self.data.get("claims", ()))
        return false or any(problems) or bool(self.data.get("failures"))


@dataclass(frozen=True, kw_only=True)
class Command:
    json: bool = False
    """Print the result as JSON on stdout"""


@dataclass(frozen=True, kw_only=True)
class Reproduce(Command):
    """The whole story: theory, simulations and language models in one table and one page.

    A few minutes on two cores; no network, no weights and no data files are needed.
    """

    persona: Path | None = None
    """Folder of the real Persona question files (*.jsonl); adds rung 2, about 10 minutes more"""
    quick: bool = False
    """Everything smaller, under a minute; only theorems are decided"""
    output: Path | None = None
    """Folder for summary.json, report.html, rows and figures; a finished part found there is not computed again.
    runs/reproduce unless given, or runs/quick with --quick"""

    def run(self) -> Answer:
        from figures.story_page import write_story
        from figures.table import claims_table
        from llm_experiments.story import run_story

        folder = self.output or Path("runs/quick" if self.quick else "runs/reproduce")
        summary = run_story(folder, persona=self.persona, quick=self.quick)
        page = write_story(folder)
        seconds = sum(summary["seconds"].values())
        lines = [claims_table(summary["claims"]), *summary["notes"]]
        lines += [f"{seconds:.0f} s of computing; the report, with figures and provenance: {page}"]
        return Answer("\n".join(lines), {**summary, "report": str(page)})


@dataclass(frozen=True, kw_only=True)
class Derive(Command):
    """A proposition: statement, steps, numerical check; without a name, the list of them."""

    name: str = field(default="", metadata=POSITIONAL)
    """Which proposition"""
    all: bool = False
    """Check every one of them, a line for each"""
    latex: bool = False
    """Print LaTeX instead of text; needs amsmath only"""

    def run(self) -> Answer:
        from simulations.progress import progress_bar
        from theory.derivations import derive, propositions

        known = dict(propositions())
        if not self.name and not self.all:
            return Answer(_columns(known), {"propositions": known})
        try:
            derivations = [derive(name) for name in (known if self.all else [self.name])]
        except ValueError as error:
            raise UserError(str(error)) from None
        bar = progress_bar(derivations, desc="checking", unit="proposition", show=self.all)
        checks = [derivation.check() for derivation in bar]
        if self.all and not self.latex:
            errors = [max(check.algebra_error, check.closed_form_error) for check in checks]
            lines = [f"{c.verdict}; witnesses differ by {e:.0e}" for c, e in zip(checks, errors, strict=True)]
            text = _columns(dict(zip(known, lines, strict=True)))
        else:
            pairs = zip(derivations, checks, strict=True)
            text = "\n\n".join(one.to_latex(check) if self.latex else one.to_text(check) for one, check in pairs)
        return Answer(text, {"claims": [check.to_row() for check in checks]})


@dataclass(frozen=True, kw_only=True)
class Simulate(Command):
    """An experiment on synthetic embeddings: rows, claims, provenance; without a name, the list of them."""

    name: str = field(default="", metadata=POSITIONAL)
    """Which experiment"""
    seeds: int | None = None
    """Independent repetitions, at least 2; the experiment's own number unless given"""
    output: Path | None = None
    """Folder of the run; runs/simulate/NAME unless given"""

    def run(self) -> Answer:
        from figures.table import claims_table
        from simulations.experiments import EXPERIMENTS, simulate

        if not self.name:
            known = {name: experiment.summary for name, experiment in EXPERIMENTS.items()}
            return Answer(_columns(known), {"experiments": known})
        folder = self.output or Path("runs/simulate") / self.name
        claims = simulate(self.name, folder, seeds=self.seeds)
        data = {"claims": [claim.to_row() for claim in claims], "output": str(folder)}
        return Answer(f"{claims_table(claims)}\nrows: {folder}", data)


@dataclass(frozen=True, kw_only=True)
class Study(Command):
    """A table or figure of a paper as a grid of runs, each claim beside its published number; without a name, the list.

    A killed study goes on where it stopped; several processes with the same command share it out. At the papers' scale
    it prints accuracies per model and test file, and has claims for lin2024 alone.
    """

    name: str = field(default="", metadata=POSITIONAL)
    """Which study"""
    data: Path = Path(os.environ.get("REWARDGAP_DATA", "data"))
    """Folder of the public data files; $REWARDGAP_DATA, else what `make data` fetches"""
    scale: Literal["small", "paper"] = "small"
    """small: models made here, on two cores; paper: the published models and settings, on GPUs, with hub access"""
    plan: bool = False
    """Print what would run, what it costs at the paper's scale and the command for a scheduler, and stop"""
    quick: bool = False
    """Small scale: everything smaller still, in about a minute; shows that it runs, and decides nothing"""
    jobs: int = 0
    """Processes; as many as there are cores unless given"""
    output: Path | None = None
    """Folder of the run; runs/study/NAME unless given, or runs/study/NAME-quick with --quick"""

    def run(self) -> Answer:
        from figures.metrics import metrics_table, recipes_table
        from figures.table import claims_table
        from llm_experiments.recipes import RECIPES, recipe_claims, recipes_of, run_recipes
        from llm_experiments.studies import STUDIES, plan_study, run_study

        if not self.name:
            listed = {name: f"{study.summary} ({study.source})" for name, study in STUDIES.items()}
            return Answer(_columns(listed), {"studies": listed})
        known = {**STUDIES, **RECIPES}
        if self.name not in known:
            near = difflib.get_close_matches(self.name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(known)}"
            raise UserError(f"there is no study {self.name!r}; {hint}")
        if self.quick and self.scale == "paper":
            raise UserError(
                "--quick makes a small study smaller; --scale paper has no quick form: leave one of them out"
            )
        suffix = "-paper" if self.scale == "paper" else "-quick" if self.quick else ""
        folder = self.output or Path("runs/study") / (self.name + suffix)
        command = self._worker(folder)
        if self.scale == "paper":
            rows = [recipe.to_row() for recipe in recipes_of(self.name)]
            if self.plan:
                return Answer(f"{recipes_table(rows)}\n\n{WORKERS}\n{command}", {"recipes": rows, "command": command})
            with _one_line_at_sigterm():
                metrics = run_recipes(self.name, folder, self.data)
            tables = [f"{name}\n{metrics_table(found)}" for name, found in metrics.items()]
            claims = [claim.to_row() for claim in recipe_claims(self.name, metrics)]
            tables += [claims_table(claims)] if claims else []
            return Answer("\n\n".join(tables), {"metrics": metrics, "claims": claims, "output": str(folder)})
        if self.plan:
            plan = plan_study(self.name, self.data, quick=self.quick)
            names = [*(f"models/{name}" for name in plan.bases), *plan.cells]
            head = f"{len(plan.bases)} language models, {len(plan.cells)} cells"
            return Answer("\n".join([head, *names, "", WORKERS, command]), {"cells": names, "command": command})
        with _one_line_at_sigterm():
            summary = run_study(self.name, folder, self.data, quick=self.quick, workers=self.jobs or None)
        head = ["quick: shows that it runs, decides nothing"] if self.quick else []
        lines = [*head, claims_table(summary["claims"]), *summary["notes"], f"rows: {folder}"]
        return Answer("\n".join(lines), {**summary, "output": str(folder)})

    def _worker(self, folder: Path) -> str:
        """The same command, for a scheduler: any number of workers share the cells out among themselves."""
        flags = ["--scale", self.scale, "--data", str(self.data), "--output", str(folder)]
        return shlex.join(
            ["rewardgap", "study", self.name, *flags, *(["--quick"] if self.quick else []), "--jobs", "1"]
        )


@dataclass(frozen=True, kw_only=True)
class Pretrain(PretrainSettings, Command):
    """A small language model from local text: config, tokenizer and weights, as a plain Hugging Face folder."""

    architecture: Architecture
    """Whose config class and code path"""
    text: tuple[Path, ...]
    """UTF-8 text files, plain or .gz; blank lines separate documents"""
    output: Path
    """Folder for the model; the same command again continues a killed run"""

    def run(self) -> Answer:
        from llm_experiments.pretraining import pretrain, read_documents

        folder = pretrain(read_documents(self.text), self.architecture, self.output, _part(self, PretrainSettings))
        done = read_json(folder / "done.json")
        text = _columns({name.replace("_", " "): value for name, value in done.items()} | {"model": folder})
        return Answer(text, {**done, "model": str(folder)})


@dataclass(frozen=True, kw_only=True)
class Train(TrainRequest, Command):
    """One reward model of any kind, from preference pairs and a causal language model."""

    def run(self) -> Answer:
        from figures.metrics import metrics_table
        from llm_experiments.pair_sources import source_name
        from llm_experiments.training import run_training

        metrics, trained_on = run_training(_part(self, TrainRequest)), source_name(self.pairs)
        named = {f"{name} (trained on)" if name == trained_on else name: row for name, row in metrics.items()}
        data = {"metrics": metrics, "model": str(self.output / "model")}
        return Answer(f"{metrics_table(named)}\nreward model: {data['model']}", data)


@dataclass(frozen=True, kw_only=True)
class Score(ScoreRequest, Command):
    """Any reward model on any pairs: one line per pair, and what follows from the lines."""

    def run(self) -> Answer:
        from figures.metrics import backwards, comparisons_table, metrics_table
        from llm_experiments.scoring import run_comparison, run_scoring

        request = _part(self, ScoreRequest)
        metrics = run_scoring(request)
        comparisons = [one.to_row() for one in run_comparison(request)]
        data = {"metrics": metrics, "comparisons": comparisons, "scores": str(self.output / "scores")}
        tables = [metrics_table(metrics), *backwards(metrics)]
        text = "\n".join([*tables, *([comparisons_table(comparisons)] if comparisons else [])])
        return Answer(f"{text}\none line per pair: {data['scores']}", data)


@dataclass(frozen=True, kw_only=True)
class Dynamics(DynamicsRequest, Command):
    """One gradient step: what the token-overlap theory predicts of every reward, and what happens.

    Moving the output layer alone, the two agree but for an error proportional to the step (none for explicit models).
    Where a step moves hidden states too (all parameters, tied embeddings) the theory makes no promise; how far it
    carries is reported.
    """

    def run(self) -> Answer:
        from figures.metrics import agreement_table
        from llm_experiments.dynamics import run_dynamics

        metrics = run_dynamics(_part(self, DynamicsRequest))
        return Answer(
            f"{agreement_table(metrics)}\none line per pair: {self.output}",
            {"metrics": metrics, "output": str(self.output)},
        )


@dataclass(frozen=True, kw_only=True)
class Doctor(DoctorRequest, Command):
    """A model and its tokenizer, checked before they cost GPU hours; every finding says what to do.

    Exit code 3 where a problem was found: scores of this model would be wrong.
    """

    def run(self) -> Answer:
        from llm_experiments.doctor.examination import examine
        from llm_experiments.doctor.finding import table

        findings = examine(_part(self, DoctorRequest))
        return Answer(table(findings), {"findings": [finding.to_row() for finding in findings]})


@dataclass(frozen=True, kw_only=True)
class Stress(StressRequest, Command):
    """Token-shift stress test of reward models: do they rank meaning, or tokens?

    Edits that keep the meaning should keep the ranking, edits that do damage should lower the reward. A verdict per
    model, by rules that are printed with it.
    """

    def run(self) -> Answer:
        from figures.stress_page import write_stress
        from figures.stress_table import stress_table
        from llm_experiments.stress.suite import run_stress

        summary = run_stress(_part(self, StressRequest))
        page = write_stress(self.output)
        text = f"{stress_table(summary)}\n\nthe page, with examples: {page}\nrows, texts and summary: {self.output}"
        return Answer(text, {**summary, "output": str(self.output), "report": str(page)})


@dataclass(frozen=True, kw_only=True)
class Figures(Command):
    """Every figure again from stored results, in half a minute, without training."""

    results: Path | None = None
    """Folder of rows, such as one that `rewardgap reproduce` wrote; the committed small results unless given"""
    output: Path = Path("runs/figures")
    """Folder for the PNG and PDF files and an index page"""

    def run(self) -> Answer:
        from figures.redraw import STORED, redraw

        index = redraw(self.output, self.results or STORED)
        return Answer(f"figures and their index: {index}", {"index": str(index)})


COMMANDS: dict[str, type[Command]] = {
    "reproduce": Reproduce,
    "derive": Derive,
    "simulate": Simulate,
    "study": Study,
    "pretrain": Pretrain,
    "train": Train,
    "score": Score,
    "dynamics": Dynamics,
    "doctor": Doctor,
    "stress": Stress,
    "figures": Figures,
}


@contextmanager
def _one_line_at_sigterm() -> Iterator[None]:
    """As Ctrl-C, but at once: worker processes leave with this one, and what they were at is computed again."""

    def leave(*_: Any) -> None:
        os.write(2, f"{INTERRUPTED}\n".encode())
        os._exit(130)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def transformations() -> str:
    from llm_experiments.stress.catalogue import DEFAULT_SUITE, ON_DEMAND, TRANSFORMATIONS

    rows = {one.name: f"{one.purpose}: {one.description}" for one in TRANSFORMATIONS}
    rows |= {name: f"invariance: {description}" for name, description in ON_DEMAND.items()}
    marked = {f"{'*' if name in DEFAULT_SUITE else ' '} {name}": text for name, text in rows.items()}
    return f"{_columns(marked)}\n\n* one of the {len(DEFAULT_SUITE)} default edits; MODEL is a folder or a hub id"


def _part(command: Command, settings: type) -> Any:
    """The fields that a command inherits from `settings`, as an instance of it."""
    return settings(**{item.name: getattr(command, item.name) for item in fields(settings)})


def _columns(rows: Mapping[str, Any]) -> str:
    width = max(map(len, rows))
    return "\n".join(f"{name:{width}}  {value}" for name, value in rows.items())
