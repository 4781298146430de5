"""What changed between two texts, word by word, in pieces that a page can mark and a person can see."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

PieceKind = Literal["same", "gone", "new", "skipped"]

WORD = re.compile(r"(\s*)(\w+|[^\w\s])", re.DOTALL)
WORDS = 1500  # of each text are compared; matching is quadratic at worst, and a page shows a window anyway
RUN = 8  # neighbouring changed words that are marked as one phrase
ALIKE = 0.4  # share of words in common below which another text was written (a translation), not an edit made
SHOWN = 1500  # characters of a text that are shown whole
MARGIN = 100  # characters kept around a change in a longer one
JOINERS = "\u200c\u200d"  # spelling of Persian and of emoji, no trickery


@dataclass(frozen=True)
class Piece:
    """A stretch of text. `gone` was only before, `new` is only after; `skipped` says how much is left out."""

    kind: PieceKind
    text: str


class _Word(NamedTuple):
    lead: str
    core: str


def changes(before: str, after: str) -> list[Piece]:
    """The pieces that make up both texts: same and gone give `before`, same and new give `after`.

    Words are aligned without regard to case, so that an edit of the case does not lose its place; the blanks before a
    word belong to it and are compared on their own. A text that has little in common with the other replaces it whole:
    what a translation shares with its original by chance would only hide both. Of texts beyond `WORDS` words the
    changed part is compared as far as that reaches, and a `skipped` piece closes the list.
    """
    old, new = _words(before), _words(after)
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    middle = (old[start : len(old) - end], new[start : len(new) - end])
    pieces = [Piece("same", _text(old[:start]))]
    pieces += _aligned(middle[0][:WORDS], middle[1][:WORDS])
    left_out = max(len(_text(part[WORDS:])) for part in middle)
    if left_out:
        return [*_merged(pieces), Piece("skipped", f"{left_out:,} characters not compared")]
    return _merged([*pieces, Piece("same", _text(old[len(old) - end :]))])


def excerpt(pieces: Sequence[Piece], *, shown: int = SHOWN) -> list[Piece]:
    """The pieces with long stretches of `same` left out, the changes kept, cut off after `shown` characters of them."""
    whole = sum(len(piece.text) for piece in pieces) <= shown
    kept: list[Piece] = []
    room = shown
    for number, piece in enumerate(pieces):
        if room <= 0:
            left = sum(len(rest.text) for rest in pieces[number:] if rest.kind != "skipped")
            return [*kept, Piece("skipped", f"{left:,} characters left out")]
        if whole or piece.kind == "skipped":
            parts = [piece]
        elif piece.kind == "same" and len(pieces) > 1:
            parts = _shortened(piece, MARGIN, MARGIN if number < len(pieces) - 1 else 0)
        else:  # half of the room, so that what replaced a long deletion is seen as well
            parts = _shortened(piece, room if len(pieces) == 1 else max(room // 2, MARGIN), 0)
        kept += parts
        room -= sum(len(part.text) for part in parts if part.kind != "skipped")
    return kept


def visible(text: str, *, changed: bool = False) -> str:
    """`text` with every character that a browser would hide, reorder or refuse spelled out.

    Controls become their pictures, format characters (zero width, direction) and lone surrogates their code points in
    ⟨⟩. Where `changed`, blanks too are drawn if they are all that changed: ␣ ⇥ ⏎.
    """
    blanks = changed and (not text.strip() or "  " in text)
    return "".join(_seen(character, changed, blanks) for character in text)


def _seen(character: str, changed: bool, blanks: bool) -> str:
    code = ord(character)
    if character == " ":
        return "␣" if blanks else " "
    if character == "\n":
        return "⏎\n" if changed else "\n"
    if character == "\t":
        return "⇥" if changed else "\t"
    if code < 32:
        return chr(0x2400 + code)
    if code == 127:
        return "␡"
    category = unicodedata.category(character)
    hidden = category in ("Cc", "Cf", "Cs", "Zl", "Zp") and (changed or character not in JOINERS)
    if hidden or (category == "Zs" and changed) or code & 0xFFFE == 0xFFFE:
        return f"⟨U+{code:04X}⟩"
    return character


def _words(text: str) -> list[_Word]:
    words = [_Word(match[1], match[2]) for match in WORD.finditer(text)]
    trailing = text[len(_text(words)) :]
    return [*words, _Word(trailing, "")] if trailing else words


def _text(words: Sequence[_Word]) -> str:
    return "".join(word.lead + word.core for word in words)


def _aligned(old: Sequence[_Word], new: Sequence[_Word]) -> Iterator[Piece]:
    matcher = SequenceMatcher(None, [word.core.casefold() for word in old], [word.core.casefold() for word in new])
    if len(old) != len(new) and matcher.ratio() < ALIKE:
        yield from (Piece("gone", _text(old)), Piece("new", _text(new)))
        return
    for name, a, b, c, d in matcher.get_opcodes():
        if name == "equal" or (name == "replace" and b - a == d - c):
            for one, other in zip(old[a:b], new[c:d], strict=True):
                yield from _pair(one.lead, other.lead)
                yield from _pair(one.core, other.core)
        else:
            yield Piece("gone", _text(old[a:b]))
            yield Piece("new", _text(new[c:d]))


def _pair(before: str, after: str) -> Iterator[Piece]:
    if before == after:
        yield Piece("same", before)
    else:
        yield Piece("gone", before)
        yield Piece("new", after)


def _merged(pieces: Sequence[Piece]) -> list[Piece]:
    """Neighbours of one kind joined, and changed words with only a blank between them marked as one phrase."""
    merged: list[Piece] = []
    gone, new, words = "", "", 0

    def close() -> None:
        nonlocal gone, new, words
        merged.extend(Piece(kind, text) for kind, text in (("gone", gone), ("new", new)) if text)
        gone, new, words = "", "", 0

    pieces = [piece for piece in pieces if piece.text]
    for number, piece in enumerate(pieces):
        following = pieces[number + 1].kind if number + 1 < len(pieces) else "same"
        if piece.kind == "gone":
            gone, words = gone + piece.text, words + 1
        elif piece.kind == "new":
            new += piece.text
        elif gone.strip() and new.strip() and piece.text == " " and following != "same" and words < RUN:
            gone, new = gone + piece.text, new + piece.text
        else:
            close()
            if merged and merged[-1].kind == "same":
                merged[-1] = Piece("same", merged[-1].text + piece.text)
            else:
                merged.append(piece)
    close()
    return merged


def _shortened(piece: Piece, head: int, tail: int) -> list[Piece]:
    """The first `head` and last `tail` characters; the whole piece where that saves next to nothing."""
    left_out = len(piece.text) - head - tail
    if left_out <= 40:
        return [piece]
    parts = [Piece(piece.kind, piece.text[:head]), Piece("skipped", f"{left_out:,} characters left out")]
    return [*parts, Piece(piece.kind, piece.text[-tail:])] if tail else parts
