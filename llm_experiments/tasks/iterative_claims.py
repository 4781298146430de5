"""What the study of optimisation claims, and which kind of reward model it says to optimise against.

The rule, written before any run. Best-of-n is judged at its largest n, iterative DPO after its last round. Of two
learned kinds one beats the other where its mean true reward is higher and an exact sign-flip test over clusters says
so at 0.05, corrected by Holm for all comparisons of both uses. Recommended is every kind that no other beats; where
that is all of them, the data cannot decide.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from llm_experiments.tasks.graded_language import GradedLanguage
from simulations.interval_claims import interval_claim
from simulations.results import Claim, Row
from simulations.statistics import holm, mean_interval, sign_flip_test

LEVEL = 0.05
USES = {"best_of_n": "best of n", "iterative": "iterative DPO"}
STEPS = {"best_of_n": "best_of", "iterative": "round"}
WORDS = {
    "explicit": "the explicit model",
    "implicit": "the implicit model",
    "ensemble": "the ensemble of both",
    "truth": "the truth",
}
Values = dict[str, dict[int, float]]  # kind -> cluster -> value


def iterative_claims(rows: Sequence[Row]) -> tuple[list[Claim], list[str]]:
    """What was expected, then the true reward per use and kind under the most pressure, and the advice."""
    ranking = _values(rows, "accuracy", use="ranking", split="unseen_words")
    expected = "ranking pairs in unseen words: explicit minus implicit accuracy"
    claims = [_difference("ranking/unseen_words", expected, ranking, "explicit", "implicit", ">=", 0.2)]
    observed = []
    for use, words in USES.items():
        most = _most(rows, use)
        values = _values(rows, "true", use=use, **{STEPS[use]: most})
        where = f"{words}, {'round' if use == 'iterative' else 'n ='} {most}: true reward"
        for one, op in (("explicit", ">="), ("ensemble", ">=")):
            statement = f"{where}, {one} minus implicit"
            claims.append(_difference(f"{use}/{one}-implicit", statement, values, one, "implicit", op, 0.0))
        claims.append(
            _difference(f"{use}/ensemble-explicit", f"{where}, ensemble minus explicit", values, "ensemble", "explicit",
                        "<=", 0.0)
        )  # fmt: skip
        observed += [
            _claim(f"{use}/{kind}", f"{where} against {WORDS[kind]}", list(found.values()), kind)
            for kind, found in values.items()
        ]
    claims += [_turn(rows), *(_gain(rows, kind) for kind in ("truth", "explicit")), *observed]
    return claims, [*advice(rows), *over_optimisation(rows), form(rows)]


def beaten(rows: Sequence[Row]) -> dict[str, dict[str, list[str]]]:
    """For each use and learned kind, the kinds that beat it."""
    found: dict[str, dict[str, list[str]]] = {}
    tests = []
    for use in USES:
        values = _values(rows, "true", use=use, **{STEPS[use]: _most(rows, use)})
        learned = [kind for kind in values if kind != "truth"]
        found[use] = {kind: [] for kind in learned}
        tests += [(use, one, other, _apart(values, one, other)) for one, other in combinations(learned, 2)]
    adjusted = holm([sign_flip_test(apart) for *_, apart in tests])
    for (use, one, other, apart), p in zip(tests, adjusted, strict=True):
        if p <= LEVEL:
            winner, loser = (one, other) if np.mean(apart) > 0 else (other, one)
            found[use][loser].append(winner)
    return found


def advice(rows: Sequence[Row]) -> list[str]:
    """One plain sentence per use."""
    sentences = []
    for use, losers in beaten(rows).items():
        best = " or ".join(WORDS[kind] for kind, winners in losers.items() if not winners)
        worse = [
            f"{WORDS[kind]} is worse than {' and '.join(map(WORDS.get, winners))}"
            for kind, winners in losers.items()
            if winners
        ]
        said = f"optimise against {best}; {'; '.join(worse)}" if worse else "the data cannot decide between the kinds"
        sentences.append(f"Which labeller, {USES[use]}: {said}.")
    return sentences


def over_optimisation(rows: Sequence[Row]) -> list[str]:
    """Where each kind's curve has its best true reward, and what going on from there costs."""
    notes = []
    for use, words in USES.items():
        for kind in _values(rows, "true", use=use):
            means = {
                at: float(np.mean(list(_values(rows, "true", use=use, **{STEPS[use]: at})[kind].values())))
                for at in sorted({row[STEPS[use]] for row in rows if row["use"] == use})
            }
            peak, end = max(means, key=means.__getitem__), max(means)
            notes.append(
                f"{words[0].upper()}{words[1:]} against {WORDS[kind]}: true reward {means[min(means)]:+.2f} at "
                f"{min(means)}, highest {means[peak]:+.2f} at {peak}, {means[end]:+.2f} at {end}."
            )
    return notes


def form(rows: Sequence[Row]) -> str:
    """How many responses of the last policies have the right form, and what those alone are worth."""
    most, worst, parts = _most(rows, "iterative"), GradedLanguage().ill_formed_reward, []
    for kind in _values(rows, "true", use="iterative"):
        last = [row for row in rows if (row["use"], row["kind"], row.get("round")) == ("iterative", kind, most)]
        share, true = (float(np.mean([row[name] for row in last])) for name in ("well_formed", "true"))
        alone = f", which alone are worth {(true - (1 - share) * worst) / share:+.2f}" if share else ""
        parts.append(f"{WORDS[kind]} {share:.2f}{alone}")
    return f"Responses of the right form after round {most}: {'; '.join(parts)}."


def _most(rows: Sequence[Row], use: str) -> int:
    return max(row[STEPS[use]] for row in rows if row["use"] == use)


def _values(rows: Sequence[Row], value: str, **wanted: Any) -> Values:
    found: Values = {}
    for row in rows:
        if all(row.get(name) == content for name, content in wanted.items()):
            found.setdefault(row["kind"], {})[row["cluster"]] = row[value]
    return found


def _apart(values: Mapping[str, Mapping[int, float]], one: str, other: str) -> list[float]:
    return [value - values[other][cluster] for cluster, value in values[one].items()]


def _turn(rows: Sequence[Row]) -> Claim:
    """Over-optimisation: the implicit model's best of the largest n against that of a quarter as many."""
    most = _most(rows, "best_of_n")
    fewer, more = (
        _values(rows, "true", use="best_of_n", best_of=n, kind="implicit")["implicit"] for n in (most // 4, most)
    )
    changes = [more[cluster] - fewer[cluster] for cluster in fewer]
    statement = f"best of n against the implicit model: true reward, n = {most} minus n = {most // 4}"
    return _claim("best_of_n/implicit/turn", statement, changes, "implicit", "<=", 0.0)


def _gain(rows: Sequence[Row], kind: str) -> Claim:
    """That rounds of DPO help at all; for the truth, that they can."""
    most = _most(rows, "iterative")
    first, last = (_values(rows, "true", use="iterative", round=at, kind=kind)[kind] for at in (0, most))
    statement = f"iterative DPO against {WORDS[kind]}: true reward, round {most} minus round 0"
    return _claim(f"iterative/{kind}/gain", statement, [last[c] - first[c] for c in first], kind, ">=", 0.0)


def _difference(id: str, statement: str, values: Values, one: str, other: str, op: str, value: float) -> Claim:
    apart = _apart(values, one, other)
    return _claim(id, f"{statement} (exact sign-flip p = {sign_flip_test(apart):.3f})", apart, "", op, value)


def _claim(
    id: str, statement: str, values: list[float], kind: str, op: str = "none", value: float | None = None
) -> Claim:
    return interval_claim(
        f"iterative/{id}", statement, mean_interval(values), rung=1, op=op, value=value, kind=kind,
        model="Mistral, untied",
    )  # fmt: skip
