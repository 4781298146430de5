"""From a pair to the texts that are tokenised: through the tokenizer's chat template, or plain.

One place decides how a prompt, a response and the verification question look, for every kind, in training and in
scoring alike. The verification prompt is the papers' (three lines: question, answer, is it correct), in own words.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llm_experiments.pairs import ASSISTANT_TURN, Message, Pair, Text
from simulations.results import UserError

HUMAN_TURN = "\n\nHuman:"
ANSWER_CHECK = "\nIs the answer correct (Yes/No)?"
_SLOT = "SLOT7f3aFORresponse"  # where the response will stand; a word no template touches
# Llama 3's template prints today's date unless it is given one, and a pair's tokens must not depend on the day.
_FIXED_DATE = "26 Jul 2024"


@dataclass(frozen=True)
class RenderedPair:
    """Texts of one pair. `chosen` and `rejected` are whole: prompt and response. `adapted` names what had to be
    changed for the template's sake, or is empty."""

    prompt: str
    chosen: str
    rejected: str
    verify_prefix: str
    verify_suffix: str
    adapted: str


def has_template(tokenizer: Any) -> bool:
    return bool(getattr(tokenizer, "chat_template", None))


def render_pair(pair: Pair, tokenizer: Any, *, template: bool) -> RenderedPair:
    """The texts of `pair`.

    Raises:
        UserError: the chat template refuses the messages even with neighbouring turns of one role merged, or does
            not write what it is given.
    """
    if not template:
        return _plain(pair)
    prompt, chosen, rejected = (_clean(text) for text in (pair.prompt, pair.chosen, pair.rejected))
    prompt, chosen, rejected = _messages(prompt, chosen, rejected)
    before = adapted = ""
    try:
        before = _apply(tokenizer, prompt, generation=True)
    except UserError:
        prompt, adapted = _merged(prompt), "turns merged for the template"
    question = ({"role": "user", "content": f"Question: {_flat(prompt)}\nAnswer: {_SLOT}{ANSWER_CHECK}"},)
    try:
        before = before or _apply(tokenizer, prompt, generation=True)
        prefix, suffix = _around_slot(_apply(tokenizer, question, generation=True))
        wholes = [_apply(tokenizer, prompt + response, generation=False) for response in (chosen, rejected)]
    except UserError as error:
        raise UserError(f"pair {pair.id!r}: {error}") from None
    return RenderedPair(before, *wholes, prefix, suffix, adapted)


def response_tail(tokenizer: Any) -> str:
    """What the template writes after a response's last word: its end of turn. Raises UserError as `render_pair`."""
    turns = ({"role": "user", "content": "question"}, {"role": "assistant", "content": _SLOT})
    return _around_slot(_apply(tokenizer, turns, generation=False))[1]


def _plain(pair: Pair) -> RenderedPair:
    prompt, chosen, rejected = (_clean(text) for text in (pair.prompt, pair.chosen, pair.rejected))
    before = prompt if isinstance(prompt, str) else _transcript(prompt) + ASSISTANT_TURN
    after = [text if isinstance(text, str) else " " + text[-1]["content"] for text in (chosen, rejected)]
    blank = "" if all(text[:1].isspace() for text in after) else " "
    question = f"Question: {(prompt if isinstance(prompt, str) else _flat(prompt)).strip()}\nAnswer:{blank}"
    # ends in a line break, so that the next token is "Yes" and not " Yes", as after a chat template
    return RenderedPair(before, before + after[0], before + after[1], question, ANSWER_CHECK + "\n", "")


def _transcript(messages: Sequence[Message]) -> str:
    names = {"user": HUMAN_TURN + " ", "assistant": ASSISTANT_TURN + " "}
    return "".join(names.get(message["role"], "\n\n") + message["content"] for message in messages)


def _messages(prompt: Text, chosen: Text, rejected: Text) -> tuple[tuple[Message, ...], ...]:
    """Everything as messages; a plain transcript is taken apart into its turns."""
    if isinstance(prompt, str) and prompt.startswith(HUMAN_TURN) and prompt.endswith(ASSISTANT_TURN):
        turns = re.split(f"({re.escape(HUMAN_TURN)}|{re.escape(ASSISTANT_TURN)})", prompt)[1:-2]
        prompt = tuple(
            {"role": "user" if name == HUMAN_TURN else "assistant", "content": words.strip()}
            for name, words in zip(turns[::2], turns[1::2], strict=True)
        )
        chosen, rejected = (text.strip() if isinstance(text, str) else text for text in (chosen, rejected))
    if isinstance(prompt, str):
        prompt = ({"role": "user", "content": prompt},)
    responses = (
        ({"role": "assistant", "content": text},) if isinstance(text, str) else text for text in (chosen, rejected)
    )
    return prompt, *responses


def _merged(messages: Sequence[Message]) -> tuple[Message, ...]:
    """For templates without a system role, or that insist on taking turns: the system's words open the first user
    turn, neighbours of one role become one."""
    merged: list[Message] = []
    for message in messages:
        role = "user" if message["role"] == "system" else message["role"]
        if merged and merged[-1]["role"] == role:
            merged[-1] = {"role": role, "content": merged[-1]["content"] + "\n\n" + message["content"]}
        else:
            merged.append({"role": role, "content": message["content"]})
    return tuple(merged)


def _flat(messages: Sequence[Message]) -> str:
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n".join(f"{message['role'].capitalize()}: {message['content']}" for message in messages)


def _apply(tokenizer: Any, messages: Sequence[Message], *, generation: bool) -> str:
    try:
        return tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=generation, date_string=_FIXED_DATE
        )
    except Exception as error:  # a template is a program: it can divide by zero as well
        reason = str(error).strip() or type(error).__name__
        raise UserError(f"the chat template refuses its messages ({reason}); --template none does without") from None


def _around_slot(text: str) -> tuple[str, str]:
    before, slot, after = text.rpartition(_SLOT)
    if not slot:
        raise UserError("the chat template does not write the words that it is given; --template none does without")
    return before, after


def _clean(text: Text) -> Text:
    """Half surrogate pairs come out of truncated JSON escapes; no tokenizer takes them."""
    if isinstance(text, str):
        return text.encode("utf-8", "replace").decode("utf-8")
    return tuple({key: str(_clean(words)) for key, words in message.items()} for message in text)
