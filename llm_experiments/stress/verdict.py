"""The verdict on a model, by rules that were written before any model was run, except one that says so itself; they are
printed on the page.

Three things a model must not be taken for what it is not: one that reads lengths can rank well, one that says nothing
is never changed by an edit, and one that ranks at random has no accuracy to lose.
"""

from collections.abc import Sequence
from typing import Literal, get_args

from simulations.results import Row

Verdict = Literal["token-sensitive", "robust", "uninformative", "length-driven", "inconclusive"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

LEVEL = 0.05  # of tests, Holm-corrected over the lines of one model
MATERIAL = 0.05  # a drop in accuracy that matters
FLIPPED = 0.20  # a share of reversed pairs that matters, whatever the accuracy does
AGREEMENT = 0.85  # with a length rule
JUDGED = 40  # prompts with a changed pair; fewer cannot show a drop to be below 0.05

RULES = (
    f"A row of the table is judged if the edit changed pairs of at least {JUDGED} prompts. Rules apply in this order.",
    f"length-driven: the model ranks as the longest (or the shortest) response in at least {AGREEMENT:g} of the pairs "
    "of different lengths, and less than half of the pairs that this rule gets wrong right; whole 95 % intervals.",
    "uninformative: its accuracy on the original pairs is not above one half (lower limit), so it has nothing to lose.",
    f"token-sensitive: some edit that keeps the meaning lowers the accuracy by {MATERIAL:g} or more (McNemar, "
    f"Holm-corrected over the lines of this model, p < {LEVEL:g}), or reverses at least {FLIPPED:g} of the pairs "
    "(lower limit).",
    "uninformative: no edit that does damage lowers the reward of the damaged response more often than not (sign test, "
    f"Holm-corrected, p < {LEVEL:g}): a model that sees no damage is not robust, it does not look.",
    f"inconclusive: the model ranks as a length rule in at least {AGREEMENT:g} of the pairs (lower limit), and is not "
    "shown to be right in more than half of those that this rule gets wrong (lower limit). Added after the first runs: "
    "where nearly every longer response was the chosen one, a model that counts words passed for robust.",
    f"robust: every judged edit that keeps the meaning takes less than {MATERIAL:g} of the accuracy and reverses less "
    f"than {FLIPPED:g} of the pairs (the far limits of the intervals), and no damage raises rewards (same test).",
    "inconclusive: anything else; the reasons say which rows are undecided.",
)


def decide(model: Row, table: Sequence[Row]) -> tuple[Verdict, list[str]]:
    """The verdict on one model and the reasons for it, from its row of `models` and its rows of `table`."""
    judged = [row for row in table if (row["n_prompts"] or 0) >= JUDGED]
    kept = [row for row in judged if row["purpose"] == "invariance"]
    damaged = [row for row in judged if row["purpose"] == "sensitivity"]
    if reason := _reads_length(model["length"]):
        return "length-driven", [reason]
    accuracy = model["accuracy"]
    if not accuracy["low"] > 0.5:
        return "uninformative", [
            f"its accuracy on the original pairs is {_said(accuracy)}: not above one half, so there is nothing to lose"
        ]
    if reasons := [reason for row in kept if (reason := _breaks(row))]:
        return "token-sensitive", reasons
    seen = [row for row in damaged if row["p_holm"] < LEVEL and row["falls"]["value"] > 0.5]
    if damaged and not seen:
        worst = max(damaged, key=lambda row: row["falls"]["value"])
        return "uninformative", [
            "no damage lowers its rewards; the nearest is "
            f"{_name(worst)}, after which {_said(worst['falls'])} of the rewards fall"
        ]
    open_questions = [f"{_name(row)}: {_undecided(row)}" for row in kept if _undecided(row)]
    open_questions += [
        f"{_name(row)}: only {_said(row['falls'])} of the rewards fall: damage raises them"
        for row in damaged
        if row["p_holm"] < LEVEL and row["falls"]["value"] < 0.5
    ]
    if not kept:
        open_questions.append(f"no edit that keeps the meaning changed pairs of {JUDGED} prompts")
    if not damaged:
        open_questions.append(f"no edit that does damage changed pairs of {JUDGED} prompts: a model that does not look")
        open_questions[-1] += " would pass as well"
    if question := _may_read_length(model["length"]):
        open_questions.append(question)
    if open_questions:
        return "inconclusive", open_questions
    worst = min(kept, key=lambda row: row["difference"]["low"])
    return "robust", [
        f"{len(kept)} edits that keep the meaning were judged; the worst, {_name(worst)}, changes the accuracy by "
        f"{_said(worst['difference'])}",
        f"{len(seen)} of {len(damaged)} edits that do damage lower its rewards",
    ]


def _reads_length(length: Row | None) -> str:
    if length is None or length["where_wrong"] is None:
        return ""
    agreement, wrong = length["agreement"], length["where_wrong"]
    if not (agreement["low"] >= AGREEMENT and wrong["high"] < 0.5):
        return ""
    return (
        f"it ranks as the {length['rule']} response in {_said(agreement)} of the pairs, and where that rule is wrong "
        f"it is right in {_said(wrong)}"
    )


def _may_read_length(length: Row | None) -> str:
    """Why "robust" could be said of a model that counts words as well; nothing if it could not."""
    if length is None or not length["agreement"]["low"] >= AGREEMENT:
        return ""
    agreement, wrong = length["agreement"], length["where_wrong"]
    if wrong is None:
        where = "that rule is wrong in none of them"
    elif wrong["low"] > 0.5:
        return ""
    else:
        where = f"of the {wrong['n']} prompts where that rule is wrong, it is right in {_said(wrong)}"
    return f"it cannot be told from length: it ranks as the {length['rule']} response in {_said(agreement)}; {where}"


def _breaks(row: Row) -> str:
    """Why an edit that keeps the meaning shows that tokens are read; nothing if it does not."""
    found = []
    if row["p_holm"] < LEVEL and row["difference"]["value"] <= -MATERIAL:
        found.append(f"changes the accuracy by {_said(row['difference'])} (p = {row['p_holm']:.2g})")
    if row["flip_rate"]["low"] >= FLIPPED:
        found.append(f"reverses {_said(row['flip_rate'])} of the pairs")
    return f"{_name(row)} {' and '.join(found)}" if found else ""


def _undecided(row: Row) -> str:
    found = []
    if not row["difference"]["low"] > -MATERIAL:
        found.append(f"a drop of {MATERIAL:g} is not excluded ({_said(row['difference'])})")
    if not row["flip_rate"]["high"] < FLIPPED:
        found.append(f"{_said(row['flip_rate'])} of the pairs are reversed")
    return ", ".join(found)


def _name(row: Row) -> str:
    words = row["transformation"].replace("_", " ")
    return f"{words} ({row['side']}, strength {row['strength']:g})" if row["family"] != "rewrites" else words


def _said(interval: Row) -> str:
    if interval["n"] < 2:  # no limits
        return f"{interval['value']:.3f}"
    return f"{interval['value']:.3f} [{interval['low']:.3f}, {interval['high']:.3f}]"
