"""Python code that computes the same: without comments, or with local variables renamed.

Code is edited in fenced blocks, and where a whole text is a Python module. Of the body of a function without its head,
as RewardBench has them, comments are removed, but no variable is renamed, for it may be a parameter. Code must parse;
what comes out must have the same syntax tree up to the names, or it stays as it is.
"""

import ast
import io
import re
import tokenize
import warnings
from collections.abc import Callable

import numpy as np

from llm_experiments.stress.transformation import Transformation
from llm_experiments.stress.validity import Gate

_FENCED = re.compile(r"(?m)^[ \t]*```(?:python3?|py)?[ \t]*\n((?:(?![ \t]*```).*\n)*)(?=[ \t]*```)", re.IGNORECASE)
_INLINE = re.compile(r"`([^`\n]+)`")
_DEFINES = re.compile(r"(?m)^(?:async def|def|class|import|from) \w")
_LONGEST = 50_000  # characters of a block; longer ones are data
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")  # as Python counts lines; str.splitlines knows more ends
_KEPT_COMMENT = re.compile(r"#(?:!|\s*(?:type:|noqa|pragma|-\*-))")
_DYNAMIC = frozenset({"locals", "globals", "vars", "eval", "exec", "dir"})
Rewrite = Callable[[str, ast.Module, np.random.Generator, float], str]


def _blocks(text: str) -> list[tuple[int, int]]:
    if "```" in text:
        return [match.span(1) for match in _FENCED.finditer(text)]
    return [(0, len(text))] if len(text) <= _LONGEST and _DEFINES.search(text) else []


def _head(text: str) -> str:
    """Of the function whose body the text is; the first line may have lost its indent."""
    return "def f():\n" + ("" if text[:1].isspace() else "    ")


def _is_body(text: str) -> bool:
    """Do the lines parse as the body of a function that returns something? (Its head is in the prompt.)"""
    return "return " in text and _parse(_head(text) + text) is not None


def _parse(source: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in the user's code are not our concern
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # ValueError: NUL or a lone surrogate
        return None


def _edit_code(text: str, generator: np.random.Generator, strength: float, rewrite: Rewrite) -> str:
    if strength == 0:
        return text
    pieces, end = [], 0
    for start, stop in _blocks(text):
        source = text[start:stop]
        tree = _parse(source) if len(source) <= _LONGEST else None
        if tree is not None and tree.body:
            pieces += (text[end:start], rewrite(source, tree, generator, strength))
            end = stop
    return "".join((*pieces, text[end:]))


def _without_comments(source: str, tree: ast.Module, generator: np.random.Generator, strength: float) -> str:
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (tokenize.TokenError, SyntaxError):
        return source
    lines = _LINE.findall(source)
    comments = [token for token in tokens if token.type == tokenize.COMMENT and not _KEPT_COMMENT.match(token.string)]
    draws = generator.random(len(comments))
    for token, draw in zip(comments, draws.tolist(), strict=True):
        if draw < strength and token.start[0] <= len(lines):
            row, column = token.start[0] - 1, token.start[1]
            before = lines[row][:column].rstrip()
            lines[row] = before + lines[row][column + len(token.string) :] if before else ""
    edited = "".join(lines)
    after = _parse(edited)
    return edited if after is not None and ast.dump(after) == ast.dump(tree) else source


def _renamed(source: str, tree: ast.Module, generator: np.random.Generator, strength: float) -> str:
    names = sorted(_local_names(tree))
    taken = set(re.findall(r"\w+", source))
    fresh = (name for number in range(1, len(names) + len(taken) + 2) if (name := f"var_{number}") not in taken)
    # every name gets its new one, so that which others are renamed makes no difference
    new = {name: next(fresh) for name in names}
    draws = generator.random(len(names)).tolist()
    new = {name: new[name] for name, draw in zip(names, draws, strict=True) if draw < strength}
    lines = _LINE.findall(source)
    for node in sorted(
        (node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in new),
        key=lambda node: (node.lineno, -node.col_offset),
    ):
        line = lines[node.lineno - 1].encode()
        end = node.col_offset + len(node.id.encode())
        lines[node.lineno - 1] = (line[: node.col_offset] + new[node.id].encode() + line[end:]).decode()
    edited = "".join(lines)
    after = _parse(edited)
    if after is None:
        return source
    old = {fresh_name: name for name, fresh_name in new.items()}
    for node in ast.walk(after):
        if isinstance(node, ast.Name):
            node.id = old.get(node.id, node.id)
    return edited if ast.dump(after) == ast.dump(tree) else source


def _local_names(tree: ast.Module) -> set[str]:
    """Names that are variables of functions and nothing else anywhere in the module: no parameters (a caller may name
    them), no globals, no attributes of classes; none that a string, an f-string's included, may refer to."""
    assigned: set[str] = set()
    other: set[str | None] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.alias):
            other.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.JoinedStr):
            other.update(name.id for name in ast.walk(node) if isinstance(name, ast.Name))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            other.update(re.findall(r"\w+", node.value))
        elif isinstance(node, ast.Name):
            if node.id in _DYNAMIC:
                return set()
            if isinstance(node.ctx, ast.Store):
                assigned.add(node.id)
        else:  # what functions, classes, parameters, exceptions, patterns and `global` name
            other.update(getattr(node, "names", ()) if isinstance(node, ast.Global | ast.Nonlocal) else ())
            other.update(getattr(node, field, None) for field in ("arg", "rest"))
            other.update([node.name] if isinstance(getattr(node, "name", None), str) else [])
    for scope in [tree, *(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))]:
        other.update(_names_of_scope(scope))
    return {name for name in assigned - other if not name.startswith("__") and name != "_"}


def _names_of_scope(scope: ast.AST) -> set[str]:
    """Names used in a module's or a class's own statements, functions within it left out."""
    names, waiting = set(), list(ast.iter_child_nodes(scope))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            waiting += [*node.decorator_list]
            continue
        if isinstance(node, ast.Name):
            names.add(node.id)
        waiting += ast.iter_child_nodes(node)
    return names


def comments_removed(text: str, generator: np.random.Generator, strength: float) -> str:
    """Python comments removed, docstrings kept."""
    if strength and "```" not in text and len(text) <= _LONGEST and _is_body(text):
        body = _edit_code(_head(text) + text, generator, strength, _without_comments)
        return body.removeprefix(_head(text))
    return _edit_code(text, generator, strength, _without_comments)


def variables_renamed(text: str, generator: np.random.Generator, strength: float) -> str:
    """Local variables of Python functions named var_1, var_2, ...; not those that the prose mentions in `code`."""
    mentioned = {word for span in _INLINE.findall(text) for word in re.findall(r"\w+", span)} if "`" in text else set()

    def rewrite(source: str, tree: ast.Module, generator: np.random.Generator, strength: float) -> str:
        edited = _renamed(source, tree, generator, strength)
        return source if mentioned & _local_names(tree) else edited

    return _edit_code(text, generator, strength, rewrite)


# The code changes on purpose; that it still computes the same is what the syntax trees say.
_GATE = Gate(
    code_preserved=False, numbers_preserved=False, form_preserved=False, min_length_ratio=0.3, max_length_ratio=2.0
)

TRANSFORMATIONS = (
    Transformation(
        "code_comments_removed",
        "code",
        "invariance",
        comments_removed,
        _GATE,
        "Python code without its comments",
        sides=("responses",),
    ),
    Transformation(
        "code_variables_renamed",
        "code",
        "invariance",
        variables_renamed,
        _GATE,
        "local variables of Python functions renamed to var_1, var_2, ...",
        sides=("responses",),
    ),
)
