"""The summary of a stress test, from the rows in its folder and from nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from llm_experiments.baselines import TIES
from llm_experiments.stress.catalogue import DEFAULT_SUITE, by_name
from llm_experiments.stress.folder import ORIGINAL, ORIGINALS
from llm_experiments.stress.measures import (
    LENGTH_RULES,
    Change,
    accuracy_row,
    as_compared,
    by_prompt,
    column,
    difference_row,
    fates,
    foretold,
    length_results,
    length_rule,
    measure,
    near_ties,
    one_sided,
    overall_accuracy,
    rule_results,
    spread_of,
)
from llm_experiments.stress.reliance import SAMPLE, TRAINED
from llm_experiments.stress.shifts import Shift
from llm_experiments.stress.verdict import RULES, TIED, decide
from simulations.results import Row, read_json, read_rows
from simulations.statistics import holm, mcnemar_test

TRAINED_RULES = ("bag_of_tokens", "token_overlap")
KEEPING = tuple(edit.name for edit in by_name(DEFAULT_SUITE) if edit.purpose == "invariance")


@dataclass(frozen=True)
class Scores:
    """What one model's files hold: score rows by shift, and rows of the rules that know its training pairs (if any)."""

    name: str
    about: Row
    originals: list[Row]
    shifted: dict[str, list[Row]]
    rules: dict[str, dict[str, Row]]

    @classmethod
    def read(cls, output: Path, name: str, shifts: Sequence[Shift]) -> "Scores":
        place, reliance = output / "scores" / name, output / "reliance" / name
        names = [ORIGINAL, *(shift.name for shift in shifts)]
        rows = {one: as_compared(read_rows(place / f"{one}.jsonl")) for one in names}
        files = {one: reliance / f"{one}.jsonl" for one in names}
        rules = {one: {row["id"]: row for row in read_rows(path)} for one, path in files.items() if path.exists()}
        about = read_json(place / "model.json") if (place / "model.json").exists() else {}
        return cls(name, about, rows.pop(ORIGINAL), rows, rules)

    @property
    def prompts(self) -> list[str]:
        return [str(row["prompt_hash"]) for row in self.originals]


def summarise_stress(
    output: Path,
    shifts: Sequence[Shift],
    models: Sequence[str],
    *,
    fail_under: float | None = None,
    fail_on: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Row:
    """Everything that summary.json holds (see `llm_experiments.stress.suite`)."""
    scores = [Scores.read(output, name, shifts) for name in models]
    alone = [shift for shift in shifts if not shift.parts]
    table, found = [], []
    for one in scores:
        row, lines = _model_row(one), [_table_row(one, shift) for shift in alone]
        for purpose in ("invariance", "sensitivity"):  # two questions; and within the model: others change no verdict
            _correct([line for line in lines if line["purpose"] == purpose])
        found.append(row | decide(row, lines, KEEPING))
        table += lines
    comparisons = [
        row
        for first, second in combinations(scores, 2)
        for shift in alone
        if shift.purpose == "invariance" and (row := _comparison(first, second, shift)) is not None
    ]
    _correct(comparisons)
    return {
        "models": found,
        "table": table,
        "comparisons": comparisons,
        "grid": [row for one in scores for row in _grid(one, shifts)],
        "notes": [*notes, *_left_out(output, scores), *_notes(scores, shifts)],
        "rules": list(RULES),
        "threshold": fail_under,
        "failures": _failures(found, table, fail_under, fail_on),
    }


def _model_row(scores: Scores) -> Row:
    rows, prompts = scores.originals, scores.prompts
    results = column(rows, "results")
    rules = scores.rules.get(ORIGINAL, {})
    baselines: Row = {rule: accuracy_row(length_results(rows, rule), prompts) for rule in LENGTH_RULES}
    for rule in TRAINED_RULES:
        known = _rule_results(rows, rules, rule)
        baselines[rule] = None if known is None else accuracy_row(known, prompts)
    return {
        "name": scores.name,
        "source": scores.about.get("source", scores.name),
        "kind": rows[0]["kind"],
        "n_pairs": len(rows),
        "n_prompts": len(set(prompts)),
        "accuracy": accuracy_row(results, prompts),
        "tie_rate": float(np.mean(results == 0.5)),
        "near_ties": near_ties(rows),
        "spread": spread_of(rows),
        "subsets": _subsets(rows),
        "length": length_rule(rows),
        "baselines": baselines,
        "cost": scores.about.get("cost", {}),
    }


def _subsets(rows: Sequence[Row]) -> list[Row]:
    """The accuracy of every subset, where there are several."""
    subsets: dict[str, list[Row]] = {}
    for row in rows:
        subsets.setdefault(row["subset"], []).append(row)
    return [
        {
            "subset": name,
            "n_pairs": len(some),
            "accuracy": accuracy_row(column(some, "results"), [str(row["prompt_hash"]) for row in some]),
        }
        for name, some in subsets.items()
        if len(subsets) > 1
    ]


def _table_row(scores: Scores, shift: Shift) -> Row:
    rows = scores.shifted[shift.name]
    change = Change.of(scores.originals, rows)
    row = {
        "name": shift.name,
        "model": scores.name,
        "transformation": shift.transformation,
        "family": shift.family,
        "purpose": shift.purpose,
        "strength": shift.strength,
        "side": shift.side,
        "description": shift.description,
        **fates(rows),
        "n_one_sided": one_sided(rows) if shift.purpose == "invariance" else None,
        "accuracy_overall": overall_accuracy(rows),
        **measure(change, purpose=shift.purpose, spread=spread_of(scores.originals)),
    }
    before, after = scores.rules.get(ORIGINAL, {}), scores.rules.get(shift.name, {})
    baselines: Row = {
        rule: _before_after(length_results(change.before, rule), length_results(change.after, rule))
        for rule in LENGTH_RULES
    }
    for rule in TRAINED_RULES:
        baselines[rule] = _before_after(
            _rule_results(change.before, before, rule), _rule_results(change.after, after, rule)
        )
    overlap, coefficient = (foretold(change, before, after, rule) for rule in ("token_overlap", "coefficient"))
    reliance = {"overlap": overlap["r"], "coefficient": coefficient["r"], "n_coefficient": coefficient["n"]}
    return row | {"baselines": baselines, "token_reliance": reliance}


def _rule_results(rows: Sequence[Row], rules: Mapping[str, Row], rule: str) -> np.ndarray | None:
    if not rules or not rows:
        return None
    return rule_results([rules[row["id"]] for row in rows], rule, TIES[rule])


def _before_after(before: np.ndarray | None, after: np.ndarray | None) -> Row | None:
    if before is None or after is None or not len(before):
        return None
    return {"before": float(before.mean()), "after": float(after.mean())}


def _correct(rows: Sequence[Row]) -> None:
    """Holm over all rows that have a p-value."""
    tested = [row for row in rows if row["p_value"] is not None]
    for row in rows:
        row["p_holm"] = None
    for row, p in zip(tested, holm([row["p_value"] for row in tested]), strict=True):
        row["p_holm"] = p


def _comparison(first: Scores, second: Scores, shift: Shift) -> Row | None:
    """Does the shift change one model's accuracy more than the other's? On pairs that both scored, before and after."""
    one, other = (Change.of(scores.originals, scores.shifted[shift.name]) for scores in (first, second))
    ids = set(other.ids)
    common = [name for name in one.ids if name in ids]
    if not common:
        return None
    prompts = dict(zip(one.ids, one.prompts, strict=True))
    theirs = [prompts[name] for name in common]
    changes = []
    for change in (one, other):
        before, after = change.results()
        moved = dict(zip(change.ids, after - before, strict=True))
        changes.append(np.array([moved[name] for name in common]))
    return {
        "model_a": first.name,
        "model_b": second.name,
        "name": shift.name,
        "transformation": shift.transformation,
        "strength": shift.strength,
        "side": shift.side,
        "n_changed": len(common),
        "difference": difference_row(changes[0] - changes[1], theirs, largest=2.0),
        "p_value": mcnemar_test(*(by_prompt(moved, theirs) for moved in changes)),
    }


def _grid(scores: Scores, shifts: Sequence[Shift]) -> list[Row]:
    """Edits of the prompt and of the responses, alone and together, on the pairs that all three changed."""
    rows = []
    for shift in shifts:
        if not shift.parts:
            continue
        changes = [Change.of(scores.originals, scores.shifted[one.name]) for one in (*shift.parts, shift)]
        common = set.intersection(*(set(change.ids) for change in changes))
        names = [part.transformation for part in shift.parts]
        row: Row = {"model": scores.name, "prompt_transformation": names[0], "response_transformation": names[1]}
        row |= {"name": shift.name, "strength": shift.strength, "n_changed": len(common)}
        row |= dict.fromkeys(("accuracy_before", "drop_prompt", "drop_responses", "drop_both", "interaction"))
        if common:
            drops = []
            for change in changes:
                before, after = change.results()
                kept = [number for number, name in enumerate(change.ids) if name in common]
                prompts = [change.prompts[number] for number in kept]
                drops.append((before - after)[kept])
                row["accuracy_before"] = float(before[kept].mean())
            for name, drop in zip(("drop_prompt", "drop_responses", "drop_both"), drops, strict=True):
                row[name] = difference_row(drop, prompts)
            # at most 2, for one "before" is in all three
            row["interaction"] = difference_row(drops[2] - drops[0] - drops[1], prompts, largest=2.0)
        rows.append(row)
    return rows


def kept_of(kept: int, left_out: Mapping[str, int]) -> str:
    """How many pairs there are, of how many, and why the rest is not there."""
    why = ", ".join(f"{n} {reason}" for reason, n in left_out.items())
    return f"kept {kept} of {kept + sum(left_out.values())} pairs, left out: {why}"


def _left_out(output: Path, scores: Sequence[Scores]) -> list[str]:
    """Pairs that a model could not score, and models that were scored in another run into the same folder."""
    notes, given = [], len(read_rows(output / ORIGINALS))
    for one in scores:
        if missing := given - len(one.originals):
            reasons = one.about.get("cost", {}).get(ORIGINAL, {}).get("left_out")
            reasons = reasons or {"for a reason that this folder does not hold": missing}
            notes.append(f"{one.name}: {kept_of(len(one.originals), reasons)}")
    there = {path.parent.name for path in (output / "scores").glob(f"*/{ORIGINAL}.jsonl")}
    if others := sorted(there - {one.name for one in scores}):
        notes.append(f"scored in this folder, but not asked for this time and left out: {', '.join(others)}")
    return notes


def _notes(scores: Sequence[Scores], shifts: Sequence[Shift]) -> list[str]:
    notes = [f"{one.name}: {note}" for one in scores for note in one.about.get("notes", ())]
    for one in scores:
        tied = float(np.mean(column(one.originals, "results") == 0.5))
        if tied > TIED:
            near = near_ties(one.originals)
            notes.append(
                f"{one.name}: {tied:.3f} of the original pairs are ties, which count one half; in {near:.3f} the "
                "rewards do differ, by no more than --tie_tolerance"
            )
    for one in scores:
        if not one.rules:
            notes.append(
                f"{one.name}: training pairs unknown; with --train_pairs: do their tokens foretell the changes?"
            )
        elif any(row["coefficient_chosen"] is not None for row in one.rules.get(ORIGINAL, {}).values()):
            notes.append(f"{one.name}: the theory's coefficient is of at most {SAMPLE} and {TRAINED} training pairs")
    for one in scores:
        cost = [one.about.get("cost", {}).get(name) for name in (ORIGINAL, *(shift.name for shift in shifts))]
        if cost and all(cost):
            all_of, computed, asked = (  # folders from before know nothing of the reference
                sum(part.get(key, 0) for part in cost) for key in ("responses", "computed", "reference")
            )
            reference = f" ({asked} by the reference too)" if asked else ""
            notes.append(
                f"{one.name}: {computed} of {all_of} rewards had to be computed{reference}, the others are of "
                "texts already scored"
            )
    return notes


def _failures(
    models: Sequence[Row], table: Sequence[Row], threshold: float | None, fail_on: Sequence[str]
) -> list[str]:
    """Verdicts not wanted, and accuracies (not limits) below the threshold, of the pairs as they were too."""
    found = [f"{model['name']} is {model['verdict']}" for model in models if model["verdict"] in fail_on]
    if threshold is None:
        return found
    shares = [(model["name"], model["accuracy"]["value"], "the original pairs") for model in models]
    shares += [
        (row["model"], row["accuracy_overall"], f"all pairs after {row['name']}")
        for row in table
        if row["purpose"] == "invariance" and row["n_prompts"]
    ]
    less = f"less than {threshold:g}"
    return found + [f"{name}: {share:.3f} of {pairs}, {less}" for name, share, pairs in shares if share < threshold]
