"""What gives rewards in a stress test, and remembers them: no text is scored twice.

A text is remembered by a hash of all that its reward depends on (a language model's token ids, a function's two
strings). The hashes are stored with the scores, so that a rerun knows what an earlier one computed. `computed` counts
the texts that had to be scored, `asked` those of them that an implicit model's reference had to score too: the cache of
what references have said did not know them.
"""

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import numpy as np

from llm_experiments.encoding import EncodedPair, encode_pairs
from llm_experiments.evaluation import TIE_TOLERANCE
from llm_experiments.pairs import Pair, plain_text
from llm_experiments.settings import EncodingSettings
from simulations.results import Row, UserError

SIDES = ("chosen", "rejected")
NOT_KEPT = ("key", "n_tokens", "per_token", "edited")  # columns that say nothing about a text's reward


@dataclass(frozen=True)
class Reading:
    """One pair as its scorer reads it: for either side a key, the response's length in tokens, and what to score."""

    id: str
    subset: str
    prompt_key: str
    keys: tuple[str, str]
    tokens: tuple[int, int]
    texts: tuple[Any, Any]


class Scorer(ABC):
    """Rewards of pairs, from memory where the same text was scored before."""

    kind = "function"
    cure = ""  # of rewards that are not finite

    def __init__(self, tie_tolerance: float = TIE_TOLERANCE) -> None:
        self.tie_tolerance = tie_tolerance
        self.computed = self.asked = 0
        self._known: dict[str, Row] = {}

    def remember(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """The rewards in stored score rows."""
        for row in rows:
            for side in SIDES:
                if row.get(f"key_{side}"):
                    columns = [name.removesuffix(f"_{side}") for name in row if name.endswith(f"_{side}")]
                    kept = [name for name in columns if name not in NOT_KEPT]
                    self._known[row[f"key_{side}"]] = {name: row[f"{name}_{side}"] for name in kept}

    def admit(self, pairs: Sequence[Pair]) -> None:  # noqa: B027 - a scorer that takes any pair has nothing to look at
        """Look at the original pairs before anything is computed; raises UserError where they cannot be scored."""

    def recognise(self, pairs: Sequence[Pair], rows: Sequence[Row], place: str) -> None:  # noqa: B027 - files have hashes
        """Look whether stored rows of these pairs are this scorer's own; raises UserError where they are another's."""

    def score(self, pairs: Sequence[Pair]) -> tuple[list[Row], dict[str, str]]:
        """A row per pair as `rewardgap score` writes it, with the keys, and why the others were left out, by id.

        Raises:
            UserError: a reward is not finite; the message names the pair.
        """
        readings, dropped = self.read(pairs)
        pairs_of_texts, alone = self._unknown(readings)
        for fresh, paired in ((pairs_of_texts, True), (alone, False)):
            columns = self.rewards(list(fresh.values()), paired=paired) if fresh else {}
            self.computed += len(fresh)
            for place, key in enumerate(fresh):
                self._known[key] = {name: float(values[place]) for name, values in columns.items()}
        return [self._row(reading) for reading in readings], dropped

    @abstractmethod
    def read(self, pairs: Sequence[Pair]) -> tuple[list[Reading], dict[str, str]]:
        """The pairs in order as this scorer reads them; of those it cannot read, the reason by id."""

    @abstractmethod
    def rewards(self, texts: Sequence[Any], *, paired: bool) -> Mapping[str, np.ndarray]:
        """Columns of numbers for what `read` gave as texts; one of them is `scores`. `paired`: texts 2k and 2k + 1
        answer the same prompt."""

    def _unknown(self, readings: Sequence[Reading]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Texts by key that have no reward yet: of pairs with both, one after the other, and the rest."""
        pairs: dict[str, Any] = {}
        alone: dict[str, Any] = {}
        for reading in readings:
            both = dict(zip(reading.keys, reading.texts, strict=True)).items()
            fresh = {key: text for key, text in both if not any(key in some for some in (self._known, pairs, alone))}
            (pairs if len(fresh) == 2 else alone).update(fresh)
        return pairs, alone

    def _row(self, reading: Reading) -> Row:
        found = [self._known[key] for key in reading.keys]
        chosen, rejected = (values.get("log_odds", values["scores"]) for values in found)
        if not np.isfinite([chosen, rejected]).all():
            raise UserError(f"pair {reading.id!r}: its reward is not a finite number{self.cure}")
        row: Row = {
            "id": reading.id,
            "subset": reading.subset,
            "prompt_hash": reading.prompt_key,
            "results": result(chosen - rejected, self.tie_tolerance),
            "tie_tolerance": self.tie_tolerance,
            "kind": self.kind,
        }
        for side, values, key, tokens in zip(SIDES, found, reading.keys, reading.tokens, strict=True):
            row |= {f"{name}_{side}": value for name, value in values.items()}
            row |= {f"n_tokens_{side}": tokens, f"key_{side}": key}
            if self.kind == "implicit":
                row[f"per_token_{side}"] = values["scores"] / max(1, tokens)
        return row


class FunctionScorer(Scorer):
    """Any reward function of (prompt, response) as texts; lengths are counted in words."""

    def __init__(self, reward: Callable[[str, str], float], tie_tolerance: float = TIE_TOLERANCE) -> None:
        super().__init__(tie_tolerance)
        self._reward = reward

    def read(self, pairs: Sequence[Pair]) -> tuple[list[Reading], dict[str, str]]:
        readings = []
        for pair in pairs:
            prompt = plain_text(pair.prompt)
            responses = [plain_text(text) for text in (pair.chosen, pair.rejected)]
            keys, tokens = (_key(prompt, text) for text in responses), (len(text.split()) for text in responses)
            texts = ((prompt, text) for text in responses)
            readings.append(Reading(pair.id, pair.subset, _key(prompt), *map(tuple, (keys, tokens, texts))))  # type: ignore[arg-type]
        return readings, {}

    def rewards(self, texts: Sequence[Any], *, paired: bool) -> Mapping[str, np.ndarray]:
        return {"scores": np.array([self._number(*text) for text in texts])}

    def recognise(self, pairs: Sequence[Pair], rows: Sequence[Row], place: str) -> None:
        """Asks again for the lowest and the highest of the rewards: what moves neither has hardly changed."""
        if any(row.get("tie_tolerance", self.tie_tolerance) != self.tie_tolerance for row in rows):
            raise UserError(f"{place}: holds results of another tie_tolerance; choose another folder")
        texts = {key: text for one in self.read(pairs)[0] for key, text in zip(one.keys, one.texts, strict=True)}
        reward = "log_odds" if any("log_odds_chosen" in row for row in rows) else "scores"
        known = {
            row[f"key_{side}"]: row[f"{reward}_{side}"] for row in rows for side in SIDES if row.get(f"key_{side}")
        }
        ends = sorted((key for key in known if key in texts), key=known.__getitem__)
        asked = list(dict.fromkeys((*ends[:1], *ends[-1:])))
        again = self.rewards([texts[key] for key in asked], paired=False)[reward] if asked else ()
        for key, now in zip(asked, again, strict=True):
            if not math.isclose(now, known[key], rel_tol=1e-5, abs_tol=self.tie_tolerance):
                was = f"the reward of {texts[key][1][:40]!r} was {known[key]:g} and is {now:g}"
                raise UserError(f"{place}: the function has changed ({was}); choose another folder")

    def _number(self, prompt: str, response: str) -> float:
        found = self._reward(prompt, response)
        try:
            return float(found)
        except (TypeError, ValueError):
            raise UserError(f"the reward of the response {response[:60]!r} is no number: {found!r:.60}") from None


class ModelScorer(Scorer):
    """A reward model on a language model. Pairs that are too long for it, or have no tokens, are left out."""

    cure = "; try --dtype float32"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        encoding: EncodingSettings,
        *,
        batch_size: int = 16,
        tie_tolerance: float = TIE_TOLERANCE,
    ) -> None:
        super().__init__(tie_tolerance)
        self.model, self.tokenizer, self.batch_size = model, tokenizer, batch_size
        self.kind = model.kind
        self._given, self.encoding = encoding, limited(encoding, model.config)

    def admit(self, pairs: Sequence[Pair]) -> None:
        from llm_experiments.scoring import check_lengths, check_pooling

        encoded, audit = encode_pairs(pairs, self.tokenizer, self._given)
        print(audit, file=sys.stderr)
        check_lengths(self.model, encoded)
        check_pooling(self.model, encoded)
        for note in self.model.notes:
            print(note, file=sys.stderr)

    def read(self, pairs: Sequence[Pair]) -> tuple[list[Reading], dict[str, str]]:
        from llm_experiments.scoring import prompt_hash

        encoded, dropped = encode(pairs, self.tokenizer, self.encoding)
        readings = []
        for pair in encoded:
            texts, tokens = [], (len(pair.chosen_ids), len(pair.rejected_ids))
            for side, length in zip(SIDES, tokens, strict=True):
                texts.append((*pair.sequence(self.kind, side), length))  # type: ignore[arg-type]
            keys = tuple(_key(*text) for text in texts)
            readings.append(
                Reading(pair.id, pair.subset, prompt_hash(pair.prompt_ids), keys, tokens, tuple(texts))  # type: ignore[arg-type]
            )
        return readings, dropped

    def rewards(self, texts: Sequence[Any], *, paired: bool) -> Mapping[str, np.ndarray]:
        from llm_experiments.scoring import row_values

        model = self.model
        known = 0 if model.cache is None else len(model.cache)
        values = row_values(model, texts, self.batch_size, paired=paired, progress=True)
        if model.kind == "implicit" and model.reference is not None:
            self.asked += len(texts) if model.cache is None else len(model.cache) - known
        return values


def result(margin: float, tolerance: float) -> float:
    """1 where the chosen response is ahead, 0 where the other is, one half up to the tolerance."""
    return 0.5 if abs(margin) <= tolerance else float(margin > 0)


def encode(
    pairs: Sequence[Pair], tokenizer: Any, settings: EncodingSettings
) -> tuple[list[EncodedPair], dict[str, str]]:
    """The pairs that can be encoded, in order, and the reason for each that cannot, by id; none may be left."""
    if not pairs:
        return [], {}
    anchor = Pair("\0anchor", "", "question", "answer one", "answer two")  # so that somebody is always left
    encoded, audit = encode_pairs([anchor, *pairs], tokenizer, replace(settings, bad_pairs="drop"))
    dropped = {name: reason for reason, names in audit.dropped_ids.items() for name in names if name != anchor.id}
    return [pair for pair in encoded if pair.id != anchor.id], dropped


def limited(encoding: EncodingSettings, config: Any) -> EncodingSettings:
    """No text may be longer than the model's positions; an edit that makes one so long leaves its pair out."""
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    limits = [limit for limit in (encoding.max_length, positions) if limit]
    action = "drop" if encoding.over_length == "error" else encoding.over_length
    return replace(encoding, max_length=min(limits, default=0), over_length=action)


def _key(*parts: Any) -> str:
    return blake2b(repr(parts).encode(), digest_size=12).hexdigest()
