"""What the studies on real pairs report: per category both kinds, their difference, and what length explains."""

from collections.abc import Mapping, Sequence

import numpy as np

from llm_experiments.tasks.language_claims import NAMES
from llm_experiments.tasks.real_pairs import CATEGORIES, QUANTILES
from simulations.interval_claims import interval_claim
from simulations.results import Claim, Row
from simulations.statistics import mean_interval, sign_flip_test

# Razin et al. (2025), trained on UltraFeedback, means over six models of 1B to 8B parameters
PUBLISHED = {
    ("in-distribution", "explicit"): "0.752",
    ("in-distribution", "implicit"): "0.646",
    ("token-level shift", "explicit"): "0.665",
    ("token-level shift", "implicit"): "0.602",
    ("domain shift", "explicit"): "0.621",
    ("domain shift", "implicit"): "0.720",
}
MEASURES = {
    "accuracy": "accuracy",
    "normalised_margin": "normalised absolute margin",
    "length_matched": "accuracy on pairs of nearly equal length",
    "length_residual": "accuracy without what length explains",
    "baseline_longest": "the longer response wins",
    "baseline_bag_of_tokens": "a prompt-blind bag of tokens",
    "baseline_token_overlap": "token overlap with the training responses",
}


def real_claims(study: str, rows: Sequence[Row], published: Mapping[tuple[str, str], str] | None = None) -> list[Claim]:
    """Observations: one number per cluster (a mean over the category's sets), its mean and t interval over clusters."""
    claims = []
    arms = list(dict.fromkeys(row["cell"] for row in rows))
    for arm in arms:
        mine = [row for row in rows if row["cell"] == arm]
        for category in ("train", *CATEGORIES):
            for measure, words in MEASURES.items():
                values = {
                    kind: by_cluster([row for row in mine if row["kind"] == kind], category, measure)
                    for kind in ("explicit", "implicit")
                }
                rule = measure.startswith("baseline_")  # no model's, the same for both
                for kind, found in values.items():
                    if found and not (rule and kind == "implicit"):
                        claims.append(
                            _claim(
                                f"{study}/{arm}/{category}/{measure}/{'baseline' if rule else kind}",
                                f"{words if rule else f'{kind}, {words}'}, {category} ({arm})",
                                list(found.values()),
                                kind="" if rule else kind,
                                published=(published or {}).get((category, kind), "") if measure == "accuracy" else "",
                            )
                        )
                both = sorted(set(values["explicit"]) & set(values["implicit"]))
                if measure == "accuracy" and len(both) > 1:
                    gaps = [values["explicit"][key] - values["implicit"][key] for key in both]
                    p = sign_flip_test(gaps)
                    claims.append(
                        _claim(
                            f"{study}/{arm}/{category}/gap",
                            f"explicit minus implicit, {category} ({arm}; exact sign-flip p = {p:.3f})",
                            gaps,
                        )
                    )
    return claims


def by_cluster(rows: Sequence[Row], category: str, measure: str) -> dict[tuple[str, int], float]:
    """Mean over the category's sets per (architecture, seed); sets where the measure is undefined are left out."""
    found: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        if row["category"] == category and row[measure] is not None:
            found.setdefault((row["architecture"], row["seed"]), []).append(row[measure])
    return {key: float(np.mean(values)) for key, values in found.items()}


def real_notes(study: str, rows: Sequence[Row], overlaps: Mapping[str, Row]) -> list[str]:
    """Win rates, accuracy over token overlap, what the sample size can decide, and what was shared with training."""
    notes = []
    for arm in dict.fromkeys(row["cell"] for row in rows):
        mine = [row for row in rows if row["cell"] == arm]
        for category in CATEGORIES:
            pairs = _paired(mine, category)
            if pairs:
                wins = [sum(e - i > 0.01 for e, i in pairs), sum(i - e > 0.01 for e, i in pairs)]
                notes.append(
                    f"{study}, {arm}, {category}: of {len(pairs)} (model, seed, set) evaluations the explicit model is "
                    f"ahead in {wins[0]}, the implicit one in {wins[1]}, within 1 % in {len(pairs) - sum(wins)}."
                )
        for kind in ("explicit", "implicit"):
            some = [r["by_overlap"] for r in mine if r["kind"] == kind and r["category"] == "in-distribution"]
            if some and all(value is not None for row in some for value in row):
                course = ", ".join(f"{np.mean([row[q] for row in some]):.3f}" for q in range(QUANTILES))
                notes.append(f"{study}, {arm}, {kind}, in distribution by quarter of token overlap: {course}.")
        n = {row["n"] for row in mine if row["category"] == "in-distribution"}
        if n:
            half = 1.96 * 0.5 / min(n) ** 0.5
            notes.append(
                f"{study}, {arm}: {min(n)} test pairs give one model an interval of +-{half:.2f} at an accuracy of one "
                "half; differences smaller than that are decided by several clusters or not at all."
            )
    if overlaps:
        name, row = next(iter(overlaps.items()))
        shared = ", ".join(
            f"{key} {value['prompt']} prompts, {value['prompt_and_chosen']} with the chosen response"
            for key, value in row["before"].items()
            if value["prompt"]
        )
        notes.append(
            f"{study}, {name}: training file and test sets share {shared or 'no prompt'}; "
            f"{row['kept']} of {row['pairs']} training pairs were kept."
        )
    return notes


def _paired(rows: Sequence[Row], category: str) -> list[tuple[float, float]]:
    found: dict[tuple, dict[str, float]] = {}
    for row in rows:
        if row["category"] == category:
            found.setdefault((row["architecture"], row["seed"], row["set"]), {})[row["kind"]] = row["accuracy"]
    return [(one["explicit"], one["implicit"]) for one in found.values() if len(one) == 2]


def _claim(id: str, statement: str, values: Sequence[float], kind: str = "", published: str = "") -> Claim:
    interval = mean_interval(values)
    return interval_claim(
        id,
        statement,
        interval,
        rung=2,
        kind=kind,
        model=" and ".join(NAMES[name] for name in ("mistral", "gemma")) + ", pretrained here",
        published=published,
    )
