"""Punctuation that carries no meaning: a line's last stop, serial commas, the look of a dash, spaces before signs."""

import re
from collections.abc import Iterator
from functools import partial

import numpy as np

from llm_experiments.stress.edits import Edit, Place, edit_some
from llm_experiments.stress.transformation import Transformation
from llm_experiments.stress.validity import Gate

_FINAL_STOP = re.compile(r"(?m)(?<=[^\W\d_])\.(?=[ \t]*$)(?<!\b[A-Z]\.)(?<!etc\.)")
_BEFORE_SIGN = re.compile(r"(?<=[A-Za-z]{2})(?=[,;:!?](?:\s|$))|(?<=[A-Za-z]{2})(?=\.(?:\s+[A-Z]|\s*$))")
_SERIAL = re.compile(r"(?<=, )([A-Za-z]+(?: [A-Za-z]+)?)(,) (?:and|or) (?=[A-Za-z])")
_DASH = re.compile(r"(?<=[a-z]{2}) ?(?:—| –| --| -) ?(?=[A-Za-z]{2})")


def _without_final_stop(text: str, _: np.random.Generator) -> Iterator[Place]:
    for match in _FINAL_STOP.finditer(text):
        yield (Edit(*match.span(), ""),)


def _spaced(text: str, _: np.random.Generator) -> Iterator[Place]:
    for match in _BEFORE_SIGN.finditer(text):
        yield (Edit(*match.span(), " "),)


def _without_serial_comma(text: str, _: np.random.Generator) -> Iterator[Place]:
    for match in _SERIAL.finditer(text):
        yield (Edit(*match.span(2), ""),)


def _other_dash(text: str, _: np.random.Generator) -> Iterator[Place]:
    for line in re.finditer(r".+", text):
        dashes = list(_DASH.finditer(text, *line.span()))
        if ": - " in line[0] or line[0].lstrip().startswith("- ") or len(dashes) > 2:
            continue  # marks of a list
        for match in dashes:
            if match[0].strip() == "—":
                yield (Edit(*match.span(), " - "),)
            elif match[0].startswith(" ") and match[0].endswith(" "):
                yield (Edit(*match.span(), "—"),)


_SAME_WORDS = Gate(min_similarity=0.3, min_length_ratio=0.8, max_length_ratio=1.25)

TRANSFORMATIONS = (
    Transformation(
        "final_stop_dropped",
        "punctuation",
        "invariance",
        partial(edit_some, _without_final_stop),
        _SAME_WORDS,
        "no full stop at the end of a line",
    ),
    Transformation(
        "spaced_punctuation",
        "punctuation",
        "invariance",
        partial(edit_some, _spaced),
        _SAME_WORDS,
        "a space before commas , stops and the like",
    ),
    Transformation(
        "serial_comma_dropped",
        "punctuation",
        "invariance",
        partial(edit_some, _without_serial_comma),
        _SAME_WORDS,
        '"red, green and blue" for "red, green, and blue"',
    ),
    Transformation(
        "dash_style",
        "punctuation",
        "invariance",
        partial(edit_some, _other_dash),
        _SAME_WORDS,
        "an em dash for a spaced hyphen, and the reverse",
    ),
)
