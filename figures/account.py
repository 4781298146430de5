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

from figures.dynamics import TRAINED
from figures.marks import where
from figures.page import TEMPLATES
from figures.published import stored_claims
from figures.redraw import STORED
from figures.shifts import ARCHITECTURE, over_seeds
from figures.table import expected, measured, units, verdict
from llm_experiments.agreement import Agreement, agreement
from simulations.results import Row, UserError, read_json, read_rows, write_text

ACCOUNT = Path(__file__).with_name("ACCOUNT.md")
ALIKE = 0.05  # within which two explicit models were expected to come out of a stress test


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

    def persona(self, arm: str, condition: str, kind: str) -> str:
        """Accuracy on held-out prompts of a condition that has no claim of its own."""
        rows = where(read_rows(self.folder / "rung2/rows.jsonl"), cell=arm, condition=condition, kind=kind)
        estimate = over_seeds(where(rows, prompts="test"))
        return measured({"measured": estimate.mean, "low": estimate.low, "high": estimate.high})

    def one_steps(self, step_size: float) -> dict[tuple[str, str, str], Agreement]:
        """Predicted against measured changes of two language models, by model, kind and what the step moves."""
        rows = where(read_rows(self.folder / "dynamics/one_step.jsonl"), step_size=step_size)
        found = {}
        for model, kind, trained in dict.fromkeys((row["model"], row["kind"], row["trained"]) for row in rows):
            some = where(rows, model=model, kind=kind, trained=trained)
            changes = (np.array([row[name] for row in some]) for name in ("predicted", "measured"))
            found[ARCHITECTURE[model], kind, trained] = agreement(*changes)
        return found

    def largest_error(self, step_size: float) -> str:
        """Relative, over models and kinds, where the output layer, or the explicit head, alone is trained."""
        found = self.one_steps(step_size).items()
        return f"{max(one.relative_error for (_, _, trained), one in found if trained == 'head'):.0e}"

    def moving_states(self, step_size: float) -> str:
        """Lines of what is trained beyond the head: relative error, correlation, share of signs that are right."""
        return "\n".join(
            f"| {model}, {kind} | {TRAINED[trained]} | {one.relative_error:.2f} | {one.correlation:.2f} | "
            f"{one.sign_agreement:.2f} of {one.n} |"
            for (model, kind, trained), one in self.one_steps(step_size).items()
            if trained != "head"
        )

    def stress(self, run: str) -> dict[str, Any]:
        """Of the stored stress runs, what was expected of every cluster and in how many it holds; all explicit models'
        verdicts; the accuracy of the worst of them on rewrites that keep the meaning."""
        rows = read_rows(self.folder / f"stress/{run}.jsonl")
        pairs = {
            second: [
                row["difference"] for row in rows if (row.get("model_a"), row.get("model_b")) == ("explicit", second)
            ]
            for second in ("explicit_again", "implicit")
        }
        explicit = [row for row in rows if str(row.get("model")).startswith("explicit") and row["falls"] is None]
        verdicts = [row["verdict"] for row in explicit]
        return {
            "clusters": len(pairs["implicit"]),
            "apart": sum(one["low"] > 0 for one in pairs["implicit"]),
            "alike": sum(one["low"] > -ALIKE and one["high"] < ALIKE for one in pairs["explicit_again"]),
            "differences": ", ".join(f"{one['value']:.3f}" for one in pairs["explicit_again"]),
            "models": len(explicit),
            "robust": verdicts.count("robust"),
            "sensitive": verdicts.count("token-sensitive"),
            "worst": f"{min(row['accuracy_after'] for row in explicit):.3f}",
        }

    def tally(self) -> dict[str, int]:
        """Registered claims and theorems by verdict, over the summaries of `reproduce`, `simulate` and the studies."""
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
