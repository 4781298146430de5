"""What about the training carries the Persona result? The papers' ablations and some they did not run (rung 2).

Each arm changes one thing about the untied Mistral of the Persona study without terminator; `none` changes nothing.
`dropped-last-token` reproduces a quirk of the published code (the longest sequences of a micro-batch lose their last
token) on answers that end with a terminator, and is compared with `terminator`, all others with `none`.

Expected, written before the first run, as the paper concludes: that the explicit model reads one state and not all of
them, and that the implicit one has a reference, do not carry the result. Averaging over the response changes the
explicit model's accuracy on the published paraphrase by less than 0.25, leaving out the reference the implicit one's.

Found: the second holds (+0.004 [-0.007, +0.015]), the first does not: averaged over the response, the explicit model
falls from 0.994 to 0.422 (-0.57 [-0.88, -0.26]). It reads the prefix then, as the implicit one does: seen words in
exchanged training prefixes it ranks 0.00 right, where one state at the end ranks 1.00, and with one prefix for both
answers it is back at 0.89. A terminator does much the same to it (0.71, and 0.03 in exchanged prefixes). The dropped
last token changes nothing that six clusters could show; a head on a DPO policy and DPO on an explicit model's backbone
stay within 0.14 and 0.19 of the plain ones.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llm_experiments.cells import Plan
from llm_experiments.tasks.persona_claims import CONDITIONS
from llm_experiments.tasks.persona_study import Arm, compute_cell, make_base, plan_arms
from simulations.interval_claims import interval_claim
from simulations.results import Claim, Row
from simulations.statistics import mean_interval, sign_flip_test

__all__ = ["claims", "compute_cell", "make_base", "plan"]

ARMS = (
    Arm("none"),
    Arm("mean-pooling", kinds=("explicit",), ablation="mean_pooling"),
    Arm("no-reference", kinds=("implicit",), ablation="no_reference"),
    Arm("frozen-backbone", ablation="frozen"),
    Arm("tied", tied=True),
    Arm("terminator", terminator=True),
    Arm("dropped-last-token", terminator=True, ablation="dropped_last_token"),
    Arm("on-the-other-kind", ablation="on_the_other_kind"),
)
QUICK = (Arm("none", clusters=1), Arm("mean-pooling", kinds=("explicit",), ablation="mean_pooling", clusters=1))
WORDS = {
    "none": "nothing changed",
    "mean-pooling": "reward averaged over the response",
    "no-reference": "log-probability alone, no reference",
    "frozen-backbone": "only the head, or the output layer, trained",
    "tied": "input and output embeddings shared",
    "terminator": "terminator in the response",
    "dropped-last-token": "terminator in, the longest of a micro-batch without their last token",
    "on-the-other-kind": "explicit head on a DPO policy; DPO on an explicit model's backbone",
}
BESIDE = {"dropped-last-token": "terminator"}  # what an arm is compared with, where it is not `none`
LITTLE = 0.25
EXPECTED = (("mean-pooling", "published", "explicit"), ("no-reference", "published", "implicit"))
SHOWN = (("published", "seen_forms"), ("published", "unseen_forms"), ("shared_prefix", "unseen_forms"))


def plan(data: Path, *, quick: bool = False) -> Plan:
    return plan_arms(QUICK if quick else ARMS, data, quick=quick)


def claims(folder: Path, plan: Plan) -> tuple[list[Claim], list[str]]:
    return ablation_claims(plan.gather(folder))


def ablation_claims(rows: Sequence[Row]) -> tuple[list[Claim], list[str]]:
    """What is read off the rows of a finished study, and a note on how to read it."""
    rows = [row for row in rows if row["prompts"] == "test"]
    found = []
    for arm in ARMS:
        for condition, split in SHOWN:
            for kind in arm.kinds:
                found += _claims(rows, arm.name, condition, split, kind)
    return sorted(found, key=lambda claim: claim.type != "registered"), [
        "Ablations: every line is a mean over clusters (prompts and a training seed of its own, one language model for "
        "all) with a 95 % t interval; changes are paired by cluster with the arm that the line names."
    ]


def _claims(rows: Sequence[Row], arm: str, condition: str, split: str, kind: str) -> list[Claim]:
    def accuracies(name: str) -> dict[int, float]:
        wanted = (name, condition, split, kind)
        return {
            row["seed"]: row["accuracy"]
            for row in rows
            if (row["cell"], row["condition"], row["split"], row["kind"]) == wanted
        }

    beside = BESIDE.get(arm, "none")
    mine, before = accuracies(arm), accuracies(beside)
    if not mine:
        return []
    called = "seen" if split == "seen_forms" else condition
    where = f"{kind}, {CONDITIONS[called]}"
    made = [_claim(f"{arm}/{called}/{kind}", f"{where} ({WORDS[arm]})", list(mine.values()), kind, split)]
    both = sorted(set(mine) & set(before))
    if arm != "none" and len(both) > 1:
        changes = [mine[seed] - before[seed] for seed in both]
        p = sign_flip_test(changes)
        statement = f"{where}: change against {WORDS[beside]} ({WORDS[arm]}; exact sign-flip p = {p:.3f})"
        expected: dict[str, Any] = {}
        if (arm, called, kind) in EXPECTED:
            expected = {"op": "within", "value": (-LITTLE, LITTLE)}
        made.append(_claim(f"{arm}/{called}/{kind}/change", statement, changes, kind, split, **expected))
    return made


def _claim(id: str, statement: str, values: Sequence[float], kind: str, split: str, **expected: Any) -> Claim:
    interval = mean_interval(values)
    return interval_claim(
        f"ablations/{id}",
        statement,
        interval,
        rung=2,
        kind=kind,
        model="Mistral, pretrained here",
        split=split,
        **expected,
    )
