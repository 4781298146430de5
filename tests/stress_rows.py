"""A folder as `rewardgap stress` leaves it, made by hand: rewards that fall under some edits, texts to mark up."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from simulations.results import Row, write_json, write_rows

EDITS = (  # name, purpose, side, mean fall of the margin at strength 1
    ("lowercase", "invariance", "responses", 0.9),
    ("double_spaces", "invariance", "responses", 0.5),
    ("typos", "invariance", "prompt", 0.05),
    ("filler_sentence", "invariance", "responses", 0.3),
    ("shuffled_words", "sensitivity", "chosen", 1.2),
)
TALK = "The answer depends on colour, on taste and on 12 other things that nobody wrote down before the meeting"
WORDS = TALK.split()
MODELS = (("tiny-rm", "explicit", 1.0), ("tiny-dpo", "implicit", 2.5))

HOSTILE = (
    "</script><script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">"
    "<a href='javascript:document.title=1' onmouseover=alert(1)>&lt;b&gt; \u2028 \x00 \ud83d \u202e <!-- </div>"
)


def sentence(generator: np.random.Generator, length: int) -> str:
    return " ".join(WORDS[i] for i in generator.integers(len(WORDS), size=length)) + "."


def edited(name: str, text: str, generator: np.random.Generator) -> str:
    if name == "lowercase":
        return text.lower()
    if name == "double_spaces":
        return text.replace(" on ", "  on ").replace(". ", ".\n")
    if name == "filler_sentence":
        return "It is worth noting the following. " + text
    words = text.split(" ")
    if name == "shuffled_words":
        return " ".join(words[i] for i in generator.permutation(len(words)))
    places = set(generator.integers(len(words), size=len(words) // 8 + 1).tolist())
    return " ".join(word[::-1] if place in places else word for place, word in enumerate(words))


def interval(values: np.ndarray) -> Row:
    half = 1.96 * float(np.std(values)) / max(len(values), 1) ** 0.5
    return {
        "value": float(np.mean(values)),
        "low": float(np.mean(values)) - half,
        "high": float(np.mean(values)) + half,
    }


def around(value: float) -> Row:
    return {"value": value, "low": value - 0.06, "high": value + 0.06, "n": 40}


def write_run(
    folder: Path,
    *,
    pairs: int = 40,
    length: int = 60,
    strengths: Sequence[float] = (1.0,),
    models: Sequence[tuple[str, str, float]] = MODELS,
    grid: bool = True,
    hostile: str | None = None,
) -> Row:
    """Write the run, return its summary. `hostile` is the first pair's id, subset and chosen response."""
    generator = np.random.default_rng(0)
    originals = [
        {
            "id": f"pair-{i}",
            "subset": "chat" if i % 2 else "",
            "prompt": sentence(generator, length // 3),
            "chosen": sentence(generator, length),
            "rejected": sentence(generator, length),
        }
        for i in range(pairs)
    ]
    if hostile is not None:
        originals[0] |= {"id": hostile, "subset": hostile, "chosen": hostile}
    write_rows(folder / "originals.jsonl", originals)
    margins = generator.normal(1.0, 1.3, size=pairs)
    rewards = {}
    for name, _, scale in models:
        rewards[name] = np.stack([scale * margins / 2, -scale * margins / 2])
        write_rows(folder / f"scores/{name}/original.jsonl", scores(originals, rewards[name], "changed"))
    table = []
    for edit, purpose, side, fall in EDITS:
        for strength in strengths:
            name = f"{edit}@{strength:g}@{side}"
            texts = []
            for row in originals:
                parts = {"prompt": ["prompt"], "responses": ["chosen", "rejected"], "chosen": ["chosen"]}[side]
                new = {part: edited(edit, row[part], generator) for part in parts}
                texts.append({**row, **new, "side": side, "fate": "changed"})
            write_rows(folder / f"texts/{name}.jsonl", texts)
            for number, (model, _, scale) in enumerate(models):
                moved = strength * fall * scale * generator.normal(1.0, 1.0, size=pairs) * (0.3 if number == 0 else 1)
                after = rewards[model] - np.stack([moved, np.zeros(pairs)])
                write_rows(folder / f"scores/{model}/{name}.jsonl", scores(originals, after, "changed"))
                table.append(line(model, edit, purpose, side, strength, rewards[model], after))
    summary = {
        "models": [
            {
                "name": name,
                "kind": kind,
                "accuracy": {**interval(margins > 0), "n": pairs},
                "spread": float(np.std(rewards[name])),
                "verdict": "robust" if number == 0 else "token-sensitive",
                "reasons": ["lowercase costs 0.12 [0.05, 0.19] of the accuracy, p 0.002 after Holm"],
                "length": {
                    "rule": "longest",
                    "agreement": {"value": 0.58, "low": 0.5, "high": 0.66},
                    "where_wrong": None,
                },
                "baselines": {
                    "longest": {"value": 0.55, "low": 0.4, "high": 0.7},
                    "shortest": {"value": 0.45, "low": 0.3, "high": 0.6},
                    "bag_of_tokens": None,
                    "token_overlap": None,
                },
            }
            for number, (name, kind, _) in enumerate(models)
        ],
        "table": table,
        "comparisons": [
            {
                "model_a": models[0][0],
                "model_b": models[-1][0],
                "transformation": edit,
                "strength": strengths[-1],
                "side": side,
                "n_changed": pairs,
                "difference": around(fall / 5),
                "p_holm": 0.04,
            }
            for edit, purpose, side, fall in EDITS
            if len(models) > 1 and purpose == "invariance"
        ],
        "grid": [
            {
                "model": name,
                "prompt_transformation": prompt,
                "response_transformation": other,
                "strength": 1.0,
                "n_changed": pairs,
                "accuracy_before": 0.72,
                "drop_prompt": around(0.03 * i),
                "drop_responses": around(0.05 * j),
                "drop_both": around(0.03 * i + 0.05 * j + 0.05 * i * j),
                "interaction": around(0.05 * i * j),
            }
            for name, *_ in models
            for i, prompt in enumerate(("typos", "lowercase"))
            for j, other in enumerate(("lowercase", "double_spaces", "filler_sentence"))
            if grid
        ],
        "notes": ["12 texts were longer than the model reads and were left out"],
        "failures": [],
        "rules": [
            "uninformative: the interval of the accuracy on the original pairs holds one half.",
            "token-sensitive: an edit that keeps the meaning lowers the accuracy by 0.05 or more (p < 0.05).",
            "inconclusive: none of these.",
        ],
    }
    write_json(folder / "summary.json", summary)
    write_json(folder / "config.json", {"model": [name for name, *_ in models], "seed": 0})
    write_json(folder / "provenance.json", {"commit": "abc", "versions": {"numpy": "2"}})
    return summary


def scores(originals: Sequence[Row], rewards: np.ndarray, fate: str) -> list[Row]:
    return [
        {
            "id": row["id"],
            "subset": row["subset"],
            "scores_chosen": float(rewards[0, i]),
            "scores_rejected": float(rewards[1, i]),
            "results": float(rewards[0, i] > rewards[1, i]),
            "fate": fate,
        }
        for i, row in enumerate(originals)
    ]


def line(model: str, edit: str, purpose: str, side: str, strength: float, before: np.ndarray, after: np.ndarray) -> Row:
    old, new = before[0] - before[1], after[0] - after[1]
    difference = interval((new > 0) * 1.0 - (old > 0))
    return {
        "name": f"{edit}@{strength:g}@{side}",
        "model": model,
        "transformation": edit,
        "family": edit,
        "purpose": purpose,
        "strength": strength,
        "side": side,
        "n_pairs": len(old),
        "n_changed": len(old) - 2,
        "n_unchanged": 0,
        "n_rejected": 2,
        "rejected_reasons": {"numbers_changed": 2},
        "n_prompts": len(old),
        "accuracy_before": float(np.mean(old > 0)),
        "accuracy_after": float(np.mean(new > 0)),
        "difference": difference,
        "p_value": 0.001,
        "p_holm": 0.0004 if difference["high"] < 0 else 0.31,
        "flip_rate": interval((new > 0) != (old > 0)),
        "margin_shift": interval(new - old),
        "drift": float(np.mean(np.abs(new - old)) / 2),
        "rank_correlation": float(np.corrcoef(old, new)[0, 1]),
        "falls": interval((after[0] < before[0]) * 1.0) if purpose == "sensitivity" else None,
        "tokens_before": 61.0,
        "tokens_after": 68.2,
        "length_correlation": 0.12,
        "baselines": {
            "longest": {"before": 0.55, "after": 0.52},
            "shortest": {"before": 0.45, "after": 0.48},
            "bag_of_tokens": None,
            "token_overlap": None,
        },
        "token_reliance": {"overlap": None, "coefficient": None, "n_coefficient": 0},
        "description": "every letter in lower case, code and URLs kept" if edit == "lowercase" else "made up here",
    }
