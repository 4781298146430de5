"""Which words of a pair an edit is given, and how they are put back: the form around them stays as it was.

Blank space around a response, the role names of a transcript and all but the last user turn belong to the form.
"""

import re
from dataclasses import replace
from typing import Literal

from llm_experiments.pairs import ASSISTANT_TURN, Pair, Text
from llm_experiments.splits import HUMAN_TURN

Field = Literal["prompt", "chosen", "rejected"]
Side = Literal["responses", "prompt", "chosen", "rejected", "both"]
FIELDS: dict[Side, tuple[Field, ...]] = {
    "responses": ("chosen", "rejected"),
    "prompt": ("prompt",),
    "chosen": ("chosen",),
    "rejected": ("rejected",),
    "both": ("prompt", "chosen", "rejected"),
}


def words_of(pair: Pair, field: Field) -> str:
    """A response's words, or those of the prompt's last user turn."""
    return _parts(getattr(pair, field), field)[1]


def with_words(pair: Pair, field: Field, words: str) -> Pair:
    """The pair with other words there. Inverse of `words_of`; without words nothing is said, the form stays."""
    before, _, after = _parts(getattr(pair, field), field)
    text = getattr(pair, field)
    if isinstance(text, str):
        return replace(pair, **{field: before + words + after})
    place = _turn(text, field)
    message = {**text[place], "content": before + words + after}
    return replace(pair, **{field: (*text[:place], message, *text[place + 1 :])})


def _parts(text: Text, field: Field) -> tuple[str, str, str]:
    """What stands before the words, the words, and what stands after them."""
    if not isinstance(text, str):
        text = text[_turn(text, field)]["content"] if text else ""
    start, stop = 0, len(text)
    if field == "prompt" and text.startswith(HUMAN_TURN) and text.endswith(ASSISTANT_TURN):
        start, stop = text.rfind(HUMAN_TURN) + len(HUMAN_TURN), len(text) - len(ASSISTANT_TURN)
    core = text[start:stop]
    blank = re.match(r"\s*", core).end()  # type: ignore[union-attr]
    words = core.strip()
    return text[: start + blank], words, text[start + blank + len(words) :]


def _turn(messages: tuple[dict[str, str], ...], field: Field) -> int:
    """The last user turn of a prompt, the last turn of a response."""
    if field == "prompt":
        for place in range(len(messages) - 1, -1, -1):
            if messages[place]["role"] == "user":
                return place
    return len(messages) - 1
