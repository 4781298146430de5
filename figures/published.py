"""Every item of Razin et al. (2025) and Lin et al. (2024) that could be established, beside what is produced here.

The index's first table.

An item names the claims that answer it, by the beginning of their ids, in the summaries of stored results, or counts
rows, or says why there is nothing. Published values are quoted from the claims; none is typed in here a second time.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from figures.persona_table import persona_table
from figures.table import measured, units
from simulations.results import Row, read_json, read_rows


@dataclass(frozen=True)
class Item:
    """A figure, table or equation of the paper. `claims`: beginnings of ids that stand for it; `table` makes lines
    that come before them from the rows of `source`."""

    name: str
    content: str
    command: str
    claims: tuple[str, ...] = ()
    remark: str = ""
    source: str = ""
    table: Callable[[Sequence[Row]], list[dict[str, str]]] | None = None


ITEMS = (
    Item(
        "Figure 1",
        "what explicit and implicit reward models read",
        "rewardgap derive",
        remark="a drawing; the definitions are the first cell of notebooks/01_three_rewards.ipynb",
    ),
    Item(
        "Section 4, equation (5)",
        "what one gradient step changes in every reward",
        "rewardgap derive implicit_one_step",
        ("rung0.one_step",),
        "figures one_step and predicted_changes",
    ),
    Item(
        "Theorem 1",
        "verifying does not require generating",
        "rewardgap simulate verify_generate",
        remark="proved step by step (rewardgap derive verifying_without_generating); figure verify_generate",
    ),
    Item(
        "Theorem 2",
        "single-token responses: implicit one half, explicit to the max-margin separator",
        "rewardgap reproduce",
        ("rung0.unseen_all_tied", "rung0.explicit_follows_separator"),
        "figures single_token and separator",
    ),
    Item(
        "Section 3.2: Hamiltonian cycles",
        "verification accuracy and generation success",
        "rewardgap study hamiltonian",
        ("hamiltonian/published/verify/random", "hamiltonian/published/generate"),
        "figure hamiltonian: harder negatives, limits, chance and the bound",
    ),
    Item(
        "Section 5.1: Persona table",
        "accuracy on original and paraphrased answers, terminator in the response",
        "rewardgap study persona",
        ("rung2/mistral/published", "rung2/gemma/published"),
        "the last four lines leave the terminator out; figure persona_controls",
        "rung2/rows.jsonl",
        persona_table,
    ),
    Item(
        "Footnote 3",
        "inner products with the max-margin separator of the training answers",
        "rewardgap study persona",
        ("rung2/mistral/separator", "rung2/mistral-terminator/separator"),
    ),
    Item(
        "Appendix A: generative models on Persona",
        "accuracy on original and paraphrased answers",
        "rewardgap study persona",
        ("rung2/verifying/seen/generative", "rung2/verifying/published/generative"),
    ),
    Item(
        "Figure 2 and the table of section 5.2: UltraFeedback",
        "accuracy and margin in distribution, under token-level and domain shift",
        "rewardgap study ultrafeedback",
        tuple(
            f"ultrafeedback/published/{category}/{measure}"
            for category in ("in-distribution", "token-level shift", "domain shift")
            for measure in ("accuracy/", "gap/accuracy", "normalised_margin/")
        ),
        "figure ultrafeedback: every set, length controls and baselines",
    ),
    Item(
        "Figure 5: RewardMATH",
        "the same, trained on mathematics",
        "rewardgap study rewardmath",
        tuple(
            f"rewardmath/{arm}/in-distribution/{measure}"
            for arm in ("published-split", "leak-free")
            for measure in ("accuracy/", "gap/accuracy")
        ),
        "the leak-free split stands beside the published one; figure rewardmath",
    ),
    Item(
        "Ablations",
        "mean of the response's states, no reference model",
        "rewardgap study ablations",
        ("ablations/mean-pooling/published", "ablations/no-reference/published"),
        "and five that were not published; figure ablations",
    ),
    Item(
        "Win-rate bars",
        "share of (model, seed, set) evaluations won by each kind",
        "rewardgap study ultrafeedback",
        tuple(
            f"ultrafeedback/published/{category}/wins/"
            for category in ("in-distribution", "token-level shift", "domain shift")
        ),
        "figure win_rates; the published bars are not known",
    ),
    Item(
        "The papers' own models (1B to 8B)",
        "every experiment above at its published scale",
        "rewardgap study NAME --scale paper --plan",
        remark="not measured: needs GPUs and hub access; the recipes train one step in the tests",
    ),
    Item(
        "Lin et al. (2024): accuracy out of distribution",
        "the implicit model's drop on average and at most, over five settings that are not known",
        "rewardgap study lin2024",
        (
            "lin2024/in-distribution/drop",
            "lin2024/response shift/drop",
            "lin2024/prompt shift/drop",
            "lin2024/shifted/drop",
            "lin2024/shifted/largest-drop",
        ),
        "six other sets and models made here, figure lin2024; of the paper's tables no cell is known",
    ),
    Item(
        "Lin et al. (2024): iterative DPO",
        "explicit or implicit labels over rounds",
        "rewardgap study iterative",
        remark="the published protocol is not known; figure iterative",
    ),
)


def stored_claims(folder: Path) -> dict[str, Row]:
    """Claims by id from every summary.json at or below `folder`, nearer ones first."""
    found: dict[str, Row] = {}
    for path in sorted(folder.rglob("summary.json"), key=lambda path: (len(path.parts), path)):
        for claim in read_json(path).get("claims", ()):
            found.setdefault(claim["id"], claim)
    return found


def published_rows(folder: Path) -> list[dict[str, Any]]:
    """The index's table: per item its lines (statement, ours with interval and n, published), or why there is none."""
    claims = stored_claims(folder)
    rows = []
    for item in ITEMS:
        source = folder / item.source
        counted = item.table(read_rows(source)) if item.table and source.exists() else []
        lines = [*counted, *_lines(item, claims)]
        missing = bool(item.claims or item.table) and not lines
        about = {"name": item.name, "content": item.content, "command": item.command, "remark": item.remark}
        rows.append(about | {"lines": lines, "missing": missing})
    return rows


def _lines(item: Item, claims: Mapping[str, Row]) -> list[dict[str, str]]:
    mine = [claim for start in item.claims for id, claim in claims.items() if id.startswith(start)]
    return [
        {
            "statement": f"{claim['model']}: {claim['statement']}" if claim.get("model") else claim["statement"],
            "ours": measured(claim),
            "n": units(claim),
            "published": claim.get("published", ""),
        }
        for claim in list({claim["id"]: claim for claim in mine}.values())
    ]


def as_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The same table for index.md."""
    lines = ["| item | published | ours | n | command |", "|---|---|---|---|---|"]
    for row in rows:
        title = f"**{row['name']}**: {row['content']}"
        why = "not run yet" if row["missing"] else ""
        note = "; ".join(part for part in (row["remark"], why) if part)
        lines.append(f"| {title} | | {note} | | `{row['command']}` |")
        lines += [
            f"| {line['statement']} | {line['published']} | {line['ours']} | {line['n']} | |" for line in row["lines"]
        ]
    return "\n".join(lines)
