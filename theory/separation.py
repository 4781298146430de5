"""The hard-margin separator through the origin: w* = argmin |w|^2 / 2 subject to <w, z_i> >= 1 for every constraint.

Theorem 2 of Razin et al. 2025 (arXiv 2507.07981): with z_i = h(x_i, y_i+) - h(x_i, y_i-), the direction of an explicit
reward model trained by gradient descent converges to that of w* (Soudry et al. 2018), so that in the end it ranks right
what w* ranks right.

Duality brackets the answer. The largest margin a unit vector can have equals the smallest norm of a convex combination
of the z_i: any direction gives a lower bound, any convex combination an upper one. Every answer comes with both.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from scipy.linalg import qr, solve_triangular
from scipy.optimize import nnls

from theory.nonnegative import projected_newton

Status = Literal["separable", "non-separable", "undecided"]

# A convex combination of unit-sized vectors this short is zero: sums of a few thousand products round to about 1e-15.
ZERO = 1e-13

# The two bounds on the margin of a separable problem agree to this share of it, or the answer is "undecided".
BRACKET = 1e-7

# So it is where a residual of optimality exceeds this; rounding leaves 1e-10 at a margin of 1e-6.
RESIDUAL = 1e-6


@dataclass(frozen=True)
class Optimality:
    """How far from optimal, each relative to the size of what it compares; about 1e-16 / margin where all is well."""

    primal: float  # 1 - min <w, z_i>: how far a constraint is violated
    dual: float  # -min multiplier / max multiplier, zero where none is negative
    stationarity: float  # |w - sum a_i z_i| / |w|
    complementarity: float  # sum a_i (<w, z_i> - 1) / sum a_i, the duality gap


@dataclass(frozen=True)
class Separator:
    """What is known about separating a set of constraints.

    `separable`: `direction` is the unit vector w* / |w*|, and `multipliers` a_i >= 0 satisfy w* = sum a_i z_i.
    `non-separable`: the convex combination `certificate` of the constraints is zero to rounding, so no w makes every
    <w, z_i> positive. `undecided`: the margin is below the tolerance, the two bounds on it do not meet, or a
    residual of `optimality` exceeds RESIDUAL.

    Margins are those of unit vectors, divided by the longest constraint: free of the scale of the hidden states.
    """

    status: Status
    normalised_margin: float  # min <direction, z_i> / max |z_i|, reached by `direction`; -inf where there is none
    margin_bound: float  # |sum certificate_i z_i| / max |z_i|: no direction whatever has a larger normalised margin
    direction: Float[np.ndarray, " dim"] | None
    multipliers: Float[np.ndarray, " constraints"]
    certificate: Float[np.ndarray, " constraints"]
    optimality: Optimality | None

    @property
    def support(self) -> Bool[np.ndarray, " constraints"]:
        """The constraints that hold with equality and carry the solution."""
        return self.multipliers > 0

    def margins(self, differences: Float[np.ndarray, "pairs dim"]) -> Float[np.ndarray, " pairs"]:
        """<direction, z> / |z| of each pair, the sine of its angle to the boundary; positive where ranked right.

        Zero where z is zero.

        Raises:
            ValueError: there is no separator.
        """
        if self.direction is None:
            raise ValueError(f"the constraints are {self.status}; there is no separator to rank with")
        lengths = np.linalg.norm(differences, axis=1)
        return (differences @ self.direction) / np.where(lengths > 0, lengths, 1.0)

    def ranks_right(self, differences: Float[np.ndarray, "pairs dim"]) -> Bool[np.ndarray, " pairs"]:
        """Whether the separator ranks each pair right; a tie is not right."""
        return self.margins(differences) > 0

    def decides(self, differences: Float[np.ndarray, "pairs dim"], angle: float) -> Bool[np.ndarray, " pairs"]:
        """Where *every* direction within `angle` (radians) of the separator ranks as the separator does.

        A pair at an angle phi from the boundary changes sides only if the direction turns by phi or more.
        """
        return np.abs(self.margins(differences)) > (np.sin(angle) if angle < np.pi / 2 else 1.0)


def separate(differences: Float[np.ndarray, "constraints dim"], *, tolerance: float = 1e-7) -> Separator:
    """The maximum-margin direction w with <w, z_i> > 0 for every row z_i, or the proof that there is none.

    Args:
        differences: chosen minus rejected hidden states, one row per training pair; any scale.
        tolerance: a normalised margin below this is called "undecided" unless it is zero to rounding.

    Raises:
        ValueError: no constraints, or entries that are not finite.
    """
    if differences.shape[0] == 0:
        raise ValueError("no constraints: every direction separates the empty set")
    if not np.all(np.isfinite(differences)):
        raise ValueError("differences contain values that are not finite; which pair has no hidden state?")
    longest = float(np.linalg.norm(differences, axis=1).max())
    if longest == 0.0:
        return _without_separator("non-separable", np.full(len(differences), 1 / len(differences)), 0.0)
    rows = differences.astype(np.float64) / longest

    certificate, bound = np.full(len(rows), 1 / len(rows)), float(np.linalg.norm(rows.mean(axis=0)))
    # With more rows than dimensions the Gram matrix is singular, and with so few dimensions the other method is fast.
    methods = (_block_multipliers, _single_multipliers) if len(rows) <= rows.shape[1] else (_single_multipliers,)
    for solve in methods:
        if bound <= ZERO:
            break
        weights = solve(rows, bound)
        shorter = float(np.linalg.norm(weights @ rows) / weights.sum())
        if shorter < bound:
            certificate, bound = weights / weights.sum(), shorter
        answer = _separator(rows, weights > 0, longest) if bound >= tolerance else None
        if answer is not None:
            return (
                answer if answer.normalised_margin >= tolerance else _without_separator("undecided", certificate, bound)
            )
    return _without_separator("non-separable" if bound <= ZERO else "undecided", certificate, bound)


def _without_separator(status: Status, certificate: Float[np.ndarray, " constraints"], bound: float) -> Separator:
    return Separator(status, -np.inf, bound, None, np.zeros_like(certificate), certificate, None)


# The dual as non-negative least squares: min |Z'x|^2 + c^2 (1 - sum x)^2 over x >= 0. At the optimum x / sum x is the
# shortest convex combination of the rows; if that is zero so is the residual, otherwise x is proportional to the
# multipliers of the separator. The height c bounds the margin; far above it, x would lose its scale to rounding.


def _block_multipliers(rows: Float[np.ndarray, "constraints dim"], height: float) -> Float[np.ndarray, " constraints"]:
    """By projected Newton on the Gram matrix: about ten factorisations, however many constraints carry it."""
    return projected_newton(rows @ rows.T + height**2, np.full(len(rows), height**2))


def _single_multipliers(rows: Float[np.ndarray, "constraints dim"], height: float) -> Float[np.ndarray, " constraints"]:
    """By Lawson and Hanson's method, one constraint at a time; copes with rows that depend on one another."""
    matrix = np.vstack([rows.T, np.full((1, len(rows)), height)])
    target = np.zeros(len(matrix))
    target[-1] = height
    try:
        solution, _ = nnls(matrix, target, maxiter=10 * len(rows))
    except RuntimeError:  # out of iterations: the uniform combination is a bound, if a poor one, and ends "undecided"
        return np.full(len(rows), 1 / len(rows))
    return solution


def _separator(
    rows: Float[np.ndarray, "constraints dim"], active: Bool[np.ndarray, " constraints"], longest: float
) -> Separator | None:
    """The optimum if these are the constraints that carry it, else None: both bounds on the margin must meet, and the
    conditions of optimality hold."""
    solved = _solve_on(rows, active)
    if solved is None:
        return None
    w, multipliers = solved
    if multipliers.max() <= 0:
        return None
    direction = w / np.linalg.norm(w)
    margin = float((rows @ direction).min())
    certificate = np.maximum(multipliers, 0) / np.maximum(multipliers, 0).sum()
    bound = float(np.linalg.norm(certificate @ rows))
    optimality = _optimality(rows, w, multipliers)
    # written so that NaN is refused as well
    if not (abs(bound - margin) <= BRACKET * margin and all(r <= RESIDUAL for r in vars(optimality).values())):
        return None
    return Separator("separable", margin, bound, direction, multipliers / longest**2, certificate, optimality)


def _solve_on(
    rows: Float[np.ndarray, "constraints dim"], active: Bool[np.ndarray, " constraints"]
) -> tuple[Float[np.ndarray, " dim"], Float[np.ndarray, " constraints"]] | None:
    """The shortest w with <w, z_i> = 1 on the active rows, and its multipliers, from a QR factorisation.

    The least squares lose the scale of small margins; this has an error of about 1e-16 / margin. None where the active
    rows depend on one another.
    """
    count = int(active.sum())
    if count > rows.shape[1]:
        return None
    basis, triangle = qr(rows[active].T, mode="economic")
    if np.abs(np.diag(triangle)).min() == 0.0:
        return None
    along = solve_triangular(triangle, np.ones(count), trans="T")
    multipliers = np.zeros(len(rows))
    multipliers[active] = solve_triangular(triangle, along)
    return basis @ along, multipliers


def _optimality(
    rows: Float[np.ndarray, "constraints dim"],
    w: Float[np.ndarray, " dim"],
    multipliers: Float[np.ndarray, " constraints"],
) -> Optimality:
    slack = rows @ w - 1
    return Optimality(
        primal=float(max(0.0, -slack.min())),
        dual=float(max(0.0, -multipliers.min()) / multipliers.max()),
        stationarity=float(np.linalg.norm(w - multipliers @ rows) / np.linalg.norm(w)),
        complementarity=float(abs(multipliers @ slack) / multipliers.sum()),
    )
