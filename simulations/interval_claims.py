"""A claim about a number that has an interval."""

from typing import Any

from simulations.results import Claim
from simulations.statistics import Interval


def interval_claim(id: str, statement: str, interval: Interval, *, rung: int, op: Any = "none", **rest: Any) -> Claim:
    """What was measured is the interval's mean over its `n` clusters, each with a seed of its own.

    It is registered if it has an `op` (with its `value`) to be decided by, and an observation otherwise; `rest` are
    other fields of `Claim`, or the same ones where they are not as here.
    """
    decided = {"type": "observation" if op == "none" else "registered", "n": interval.n, "unit": "clusters"}
    return Claim(
        id=id,
        rung=rung,
        statement=statement,
        measured=interval.mean,
        low=interval.low,
        high=interval.high,
        op=op,
        **{**decided, "seeds": interval.n, **rest},
    )
