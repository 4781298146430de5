"""The stress suite on rungs 1 and 2, where the truth is known: rewrites that keep the meaning, damage that does not.

Rung 1: every answer word and prefix of a held-out pair is replaced by one of its synonyms that no training pair holds.
Rung 2: the answers seen in training are replaced by the published paraphrase. Damage replaces the chosen answer's word
by one of the other class, so that the better response is no longer better.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from llm_experiments.pairs import Pair
from llm_experiments.stress.rewrites import read_rewrites
from llm_experiments.stress.shifts import CHANGED, Shift, Shifted
from llm_experiments.stress.sides import with_words, words_of
from llm_experiments.tasks.language import Split
from llm_experiments.tasks.persona import AGREE, DISAGREE, Condition, Question, answers_of


def language_shifts(split: Split, pairs: Sequence[Pair], folder: Path, *, seed: int) -> list[Shift]:
    """Synonyms as a file of rewrites (written to `folder`), and damage by a seen word of the other class."""
    random = np.random.default_rng([seed, 6])
    words = {
        split.seen_agree: split.unseen_agree,
        split.seen_disagree: split.unseen_disagree,
        split.seen_prefixes: split.unseen_prefixes,
    }
    other = {word: new for old, new in words.items() for word, new in zip(old, random.permutation(new), strict=True)}
    opposite = dict(zip(split.seen_agree, random.permutation(split.seen_disagree), strict=True))
    opposite |= dict(zip(split.seen_disagree, random.permutation(split.seen_agree), strict=True))
    return [_as_rewrites("synonyms", pairs, other, folder), _damage(opposite)]


def persona_pairs(prompts: Sequence[Question], condition: Condition = "seen") -> list[Pair]:
    """Every answer pair of a condition after every prompt, the matching answer chosen."""
    return _answered(prompts, answers_of(condition))


def persona_shifts(prompts: Sequence[Question], folder: Path) -> list[Shift]:
    """The published paraphrase of `persona_pairs` as a file of rewrites, and damage by the other side's answer."""
    originals = persona_pairs(prompts)
    rewritten = _answered(prompts, answers_of("published") * (len(answers_of("seen")) // len(answers_of("published"))))
    sides = [sorted({pair[side] for pair in answers_of("seen")}) for side in (AGREE, DISAGREE)]
    opposite = dict(zip(sides[0], sides[1], strict=True)) | dict(zip(sides[1], sides[0], strict=True))
    lines = [(old, new.chosen, new.rejected) for old, new in zip(originals, rewritten, strict=True)]
    return [_write_rewrites("paraphrase", lines, originals, folder), _damage(opposite, whole=True)]


def _answered(prompts: Sequence[Question], answers: Sequence[tuple[str, str]]) -> list[Pair]:
    pairs = []
    for number, question in enumerate(prompts):
        for form, both in enumerate(answers):
            right, wrong = both if question.yes else both[::-1]
            pairs.append(Pair(f"{number}/{form}", "persona", question.text + "\n", right, wrong))
    return pairs


def _as_rewrites(name: str, pairs: Sequence[Pair], other: Mapping[str, str], folder: Path) -> Shift:
    lines = [(pair, *(_replaced(words_of(pair, side), other) for side in ("chosen", "rejected"))) for pair in pairs]
    return _write_rewrites(name, lines, pairs, folder)


def _write_rewrites(name: str, lines: Sequence[tuple[Pair, str, str]], pairs: Sequence[Pair], folder: Path) -> Shift:
    """By id: in these worlds the same answers come after many prompts."""
    path = folder / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"id": p.id, "prompt": p.prompt, "chosen": good, "rejected": bad} for p, good, bad in lines]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return read_rewrites(str(path), pairs).shift()


def _damage(opposite: Mapping[str, str], *, whole: bool = False) -> Shift:
    def change(pair: Pair) -> Shifted:
        words = words_of(pair, "chosen")
        damaged = opposite[words] if whole else _replaced(words, opposite)
        return Shifted(with_words(pair, "chosen", damaged), CHANGED)

    return Shift("opposite", "damage", "sensitivity", 1.0, "chosen", "the answer says the opposite", change)


def _replaced(words: str, other: Mapping[str, str]) -> str:
    return " ".join(other.get(word, word) for word in words.split(" "))
