"""Logistic regression by gradient flow, in logarithmic time: a witness of where explicit training ends up.

du/dt = sum_n sigma(-<u, d_n>) d_n, time being step size times steps over the number of pairs. In s = ln t the margins
of support vectors grow at rate one, so that t = e^200 costs a few thousand evaluations. Knows no separator.

Pairs that no head ranks all right keep their pulls: their sum is a difference of numbers of size t, which rounding
spoils from ln t = 30 or so.
"""

from itertools import count

import numpy as np
from scipy.integrate import solve_ivp

EVALUATIONS = 100_000  # separable data take about 2,000, at any ln t


def logistic_flow(differences: np.ndarray, log_times: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
    """The head at each of the increasing `log_times`, shape (times, dim), started at t = e^-5 (zero by default).

    Raises:
        ValueError: the pairs are not separable and `log_times` too late.
    """
    first = np.zeros(differences.shape[1]) if start is None else start
    evaluations = count()

    def rate(log_time: float, head: np.ndarray) -> np.ndarray:
        if next(evaluations) > EVALUATIONS:
            raise ValueError(
                f"the flow does not get beyond ln t = {log_time:.0f}, where pulls that cancel are rounded; can a head "
                "rank all these pairs right? If none can, ask for ln t of at most 20"
            )
        return np.exp(log_time - np.logaddexp(0.0, differences @ head)) @ differences

    def jacobian(log_time: float, head: np.ndarray) -> np.ndarray:
        margins = differences @ head
        weights = np.exp(log_time - np.logaddexp(0.0, margins) - np.logaddexp(0.0, -margins))
        return -(differences.T * weights) @ differences

    solution = solve_ivp(
        rate,
        (-5.0, float(log_times[-1])),
        first,
        method="LSODA",
        t_eval=log_times,
        jac=jacobian,
        rtol=1e-10,
        atol=1e-10,
    )
    assert solution.success, solution.message
    return solution.y.T
