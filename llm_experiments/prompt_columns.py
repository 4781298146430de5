"""Columns that hold a prompt under another name, which would be thrown away where a pair has no "prompt"."""

from collections.abc import Mapping
from typing import Any

_BARE = ("prompt", "question", "query", "input", "instruction", "message", "conversation")
_NAMES = {
    *_BARE,
    *(f"{name}s" for name in _BARE),
    *(f"{name}_text" for name in _BARE),
    *(f"user_{name}" for name in _BARE),
    *("queries", "user", "context", "history", "problem"),
}
_READ = ("id", "subset", "chosen", "rejected", "prompt")
_RESPONSES = ("chosen", "rejected", "response", "answer", "completion")


def named_like_a_prompt(row: Mapping[str, Any], given: str) -> list[str]:
    """Columns called what prompts are called, in any case, whose text or messages `given`, the prompt that was found
    otherwise, does not contain."""
    names = [key for key in row if key.strip().casefold().replace(" ", "_").replace("-", "_") in _NAMES]
    return [key for key in names if _holds_text(row[key]) and not (given and _contains(given, row[key]))]


def with_words(row: Mapping[str, Any]) -> list[str]:
    """Columns that nobody reads and that hold more than one word, so that one of them could be the prompt."""
    others = [key for key in row if key not in _READ and not any(part in key.casefold() for part in _RESPONSES)]
    return [key for key in others if isinstance(row[key], str) and len(row[key].split()) > 1]


def rename(columns: list[str]) -> str:
    """The cure."""
    said = ", ".join(f'"{key}"' for key in columns)
    if len(columns) == 1:
        return f'rename {said} to "prompt"'
    return f'rename the one of {said} that is the prompt to "prompt"'


def _holds_text(value: Any) -> bool:
    if isinstance(value, str):
        return bool(value.strip())
    return isinstance(value, list | tuple) and len(value) > 0 and all(isinstance(one, str | dict) for one in value)


def _contains(given: str, value: Any) -> bool:
    return isinstance(value, str) and value.strip() in given
