"""The page of a stress test: verdict, table, curves, examples and comparisons in one file that works offline.

Everything on it is computed from the run's folder. The page has one script, for sorting, filtering and the theme; the
page's own policy names that script by its hash, so that nothing else can run, wherever a text came from.
"""

import base64
import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from figures.page import TEMPLATES, page
from figures.scales import OUTLINES, Scale, around, limits
from figures.story_page import flatten
from figures.stress_examples import worst_examples
from figures.word_changes import visible
from llm_experiments.stress.verdict import JUDGED, LEVEL, is_judged, raises
from simulations.results import Row, UserError, read_json, write_text

LARGEST = 5_000_000  # bytes
EXAMPLES = (5, 3, 1, 0)  # of every line of the table; the first number with which the page is small enough
WHISKER = (6.0, 144.0)  # start and stop of the axis, in the picture's 150 units

MARKS = {  # of the verdicts
    "token-sensitive": ("✗", "bad"),
    "robust": ("✓", "good"),
    "uninformative": ("?", "open"),
    "length-driven": ("✗", "bad"),
    "inconclusive": ("?", "open"),
}
BASELINES = {
    "longest": "longest response",
    "shortest": "shortest response",
    "bag_of_tokens": "bag of tokens",
    "token_overlap": "token overlap",
}
CHOICES = ("model", "transformation", "purpose", "side")  # what the filters choose among
LINE = ("model", "transformation", "strength", "side")  # what names a line of the table
MODEL_FIELDS = ("kind", "spread", "accuracy", "meaning", "stated", "subsets", "reasons", "baselines", "length")
LINE_FIELDS = (
    *("side", "description", "n_pairs", "n_changed", "n_one_sided", "difference", "falls", "p_holm"),
    *("flip_rate", "margin_shift", "drift", "rank_correlation"),
)
UNKNOWN = "training pairs unknown"


def write_stress(folder: Path) -> Path:
    """Write `folder`/report.html from the files of a `rewardgap stress` run there; returns its path.

    What is missing beside summary.json is named in a line of the page.

    Raises:
        UserError: `folder` has no readable summary.json, or it is not that of a stress test.
    """
    summary = read_json(folder / "summary.json")
    for name in ("models", "table"):
        if not isinstance(summary, Mapping) or not isinstance(summary.get(name), list):
            raise UserError(f"{folder / 'summary.json'}: no list {name!r}; run `rewardgap stress` again")
    summary = shown(summary)
    for keep in EXAMPLES:
        text = _page(folder, summary, keep)
        if len(text.encode("utf-8")) < LARGEST:
            break
    path = folder / "report.html"
    write_text(path, text)
    return path


def _page(folder: Path, summary: Row, keep: int) -> str:
    models, comparisons = summary["models"], summary.get("comparisons") or []
    table = side_by_side(summary["table"])
    examples, missing = worst_examples(folder, table, keep=keep) if keep else ([], [])
    style, script = ((TEMPLATES / f"stress.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    reliance = [row.get("token_reliance") or {} for row in table]
    return page(
        "stress.html.jinja",
        style=Markup(style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii"),
        headline=headline(models),
        lede=lede(models, table),
        failures=summary.get("failures") or [],
        models=[dict.fromkeys(MODEL_FIELDS) | model for model in models],
        many=len(models) > 1,
        several=len({row["strength"] for row in table}) > 1,
        outlines=outlines(models),
        marks=MARKS,
        baselines=BASELINES,
        accuracy_scale=Scale(0, 1, *WHISKER),
        rules=summary.get("rules") or [],
        level=LEVEL,
        judged=JUDGED,
        kept=[_cells(row, examples) for row in table if row["purpose"] == "invariance"],
        damaged=[_cells(row, examples) for row in table if row["purpose"] == "sensitivity"],
        scale=_scale(row for row in table if row["purpose"] == "invariance"),
        unknown=UNKNOWN,
        reliance_known=any(one.get(name) is not None for one in reliance for name in ("overlap", "coefficient")),
        coefficient_known=any(one.get("coefficient") is not None for one in reliance),
        choices={name: list(dict.fromkeys(str(row[name]) for row in table if row.get(name))) for name in CHOICES},
        curves=curves(table),
        examples=examples,
        keep=keep,
        missing=missing,
        comparisons=comparisons,
        comparison_scale=_scale(comparisons),
        grids=grids(summary.get("grid") or []),
        notes=summary.get("notes") or [],
        settings=flatten(_known(folder / "config.json")) + flatten(_origin(folder)),
        **{function.__name__: function for function in (signed, two, interval, p_value, words, limits, breakable)},
    )


def shown(value: Any) -> Any:
    """JSON with all text made visible: a name or a note may hold what a browser hides or a file cannot store."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible(str(name)): shown(item) for name, item in value.items()}
    return [shown(item) for item in value] if isinstance(value, list) else value


def headline(models: Sequence[Row]) -> str:
    """What the run found, in one sentence: the verdict and what a robust model is robust to, or how many share each."""
    said = [model.get("stated") or model["verdict"] for model in models]
    if len(models) == 1:
        return f"{models[0]['name']} is {said[0]}"
    if len(set(said)) == 1:
        return f"{'Both' if len(models) == 2 else f'All {len(models)}'} models are {said[0]}"
    order = {name: place for place, name in enumerate(MARKS)}
    tally = Counter(sorted(zip((order[model["verdict"]] for model in models), said, strict=True)))
    found = [f"{count} {'is' if count == 1 else 'are'} {name}" for (_, name), count in tally.items()]
    return f"Of {len(models)} models, " + _listed(found)


def lede(models: Sequence[Row], table: Sequence[Row]) -> str:
    """The largest loss under a single edit that keeps the meaning and was judged, with its numbers."""
    known = [
        row
        for row in table
        if row["purpose"] == "invariance"
        and row.get("side") != "both"
        and is_judged(row)
        and limits(row.get("difference"))
    ]
    if not known:
        return f"No edit that keeps the meaning changed pairs of {JUDGED} prompts, so none was judged."
    row = min(known, key=lambda row: row["difference"]["value"])
    who = f" of {row['model']}" if len(models) > 1 else ""
    name, difference = words(row["transformation"]), interval(row["difference"], signs=True)
    if row["difference"]["value"] >= 0:
        return (
            f"No judged edit that keeps the meaning lowered the accuracy{who}; nearest to a loss, {name}: {difference}."
        )
    before, after = two(row.get("accuracy_before")), two(row.get("accuracy_after"))
    return (
        f"The largest loss{who} under a judged edit that keeps the meaning: {name} takes the accuracy from {before} to "
        f"{after}, a change of {difference} on {row['n_changed']} changed pairs."
    )


def outlines(models: Sequence[Row]) -> dict[str, str]:
    """A marker for every model, so that colour is never the only thing that tells them apart."""
    return {model["name"]: OUTLINES[number % len(OUTLINES)] for number, model in enumerate(models)}


def _cells(row: Row, examples: Sequence[Row]) -> Row:
    """A line of the table with every field that the template reads, and the number of its worst example."""
    reliance = row.get("token_reliance") or {}
    own = [one["number"] for one in examples if all(one[name] == row.get(name) for name in LINE)]
    return {
        **dict.fromkeys(LINE_FIELDS),
        **row,
        "description": None if row.get("description") in (None, words(row["transformation"])) else row["description"],
        "overlap": reliance.get("overlap"),
        "coefficient": reliance.get("coefficient"),
        "example": min(own, default=None),
        "more": _more(row),
        "unjudged": None if is_judged(row) else f"{row.get('n_prompts') or 0} of {JUDGED} prompts",
        "raised": raises(row),
    }


def side_by_side(table: Sequence[Row]) -> list[Row]:
    """The lines with what an edit did to one model next to what it did to the others; otherwise as they were."""
    place = {name: number for number, name in enumerate(dict.fromkeys(row["name"] for row in table))}
    return sorted(table, key=lambda row: place[row["name"]])


def _more(row: Row) -> list[tuple[str, str]]:
    """What a line of the table says only when it is asked: counts, lengths, baselines before and after."""
    lines = [
        ("prompts", row.get("n_prompts")),
        ("pairs unchanged", row.get("n_unchanged")),
        *((f"rejected: {words(reason)}", n) for reason, n in (row.get("rejected_reasons") or {}).items()),
    ]
    if row.get("tokens_before") is not None and row.get("tokens_after") is not None:
        lines.append(("tokens of a response", f"{row['tokens_before']:.0f} → {row['tokens_after']:.0f}"))
    if row.get("length_correlation") is not None:
        lines.append(("correlation with length", two(row["length_correlation"])))
    for name, both in (row.get("baselines") or {}).items() if row["n_changed"] else ():
        lines.append((BASELINES[name], f"{two(both['before'])} → {two(both['after'])}" if both else UNKNOWN))
    return [(name, str(value)) for name, value in lines if value is not None]


def curves(table: Sequence[Row]) -> list[Row]:
    """One panel for every transformation and side that was run at several strengths; a line per model."""
    panels: dict[tuple[str, str], dict[str, list[Row]]] = {}
    for row in sorted(table, key=lambda row: row["strength"]):
        if limits(row.get("difference")):
            key = (row["transformation"], row.get("side") or "")
            panels.setdefault(key, {}).setdefault(row["model"], []).append(row)
    drawn = {key: lines for key, lines in panels.items() if any(len(line) > 1 for line in lines.values())}
    rows = [row for lines in drawn.values() for line in lines.values() for row in line]
    across = Scale(0, max((row["strength"] for row in rows), default=1) or 1, 40, 226)
    upright = around((x for row in rows for x in limits(row["difference"])), 128, 10)
    return [
        {
            "transformation": key[0],
            "side": key[1],
            "purpose": next(iter(lines.values()))[0].get("purpose") or "",
            "lines": {model: [_point(row, across, upright) for row in line] for model, line in lines.items()},
            "across": [(across.at(x), f"{x:g}") for x in sorted({0.0, *(row["strength"] for row in rows)})],
            "upright": [(upright.at(y), signed(y)) for y in upright.ticks()],
            "zero": upright.at(0),
        }
        for key, lines in drawn.items()
    ]


def _point(row: Row, across: Scale, upright: Scale) -> Row:
    difference = row["difference"]
    low, high = (difference.get(name) for name in ("low", "high"))
    return {
        "x": across.at(row["strength"]),
        "y": upright.at(difference["value"]),
        "low": None if low is None else upright.at(low),
        "high": None if high is None else upright.at(high),
        "text": f"strength {row['strength']:g}: {interval(difference, signs=True)}",
    }


def grids(rows: Sequence[Row]) -> list[Row]:
    """Per model a table of changes in accuracy: edits of the prompt across, of the responses down; one shading."""
    found = []
    largest = max((abs(x) for row in rows for x in limits(row.get("drop_both"))[:1]), default=0) or 1
    for model in dict.fromkeys(row["model"] for row in rows):
        own = {
            (row["response_transformation"], row["prompt_transformation"]): row for row in rows if row["model"] == model
        }
        prompts = list(dict.fromkeys(prompt for _, prompt in own))
        responses = list(dict.fromkeys(response for response, _ in own))
        cells = {place: _grid_cell(row, largest) for place, row in own.items()}
        lines = [(response, [cells.get((response, prompt)) for prompt in prompts]) for response in responses]
        found.append({"model": model, "prompts": prompts, "lines": lines})
    return found


def _grid_cell(row: Row, largest: float) -> Row:
    """Changes, where the row has drops; the interaction is what is lost beyond the two edits alone."""
    changes = {name: _turned(row.get(f"drop_{name}")) for name in ("both", "prompt", "responses")}
    beyond = _turned(row.get("interaction"))
    return {
        **changes,
        "shade": round(100 * abs(changes["both"]["value"]) / largest) if limits(changes["both"]) else 0,
        "interaction": beyond,
        "notable": len(limits(beyond)) == 3 and not beyond["low"] <= 0 <= beyond["high"],
        "n": row["n_changed"],
    }


def _turned(estimate: Row | None) -> Row:
    """An interval with its sign turned; what is not known stays so."""
    if not limits(estimate):
        return {}
    ends = {"value": "value", "low": "high", "high": "low"}
    return {name: None if estimate.get(end) is None else -estimate[end] for name, end in ends.items()}


def _scale(rows: Iterable[Row]) -> Scale:
    return around((x for row in rows for x in limits(row.get("difference"))), *WHISKER)


def two(x: float | None) -> str:
    """Two decimals with a true minus; a dash for no number."""
    if x is None or not math.isfinite(x):
        return "–"
    text = f"{x:.2f}" if abs(x) < 1000 else f"{x:,.0f}"
    return text.replace("-0.00", "0.00").replace("-", "−")


def signed(x: float | None) -> str:
    text = two(x)
    return text if text[0] in "−–" or text == "0.00" else "+" + text


def interval(estimate: Mapping[str, Any] | None, *, signs: bool = False) -> str:
    """`0.81 [0.77, 0.84]`"""
    if not limits(estimate):
        return "–"
    write = signed if signs else two
    ends = f" [{write(estimate['low'])}, {write(estimate['high'])}]" if len(limits(estimate)) == 3 else ""
    return write(estimate["value"]) + ends


def p_value(p: float | None) -> str:
    if p is None or not math.isfinite(p):
        return "–"
    return "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def words(name: str) -> str:
    return str(name).replace("_", " ")


def breakable(name: str) -> Markup:
    """A name of a model, which may break onto the next line after a sign but not within a word."""
    return Markup("<wbr>").join(escape(part) for part in re.split(r"(?<=[/_\-.])", str(name)))


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def _origin(folder: Path) -> Row:
    """Where the run was computed; of the reruns when, and from which commit."""
    found = _known(folder / "provenance.json")
    if later := found.get("continued"):
        found["continued"] = ", ".join(f"{run['created']} from {run['commit']}" for run in later)
    return found


def _known(path: Path) -> Row:
    found = read_json(path) if path.exists() else {}
    return shown(found) if isinstance(found, Mapping) else {}
