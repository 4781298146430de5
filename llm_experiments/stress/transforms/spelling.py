"""Words spelt otherwise: slips of the finger, misspellings, American and British spelling."""

from collections.abc import Iterator
from functools import cache, partial

import numpy as np

from llm_experiments.stress.edits import ENGLISH_WORD, Edit, Place, edit_some, like
from llm_experiments.stress.numbers import is_number_word
from llm_experiments.stress.protected import names_in_code
from llm_experiments.stress.transformation import Transformation
from llm_experiments.stress.validity import Gate
from llm_experiments.stress.vocabulary import entries, is_english, occurrences

_SHORTEST = 5  # letters, so that a slip leaves the word legible
# names of software that prose writes like words
_SOFTWARE = {"angular", "django", "docker", "flask", "gensim", "hadoop", "kafka", "keras", "linux", "mysql", "nginx"}
_SOFTWARE |= {"numpy", "pandas", "pytest", "python", "react", "redis", "scipy", "seaborn", "spark", "torch", "ubuntu"}


def _slips(text: str, generator: np.random.Generator) -> Iterator[Place]:
    """Two inner letters exchanged, or an inner letter doubled: the slips that keep a word's first and last letter."""
    real = {word for (word,) in entries("slips.txt")}  # from "trial" no slip makes "trail"
    kept = names_in_code(text) | _SOFTWARE
    words = [
        match
        for match in ENGLISH_WORD.finditer(text if is_english(text) else "")
        if len(match[0]) >= _SHORTEST
        and match[0][1:].islower()
        and not is_number_word(match[0])
        and match[0].lower() not in kept
        and match[0] not in kept
    ]
    for match, (place, double) in zip(words, generator.random((len(words), 2)).tolist(), strict=True):
        word = match[0]
        at = 1 + int(place * (len(word) - 3))
        a, b = word[at], word[at + 1]
        wrong = word[:at] + (a + a + b if a == b or double < 0.3 else b + a) + word[at + 2 :]
        if wrong.lower() not in real:
            yield (Edit(*match.span(), wrong),)


@cache
def _table(name: str, *, reverse: bool = False) -> dict[str, str]:
    return {row[reverse]: row[not reverse] for row in entries(name)}


def _respelt(text: str, _: np.random.Generator, *, name: str, reverse: bool = False) -> Iterator[Place]:
    table = _table(name, reverse=reverse)
    for start, end, entry in occurrences(text, table):
        yield (Edit(start, end, like(table[entry], text[start:end])),)


_SLIPS = Gate(min_similarity=0.5, min_length_ratio=0.9, max_length_ratio=1.15)
_SPELLING = Gate(min_similarity=0.5, min_length_ratio=0.8, max_length_ratio=1.25)

TRANSFORMATIONS = (
    Transformation(
        "typos",
        "typos",
        "invariance",
        partial(edit_some, _slips, rate=0.3),
        _SLIPS,
        "slips of the finger in up to three of ten longer words",
    ),
    Transformation(
        "misspellings",
        "misspellings",
        "invariance",
        partial(edit_some, partial(_respelt, name="misspellings.tsv")),
        _SPELLING,
        "common misspellings (definately, recieve)",
    ),
    Transformation(
        "british_spelling",
        "US/UK spelling",
        "invariance",
        partial(edit_some, partial(_respelt, name="us_uk.tsv")),
        _SPELLING,
        "American to British spelling (colour, organise)",
    ),
    Transformation(
        "american_spelling",
        "US/UK spelling",
        "invariance",
        partial(edit_some, partial(_respelt, name="us_uk.tsv", reverse=True)),
        _SPELLING,
        "British to American spelling (color, organize)",
    ),
)
