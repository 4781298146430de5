"""A shift: one edit, at one strength, of one side of a pair; what became of each pair is its fate.

    changed             at least one text differs, and every edit passed its gate
    unchanged           the edit found nothing to change
    rejected: reason    an edit failed its gate, the prompt asks for the form that it changes, or there is no rewrite of
                        this pair; the text is kept for reading

An invariance edit looks at both responses by the same rule, or at the prompt. The rule may find something to change in
one response alone: the pair is then one-sided, and a taste for the form itself, such as Markdown, can turn it over. A
sensitivity edit damages one response.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from llm_experiments.pairs import Pair, plain_text
from llm_experiments.stress.asked import asks_for_form
from llm_experiments.stress.sides import FIELDS, Side, with_words, words_of
from llm_experiments.stress.transformation import Purpose, Transformation, transform_text
from llm_experiments.stress.validity import check

ASKED = "the prompt asks for this form"
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
        if side == "responses" and asks_for_form(plain_text(pair.prompt), transformation.family):
            reason = (reason or ASKED) if shifted != pair else None
        return _with_fate(pair, shifted, reason)

    about = (transformation.name, transformation.family, transformation.purpose)
    return Shift(*about, strength, side, transformation.description, change)


def one_sided(before: Pair, after: Pair) -> bool:
    """Is one response changed and the other as it was? (After an edited prompt both are read anew.)"""
    responses = (before.chosen == after.chosen) != (before.rejected == after.rejected)
    return before.prompt == after.prompt and responses


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
