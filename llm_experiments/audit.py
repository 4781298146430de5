"""What encoding did to a set of pairs, in numbers: printed before anything is computed, stored beside everything."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llm_experiments.encoding import EncodedPair


@dataclass(frozen=True)
class Audit:
    """Counts of pairs and tokens. Shares are of the kept pairs; lengths are in tokens."""

    pairs_in: int
    kept: int
    dropped: dict[str, int]
    dropped_ids: dict[str, tuple[str, ...]]
    notes: dict[str, int]
    template: bool
    end_token: str
    chosen_terminated: float
    rejected_terminated: float
    bos_token: str
    with_one_bos: float
    prompt_tokens: float
    chosen_tokens: float
    rejected_tokens: float
    longest: int
    token_hash: str
    shared_prompts: tuple[int, float] | None = None  # prompts that are what both texts begin with, their characters

    @classmethod
    def of(
        cls,
        pairs: Sequence["EncodedPair"],
        *,
        dropped: Mapping[str, Sequence[str]],
        notes: Mapping[str, int],
        tokenizer: Any,
        template: bool,
        end_ids: tuple[int, ...],
    ) -> "Audit":
        n, bos = len(pairs), tokenizer.bos_token_id
        end = end_ids[-1:]
        return cls(
            pairs_in=n + sum(map(len, dropped.values())),
            kept=n,
            dropped={reason: len(names) for reason, names in dropped.items()},
            dropped_ids={reason: tuple(names) for reason, names in dropped.items()},
            notes=dict(notes),
            template=template,
            end_token=tokenizer.convert_ids_to_tokens(end[0]) if end else "",
            chosen_terminated=sum(p.chosen_ids[-1:] == end for p in pairs) / n if end else 0.0,
            rejected_terminated=sum(p.rejected_ids[-1:] == end for p in pairs) / n if end else 0.0,
            bos_token=tokenizer.convert_ids_to_tokens(bos) if bos is not None else "",
            with_one_bos=sum(p.prompt_ids[:1] == (bos,) and p.prompt_ids[1:2] != (bos,) for p in pairs) / n,
            prompt_tokens=sum(len(p.prompt_ids) for p in pairs) / n,
            chosen_tokens=sum(len(p.chosen_ids) for p in pairs) / n,
            rejected_tokens=sum(len(p.rejected_ids) for p in pairs) / n,
            longest=max(p.longest for p in pairs),
            token_hash=token_hash(pairs),
        )

    def to_row(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"pairs       {self.kept} of {self.pairs_in} kept"]
        flags = {"too long": " (see --max_length)"}  # which pairs those are is up to a flag
        lines += [f"  dropped   {count} {reason}{flags.get(reason, '')}" for reason, count in self.dropped.items()]
        lines += [f"  note      {count} {note}" for note, count in self.notes.items()]
        if self.shared_prompts:
            count, characters = self.shared_prompts
            part = "" if count == self.kept else f" in {count} of {self.kept} pairs"
            lines.append(
                f"prompt      the shared beginning of chosen and rejected{part}, {characters:.0f} characters on average"
            )
        lines += [
            f"format      {'chat template' if self.template else 'plain text'}; "
            + (f"one {self.bos_token} in {self.with_one_bos:.0%}" if self.bos_token else "no BOS token"),
            f"ends with   {self.end_token or 'no end token'}: "
            f"{self.chosen_terminated:.0%} of chosen, {self.rejected_terminated:.0%} of rejected",
            f"tokens      prompt {self.prompt_tokens:.1f}, chosen {self.chosen_tokens:.1f}, "
            f"rejected {self.rejected_tokens:.1f} on average; longest encoding {self.longest}",
            f"token hash  {self.token_hash}",
        ]
        return "\n".join(lines)


def token_hash(pairs: Sequence["EncodedPair"]) -> str:
    """A fingerprint of ids and tokens: equal if and only if two runs read the same."""
    digest = blake2b(digest_size=16)
    for pair in pairs:
        digest.update(repr(pair).encode())
    return digest.hexdigest()


TURNED = "pairs that occur the other way round as well"


def repeats(pairs: Sequence["EncodedPair"]) -> dict[str, int]:
    """A note, as one line with its number: pairs that are in the tokens what an earlier one is, or its reverse."""
    seen = Counter((pair.prompt_ids, pair.chosen_ids, pair.rejected_ids) for pair in pairs)
    again = sum(seen.values()) - len(seen)
    turned = sum(count for (prompt, chosen, rejected), count in seen.items() if (prompt, rejected, chosen) in seen)
    if again:
        also = f", {turned} {TURNED}" if turned else ""
        return {f"exact repeats of earlier pairs{also}": again}
    return {TURNED: turned} if turned else {}
