"""Prose as LaTeX. Derivations are written in plain Unicode (ρ, ȳ, ⟨p, q⟩), which a terminal and Jupyter show as it is.

A word with a mathematical letter in it becomes a formula as a whole; a letter the table lacks stays as it is, and the
test that every LaTeX rendering is ASCII finds it.
"""

import re
import unicodedata

from theory.derivations.plain import GLUE

LETTERS = {
    "α": r"\alpha ",
    "β": r"\beta ",
    "δ": r"\delta ",
    "η": r"\eta ",
    "λ": r"\lambda ",
    "π": r"\pi ",
    "ρ": r"\rho ",
    "σ": r"\sigma ",
    "θ": r"\theta ",
    "Σ": r"\sum ",
    "∇": r"\nabla ",
    "Δ": r"\Delta ",
    "∞": r"\infty ",
    "√": r"\surd ",
    "⟨": r"\langle ",
    "⟩": r"\rangle ",
    "≤": r"\le ",
    "≥": r"\ge ",
    "≠": r"\ne ",
    "∈": r"\in ",
    "→": r"\to ",
    "⁺": "^{+}",
    "⁻": "^{-}",
    "²": "^{2}",
    "ᵀ": r"^{\top}",
    "₁": "_1",
    "₂": "_2",
    "₃": "_3",
    "·": r"\cdot ",
    "×": r"\times ",
    "‖": r"\| ",
}
ACCENTS = {"\u0304": "bar", "\u0302": "hat"}
SUBSCRIPT = re.compile(r"(?<![A-Za-z_])([A-Za-z]\u0304?\u0302?)_([A-Za-z0-9]|\([^)]*\))(?![A-Za-z_])")

TUPLE = re.compile(r"\([^\s()]{1,3}(?:[,;][ \xa0][^\s()]{1,3})+\)")
INDICATOR = re.compile(r"(?<!\w)1\[")
WORD = re.compile(r"((?<![A-Za-z])(?!(?:ln|exp|tanh)(?![A-Za-z])) ?[A-Za-z]{3,} ?)(?!\()")
# What belongs to the formula beside it: an operator, or a number or a letter that is no word, brackets and all.
PIECE = r"(?:[-+=<>/]|[(\[]*(?:[\d.]*\d|[b-zA-HJ-Z]'?)[)\]]*)"
BETWEEN = re.compile(rf"(?<=[^\\ ])\$ ((?:{PIECE} )*)\$(?=[^ ])")
BEFORE = re.compile(r"(?<![^ ])((?:[(\[]*(?:[\d.]*\d|[b-zA-HJ-Z]'?) [-+=<>/] )+)\$(?=[^ .,:;])")
AFTER = re.compile(r"(?<=[^\\ ])\$((?: [-+=<>/] (?:[\d.]*\d|[b-zA-HJ-Z]'?)[)\]]*)+)(?![^ .,:;])")


def to_latex(text: str) -> str:
    """Words with mathematics in them in dollars, everything else escaped; what joins two formulas joins them to one."""
    text = TUPLE.sub(lambda found: found[0].replace(" ", GLUE), unicodedata.normalize("NFC", text))
    typeset = BETWEEN.sub(r" \1", " ".join(map(_word, _words(text))))
    return AFTER.sub(r"\1$", BEFORE.sub(r"$\1", typeset)).replace(GLUE, " ")


def _words(text: str) -> list[str]:
    """Split at spaces, except inside the brackets of a formula: r(x, y) is one word, (an aside) is two."""
    words: list[str] = []
    open_brackets = 0
    for word in text.split(" "):
        if open_brackets > 0:
            words[-1] += f" {word}"
        else:
            words.append(word)
        open_brackets = max(0, open_brackets + _brackets(word if open_brackets > 0 else word.lstrip("([")))
    return words


def _brackets(word: str) -> int:
    return sum((letter in "([⟨") - (letter in ")]⟩") for letter in word)


def _word(word: str) -> str:
    accented = unicodedata.normalize("NFD", word.replace("≠", "\ue000")).replace("\ue000", "≠")
    core = accented.rstrip(".,:;")
    tail = accented[len(core) :]
    if not any(letter in LETTERS or letter in ACCENTS for letter in core) and not any(
        mark.search(core) for mark in (SUBSCRIPT, TUPLE, INDICATOR)
    ):
        return re.sub(r"([_&%#$])", r"\\\1", word)
    return f"${_formula(core)}${tail}"


def _formula(text: str) -> str:
    text = re.sub(r"_\(([^)]*)\)", r"_{\1}", text)
    text = re.sub(WORD, r"\\text{\1}", text)
    for mark, command in ACCENTS.items():
        text = re.sub(f"(.){mark}", rf"\\{command}{{\1}}", text)
    text = re.sub(r"(?<![\\A-Za-z])(ln|exp|tanh)(?![A-Za-z])", r"\\\1 ", text)
    spaced = "".join(LETTERS.get(letter, letter) for letter in text)
    return re.sub(r"(\\[a-z]+) (?![A-Za-z])", r"\1", spaced).strip()
