"""Numbers and dates in another format: thousands separators, numerals or words, per cent, the order of a date."""

import re
from collections.abc import Iterator
from functools import partial

import numpy as np

from llm_experiments.stress.edits import Edit, Place, edit_some
from llm_experiments.stress.numbers import DAY_FIRST, ISO, MONTH_FIRST, MONTHS, WORDS
from llm_experiments.stress.transformation import Transformation
from llm_experiments.stress.validity import Gate
from llm_experiments.stress.vocabulary import is_english, occurrences, opens_sentence

# Five digits or more (2024 is a year) of money or of things that are counted, as their plural shows; other numbers may
# be codes, such as a zip code's, or strings of digits.
_PLAIN = re.compile(
    r"(?<=[$€£])\d{5,12}(?![\w/:^=+*<>-]|[.,]\d)"
    r"|(?<![\w.,#/:^=+*<>'\"“-])\d{5,12}(?= (?:people|men|women|children|[a-z]{2,}[^\W\diuosx]s)\b)"
)
_NO_COUNT = re.compile(r" (?:says|pays|goes|this|was|has|does|gets|gives|makes|means|equals|matches|yields|becomes)\b")
_CODE = re.compile(r"(?i)\b(?:zip|codes?|numbers?|ids?|no\.|case|order|room|flight|model|item|rooms?|extension) $")
# Not in a set, a tuple or an index: {1,234} has two members.
_SEPARATED = re.compile(r"(?<![\w.,{(\[\"'“])\d{1,3}(?:,\d{3})+(?![\w,})\]\"'”]|\.\d)")
_PERCENT = re.compile(r"(?<=\d)%(?=[\s.,;:!?)]|$)")
_SMALL = re.compile(r"(?<=[a-z] )([2-9]|1[0-2])(?= [a-z]{3,})")
# "step 3 of", "chapter 2", "5 plus 3": labels and formulas, not counts
_LABEL = re.compile(
    r"(?i)\b(?:steps?|chapters?|pages?|figures?|questions?|numbers?|parts?|levels?|versions?|days?|problems?|examples?"
    r"|options?|types?|grades?|sections?|equals?|plus|minus|times|by|is|of|over|than|and|to|from) $"
)
_OPERATOR = re.compile(r" (?:plus|minus|times|mod|divided|multiplied|squared|cubed|over|and|to|equals|is|are)\b")
_LARGER = re.compile(
    rf"(?i)[ -](?:{'|'.join(WORDS)}|hundred|thousand|dozen|million|billion|thirds?|fourths?|fifths?|quarters?|halves)\b"
)
_SMALLER = re.compile(rf"(?:\b(?:{'|'.join(WORDS)}|[a-z]+ty)|hundred and|thousand and) $")
_NAMES = {value: word for word, value in WORDS.items()}
_COUNTS = {word: value for word, value in WORDS.items() if value >= 2}  # "one" is a pronoun as well


def _with_separators(text: str, _: np.random.Generator) -> Iterator[Place]:
    for match in _PLAIN.finditer(text):
        before = text[max(0, match.start() - 12) : match.start()]
        if match[0][0] != "0" and not _CODE.search(before) and not _NO_COUNT.match(text, match.end()):
            yield (Edit(*match.span(), f"{int(match[0]):,}"),)


def _without_separators(text: str, _: np.random.Generator) -> Iterator[Place]:
    for match in _SEPARATED.finditer(text):
        yield (Edit(*match.span(), match[0].replace(",", "")),)


def _percent_in_words(text: str, _: np.random.Generator) -> Iterator[Place]:
    for match in _PERCENT.finditer(text) if is_english(text) else ():
        yield (Edit(*match.span(), " percent"),)


def _in_words(text: str, _: np.random.Generator) -> Iterator[Place]:
    for match in _SMALL.finditer(text) if is_english(text) else ():
        if not _LABEL.search(text[max(0, match.start() - 14) : match.start()]) and not _OPERATOR.match(
            text, match.end()
        ):
            yield (Edit(*match.span(), _NAMES[int(match[0])]),)


def _in_figures(text: str, _: np.random.Generator) -> Iterator[Place]:
    for start, end, word in occurrences(text, _COUNTS):
        before = text[max(0, start - 10) : start].lower()
        part = _LARGER.match(text, end) or _SMALLER.search(before)  # of a larger number: twenty one
        if not opens_sentence(text, start) and not part:
            yield (Edit(start, end, str(_COUNTS[word])),)


def _day_first(text: str, _: np.random.Generator) -> Iterator[Place]:
    for date in MONTH_FIRST.finditer(text):
        yield (Edit(*date.span(), f"{int(date[2])} {date[1]} {date[3]}"),)
    for date in ISO.finditer(text):
        yield (Edit(*date.span(), f"{int(date[3])} {MONTHS[int(date[2]) - 1]} {date[1]}"),)


def _month_first(text: str, _: np.random.Generator) -> Iterator[Place]:
    for date in DAY_FIRST.finditer(text):
        yield (Edit(*date.span(), f"{date[2]} {int(date[1])}, {date[3]}"),)
    for date in ISO.finditer(text):
        yield (Edit(*date.span(), f"{MONTHS[int(date[2]) - 1]} {int(date[3])}, {date[1]}"),)


_GATE = Gate(min_similarity=0.5, min_length_ratio=0.7, max_length_ratio=1.5)
_NUMBER = frozenset({"number"})

TRANSFORMATIONS = tuple(
    Transformation(
        name, "number and date formats", "invariance", partial(edit_some, find, targets=_NUMBER), _GATE, description
    )
    for name, find, description in (
        ("thousands_separated", _with_separators, "12,000 for 12000"),
        ("thousands_plain", _without_separators, "12000 for 12,000"),
        ("percent_in_words", _percent_in_words, "5 percent for 5%"),
        ("numbers_in_words", _in_words, "three apples for 3 apples, up to twelve"),
        ("numbers_in_figures", _in_figures, "3 apples for three apples, up to twenty"),
        ("dates_day_first", _day_first, "5 March 2024 for March 5, 2024 and for 2024-03-05"),
        ("dates_month_first", _month_first, "March 5, 2024 for 5 March 2024 and for 2024-03-05"),
    )
)
