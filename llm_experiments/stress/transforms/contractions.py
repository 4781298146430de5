""" "do not" and "don't": contracted, or written out where that is unambiguous ("it's" may be "it is" or "it has")."""

import re
from collections.abc import Iterator
from functools import cache, partial

import numpy as np

from llm_experiments.stress.edits import Edit, Place, edit_some, like
from llm_experiments.stress.transformation import Transformation
from llm_experiments.stress.validity import Gate
from llm_experiments.stress.vocabulary import entries, occurrences, opens_sentence

# "Yes, it is." and "who they are and ..." cannot be contracted; "I have a dog" is no perfect.
_NEXT_WORD = re.compile(r" [A-Za-z]")
_NO_CONTRACTION_BEFORE = re.compile(r"(?i) (?:and|or|but|because|when|if|as|than|that|where|while|though)\b")
_NO_CONTRACTION_AFTER = re.compile(r"(?i)\b(?:what|who|where|how|whatever|whoever|wherever|which|than|as|so) $")
_PARTICIPLE = re.compile(
    r"(?i) (?:[a-z]+(?:ed|en)|had|got|done|made|gone|found|read|heard|left|put|become|won|lost|kept|told|said|felt"
    r"|thought|brought|bought)\b"
)
# "Don't you", "Isn't it", "Why don't we": the subject stands between the verb and its "not"
_INVERTED = re.compile(r"(?i) (?:i|you|s?he|it|we|they|th(?:is|at|es|os)e?|there|the|an?|all|any|everyone|people|my)\b")
_QUESTION = re.compile(r"(?i)\b(?:why|how|what|when|where|who|which) $")


@cache
def _table(column: int, direction: str) -> dict[str, str]:
    return {row[column]: row[1 - column] for row in entries("contractions.tsv") if row[2] in ("both", direction)}


def _contracted(text: str, _: np.random.Generator) -> Iterator[Place]:
    table = _table(0, "contract")
    for start, end, entry in occurrences(text, table):
        if _stays_apart(text, start, end, entry):
            continue
        yield (Edit(start, end, _cased(table[entry], text[start:end])),)


def _stays_apart(text: str, start: int, end: int, entry: str) -> bool:
    if entry.endswith("not"):  # "is not only ... but": the "not" belongs to what follows
        return text.startswith((" only", " just", " because"), end)
    return (
        not _NEXT_WORD.match(text, end)
        or bool(_NO_CONTRACTION_BEFORE.match(text, end))
        or bool(_NO_CONTRACTION_AFTER.search(text[max(0, start - 12) : start]))
        or (entry.endswith(" have") and not _PARTICIPLE.match(text, end))
    )


def _written_out(text: str, _: np.random.Generator) -> Iterator[Place]:
    table = _table(1, "expand")
    for start, end, entry in occurrences(text.replace("’", "'"), table):
        if entry.endswith("n't"):
            questioned = _QUESTION.search(text[max(0, start - 8) : start])
            questioned = questioned or (entry != "don't" and opens_sentence(text, start))
            if questioned or not _NEXT_WORD.match(text, end) or _INVERTED.match(text, end):
                continue
        yield (Edit(start, end, _cased(table[entry], text[start:end])),)


def _cased(words: str, model: str) -> str:
    return words if model.startswith("I") and words.startswith("I") else like(words, model)


_GATE = Gate(min_similarity=0.5, min_length_ratio=0.7, max_length_ratio=1.4)

TRANSFORMATIONS = (
    Transformation(
        "contractions", "contractions", "invariance", partial(edit_some, _contracted), _GATE, '"don\'t" for "do not"'
    ),
    Transformation(
        "written_out", "contractions", "invariance", partial(edit_some, _written_out), _GATE, '"do not" for "don\'t"'
    ),
)
