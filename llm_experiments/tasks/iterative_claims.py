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
    "self": "the policy's own implicit reward",
    "truth": "the truth",
}
Values = dict[str, dict[int, float]]  # kind -> cluster -> value


def iterative_claims(rows: Sequence[Row]) -> tuple[list[Claim], list[str]]:
    """True reward per use and kind under the most pressure, what was expected of it, and the advice."""
    ranking = {split: _values(rows, "accuracy", use="ranking", split=split) for split in ("seen_words", "unseen_words")}
    claims = [
        _difference("ranking/unseen_words", "ranking pairs in unseen words: explicit minus implicit accuracy",
                    ranking["unseen_words"], "explicit", "implicit", ">=", 0.2),
    ]  # fmt: skip
    for use, words in USES.items():
        at = _most(rows, use)
        values = _values(rows, "true", use=use, **{STEPS[use]: at})
        where = f"{words} ({'round' if use == 'iterative' else 'n ='} {at})"
        claims += [
            _difference(f"{use}/explicit-implicit", f"{where}: true reward, explicit minus implicit",
                        values, "explicit", "implicit", ">=", 0.0),
        ]  # fmt: skip
        claims += [
            _claim(f"{use}/{kind}", f"{where} against {WORDS[kind]}: true reward", list(found.values()), kind)
            for kind, found in values.items()
        ]
    return claims, [*advice(rows), *over_optimisation(rows)]


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


def _difference(
    id: str, statement: str, values: Values, one: str, other: str, op: str = "none", value: Any = None
) -> Claim:
    apart = _apart(values, one, other)
    return _claim(id, f"{statement} (exact sign-flip p = {sign_flip_test(apart):.3f})", apart, "", op, value)


def _claim(id: str, statement: str, values: list[float], kind: str, op: str = "none", value: Any = None) -> Claim:
    return interval_claim(
        f"iterative/{id}", statement, mean_interval(values), rung=1, op=op, value=value, kind=kind,
        model="Mistral, untied",
    )  # fmt: skip
