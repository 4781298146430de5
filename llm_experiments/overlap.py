"""What training and evaluation pairs have in common: a score on seen pairs is no evidence of generalisation.

Texts are compared by their words, and once more without case and punctuation (near duplicates). Rewritten or
translated copies are not found.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from llm_experiments.pairs import Pair, Text
from llm_experiments.splits import near_key, text_key
from simulations.results import Row

# What an evaluation pair may share with some training pair. `response`: either of its responses, on whichever side;
# `prompt_and_chosen`: the same right answer to the same prompt; `reversed_pair`: with chosen and rejected exchanged;
# near_*: equal but for case and punctuation, and not equal.
FORMS = (
    "prompt",
    "chosen",
    "rejected",
    "response",
    "prompt_and_chosen",
    "pair",
    "reversed_pair",
    "near_prompt",
    "near_response",
    "near_pair",
)
_PRINTED = tuple(name for name in FORMS if name not in ("chosen", "rejected"))


@dataclass(frozen=True)
class Overlap:
    """`shared`: which FORMS each evaluation pair has, by id; pairs that share neither prompt nor response with
    training, exactly or nearly, are not in it."""

    training: int
    evaluation: int
    shared: Mapping[str, tuple[str, ...]]

    @property
    def counts(self) -> dict[str, int]:
        """Evaluation pairs by what they share."""
        return {name: sum(name in found for found in self.shared.values()) for name in FORMS}

    def to_row(self) -> Row:
        return {"training": self.training, "evaluation": self.evaluation, **self.counts, "any": len(self.shared)}

    @property
    def found(self) -> str:
        """In words: how many pairs share what."""
        counts = self.counts
        return ", ".join(f"{counts[name]} {name.replace('_', ' ')}" for name in _PRINTED if counts[name]) or "none"

    def __str__(self) -> str:
        return f"overlap     of {self.evaluation} with {self.training} training pairs: {self.found}"


def audit_overlap(training: Sequence[Pair], evaluation: Sequence[Pair]) -> Overlap:
    """What each pair of `evaluation` has in common with some pair of `training`."""
    exact, near = _Index(training, text_key), _Index(training, near_key)
    shared = {}
    for pair in evaluation:
        found, nearly = exact.shared(pair), near.shared(pair)
        names = [name for name in FORMS if name in found]
        names += [f"near_{name}" for name in ("prompt", "response", "pair") if name in nearly and name not in found]
        if names:
            shared[pair.id] = tuple(names)
    return Overlap(len(training), len(evaluation), shared)


class _Index:
    """The texts of the training pairs under one way to tell texts apart."""

    def __init__(self, pairs: Sequence[Pair], key: Callable[[Text], str]) -> None:
        self.key = key
        self.pairs = {self._keys(pair) for pair in pairs}
        self.prompts, self.chosen, self.rejected = (set(column) for column in zip(*self.pairs, strict=True))
        self.right = {keys[:2] for keys in self.pairs}

    def shared(self, pair: Pair) -> set[str]:
        keys = prompt, chosen, rejected = self._keys(pair)
        found = {
            "prompt": prompt in self.prompts,
            "chosen": chosen in self.chosen,
            "rejected": rejected in self.rejected,
            "response": any(text in side for text in (chosen, rejected) for side in (self.chosen, self.rejected)),
            "prompt_and_chosen": (prompt, chosen) in self.right,
            "pair": keys in self.pairs,
            "reversed_pair": (prompt, rejected, chosen) in self.pairs,
        }
        return {name for name, here in found.items() if here}

    def _keys(self, pair: Pair) -> tuple[bytes, bytes, bytes]:
        return _hash(self.key(pair.prompt)), _hash(self.key(pair.chosen)), _hash(self.key(pair.rejected))


def _hash(text: str) -> bytes:
    """A hundred thousand long responses need not stay in memory."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
