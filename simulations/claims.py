"""Short ways to write down a claim of rung 0; `simulations.results.Claim` says how each type is decided."""

from collections.abc import Sequence
from typing import Any, Literal

from simulations.interval_claims import interval_claim
from simulations.results import Claim, ClaimType
from simulations.statistics import Interval, mean_interval

Op = Literal["<=", ">=", "within"]


def theorem(
    name: str,
    statement: str,
    measured: float | Interval,
    op: Op,
    value: float | tuple[float, float],
    *,
    n: int,
    unit: str,
    seeds: int,
    kind: str = "",
    split: str = "",
) -> Claim:
    """Decided by `measured` alone; an `Interval` adds its limits for the reader."""
    interval = measured if isinstance(measured, Interval) else Interval(measured, measured, measured, n)
    return _claim(
        "theorem", name, statement, interval, n=n, unit=unit, seeds=seeds, op=op, value=value, kind=kind, split=split
    )


def registered(
    name: str,
    statement: str,
    per_seed: Sequence[float],
    op: Op,
    value: float | tuple[float, float],
    *,
    kind: str = "",
    split: str = "",
) -> Claim:
    """A prediction about the mean over seeds, decided by its t interval; one value per seed."""
    return _over_seeds("registered", name, statement, per_seed, op=op, value=value, kind=kind, split=split)


def observation(name: str, statement: str, per_seed: Sequence[float], *, kind: str = "", split: str = "") -> Claim:
    """A mean over seeds with its t interval, reported and never decided."""
    return _over_seeds("observation", name, statement, per_seed, kind=kind, split=split)


def _over_seeds(decided: ClaimType, name: str, statement: str, per_seed: Sequence[float], **rest: Any) -> Claim:
    interval = mean_interval(list(per_seed))
    return _claim(decided, name, statement, interval, unit="seed", **rest)


def _claim(decided: ClaimType, name: str, statement: str, interval: Interval, **rest: Any) -> Claim:
    return interval_claim(f"rung0.{name}", statement, interval, rung=0, type=decided, **rest)
