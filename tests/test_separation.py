"""The separator against answers known in advance, against brute force, and against the conditions of optimality."""

import inspect
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import theory.separation as separation
from theory.nonnegative import projected_newton
from theory.separation import Separator, separate


def planted(
    constraints: int, dim: int, support: int, margin: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, float]:
    """Constraints whose separator is known: (rows, unit direction u, normalised margin).

    `support` rows are margin u + v_i with a convex combination of the v_i, all orthogonal to u, equal to zero: so
    margin u is itself a convex combination of rows, and no direction can beat u. All other rows lie further out.
    """
    rng = np.random.default_rng(seed)
    u = rng.standard_normal(dim)
    u /= np.linalg.norm(u)

    def across(count: int) -> np.ndarray:
        noise = rng.standard_normal((count, dim)) / np.sqrt(dim)
        return noise - np.outer(noise @ u, u)

    weights = rng.random(support) + 0.1
    v = across(support)
    v -= (weights / weights.sum()) @ v
    further = np.outer(margin + rng.exponential(max(margin, 0.01), constraints - support), u)
    rows = np.vstack([margin * u + v, across(constraints - support) + further])
    return rng.permutation(rows), u, margin / np.linalg.norm(rows, axis=1).max()


def brute_force(rows: np.ndarray) -> np.ndarray | None:
    """The shortest w with <w, z_i> >= 1, by trying every set of constraints that could hold with equality."""
    best = None
    for size in range(1, min(rows.shape) + 1):
        for active in combinations(range(len(rows)), size):
            w = np.linalg.pinv(rows[list(active)]) @ np.ones(size)
            if (rows @ w).min() > 1 - 1e-9 and (best is None or w @ w < best @ best):
                best = w
    return best


@pytest.mark.parametrize("shape", [(8, 6, 4), (80, 20, 15), (60, 200, 60), (300, 640, 200), (400, 50, 51 - 1)])
@pytest.mark.parametrize("margin", [1.0, 1e-2, 1e-4, 1e-6])
def test_a_known_separator_is_found_down_to_margins_of_a_millionth(shape, margin):
    rows, u, normalised = planted(*shape, margin)
    answer = separate(rows)
    assert answer.status == "separable"
    # Rounding of the rows themselves, 1e-16, is amplified by one over the margin, and by the condition of the support.
    assert np.linalg.norm(answer.direction - u) < 1e-13 / normalised
    assert answer.normalised_margin == pytest.approx(normalised, rel=1e-13 / normalised)
    assert answer.support.sum() == shape[2]


@given(
    constraints=st.integers(1, 6),
    dim=st.integers(1, 4),
    seed=st.integers(0, 10**6),
    tilt=st.sampled_from([0.0, 1.0, 3.0]),
)
def test_small_problems_agree_with_brute_force(constraints, dim, seed, tilt):
    rows = np.random.default_rng(seed).standard_normal((constraints, dim)) + tilt
    answer, best = separate(rows), brute_force(rows)
    assert answer.status == ("non-separable" if best is None else "separable")
    if best is not None:
        np.testing.assert_allclose(answer.direction, best / np.linalg.norm(best), atol=1e-8)
        np.testing.assert_allclose(answer.multipliers @ rows, best, rtol=1e-8, atol=1e-8)


def check_proof(rows: np.ndarray, answer: Separator) -> None:
    """The laws that every answer of `separate` obeys."""
    assert answer.certificate.min() >= 0
    assert answer.certificate.sum() == pytest.approx(1, abs=1e-12)
    longest = np.linalg.norm(rows, axis=1).max()
    assert np.linalg.norm(answer.certificate @ rows) / longest == pytest.approx(answer.margin_bound, abs=1e-14)
    if answer.status == "separable":
        assert (rows @ answer.direction).min() / longest == pytest.approx(answer.normalised_margin, abs=1e-14)
        assert np.linalg.norm(answer.direction) == pytest.approx(1, abs=1e-14)
        assert 0 <= answer.margin_bound / answer.normalised_margin - 1 + 1e-12 < 1e-7
        w = answer.multipliers @ rows  # stationarity; feasible with equality on the support
        assert (rows @ w).min() == pytest.approx(1, abs=1e-7)
        assert max(vars(answer.optimality).values()) < 1e-13 / answer.normalised_margin**2
    else:
        assert answer.status == "non-separable"
        assert answer.margin_bound <= 1e-13
        assert answer.direction is None


@given(
    constraints=st.integers(1, 40),
    dim=st.integers(1, 40),
    seed=st.integers(0, 10**6),
    tilt=st.sampled_from([0.0, 0.3, 2.0]),
)
def test_every_answer_carries_its_proof(constraints, dim, seed, tilt):
    rows = np.random.default_rng(seed).standard_normal((constraints, dim)) + tilt
    check_proof(rows, separate(rows))


# (function, what stands there, what a mistake would make of it)
MISTAKES = {
    "an unnormalised direction": ("_separator", "w / np.linalg.norm(w)", "1.0 * w"),
    "a dropped active constraint": ("_solve_on", "count = int", "active[active.argmax()] = False; count = int"),
    "multipliers of the wrong sign": (
        "_solve_on",
        "= solve_triangular(triangle, along)",
        "= -solve_triangular(triangle, along)",
    ),
    "one multiplier of the wrong sign": (
        "_solve_on",
        "return basis",
        "multipliers[active.argmax()] *= -1; return basis",
    ),
    "multipliers of another scale": ("_separator", "/ longest**2", "/ longest"),
    "a certificate of other constraints": (
        "_separator",
        "multipliers / longest**2, cert",
        "multipliers / longest**2, 1 - cert",
    ),
    "a certificate off by the order": (
        "separate",
        "certificate, bound = weights / weights.sum()",
        "certificate, bound = weights[::-1] / weights.sum()",
    ),
    "a bound of another combination": ("_separator", "certificate @ rows", "rows.mean(axis=0)"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_noticed(monkeypatch, name):
    function, right, wrong = MISTAKES[name]
    rng = np.random.default_rng(3)
    problems = [planted(30, 40, 20, 0.05)[0], 3 * planted(60, 8, 8, 0.1)[0], rng.standard_normal((50, 5))]
    statuses = ["separable", "separable", "non-separable"]
    assert [separate(rows).status for rows in problems] == statuses
    source, space = inspect.getsource(inspect.unwrap(getattr(separation, function))), dict(vars(separation))
    assert source.count(right) == 1
    exec(source.replace(right, wrong), space)
    monkeypatch.setattr(separation, function, space[function])

    def check_laws():
        for rows, status in zip(problems, statuses, strict=True):
            answer = separation.separate(rows)
            assert answer.status == status
            check_proof(rows, answer)

    with pytest.raises(AssertionError):
        check_laws()


def test_scale_and_rotation_of_the_data_change_nothing_but_the_scale():
    rows, _, _ = planted(40, 12, 9, 0.05)
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((12, 12)))[0]
    plain, turned = separate(rows), separate(1e-6 * rows @ rotation)
    np.testing.assert_allclose(turned.direction, plain.direction @ rotation, atol=1e-12)
    assert turned.normalised_margin == pytest.approx(plain.normalised_margin, rel=1e-11)
    np.testing.assert_allclose(turned.multipliers, plain.multipliers * 1e12, rtol=1e-8)


def test_repeated_constraints_change_no_direction():
    rows, u, _ = planted(30, 40, 20, 0.05)
    answer = separate(np.vstack([rows, rows, 3 * rows]))
    np.testing.assert_allclose(answer.direction, u, atol=1e-10)


@pytest.mark.parametrize(
    "rows",
    [
        np.array([[1.0, 0.0], [-1.0, 0.0]]),  # opposite
        np.array([[1.0, 0.0], [-2.0, 0.0], [0.0, 1.0]]),
        np.array([[1.0, 2.0], [0.0, 0.0]]),  # a pair whose two hidden states are equal
        np.zeros((3, 2)),
        np.random.default_rng(0).standard_normal((200, 40)),
    ],
)
def test_what_no_direction_separates_comes_with_a_combination_that_is_zero(rows):
    answer = separate(rows)
    assert answer.status == "non-separable"
    assert np.abs(answer.certificate @ rows).max() < 1e-13
    assert answer.certificate.min() >= 0
    with pytest.raises(ValueError, match="non-separable"):
        answer.margins(rows)


@pytest.mark.parametrize("constraints", [40, 20])
def test_below_the_tolerance_the_answer_is_undecided(constraints):
    rows, _, normalised = planted(constraints, 30, 15, 1e-9)
    answer = separate(rows)
    assert answer.status == "undecided"
    assert answer.direction is None
    assert 0.5 * normalised < answer.margin_bound < 1e-7
    assert separate(planted(constraints, 30, 15, 1e-3)[0], tolerance=1e-2).status == "undecided"


def test_an_answer_whose_bounds_do_not_meet_is_undecided(monkeypatch):
    # A solver that stops early: the wrong constraints carry the answer. Checked on every answer, so it is not believed.
    monkeypatch.setattr(separation, "_single_multipliers", lambda rows, height: np.arange(len(rows)) % 2 + 0.0)
    monkeypatch.setattr(separation, "_block_multipliers", lambda rows, height: np.arange(len(rows)) % 3 + 0.0)
    assert separate(planted(30, 40, 20, 0.05)[0]).status == "undecided"
    monkeypatch.undo()
    assert separate(planted(30, 40, 20, 0.05)[0]).status == "separable"


@pytest.mark.parametrize("residual", ["primal", "dual", "stationarity"])
def test_an_answer_that_is_not_optimal_is_undecided_though_its_bounds_meet(monkeypatch, residual):
    """Bounds are those of a direction and of a convex combination: neither sees a length or a negative multiplier."""
    solve = separation._solve_on

    def planted_answer(rows, active):
        solved = solve(rows, active)
        if solved is None:
            return None
        w, multipliers = solved
        if residual == "dual":
            return w, np.where(active, multipliers, -1e-5 * multipliers.max())
        return (1 - 1e-5 if residual == "primal" else 1 + 1e-5) * w, multipliers

    rows = planted(60, 40, 20, 0.05)[0]
    assert separate(rows).status == "separable"
    monkeypatch.setattr(separation, "_solve_on", planted_answer)
    assert separate(rows).status == "undecided"


def test_what_the_separator_ranks_right_and_what_no_nearby_direction_can_change():
    rows, u, _ = planted(30, 8, 8, 0.05)
    answer = separate(rows)
    rng = np.random.default_rng(1)
    pairs = rng.standard_normal((500, 8))
    np.testing.assert_array_equal(answer.ranks_right(pairs), pairs @ u > 0)
    np.testing.assert_allclose(answer.margins(5 * pairs), answer.margins(pairs), atol=1e-14)
    assert answer.margins(np.zeros((1, 8)))[0] == 0
    aside = rng.standard_normal((200, 8))
    aside -= np.outer(aside @ u, u)
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    angle = 0.3
    nearby = np.cos(angle) * u + np.sin(angle) * aside
    flips = (nearby @ pairs.T > 0) != answer.ranks_right(pairs)
    decided = answer.decides(pairs, angle)
    assert not flips[:, decided].any()
    assert flips[:, ~decided].any(axis=0).mean() > 0.5  # the condition is not idle
    assert not answer.decides(pairs, np.pi / 2).any()


def test_projected_newton_solves_what_it_can_and_never_climbs():
    rng = np.random.default_rng(2)
    factor = rng.standard_normal((30, 20))
    gram, linear = factor.T @ factor, rng.standard_normal(20)
    x = projected_newton(gram, linear)
    gradient = gram @ x - linear
    assert x.min() >= 0
    assert gradient.min() > -1e-12
    assert np.abs(x * gradient).max() < 1e-12
    singular = factor @ factor.T
    y = projected_newton(singular, factor @ np.ones(20))
    assert y @ singular @ y / 2 - (factor @ np.ones(20)) @ y < 0


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="empty set"):
        separate(np.zeros((0, 3)))
    with pytest.raises(ValueError, match="not finite"):
        separate(np.array([[1.0, np.nan]]))
