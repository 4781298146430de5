"""The texts and scores of a stress test as files, each written once: what is there is not computed again."""

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from llm_experiments.pairs import Pair, plain_text
from llm_experiments.stress.scorers import Scorer
from llm_experiments.stress.shifts import CHANGED, REJECTED, UNCHANGED, Shift, Shifted, one_sided
from llm_experiments.stress.verdict import JUDGED
from simulations.results import Row, UserError, read_rows, write_rows

ORIGINAL = "original"
ORIGINALS = "originals.jsonl"
Texts = Mapping[str, Sequence[Shifted]]
# By file: responses, how many had to be computed, and by the reference; pairs left out, by reason.
Cost = dict[str, dict[str, Any]]


def write_texts(output: Path, pairs: Sequence[Pair], shifts: Sequence[Shift]) -> Texts:
    """Every pair after every shift, by the shift's name, kept as text for reading.

    Raises:
        UserError: a file holds other texts than the shift makes today.
    """
    _write_once(output / ORIGINALS, [_text_row(pair) for pair in pairs])
    texts = {}
    for shift in shifts:
        shifted = [shift.change(pair) for pair in pairs]
        rows = [
            _text_row(after)
            | {"side": shift.side, "fate": fate, "one_sided": fate == CHANGED and one_sided(pair, after)}
            for pair, (after, fate) in zip(pairs, shifted, strict=True)
        ]
        _write_once(output / "texts" / f"{shift.name}.jsonl", rows)
        texts[shift.name] = shifted
    if few := _seldom(texts):
        print(
            f"these change pairs of fewer than {JUDGED} prompts and are not judged: {', '.join(few)}", file=sys.stderr
        )
    return texts


def _seldom(texts: Texts) -> list[str]:
    """Shifts that change too few of pairs which would be enough."""
    few = []
    for name, shifted in texts.items():
        prompts = {repr(pair.prompt): False for pair, _ in shifted}
        prompts |= {repr(pair.prompt): True for pair, fate in shifted if fate == CHANGED}
        if sum(prompts.values()) < JUDGED <= len(prompts):
            few.append(name)
    return few


def score_shifts(
    place: Path,
    pairs: Sequence[Pair],
    texts: Texts,
    scorer: Callable[[], Scorer],
    tell: Callable[[Cost], object] = lambda cost: None,
) -> None:
    """Score what has no file under `place` yet. `scorer` is called only if there is something to do, `tell` before
    every file is written, with what it cost."""
    missing = [name for name in (ORIGINAL, *texts) if not (place / f"{name}.jsonl").exists()]
    if not missing:
        return
    judge = scorer()
    for path in sorted(place.glob("*.jsonl")):
        judge.remember(read_rows(path))
    if ORIGINAL in missing:
        before = judge.computed, judge.asked
        judge.admit(pairs)
        rows, dropped = judge.score(pairs)
        tell({ORIGINAL: _cost(2 * len(rows), judge, before) | {"left_out": dict(Counter(dropped.values()))}})
        write_rows(place / f"{ORIGINAL}.jsonl", rows)
    originals = {row["id"]: row for row in read_rows(place / f"{ORIGINAL}.jsonl")}
    before_by_id = {pair.id: pair for pair in pairs}
    for name in missing:
        if name == ORIGINAL:
            continue
        shifted, before = [one for one in texts[name] if one.pair.id in originals], (judge.computed, judge.asked)
        scored, dropped = judge.score([pair for pair, fate in shifted if fate == CHANGED])
        found = {row["id"]: row for row in scored}
        rows = []
        for pair, fate in shifted:
            original = originals[pair.id]
            if fate == UNCHANGED:
                rows.append(original | {"fate": fate})
            elif pair.id in found:
                rows.append(found[pair.id] | {"fate": fate} | _edited(before_by_id[pair.id], pair))
            else:
                fate = f"{REJECTED}{dropped[pair.id]}" if pair.id in dropped else fate
                rows.append({"id": pair.id, "subset": original["subset"], "fate": fate})
        tell({name: _cost(2 * len(shifted), judge, before)})
        write_rows(place / f"{name}.jsonl", rows)


def _cost(responses: int, judge: Scorer, before: tuple[int, int]) -> dict[str, int]:
    return {"responses": responses, "computed": judge.computed - before[0], "reference": judge.asked - before[1]}


def _edited(before: Pair, after: Pair) -> Row:
    """Which responses read differently; an edited prompt changes what both are read after."""
    prompt = before.prompt != after.prompt
    sides = ("chosen", "rejected")
    return {f"edited_{side}": prompt or getattr(before, side) != getattr(after, side) for side in sides}


def _text_row(pair: Pair) -> Row:
    texts = {field: plain_text(getattr(pair, field)) for field in ("prompt", "chosen", "rejected")}
    return {"id": pair.id, "subset": pair.subset, **texts}


def _write_once(path: Path, rows: list[Row]) -> None:
    """Rows of a folder from before may lack what is said of a text since."""
    found = read_rows(path) if path.exists() else None
    if found is None:
        write_rows(path, rows)
    elif len(found) != len(rows) or not all(old.items() <= row.items() for old, row in zip(found, rows, strict=True)):
        raise UserError(f"{path}: holds other texts than this version makes; choose another --output")
