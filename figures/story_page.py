"""The report of a reproduce run: what was claimed, what was measured, and the figures, in one file that works offline.

Everything on the page is computed from the run's own summary.json and rows; no result is written in the template.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from figures.gallery import STORY
from figures.marks import over_clusters, where
from figures.page import embedded, page
from figures.picture import facts, load, render
from figures.table import (
    MARK,
    MEANING,
    VERDICTS,
    as_rows,
    by_rung,
    counts,
    expected,
    measured,
    number,
    unit_detail,
    units,
    verdict,
)
from simulations.results import Row, UserError, read_json, read_rows, write_text

RUNGS = {
    0: "synthetic embeddings",
    1: "the synonym language, small models pretrained here",
    2: "real questions, small models pretrained here",
    3: "the papers' models and data",
}
BASELINES = {
    "bag_of_tokens": "prompt-blind bag of tokens",
    "longest": "longest response",
    "shortest": "shortest response",
    "token_overlap": "token overlap with the training responses",
}


def write_story(folder: Path) -> Path:
    """Draw the figures of a reproduce run into `folder`/figures and write `folder`/report.html; returns its path.

    Parts that were not run are left out or said to be missing.

    Raises:
        UserError: `folder` has no readable summary.json.
    """
    summary = read_json(folder / "summary.json")
    if not isinstance(summary, Mapping) or "claims" not in summary:
        raise UserError(f"{folder / 'summary.json'}: no field 'claims'; run `rewardgap reproduce` again")
    claims = as_rows(summary["claims"])
    entries = []
    for picture in STORY:
        tables = load(picture, folder)
        images = embedded(render(picture, tables, folder / "figures")) if any(tables) else None
        entries.append({"picture": picture, "facts": facts(picture, tables), "images": images})
    text = page(
        "story.html.jinja",
        headline=headline(claims),
        tally=counts(claims),
        marks=MARK,
        meaning=MEANING,
        verdicts=VERDICTS,
        rungs=[_rung(rung, group) for rung, group in by_rung(claims).items()],
        entries=entries,
        baselines=baselines(*(rows_of(folder, rung) for rung in (1, 2))),
        provenance=flatten(summary.get("provenance") or {}),
        seconds=flatten(summary.get("seconds") or {}),
        notes=[str(note) for note in summary.get("notes") or []],
        command=_command(folder),
    )
    path = folder / "report.html"
    write_text(path, text)
    return path


def headline(claims: Sequence[Row]) -> str:
    """One sentence with the run's own numbers: explicit beside implicit on what training never showed.

    A run without such a pair of claims (a quick one) gets the tally of what it decided.
    """
    pair = _contrast(claims)
    if pair is not None:
        explicit, implicit = pair
        model = f" ({explicit['model']})" if explicit.get("model") else ""
        return (
            f"On surface forms that training never showed, the explicit reward model ranks {measured(explicit)} of "
            f"held-out pairs correctly and the implicit one {measured(implicit)}{model}."
        )
    tally = counts(claims)
    decided = tally["holds"] + tally["fails"] + tally["undecided"]
    return f"{tally['holds']} of {decided} proved or predicted claims hold in this run."


def _contrast(claims: Sequence[Row]) -> tuple[Row, Row] | None:
    """The first prediction about an explicit model on what training never showed, and its implicit twin.

    Twins have the same id but for the kind in it.
    """
    wanted = [claim for claim in claims if claim["type"] == "registered" and claim.get("measured") is not None]
    by_id = {claim["id"]: claim for claim in wanted}
    for claim in sorted(wanted, key=lambda claim: claim["rung"]):
        if claim.get("kind") == "explicit" and "unseen" in str(claim.get("split")):
            twin = by_id.get(claim["id"].replace("explicit", "implicit"))
            if twin is not None and twin is not claim:
                return claim, twin
    return None


def _rung(rung: int, claims: Sequence[Row]) -> Row:
    """A rung as the page shows it: what was decided in full, what was only observed behind a line to open."""
    cells = [_cells(claim) for claim in claims]
    observed = [cell for cell in cells if cell["verdict"] == "observed"]
    return {
        "rung": rung,
        "title": RUNGS.get(rung, ""),
        "decided": [cell for cell in cells if cell["verdict"] != "observed"],
        "observed": observed,
    }


def _cells(claim: Row) -> Row:
    """A claim as the page shows it."""
    return {
        "id": claim["id"],
        "type": claim["type"],
        "kind": claim.get("kind") or "",
        "statement": claim["statement"],
        "where": " · ".join(str(part) for part in (claim.get("model"), claim.get("split"), unit_detail(claim)) if part),
        "expected": expected(claim),
        "measured": measured(claim),
        "units": units(claim),
        "published": claim.get("published") or "",
        "verdict": verdict(claim),
    }


def rows_of(folder: Path, rung: int) -> list[Row]:
    path = folder / f"rung{rung}" / "rows.jsonl"
    return read_rows(path) if path.exists() else []


def baselines(*tables: Sequence[Row]) -> list[Row]:
    """Accuracy of the baselines that the rows carry, per rung's label and split, beside one half."""
    lines: list[Row] = []
    for table in tables:
        for name, title in BASELINES.items():
            known = [row for row in table if row.get(name) is not None]
            groups = dict.fromkeys((row.get("label"), row.get("condition"), row.get("split")) for row in known)
            for label, condition, split in groups:
                estimate = over_clusters(where(known, label=label, condition=condition, split=split), name)
                if estimate:
                    place = ", ".join(str(part).replace("_", " ") for part in (label, condition, split) if part)
                    lines.append({"baseline": title, "where": place, "accuracy": number(estimate.mean)})
    return lines


def flatten(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested JSON as (dotted name, text) pairs; what is empty is left out."""
    lines: list[tuple[str, str]] = []
    for name, item in value.items():
        if isinstance(item, Mapping):
            lines += flatten(item, f"{prefix}{name}.")
        elif item is not None and item != "":
            text = (
                ", ".join(map(str, item))
                if isinstance(item, list)
                else f"{item:.4g}"
                if isinstance(item, float)
                else str(item)
            )
            lines.append((prefix + str(name), text))
    return lines


def _command(folder: Path) -> str:
    """The command that made this run, from what it left behind."""
    config = read_json(folder / "config.json") if (folder / "config.json").exists() else {}
    flags = ["--quick"] if config.get("quick") else []
    flags += ["--persona DIR"] if rows_of(folder, 2) else []
    return " ".join(["rewardgap reproduce", *flags])
