"""Which pairs train and which evaluate: parted by prompt, so that no prompt is on both sides.

The part is a function of the prompt's text and the seed alone. Pairs of one prompt stay together whatever their order,
their number or their file, and a file that grows keeps its old pairs where they were. Prompts that differ in case,
blank space or punctuation only stay together too.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from hashlib import blake2b

from llm_experiments.pairs import ASSISTANT_TURN, Pair, Text, plain_text
from simulations.results import UserError

HUMAN_TURN = "\n\nHuman:"
_MARKS = r"[!\"',.:;?`´‘’“”…]"
_PUNCTUATION = re.compile(rf"(?<!\d){_MARKS}|{_MARKS}(?!\d)")  # 1.5 is not 15


def split_pairs(pairs: Sequence[Pair], shares: Mapping[str, float], *, seed: int = 0) -> dict[str, list[Pair]]:
    """Parts by name, each with about its share of the prompts; order within a part is kept.

    Shares must be positive and sum to one. They are met in expectation: with n prompts a share p is off by about
    sqrt(p (1 - p) / n).

    Raises:
        UserError: shares that are no shares.
    """
    if not shares or min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-9:
        raise UserError(f"shares of a split must be positive and sum to 1, got {dict(shares)}")
    parts: dict[str, list[Pair]] = {name: [] for name in shares}
    for pair in pairs:
        place, edge = prompt_position(pair, seed), 0.0
        for name in shares:
            edge += shares[name]
            if place < edge:
                break
        parts[name].append(pair)  # rounding of the last edge leaves the last name
    return parts


def prompt_position(pair: Pair, seed: int = 0) -> float:
    """Where the prompt falls in [0, 1): its hash, uniform over prompts and independent of everything else."""
    text = f"{seed}\0{near_key(pair.prompt)}"
    return int.from_bytes(blake2b(_bytes(text), digest_size=8).digest(), "big") / 2**64


def text_key(text: Text) -> str:
    """Words with single blanks between them. Role names of a transcript are left out, as a message's role is: turns
    as messages or as a transcript make no other text."""
    words = plain_text(text).replace(HUMAN_TURN, " ").replace(ASSISTANT_TURN, " ")
    return " ".join(words.split())


def near_key(text: Text) -> str:
    """`text_key` without case, punctuation between words and the variants of one character (NFKC). Operators stay,
    since x + 1 is not x - 1; a text of nothing but punctuation is its own."""
    exact = text_key(text)
    words = _PUNCTUATION.sub(" ", unicodedata.normalize("NFKC", exact).casefold()).split()
    return " ".join(words) or exact


def pair_hash(pair: Pair) -> str:
    """Of the words of prompt and responses: equal for the same pair under whatever name and tokenizer."""
    words = "\0".join(text_key(text) for text in (pair.prompt, pair.chosen, pair.rejected))
    return blake2b(_bytes(words), digest_size=8).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
