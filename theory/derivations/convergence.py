"""Where explicit training ends: in the max-margin direction, at the rate 1 / ln t."""

from itertools import combinations

import numpy as np
import sympy as sp

from theory.derivations.algebra import evaluate
from theory.derivations.derivation import Derivation, Witnesses, algebra, cited, numeric
from theory.derivations.flow import logistic_flow
from theory.derivations.symbols import i, j, n, over_coordinates
from theory.separation import separate

SOUDRY = "Soudry, Hoffer, Nacson, Gunasekar and Srebro 2018, JMLR 19(70)"
LATE = 200.0  # ln t at which limits are read off
u, d, g = (sp.IndexedBase(name) for name in ("u", "d", "g"))
margin = over_coordinates(d[n, i] * u[i], i)
gradient_step = algebra(
    "The explicit loss on pair n is a logistic regression without intercept on the differences d_n. Its gradient in "
    "the head is -g_n d_n, with g_n = σ(-⟨u, d_n⟩):",
    sp.Derivative(sp.log(1 + sp.exp(-margin)), u[j]),
    -d[n, j] / (1 + sp.exp(margin)),
)


def logarithmic_rate() -> Derivation:
    time, size, a = sp.symbols("t S a", positive=True)
    grown, along = sp.Function("m")(time), sp.Symbol("v_n", real=True)
    w, v = sp.IndexedBase("w"), sp.IndexedBase("v")
    result = sp.log(time) - sp.log(a)
    log_time = sp.Symbol("s", real=True)

    def proven(differences: np.ndarray) -> np.ndarray:
        multipliers = _multipliers_by_enumeration(differences)
        values = [evaluate(log_time - sp.log(a), {log_time: LATE, a: value}) for value in multipliers if value > 0]
        return np.array(values)

    def closed_form(differences: np.ndarray) -> np.ndarray:
        separator = separate(differences)
        return LATE - np.log(separator.multipliers[separator.support])

    def experimental(differences: np.ndarray) -> np.ndarray:
        """Margins that still grow like ln t, the others (which outgrow them) left out."""
        heads = logistic_flow(differences, np.array([LATE / 2, LATE]))
        growth = (differences @ (heads[1] - heads[0])) / (LATE / 2)
        return (differences @ heads[1])[growth < 1.05]

    return Derivation(
        name="logarithmic_rate",
        title="An explicit head turns towards the max-margin separator at the rate 1 / ln t",
        statement=(
            "Let w = Σ a_n d_n be the hard-margin separator of the training differences d_n, a_n its multipliers. In "
            "time t (step size times steps, over the number of pairs) the margin of a support vector grows as ln t - "
            "ln a_n, all others faster. The head is w ln t plus a bounded rest, so its direction approaches that of "
            "w as 1 / ln t: ten times the accuracy takes the tenth power of the time."
        ),
        assumptions=(
            "the training pairs are separable; the loss is Bradley-Terry, the sum over pairs, and steps are small",
            "no support vector has multiplier zero, as for almost all data",
        ),
        steps=(
            gradient_step,
            algebra(
                "One pair alone can be solved. Its margin m grows at the rate S g with S = ‖d‖², so m + exp(m) grows "
                "linearly and m as ln(S t):",
                sp.Derivative(grown + sp.exp(grown), time),
                size,
                given={grown.diff(time): size / (1 + sp.exp(grown))},
            ),
            cited(
                "For almost all separable data the head is w ln t + v from any start, where v settles and ⟨w, d_n⟩ = "
                "1 on support vectors",
                f"{SOUDRY}, on the residual",
            ),
            algebra(
                "Then w ln t moves at the rate",
                sp.Derivative(sp.log(time) * w[i], time),
                w[i] / time,
            ),
            algebra(
                "and, to leading order, Σ g_n d_n is Σ a_n d_n / t = w / t as well if g_n is a_n / t, which it is "
                "where ⟨v, d_n⟩ = -ln a_n (v_n for short):",
                sp.exp(-(sp.log(time) + along)),
                a / time,
                given={along: -sp.log(a)},
            ),
            algebra(
                "So the margin of a support vector is",
                over_coordinates((w[i] * sp.log(time) + v[i]) * d[n, i], i),
                sp.log(time) * over_coordinates(w[i] * d[n, i], i) + over_coordinates(v[i] * d[n, i], i),
            ),
            algebra(
                "which is",
                sp.log(time) * over_coordinates(w[i] * d[n, i], i) + over_coordinates(v[i] * d[n, i], i),
                result,
                given={over_coordinates(w[i] * d[n, i], i): 1, over_coordinates(v[i] * d[n, i], i): -sp.log(a)},
            ),
        ),
        result=(sp.Symbol("m_n"), result),
        witnesses=Witnesses(
            draw=draw_separable,
            algebra=proven,
            closed_form=closed_form,
            experiment=experimental,
            closed_form_name="theory.separation.separate, its multipliers",
            experiment_text="margins of support vectors at t = e^200, by integrating the gradient flow in ln t",
            tolerance=1e-5,
        ),
        measurements=(
            numeric(
                "Distance from -1 of the log-log slope of |direction - separator| in ln t, between t = e^400 and "
                "e^1600",
                _measured_rate,
                0.15,
            ),
        ),
        limits=(
            "Adam, momentum schedules and normalised gradients converge elsewhere or faster.",
            "A large random start delays it: the bounded rest includes the start.",
            "At any practical t the angle to the separator is a few degrees: compare signs where the separator's "
            "margin exceeds the angle.",
        ),
        references=(SOUDRY,),
    )


def draw_separable(rng: np.random.Generator) -> np.ndarray:
    """Differences whose margins have settled at t = e^200.

    What is left of a constraint with margin 1 + x falls as t^-x, what is left of the start as t^-y with y the smallest
    eigenvalue of diag(a) D D^T over support vectors D; both exponents are kept above 0.15, for e^-30.
    """
    while True:
        dim = int(rng.integers(1, 5))
        signal = rng.standard_normal(dim)
        differences = rng.standard_normal((int(rng.integers(1, 6)), dim))
        differences *= np.sign(differences @ signal)[:, None]
        multipliers = _multipliers_by_enumeration(differences)
        margins = differences @ (multipliers @ differences)
        carried = multipliers > 0
        active = differences[carried] * np.sqrt(multipliers[carried])[:, None]
        settling = np.linalg.eigvalsh(active @ active.T).min()
        if np.all(margins[~carried] > 1.15) and settling > 0.15:
            return differences


def _multipliers_by_enumeration(differences: np.ndarray) -> np.ndarray:
    """Every subset of constraints tried as the support: the one that satisfies all optimality conditions."""
    count = len(differences)
    for size in range(1, min(count, differences.shape[1]) + 1):
        for support in map(list, combinations(range(count), size)):
            active = differences[support]
            gram = active @ active.T
            if np.linalg.matrix_rank(gram) < size:
                continue
            values = np.linalg.solve(gram, np.ones(size))
            if np.all(values > 0) and np.all(differences @ (values @ active) >= 1 - 1e-9):
                multipliers = np.zeros(count)
                multipliers[support] = values
                return multipliers
    raise ValueError("no subset of the constraints satisfies the optimality conditions; are they separable?")


def _measured_rate(rng: np.random.Generator) -> float:
    worst, log_times = 0.0, np.array([400.0, 800.0, 1600.0])
    for _ in range(4):
        differences = np.eye(3)[:2] @ rng.standard_normal((3, 3)) + 2.0 * np.ones(3)
        target = separate(differences).direction
        heads = logistic_flow(differences, log_times, start=rng.standard_normal(3))
        errors = np.linalg.norm(heads / np.linalg.norm(heads, axis=1, keepdims=True) - target, axis=1)
        worst = max(worst, abs(np.polyfit(np.log(log_times), np.log(errors), 1)[0] + 1))
    return worst
