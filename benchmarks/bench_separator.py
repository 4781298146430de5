"""The separator (theory/separation.py) against quadratic-programming solvers and a support vector machine.

    pip install clarabel daqp scikit-learn       used here only
    python benchmarks/bench_separator.py

The data have a known answer: some constraints are margin u + v_i with a convex combination of the v_i zero, all others
lie further out, so u is the direction of largest margin whatever a solver says. Angles are in radians; times are
processor seconds of one run on one thread.

Each of our answers also has a proof that needs neither u nor a solver: the direction reaches a margin m, a convex
combination of the constraints has length b, so no direction reaches more than b, and the best one is at most
arccos(m / b) away (w* is the shortest point of a convex set, so <w - w*, w*> >= 0 for any w in it).
"""

import os
import sys
import warnings
from importlib.util import find_spec

import numpy as np
from measure import alone, processor_seconds, save

from theory.separation import separate

CASES = {
    "80 x 512, margin 0.1": (80, 512, 60, 0.1),
    "500 x 256, margin 1e-2": (500, 256, 200, 1e-2),
    "2000 x 256, margin 1e-4": (2000, 256, 200, 1e-4),
    "2000 x 2048, margin 0.1, 1000 support": (2000, 2048, 1000, 0.1),
    "2000 x 2048, margin 1e-4, 1000 support": (2000, 2048, 1000, 1e-4),
    "2000 x 2048, margin 1e-4, 1999 support": (2000, 2048, 1999, 1e-4),
    "2000 x 1900, margin 1e-2, 1900 support": (2000, 1900, 1900, 1e-2),  # more constraints than dimensions
}


def planted(constraints: int, dim: int, support: int, margin: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    u = rng.standard_normal(dim)
    u /= np.linalg.norm(u)

    def across(count: int) -> np.ndarray:
        noise = rng.standard_normal((count, dim)) / np.sqrt(dim)
        return noise - np.outer(noise @ u, u)

    weights = rng.random(support) + 0.1
    v = across(support)
    v -= (weights / weights.sum()) @ v
    further = np.outer(margin + rng.exponential(max(margin, 0.01), constraints - support), u)
    return rng.permutation(np.vstack([margin * u + v, across(constraints - support) + further])), u


def ours(rows: np.ndarray) -> tuple[np.ndarray | None, str]:
    answer = separate(rows)
    return answer.direction, answer.status


def proof(rows: np.ndarray) -> dict:
    """What every answer of ours is checked by, and the angle that follows, in extended precision."""
    answer = separate(rows)
    if answer.direction is None or answer.optimality is None:
        return {"status": answer.status}
    exact = rows.astype(np.longdouble)
    direction, certificate = answer.direction.astype(np.longdouble), answer.certificate.astype(np.longdouble)
    reached = (exact @ direction).min() / np.sqrt(direction @ direction)
    combination = (certificate / certificate.sum()) @ exact
    bound = np.sqrt(combination @ combination)
    return {
        "normalised_margin": answer.normalised_margin,
        "support": int(answer.support.sum()),
        "margin_short_of_its_bound": float(1 - reached / bound),
        "proven_angle_to_the_best": float(np.arccos(np.minimum(reached / bound, 1))),
        "optimality": vars(answer.optimality),
    }


def active_set(rows: np.ndarray) -> tuple[np.ndarray | None, str]:
    """The same program by daqp, a dual active-set method: exact to rounding where it finishes."""
    import daqp

    count, dim = rows.shape
    w, _, flag, _ = daqp.solve(
        np.eye(dim), np.zeros(dim), np.ascontiguousarray(rows), np.full(count, 1e30), np.ones(count),
        np.zeros(count, dtype=np.int32), iter_limit=100_000, primal_tol=1e-12, dual_tol=1e-12,
    )  # fmt: skip
    return (w / np.linalg.norm(w) if flag == 1 else None), "optimal" if flag == 1 else f"exit flag {flag}"


def interior_point(rows: np.ndarray) -> tuple[np.ndarray | None, str]:
    """min w'w / 2 subject to Z w >= 1, by clarabel, tolerances tightened to 1e-10."""
    import clarabel
    from scipy import sparse

    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.direct_solve_method = "faer"  # supernodal, for dense constraints
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-10
    count, dim = rows.shape
    solver = clarabel.DefaultSolver(
        sparse.identity(dim, format="csc"), np.zeros(dim), sparse.csc_matrix(-rows), -np.ones(count),
        [clarabel.NonnegativeConeT(count)], settings,
    )  # fmt: skip
    solution = solver.solve()
    w = np.array(solution.x)
    return (w / np.linalg.norm(w) if np.linalg.norm(w) > 0 else None), str(solution.status)


def support_vector_machine(rows: np.ndarray) -> tuple[np.ndarray | None, str]:
    """scikit-learn's SVC on rows and mirrored rows, which makes the intercept zero; C 1e10, tolerance 1e-8."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import SVC

    labels = np.repeat([1, -1], len(rows))
    machine = SVC(kernel="linear", C=1e10, tol=1e-8, max_iter=1_000_000, cache_size=1000)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        machine.fit(np.vstack([rows, -rows]), labels)
    w = machine.coef_[0]
    return w / np.linalg.norm(w), "stopped at its iteration limit" if caught else "reports success"


NEEDS = {"daqp": "daqp", "clarabel": "clarabel", "sklearn SVC": "sklearn"}
# Clarabel had not finished 2000 x 2048 after 177 processor seconds.
LARGEST = {"clarabel": 10**6, "sklearn SVC": 10**6}  # entries of the matrix
SOLVERS = {"ours": ours, "daqp": active_set, "clarabel": interior_point, "sklearn SVC": support_vector_machine}


def angle(one: np.ndarray, other: np.ndarray) -> float:
    """Between unit vectors; from the chord, which keeps its digits where the cosine loses them."""
    return float(2 * np.arcsin(np.linalg.norm(one - other) / 2))


def timed(name: str, rows: np.ndarray) -> tuple[float, tuple[np.ndarray | None, str]]:
    """Processor seconds of one run, after a small problem that imports what is needed; and its answer."""
    SOLVERS[name](planted(8, 6, 4, 0.1)[0])
    answers = []
    return processor_seconds(lambda: answers.append(SOLVERS[name](rows))), answers[0]


def solve(name: str, case: tuple[int, int, int, float]) -> tuple[dict | str, np.ndarray | None]:
    """What there is to say about one solver on one case, and the direction it found."""
    if name in NEEDS and find_spec(NEEDS[name]) is None:
        return f"not measured: {NEEDS[name]} is not installed", None
    rows, u = planted(*case)
    seconds_taken, (direction, status) = timed(name, rows)
    result: dict = {"processor_seconds": seconds_taken, "status": status}
    if direction is not None:
        result["angle_to_the_answer"] = angle(direction, u)
        result["margin_over_the_best"] = float((rows @ direction).min() / case[3])
    return result, direction


def solve_unseparable(name: str) -> dict | str:
    """600 random constraints in 200 dimensions: no direction separates them. What does each solver say?"""
    if name in NEEDS and find_spec(NEEDS[name]) is None:
        return f"not measured: {NEEDS[name]} is not installed"
    seconds_taken, (_, status) = timed(name, np.random.default_rng(0).standard_normal((600, 200)))
    return {"processor_seconds": seconds_taken, "status": status}


def main() -> None:
    os.environ.update(OMP_NUM_THREADS="1", RAYON_NUM_THREADS="1")  # for the processes that measure
    cases: dict[str, dict] = {}
    for case, sizes in CASES.items():
        found = {name: alone(solve, name, sizes) for name in SOLVERS if sizes[0] * sizes[1] <= LARGEST.get(name, 10**9)}
        cases[case] = dict.fromkeys(SOLVERS, "not measured at this size")
        cases[case] |= {name: row for name, (row, _) in found.items()}
        ours_direction = found["ours"][1]
        for name, (row, direction) in found.items():
            if name != "ours" and direction is not None and ours_direction is not None:
                row["angle_to_ours"] = angle(direction, ours_direction)
        cases[case]["proof of ours"] = alone(proof, planted(*sizes)[0])
        print(case, cases[case], file=sys.stderr, flush=True)
    rows = {"cases": cases, "non-separable 600 x 200": {name: alone(solve_unseparable, name) for name in SOLVERS}}
    save("separator", __doc__.strip().splitlines()[0], rows, ("numpy", "scipy", "daqp", "clarabel", "scikit-learn"))


if __name__ == "__main__":
    main()
