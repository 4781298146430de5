"""Metrics as text: what `rewardgap train` and `rewardgap score` print, one line per source of pairs and subset."""

from collections.abc import Mapping, Sequence
from typing import Any

from figures.table import number
from llm_experiments.stress.verdict import BACKWARDS

COLUMNS = ("pairs", "accuracy", "95 % interval", "ties", "|margin|", "normalised", "ECE", "Brier")
BASELINES = ("longest", "shortest", "bag of tokens", "token overlap")
UNKNOWN = "unknown"
LEGEND = (
    "ties count one half; |margin|: mean size, in the reward's units; normalised: the same over the rewards' standard\n"
    "deviation; ECE, Brier: of the probability that the margin states, 0 is best; the last columns are\n"
    "accuracies of rules that read no prompt"
)


def metrics_table(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """The table of metrics.json: a line per source of pairs, per subset, and for the pairs that share nothing with
    training where others do. |margin| is the mean absolute one, then in units of the rewards' spread; the last
    columns are the accuracies of rules that read no prompt."""
    lines: list[Sequence[str]] = [("", *COLUMNS, *BASELINES)]
    for name, row in metrics.items():
        lines.append((name, *_cells(row)))
        if "unshared" in row:
            lines.append(("  sharing nothing with training", *_cells(row["unshared"])))
        lines += [(f"  {subset or '(none)'}", *_cells(part)) for subset, part in row.get("subsets", {}).items()]
    notes = [LEGEND]
    if any(UNKNOWN in line for line in lines):
        notes.append("unknown: training pairs unknown; name them with --train_pairs FILE")
    for name, row in metrics.items():
        if row["tie_rate"] == 1:
            notes.append(
                f"{name}: EVERY PAIR IS A TIE, so that 0.5 says nothing; are these the right model and reference?"
            )
    return "\n".join([aligned(lines), *notes])


def backwards(metrics: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line per source of pairs whose accuracy is shown to be below one half."""
    return [f"{name}: {BACKWARDS}" for name, row in metrics.items() if row["high"] is not None and row["high"] < 0.5]


def comparisons_table(comparisons: Sequence[Mapping[str, Any]]) -> str:
    """Model against model, a line per two of them and source of pairs: the difference of their accuracies with its 95 %
    interval, prompts on which either did better, the exact p-value, and the same corrected for all lines together."""
    heads = ("pairs", "prompts", "accuracies", "difference", "95 % interval", "better on", "p (McNemar)", "p (Holm)")
    lines: list[Sequence[str]] = [("", *heads)]
    for row in comparisons:
        limits = (row["low"], row["high"])
        lines.append(
            (
                f"{row['source']}: {row['first']} against {row['second']}",
                str(row["pairs"]),
                str(row["prompts"]),
                f"{row['first_accuracy']:.3f} and {row['second_accuracy']:.3f}",
                f"{row['difference']:+.3f}",
                "-" if None in limits else "{:+.3f} to {:+.3f}".format(*limits),
                f"{row['first_better']} and {row['second_better']}",
                f"{row['p_value']:.3g}",
                f"{row['p_holm']:.3g}",
            )
        )
    return aligned(lines)


AGREEMENT_LEGEND = (
    "changes of margins; slope: of measured on predicted, 1 where the theory is exact; relative error: length of\n"
    "predicted minus measured over that of measured; AUC of flips: does the predicted change tell which pairs end up\n"
    "ranked the other way, 0.5 is chance; frozen: predicted from step 0 alone; tracked: coefficients of every step"
)
COEFFICIENTS = {"head": "the head's coefficients", "all": "coefficients of all parameters"}
AGREEMENT = ("slope", "relative_error", "sign_agreement", "correlation", "flipped", "flip_auc")


def agreement_table(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """What `rewardgap dynamics` prints: predicted against measured changes of margins, a line per comparison; below,
    what moved hidden states, so that the theory's assumption does not hold."""
    heads = ("slope", "relative error", "signs agree", "correlation", "flipped", "AUC of flips")
    lines: list[Sequence[str]] = [("", "", "pairs", *heads)]
    predictions = [row for row in metrics.values() if row["phase"] == "prediction"]
    for row in metrics.values():
        if row["phase"] == "prediction":
            continue
        where = (
            f"step size {row['step_size']:g}"
            if row["phase"] == "one_step"
            else f"{row['coefficients']}, {row['step']} steps"
        )
        lines.append(
            (f"{row['kind']}, {row['trained']}", where, str(row["n"]), *(_precise(row[name]) for name in AGREEMENT))
        )
    notes = {f"{row['trained']}: {row['violation']}" for row in metrics.values() if row.get("violation")}
    said = [
        f"{row['kind']}: predicted to rank {row['predicted_accuracy']:.3f} of {row['n']} pairs right after training on "
        f"the training pairs (by {COEFFICIENTS[row['coefficients']]})"
        for row in predictions
    ]
    came_out = [
        f"{row['kind']}, {row['trained']}: ranked {row['accuracy_before']:.3f} of {row['n']} pairs right before and "
        f"{row['accuracy_after']:.3f} after {row['step']} steps"
        for row in metrics.values()
        if row.get("coefficients") == "tracked"
    ]
    return "\n".join([aligned(lines), AGREEMENT_LEGEND, *sorted(notes), *said, *came_out])


def _precise(value: float | None) -> str:
    """A slope of 1.0000 and one of 0.9995 are not the same result."""
    if isinstance(value, int):
        return str(value)
    return "-" if value is None else f"{value:.4f}" if 1e-3 <= abs(value) < 100 else number(value)


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Cells in columns, the first one flush left and the others right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    values = [row[name] for name in ("tie_rate", "absolute_margin", "normalised_margin", "ece", "brier")]
    rules = [row["baselines"][name.replace(" ", "_")] for name in BASELINES]
    limits = (row["low"], row["high"])  # null for a single prompt, which says nothing about others
    interval = "-" if None in limits else "{:.3f} to {:.3f}".format(*limits)
    accuracies = [UNKNOWN if rule is None else f"{rule['accuracy']:.3f}" for rule in rules]
    return (str(row["n"]), f"{row['accuracy']:.3f}", interval, *map(number, values), *accuracies)


def recipes_table(recipes: Sequence[Mapping[str, Any]]) -> str:
    """What a study at the papers' scale consists of: one line per model, and the sum."""
    head = ("recipe", "pairs", "epochs", "batch", "type", "GPU hours", "GB", "GPUs", "settings from")
    lines: list[Sequence[str]] = [head]
    for row in recipes:
        batch = f"{row['batch']} x {row['accumulation']} x {row['devices']}"
        cost = (f"{row['gpu_hours']:.2f}", f"{row['gigabytes']:.0f}", str(row["gpus"]))
        lines.append((row["name"], str(row["pairs"]), f"{row['epochs']:g}", batch, row["dtype"], *cost, row["source"]))
    hours = sum(row["gpu_hours"] for row in recipes)
    gated = ", ".join(dict.fromkeys(row["model"] for row in recipes if row["gated"]))
    login = f"\nGated: {gated}; accept their terms on the hub, then `hf auth login`." if gated else ""
    return aligned(lines) + (
        f"\n{hours:.1f} GPU hours in all: operations of training counted, on an A100 at 40 % utilisation, without\n"
        "scoring. GB: weights, gradients, optimiser state and reference of one model, over all devices together,\n"
        "without activations. GPUs: of 80 GB, that hold them at least. Not measured.\n"
        "Batch, as published: pairs per forward pass x accumulation x devices; on another number of devices the\n"
        f"accumulation makes up for it.{login}"
    )
