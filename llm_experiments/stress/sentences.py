"""Sentences, by their final signs: no sentence ends at an abbreviation, an initial or inside a protected span."""

import re

from llm_experiments.stress.protected import protection_mask

_END = re.compile(r"[.!?…]+[\"'”’)*_]*(?=\s|$)|[。！？]+[」』”’]*|(?<=\S)(?=[ \t]*(?:\n|$))")
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|cf|al|Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|No|Fig|Eq|approx|Inc|Ltd|U\.S|a\.m|p\.m)|\b[A-Z]"
    r"|^[ \t]*\d{1,3})\.$",
    re.MULTILINE,
)


def sentences(text: str) -> list[tuple[int, int]]:
    """Characters (start, end) of the sentences in order, blank space between them left out.

    A line ends a sentence too, so that headings, list items and verses are sentences of their own; a block of code
    or a formula is never cut, and goes with the sentence that it stands in.
    """
    mask, spans, start = protection_mask(text), [], 0
    for match in _END.finditer(text):
        end = match.end()
        if end <= start or (end < len(mask) and mask[end - 1] and mask[end]):
            continue
        if match[0] == "." and _ABBREVIATION.search(text[max(start, end - 12) : end]) and end < len(text):
            continue
        start += len(text[start:end]) - len(text[start:end].lstrip())
        if start < end:
            spans.append((start, end))
        start = end
    return spans
