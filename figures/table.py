"""Claims as text: one vocabulary of numbers and verdicts for the terminal table and for the report page."""

import math
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from simulations.results import Claim, Row

VERDICTS = ("holds", "fails", "undecided", "observed")
MARK = {"holds": "✓", "fails": "✗", "undecided": "?", "observed": "·"}
MEANING = {
    "holds": "the measured value, and for a prediction its whole interval, lies where the claim says",
    "fails": "a theorem's tolerance is exceeded, or a prediction's whole interval lies on the wrong side",
    "undecided": "the interval straddles the threshold",
    "observed": "reported, with no prediction made",
}


def as_rows(claims: Iterable[Claim | Mapping[str, Any]]) -> list[Row]:
    """Claims as the rows of summary.json, whichever of the two they come as."""
    return [claim.to_row() if isinstance(claim, Claim) else dict(claim) for claim in claims]


def verdict(claim: Mapping[str, Any]) -> str:
    """One of `VERDICTS`, from a claim's type and its stored `holds`."""
    if claim.get("type") == "observation":
        return "observed"
    holds = claim.get("holds")
    if holds is None:
        return "undecided"
    return "holds" if holds else "fails"


def number(x: float | None) -> str:
    """Three decimals where a rate or a slope lives, otherwise as a reader would write it; `-` for no number."""
    if x is None or not math.isfinite(x):
        return "-"
    if x == 0:
        return "0"
    if 5e-4 <= abs(x) < 10:
        return f"{x:.3f}"
    if 10 <= abs(x) < 1e6:
        return f"{x:,.1f}" if abs(x) < 1000 and x != int(x) else f"{x:,.0f}"
    return f"{x:.1e}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


def expected(claim: Mapping[str, Any]) -> str:
    """The threshold as registered; empty for an observation, also one that a quick run made of a prediction."""
    if claim.get("type") == "observation":
        return ""
    wanted = claim.get("expected") or {}
    op, value = wanted.get("op"), wanted.get("value")
    if op in (None, "none") or value is None:
        return ""
    if op == "within":
        low, high = value
        return f"{_threshold(low)} to {_threshold(high)}"
    return f"{ {'<=': '≤', '>=': '≥'}[op] } {_threshold(value)}"


def _threshold(x: float) -> str:
    return f"{x:g}".replace("e-0", "e-")


def measured(claim: Mapping[str, Any]) -> str:
    """The value, with its interval where something varies."""
    middle, low, high = (number(claim.get(name)) for name in ("measured", "low", "high"))
    return middle if (low, high) in ((middle, middle), ("-", "-")) else f"{middle} [{low}, {high}]"


def units(claim: Mapping[str, Any]) -> str:
    """What the interval is over: `24 clusters`, with the seeds where the unit does not name them."""
    n, seeds = claim.get("n"), claim.get("seeds")
    unit, detail = _unit(claim)
    bare = [part.removesuffix("s") for part in unit.split(" × ") if part]
    unit = " × ".join(part if n == 1 else part + "s" for part in bare)
    text = f"{n} {unit}".strip() if n is not None else unit
    said = not seeds or seeds in (1, n) or "seed" in unit + detail
    return text if said else f"{text}, {seeds} seeds"


def unit_detail(claim: Mapping[str, Any]) -> str:
    """What one unit is, where the claim says so in brackets: `clusters (split x seed)` gives `split × seed`."""
    return _unit(claim)[1]


def _unit(claim: Mapping[str, Any]) -> tuple[str, str]:
    unit, _, detail = str(claim.get("unit") or "").replace(" x ", " × ").partition(" (")
    return unit, detail.removesuffix(")")


def counts(claims: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    found = Counter(verdict(claim) for claim in claims)
    return {name: found[name] for name in VERDICTS}


def by_rung(claims: Sequence[Row]) -> dict[int, list[Row]]:
    """Rungs in order; within one the theorems, then predictions, then observations, each as they were written."""
    order = {"theorem": 0, "registered": 1, "observation": 2}
    ranked = sorted(claims, key=lambda claim: (claim["rung"], order.get(claim["type"], 3)))
    return {rung: [c for c in ranked if c["rung"] == rung] for rung in dict.fromkeys(c["rung"] for c in ranked)}


def claims_table(claims: Iterable[Claim | Mapping[str, Any]], *, columns: int = 100) -> str:
    """The claims as an aligned table for a terminal, at most `columns` wide, closed by the tally. Published values have
    a column where a claim has one and the statements keep 20 characters, as they do from 100 columns on.

    Args:
        claims: `Claim`s or the `claims` of a summary.json.

    Raises:
        ValueError: fewer than 72 columns leave no room for a statement.
    """
    if columns < 72:
        raise ValueError(f"the claims table needs at least 72 columns, got {columns}")
    rows = as_rows(claims)
    shown = [column for column in COLUMNS if column[0] != "published" or any(map(_published, rows))]
    room = [min(max([len(name), *(len(_one_line(text(row))) for row in rows)]), most) for name, text, most in shown]
    if shown[-1][0] == "published" and columns - 2 - sum(room) - 2 * len(room) < 20:
        shown, room = shown[:-1], room[:-1]
    widths = [columns - 2 - sum(room) - 2 * len(room), *room]
    lines = [_aligned(" ", ["claim", *(name for name, _, _ in shown)], widths)]
    heading = ""
    for group in by_rung(rows).values():
        for claim in group:
            if heading != (heading := _heading(claim)):
                lines.append(f"{heading} ".ljust(columns, "─"))
            parts = [_one_line(str(claim["statement"])), *(_one_line(text(claim)) for _, text, _ in shown)]
            wrapped = [textwrap.wrap(part, width) or [""] for part, width in zip(parts, widths, strict=True)]
            for place in range(max(len(column) for column in wrapped)):
                mark = MARK[verdict(claim)] if place == 0 else " "
                lines.append(
                    _aligned(mark, [column[place] if place < len(column) else "" for column in wrapped], widths)
                )
    tally = counts(rows)
    lines.append("─" * columns)
    lines.append("   ".join(f"{MARK[name]} {name} {tally[name]}" for name in VERDICTS))
    return "\n".join(lines) + "\n"


def _aligned(mark: str, texts: Sequence[str], widths: Sequence[int]) -> str:
    return f"{mark} {'  '.join(f'{text:<{width}}' for text, width in zip(texts, widths, strict=True))}".rstrip()


def _published(claim: Mapping[str, Any]) -> str:
    return str(claim.get("published") or "")


# name, text, most characters
COLUMNS = (
    ("expected", expected, 16),
    ("measured [95 %]", measured, 24),
    ("n", units, 18),
    ("published", _published, 10),
)


def _heading(claim: Mapping[str, Any]) -> str:
    """What a run of claims has in common: rung, whether anything was predicted, and the model."""
    model = _one_line(str(claim.get("model") or ""))
    return f"rung {claim['rung']}" + ", observed" * (claim["type"] == "observation") + (f": {model}" if model else "")


def _one_line(text: str) -> str:
    """Printable on one terminal line: whatever could move the cursor or break the row becomes a space."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())
