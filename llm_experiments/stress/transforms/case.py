"""Upper, lower and title case, word by word. Acronyms stay: "US" and "us" differ in meaning;
so do single letters, which may be the names of variables."""

import re
from collections.abc import Iterator
from functools import partial

import numpy as np

from llm_experiments.stress.edits import Edit, Place, edit_some
from llm_experiments.stress.transformation import Transformation
from llm_experiments.stress.validity import Gate

_WORD = re.compile(r"[^\W\d_]{2,}(?:['’][^\W\d_]+)*")


def _upper(text: str, _: np.random.Generator) -> Iterator[Place]:
    for match in _WORD.finditer(text):
        yield (Edit(*match.span(), match[0].upper()),)


def _lower(text: str, _: np.random.Generator) -> Iterator[Place]:
    for match in _WORD.finditer(text):
        if not match[0].isupper():
            yield (Edit(*match.span(), match[0].lower()),)


def _title(text: str, _: np.random.Generator) -> Iterator[Place]:
    for match in _WORD.finditer(text):
        yield (Edit(*match.span(), match[0][0].upper() + match[0][1:]),)


_SAME_WORDS = Gate(min_similarity=0.99, min_length_ratio=0.95, max_length_ratio=1.05)

TRANSFORMATIONS = (
    Transformation("uppercase", "case", "invariance", partial(edit_some, _upper), _SAME_WORDS, "words in CAPITALS"),
    Transformation(
        "lowercase", "case", "invariance", partial(edit_some, _lower), _SAME_WORDS, "words in small letters"
    ),
    Transformation("title_case", "case", "invariance", partial(edit_some, _title), _SAME_WORDS, "Words With A Capital"),
)
