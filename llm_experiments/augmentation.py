"""Training pairs once more in other words: surface-form augmentation, and a consistency regulariser over the copies.

    rewardgap train ... --augment synonyms contractions --augment_rewrites paraphrased.jsonl --consistency 1

Every pair gets one copy per edit that changes it; both responses are edited by the same rule, and what an edit's gate
rejects is left out. The copies are made once, before training, by draws that depend on (seed, edit, pair) alone, so
neither the order of the pairs, nor batches, nor a resumed run can move them. They are trained on like any pair.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from llm_experiments.encoding import EncodedPair, encode_pairs
from llm_experiments.pairs import Pair
from llm_experiments.settings import AugmentSettings, EncodingSettings
from llm_experiments.splits import text_key
from llm_experiments.stress.shifts import CHANGED, Shift, shift_by
from simulations.results import UserError


@dataclass(frozen=True)
class Consistency:
    """`weight` times the mean squared difference of two margins, added to the loss: of pair i and pair `partners[i]`.
    A pair that is its own partner adds nothing."""

    weight: float
    partners: Sequence[int]


@dataclass(frozen=True)
class Augmented:
    """Pairs to train on, the originals first. `partners`: of a copy its original, of an original its first copy, or
    itself where it has none."""

    pairs: list[EncodedPair]
    partners: tuple[int, ...]
    notes: tuple[str, ...] = ()  # a line per edit

    def consistency(self, weight: float) -> Consistency | None:
        return Consistency(weight, self.partners) if weight else None


def edits(settings: AugmentSettings, pairs: Sequence[Pair], *, seed: int, split: str = "train") -> list[Shift]:
    """What the settings ask for.

    Raises:
        UserError: an unknown name, an edit that damages, a file of rewrites that matches no pair, or a regulariser
            without copies.
    """
    from llm_experiments.stress.catalogue import by_name
    from llm_experiments.stress.rewrites import read_rewrites

    if settings.consistency and not (settings.augment or settings.augment_rewrites):
        raise UserError("--consistency compares pairs with their edited copies; ask for some with --augment")
    found = []
    for transformation in by_name(settings.augment, flag="--augment"):
        if transformation.purpose != "invariance":
            raise UserError(f"--augment: {transformation.name!r} damages a text; name edits that keep the meaning")
        found.append(shift_by(transformation, settings.augment_strength, "responses", seed=seed))
    rewrites = settings.augment_rewrites
    return found + [read_rewrites(one, pairs, split=split, flag="--augment_rewrites").shift() for one in rewrites]


def augment(
    pairs: Sequence[Pair],
    encoded: Sequence[EncodedPair],
    shifts: Sequence[Shift],
    tokenizer: Any,
    encoding: EncodingSettings,
) -> Augmented:
    """`encoded`, which are `pairs`, and behind them the edited copies; copies that cannot be ranked any more, or are
    too long, are left out and counted.

    Raises:
        UserError: edits were asked for, and none changes any pair.
    """
    if not shifts:
        return Augmented(list(encoded), tuple(range(len(encoded))))
    copies: list[Pair] = []
    original: dict[str, int] = {}
    notes = []
    for number, shift in enumerate(shifts):
        fates: Counter[str] = Counter()
        for place, pair in enumerate(pairs):
            copy, fate = shift.change(pair)
            if fate == CHANGED and text_key(copy.chosen) == text_key(copy.rejected):
                fate = "rejected: both responses the same"
            fates[fate] += 1
            if fate == CHANGED:
                name = f"{pair.id} ({number}: {shift.name})"
                original[name] = place
                copies.append(replace(copy, id=name))
        notes.append(f"{shift.name}: " + ", ".join(f"{count} {fate}" for fate, count in fates.most_common()))
    if not copies:
        raise UserError(f"--augment changes none of the {len(pairs)} training pairs ({'; '.join(notes)})")
    over_length = "drop" if encoding.over_length == "error" else encoding.over_length
    kept, _ = encode_pairs(copies, tokenizer, replace(encoding, bad_pairs="drop", over_length=over_length))
    if len(kept) < len(copies):
        notes.append(f"{len(copies) - len(kept)} edited copies left out: too long, or without a token")
    behind = [original[pair.id] for pair in kept]
    partners = list(range(len(encoded)))
    for place in reversed(range(len(kept))):
        partners[behind[place]] = len(encoded) + place
    return Augmented([*encoded, *kept], (*partners, *behind), tuple(notes))
