"""What the single-token experiment has to show, decided from its rows alone.

The thresholds were written before the first run: 1e-12 nats is zero; one half is exactly one half; a control "does not
give one half" if its accuracies lie at least 0.1 from it, averaged over seeds, by the whole interval of that mean. Two
controls have a sign that theory fixes (one seen token and tied rows: above one half), two have only a size (a random
start and a random reference prefer either word, so single seeds fall on either side).
"""

from typing import Any

import numpy as np

from simulations.claims import observation, registered, theorem
from simulations.results import Claim, Row
from simulations.single_token import TIE, SingleTokenResult, SingleTokenSettings
from simulations.statistics import cluster_means

AWAY_FROM_HALF = 0.1

CONTROLS = {
    "one_seen_token": "pairs with one seen token are not ties",
    "non_zero_start": "a policy that does not start at its reference keeps its initial preference on unseen pairs",
    "weight_decay": "with weight decay unseen pairs turn against the reference's preference",
    "tied_rows": "unseen tokens that share rows with seen ones are ranked with them",
}


def single_token_claims(result: SingleTokenResult, settings: SingleTokenSettings) -> list[Claim]:
    return [
        *_frozen(result.rows, settings),
        *(_control(result.rows, name, settings) for name in CONTROLS),
        *_laws_of_controls(result, settings),
        *_separator(result.unseen_pairs, result.rows, settings),
        _fits(result.rows, settings),
    ]


def separator_table(unseen_pairs: list[Row], rows: list[Row]) -> list[Row]:
    """Per recorded power of ten: unseen pairs, excluded share, agreement of the rest and of all, median cosine."""
    table = []
    for time in sorted({row["time"] for row in unseen_pairs}):
        pairs = [row for row in unseen_pairs if row["time"] == time]
        kept = [row for row in pairs if not row["excluded"]]
        cosines = {row["seed"]: row["cosine"] for row in rows if row["step"] == time and row["cosine"] is not None}
        table.append(
            {
                "time": time,
                "pairs": len(pairs),
                "kept": len(kept),
                "excluded_share": 1 - len(kept) / len(pairs),
                "agreement": float(np.mean([row["agrees"] for row in kept])) if kept else float("nan"),
                "agreement_all": float(np.mean([row["agrees"] for row in pairs])),
                "cosine": float(np.median(list(cosines.values()))),
            }
        )
    return table


def _frozen(rows: list[Row], settings: SingleTokenSettings) -> list[Claim]:
    unseen = _pick(rows, "baseline", "implicit", "unseen")
    largest, ties = max(row["max_abs_margin"] for row in unseen), min(row["tie_rate"] for row in unseen)
    about = _about_pairs(settings)
    return [
        theorem(
            "unseen_margins_zero",
            f"implicit margins on pairs of unseen tokens stay at zero at every one of {settings.steps} steps: "
            "largest size, nats",
            largest,
            "<=",
            TIE,
            **about,
        ),
        theorem(
            "unseen_all_tied",
            "so every unseen pair is a tie and the implicit accuracy is exactly one half: smallest tie rate",
            ties,
            ">=",
            1.0,
            **about,
        ),
    ]


def _control(rows: list[Row], name: str, settings: SingleTokenSettings) -> Claim:
    final = [row for row in _pick(rows, name, "implicit", "unseen") if row["step"] == settings.steps]
    mean, ties = np.mean([row["accuracy"] for row in final]), np.mean([row["tie_rate"] for row in final])
    return registered(
        f"control.{name}",
        f"control: {CONTROLS[name]}: mean over seeds of |accuracy - 1/2| (accuracy {mean:.3f}, tie rate {ties:.3f})",
        [abs(row["accuracy"] - 0.5) for row in final],
        ">=",
        AWAY_FROM_HALF,
        kind="implicit",
        split="unseen",
    )


def _laws_of_controls(result: SingleTokenResult, settings: SingleTokenSettings) -> list[Claim]:
    about = _about_pairs(settings)
    return [
        theorem(
            "control.non_zero_start.frozen",
            "unseen margins of a policy started away from its reference stay where they began: largest drift, nats",
            result.drift["non_zero_start"],
            "<=",
            TIE,
            **about,
        ),
        theorem(
            "control.weight_decay.law",
            "with weight decay an unseen margin is minus the lost part of the reference's own: largest deviation, nats",
            result.drift["weight_decay"],
            "<=",
            TIE,
            **about,
        ),
    ]


def _separator(unseen_pairs: list[Row], rows: list[Row], settings: SingleTokenSettings) -> list[Claim]:
    table = separator_table(unseen_pairs, rows)

    def column(name: str, form: str) -> str:
        return ", ".join(format(line[name], form) for line in table)

    final = [row for row in rows if row["step"] == settings.steps and row["split"] == "unseen"]
    silent = cluster_means(
        (row["excluded"] for row in unseen_pairs if row["time"] == table[-1]["time"]),
        (row["seed"] for row in unseen_pairs if row["time"] == table[-1]["time"]),
    )
    return [
        theorem(
            "explicit_follows_separator",
            "explicit ranks every unseen pair as the max-margin separator does wherever the separator's normalised "
            f"margin exceeds the angle between the two; at t = {column('time', '.0e')}: excluded "
            f"{column('excluded_share', '.3f')}; agreement of the rest {column('agreement', '.3f')}, of all pairs "
            f"{column('agreement_all', '.3f')}; median cosine {column('cosine', '.4f')}",
            min(line["agreement"] for line in table),
            ">=",
            1.0,
            n=table[-1]["kept"],
            unit="pair",
            seeds=settings.seeds,
            kind="explicit",
            split="unseen",
        ),
        observation(
            "separator_cosine",
            f"cosine between the explicit head after {settings.steps} steps and the max-margin separator",
            [row["cosine"] for row in final if row["cosine"] is not None],
            kind="explicit",
        ),
        observation(
            "separator_excluded",
            f"share of unseen pairs on which the theorem is still silent after {settings.steps} steps",
            list(silent.values()),
            kind="explicit",
            split="unseen",
        ),
    ]


def _fits(rows: list[Row], settings: SingleTokenSettings) -> Claim:
    wanted = ("baseline", "train", settings.steps)
    final = [row for row in rows if (row["condition"], row["split"], row["step"]) == wanted]
    return theorem(
        "both_fit_training_pairs",
        "both kinds rank all their training pairs right: smallest training accuracy of any seed",
        min(row["accuracy"] for row in final),
        ">=",
        1.0,
        n=len(final),
        unit="seed x kind",
        seeds=settings.seeds,
        split="train",
    )


def _about_pairs(settings: SingleTokenSettings) -> dict[str, Any]:
    n = settings.seeds * settings.population.unseen_pairs
    return {"n": n, "unit": "pair", "seeds": settings.seeds, "kind": "implicit", "split": "unseen"}


def _pick(rows: list[Row], condition: str, kind: str, split: str) -> list[Row]:
    return [row for row in rows if (row["condition"], row["kind"], row["split"]) == (condition, kind, split)]
