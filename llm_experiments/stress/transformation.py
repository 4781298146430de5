"""A transformation of text: a pure function of (text, generator, strength) with a gate for what it makes."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from llm_experiments.stress.sides import Side
from llm_experiments.stress.validity import Gate

Purpose = Literal["invariance", "sensitivity"]
Apply = Callable[[str, np.random.Generator, float], str]


@dataclass(frozen=True)
class Transformation:
    """One way of rewriting a text.

    `purpose`: *invariance* edits leave the meaning as it is, so that a ranking should not change; *sensitivity* edits
    damage one response, whose reward should fall. `apply(text, generator, strength)` is pure; strength lies in [0, 1]
    and says which share of the eligible places is edited: 0 is the identity, and the places edited at a lower
    strength are edited at a higher one as well. `sides`: where the edit makes sense. `description` is one line for a
    reader of the page.
    """

    name: str
    family: str
    purpose: Purpose
    apply: Apply
    gate: Gate
    description: str
    sides: tuple[Side, ...] = ("prompt", "responses")


def transform_text(transformation: Transformation, text: str, *, seed: int, example: str, strength: float) -> str:
    """The text rewritten, by draws that depend on (seed, transformation, example) alone: neither on the order in which
    texts are transformed nor on the number of workers.

    `example` names what shares its draws: give both responses of a pair the same ("17/responses"), so that what they
    have in common is edited alike, and the prompt another ("17/prompt").

    Raises:
        ValueError: strength outside [0, 1].
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must lie in [0, 1], got {strength}")
    if strength == 0 or not text:
        return text
    return transformation.apply(text, _generator(seed, transformation.name, example), strength)


def _generator(seed: int, name: str, example: str) -> np.random.Generator:
    # repr keeps the parts apart ("a", "b/c" and "a/b", "c" differ) and escapes lone surrogates, which UTF-8 has not
    key = hashlib.sha256(repr((seed, name, example)).encode()).digest()
    return np.random.default_rng(int.from_bytes(key[:16], "little"))
