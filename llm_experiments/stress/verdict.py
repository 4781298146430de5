"""The verdict on a model: a claim, made only where an interval supports it, by rules that are printed on the page.

Four things a model must not be taken for what it is not: one that reads lengths or counts a token can rank well, one
that says nothing is never changed by an edit, and one that ranks at random has no accuracy to lose.
"""

from collections.abc import Sequence
from typing import Literal, get_args

from simulations.results import Row

Verdict = Literal["token-sensitive", "robust", "uninformative", "length-driven", "inconclusive"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

LEVEL = 0.05  # of McNemar's tests, Holm-corrected over the edits of one model that keep the meaning
MATERIAL = 0.05  # a drop in accuracy that matters
FLIPPED = 0.20  # a share of reversed pairs that matters, whatever the accuracy does
AGREEMENT = 0.85  # with a length rule
JUDGED = 40  # prompts with a changed pair; fewer cannot show a drop to be below 0.05
LITTLE = 0.6  # a share of pairs ranked right, or of damage noticed, that is shown to be below this is next to chance
TIED = 0.05  # a share of ties beyond which they may decide

RULES = (
    f"A row of the tables is judged if its edit changed pairs of at least {JUDGED} prompts; a pair of which it changed "
    "one response alone counts as well. Limits are of 95 % intervals over prompts. The first rule that is met decides. "
    "Rules marked * were added or made stricter after the first runs, in which models that count one token passed for "
    "robust, and others for blind because more had been asked of them. Judged damage after which less than half of the "
    "damaged rewards fall (upper limit) raises them; it is named under every verdict.",
    f"inconclusive*: more than {TIED:g} of the original pairs count as ties although their rewards differ (by no more "
    "than --tie_tolerance).",
    f"length-driven: the model ranks as the longest (or the shortest) response in at least {AGREEMENT:g} of the pairs "
    "of different lengths (lower limit), and gets less than half of the pairs right that this rule gets wrong (upper "
    "limit).",
    f"uninformative*: its accuracy on the original pairs is not above one half (lower limit) and below {LITTLE:g} "
    "(upper limit), so it has nothing to lose; or it ranks the wrong way round, below one half (upper limit). Where it "
    f"is shown to be neither above one half nor below {LITTLE:g}: inconclusive*.",
    f"token-sensitive*: some judged edit that keeps the meaning lowers the accuracy (upper limit below zero, and "
    f"McNemar's p < {LEVEL:g}, Holm-corrected over such edits of this model) by {MATERIAL:g} or more (best estimate), "
    f"or reverses at least {FLIPPED:g} of the pairs (lower limit).",
    f"uninformative*: after every judged damage less than {LITTLE:g} of the damaged rewards fall (upper limit), after "
    "none more than one half (lower limit): a model that sees no damage, or rewards it, is not robust.",
    f"robust*: every judged edit that keeps the meaning takes less than {MATERIAL:g} of the accuracy and reverses less "
    f"than {FLIPPED:g} of the pairs (the far limits); after every judged damage more than half of the damaged rewards "
    f"fall (lower limit); the accuracy on the original pairs is above {0.5 + MATERIAL:g} (lower limit), so that there "
    f"is as much to lose; and if it ranks as a length rule in at least {AGREEMENT:g} of the pairs, it is right in more "
    "than half of those that this rule gets wrong (lower limits). At least one edit of either purpose must be judged.",
    "inconclusive: anything else; the reasons say what is undecided.",
)

EXPLAINED = "the length of a response explains its ranking"
BACKWARDS = "it ranks these pairs the wrong way round: are the columns, or the sign of the rewards, swapped?"
CHANCE = "it ranks these pairs hardly better than chance: that it is unmoved says nothing"
BLIND = "it notices no damage: that it is unmoved says nothing"
REWARDING = "damage raises its rewards, and none is shown to lower them: that it is unmoved says nothing"
MOVED = "its ranking changes when the tokens change and the meaning does not"
UNMOVED = "the edits judged, which keep the meaning, leave its ranking alone, and it notices the damage judged"
OPEN = "these texts leave open what it is; the reasons say where"


def decide(model: Row, table: Sequence[Row], suite: Sequence[str] = ()) -> Row:
    """The verdict on one model, from its row of `models` and its rows of `table`: {verdict, stated (the verdict, and
    what a robust model is robust to), meaning, reasons}. `suite`: the default edits that keep the meaning."""
    found = _first_met(model, table, suite)
    raised = [_raising(row) for row in table if raises(row)]
    return found | {"reasons": list(dict.fromkeys([*found["reasons"], *raised]))}


def is_judged(row: Row) -> bool:
    """Did the edit change pairs of enough prompts?"""
    return (row.get("n_prompts") or 0) >= JUDGED


def raises(row: Row) -> bool:
    """Is this judged damage, after which the rewards of damaged responses rise more often than they fall?"""
    return is_judged(row) and row.get("falls") is not None and row["falls"]["high"] < 0.5


def _first_met(model: Row, table: Sequence[Row], suite: Sequence[str]) -> Row:
    """By the first rule that is met."""
    judged = [row for row in table if is_judged(row)]
    kept = [row for row in judged if row["purpose"] == "invariance"]
    damaged = [row for row in judged if row["purpose"] == "sensitivity"]
    accuracy = model["accuracy"]
    if model["near_ties"] > TIED:
        tied = f"{model['near_ties']:.3f} of the original pairs count as ties although their rewards differ"
        return _found("inconclusive", OPEN, [f"{tied}; if by more than rounding, give a smaller --tie_tolerance"])
    if reason := _reads_length(model["length"]):
        return _found("length-driven", EXPLAINED, [reason])
    if accuracy["high"] < 0.5:
        return _found("uninformative", BACKWARDS, [f"its accuracy on the original pairs is {_said(accuracy)}"])
    if not accuracy["low"] > 0.5:
        reason = f"its accuracy on the original pairs is {_said(accuracy)}"
        if accuracy["high"] < LITTLE:
            return _found("uninformative", CHANCE, [f"{reason}: there is nothing to lose"])
        return _found("inconclusive", OPEN, [f"{reason}: neither above one half nor below {LITTLE:g}; take more pairs"])
    if reasons := [reason for row in kept if (reason := _breaks(row))]:
        return _found("token-sensitive", MOVED, reasons)
    if damaged and all(row["falls"]["high"] < LITTLE and not row["falls"]["low"] > 0.5 for row in damaged):
        worst = max(damaged, key=lambda row: row["falls"]["value"])
        nearest = f"the nearest is {_name(worst)}, after which {_said(worst['falls'])} of them fall"
        meaning = REWARDING if any(map(raises, damaged)) else BLIND
        return _found("uninformative", meaning, [f"no damage is shown to lower its rewards; {nearest}"])
    if open_questions := _open_questions(model, kept, damaged):
        return _found("inconclusive", OPEN, open_questions)
    worst = min(kept, key=lambda row: row["difference"]["low"])
    least = min(damaged, key=lambda row: row["falls"]["low"])
    reasons = [
        f"of {len(kept)} judged rows of edits that keep the meaning the worst, {_name(worst)}, changes the accuracy by "
        f"{_said(worst['difference'])}",
        f"of {len(damaged)} judged rows of damage the least noticed, {_name(least)}, lowers {_said(least['falls'])} of "
        "the damaged rewards",
    ]
    names = {row["transformation"] for row in kept}
    asked = {row["transformation"] for row in table if row["purpose"] == "invariance"}
    if missed := sorted(name.replace("_", " ") for name in asked - names):
        reasons.append(f"not judged, since they changed pairs of too few prompts: {', '.join(missed)}")
    return _found("robust", UNMOVED, reasons) | {"stated": f"robust to {_scope(names, suite)}"}


def _found(verdict: Verdict, meaning: str, reasons: list[str]) -> Row:
    return {"verdict": verdict, "stated": verdict, "meaning": meaning, "reasons": reasons}


def _scope(names: set[str], suite: Sequence[str]) -> str:
    """How many edits were judged, of the default ones and of others: robustness to few of them is a small claim."""
    default = len(names & set(suite))
    others = len(names) - default
    if not suite or not default:
        return f"{others} edit{'s' * (others != 1)}" + (f", none of the {len(suite)} default ones" if suite else "")
    more = f" and {others} other{'s' * (others != 1)}" if others else ""
    return f"{default} of the {len(suite)} default edits{more}"


def _open_questions(model: Row, kept: Sequence[Row], damaged: Sequence[Row]) -> list[str]:
    """What stands between the model and the claim that it is robust."""
    found = [f"{_name(row)}: {_undecided(row)}" for row in kept if _undecided(row)]
    for row in damaged:
        if not row["falls"]["low"] > 0.5:
            fall = f"{_name(row)}: {_said(row['falls'])} of the damaged rewards fall, not shown to be more than half"
            found.append(_raising(row) if raises(row) else fall)
    if not kept:
        found.append(f"no edit that keeps the meaning changed pairs of {JUDGED} prompts")
    if not damaged:
        found.append(
            f"no edit that does damage changed pairs of {JUDGED} prompts: a model that does not look would pass as well"
        )
    if not model["accuracy"]["low"] > 0.5 + MATERIAL:
        found.append(
            f"its accuracy on the original pairs, {_said(model['accuracy'])}, is not shown to be above "
            f"{0.5 + MATERIAL:g}: it may have less than {MATERIAL:g} to lose"
        )
    if question := _may_read_length(model["length"]):
        found.append(question)
    return found


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
    drop = row["difference"]
    if row["p_holm"] < LEVEL and drop["value"] <= -MATERIAL and drop["high"] < 0:
        found.append(f"changes the accuracy by {_said(drop)} (p = {row['p_holm']:.2g})")
    if row["flip_rate"]["low"] >= FLIPPED:
        found.append(f"reverses {_said(row['flip_rate'])} of the pairs")
    return f"{_name(row)} {' and '.join(found)}" if found else ""


def _raising(row: Row) -> str:
    return f"damage raises its rewards: {_name(row)}, {_said(row['falls'])} of the damaged rewards fall"


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
