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


Find = Callable[[str, np.random.Generator], Iterable[Edit]]

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

    `find` draws what it needs before, and independently of, the choice of places; an edit is made where its own
    uniform number lies below the share. So a higher strength adds edits and changes none. Of two edits that overlap
    the first is kept.
    """
    if strength == 0:
        return text
    return make(text, selected(allowed(find(text, generator), text, targets), generator, strength * rate))


def allowed(edits: Iterable[Edit], text: str, targets: frozenset[Kind] = frozenset()) -> list[Edit]:
    """Those edits that touch no protected span, in order and disjoint."""
    mask = protection_mask(text, targets=targets)
    kept, end = [], 0
    for edit in sorted(edits):
        if edit.start < end or edit.text == text[edit.start : edit.end] or _touches(mask, edit):
            continue
        kept.append(edit)
        end = edit.end
    return kept


def _touches(mask: bytearray, edit: Edit) -> bool:
    if edit.start < edit.end:
        return mask.find(1, edit.start, edit.end) >= 0
    return 0 < edit.start < len(mask) and bool(mask[edit.start - 1] and mask[edit.start])


def selected(edits: list[Edit], generator: np.random.Generator, share: float) -> list[Edit]:
    draws = generator.random(len(edits))
    return [edit for edit, draw in zip(edits, draws.tolist(), strict=True) if draw < share]


def make(text: str, edits: list[Edit]) -> str:
    """The text after these edits, which are in order and disjoint."""
    pieces, end = [], 0
    for edit in edits:
        pieces += (text[end : edit.start], edit.text)
        end = edit.end
    return "".join((*pieces, text[end:]))


def like(word: str, model: str) -> str:
    """`word` written as `model` is: all capitals, a leading capital, or as it stands."""
    if len(model) > 1 and model.isupper():
        return word.upper()
    return word[:1].upper() + word[1:] if model[:1].isupper() else word
