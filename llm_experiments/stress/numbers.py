"""The numbers that a text states, as values, however they are written."""

import re
from collections import Counter

WORDS = {
    word: value
    for value, word in enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
            "twenty",
        ]
    )
}
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_MONTH = "|".join(MONTHS)
MONTH_FIRST = re.compile(rf"\b({_MONTH}) (\d{{1,2}})(?:st|nd|rd|th)?,? (\d{{4}})\b(?![-/.,]\d)", re.IGNORECASE)
DAY_FIRST = re.compile(
    rf"(?<![\w.,/-])(\d{{1,2}})(?:st|nd|rd|th)?(?: of)? ({_MONTH}),? (\d{{4}})\b(?![-/.,]\d)", re.IGNORECASE
)
ISO = re.compile(r"(?<![\w./-])(\d{4})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])(?![\w/-]|\.\d)")

_NUMERAL = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
_WORD = re.compile(rf"\b(?:{'|'.join(WORDS)})\b", re.IGNORECASE)


def is_number_word(word: str) -> bool:
    """Does the word state a number or name a month?"""
    return word.lower() in WORDS or word.title() in MONTHS


def number_values(text: str) -> Counter[str]:
    """How often each number is stated. Thousands separators don't count, number words up to twenty and dates do."""
    text = " ".join(text.split())
    text = MONTH_FIRST.sub(lambda date: _iso(date[3], date[1], date[2]), text)
    text = DAY_FIRST.sub(lambda date: _iso(date[3], date[2], date[1]), text)
    text = ISO.sub(lambda date: f"{date[1]} {int(date[2])} {int(date[3])}", text)
    values = Counter(numeral.replace(",", "") for numeral in _NUMERAL.findall(text))
    values.update(str(WORDS[word.lower()]) for word in _WORD.findall(text))
    return values


def _iso(year: str, month: str, day: str) -> str:
    return f"{year}-{MONTHS.index(month.title()) + 1:02d}-{int(day):02d}"
