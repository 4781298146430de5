"""The spans of a text that a transformation leaves alone unless they are its target.

Found by patterns, generously: an edit that is missing costs coverage, an edit inside a formula costs the truth. Every
pattern is linear in the length of the text (starts are anchored, repetitions bounded or stopped by their own opening).
"""

import re
from bisect import bisect_right
from typing import Literal, NamedTuple

Kind = Literal["code", "latex", "url", "email", "markup", "number"]

# In order of precedence: what an earlier pattern found is invisible to the later ones. With each the literal without
# which it cannot match ("" for none), a search that costs nothing.
_PATTERNS: tuple[tuple[Kind, str, re.Pattern[str]], ...] = (
    ("code", "```", re.compile(r"(?ms)^[ \t]{0,12}(`{3,})(?!`).*?(?:^[ \t]*\1[ \t]*$|\Z)")),
    ("code", "~~~", re.compile(r"(?ms)^[ \t]{0,12}(~{3,})(?!~).*?(?:^[ \t]*\1[ \t]*$|\Z)")),
    ("code", "```", re.compile(r"`{3,}[^`]+`{3,}")),
    ("code", "<", re.compile(r"(?is)<(pre|code|script|style)\b[^<>\n]{0,300}>(?:(?!<\1\b).){0,4000}?</\1>")),
    ("code", "`", re.compile(r"(?<!`)(`{1,2})(?!`)[^`\n]+\1(?!`)")),
    ("latex", "$$", re.compile(r"\$\$[^$]+\$\$")),
    ("latex", "$", re.compile(r"(?<![\\$])\$(?=[^\s$])[^$\n]{1,400}(?<=\S)\$(?!\d)")),
    ("latex", "\\(", re.compile(r"(?s)\\\((?:(?!\\\(|\\\)).){0,2000}\\\)")),
    ("latex", "\\[", re.compile(r"(?s)\\\[(?:(?!\\\[|\\\]).){0,4000}\\\]")),
    ("latex", "\\begin{", re.compile(r"(?s)\\begin\{(?:(?!\\begin\{|\\end\{).){0,4000}\\end\{[^{}\n]{0,40}\}")),
    ("latex", "\\", re.compile(r"\\[A-Za-z]+(?:\{(?:[^{}\n]|\{[^{}\n]{0,100}\}){0,200}\})*")),
    # code without a fence, as RewardBench has it: lines of a shape that prose has not
    ("code", "=", re.compile(r"(?m)^[ \t]*(?:[a-z]{1,9} )?[A-Za-z_][\w.\[\]]{0,60} ?(?:[-+*/]?=|:=) ?[^\s=].*$")),
    ("code", "(", re.compile(r"(?m)^[ \t]*(?:return|print|assert|await|raise|def|for|while|if|elif|else)\b.*[):;]$")),
    ("code", "return ", re.compile(r"(?m)^[ \t]*return .*[\[\](){}*/+=<>_].*$")),
    ("code", "import", re.compile(r"(?m)^(?:from [\w.]+ )?import [\w.]+(?: as \w+)?(?:, [\w.]+)*$")),
    ("code", "#", re.compile(r"(?m)^[ \t]*#(?:include|define|ifdef|ifndef|endif|!/).*$")),
    ("code", "", re.compile(r"(?m)^.*[;{}][ \t]*$")),
    ("code", '"', re.compile(r"(?m)^.*(?<![\w\"])\"[^\"\n]{1,80}\"[ \t]*:.*$")),  # a key of JSON
    ("code", '"', re.compile(r"\[[ \t]*\"[^\"\n]{0,80}\"[^\[\]\n]{0,400}\]")),  # a list of strings
    ("code", "__", re.compile(r"(?<!\w)__[a-z0-9_]{1,40}__(?!\w)")),
    ("code", "//", re.compile(r"(?m)^[ \t]*//.*$")),
    ("code", ">>>", re.compile(r"(?m)^[ \t]*>>> .*$")),
    ("code", "", re.compile(r"(?m)^(?: {4,}+|\t++)(?![ \t]*+(?:[-*+•] |\d{1,3}[.)] )).*\S.*$")),
    ("email", "@", re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")),
    ("url", "://", re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]{1,15}://[^\s<>\"]{0,2000}[^\s<>\".,;:!?'’”)\]}*_]")),
    ("url", "www.", re.compile(r"\bwww\.[^\s<>\"]{0,2000}[^\s<>\".,;:!?'’”)\]}*_]")),
    ("url", ".", re.compile(r"(?<![\w@.-])(?:[\w-]{1,63}\.){1,5}(?:com|org|net|edu|gov|io|html?|py|js|csv|pdf)\b")),
    ("url", "@", re.compile(r"(?<![\w@])@\w+")),
    ("url", "#", re.compile(r"(?<![\w#])#[A-Za-z]\w+")),
    ("markup", "<", re.compile(r"</?[A-Za-z][^<>\n]{0,300}>")),
    ("code", "_", re.compile(r"(?<!\w)[A-Za-z][A-Za-z0-9]{0,60}(?:_[A-Za-z0-9]{1,60}){1,20}(?:\(\))?(?!\w)")),
    ("code", "(", re.compile(r"(?<![\w.])(?:[A-Za-z_]\w{0,40}\.){0,4}[A-Za-z_]\w{0,40}\([\w\s,.=\"']{0,80}\)(?!\w)")),
    ("number", "", re.compile(r"(?<!\w)[^\W\d]{0,30}[\d²³½¼¾]\w*(?:[.,:/^-]\d\w*)*%?")),
)  # fmt: skip


class Span(NamedTuple):
    """Characters `start` to `end` (exclusive) of a text and what they are."""

    start: int
    end: int
    kind: Kind


_BLOCK = re.compile(r"(?:[^\n]*\S[^\n]*(?:\n|\Z))+")


def protected_spans(text: str, *, targets: frozenset[Kind] = frozenset()) -> list[Span]:
    """Disjoint spans in order of place, without the kinds in `targets`, which the caller edits itself."""
    spans, rest = [], text
    for kind, literal, pattern in _PATTERNS:
        if literal and literal not in rest:
            continue
        found = [match.span() for match in pattern.finditer(rest)]
        if not found:
            continue
        spans += [Span(start, end, kind) for start, end in found]
        rest = _blanked(rest, found)
    spans = _with_whole_blocks(text, spans)
    return sorted(span for span in spans if span.kind not in targets)


def protection_mask(text: str, *, targets: frozenset[Kind] = frozenset()) -> bytearray:
    """One byte a character: 1 inside a protected span, 0 where an edit may go."""
    mask = bytearray(len(text))
    for start, end, _ in protected_spans(text, targets=targets):
        mask[start:end] = b"\x01" * (end - start)
    return mask


def _with_whole_blocks(text: str, spans: list[Span]) -> list[Span]:
    """Where two or more lines of a block (blank lines around it) are code, and at least half of them, all of it is."""
    lines = {span.start for span in spans if span.kind == "code" and _fills_a_line(text, span)}
    if len(lines) < 2:
        return spans
    long = sorted(span for span in spans if "\n" in text[span.start : span.end])  # fences, displayed formulas
    blocks = []
    for match in _BLOCK.finditer(text):
        starts = [match.start() + line.start() for line in re.finditer(r"(?m)^(?=.)", match[0])]
        found = sum(start in lines for start in starts)
        if found >= 2 and 2 * found >= len(starts):
            blocks.append(Span(match.start(), match.start() + len(match[0].rstrip("\n")), "code"))
    blocks = [block for block in blocks if not _crosses(block, long)]
    return [span for span in spans if not _crosses(span, blocks)] + blocks


def _fills_a_line(text: str, span: Span) -> bool:
    return text[span.start - 1 : span.start] in ("", "\n") and text[span.end : span.end + 1] in ("", "\n")


def _crosses(span: Span, others: list[Span]) -> bool:
    """Does the span overlap one of `others`, which are disjoint and in order?"""
    at = bisect_right(others, span.start, key=lambda other: other.start)
    return any(other.start < span.end and span.start < other.end for other in others[max(0, at - 1) : at + 1])


def _blanked(text: str, spans: list[tuple[int, int]]) -> str:
    """The text with these spans as NUL characters, which no pattern takes for a word; line breaks stay."""
    pieces, end_before = [], 0
    for start, end in spans:
        pieces.append(text[end_before:start])
        inside = text[start:end]
        pieces.append(re.sub(r"[^\n]", "\x00", inside) if "\n" in inside else "\x00" * len(inside))
        end_before = end
    pieces.append(text[end_before:])
    return "".join(pieces)


def names_in_code(text: str) -> frozenset[str]:
    """The words of the text's code: where prose uses one of them, it may be the name of what the code defines."""
    code = (text[start:end] for start, end, kind in protected_spans(text) if kind == "code")
    return frozenset(word for span in code for word in re.findall(r"\w+", span))
