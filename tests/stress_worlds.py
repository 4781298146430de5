"""A world in which the truth is known: words with a value, synonyms that share it, and rewards that read what they can.

A response's truth is the sum of its words' values. `swapped` puts another word of the same meaning for every word, so
that the truth stays; `damaged` replaces good words of one response by bad ones.
"""

import json
from pathlib import Path

import numpy as np

from llm_experiments.pairs import Pair
from llm_experiments.stress.shifts import CHANGED, UNCHANGED, Shift, Shifted
from llm_experiments.stress.sides import FIELDS, with_words, words_of

MEANINGS = 12
GOOD = tuple(f"good{number}" for number in range(MEANINGS))
BAD = tuple(f"bad{number}" for number in range(MEANINGS))
SYNONYM = {word: f"other-{word}" for word in (*GOOD, *BAD, "filler")}
VALUE = dict.fromkeys(GOOD, 1.0) | dict.fromkeys(BAD, -1.0) | {"filler": 0.0}
VALUE |= {SYNONYM[word]: value for word, value in VALUE.items()}
OPPOSITE = dict(zip(GOOD, BAD, strict=True))


def pairs(count: int, seed: int = 0) -> list[Pair]:
    """Chosen responses are better by at least two words; lengths say nothing."""
    random = np.random.default_rng(seed)

    def response(good: int, bad: int) -> str:
        words = [*random.choice(GOOD, good), *random.choice(BAD, bad), *["filler"] * random.integers(0, 8)]
        return " ".join(random.permutation(words))

    made = []
    for number in range(count):
        worse = int(random.integers(0, 3))
        made.append(Pair(f"w/{number}", "world", f"question {number}", response(worse + 2, 1), response(worse, 1)))
    return made


def truth(prompt: str, response: str) -> float:
    return sum(VALUE[word] for word in response.split())


def keyword(prompt: str, response: str) -> float:
    """Knows every word of the pairs by heart, and none of their synonyms."""
    return sum(VALUE[word] for word in response.split() if word in (*GOOD, *BAD))


def length(prompt: str, response: str) -> float:
    return len(response.split())


def constant(prompt: str, response: str) -> float:
    return 1.5


def indifferent(prompt: str, response: str) -> float:
    """Right on the pairs as they are, and deaf to everything that an edit does: it only counts the good words'
    letters, in whichever form, and takes bad ones for good."""
    return sum(1.0 for word in response.split() if word.removeprefix("other-")[:3] in ("goo", "bad"))


REWARDS = {"oracle": truth, "keyword": keyword, "constant": constant, "length": length, "indifferent": indifferent}
VERDICT = {
    "oracle": "robust",
    "keyword": "token-sensitive",
    "constant": "uninformative",
    "length": "length-driven",
    "indifferent": "uninformative",
}


def replacing(words: dict[str, str], name: str, purpose: str, side: str) -> Shift:
    """Every word that `words` knows is replaced on that side."""

    def change(pair: Pair) -> Shifted:
        after = pair
        for field in FIELDS[side]:
            after = with_words(after, field, " ".join(words.get(w, w) for w in words_of(pair, field).split(" ")))
        return Shifted(after, UNCHANGED if after == pair else CHANGED)

    return Shift(name, "world", purpose, 1.0, side, name, change)


SWAPPED = replacing(SYNONYM, "swapped", "invariance", "responses")
DAMAGED = replacing(OPPOSITE, "damaged", "sensitivity", "chosen")
HALF = replacing({word: SYNONYM[word] for word in GOOD[:2]}, "half", "invariance", "responses")


def write_pairs(path: Path, some: list[Pair]) -> Path:
    lines = [{"id": p.id, "prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in some]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path
