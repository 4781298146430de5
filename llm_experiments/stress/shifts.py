"""A shift: one edit, at one strength, of one side of a pair; what became of each pair is its fate.

    changed             at least one text differs, and every edit passed its gate
    unchanged           the edit found nothing to change
    rejected: reason    an edit failed its gate, or there is no rewrite of this pair; the text is kept for reading

An invariance edit changes both responses by the same rule (or neither), or the prompt; a sensitivity edit damages one
response.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from llm_experiments.pairs import Pair
from llm_experiments.stress.sides import FIELDS, Side, with_words, words_of
from llm_experiments.stress.transformation import Purpose, Transformation, transform_text
from llm_experiments.stress.validity import check

CHANGED, UNCHANGED, REJECTED = "changed", "unchanged", "rejected: "


class Shifted(NamedTuple):
    """A pair after a shift. One that was rejected must not be scored."""

    pair: Pair
    fate: str


@dataclass(frozen=True)
class Shift:
    """`name` is what its files are called: transformation@strength@side."""

    transformation: str
    family: str
    purpose: Purpose
    strength: float
    side: Side
    description: str
    change: Callable[[Pair], Shifted]
    parts: tuple["Shift", ...] = ()  # of a combined one: the prompt's, the responses'

    @property
    def name(self) -> str:
        return f"{self.transformation}@{self.strength:g}@{self.side}"


def shift_by(transformation: Transformation, strength: float, side: Side, *, seed: int) -> Shift:
    """A `Transformation` at a strength on a side. Random choices depend on (seed, transformation, pair id) alone, and
    are the same for both responses."""

    def change(pair: Pair) -> Shifted:
        shifted, reason = pair, None
        for field in FIELDS[side]:
            before = words_of(pair, field)
            example = f"{pair.id}/{'prompt' if field == 'prompt' else 'responses'}"
            after = transform_text(transformation, before, seed=seed, example=example, strength=strength)
            if after != before:
                reason = reason or check(transformation.gate, before, after)
                shifted = with_words(shifted, field, after)
        return _with_fate(pair, shifted, reason)

    about = (transformation.name, transformation.family, transformation.purpose)
    return Shift(*about, strength, side, transformation.description, change)


def combined(prompt: Shift, responses: Shift) -> Shift:
    """Both at once; a pair that either leaves as it was is left out, since it says nothing about the two together."""

    def change(pair: Pair) -> Shifted:
        first = prompt.change(pair)
        second = responses.change(first.pair)
        for fate in (first.fate, second.fate):
            if fate != CHANGED:
                return Shifted(second.pair, fate if fate.startswith(REJECTED) else f"{REJECTED}one of two does nothing")
        return Shifted(second.pair, CHANGED)

    return Shift(
        f"{prompt.transformation}+{responses.transformation}",
        "combined",
        "invariance",
        responses.strength,
        "both",
        f"{prompt.transformation} of the prompt with {responses.transformation} of the responses",
        change,
        (prompt, responses),
    )


def _with_fate(before: Pair, after: Pair, reason: str | None) -> Shifted:
    if reason:
        return Shifted(after, REJECTED + reason)
    return Shifted(after, UNCHANGED if after == before else CHANGED)
