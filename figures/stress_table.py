"""A stress test as text: what `rewardgap stress` prints."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from figures.metrics import aligned
from figures.table import number

COLUMNS = ("changed", "before", "after", "difference", "95 % interval", "Holm p", "flipped", "drift", "falls")
NARROW = 100


def stress_table(summary: Mapping[str, Any]) -> str:
    """The verdict on every model, its reasons, and a line per shift; below, models against each other and notes.

    Columns: pairs that the edit changed; accuracy before and after, and their difference; the p-value, Holm-corrected
    over the model's lines; the share of pairs whose order is reversed; the mean change of a response's reward in units
    of the model's spread; the share of damaged responses whose reward fell (sensitivity edits).
    """
    parts = []
    for model in summary["models"]:
        accuracy = _interval(model["accuracy"])
        head = f"{model['name']} ({model['kind']}): {model['verdict']}; accuracy {accuracy} on {model['n_pairs']} pairs"
        base = {name: row for name, row in model["baselines"].items() if row is not None}
        rules = ", ".join(f"{name.replace('_', ' ')} {row['value']:.3f}" for name, row in base.items())
        parts.append("\n".join([head, f"  baselines: {rules}", *map(_wrapped, model["reasons"])]))
        lines: list[Sequence[str]] = [("", *COLUMNS)]
        lines += [_line(row) for row in summary["table"] if row["model"] == model["name"]]
        parts.append(aligned(lines))
    for row in summary["comparisons"]:
        if row["p_holm"] is not None and row["p_holm"] < 0.05:
            models = f"{row['model_a']} changes by {_interval(row['difference'])} against {row['model_b']}"
            parts.append(f"{row['name']}: {models} (p = {row['p_holm']:.2g})")
    parts += [f"note: {note}" for note in summary["notes"]]
    parts += [f"below the threshold: {failure}" for failure in summary["failures"]]
    return "\n".join(parts)


def _line(row: Mapping[str, Any]) -> tuple[str, ...]:
    name = row["name"] + (" (damage)" if row["purpose"] == "sensitivity" else "")
    if not row["n_prompts"]:
        return (name, str(row["n_changed"]), *("-" for _ in COLUMNS[1:]))
    difference, falls = row["difference"], row["falls"]
    limits = "-"  # of a single prompt, which says nothing about others
    if difference["low"] is not None:
        limits = f"{difference['low']:+.3f} to {difference['high']:+.3f}"
    values = (number(row["p_holm"]), number(row["flip_rate"]["value"]), number(row["drift"]))
    before, after = f"{row['accuracy_before']:.3f}", f"{row['accuracy_after']:.3f}"
    fell = number(falls["value"]) if falls else ""
    return (name, str(row["n_changed"]), before, after, f"{difference['value']:+.3f}", limits, *values, fell)


def _interval(row: Mapping[str, Any]) -> str:
    if row["low"] is None:
        return f"{row['value']:.3f}"
    return f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, NARROW, initial_indent="  - ", subsequent_indent="    ")
