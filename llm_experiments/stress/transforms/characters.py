"""Other characters for the same signs: quotation marks, letters of other scripts that look alike, no-break spaces."""

import re
from collections.abc import Iterator
from functools import partial

import numpy as np

from llm_experiments.stress.edits import ENGLISH_WORD, Edit, Place, edit_some
from llm_experiments.stress.numbers import is_number_word
from llm_experiments.stress.transformation import Transformation
from llm_experiments.stress.validity import Gate

# A pair of marks around words of one line, or an apostrophe inside a word; a mark without a partner may mean inches.
_STRAIGHT = re.compile(r"(?<![^\s(\[—–*_-])\"(?=[^\s\"])[^\"\n]{1,400}(?<=[^\s\\])\"(?![\w\"])")
_APOSTROPHE = re.compile(r"(?<=[A-Za-z])'(?=[A-Za-z])")
_PAIRED = re.compile(r"“[^“”\"\n]{1,400}”")
_CURLY_APOSTROPHE = re.compile(r"(?<=[A-Za-z])’(?=[A-Za-z])")
_SPACE = re.compile(r"(?<=[^\W_]) (?=[^\W_])")

# Latin letters and the Cyrillic ones that most typefaces draw alike
LOOK_ALIKES = dict(zip("aceopxyisjABCEHKMOPTX", "асеорхуіѕјАВСЕНКМОРТХ", strict=True))


def _curled(text: str, _: np.random.Generator) -> Iterator[Place]:
    for line in re.finditer(r".+", text):
        for match in _STRAIGHT.finditer(text, *line.span()) if line[0].count('"') % 2 == 0 else ():
            start, end = match.span()
            yield Edit(start, start + 1, "“"), Edit(end - 1, end, "”")
    for match in _APOSTROPHE.finditer(text):
        yield (Edit(*match.span(), "’"),)


def _straightened(text: str, _: np.random.Generator) -> Iterator[Place]:
    for match in _PAIRED.finditer(text):
        start, end = match.span()
        yield Edit(start, start + 1, '"'), Edit(end - 1, end, '"')
    for match in _CURLY_APOSTROPHE.finditer(text):
        yield (Edit(*match.span(), "'"),)


def _disguised(text: str, generator: np.random.Generator) -> Iterator[Place]:
    """One letter of a word by its look-alike."""
    words = [
        match
        for match in ENGLISH_WORD.finditer(text)
        if not is_number_word(match[0]) and (match[0].isupper() or match[0][1:].islower() or len(match[0]) == 1)
    ]
    for match, draw in zip(words, generator.random(len(words)).tolist(), strict=True):
        letters = [at for at in range(*match.span()) if text[at] in LOOK_ALIKES]
        if letters:
            at = letters[int(draw * len(letters))]
            yield (Edit(at, at + 1, LOOK_ALIKES[text[at]]),)


def _bound(text: str, _: np.random.Generator) -> Iterator[Place]:
    for match in _SPACE.finditer(text):
        yield (Edit(*match.span(), "\u00a0"),)


_SAME_LETTERS = Gate(min_similarity=0.5, min_length_ratio=1.0, max_length_ratio=1.0)
_DISGUISED = Gate(script_kept=False, min_length_ratio=1.0, max_length_ratio=1.0)

TRANSFORMATIONS = (
    Transformation(
        "curly_quotes",
        "quotes",
        "invariance",
        partial(edit_some, _curled),
        _SAME_LETTERS,
        "“curly” quotes and apostrophes",
    ),
    Transformation(
        "straight_quotes",
        "quotes",
        "invariance",
        partial(edit_some, _straightened),
        _SAME_LETTERS,
        '"straight" quotes and apostrophes',
    ),
    Transformation(
        "look_alikes",
        "Unicode look-alikes",
        "invariance",
        partial(edit_some, _disguised),
        _DISGUISED,
        "in a word, one letter by a Cyrillic one that looks the same",
    ),
    Transformation(
        "no_break_spaces",
        "Unicode look-alikes",
        "invariance",
        partial(edit_some, _bound),
        _SAME_LETTERS,
        "no-break spaces between words",
    ),
)
