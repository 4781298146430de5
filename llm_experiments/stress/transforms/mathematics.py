r"""The final answer of a solution in another format: \boxed{...} or plain."""

import re
from collections.abc import Iterator
from functools import partial

import numpy as np

from llm_experiments.stress.edits import Edit, Place, edit_some
from llm_experiments.stress.protected import protected_spans
from llm_experiments.stress.transformation import Transformation
from llm_experiments.stress.validity import Gate

_BOXED = re.compile(r"\\(?:boxed|fbox) ?\{")
_LONGEST = 400  # characters of an answer
_PLAIN_TEXT = re.compile(r"[\w .,%/:-]+")
# "the answer is 42", "Answer: $42", "A: 42", "#### 42", with nothing behind it; the number is the first group
_STATED = re.compile(
    r"(?im)(?:^####\s|(?-i:^A: *\$?)|\banswer(?: (?:is|equals)|:)\*{0,2} *[*$]{0,2})"
    r"(-?\d[\d,]*(?:\.\d+)?)(?=\$?\*{0,2}\.?\*{0,2}[ \t]*$)"
)


def boxes(text: str) -> list[tuple[int, int, int]]:
    r"""(start, start of the content, end) of every \boxed{...} whose braces close within 400 characters."""
    found = []
    for match in _BOXED.finditer(text):
        depth, at = 1, match.end()
        while depth and at < min(len(text), match.end() + _LONGEST):
            depth += (text[at] == "{") - (text[at] == "}")
            at += 1
        if not depth and (not found or match.start() >= found[-1][2]):
            found.append((match.start(), match.end(), at))
    return found


def _unboxed(text: str, _: np.random.Generator) -> Iterator[Place]:
    formulas = [span for span in protected_spans(text) if span.kind == "latex" and text[span.start] in "$\\"]
    for start, inner, end in boxes(text):
        inside = any(span.start < start and end < span.end for span in formulas)
        content = text[inner : end - 1]
        bare = inside or _PLAIN_TEXT.fullmatch(content)
        yield Edit(start, inner, "" if bare else "$"), Edit(end - 1, end, "" if bare else "$")


def _boxed(text: str, _: np.random.Generator) -> Iterator[Place]:
    if _BOXED.search(text) or "\nB:" in text:  # A and B are options or speakers
        return
    for match in list(_STATED.finditer(text))[-1:]:  # the last answer is the final one
        start, end = match.span(1)
        money = text[start - 1 : start] == "$"
        if money and text[end : end + 1] == "$":  # a formula already
            yield Edit(start, start, "\\boxed{"), Edit(end, end, "}")
        elif money:
            yield Edit(start - 1, start, "$\\boxed{\\$"), Edit(end, end, "}$")
        else:
            yield Edit(start, start, "$\\boxed{"), Edit(end, end, "}$")


def answer_headed(text: str, generator: np.random.Generator, strength: float) -> str:
    r"""The last \boxed{...} unboxed, and its content repeated under a heading: "# Answer"."""
    draw = generator.random()
    found = boxes(text)
    if strength == 0 or not found or draw >= strength:
        return text
    _, inner, end = found[-1]
    content = text[inner : end - 1].strip()
    plain = edit_some(_unboxed, text, generator, 1.0, targets=_TARGETS).rstrip()
    return f"{plain}\n\n# Answer\n\n{content if _PLAIN_TEXT.fullmatch(content) else f'${content}$'}"


_TARGETS = frozenset({"latex", "number"})
_GATE = Gate(min_similarity=0.3, min_length_ratio=0.3, max_length_ratio=3.0)
_REPEATED = Gate(numbers_preserved=False, min_similarity=0.3, min_length_ratio=0.3, max_length_ratio=3.0)

TRANSFORMATIONS = (
    Transformation(
        "answer_unboxed",
        "answer format",
        "invariance",
        partial(edit_some, _unboxed, targets=_TARGETS),
        _GATE,
        r"a plain answer for \boxed{...}",
        sides=("responses",),
    ),
    Transformation(
        "answer_boxed",
        "answer format",
        "invariance",
        partial(edit_some, _boxed, targets=_TARGETS),
        _GATE,
        r"\boxed{...} around a final answer that was plain",
        sides=("responses",),
    ),
    Transformation(
        "answer_headed",
        "answer format",
        "invariance",
        answer_headed,
        _REPEATED,
        r'the answer under a heading "# Answer" instead of in \boxed{...}',
        sides=("responses",),
    ),
)
