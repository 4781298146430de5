"""Markdown taken away or added, and the look of lists. The words stay; so do links' addresses and code."""

import re
from collections.abc import Iterator
from functools import partial

import numpy as np

from llm_experiments.stress.edits import Edit, Place, edit_some
from llm_experiments.stress.transformation import Transformation
from llm_experiments.stress.validity import Gate

_BOLD = re.compile(
    r"(?<![\w*])\*\*(?=[^\s*])[^*\n]*(?<=[^\s*])\*\*(?!\*)|(?<!\w)__(?=[^\s_])[^_\n]*(?<=[^\s_])__(?!\w)"
)
_ITALIC = re.compile(
    r"(?<![\w*\\])\*(?=[^\s*])[^*\n]*(?<=[^\s*])\*(?![\w*])|(?<![\w_\\])_(?=[^\s_])[^_\n]*(?<=[^\s_])_(?!\w)"
)
_HEADING = re.compile(r"(?m)^ {0,3}#{1,6}[ \t]+(?=\S)")
_LINK = re.compile(r"(?<![!\\])(\[)[^\[\]\n]{1,200}(\]\()[^\s()]{1,2000}\)")

_MARKED = re.compile(r"[*_`#\[|<$\\>]")
_LABEL = re.compile(r"(?:[-*+•] |\d{1,3}[.)] )?([A-Za-z][\w ,'’-]{1,40})(?=:(?:\s|$))")
_OPENING = re.compile(
    r"(?!(?:Dr|Mrs?|Ms|Prof|St)\.)([A-Za-z][^.!?\n]{1,118}[.!?])(?=\s|$)|([A-Za-z][\w '’-]{1,60})(?=, )"
)

_BULLET = re.compile(r"(?m)^[ \t]*([-*+•])(?= \S)")
_ORDINAL = re.compile(r"(?m)^[ \t]*\d{1,3}([.)])(?= \S)")


def _stripped(text: str, _: np.random.Generator) -> Iterator[Place]:
    for pattern, width in ((_BOLD, 2), (_ITALIC, 1)):
        for match in pattern.finditer(text):
            start, end = match.span()
            yield Edit(start, start + width, ""), Edit(end - width, end, "")
    in_code = bool(re.search(r"(?m)^(?:def |class |import |from \w+ import |[\w.]+ = )", text))
    for match in _HEADING.finditer(text):
        if not (in_code and match[0].strip() == "#"):  # a comment in code without a fence
            yield (Edit(*match.span(), ""),)
    for match in _LINK.finditer(text):
        yield Edit(*match.span(1), ""), Edit(*match.span(2), " (")


def _emphasised(text: str, _: np.random.Generator) -> Iterator[Place]:
    """Labels ("Cost: ...") in bold, and what opens a paragraph: a short sentence or the words before a comma."""
    after_blank = True
    for line in re.finditer(r"(?m)^[ \t]*(.*)$", text):
        start, end = line.span(1)
        opening, after_blank = after_blank, start == end
        if start == end or text[start] in "#`|>[$\\_" or _MARKED.search(text, start + 1, end):
            continue
        match = _LABEL.match(text, start, end) or (_OPENING.match(text, start, end) if opening else None)
        if match:
            group = match.lastindex
            yield Edit(match.start(group), match.start(group), "**"), Edit(match.end(group), match.end(group), "**")


def _other_bullets(text: str, _: np.random.Generator) -> Iterator[Place]:
    for match in _BULLET.finditer(text):
        yield (Edit(*match.span(1), "*" if match[1] == "-" else "-"),)


def _other_ordinals(text: str, _: np.random.Generator) -> Iterator[Place]:
    for match in _ORDINAL.finditer(text):
        yield (Edit(*match.span(1), ")" if match[1] == "." else "."),)


_GATE = Gate(min_similarity=0.2, min_length_ratio=0.7, max_length_ratio=1.6)

TRANSFORMATIONS = (
    Transformation(
        "markdown_stripped",
        "Markdown",
        "invariance",
        partial(edit_some, _stripped),
        _GATE,
        "no bold, italics, headings and link brackets",
    ),
    Transformation(
        "markdown_added",
        "Markdown",
        "invariance",
        partial(edit_some, _emphasised),
        _GATE,
        "labels and the openings of paragraphs in bold",
    ),
    Transformation(
        "bullet_style",
        "list style",
        "invariance",
        partial(edit_some, _other_bullets),
        _GATE,
        "bullets - for *, and * for -",
    ),
    Transformation(
        "ordinal_style",
        "list style",
        "invariance",
        partial(edit_some, _other_ordinals),
        _GATE,
        "1) for 1., and 1. for 1)",
    ),
)
