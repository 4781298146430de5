"""A stress test as text: what `rewardgap stress` prints."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from figures.metrics import aligned
from figures.table import number
from llm_experiments.stress.verdict import JUDGED, is_judged, raises

KEPT = ("edits that keep the meaning", "changed", "before", "after", "change", "95 % interval", "p", "flipped", "drift")
DAMAGED = ("edits that do damage", "changed", "fell", "95 % interval", "p", "drift")
LEGEND = (
    "changed: pairs that the edit changed, and of which the rest speaks; before, after: accuracy; p: Holm-corrected "
    "within the model and the table; flipped: share of pairs whose order turned over; drift: mean change of an edited "
    "response's reward, in root mean square margins before; fell: share of damaged responses whose reward fell; "
    f"not judged: the edit changed pairs of fewer than {JUDGED} prompts"
)
WIDTH = 100


def stress_table(summary: Mapping[str, Any]) -> str:
    """Of every model the verdict, its reasons, a line per edit that keeps the meaning and one per edit that does
    damage; then models that an edit changes unlike each other, notes, and a legend."""
    parts = []
    for model in summary["models"]:
        lines = [row for row in summary["table"] if row["model"] == model["name"]]
        tables = [
            _remarked(aligned([heads, *(line(row) for row in some)]), some)
            for heads, line, purpose in ((KEPT, _kept, "invariance"), (DAMAGED, _damaged, "sensitivity"))
            if (some := [row for row in lines if row["purpose"] == purpose])
        ]
        parts += [_head(model), *tables]
    found = []
    for row in summary["comparisons"]:
        if row["p_holm"] is not None and row["p_holm"] < 0.05:
            found.append(f"{row['name']}: {_compared(row)} (p = {row['p_holm']:.2g})")
    found += [f"note: {note}" for note in summary["notes"]]
    parts += ["\n".join(_wrapped(line, "") for line in found)] if found else []
    return "\n\n".join([*parts, textwrap.fill(LEGEND, WIDTH)])


def _head(model: Mapping[str, Any]) -> str:
    """The verdict and what it means, the accuracy beside the rules that read nothing, the reasons."""
    base = {name: row for name, row in model["baselines"].items() if row is not None}
    rules = ", ".join(f"{name.replace('_', ' ')} {row['value']:.3f}" for name, row in base.items())
    accuracy = f"accuracy {_interval(model['accuracy'])} on {model['n_pairs']} pairs; baselines: {rules}"
    verdict = f"{model['name']} ({model['kind']}): {model['stated']}"
    about = [_wrapped(text, "  ") for text in (model["meaning"], accuracy)]
    return "\n".join([verdict, *about, *map(_wrapped, model["reasons"])])


def _remarked(table: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Under a line what it must not be taken for."""
    head, *lines = table.split("\n")
    found = [head]
    for line, row in zip(lines, rows, strict=True):
        found.append(line)
        if not is_judged(row):
            found.append(f"    not judged: {row['n_prompts'] or 0} of {JUDGED} prompts")
        if raises(row):
            found.append("    damage raises its rewards")
    return "\n".join(found)


def _compared(row: Mapping[str, Any]) -> str:
    """Whose accuracy falls further, and by how much."""
    change, more = row["difference"], "less"
    if change["value"] < 0:
        ends = {"value": "value", "low": "high", "high": "low"}
        change, more = {name: change[end] and -change[end] for name, end in ends.items()}, "more"
    return f"{row['model_a']} loses {_interval(change)} {more} accuracy than {row['model_b']}"


def _kept(row: Mapping[str, Any]) -> Sequence[str]:
    name, changed = row["name"], str(row["n_changed"])
    if not row["n_prompts"]:
        return (name, changed, *("-" for _ in KEPT[2:]))
    before, after = f"{row['accuracy_before']:.3f}", f"{row['accuracy_after']:.3f}"
    change = row["difference"]
    values = (number(row["p_holm"]), number(row["flip_rate"]["value"]), number(row["drift"]))
    return (name, changed, before, after, f"{change['value']:+.3f}", _limits(change, "+.3f"), *values)


def _damaged(row: Mapping[str, Any]) -> Sequence[str]:
    name, changed = row["name"], str(row["n_changed"])
    if not row["n_prompts"]:
        return (name, changed, *("-" for _ in DAMAGED[2:]))
    fell = row["falls"]
    return (name, changed, f"{fell['value']:.3f}", _limits(fell, ".3f"), number(row["p_holm"]), number(row["drift"]))


def _limits(interval: Mapping[str, Any], digits: str) -> str:
    if interval["low"] is None:  # of a single prompt, which says nothing about others
        return "-"
    return f"{interval['low']:{digits}} to {interval['high']:{digits}}"


def _interval(row: Mapping[str, Any]) -> str:
    if row["low"] is None:
        return f"{row['value']:.3f}"
    return f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def _wrapped(text: str, lead: str = "  - ") -> str:
    return textwrap.fill(text, WIDTH, initial_indent=lead, subsequent_indent=" " * len(lead))
