"""A world in which the truth is known: words with a value, synonyms that share it, and rewards that read what they can.

A response's truth is the sum of its words' values. `swapped` puts another word of the same meaning for every word, so
that the truth stays; `damaged` replaces good words of one response by bad ones.
"""

import json
from functools import cache
from itertools import pairwise
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


# A world of whole sentences, for the real transformations: some are worth saying, some are not.
WORTH = (
    "However, the recipe does not need more than two cups of flour.",
    'However, you shouldn\'t open the "hot" valve before the pump stops.',
    "However, a quick answer isn't always the best answer to give.",
    "However, the beautiful house near the river was not built to last.",
    "However, it is crucial to help people who can't begin alone.",
    "However, we'll start the long journey when the small children sleep.",
)
WORTHLESS = (
    "Perhaps the teacher doesn't know where the old books are kept.",
    'Perhaps it isn\'t easy to find a "cheap" car in this large town.',
    "Perhaps they are happy to buy a new boat and sail it at night.",
    "Perhaps the fast train will not stop at the quiet station today.",
    "Perhaps you will get a smart friend to fix the broken machine.",
    "Perhaps nobody can't see that the hard work has ended well.",
)


def sentence_pairs(count: int, seed: int = 0) -> list[Pair]:
    """Three to five sentences a response; of the chosen one's three are worth saying, of the rejected one's one."""
    random = np.random.default_rng(seed)

    def response(worth: int, less: int) -> str:
        said = [*random.choice(WORTH, worth, replace=False), *random.choice(WORTHLESS, less, replace=False)]
        return " ".join(random.permutation(said))

    made = []
    for number in range(count):
        both = response(3, random.integers(0, 3)), response(1, random.integers(2, 5))
        made.append(Pair(f"s/{number}", "sentences", f"What do you know of it, number {number}?", *both))
    return made


def long_pairs(count: int, shorter: int) -> list[Pair]:
    """Six sentences against three, of either kind: the longer answer is the chosen one in all but `shorter` pairs."""
    random = np.random.default_rng(0)
    made = []
    for number in range(count):
        said = [str(one) for one in random.permutation((*WORTH, *WORTHLESS))]
        both = " ".join(said[:6]), " ".join(said[6:9])
        made.append(
            Pair(f"l/{number}", "lengths", f"And what of number {number}?", *both[:: -1 if number < shorter else 1])
        )
    return made


def worth(prompt: str, response: str) -> float:
    """Finds the sentences again in whatever spelling, by neighbouring words; what is of neither kind counts against."""
    here = _neighbours(response)
    found = [sum(len(here & _neighbours(s)) / len(_neighbours(s)) for s in some) for some in (WORTH, WORTHLESS)]
    return found[0] - found[1] - 0.02 * len(here - set().union(*map(_neighbours, (*WORTH, *WORTHLESS))))


def however(prompt: str, response: str) -> float:
    """Counts a word that good sentences begin with, letter by letter."""
    return response.count("However,")


@cache
def _neighbours(text: str) -> frozenset[tuple[str, str]]:
    words = ["".join(c for c in word.lower() if c.isalpha()) for word in text.split()]
    return frozenset(pairwise(word for word in words if word))


def write_pairs(path: Path, some: list[Pair]) -> Path:
    lines = [{"id": p.id, "prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in some]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path
