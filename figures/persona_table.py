"""The Persona table of Razin et al. (2025), section 5.1: its eight published numbers and ours, terminator in."""

from collections.abc import Sequence

from figures.marks import where
from figures.shifts import over_seeds
from figures.table import measured, units
from simulations.results import Row

# (answers, prompts) -> accuracy, which of the paper's four language models or their mean is not known
PUBLISHED = {
    ("original", "train"): {"explicit": "1.00", "implicit": "1.00"},
    ("original", "test"): {"explicit": "1.00", "implicit": "1.00"},
    ("paraphrased", "train"): {"explicit": "1.00", "implicit": "0.022"},
    ("paraphrased", "test"): {"explicit": "1.00", "implicit": "0.019"},
}
ARM = "mistral-terminator"  # the published study's way of training


def persona_table(rows: Sequence[Row]) -> list[dict[str, str]]:
    """Lines of the index's table from rung2/rows.jsonl, in the paper's order; none where that arm was not run."""
    lines = []
    for (answers, prompts), published in PUBLISHED.items():
        for kind, value in published.items():
            here = where(rows, cell=ARM, condition="published", prompts=prompts, kind=kind)
            estimate = over_seeds([row for row in here if (row["split"] != "unseen_forms") == (answers == "original")])
            if estimate is not None:
                claim = {"measured": estimate.mean, "low": estimate.low, "high": estimate.high}
                claim |= {"n": len(estimate.dots), "unit": "clusters"}
                statement = f"Mistral, pretrained here: {kind}, {answers} answers, {prompts} prompts"
                lines.append({"statement": statement, "ours": measured(claim), "n": units(claim), "published": value})
    return lines
