"""What a derivation is: steps that check themselves, and the same numbers obtained three ways.

A step is `algebra` (sympy reduces left minus right to zero, or finds only non-negative terms), `cited` (someone else's
theorem, named) or `numeric` (measured on random instances). "Proved" is said only where every step is algebra and the
last one ends in the closed form. That the steps are about what the statement says is for a person to read.

The three witnesses of a closed form are the proven expression, the function of `theory` that implements it, and an
experiment that knows neither; `Derivation.check` draws random instances and compares all three.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Literal

import numpy as np
import sympy as sp

from theory.derivations.algebra import first_negative_term, residual

StepKind = Literal["algebra", "cited", "numeric"]


@dataclass(frozen=True)
class Step:
    """One line of a derivation. Made by `algebra`, `non_negative`, `cited` or `numeric`, not by hand."""

    kind: StepKind
    text: str
    left: Any = None
    right: Any = None
    given: tuple[tuple[sp.Basic, sp.Basic], ...] = ()
    sign: bool = False
    source: str = ""
    measure: Callable[[np.random.Generator], float] | None = None
    tolerance: float = 0.0

    def check(self, rng: np.random.Generator) -> "StepResult":
        """Algebra: what is left of left - right. Numeric: the measured error. Cited: nothing to check."""
        start = perf_counter()
        if self.kind == "algebra":
            left = residual(self.left, self.right, self.given)
            negative = first_negative_term(self.right) if self.sign else None
            holds, found = left == 0 and negative is None, str(left if negative is None else negative)
        elif self.kind == "numeric":
            assert self.measure is not None
            error = float(self.measure(rng))
            holds, found = error <= self.tolerance, f"{error:.1e}"
        else:
            holds, found = None, ""
        return StepResult(self.kind, holds, found, perf_counter() - start)


def algebra(text: str, left: Any, right: Any, *, given: dict[Any, Any] | None = None) -> Step:
    """left = right for all values of the symbols, after replacing what is `given`; sizes stay symbols.

    Raises:
        ValueError: the step shows nothing, because both sides are the same or the left one is itself `given`.
    """
    return _algebra(text, left, right, given)


def non_negative(text: str, left: Any, right: Any, *, given: dict[Any, Any] | None = None) -> Step:
    """left = right, and right is a sum of products of symbols that are never negative: so left >= 0."""
    return replace(_algebra(text, left, right, given), sign=True)


def _algebra(text: str, left: Any, right: Any, given: dict[Any, Any] | None) -> Step:
    left, right = sp.sympify(left), sp.sympify(right)
    pairs = tuple((sp.sympify(key), sp.sympify(value)) for key, value in (given or {}).items())
    if left == right:
        raise ValueError(f"{left} = {right} shows nothing: both sides are the same (step {text!r})")
    if left in dict(pairs):
        raise ValueError(f"{left} = {right} shows nothing: the left side is given (step {text!r})")
    return Step("algebra", text, left, right, pairs)


def cited(text: str, source: str, left: Any = None, right: Any = None) -> Step:
    return Step("cited", text, left, right, source=source)


def numeric(text: str, measure: Callable[[np.random.Generator], float], tolerance: float) -> Step:
    """`measure` draws its own instances and returns an error, at most `tolerance` (written before the run)."""
    return Step("numeric", text, measure=measure, tolerance=tolerance)


@dataclass(frozen=True)
class StepResult:
    """`holds` is None for a cited step. `found`: what remained of the algebra ("0"), or the measured error."""

    kind: StepKind
    holds: bool | None
    found: str
    seconds: float


@dataclass(frozen=True)
class Witnesses:
    """The same numbers from the proven expression, from the closed form in `theory`, and from an experiment.

    `draw` makes a random instance; the other three turn it into arrays of one shape. Errors are relative to the
    largest entry of the experiment, or to `floor` where that is larger: an exact zero has no relative error, and what
    cancels to almost nothing keeps the rounding of its parts.
    """

    draw: Callable[[np.random.Generator], Any]
    algebra: Callable[[Any], Any]
    closed_form: Callable[[Any], Any]
    experiment: Callable[[Any], Any]
    closed_form_name: str
    experiment_text: str
    tolerance: float = 1e-9
    floor: float = 1e-4

    def errors(self, instance: Any) -> tuple[float, float]:
        """(algebra, closed form) against the experiment, on one instance; not-a-number counts as infinite."""
        measured = np.asarray(self.experiment(instance), dtype=float)
        size = max(float(np.max(np.abs(measured), initial=0.0)), self.floor)
        return tuple(self._error(witness(instance), measured) / size for witness in (self.algebra, self.closed_form))

    @staticmethod
    def _error(values: Any, measured: np.ndarray) -> float:
        values = np.asarray(values, dtype=float)
        assert values.shape == measured.shape, f"witnesses differ in shape: {values.shape} and {measured.shape}"
        error = float(np.max(np.abs(values - measured), initial=0.0))
        return error if np.isfinite(error) else float("inf")


@dataclass(frozen=True)
class Check:
    """The outcome of `Derivation.check`. Errors are the largest over all instances, against the experiment."""

    name: str
    steps: tuple[StepResult, ...]
    measurements: tuple[StepResult, ...]
    ends_in_closed_form: bool
    instances: int
    algebra_error: float
    closed_form_error: float
    tolerance: float
    seconds: float

    @property
    def holds(self) -> bool:
        """No step fails, every measurement is within its tolerance, and the three witnesses agree."""
        steps = all(step.holds is not False for step in self.steps + self.measurements)
        return steps and max(self.algebra_error, self.closed_form_error) <= self.tolerance

    @property
    def proved(self) -> bool:
        """Every step is algebra, every one of them came out, and the last ends in the closed form."""
        return self.ends_in_closed_form and all(step.kind == "algebra" and step.holds is True for step in self.steps)

    @property
    def verdict(self) -> str:
        if not self.holds:
            return "FAILS"
        if self.proved:
            return "proved"
        kinds = {step.kind for step in self.steps}
        rest = [f"{word} steps" for kind, word in (("cited", "cited"), ("numeric", "measured")) if kind in kinds]
        if not self.ends_in_closed_form:
            rest.append("the algebra ends elsewhere")
        return "not proved here: " + " and ".join(rest)

    def to_row(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "verdict": self.verdict,
            "holds": self.holds,
            "proved": self.proved,
            "instances": self.instances,
            "algebra_error": self.algebra_error,
            "closed_form_error": self.closed_form_error,
            "tolerance": self.tolerance,
            "seconds": round(self.seconds, 3),
            "steps": [{"kind": s.kind, "holds": s.holds, "found": s.found} for s in self.steps],
            "measurements": [{"holds": s.holds, "found": s.found} for s in self.measurements],
        }


@dataclass(frozen=True)
class Derivation:
    """A proposition with everything it stands on. `result` is the closed form: (left, right) of its equation."""

    name: str
    title: str
    statement: str
    assumptions: tuple[str, ...]
    steps: tuple[Step, ...]
    result: tuple[Any, Any]
    witnesses: Witnesses
    limits: tuple[str, ...]
    references: tuple[str, ...]
    measurements: tuple[Step, ...] = ()

    @property
    def ends_in_closed_form(self) -> bool:
        """Whether the last algebra step has the closed form on its right."""
        last = [step for step in self.steps if step.kind == "algebra"][-1:]
        return [step.right for step in last] == [sp.sympify(self.result[1])]

    def check(self, seed: int = 0, instances: int = 12) -> Check:
        """Check every step, then compare the three witnesses on `instances` random instances.

        Raises:
            ValueError: there is no instance to check.
        """
        if instances < 1:
            raise ValueError(f"instances must be at least 1, got {instances}")
        start = perf_counter()
        rng = np.random.default_rng(seed)
        steps = tuple(step.check(rng) for step in self.steps)
        errors = [self.witnesses.errors(self.witnesses.draw(rng)) for _ in range(instances)]
        measurements = tuple(step.check(rng) for step in self.measurements)
        return Check(
            self.name,
            steps,
            measurements,
            self.ends_in_closed_form,
            instances,
            max(algebra for algebra, _ in errors),
            max(closed for _, closed in errors),
            self.witnesses.tolerance,
            perf_counter() - start,
        )

    def to_text(self, check: Check | None = None) -> str:
        """For a terminal. With a `check`, its outcome beside every step."""
        from theory.derivations import rendering

        return rendering.to_text(self, check)

    def to_latex(self, check: Check | None = None) -> str:
        """A LaTeX fragment that needs amsmath only."""
        from theory.derivations import rendering

        return rendering.to_latex(self, check)

    def _repr_markdown_(self) -> str:
        """Jupyter: every step rendered and checked on the spot."""
        from theory.derivations import rendering

        return rendering.to_markdown(self, self.check(instances=3))
