"""Command lines from dataclasses: the string under a field is its help, its documentation and its comment.

One dataclass is one command; a field without a default is required. argparse does the work, because it imports in
milliseconds; this module adds what it lacks: both spellings of a flag, other tools' names for it, and every mistake
on a single line with the next thing to try.
"""

import argparse
import ast
import difflib
import inspect
import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields
from functools import cache
from itertools import pairwise
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from simulations.results import UserError

POSITIONAL = {"positional": True}  # field metadata: given by its place, without a flag
TRUTH = {"true": True, "false": False}


def parse(
    program: str,
    about: str,
    commands: Mapping[str, type],
    aliases: Mapping[str, str],
    argv: Sequence[str],
    foreign: Mapping[str, str] | None = None,
) -> Any:
    """The command that `argv` asks for, as an instance of its dataclass.

    Args:
        commands: a dataclass per name. The first line of its docstring is the summary in the list of commands.
        aliases: other names of fields, `{"output_dir": "output"}`; one holds wherever a command has that field.
        foreign: other tools' flags and choices that are not taken, and what to suggest in their place, `{"--ref_model":
            "--reference", "dpo": "implicit"}`; empty where there is nothing like it.

    Raises:
        UserError: anything wrong with `argv`, in one line.
        SystemExit: after the help or version that was asked for.
    """
    parser = _Parser(prog=program, description=about)
    places = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in commands.items():
        text = inspect.getdoc(command) or ""
        _add_fields(places.add_parser(name, help=text.partition("\n")[0], description=text), command, aliases)
    words = _one_spelling(argv)
    if not words:
        parser.print_help(sys.stderr)
        raise UserError(f"missing COMMAND; `{program} COMMAND --help` shows what one takes")
    if words and words[0] in commands:
        words = words[:1] + _checked_flags(words[0], commands[words[0]], aliases, words[1:], foreign or {})
    elif words and not words[0].startswith("-"):
        near = difflib.get_close_matches(words[0], commands, n=1)
        raise UserError(
            f"there is no command {words[0]!r}; "
            + (f"did you mean {near[0]}?" if near else f"try {', '.join(commands)}")
        )
    given = vars(parser.parse_args(words))
    command = commands[given.pop("command")]
    return command(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})


def _one_spelling(argv: Sequence[str]) -> list[str]:
    """`--learning-rate=1` becomes `--learning_rate=1`; values keep their hyphens."""
    words = [word.partition("=") for word in argv]
    return [
        flag.replace("-", "_").replace("__", "--", 1) + equals + value
        if flag.startswith("--")
        else flag + equals + value
        for flag, equals, value in words
    ]


def _checked_flags(
    name: str, command: type, aliases: Mapping[str, str], words: list[str], foreign: Mapping[str, str]
) -> list[str]:
    """Aliases replaced and switches given their value. An unknown flag is reported before anything else is looked
    at: what seems to be missing may only be misspelt."""
    types = {field.name: kind for field, kind in _typed_fields(command) if "positional" not in field.metadata}
    mine = {other: field for other, field in aliases.items() if field in types}
    checked = []
    for word, following in zip(words, [*words[1:], ""], strict=False):
        flag, equals, value = word.partition("=")
        if not flag.startswith("--") or flag == "--help":
            checked.append(word)
            continue
        field = mine.get(flag[2:], flag[2:])
        if field not in types:
            near = [f"--{word}" for word in difflib.get_close_matches(field, [*types, *mine], n=1)]
            if flag in foreign:  # another tool's: what it is close to in spelling may be anything
                near = [foreign[flag]] if foreign[flag].removeprefix("--") in types else []
            hint = f"did you mean {near[0]}?" if near else f"`rewardgap {name} --help` lists its flags"
            raise UserError(
                f"{name} has no flag {flag}; {'not supported here: ' * (flag in foreign and not near)}{hint}"
            )
        asked = value if equals else following
        if get_origin(types[field]) is Literal and foreign.get(asked) in get_args(types[field]):
            raise UserError(f"{flag} takes no {asked!r}; did you mean {foreign[asked]}?")
        if types[field] is bool and not equals and following.lower() not in TRUTH:
            equals, value = "=", "true"
        checked.append(f"--{field}{equals}{value}")
    return checked


def _add_fields(parser: argparse.ArgumentParser, command: type, aliases: Mapping[str, str]) -> None:
    helps = field_helps(command)
    for field, kind in sorted(_typed_fields(command), key=lambda pair: _rank(command, pair[0])):
        words = [helps.get(field.name, "")]
        words += [f"(also --{other})" for other, name in aliases.items() if name == field.name]
        words += [f"(default: {text})"] if (text := _default(field)) else []
        options = {"help": " ".join(words).replace("%", "%%"), **_value(kind)}
        required = _required(field)
        if "positional" in field.metadata:
            parser.add_argument(field.name, nargs=None if required else "?", metavar=field.name.upper(), **options)
        else:
            parser.add_argument(f"--{field.name}", required=required, **options)


def _rank(command: type, field: Field) -> tuple[bool, int]:
    """Required fields first, then a command's own, then inherited ones."""
    owner = next(i for i, cls in enumerate(command.__mro__) if field.name in inspect.get_annotations(cls))
    return not _required(field), owner


def _required(field: Field) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _typed_fields(command: type) -> list[tuple[Field, Any]]:
    """Fields with their types; `X | None` counts as X, since leaving the flag out is how to say None, and choices
    may come from several Literals."""
    hints = get_type_hints(command)
    pairs = []
    for field in fields(command):
        kind = hints[field.name]
        if get_origin(kind) in (Union, UnionType):
            members = [item for item in get_args(kind) if item is not NoneType]
            literals = [word for item in members if get_origin(item) is Literal for word in get_args(item)]
            kind = Literal[*literals] if literals else members[0]
        pairs.append((field, kind))
    return pairs


def _value(kind: Any) -> dict[str, Any]:
    """argparse's options for one type. No default among them: the dataclass holds the defaults, and nobody else."""
    options: dict[str, Any] = {"default": argparse.SUPPRESS}
    if kind is bool:
        return options | {"nargs": "?", "type": _truth, "metavar": "true|false"}
    if get_origin(kind) is Literal:
        return options | {"choices": get_args(kind)}
    if get_origin(kind) is tuple:
        return options | {"nargs": "+", "action": "extend", "type": get_args(kind)[0]}
    return options | {"type": kind}


def _truth(text: str) -> bool:
    if text.lower() not in TRUTH:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return TRUTH[text.lower()]


def _default(field: Field) -> str:
    value = field.default_factory() if callable(field.default_factory) else field.default
    if value is MISSING or value is None or value is False or value == ():
        return ""
    return (
        " ".join(map(str, value)) if isinstance(value, tuple) else str(value).lower() if value is True else str(value)
    )


def field_helps(command: type) -> dict[str, str]:
    """The string under each field of a dataclass and of the classes it inherits from, on one line each."""
    helps: dict[str, str] = {}
    for cls in reversed(command.__mro__[:-1]):
        body = _classes(cls.__module__).get(cls.__name__, [])
        for line, below in pairwise(body):
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and isinstance(below, ast.Expr):
                helps[line.target.id] = " ".join(str(ast.literal_eval(below.value)).split())
    return helps


@cache
def _classes(module: str) -> dict[str, list[ast.stmt]]:
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {item.name: item.body for item in tree.body if isinstance(item, ast.ClassDef)}


class _Parser(argparse.ArgumentParser):
    """One line per mistake; no abbreviations, which would change their meaning when a flag is added."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        message = message.replace("the following arguments are required:", "missing").removeprefix("argument ")
        raise UserError(f"{message}; `{self.prog} --help` shows what it takes")
