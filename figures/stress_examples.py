"""The pairs that a stress test moved most: ranked by scores, then read from the run's texts, changes marked.

A model's scores for a transformation are ranked first; only the texts of the few pairs that are shown are kept.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from figures.word_changes import Piece, changes, excerpt, visible
from llm_experiments.stress.measures import as_compared, spread_of
from llm_experiments.stress.shifts import CHANGED
from simulations.results import Row, UserError, read_rows

PARTS = ("prompt", "chosen", "rejected")


def worst_examples(folder: Path, table: Sequence[Row], *, keep: int) -> tuple[list[Row], list[str]]:
    """The `keep` worst pairs of every line of `table`, worst first over all, and a sentence for each file missing.

    Of several strengths the largest is shown. `severity` is in units of the model's own typical margin, so
    that models can be ranked together.
    """
    notes: list[str] = []
    originals = _read(folder, "originals.jsonl", notes, "examples are shown as they were scored, nothing marked")
    before = {row["id"]: row for row in originals}
    shown: list[Row] = []
    scores: dict[str, dict[str, Row]] = {}
    for line in strongest(table):
        model = str(line["model"])
        if model not in scores:
            scores[model] = {row["id"]: row for row in _scores(folder, f"{model}/original", notes)}
        name = str(line["name"])
        ranked = ranking(scores[model], _scores(folder, f"{model}/{name}", notes), line)[:keep]
        wanted = {row["id"] for row in ranked}
        texts = {}
        if wanted:
            rows = _read(folder, f"texts/{name}.jsonl", notes, "its examples are shown as they were, nothing marked")
            texts = {row["id"]: row for row in rows if row["id"] in wanted}
        shown += [row | {"texts": marked(before.get(row["id"]), texts.get(row["id"]))} for row in ranked]
    shown.sort(key=lambda row: -row["severity"])
    for number, row in enumerate(shown, start=1):
        row |= {"number": number} | {name: visible(str(row[name])) for name in ("id", "subset")}
    return shown, list(dict.fromkeys(notes))


def strongest(table: Iterable[Row]) -> list[Row]:
    """Of each model, transformation and side the line with the largest strength."""
    kept: dict[tuple, Row] = {}
    for line in table:
        key = (line["model"], line["transformation"], line.get("side"))
        if key not in kept or line["strength"] > kept[key]["strength"]:
            kept[key] = line
    return list(kept.values())


def ranking(before: Mapping[str, Row], after: Iterable[Row], line: Row) -> list[Row]:
    """Pairs that the line's edit should not have moved as it did, worst first.

    An invariance edit should leave the margin alone: how far it fell counts. A sensitivity edit damages one response,
    whose reward should fall: how far that reward rose counts.
    """
    before = {name: row for name, row in before.items() if _scored(row)}
    spread = spread_of(list(before.values())) if before else 0.0
    ranked = []
    for row in after:
        was = before.get(row["id"])
        if was is None or row.get("fate", CHANGED) != CHANGED or not _scored(row):
            continue
        side = line.get("side")
        damaged = line["purpose"] == "sensitivity"
        moved = (was[f"scores_{side}"], row[f"scores_{side}"]) if damaged else (_margin(was), _margin(row))
        worse = moved[1] - moved[0] if damaged else moved[0] - moved[1]
        if worse > 0:
            ranked.append(
                {name: line.get(name) for name in ("model", "transformation", "strength", "side", "purpose")}
                | {
                    "id": row["id"],
                    "subset": row.get("subset") or "",
                    "severity": worse / (spread or 1.0),
                    "damaged": damaged,
                    "flipped": not damaged and moved[0] > 0 > moved[1],
                    "moved": moved,
                    "rewards": {name: (was[f"scores_{name}"], row[f"scores_{name}"]) for name in PARTS[1:]},
                }
            )
    return sorted(ranked, key=lambda row: (-row["severity"], str(row["id"])))


def marked(before: Row | None, after: Row | None) -> dict[str, list[Piece]]:
    """Prompt and responses with the words that changed marked, everything spelled out that a browser would hide."""
    if before is None and after is None:
        return {}
    texts = {part: [str((row or before or after)[part] or "") for row in (before, after)] for part in PARTS}
    return {
        part: [Piece(piece.kind, visible(piece.text, changed=piece.kind in ("gone", "new"))) for piece in excerpt(all_)]
        for part, all_ in ((part, changes(*both)) for part, both in texts.items())
    }


def _scores(folder: Path, name: str, notes: list[str]) -> list[Row]:
    return as_compared(_read(folder, f"scores/{name}.jsonl", notes))


def _read(folder: Path, name: str, notes: list[str], otherwise: str = "its examples are not shown") -> list[Row]:
    if not (folder / name).exists():
        notes.append(f"{name} is missing: {otherwise}.")
        return []
    try:
        return read_rows(folder / name)
    except UserError as error:
        notes.append(f"{str(error).replace(f'{folder}/', '')}: {otherwise}.")
        return []


def _scored(row: Mapping[str, Any]) -> bool:
    """A pair that was rejected has no rewards."""
    return row.get("scores_chosen") is not None and row.get("scores_rejected") is not None


def _margin(row: Mapping[str, Any]) -> float:
    return row["scores_chosen"] - row["scores_rejected"]
