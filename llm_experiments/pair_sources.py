"""Where preference pairs are kept: files, `datasets` folders and hub names, read as numbered records.

A record knows its place, so that whatever is wrong with it can be said as `file:line: ...`. What a record means is
pairs.py's business.
"""

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_experiments.hub import ask_hub, offline
from llm_experiments.named_datasets import HUB_SETS
from simulations.results import UserError, json_fault

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


@dataclass(frozen=True)
class Record:
    """One entry as it was found. `place` is `file:line` (or `file: entry n` where lines mean nothing)."""

    place: str
    number: int
    row: dict[str, Any]


def source_stem(source: str | Path) -> str:
    """The name ids are made of: the file's without its suffixes, the folder's, or the hub name."""
    text = str(source)
    if _HUB_NAME.fullmatch(text) and not Path(text).exists():
        return text
    name = Path(text).name
    for suffix in (".gz", *SUFFIXES):
        name = name.removesuffix(suffix)
    return name


def source_name(source: str | Path) -> str:
    """What a source's scores are stored under: its stem, without the slash of a hub name."""
    return source_stem(source).replace("/", "_")


def read_records(
    source: str | Path, *, split: str = "train", config: str | None = None, flag: str = "--pairs"
) -> list[Record]:
    """Everything in `source`: .jsonl, .json, .csv (each also .gz), .parquet, a `datasets` folder, a hub name, or one of
    HUB_SETS.

    Raises:
        UserError: there is no such file or data set, or it cannot be read; the message names file and line.
    """
    path = Path(source)
    if path.is_dir():
        records = list(_from_folder(path, split))
    elif path.exists():
        records = list(_from_file(path))
    elif str(source) in HUB_SETS:
        named = HUB_SETS[str(source)]
        options = {"data_files": dict(named.files), "revision": "refs/convert/parquet"} if named.files else {}
        splits = named.splits.get(split, split)
        records = list(_from_hub(named.id, splits, config, word=str(source), **options))
    elif _HUB_NAME.fullmatch(str(source)) and path.suffix not in (".gz", *SUFFIXES):
        records = list(_from_hub(str(source), split, config))
    else:
        raise UserError(
            f"{source}: no such file; {flag} takes a file, a datasets folder, a hub name (owner/name) or one of "
            f"{', '.join(HUB_SETS)}"
        )
    if not records:
        raise UserError(f"{source}: holds no pairs; it is empty")
    return records


def _from_file(path: Path) -> Iterator[Record]:
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        return _from_parquet(path)
    text = _text(path)
    if name.endswith(".jsonl"):
        return _from_jsonl(path, text)
    if name.endswith(".json"):
        return _from_json(path, text)
    if name.endswith(".csv"):
        return _from_csv(path, text)
    raise UserError(f"{path}: unknown kind of file; use one of {', '.join(SUFFIXES)} (text ones also with .gz)")


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        if path.name.endswith(".gz"):
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error}); is the file complete?") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{line}: not UTF-8 text; convert the file to UTF-8") from None


def _from_jsonl(path: Path, text: str) -> Iterator[Record]:
    for number, line in enumerate(text.split("\n"), start=1):  # not splitlines(): U+2028 is text, not a line's end
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{path}:{number}: not valid JSON ({json_fault(error)}); each line must be one JSON object"
            ) from None
        yield Record(f"{path}:{number}", number, _object(row, f"{path}:{number}"))


def _from_json(path: Path, text: str) -> Iterator[Record]:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        cure = "if it holds one object a line, call it .jsonl" if text.lstrip().startswith("{") else "repair the file"
        raise UserError(f"{path}:{line}: not valid JSON ({json_fault(error)}); {cure}") from None
    if not isinstance(rows, list):
        raise UserError(f"{path}: expected a list of objects, found {json_type(rows)}; put the pairs in a list")
    for number, row in enumerate(rows, start=1):
        yield Record(f"{path}: entry {number}", number, _object(row, f"{path}: entry {number}"))


def _from_csv(path: Path, text: str) -> Iterator[Record]:
    limit = csv.field_size_limit(10**9)  # a long response is no mistake
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        columns = list(reader.fieldnames or ())
        if len(columns) == 1 and (found := [name for mark, name in _SEPARATORS.items() if mark in columns[0]]):
            raise UserError(
                f"{path}:1: one column `{columns[0]}`: separated by {found[0]}? Save it with commas between the columns"
            )
        for row in reader:
            place = f"{path}:{reader.line_num}"
            if None in row:
                raise UserError(f"{place}: more cells than the header has columns; quote cells that hold commas")
            yield Record(place, reader.line_num, {key: _cell(value) for key, value in row.items() if value is not None})
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: not valid CSV ({error}); quote cells properly") from None
    finally:
        csv.field_size_limit(limit)


_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def _cell(value: str) -> Any:
    """CSV knows no lists: a cell that holds a JSON list of messages is one."""
    if not value.startswith("[{"):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _from_parquet(path: Path) -> Iterator[Record]:
    import pyarrow
    from pyarrow import parquet

    try:
        rows = parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:  # ValueError: text that is not UTF-8
        raise UserError(f"{path}: not a readable Parquet file ({_first_line(error)})") from None
    return _numbered(str(path), rows)


def _from_folder(path: Path, split: str) -> Iterator[Record]:
    if files := sorted(path.glob("*_completions_*.csv")):
        return _from_completions(path, files)
    import datasets

    try:
        if (path / "dataset_info.json").exists() or (path / "dataset_dict.json").exists():
            data = datasets.load_from_disk(str(path))
        else:
            data = datasets.load_dataset(str(path))
        rows = list(_split(data, split, str(path)))
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{path}: not a folder that `datasets` can read ({_first_line(error)}){_inside(path)}"
        ) from None
    return _numbered(str(path), rows)


def _inside(folder: Path) -> str:
    """The files of pairs in a folder that is no data set, as a cure; at most three names."""
    endings = tuple(f"{suffix}{packed}" for suffix in SUFFIXES for packed in ("", ".gz"))
    names = sorted(path.name for path in folder.iterdir() if path.name.endswith(endings))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"; give a file in it: {', '.join(names[:3])}{more}" if names else ""


def _from_completions(folder: Path, files: list[Path]) -> Iterator[Record]:
    """XSTest: a file of labelled completions per model. One record per prompt, with every model's by its name."""
    prompts: dict[str, dict[str, Any]] = {}
    for file in files:
        model = file.stem.partition("_completions_")[2]
        for record in _from_file(file):
            row = record.row
            for key in ("id", "prompt", "type", "completion", "final_label"):
                if key not in row:
                    raise UserError(f'{record.place}: "{key}" is missing; a file of completions needs it')
            entry = prompts.setdefault(
                row["id"], {key: row[key] for key in ("id", "prompt", "type")} | {"completions": {}}
            )
            if entry["prompt"] != row["prompt"]:
                raise UserError(f'{record.place}: "prompt": differs from that of id {row["id"]!r} in {files[0].name}')
            entry["completions"][model] = {key: row[key] for key in ("completion", "final_label")}
    if len(files) < 2:
        raise UserError(f"{folder}: has the completions of one model, {files[0].name}; a pair needs those of two")
    for number, (name, row) in enumerate(prompts.items(), start=1):
        yield Record(f"{folder}: id {name}", number, row)


def _from_hub(name: str, split: str, config: str | None, *, word: str = "", **options: Any) -> Iterator[Record]:
    """`word`: the user's own for the data set."""
    import datasets

    ask_hub(name)
    try:
        data = datasets.load_dataset(name, config, **options)
    except ConnectionError:
        cause = "HF_HUB_OFFLINE=1 forbids to ask" if offline() else "there is no network, or no hub in it"
        raise UserError(
            f"{word or name}: no such file here, and {name} cannot be fetched from the hub: {cause}; pass a file of "
            "its pairs"
        ) from None
    except Exception as error:  # a dozen kinds, from the network's to the script's
        raise UserError(
            f"{word or name}: no such file here, and the hub gave no data set of that name ({_first_line(error)})"
        ) from None
    return _numbered(name, _split(data, split, name))


def _split(data: Any, split: str, name: str) -> Any:
    if not isinstance(data, dict):
        return data
    if split not in data:
        if len(data) == 1:
            return next(iter(data.values()))
        raise UserError(f"{name}: has no split {split!r}; choose with --split one of {', '.join(map(str, data))}")
    return data[split]


def _numbered(name: str, rows: Any) -> Iterator[Record]:
    for number, row in enumerate(rows, start=1):
        # Arrow fills absent keys with nulls: but for what a pair is made of, absent and null are the same thing here
        kept = {key: item for key, item in row.items() if item is not None or key in ("prompt", "chosen", "rejected")}
        yield Record(f"{name}: row {number}", number, kept)


def _object(row: Any, place: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise UserError(f"{place}: expected an object with the fields of a pair, found {json_type(row)}")
    return row


def json_type(value: Any) -> str:
    """What a value read from JSON is, in a user's words."""
    names = {dict: "an object", list: "a list", str: "text", bool: "a truth value", int: "a number", float: "a number"}
    return "nothing (null)" if value is None else names.get(type(value), type(value).__name__)


def _first_line(error: BaseException) -> str:
    text = str(error).strip().split("\n")[0]
    return text[:200] or type(error).__name__
