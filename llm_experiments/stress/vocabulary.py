"""The word lists of the stress tests, and where their entries occur in a text.

Written for this project. An entry must be safe in (nearly) every context: one part of speech, inflected forms as
entries of their own, no term of mathematics or programming.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from llm_experiments.stress.edits import AFTER, ENGLISH_WORD

_FUNCTION_WORD = re.compile(
    r"(?i)(?:the|and|of|to|is|that|with|you|this|are|for|it|was|be|not|i|your|can|have|my|they|as|on|or)$"
)
_ENGLISH = 0.12  # share of function words from which a text counts as English; French and Spanish stay below 0.05
_AFTER = re.compile(AFTER)
_SHOUTED = 4  # a word in capitals of more letters than this is taken for a word, a shorter one for an acronym
_OPENING = " \t*_\"'“‘(#>-•–"


@cache
def entries(name: str) -> tuple[tuple[str, ...], ...]:
    """The lines of `words/{name}`, each split at its tabs."""
    text = (files("llm_experiments.stress") / "words" / name).read_text(encoding="utf-8")
    return tuple(tuple(line.split("\t")) for line in text.splitlines() if line)


class Occurrence(NamedTuple):
    start: int
    end: int
    entry: str


@cache
def _by_first_word(keys: tuple[str, ...]) -> dict[str, list[str]]:
    table: dict[str, list[str]] = {}
    for key in sorted(keys, key=len, reverse=True):
        table.setdefault(re.split(r"[ '-]", key)[0].lower(), []).append(key)
    return table


def occurrences(text: str, table: Mapping[str, object]) -> Iterator[Occurrence]:
    """Where keys of `table` (words or phrases of ASCII letters) stand in the English lines of `text`, longest first.

    A capitalised word counts where it opens a sentence (elsewhere it may be a name), one in capitals if it is too
    long for an acronym.
    """
    keys, end = _by_first_word(tuple(table)), 0
    for match in _starts(text):
        start = match.start()
        candidates = keys.get(match[0].lower()) if start >= end else None
        for key in candidates or ():
            here = text[start : start + len(key)]
            if here.lower() == key.lower() and _AFTER.match(text, start + len(key)) and _is_common(text, start, key):
                end = start + len(key)
                yield Occurrence(start, end, key)
                break


def _starts(text: str) -> Iterator[re.Match[str]]:
    """The words of those lines that read as English; a line of a few words goes with the text."""
    whole = is_english(text)
    for line in re.finditer(r"[^\n]+", text):
        words = list(_WORD_START.finditer(text, *line.span()))
        if whole if len(words) < 8 else _share(words) >= _ENGLISH:
            yield from words


_WORD_START = re.compile(ENGLISH_WORD.pattern.split("[A-Za-z]+")[0] + "[A-Za-z]+")


def _share(words: list[re.Match[str]]) -> float:
    return sum(_FUNCTION_WORD.match(word[0]) is not None for word in words) / max(len(words), 1)


def is_english(text: str) -> bool:
    """Does the text read as English, by its function words? Texts of fewer than four words pass if they are ASCII."""
    words = list(_WORD_START.finditer(text, 0, 20_000))
    return text.isascii() if len(words) < 4 else _share(words) >= _ENGLISH / 2


def _is_common(text: str, start: int, key: str) -> bool:
    here = text[start : start + len(key)]
    if here == key:
        return True
    if here.isupper():
        return len(here) > _SHOUTED
    return here[1:] == key[1:] and opens_sentence(text, start)


def opens_sentence(text: str, start: int) -> bool:
    """Does the word at `start` open a sentence, a line or a list item?"""
    before = text[max(0, start - 16) : start].rstrip(_OPENING)
    return not before or before[-1] in ".!?:\n…"
