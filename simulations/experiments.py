"""The experiments by name, each from settings to a finished run folder; rung 0 of the story is two of them."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from simulations import carriers, convergence, partly_seen
from simulations.carriers import CarrierSettings, carrier_claims, run_carriers
from simulations.convergence import ConvergenceSettings, convergence_claims, run_convergence
from simulations.one_step import OneStepSettings, one_step_claims, run_one_step
from simulations.partly_seen import PartlySeenSettings, partly_seen_claims, run_partly_seen
from simulations.progress import progress_bar
from simulations.representations import RepresentationSettings, representation_claims, run_representations
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
from simulations.shift_grid import ShiftGridSettings, run_shift_grid, shift_grid_claims
from simulations.single_token import SingleTokenSettings, run_single_token
from simulations.single_token_claims import separator_table, single_token_claims
from simulations.trajectory import TrajectorySettings, run_trajectory, trajectory_claims
from simulations.verify_generate import VerifySettings, run_verify_generate, verify_generate_claims

QUICK_STEPS = 10_000
Tick = Callable[[int], object]


@dataclass(frozen=True)
class Outcome:
    """What an experiment leaves behind: rows by file name, claims, and other numbers worth keeping."""

    rows: dict[str, list[Row]]
    claims: list[Claim]
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Experiment:
    """`settings` has a field `seeds`; `run(settings, tick)` is pure; `ticks(settings)` is how often it ticks."""

    summary: str
    settings: Any
    run: Callable[[Any, Tick | None], Outcome]
    ticks: Callable[[Any], int]


def _single_token(settings: SingleTokenSettings, tick: Tick | None) -> Outcome:
    result = run_single_token(settings, tick=tick)
    return Outcome(
        rows={"single_token": result.rows, "unseen_pairs": result.unseen_pairs},
        claims=single_token_claims(result, settings),
        metrics={
            "separator": separator_table(result.unseen_pairs, result.rows),
            "step_size": result.step_size,
            "drift": result.drift,
        },
    )


def _rows_then_claims(
    name: str, run: Callable[..., list[Row]], claims: Callable[[list[Row], Any], list[Claim]]
) -> Callable[[Any, Tick | None], Outcome]:
    def both(settings: Any, tick: Tick | None) -> Outcome:
        rows = run(settings, tick=tick)
        return Outcome({name: rows}, claims(rows, settings), {})

    return both


EXPERIMENTS: dict[str, Experiment] = {
    "single_token": Experiment(
        "explicit and implicit models on pairs of unseen words, with the controls that must not tie",
        SingleTokenSettings(),
        _single_token,
        lambda settings: 2 * settings.steps,
    ),
    "one_step": Experiment(
        "reward changes after one gradient step, predicted and measured",
        OneStepSettings(),
        _rows_then_claims("one_step", run_one_step, one_step_claims),
        lambda settings: 0,
    ),
    "trajectory": Experiment(
        "margins along a whole run, predicted from the first step's coefficients and from those of every step",
        TrajectorySettings(),
        _rows_then_claims("trajectory", run_trajectory, trajectory_claims),
        TrajectorySettings.ticks,
    ),
    "convergence": Experiment(
        "how explicit models approach the max-margin separator, and what happens where there is none",
        ConvergenceSettings(),
        _rows_then_claims("convergence", run_convergence, convergence_claims),
        lambda settings: len(convergence.VARIANTS) * settings.steps,
    ),
    "partly_seen": Experiment(
        "responses of several words of which a share is seen, over nine families of languages",
        PartlySeenSettings(),
        _rows_then_claims("partly_seen", run_partly_seen, partly_seen_claims),
        lambda settings: 2 * len(partly_seen.VARIANTS) * settings.fit.steps,
    ),
    "carriers": Experiment(
        "what a terminator and a prefix carry over to words never seen",
        CarrierSettings(),
        _rows_then_claims("carriers", run_carriers, carrier_claims),
        lambda settings: 2 * len(carriers.CONDITIONS) * settings.fit.steps,
    ),
    "shift_grid": Experiment(
        "prompt shift x response shift: does the gap add up or compound?",
        ShiftGridSettings(),
        _rows_then_claims("shift_grid", run_shift_grid, shift_grid_claims),
        lambda settings: 2 * settings.fit.steps,
    ),
    "representations": Experiment(
        "a trainable encoder: how far the theory of fixed hidden states carries",
        RepresentationSettings(),
        _rows_then_claims("representations", run_representations, representation_claims),
        lambda settings: 2 * len(settings.similarities) * settings.steps,
    ),
    "verify_generate": Experiment(
        "verifying without generating, by exact enumeration",
        VerifySettings(),
        _rows_then_claims("verify_generate", run_verify_generate, verify_generate_claims),
        lambda settings: len(settings.betas) * settings.steps,
    ),
}


def simulate(
    name: str, folder: Path, *, seeds: int | None = None, progress: bool = True, **changes: Any
) -> list[Claim]:
    """Run one experiment into `folder`, or read it back if it is finished there; `changes` are settings by name.

    The folder holds config.json, provenance.json, the rows as JSONL, metrics.json (claims and tables) and done.json.

    Raises:
        UserError: no experiment of that name, no such setting, fewer than 2 seeds, or the folder holds another run.
    """
    if name not in EXPERIMENTS:
        raise UserError(f"no experiment is called {name!r}; choose one of {', '.join(EXPERIMENTS)}")
    if seeds is not None:
        changes["seeds"] = seeds
    if changes.get("seeds", 2) < 2:
        raise UserError(f"--seeds must be at least 2 for an interval over seeds, got {changes['seeds']}")
    experiment = EXPERIMENTS[name]
    try:
        settings = replace(experiment.settings, **changes)
    except TypeError:
        raise UserError(f"{name} has no such setting; it has {', '.join(asdict(experiment.settings))}") from None
    return _run(folder, {name: settings}, progress)


def run_rung0(folder: Path, *, quick: bool = False, progress: bool = True) -> list[Claim]:
    """The single-token and the one-step experiment into `folder/rung0`; what is finished there is read back."""
    single_token: SingleTokenSettings = EXPERIMENTS["single_token"].settings
    if quick:
        single_token = replace(single_token, steps=QUICK_STEPS)
    settings = {"single_token": single_token, "one_step": EXPERIMENTS["one_step"].settings}
    return _run(folder / "rung0", settings, progress)


def _run(folder: Path, settings: dict[str, Any], progress: bool) -> list[Claim]:
    config = {"experiments": {name: asdict(value) for name, value in settings.items()}}
    if open_run(folder, config):
        return [Claim.from_row(row) for row in read_json(folder / "metrics.json")["claims"]]
    claims: list[Claim] = []
    metrics: dict[str, Any] = {}
    total = sum(EXPERIMENTS[name].ticks(value) for name, value in settings.items())
    with progress_bar(total=total, desc="simulations", unit=" steps", unit_scale=True, show=progress) as bar:
        for name, value in settings.items():
            outcome = EXPERIMENTS[name].run(value, bar.update)
            for stem, rows in outcome.rows.items():
                write_rows(folder / f"{stem}.jsonl", rows)
            claims += outcome.claims
            metrics[name] = outcome.metrics
    used = {getattr(value, "first_seed", 0) + seed for value in settings.values() for seed in range(value.seeds)}
    write_json(folder / "provenance.json", provenance(seed=sorted(used)))
    write_json(folder / "metrics.json", {"claims": [claim.to_row() for claim in claims], **metrics})
    finish_run(folder)
    return claims
