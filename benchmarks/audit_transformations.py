"""How many real responses each transformation changes, and how many of the changed ones its gate rejects.

    REWARDGAP_DATA=DIR python benchmarks/audit_transformations.py [FOLDER]      about two minutes on one core

Of each file 100 pairs are drawn; both responses are transformed at strength 1 and 1/2. FOLDER, figures/data/
transformations unless given, ends up with rates.jsonl, provenance.json and the page README.md.
"""

import os
import random
import sys
from collections import Counter
from pathlib import Path

from figures.redraw import STORED
from llm_experiments.pairs import load_pairs
from llm_experiments.stress.catalogue import TRANSFORMATIONS
from llm_experiments.stress.sides import words_of
from llm_experiments.stress.transformation import Transformation, transform_text
from llm_experiments.stress.validity import check
from simulations.results import Row, provenance, write_json, write_rows, write_text

FILES = {
    "LLMBar": "llmbar/LLMBar_Natural_dataset.json",
    "UltraFeedback": "ultrafeedback/eval_clean.jsonl.gz",
    "HH-RLHF": "hh_rlhf/harmless-base_test.jsonl.gz",
    "RewardMATH": "razin2025/rewardmath_test.jsonl",
    "RewardBench code": "razin2025/rewardbench_code_test.jsonl",
    "GSM8K": "gsm8k/example_model_solutions.jsonl.gz",
}
PAIRS = 100
STRENGTHS = (1.0, 0.5)


def rates(transformation: Transformation, name: str, responses: list[tuple[str, str]], strength: float) -> Row:
    changed, reasons = 0, Counter()
    for example, before in responses:
        after = transform_text(transformation, before, seed=0, example=example, strength=strength)
        if after != before:
            changed += 1
            if reason := check(transformation.gate, before, after):
                reasons[reason] += 1
    return {
        "transformation": transformation.name,
        "family": transformation.family,
        "strength": strength,
        "file": name,
        "responses": len(responses),
        "changed": changed,
        "rejected": reasons.total(),
        "reasons": dict(reasons),
    }


def page(rows: list[Row]) -> str:
    lines = [
        "# What the transformations change",
        "",
        f"Share of {2 * PAIRS} real responses that each edit changes at strength 1 (in brackets: at 1/2), and all",
        "that its gate rejects, both strengths and all files together, with the reasons. From `rates.jsonl`, by",
        "`benchmarks/audit_transformations.py`.",
        "",
        f"| transformation | {' | '.join(FILES)} | rejected |",
        f"|---|{'---|' * (len(FILES) + 1)}",
    ]
    for transformation in TRANSFORMATIONS:
        own = [row for row in rows if row["transformation"] == transformation.name]
        cells = []
        for name in FILES:
            high, low = (
                next(
                    row["changed"] / row["responses"]
                    for row in own
                    if (row["file"], row["strength"]) == (name, strength)
                )
                for strength in STRENGTHS
            )
            cells.append(f"{high:.0%} ({low:.0%})")
        reasons = sum((Counter(row["reasons"]) for row in own), Counter())
        told = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        total = sum(row["changed"] for row in own)
        lines.append(
            f"| `{transformation.name}` | {' | '.join(cells)} | {reasons.total()} of {total}{told and f': {told}'} |"
        )
    return "\n".join(lines) + "\n"


def main(folder: Path) -> None:
    data, rows = Path(os.environ["REWARDGAP_DATA"]), []
    for name, file in FILES.items():
        pairs = random.Random(0).sample(list(load_pairs(data / file, bad_pairs="drop")), PAIRS)
        responses = [
            (f"{pair.id}/responses", words_of(pair, side)) for pair in pairs for side in ("chosen", "rejected")
        ]
        rows += [rates(each, name, responses, strength) for each in TRANSFORMATIONS for strength in STRENGTHS]
    write_rows(folder / "rates.jsonl", rows)
    write_json(folder / "provenance.json", provenance(seed=0))
    write_text(folder / "README.md", page(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else STORED / "transformations")
