"""Upper, lower and title case, word by word, but not where case carries meaning: in acronyms ("US" and "us" differ),
single letters, names with capitals inside, names of the text's code, units behind a number, and commands (`ls`)."""

import re
from collections.abc import Iterator
from functools import partial

import numpy as np

from llm_experiments.stress.edits import Edit, Place, edit_some
from llm_experiments.stress.protected import names_in_code
from llm_experiments.stress.transformation import Transformation
from llm_experiments.stress.validity import Gate

_WORD = re.compile(r"[^\W\d_]{2,}(?:['’][^\W\d_]+)*")


_UNIT = re.compile(r"[^\W\d_]{2,3}(?![^\W_])")
_NO_VOWEL = re.compile(r"[b-df-hj-np-tv-xz]+")


def _words(text: str) -> Iterator[re.Match[str]]:
    names = names_in_code(text)
    for match in _WORD.finditer(text):
        start, word = match.start(), match[0]
        behind_number = text[max(0, start - 2) : start].rstrip(" ")[-1:].isdigit()
        if not (
            word in names
            or word[1:] != word[1:].lower()
            or _NO_VOWEL.fullmatch(word)
            or (behind_number and _UNIT.match(text, start))
        ):
            yield match


def _upper(text: str, _: np.random.Generator) -> Iterator[Place]:
    for match in _words(text):
        yield (Edit(*match.span(), match[0].upper()),)


def _lower(text: str, _: np.random.Generator) -> Iterator[Place]:
    for match in _words(text):
        yield (Edit(*match.span(), match[0].lower()),)


def _title(text: str, _: np.random.Generator) -> Iterator[Place]:
    for match in _words(text):
        yield (Edit(*match.span(), match[0][0].upper() + match[0][1:]),)


_SAME_WORDS = Gate(min_similarity=0.99, min_length_ratio=0.95, max_length_ratio=1.05)

TRANSFORMATIONS = (
    Transformation("uppercase", "case", "invariance", partial(edit_some, _upper), _SAME_WORDS, "words in CAPITALS"),
    Transformation(
        "lowercase", "case", "invariance", partial(edit_some, _lower), _SAME_WORDS, "words in small letters"
    ),
    Transformation("title_case", "case", "invariance", partial(edit_some, _title), _SAME_WORDS, "Words With A Capital"),
)
