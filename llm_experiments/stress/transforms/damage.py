"""Edits that should lower a response's reward: sentences lost, cut off, negated or off topic, numbers and words wrong.

They show that a model reads at all: one that gives the same reward to everything passes every invariance test.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from llm_experiments.stress.edits import Edit, Place, edit_some, make
from llm_experiments.stress.protected import protection_mask
from llm_experiments.stress.sentences import sentences
from llm_experiments.stress.transformation import Apply, Transformation
from llm_experiments.stress.validity import Gate
from llm_experiments.stress.vocabulary import entries, occurrences

_NUMERAL = re.compile(r"(?<![\w.,])\d{1,15}(?:\.\d{1,10})?(?![\w]|[.,]\d)")
_LIST_MARK = re.compile(r"(?m)^[ \t]*\d{1,3}[.)] ")
_AUXILIARIES = dict.fromkeys(("is", "are", "was", "were", "can", "could", "will", "would", "should", "must"))
_NOT = re.compile(r" not\b| never\b|n't\b")


def dropped_sentences(text: str, generator: np.random.Generator, strength: float) -> str:
    """Each sentence is lost with probability `strength`; one stays."""
    spans = sentences(text)
    draws = generator.random(len(spans))
    if strength == 0 or len(spans) < 2:
        return text
    keep = draws >= strength
    keep[int(draws.argmax())] = True
    edits = []
    for (start, end), kept, following in zip(spans, keep, [*spans[1:], (len(text), 0)], strict=True):
        if not kept:
            edits.append(Edit(start, following[0] if text[end : following[0]].count("\n") == 0 else end, ""))
    return make(text, edits)


def truncated(text: str, generator: np.random.Generator, strength: float) -> str:
    """The share `strength` of the words cut off at the end, in mid-sentence; the first word stays."""
    words = list(re.finditer(r"\S+", text))
    kept = max(1, len(words) - int(np.ceil(strength * len(words))))
    return text if strength == 0 or kept >= len(words) else text[: words[kept - 1].end()]


def shuffled_words(text: str, generator: np.random.Generator, strength: float) -> str:
    """Words exchanged among the places that they occupy; each takes part with probability `strength`."""
    words = [match.span() for match in re.finditer(r"[^\W\d_]+(?:['’-][^\W\d_]+)*", text)]
    draws, ranks = generator.random(len(words)), generator.random(len(words))
    if strength == 0:
        return text
    mask = protection_mask(text)
    free = [i for i, (start, end) in enumerate(words) if draws[i] < strength and mask.find(1, start, end) < 0]
    sources = sorted(free, key=ranks.tolist().__getitem__)
    return make(text, [Edit(*words[i], text[slice(*words[j])]) for i, j in zip(free, sources, strict=True)])


def _wrong_numbers(text: str, generator: np.random.Generator) -> Iterator[Place]:
    """Numbers of as many digits, none of them as before."""
    marks = {at for match in _LIST_MARK.finditer(text) for at in range(*match.span())}
    for match in _NUMERAL.finditer(text):
        if match.start() in marks:
            continue
        shifts = generator.integers(1, 9, len(match[0]))
        wrong = [
            # a leading digit stays one to nine, so that the number keeps its length
            (str((int(c) - 1 + shift) % 9 + 1) if c != "0" else str(shift)) if c.isdigit() else c
            for c, shift in zip(match[0], shifts.tolist(), strict=True)
        ]
        yield (Edit(*match.span(), "".join(wrong)),)


def _negated(text: str, _: np.random.Generator) -> Iterator[Place]:
    """ "not" put behind an auxiliary, or taken away where it stands there."""
    for _start, end, _word in occurrences(text, _AUXILIARIES):
        found = _NOT.match(text, end)
        if found:
            yield (Edit(*found.span(), ""),)
        elif text[end : end + 1] == " ":
            yield (Edit(end, end, " not"),)


def _off_topic(text: str, generator: np.random.Generator) -> Iterator[Place]:
    spans, others = sentences(text), [sentence for (sentence,) in entries("off_topic.txt")]
    for (start, end), draw in zip(spans, generator.random(len(spans)).tolist(), strict=True):
        mark = re.match(r"(?:[-*+•>#]+|\d{1,3}[.)]) +", text[start:end])
        yield (Edit(start + (mark.end() if mark else 0), end, others[int(draw * len(others))]),)


def _everywhere(find, text: str, generator: np.random.Generator, strength: float) -> str:
    """`edit_some` with nothing protected."""
    places = list(find(text, generator))
    draws = generator.random(len(places)).tolist()
    return make(text, [e for place, draw in zip(places, draws, strict=True) if draw < strength for e in place])


def _damage(name: str, apply: Apply, gate: Gate, description: str) -> Transformation:
    return Transformation(name, "damage", "sensitivity", apply, gate, description, sides=("chosen", "rejected"))


_ANY = Gate(numbers_preserved=False, code_preserved=False, form_preserved=False)
_SAME_SHAPE = replace(_ANY, min_length_ratio=0.8, max_length_ratio=1.25)
_LOSS = replace(_ANY, script_kept=False, min_length_ratio=0.0, max_similarity=0.98)
_OTHER = replace(_ANY, script_kept=False, min_length_ratio=0.02, max_length_ratio=50.0)

TRANSFORMATIONS = (
    _damage("dropped_sentences", dropped_sentences, _LOSS, "sentences lost at random; one stays"),
    _damage("truncated", truncated, _LOSS, "cut off in mid-sentence: the share of words given by the strength"),
    _damage(
        "wrong_numbers",
        partial(edit_some, _wrong_numbers, targets=frozenset({"number", "latex"})),
        _SAME_SHAPE,
        "other numbers of as many digits",
    ),
    _damage("negated", partial(edit_some, _negated), _SAME_SHAPE, '"not" added after auxiliaries, or taken away'),
    _damage("shuffled_words", shuffled_words, _SAME_SHAPE, "the same words in random order"),
    _damage(
        "off_topic_sentences", partial(_everywhere, _off_topic), _OTHER, "sentences by others about something else"
    ),
)
