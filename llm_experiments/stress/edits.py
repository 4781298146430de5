"""Edits at places: which of them are made, and the text that results."""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from llm_experiments.stress.protected import Kind, protection_mask


class Edit(NamedTuple):
    """Characters `start` to `end` (exclusive) become `text`; an insertion has start == end."""

    start: int
    end: int
    text: str


Place = tuple[Edit, ...]  # edits that are made together or not at all: both marks of a bold word
Find = Callable[[str, np.random.Generator], Iterable[Place]]

# A word of ASCII letters that no other letter, digit, mark, joiner or lone apostrophe belongs to: edits that know
# English only may change it without tearing a combining mark off its letter.
_JOINED = r"\w\u0300-\u036f\u20d0-\u20ff\ufe00-\ufe0f\u200d"
BEFORE = rf"(?<![{_JOINED}’'-])"
AFTER = rf"(?![{_JOINED}-]|['’][A-Za-z])"
ENGLISH_WORD = re.compile(rf"{BEFORE}[A-Za-z]+{AFTER}")


def edit_some(
    find: Find,
    text: str,
    generator: np.random.Generator,
    strength: float,
    *,
    targets: frozenset[Kind] = frozenset(),
    rate: float = 1.0,
) -> str:
    """`text` with a share `strength * rate` of the edits that `find` offers outside protected spans.

    A place is edited where its own uniform number lies below the share, so a higher strength adds edits and changes
    none. What `find` draws and the choice of places come from streams of their own, so two texts that open alike are
    edited alike there. Of two edits that overlap the first is kept.
    """
    if strength == 0:
        return text
    finding, choosing = generator.spawn(2)
    places = allowed(find(text, finding), text, targets)
    draws = choosing.random(len(places)).tolist()
    return make(
        text, [edit for place, draw in zip(places, draws, strict=True) if draw < strength * rate for edit in place]
    )


def allowed(places: Iterable[Place], text: str, targets: frozenset[Kind] = frozenset()) -> list[Place]:
    """Those places that touch no protected span and no earlier place, in order."""
    taken, kept = protection_mask(text, targets=targets), []
    for place in sorted(places, key=_start):
        changes = False
        for start, end, new in place:
            if taken.find(1, start, end) >= 0 or (start == end and _inside(taken, start)):
                break
            changes = changes or new != text[start:end]
        else:
            if changes:
                kept.append(place)
                for start, end, _ in place:
                    taken[start:end] = b"\x01" * (end - start)
    return kept


def _start(place: Place) -> int:
    return place[0].start


def _inside(mask: bytearray, at: int) -> bool:
    return 0 < at < len(mask) and bool(mask[at - 1] and mask[at])


def make(text: str, edits: list[Edit]) -> str:
    """The text after these edits, which are disjoint."""
    pieces, end = [], 0
    for edit in sorted(edits):
        pieces += (text[end : edit.start], edit.text)
        end = edit.end
    return "".join((*pieces, text[end:]))


def like(word: str, model: str) -> str:
    """`word` written as `model` is: all capitals, a leading capital, or as it stands."""
    if len(model) > 1 and model.isupper():
        return word.upper()
    return word[:1].upper() + word[1:] if model[:1].isupper() else word
