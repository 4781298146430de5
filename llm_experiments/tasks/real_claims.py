"""What the studies on real pairs report: per category both kinds, their difference, and what length explains."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from llm_experiments.tasks.real_pairs import CATEGORIES, LENGTH_MATCH, QUANTILES, Category
from simulations.interval_claims import interval_claim
from simulations.results import Claim, Row
from simulations.statistics import Interval, mean_interval, sign_flip_test

KINDS = ("explicit", "implicit")
Cluster = tuple[str, int]  # architecture and seed
# Razin et al. (2025), trained on UltraFeedback, means over six models of 1B to 8B parameters: explicit, implicit
PUBLISHED: dict[tuple[str, str], tuple[str, str]] = {
    ("accuracy", "in-distribution"): ("0.752", "0.646"),
    ("accuracy", "token-level shift"): ("0.665", "0.602"),
    ("accuracy", "domain shift"): ("0.621", "0.720"),
    ("normalised_margin", "in-distribution"): ("1.014", "0.813"),
    ("normalised_margin", "token-level shift"): ("0.976", "0.763"),
    ("normalised_margin", "domain shift"): ("0.807", "0.726"),
}
MEASURES = {
    "accuracy": "accuracy",
    "normalised_margin": "normalised absolute margin",
    "length_matched": f"accuracy on pairs whose lengths differ by less than {LENGTH_MATCH:.0%}",
    "length_residual": "accuracy without what length explains",
    "baseline_longest": "the longer response wins",
    "baseline_bag_of_tokens": "a prompt-blind bag of tokens",
    "baseline_token_overlap": "token overlap with the training responses",
    "prompt_trained_on": "accuracy on pairs whose prompt was trained on",
    "prompt_not_trained_on": "accuracy on pairs whose prompt was not trained on",
}
GAPS = ("accuracy", "length_matched", "length_residual")
AHEAD = 0.01  # evaluations closer than this are won by neither


def real_claims(
    study: str,
    rows: Sequence[Row],
    prompts: Sequence[Row],
    published: Mapping[tuple[str, str], tuple[str, str]] | None = None,
) -> list[Claim]:
    """One number per cluster (a mean over the category's sets), its mean and t interval over clusters.

    Where the paper's numbers are known, the signs of its three gaps are registered predictions; all else is observed.

    Args:
        prompts: as `read_prompts` gives them.
    """
    claims = []
    for arm in dict.fromkeys(row["cell"] for row in rows):
        mine = [row for row in rows if row["cell"] == arm]
        for category in ("train", *CATEGORIES):
            some = [row for row in mine if row["category"] == category]
            where, words = f"{study}/{arm}/{category}", f"{category} ({arm})"
            claims += _measures(some, where, words, category, published or {})
            claims += _gaps(some, where, words, category, published or {})
            if category != "train":
                claims += _wins(some, where, words)
                tested = [row for row in prompts if (row["cell"], row["category"]) == (arm, category)]
                claims += _gap_over_prompts(tested, where, words)
            if category == "in-distribution":
                claims += _by_overlap(some, where, words)
    return claims


def _measures(rows: Sequence[Row], where: str, words: str, category: str, published: Mapping) -> list[Claim]:
    claims = []
    for measure, called in MEASURES.items():
        rule = measure.startswith("baseline_")  # no model's, the same for both
        for number, kind in enumerate(KINDS[: 1 if rule else 2]):
            found = by_cluster([row for row in rows if row["kind"] == kind], measure)
            if found:
                claims.append(
                    _claim(
                        f"{where}/{measure}/{'baseline' if rule else kind}",
                        f"{called if rule else f'{kind}, {called}'}, {words}",
                        mean_interval(list(found.values())),
                        kind="" if rule else kind,
                        published=published.get((measure, category), ("", ""))[number],
                    )
                )
    return claims


def _gaps(rows: Sequence[Row], where: str, words: str, category: str, published: Mapping) -> list[Claim]:
    """Explicit minus implicit, cluster by cluster."""
    claims = []
    for measure in GAPS:
        gaps = _differences(rows, lambda some, measure=measure: by_cluster(some, measure))
        if len(gaps) < 2:
            continue
        options: dict[str, Any] = {}
        if measure == "accuracy" and ("accuracy", category) in published:
            explicit, implicit = map(float, published["accuracy", category])
            op = ">=" if explicit > implicit else "<="
            options = {"op": op, "value": 0.0, "published": f"{explicit - implicit:+.3f}"}
        p = sign_flip_test(gaps)
        statement = f"explicit minus implicit, {MEASURES[measure]}, {words}; exact sign-flip p = {p:.3f}"
        claims.append(_claim(f"{where}/gap/{measure}", statement, mean_interval(gaps), **options))
    return claims


def _wins(rows: Sequence[Row], where: str, words: str) -> list[Claim]:
    """Share of (model, seed, set) evaluations in which either kind is ahead by more than 1 %."""
    ahead: dict[str, dict[Cluster, list[float]]] = {kind: {} for kind in KINDS}
    for (architecture, seed, _), one in _evaluations(rows).items():
        lead = one["explicit"] - one["implicit"]
        for kind, sign in (("explicit", 1), ("implicit", -1)):
            ahead[kind].setdefault((architecture, seed), []).append(float(sign * lead > AHEAD))
    return [
        _claim(
            f"{where}/wins/{kind}",
            f"{kind}: share of evaluations in which it is ahead by more than 1 %, {words}",
            mean_interval([float(np.mean(some)) for some in found.values()]),
            kind=kind,
        )
        for kind, found in ahead.items()
        if found
    ]


def _gap_over_prompts(prompts: Sequence[Row], where: str, words: str) -> list[Claim]:
    """The gap once more, averaged over models and seeds first and with the interval over test prompts."""
    explicit, implicit = ({row["prompt"]: row["accuracy"] for row in prompts if row["kind"] == kind} for kind in KINDS)
    gaps = [value - implicit[prompt] for prompt, value in explicit.items() if prompt in implicit]
    if not gaps:
        return []
    statement = f"explicit minus implicit, models and seeds averaged, each test prompt once, {words}"
    return [_claim(f"{where}/gap/over_prompts", statement, mean_interval(gaps), unit="prompts", seeds=0)]


def _by_overlap(rows: Sequence[Row], where: str, words: str) -> list[Claim]:
    """Accuracy by quarter of token overlap with training, lowest first, and how the gap differs between its ends."""

    def quarter(some: Sequence[Row], number: int) -> dict[Cluster, float]:
        return by_cluster([row | {"quarter": row["by_overlap"][number]} for row in some], "quarter")

    claims = []
    for kind in KINDS:
        for number in range(QUANTILES):
            found = quarter([row for row in rows if row["kind"] == kind], number)
            if found:
                statement = f"{kind}, quarter {number + 1} of {QUANTILES} of token overlap with training, {words}"
                interval = mean_interval(list(found.values()))
                claims.append(_claim(f"{where}/overlap/{number + 1}/{kind}", statement, interval, kind=kind))
    ends = [_differences(rows, lambda some, end=end: quarter(some, end)) for end in (0, QUANTILES - 1)]
    if len(ends[0]) == len(ends[1]) > 1:
        changes = [low - high for low, high in zip(*ends, strict=True)]
        statement = (
            f"explicit minus implicit where token overlap is lowest, minus the same where it is highest, {words}; "
            f"exact sign-flip p = {sign_flip_test(changes):.3f}"
        )
        claims.append(_claim(f"{where}/gap/overlap", statement, mean_interval(changes)))
    return claims


def by_cluster(rows: Iterable[Row], measure: str) -> dict[Cluster, float]:
    """Mean over sets per (architecture, seed); sets where the measure is undefined are left out."""
    found: dict[Cluster, list[float]] = {}
    for row in rows:
        if row[measure] is not None:
            found.setdefault((row["architecture"], row["seed"]), []).append(row[measure])
    return {key: float(np.mean(values)) for key, values in found.items()}


def _differences(rows: Sequence[Row], read: Any) -> list[float]:
    """Explicit minus implicit of what `read` finds, for the clusters that have both."""
    explicit, implicit = (read([row for row in rows if row["kind"] == kind]) for kind in KINDS)
    return [value - implicit[key] for key, value in explicit.items() if key in implicit]


def _evaluations(rows: Sequence[Row]) -> dict[tuple[str, int, str], dict[str, float]]:
    """Accuracy by kind of every (architecture, seed, set) that has both."""
    found: dict[tuple[str, int, str], dict[str, float]] = {}
    for row in rows:
        found.setdefault((row["architecture"], row["seed"], row["set"]), {})[row["kind"]] = row["accuracy"]
    return {key: one for key, one in found.items() if len(one) == len(KINDS)}


def real_notes(study: str, rows: Sequence[Row], overlaps: Mapping[str, Row]) -> list[str]:
    """How many pairs were tested, what that can decide, and what training and test pairs have in common."""
    notes = []
    for arm in dict.fromkeys(row["cell"] for row in rows):
        mine = [row for row in rows if row["cell"] == arm]
        for category in CATEGORIES:
            notes += _power(study, arm, category, [row for row in mine if row["category"] == category])
    for name, row in overlaps.items():
        pool, used = (
            ", ".join(
                f"{key} {value['prompt']} prompts ({value['prompt_and_chosen']} with the chosen response)"
                for key, value in row[part].items()
                if value["prompt"]
            )
            or "nothing"
            for part in ("before", "trained_on")
        )
        notes.append(
            f"{study}, {name}: the training file shares with the test sets {pool}; {row['kept']} of its {row['pairs']} "
            f"pairs were candidates, and those trained on share {used}."
        )
    return notes


def _power(study: str, arm: str, category: Category, rows: Sequence[Row]) -> list[str]:
    """Sizes, and the smallest gap that these clusters and these pairs can tell from zero."""
    gaps = _differences(rows, lambda some: by_cluster(some, "accuracy"))
    if len(gaps) < 2:
        return []
    sizes = ", ".join(f"{name} {n}" for name, n in {row["set"]: row["n"] for row in rows}.items())
    interval = mean_interval(gaps)
    least = min(row["n"] for row in rows)
    return [
        f"{study}, {arm}, {category}: pairs tested: {sizes}. One model's accuracy near one half is known to "
        f"+-{1.96 * 0.5 / least**0.5:.2f}; with {len(gaps)} clusters a gap between the kinds of "
        f"{(interval.high - interval.low) / 2:.3f} or more is told from zero on these pairs, a smaller one is not."
    ]


def _claim(id: str, statement: str, interval: Interval, **rest: Any) -> Claim:
    return interval_claim(id, statement, interval, rung=2, model="small language models, pretrained here", **rest)
