"""Where explicit training ends if no head ranks every pair right: at a head, or nowhere."""

from typing import Literal

import numpy as np
import sympy as sp
from scipy.optimize import linprog, minimize

from theory.derivations.convergence import SOUDRY, d, g, gradient_step
from theory.derivations.derivation import Derivation, Witnesses, algebra, cited, non_negative, numeric
from theory.derivations.flow import logistic_flow
from theory.derivations.symbols import j, m, n, over_coordinates
from theory.separation import separate

JI = "Ji and Telgarsky 2019, COLT, The implicit bias of gradient descent on nonseparable data"
w = sp.IndexedBase("w")


def non_separable() -> Derivation:
    total = sp.Sum(g[n] * over_coordinates(w[j] * d[n, j]), (n, 1, m))
    combination = sp.Sum(g[n] * d[n, j], (n, 1, m))
    start, along, slope = sp.symbols("A x y", real=True)

    return Derivation(
        name="non_separable",
        title="Without a separator the explicit head stops, unless some head ties some pairs and ranks the rest right",
        statement=(
            "The explicit loss has a stationary point if and only if no head w ranks some training pairs right and "
            "ties the others. There Σ g_n d_n = 0 with every g_n = σ(-⟨u, d_n⟩) positive, so that for every w the "
            "margins ⟨w, d_n⟩ weighted by g_n sum to zero: a certificate that none separates. Training then ends at "
            "that head, with positive loss and no max-margin direction. In between, where a head ties some pairs and "
            "ranks the rest right but none ranks all right (one contradiction among pairs that agree), training never "
            "stops: the head grows without bound, like ln t. The implicit half of the single-token theorem is "
            "unaffected."
        ),
        assumptions=("the loss is Bradley-Terry; the head is trained, hidden states are fixed",),
        steps=(
            gradient_step,
            non_negative(
                "The loss is convex. Along any line, on which the margin of a pair is A + x y at x, its second "
                "derivative is",
                sp.Derivative(sp.log(1 + sp.exp(-(start + along * slope))), along, 2),
                slope**2 * sp.exp(start + along * slope) / (1 + sp.exp(start + along * slope)) ** 2,
            ),
            cited(
                "If no head ranks some pairs right and ties the others, the loss grows along every direction that is "
                "not flat, and such a convex loss has a minimum",
                "Rockafellar 1970, Convex Analysis, theorem 27.1",
            ),
            cited(
                "In between the head grows along heads that tie the pairs which contradict each other, like ln t",
                JI,
            ),
            algebra(
                "For any head w the weighted sum of its margins is its inner product with the weighted sum of the "
                "differences,",
                total,
                over_coordinates(w[j] * combination),
            ),
            algebra(
                "which is zero at a stationary point, where Σ g_n d_n = 0. As every g_n is positive, the margins of w "
                "are not all zero or positive, unless all are zero:",
                over_coordinates(w[j] * combination),
                0,
                given={combination: 0},
            ),
        ),
        result=(total, sp.S.Zero),
        witnesses=Witnesses(
            draw=_draw_any,
            algebra=_separable_by_weights,
            closed_form=lambda differences: float(separate(differences).status == "separable"),
            experiment=_separable_by_training,
            closed_form_name="theory.separation.separate, its status",
            experiment_text=(
                "1 where training brings the loss below ln 2, 0 where it cannot; the expression above is 1 where no "
                "weights g make the weighted sum zero for all w, by linear programming"
            ),
        ),
        measurements=(
            numeric(
                "Length of the certificate's combination of constraints, over that of the longest", _certificate, 1e-9
            ),
            numeric(
                "Populations out of 30, ten with a separator, ten in between and ten with neither, whose head stops "
                "between t = e^10 and e^20 where it should grow, or grows where it should stop",
                _wrongly_stopped,
                0.0,
            ),
        ),
        limits=(
            "With small regularisation the head is finite on separable data too, and close to the separator's "
            "direction.",
            "Pairs that contradict each other exactly (d and -d) are never separable, whatever the others are; the "
            "head then stops unless a head that ties the two ranks some of the others right and ties the rest.",
        ),
        references=("Gordan 1873 (the alternative)", SOUDRY, JI),
    )


def _draw_any(rng: np.random.Generator) -> np.ndarray:
    """With a separator, in between, or with neither, well away from the boundaries between the three."""
    return _draw(rng, ("separator", "between", "neither")[rng.integers(3)])


def _draw(rng: np.random.Generator, what: Literal["separator", "between", "neither"]) -> np.ndarray:
    """Pairs that `signal` ranks right; then two that contradict each other and that it ties; or one that contradicts a
    mixture of all."""
    dim = int(rng.integers(2, 5))
    signal = rng.standard_normal(dim)
    signal /= np.linalg.norm(signal)
    differences = rng.standard_normal((4 * dim, dim))
    differences += (np.abs(differences @ signal) + 0.2 - differences @ signal)[:, None] * signal
    if what == "separator":
        return differences
    if what == "neither":
        return np.vstack([differences, -rng.uniform(0.2, 2.0, 4 * dim) @ differences])
    tied = rng.standard_normal(dim)
    tied -= (tied @ signal) * signal
    return np.vstack([differences, tied, -tied])


def _separable_by_weights(differences: np.ndarray) -> float:
    """0 if weights that are not negative and sum to one make Σ g d zero, the alternative to a separator."""
    count = len(differences)
    equal, target = np.vstack([differences.T, np.ones(count)]), np.r_[np.zeros(differences.shape[1]), 1.0]
    return float(linprog(np.zeros(count), A_eq=equal, b_eq=target, bounds=[(0, None)] * count).status == 2)


def _separable_by_training(differences: np.ndarray) -> float:
    """The loss is convex, so that weights g that sum to one with Σ g d = 0 keep their mean loss, hence the sum of all,
    at ln 2 or more."""

    def loss(head: np.ndarray) -> tuple[float, np.ndarray]:
        margins = differences @ head
        return np.logaddexp(0, -margins).sum(), -np.exp(-np.logaddexp(0, margins)) @ differences

    least = minimize(loss, np.zeros(differences.shape[1]), jac=True, method="BFGS", options={"gtol": 1e-9}).fun
    return float(least < 0.9 * np.log(2))


def _wrongly_stopped(rng: np.random.Generator) -> float:
    wrong = 0
    for what in ("separator", "between", "neither"):
        for _ in range(10):
            heads = logistic_flow(_draw(rng, what), np.array([10.0, 20.0]))
            wrong += (np.linalg.norm(heads[1] - heads[0]) > 0.1) == (what == "neither")
    return float(wrong)


def _certificate(rng: np.random.Generator) -> float:
    worst = 0.0
    for _ in range(10):
        differences = rng.standard_normal((12, 3))
        separator = separate(differences)
        if separator.status == "non-separable":
            combination = np.linalg.norm(separator.certificate @ differences)
            worst = max(worst, combination / np.linalg.norm(differences, axis=1).max())
    return worst
