"""Blank space that a reader hardly sees: doubled between words, at the ends of lines, between paragraphs."""

import re
from collections.abc import Iterator
from functools import partial

import numpy as np

from llm_experiments.stress.edits import Edit, Place, edit_some
from llm_experiments.stress.transformation import Transformation
from llm_experiments.stress.validity import Gate

_GAP = re.compile(r"(?<=\S) (?=\S)")
_LINE_END = re.compile(r"(?m)(?<=\S)$")
_PARAGRAPH_BREAK = re.compile(r"(?<=\S)\n[ \t]*\n(?=\S)(?![#>|=-])")
_LINE_BREAK = re.compile(r"(?<=[^\s|])\n(?=[^\s|])")


def _doubled(text: str, _: np.random.Generator) -> Iterator[Place]:
    for match in _GAP.finditer(text):
        yield (Edit(*match.span(), "  "),)


def _trailing(text: str, _: np.random.Generator) -> Iterator[Place]:
    # one space: two are a line break in Markdown
    for match in _LINE_END.finditer(text):
        yield (Edit(*match.span(), " "),)


def _joined(text: str, _: np.random.Generator) -> Iterator[Place]:
    for match in _PARAGRAPH_BREAK.finditer(text):
        yield (Edit(*match.span(), "\n"),)


def _parted(text: str, _: np.random.Generator) -> Iterator[Place]:
    for match in _LINE_BREAK.finditer(text):
        yield (Edit(*match.span(), "\n\n"),)


_SAME_WORDS = Gate(min_similarity=1.0, max_length_ratio=1.6)

TRANSFORMATIONS = (
    Transformation(
        "extra_spaces", "whitespace", "invariance", partial(edit_some, _doubled), _SAME_WORDS, "two spaces for one"
    ),
    Transformation(
        "trailing_spaces", "whitespace", "invariance", partial(edit_some, _trailing), _SAME_WORDS, "a space ends a line"
    ),
    Transformation(
        "tight_paragraphs",
        "whitespace",
        "invariance",
        partial(edit_some, _joined),
        _SAME_WORDS,
        "no blank line between paragraphs",
    ),
    Transformation(
        "loose_lines",
        "whitespace",
        "invariance",
        partial(edit_some, _parted),
        _SAME_WORDS,
        "a blank line between lines",
    ),
)
