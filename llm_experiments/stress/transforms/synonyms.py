"""Words for words of the same meaning: our own list, which needs nothing, or WordNet (see `wordnet`)."""

import re
from collections.abc import Iterator
from functools import cache, partial

import numpy as np

from llm_experiments.stress.edits import Edit, Place, edit_some, like
from llm_experiments.stress.transformation import Transformation
from llm_experiments.stress.validity import Gate
from llm_experiments.stress.vocabulary import entries, occurrences

# A verb and its particle have a meaning of their own ("happen to be"); "more hard" is no comparative.
_PARTICLE = re.compile(r" (?:up|out|off|down|over|away|back|for|in|on|to|upon|around|through)\b")
_COMPARED = re.compile(r"(?i)\b(?:more|most|less|least) $")
# What is quoted is mentioned, not said: the word "location".
_QUOTED = re.compile(r"\"[^\"\n]{1,400}\"|“[^“”\n]{1,400}”|(?<!\w)['‘][^'‘’\n]{1,80}['’](?!\w)")
_ARTICLE = re.compile(r"(?i)\ban? $")
_CAPITALISED = re.compile(r" [A-Z](?!\b|['’])")
_CONSONANT_SOUND = re.compile(r"(?i)u[ns]i|us[ei]|one\b|euro")
_SILENT_H = re.compile(r"(?i)hour|hono|honest")


@cache
def _table() -> dict[str, tuple[str, str]]:
    return {word: (synonym, part) for word, synonym, part in entries("synonyms.tsv")}


def _substituted(text: str, _: np.random.Generator) -> Iterator[Place]:
    table = _table()
    quoted = {at for match in _QUOTED.finditer(text) for at in range(*match.span())}
    for start, end, entry in occurrences(text, table):
        synonym, part = table[entry]
        before = text[max(0, start - 8) : start]
        if start in quoted or _names_something(text, start, end):
            continue
        if part == "verb" and _PARTICLE.match(text, end):
            continue
        if part in ("adjective", "adverb") and _COMPARED.search(before):
            continue
        if not fits_article(text, start, entry, synonym):
            continue
        yield (Edit(start, end, like(synonym, text[start:end])),)


def _names_something(text: str, start: int, end: int) -> bool:
    """In capitals ("BEGIN"), or capitalised with a capitalised word behind it ("Beautiful Soup")."""
    words = text[start:end]
    return words.isupper() or (words[0].isupper() and bool(_CAPITALISED.match(text, end)))


def fits_article(text: str, start: int, word: str, synonym: str) -> bool:
    """May `synonym` stand for `word` at `start`, whether or not "a" or "an" is before it?"""
    article = _ARTICLE.search(text[max(0, start - 4) : start])
    return not article or _opens_with_vowel(word) == _opens_with_vowel(synonym)


def _opens_with_vowel(word: str) -> bool:
    return bool(_SILENT_H.match(word)) or (word[0].lower() in "aeiou" and not _CONSONANT_SOUND.match(word))


GATE = Gate(min_similarity=0.5, min_length_ratio=0.7, max_length_ratio=1.4)

TRANSFORMATIONS = (
    Transformation(
        "synonyms", "synonyms", "invariance", partial(edit_some, _substituted), GATE, "words and phrases by synonyms"
    ),
)
