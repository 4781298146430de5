"""Sentences that say nothing, before and after a response; and list items in another order where none is stated."""

import re
from functools import cache

import numpy as np

from llm_experiments.stress.protected import protected_spans, protection_mask
from llm_experiments.stress.transformation import Transformation
from llm_experiments.stress.validity import Gate
from llm_experiments.stress.vocabulary import entries, is_english

_SHORTEST = 3  # words; a shorter answer may be one that has to stand alone
_FENCE = re.compile(r"(?m)^[ \t]*(?:```|~~~)")
_LIST_LINE = re.compile(r"\s*(?:[-*+•#>|]|\d+[.)]) ?")
_PROSE_END = re.compile(r"[A-Za-z][.!?][\"”')*]*$")
_PROSE_START = re.compile(r"[\"“(*]*[A-Z]")

_ITEM = r"[-*+•] \S.*"
_LIST = re.compile(rf"(?m)^(?:{_ITEM}\n){{2,60}}{_ITEM}$(?!\n[ \t]+\S)")
# An item that says where it stands, or refers to another
_ORDERED = re.compile(
    r"(?i)\b(?:first|second|third|fourth|fifth|next|then|last|lastly|finally|final|afterwards?|after|before|now|step"
    r"|previous|previously|above|below|following|former|latter|also|another|other|others|again|once|begin|start|remaining"
    r"|repeat|continue|therefore|thus|so|however|but|and then|morning|afternoon|evening|night|monday|tuesday|wednesday"
    r"|thursday|friday|saturday|sunday|week|day|year|month|it|they|them|these|those|this|that|such|same)\b|:\s*$"
)
# A lead after which things are named that have no order ...
_SET = re.compile(
    r"(?i)\b(?:you(?:'ll| will)? need|ingredients|materials|supplies|equipment|utensils|shopping list)\b.*:\W*$"
    r"|\b(?:some|common|popular|several|examples)\b.*\b(?:include|including|such as):\W*$"
)
_THING = re.compile(r"[-*+•] (?:[\w'’()/&-]+,? ){0,13}[\w'’()/&-]+[.,;]?")  # ... and an item that is no sentence


@cache
def _sentences(position: str) -> tuple[str, ...]:
    return tuple(sentence for sentence, where in entries("fillers.tsv") if where == position)


def filler_sentences(text: str, generator: np.random.Generator, strength: float) -> str:
    """One sentence before or after the text up to strength 1/2, both beyond; none beside code without a fence."""
    draws = generator.random(3)
    if strength == 0 or len(text.split()) < _SHORTEST or not is_english(text):
        return text
    start = _sentences("start")[int(draws[0] * len(_sentences("start")))]
    end = _sentences("end")[int(draws[1] * len(_sentences("end")))]
    lead = text[: len(text) - len(text.lstrip())]
    tail = text[len(text.rstrip()) :]
    body = text.strip()
    options = {}
    spans = protected_spans(text)
    code = [span for span in spans if span.kind == "code" and text[span.start] not in "`~"]
    if len(_FENCE.findall(text)) % 2 == 0 and not any(span.end >= len(text) - len(tail) for span in code):
        last = body[body.rfind("\n") + 1 :]
        inline = _PROSE_END.search(last) and not _LIST_LINE.match(last)
        options["end"] = (" " if inline else "\n\n") + end
    if not any(span.start <= len(lead) for span in code):
        prose = _PROSE_START.match(body) and not any(span.start <= len(lead) for span in spans)
        options["start"] = start + (" " if prose else "\n\n")
    preferred = ("start", "end") if draws[2] < 0.5 else ("end", "start")
    made = [side for side in preferred if side in options][: 1 if strength <= 0.5 else 2]
    before, after = (options[side] if side in made else "" for side in ("start", "end"))
    return f"{lead}{before}{body}{after}{tail}"


def reordered_bullets(text: str, generator: np.random.Generator, strength: float) -> str:
    """The items of a bullet list in another order.

    Only lists of three or more things to have at hand ("you will need:") or examples ("some vegetables include:"), of
    which none has a word of order or a word that refers to another item: what a reader takes for a set.
    """
    if strength == 0:
        return text
    pieces, end = [], 0
    mask = protection_mask(text, targets=frozenset({"number"}))  # "2 apples" moves as a whole
    for match in _LIST.finditer(text):
        draw, order = generator.random(), generator.permutation(match[0].count("\n") + 1)
        items = match[0].split("\n")
        lead = text[max(0, match.start() - 300) : match.start()].rstrip().rsplit("\n", 1)[-1]
        if draw >= strength or any(mask[match.start() : match.end()]) or not _SET.search(lead):
            continue
        if any(_ORDERED.search(item) or not _THING.fullmatch(item) for item in items):
            continue
        pieces += (text[end : match.start()], "\n".join(items[place] for place in order))
        end = match.end()
    return "".join((*pieces, text[end:]))


TRANSFORMATIONS = (
    Transformation(
        "filler_sentences",
        "filler sentences",
        "invariance",
        filler_sentences,
        Gate(max_length_ratio=10.0),
        "a sentence without content before or after; both beyond strength 0.5",
        sides=("responses",),
    ),
    Transformation(
        "bullet_order",
        "sentence order",
        "invariance",
        reordered_bullets,
        Gate(min_length_ratio=1.0, max_length_ratio=1.0),
        "bullet lists in another order where none is stated",
    ),
)
