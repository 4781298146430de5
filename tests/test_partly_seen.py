"""Why words never seen are ranked wrong by implicit models: the first step's change, taken apart as the module says."""

import numpy as np
import pytest

from simulations.families import States
from simulations.partly_seen import VARIANTS, PartlySeenSettings, draw
from theory.contraction import token_coefficients
from theory.dynamics import OutputLayer, Response, ResponsePair
from theory.stack import Stack

SETTINGS = PartlySeenSettings()


def pairs(states: States) -> list[ResponsePair]:
    made = [
        [Response(*side) for side in zip(*sides, strict=True)]
        for sides in zip(states.hidden, states.tokens, strict=True)
    ]
    return [ResponsePair(*sides) for sides in made]


def taken_apart(family: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(margin changes by terms behind an answer word along the semantic direction, by all others, rho behind a word)

    Per evaluated pair of unseen words, summed over training pairs: at the start all count alike, and the factors
    beta^2 eta g are left out.
    """
    language, train, evaluated = draw(SETTINGS, VARIANTS[family], seed)
    layer = OutputLayer(language.reference)
    rows, columns = (Stack.of(layer, pairs(states)) for states in (evaluated[0], train))
    rho, _ = token_coefficients(layer, rows, columns, chunk=4096)
    assert not (rows.tokens[:, None] == columns.tokens).any()  # no word matches
    first = [np.arange(len(stack.tokens)) % SETTINGS.length == 0 for stack in (rows, columns)]
    behind = ~np.logical_or.outer(*first)
    signed = rho * np.outer(rows.signs, columns.signs)
    meaning = signed * np.outer(rows.hidden @ language.semantic, columns.hidden @ language.semantic) * behind
    rest = signed * (rows.hidden @ columns.hidden.T) - meaning

    def per_pair(terms: np.ndarray) -> np.ndarray:
        return terms.reshape(len(rows), -1).sum(1)

    return per_pair(meaning), per_pair(rest), rho[behind]


@pytest.mark.parametrize(("family", "without"), [("base", 0.78), ("statement", 0.59)])
def test_unmatched_words_in_like_states_turn_the_ranking_round(family, without):
    meaning, rest, rho = (np.stack(part) for part in zip(*(taken_apart(family, s) for s in range(16)), strict=True))
    assert np.mean(meaning + rest > 0) < 0.02
    assert np.mean(rest > 0) == pytest.approx(without, abs=0.005)
    assert (meaning < 0).all()
    if family == "base":
        assert meaning.mean() == pytest.approx(-39.7, abs=0.05)
        assert rest.mean() == pytest.approx(9.0, abs=0.05)
        assert rho.mean() == pytest.approx(-0.046, abs=0.0005)
        assert np.mean(rho < 0) == pytest.approx(0.95, abs=0.005)
