"""What the commands read: named sources of pairs, encoded, with their audits printed before anything is computed."""

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from llm_experiments.audit import Audit
from llm_experiments.checkpoints import CHECKPOINTS, has_checkpoint
from llm_experiments.contents import contents
from llm_experiments.distributed import first_process_first, joined, rank, wait_for_all
from llm_experiments.encoding import EncodedPair, encode_pairs
from llm_experiments.models import MANIFEST
from llm_experiments.overlap import Overlap, audit_overlap
from llm_experiments.pair_sources import source_name
from llm_experiments.pairs import Pair, PairSet, load_pairs
from llm_experiments.settings import EncodingSettings
from llm_experiments.splits import split_pairs
from simulations.results import Row, UserError, is_main_process, open_run, read_json, write_json

CONTENTS = "inputs.json"
HELD_OUT = "_held_out"
LATER = ("output", "against", "cache")  # fields of a request that do not change what is computed in its folder
Metrics = dict[str, Row]
Settings = TypeVar("Settings")


@dataclass(frozen=True)
class Source:
    """One file (or folder, or hub name) of pairs, or a part of it, after encoding; `texts` are the same pairs before.
    `overlap` is what they share with the training pairs, None where those are not known."""

    pairs: list[EncodedPair]
    audit: Audit
    texts: list[Pair]
    overlap: Overlap | None = None

    def to_row(self) -> Row:
        """What provenance.json says about it."""
        return self.audit.to_row() | ({"overlap": self.overlap.to_row()} if self.overlap else {})

    def __str__(self) -> str:
        return f"{self.audit}\n{self.overlap}" if self.overlap else str(self.audit)


def read_inputs(
    sources: Sequence[str],
    tokenizer: Any,
    encoding: EncodingSettings,
    split: str = "train",
    *,
    eval_fraction: float = 0,
    flags: tuple[str, str] = ("--pairs", "--pairs"),
) -> dict[str, Source]:
    """Sources by name (file stem, with which their scores are stored), in order; audits go to stderr.

    Args:
        eval_fraction: share of the first source's prompts whose pairs become a source of their own, NAME_held_out.
        flags: what named the first source, and the others.

    Raises:
        UserError: two sources have the same name, or one of them cannot be read or encoded.
    """
    inputs: dict[str, Source] = {}
    for number, place in enumerate(sources):
        found = load_pairs(place, bad_pairs=encoding.bad_pairs, split=split, flag=flags[number > 0])
        name = source_name(place)
        parts = hold_out(found, eval_fraction) if eval_fraction and number == 0 else [found]
        for ending, part in zip(("", HELD_OUT), parts, strict=False):
            if name + ending in inputs:
                raise UserError(
                    f"{place}: another file is called {name + ending!r} as well; rename one, scores are stored by name"
                )
            inputs[name + ending] = source = read_source(part, tokenizer, encoding)
            print(f"{place}{' (held out)' if ending else ''}\n{source}", file=sys.stderr)
    return inputs


def read_source(pairs: PairSet, tokenizer: Any, encoding: EncodingSettings) -> Source:
    encoded, audit = encode_pairs(pairs, tokenizer, encoding)
    kept = {pair.id for pair in encoded}
    return Source(encoded, audit, [pair for pair in pairs if pair.id in kept])


def hold_out(pairs: PairSet, fraction: float) -> list[PairSet]:
    """The pairs to train on (with what was dropped) and about this fraction of the prompts, which they never share.

    Which prompts is decided by their hash alone: the same ones for every seed, model and kind.
    """
    parts = split_pairs(pairs.pairs, {HELD_OUT: fraction, "": 1 - fraction})
    if not all(parts.values()):
        raise UserError(
            f"{pairs.source}: --eval_fraction {fraction:g} of its prompts leaves "
            f"{'none to train on' if parts[HELD_OUT] else 'no pair to evaluate on'}; change it, or name a file with "
            "--eval_pairs"
        )
    return [
        PairSet(pairs.source, tuple(parts[""]), pairs.dropped, pairs.shared_prompts),
        PairSet(pairs.source, tuple(parts[HELD_OUT]), shared_prompts=pairs.shared_prompts),
    ]


def with_overlap(inputs: dict[str, Source], training: Sequence[Pair]) -> dict[str, Source]:
    """The sources with what they share with the training pairs; printed to stderr."""
    found = {name: replace(source, overlap=audit_overlap(training, source.texts)) for name, source in inputs.items()}
    for name, source in found.items():
        print(f"overlap of {name} with training: {source.overlap.found}", file=sys.stderr)
    return found


def part_of(request: Any, settings: type[Settings]) -> Settings:
    """The fields that a request inherits from `settings`, as an instance of it."""
    return settings(**{field.name: getattr(request, field.name) for field in fields(settings)})  # type: ignore[arg-type]


def run_in_folder(command: str, request: Any, work: Callable[[Any, Path], Metrics]) -> Metrics:
    """Do `work` in the request's output folder unless it was finished there; returns its metrics either way.

    Raises:
        UserError: the folder holds something else, what was read has changed since, or `work` met a mistake of the
            user's. What a first attempt had written is removed then, unless it is a proven model, scores or a
            checkpoint.
    """
    with joined(cpu=request.device == "cpu"):
        return _run_in_folder(command, request, work)


def _run_in_folder(command: str, request: Any, work: Callable[[Any, Path], Metrics]) -> Metrics:
    output: Path = request.output
    config = {"command": command, **{k: v for k, v in asdict(request).items() if k not in LATER}}
    with first_process_first():
        first = not (output / "config.json").exists()
        if not first and not _names_a_command(read_json(output / "config.json")):
            raise UserError(f"{output} holds a model, or what is no run of a command; choose another --output")
        finished = open_run(output, config)  # what it refuses is somebody else's, and must not be cleared away
        mine = first and is_main_process()
        try:
            check_contents(output, request)
        except UserError:
            if mine:
                shutil.rmtree(output, ignore_errors=True)
            raise
    if finished:
        return _read_metrics(output / "metrics.json")
    try:
        work(request, output)
    except UserError as error:
        if mine and not _worth_keeping(output):
            shutil.rmtree(output, ignore_errors=True)
        if not is_main_process():  # silent otherwise
            print(f"error: {error} (process {rank()})", file=sys.__stderr__)
        raise
    wait_for_all()
    return _read_metrics(output / "metrics.json")  # as any rerun will find them: what is undefined is null


def _names_a_command(config: Any) -> bool:
    return isinstance(config, dict) and "command" in config


def _read_metrics(path: Path) -> Metrics:
    metrics = read_json(path)
    if not isinstance(metrics, dict) or not all(isinstance(row, dict) for row in metrics.values()):
        raise UserError(f"{path}: holds no metrics by source of pairs; delete the folder and run again")
    return metrics


def check_contents(output: Path, request: Any) -> None:
    """The same command on other contents is another run: `output/inputs.json` holds the hashes it began with.

    Raises:
        UserError: a model or a file of pairs has changed; a file that is gone cannot be compared, and passes.
    """
    place, now = output / CONTENTS, contents(request)
    if not place.exists():
        if not (output / "done.json").exists():
            write_json(place, now)
        return
    begun = read_json(place)
    changed = [
        f"--{name} {path}"
        for name, hashes in now.items()
        for path, digest in hashes.items()
        if digest and begun.get(name, {}).get(path) not in (None, digest)
    ]
    if changed:
        raise UserError(
            f"{output} holds another run (since it began, the content of {' and '.join(changed)} has changed); "
            "choose another --output, or delete the folder"
        )


def _worth_keeping(output: Path) -> bool:
    finished = (output / "model" / MANIFEST).exists() or any((output / "scores").glob("*.jsonl"))
    return finished or has_checkpoint(output / CHECKPOINTS)
