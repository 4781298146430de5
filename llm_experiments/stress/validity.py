"""Is a transformed text still a fair test? A gate per transformation, and the reason where a text does not pass."""

import json
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from llm_experiments.stress.numbers import number_values
from llm_experiments.stress.protected import protected_spans
from llm_experiments.stress.vocabulary import is_english

_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+|[^\w\s]")
_INNER_NAME = re.compile(r"(?<![A-Za-z0-9_])(?:[A-Za-z0-9]*[a-z][A-Z]|[A-Za-z]\w*_\w)\w*")
_LONG = 20_000  # words; beyond, edit distance would cost more than scoring the text
_SLACK = 10  # characters by which a text may be longer or shorter whatever the ratio: "Yes." without its stop
_SPANS = 200  # code spans looked for one by one
_SCRIPT_DRIFT = 0.1  # share of the letters that may be of other scripts than before


@dataclass(frozen=True)
class Gate:
    """What a transformed text must keep.

    `numbers_preserved`: the same numbers, as values: 1,000 is 1000 is one thousand. `code_preserved`: the same code
    spans. Edit similarity (see `edit_similarity`) and the ratio of lengths in characters lie in their ranges.
    `script_kept`: the letters are of the same scripts in the same shares (a language, as far as its script tells).
    `form_preserved`: the same words with capitals or underscores inside, which are names of programs' parts; JSON stays
    JSON, and curly quotation marks come in pairs, if they did.
    `english_kept`: what reads as English still does, for rewrites that could answer in another language.
    """

    numbers_preserved: bool = True
    code_preserved: bool = True
    script_kept: bool = True
    form_preserved: bool = True
    english_kept: bool = False
    min_similarity: float = 0.0
    max_similarity: float = 1.0
    min_length_ratio: float = 0.5
    max_length_ratio: float = 2.0


def check(gate: Gate, before: str, after: str) -> str | None:
    """Why `after` is no fair transform of `before` (a short phrase, to be counted), or None where it is."""
    if not after.strip():
        return None if not before.strip() else "nothing left"
    if len(after) < gate.min_length_ratio * len(before) - _SLACK:
        return "too short"
    if len(after) > gate.max_length_ratio * len(before) + _SLACK:
        return "too long"
    if gate.form_preserved and (reason := _form_lost(before, after)):
        return reason
    if gate.code_preserved and not _keeps_code(before, after):
        return "code changed"
    if gate.numbers_preserved and number_values(before) != number_values(after):
        return "numbers changed"
    if gate.script_kept and _script_drift(before, after) > _SCRIPT_DRIFT:
        return "script changed"
    if gate.english_kept and is_english(before) and not is_english(after):
        return "language changed"
    if gate.min_similarity > 0 or gate.max_similarity < 1:
        similarity = edit_similarity(before, after)
        if similarity < gate.min_similarity:
            return "changed too much"
        if similarity > gate.max_similarity:
            return "changed too little"
    return None


def edit_similarity(before: str, after: str) -> float:
    """1 - edits / length of the longer text, in words and signs, letter case and blank space aside; 1 for equal texts.

    Edits are insertions, deletions and replacements (Levenshtein 1966), counted by the bit-parallel recurrence of
    Hyyrö (2003). Texts of more than 20,000 words are compared as bags of words, an upper bound.
    """
    left, right = _TOKEN.findall(before.casefold()), _TOKEN.findall(after.casefold())
    longer = max(len(left), len(right))
    if left == right:
        return 1.0
    if longer > _LONG:
        return (Counter(left) & Counter(right)).total() / longer
    return 1 - _distance(left, right) / longer


def _distance(left: list[str], right: list[str]) -> int:
    start = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        start += 1
    end = 0
    while end < min(len(left), len(right)) - start and left[-1 - end] == right[-1 - end]:
        end += 1
    left, right = left[start : len(left) - end], right[start : len(right) - end]
    if not left or not right:
        return len(left) + len(right)
    places: dict[str, int] = {}
    for index, token in enumerate(left):
        places[token] = places.get(token, 0) | 1 << index
    full, last = (1 << len(left)) - 1, 1 << (len(left) - 1)
    up, down, distance = full, 0, len(left)  # vertical differences +1 and -1 of the current column
    for token in right:
        equal = places.get(token, 0)
        diagonal = (((equal & up) + up) ^ up) | equal | down
        rise, fall = down | (full & ~(diagonal | up)), diagonal & up
        distance += bool(rise & last) - bool(fall & last)
        rise, fall = rise << 1 & full | 1, fall << 1 & full
        up, down = fall | (full & ~(diagonal | rise)), rise & diagonal
    return distance


def _keeps_code(before: str, after: str) -> bool:
    """Does every code span of `before` stand in `after` as often? (An edit beside a span may move its borders.)"""
    missing = _code(before) - _code(after)
    if len(missing) > _SPANS:
        return False
    return all(after.count(span) >= before.count(span) for span in missing)


def _code(text: str) -> Counter[str]:
    return Counter(text[start:end].strip() for start, end, kind in protected_spans(text) if kind == "code")


def _form_lost(before: str, after: str) -> str | None:
    if _is_json(before) and not _is_json(after):
        return "no JSON any more"
    if _inner_names(before) != _inner_names(after):
        return "names changed"
    if before.count("“") == before.count("”") and after.count("“") != after.count("”"):
        return "quotes unpaired"
    return None


def _inner_names(text: str) -> Counter[str]:
    return Counter(_INNER_NAME.findall(text))


def _is_json(text: str) -> bool:
    if text.strip()[:1] not in ("{", "["):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


@lru_cache(maxsize=4096)
def _script(character: str) -> str:
    """The first word of a letter's Unicode name (LATIN, CYRILLIC, CJK, ...); empty for what is no letter."""
    return unicodedata.name(character, "").split(" ")[0] if unicodedata.category(character)[0] == "L" else ""


def _script_drift(before: str, after: str) -> float:
    """Half the sum over scripts of the difference in share of the letters: 0 for the same scripts, 1 for others."""
    shares = []
    for text in (before, after):
        counts: Counter[str] = Counter()
        for character, count in Counter(text).items():
            counts[_script(character)] += count
        del counts[""]
        shares.append((counts, max(counts.total(), 1)))
    (old, n_old), (new, n_new) = shares
    if not old or not new:  # no letters, no language
        return 0.0
    return sum(abs(old[script] / n_old - new[script] / n_new) for script in old | new) / 2
