"""What a derivation promises: honest verdicts, errors that are noticed, and the same content in every rendering."""

import json
from dataclasses import replace

import numpy as np
import pytest
import sympy as sp

from rewardgap import main
from theory.derivations import PROPOSITIONS, derive, flow, propositions
from theory.derivations.algebra import evaluate, residual
from theory.derivations.derivation import algebra, cited, non_negative, numeric
from theory.derivations.flow import logistic_flow
from theory.derivations.prose import to_latex as prose
from theory.derivations.rendering import to_markdown
from theory.derivations.symbols import D, V, a, b, c, delta, over_coordinates, over_words, p, q
from theory.separation import separate

RNG = np.random.default_rng(0)


def test_unknown_names_are_answered_with_near_misses():
    with pytest.raises(ValueError, match="did you mean implicit_one_step"):
        derive("implict_one_step")
    with pytest.raises(ValueError, match="there are bradley_terry_gradient, log_partition"):
        derive("zzz")


def test_every_proposition_is_listed_under_its_own_name():
    assert [name for name, _ in propositions()] == list(PROPOSITIONS)
    assert all(derive(name).name == name for name in PROPOSITIONS)


def test_proved_is_said_only_where_every_step_is_algebra():
    derivation = derive("explicit_one_step")
    assert derivation.check(instances=1).proved
    by_authority = replace(derivation, steps=(*derivation.steps, cited("It is known.", "someone")))
    check = by_authority.check(instances=1)
    assert check.holds
    assert not check.proved
    assert check.verdict == "not proved here: cited steps"
    measured = replace(derivation, steps=(*derivation.steps, numeric("It is so.", lambda rng: 0.0, 0.0)))
    assert measured.check(instances=1).verdict == "not proved here: measured steps"


def test_proved_is_not_said_of_steps_that_end_elsewhere_than_in_the_closed_form():
    """However true they are."""
    derivation = derive("explicit_one_step")
    beside_the_point = replace(derivation, steps=(algebra("", over_words(delta(a, c) * p[c]), p[a]),))
    truncated = replace(derivation, steps=derivation.steps[:-1])
    for changed in (beside_the_point, truncated):
        check = changed.check(instances=1)
        assert check.holds
        assert not check.proved
        assert check.verdict == "not proved here: the algebra ends elsewhere"


@pytest.mark.parametrize("name", PROPOSITIONS)
def test_the_algebra_of_every_proposition_ends_in_its_closed_form(name):
    derivation = derive(name)
    assert derivation.ends_in_closed_form
    last = [step for step in derivation.steps if step.kind == "algebra"][-1]
    assert last.check(RNG).holds


def test_a_step_that_shows_nothing_is_refused():
    x = sp.Symbol("x")
    with pytest.raises(ValueError, match="both sides are the same"):
        algebra("", p[a], p[a])
    with pytest.raises(ValueError, match="the left side is given"):
        algebra("", x, 5, given={x: 5})
    with pytest.raises(ValueError, match="the left side is given"):
        non_negative("", x**2, 5, given={x**2: 5})


def test_a_false_step_a_failing_measurement_and_a_disagreeing_witness_all_fail_the_check():
    derivation = derive("explicit_one_step")
    false_step = replace(derivation, steps=(*derivation.steps, algebra("wrong", p[a], q[a])))
    measurement = replace(derivation, measurements=(numeric("too large", lambda rng: 2.0, 1.0),))
    witnesses = derivation.witnesses
    for changed in (
        false_step,
        measurement,
        replace(derivation, witnesses=replace(witnesses, algebra=lambda case: 1.001 * witnesses.algebra(case))),
        replace(derivation, witnesses=replace(witnesses, closed_form=lambda case: float("nan"))),
    ):
        check = changed.check(instances=2)
        assert not check.holds
        assert check.verdict == "FAILS"


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (over_words(delta(a, c) * p[c]), p[b]),
        (over_words(p[c] + q[c]), over_words(p[c])),
        (over_words(p[c] * q[c]), over_words(p[c]) * over_words(q[c])),
        (over_words(p[c]), over_coordinates(p[c], c)),
        (sp.Derivative(p[a] ** 2, p[b]), 2 * p[a]),
        (delta(a, b) * p[a], delta(a, b) * q[b]),
        (over_words(p[c]) ** 2, over_words(p[c] ** 2)),
        (over_words(p[c] * q[a], a, c), over_words(p[c] * q[c])),
        (1 / over_words(p[c]), over_words(1 / p[c])),
        (over_words(sp.exp(p[c])), sp.exp(over_words(p[c]))),
    ],
)
def test_what_is_false_for_some_size_or_word_is_not_shown(left, right):
    assert residual(left, right) != 0


def test_what_is_true_for_every_size_is_shown():
    pairs = over_words(p[c]) ** 2 - over_words(p[c] ** 2)
    assert residual(pairs, over_words(p[c] * p[a] * (1 - delta(a, c)), a, c)) == 0
    assert residual(over_words(p[c] / over_words(p[a], a)), sp.S.One) == 0
    assert residual(over_words(sp.S.One), V) == 0
    assert residual(over_words(delta(a, c) * delta(b, c) * p[c]), delta(a, b) * p[b]) == 0
    assert residual(sp.Sum(p[a] * q[b], (a, 1, V), (b, 1, D)), over_words(p[a], a) * over_coordinates(q[b], b)) == 0


def test_a_sign_is_shown_term_by_term():
    x, y = sp.symbols("x y", nonnegative=True)
    free = sp.Symbol("z", real=True)
    assert non_negative("", (x + y) ** 2, x**2 + 2 * x * y + y**2).check(RNG).holds
    assert not non_negative("", (x - y) ** 2, x**2 - 2 * x * y + y**2).check(RNG).holds
    assert not non_negative("", x * (free + 1) - x, x * free).check(RNG).holds
    assert not non_negative("", x, x + y).check(RNG).holds


def test_evaluation_reads_an_expression_as_it_stands():
    values = {V: 3, a: 2, p: np.array([0.2, 0.3, 0.5]), q: np.array([1.0, 2.0, 4.0])}
    assert evaluate(over_words((delta(a, c) - p[c]) * q[c]), values) == pytest.approx(2.0 - 2.8)
    with pytest.raises(ValueError, match="no value given for b"):
        evaluate(p[b], values)


@pytest.mark.parametrize("name", PROPOSITIONS)
def test_every_proposition_renders_on_a_terminal_in_latex_and_in_jupyter(name):
    derivation = derive(name)
    text, latex, markdown = derivation.to_text(), derivation.to_latex(), to_markdown(derivation)
    assert latex.isascii(), sorted({letter for letter in latex if not letter.isascii()})
    assert r"\hbar" not in latex + markdown
    assert latex.count("{") == latex.count("}")
    assert latex.count("$") % 2 == 0
    assert latex.count(r"\item") == text.count("[algebra]") + text.count("[cited]") + text.count("[numeric]")
    for heading in ("Assumptions", "Closed form", "Where it stops holding", "References"):
        assert heading in text
        assert heading in latex
        assert heading in markdown


def test_a_formula_in_prose_is_typeset_as_one():
    assert prose("by β² η g [S(ȳ, y⁺) - S(ȳ, y⁻)] / 2 to first") == (
        r"by $\beta^{2} \eta g [S(\bar{y}, y^{+}) - S(\bar{y}, y^{-})] / 2$ to first"
    )
    assert prose("the pair (x, y⁺, y⁻) (an aside), a word") == "the pair $(x, y^{+}, y^{-})$ (an aside), a word"
    assert prose("P(y⁺ beats y⁻) = 1[a = w] - 0.5.") == r"$P(y^{+}\text{ beats }y^{-}) = 1[a = w] - 0.5$."
    assert prose("η - a rate - and ρ") == r"$\eta$ - a rate - and $\rho$"


def test_jupyter_checks_every_step_as_it_renders_it():
    derivation = derive("explicit_one_step")
    assert derivation._repr_markdown_().count("— checked") == len(derivation.steps)
    wrong = replace(derivation, steps=(*derivation.steps, algebra("A slip:", p[a], q[a])))
    assert "FAILS, left over: p[a] - q[a]" in wrong._repr_markdown_()


def test_a_head_that_ties_two_pairs_and_ranks_the_third_right_never_stops():
    """Two pairs contradict each other, and the head grows along the third as ln t does; two others, which agree only in
    the direction of the contradiction, stop it."""
    pairs = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    assert separate(pairs).status == "non-separable"
    assert logistic_flow(pairs, np.array([50.0, 500.0])) == pytest.approx(np.array([[0.0, 50.0], [0.0, 500.0]]))
    stopping = np.vstack([pairs[:2], [[1.0, 1.0], [1.0, -1.0]]])
    early, late = logistic_flow(stopping, np.array([10.0, 20.0]))
    assert late == pytest.approx(early, abs=1e-6)
    assert np.linalg.norm(late) > 0.1


def test_the_flow_refuses_times_at_which_contradicting_pulls_are_rounded(monkeypatch):
    monkeypatch.setattr(flow, "EVALUATIONS", 5000)
    rng = np.random.default_rng(0)
    pairs = np.abs(rng.standard_normal((6, 4)))
    logistic_flow(pairs, np.array([200.0]))
    with pytest.raises(ValueError, match="can a head rank all these pairs right"):
        logistic_flow(np.vstack([pairs, -pairs[:1]]), np.array([200.0]))


@pytest.mark.integration
def test_the_front_door_checks_every_proposition_and_all_hold(capsys):
    assert main(["derive", "--all", "--json"]) == 0
    claims = json.loads(capsys.readouterr().out)["claims"]
    assert len(claims) == len(PROPOSITIONS) == 22
    assert all(claim["holds"] is True for claim in claims), [claim for claim in claims if not claim["holds"]]
