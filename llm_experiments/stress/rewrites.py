"""Rewrites that somebody else made, such as paraphrases or translations by a large model, as one more shift.

A line of the file is a pair with other words: `chosen` and `rejected`, and what they were, `orig_chosen` and
`orig_rejected`. It is joined to the original pair by those two texts, word by word, otherwise by id. What finds no
partner is counted, never guessed. Whether a rewrite keeps the meaning is for whoever made it to say; refused is what
cannot: a response that is the other one's original, or that is out of all proportion to its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llm_experiments.pair_sources import read_records, source_stem
from llm_experiments.pairs import Pair, load_pairs, plain_text
from llm_experiments.splits import text_key
from llm_experiments.stress.shifts import CHANGED, REJECTED, UNCHANGED, Shift, Shifted
from llm_experiments.stress.sides import with_words, words_of
from simulations.results import UserError

Key = tuple[str, str]
# Of 1200 pairs put into other words, French or Spanish by GPT-4.1 (Razin et al. 2025), all but two lie within: "A" may
# become a sentence, and a paragraph may lose seven eighths. Beyond lie two prompts that were answered ("non").
LONGER, LONGER_BY = 8, 130
SHORTER, SHORTER_BY = 1 / 8, 10  # ratio, and characters on top of it


@dataclass(frozen=True)
class Rewrites:
    """Rewritten pairs by the original's id, and how the join went: lines of the file, of them without an original,
    originals without a rewrite."""

    name: str
    pairs: dict[str, Pair]
    lines: int
    unmatched: int
    missing: int
    prompts: int  # how many of the pairs have another prompt as well

    def shift(self) -> Shift:
        """What the rewrites do to a pair. The strength says nothing here."""
        side = "both" if self.prompts else "responses"
        return Shift(self.name, "rewrites", "invariance", 1.0, side, f"rewrites from {self.name}", self._change)

    def __str__(self) -> str:
        return (
            f"{self.name}: {len(self.pairs)} pairs have a rewrite, {self.missing} have none; {self.unmatched} of "
            f"{self.lines} rewrites match no pair" + (f"; {self.prompts} change the prompt too" if self.prompts else "")
        )

    def _change(self, pair: Pair) -> Shifted:
        found = self.pairs.get(pair.id)
        if found is None:
            return Shifted(pair, f"{REJECTED}no rewrite of this pair")
        if found == pair:
            return Shifted(found, UNCHANGED)
        reason = _unfair(pair, found)
        return Shifted(found, f"{REJECTED}{reason}" if reason else CHANGED)


def read_rewrites(
    source: str, originals: Sequence[Pair], *, split: str = "train", flag: str = "--rewrites"
) -> Rewrites:
    """The rewrites in a file that belong to `originals`. Where a pair has two, the first counts.

    Raises:
        UserError: the file cannot be read, or none of its lines matches.
    """
    stem = source_stem(source).replace("/", "_")
    rewritten = load_pairs(source, bad_pairs="drop", split=split, flag=flag)
    stated = _stated_originals(source, split)
    by_words: dict[Key, list[Pair]] = {}
    for pair in originals:
        by_words.setdefault((text_key(pair.chosen), text_key(pair.rejected)), []).append(pair)
    by_id = {pair.id: pair for pair in originals}
    found: dict[str, Pair] = {}
    unmatched = rewritten.pairs_in - len(rewritten)
    for rewrite in rewritten:
        key = stated.get(rewrite.id)
        partners = by_words.get(key, []) if key else [by_id[rewrite.id]] if rewrite.id in by_id else []
        for original in partners:
            found.setdefault(original.id, _rewritten(original, rewrite))
        unmatched += not partners
    if not found:
        raise UserError(
            f"{source}: none of its {rewritten.pairs_in} rewrites belongs to a pair in --pairs; they are joined by "
            '"orig_chosen" and "orig_rejected", otherwise by "id"'
        )
    prompts = sum(found[pair.id].prompt != pair.prompt for pair in originals if pair.id in found)
    return Rewrites(stem, found, rewritten.pairs_in, unmatched, len(originals) - len(found), prompts)


def _unfair(original: Pair, rewrite: Pair) -> str | None:
    for field, other in (("chosen", "rejected"), ("rejected", "chosen")):
        before, after = words_of(original, field), words_of(rewrite, field)
        if text_key(after) == text_key(words_of(original, other)):
            return "the other response's words"
        if len(after) < SHORTER * len(before) - SHORTER_BY:
            return "too short"
        if len(after) > LONGER * len(before) + LONGER_BY:
            return "too long"
    return None


def _stated_originals(source: str, split: str) -> dict[str, Key]:
    """By the rewrite's id: the words of the original responses, where the line has both."""
    stem, stated = source_stem(source), {}
    for record in read_records(source, split=split):
        texts = [record.row.get(name) for name in ("orig_chosen", "orig_rejected")]
        if all(isinstance(text, str) for text in texts):
            name = record.row.get("id")
            stated[f"{stem}/{record.number}" if name in (None, "") else str(name)] = tuple(map(text_key, texts))
    return stated  # type: ignore[return-value]


def _rewritten(original: Pair, rewrite: Pair) -> Pair:
    """The original in its own form with the rewrite's words; its prompt too, where that was rewritten as well."""
    pair = original
    for field in ("chosen", "rejected"):
        pair = with_words(pair, field, plain_text(getattr(rewrite, field)).strip())
    if text_key(rewrite.prompt) != text_key(original.prompt):
        pair = replace(pair, prompt=rewrite.prompt)
    return pair
