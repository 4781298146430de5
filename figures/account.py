"""The account: what replicated, what did not, what was a confound. Prose by hand, every number from stored results.

    python -m figures.account     writes figures/ACCOUNT.md again, after results have been stored

The template names claims by id; an id that is not stored is an error, so that no sentence loses its number unseen.
Parts about studies that may not be stored yet are guarded by `stored`, and say so.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from figures.marks import where
from figures.page import TEMPLATES
from figures.published import stored_claims
from figures.redraw import STORED
from figures.table import expected, measured, units, verdict
from llm_experiments.agreement import agreement
from simulations.results import Row, UserError, read_json, read_rows, write_text

ACCOUNT = Path(__file__).with_name("ACCOUNT.md")


class Numbers:
    """Stored claims and audits as the template asks for them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.claims = stored_claims(folder)
        for path in sorted(folder.glob("simulate/*/metrics.json")):
            self.claims |= {claim["id"]: claim for claim in read_json(path)["claims"]}

    def claim(self, id: str) -> Row:
        if id not in self.claims:
            raise UserError(f"{self.folder}: no stored claim {id!r}, which the account's text names")
        return self.claims[id]

    def value(self, id: str) -> str:
        """The measured number with its interval."""
        return measured(self.claim(id))

    def line(self, id: str, label: str = "") -> str:
        """A table's line: what, published, measured, n, and for a prediction what was expected and whether it holds."""
        claim = self.claim(id)
        decided = verdict(claim)
        wanted = "" if decided == "observed" else f"{expected(claim)}: {decided}"
        label = (label or claim["statement"]).replace("|", "\\|")
        return f"| {label} | {claim.get('published') or ''} | {measured(claim)} | {units(claim)} | {wanted} |"

    def lines(self, start: str, *, ends: str = "", most: int | None = None) -> str:
        """Lines of all claims whose ids begin and end so, predictions first, in the order in which they are stored.
        Where there are more than `most`, observations are left out, and a line says how many."""
        found = [claim for id, claim in self.claims.items() if id.startswith(start) and id.endswith(ends)]
        found.sort(key=lambda claim: claim["type"] == "observation")
        decided = sum(claim["type"] != "observation" for claim in found)
        shown = len(found) if most is None else max(most, decided)
        lines = [self.line(claim["id"]) for claim in found[:shown]]
        if shown < len(found):
            lines.append(f"| and {len(found) - shown} observations more, in its summary.json |  |  |  |  |")
        return "\n".join(lines)

    def has(self, id: str) -> bool:
        return id in self.claims

    def stored(self, study: str) -> bool:
        return (self.folder / "study" / study / "summary.json").exists()

    def notes(self, study: str) -> list[str]:
        return list(read_json(self.folder / "study" / study / "summary.json")["notes"])

    def audit(self, file: str) -> Mapping[str, Any]:
        """What the audit of the real files says about one of them."""
        return next(row for row in read_rows(self.folder / "audits/files.jsonl") if row["file"] == file)

    def overlap(self, trained_on: str, file: str) -> Mapping[str, Any]:
        rows = read_rows(self.folder / "audits/overlaps.jsonl")
        return next(row for row in rows if (row["trained_on"], row["file"]) == (trained_on, file))

    def largest_error(self, step_size: float) -> str:
        """Of the predicted changes of two language models whose output layer, or explicit head, alone is trained: the
        largest relative error over models and kinds."""
        rows = where(read_rows(self.folder / "dynamics/one_step.jsonl"), trained="head", step_size=step_size)
        arms = dict.fromkeys((row["model"], row["kind"]) for row in rows)
        errors = []
        for model, kind in arms:
            some = where(rows, model=model, kind=kind)
            changes = (np.array([row[name] for row in some]) for name in ("predicted", "measured"))
            errors.append(agreement(*changes).relative_error)
        return f"{max(errors):.0e}"

    def tally(self) -> dict[str, int]:
        """Predictions and theorems by verdict, over everything that is stored."""
        found = [verdict(claim) for claim in self.claims.values()]
        return {name: found.count(name) for name in ("holds", "fails", "undecided")}


def account(folder: Path = STORED) -> str:
    """The text, in Markdown.

    Raises:
        UserError: a claim that the text names is not stored.
    """
    # Markdown, not HTML: nothing is escaped, and nothing but our own rows goes in
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=False, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    text = environment.get_template("account.md.jinja").render(n=Numbers(folder))
    return re.sub(r"\|\n\n+(?=\|)", "|\n", text)  # a blank line would end a table


if __name__ == "__main__":
    write_text(ACCOUNT, account())
