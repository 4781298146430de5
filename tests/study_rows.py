"""Made-up rows of the studies, in the shapes that `rewardgap study` writes."""

import numpy as np

from figures.study_arms import ABLATIONS, REPAIRS
from llm_experiments.tasks.shifted_pairs import FACTORIAL
from simulations.results import Row

ONE_KIND = {"mean-pooling": ("explicit",), "no-reference": ("implicit",)}


def ablation_rows(seeds: int = 3) -> list[Row]:
    """The implicit model is at `0.1 * place of the arm` on the paraphrase, plus 0.01 per seed."""
    rows: list[Row] = []
    for place, cell in enumerate(ABLATIONS):
        for kind in ONE_KIND.get(cell, ("explicit", "implicit")):
            for seed in range(seeds):
                for condition, split, accuracy in (
                    ("published", "seen_forms", 1.0),
                    ("published", "unseen_forms", 0.1 * place + 0.01 * seed if kind == "implicit" else 0.97),
                    ("shared_prefix", "unseen_forms", 0.6),
                ):
                    row = {"cell": cell, "kind": kind, "seed": seed, "condition": condition, "split": split}
                    rows += [
                        row | {"prompts": "test", "accuracy": accuracy},
                        row | {"prompts": "train", "accuracy": 0.2},
                    ]
    return rows


def repair_rows(clusters: int = 3) -> list[Row]:
    return [
        {"cell": cell, "cluster": c, "forms": c, "seed": c % 2, "kind": kind, "split": split, "accuracy": 0.5 + 0.1 * c}
        for cell in REPAIRS
        for kind in ("explicit", "implicit")
        for split in ("train", "seen_forms", "unseen_forms")
        for c in range(clusters)
    ]


OPTIMISED = {"explicit": 2.0, "implicit": 1.0, "ensemble": 1.5, "truth": 3.0}


def optimised_rows(ends: dict[str, float] = OPTIMISED, noise: float = 0.05) -> list[Row]:
    """Each kind's true reward starts at 0, is 1.2 half-way and ends at its own of `ends`, plus some noise."""
    rows: list[Row] = []
    for cluster in range(8):
        for kind, accuracy in (("explicit", 0.95), ("implicit", 0.5)):
            row = {"use": "ranking", "kind": kind, "accuracy": accuracy, "cluster": cluster}
            rows += [row | {"split": split} for split in ("seen_words", "unseen_words")]
        for kind, end in ends.items():
            for at, true in enumerate((0.0, 1.2, end + noise * float(np.sin(7 * cluster + len(kind))))):
                row = {"kind": kind, "true": true, "proxy": float(at), "well_formed": 1.0, "cluster": cluster}
                rows.append(row | {"use": "iterative", "round": at})
                rows.append(row | {"use": "best_of_n", "best_of": 4**at})
    return rows


ULTRAFEEDBACK_SETS = {
    "ultrafeedback": "in-distribution",
    "paraphrase": "token-level shift",
    "french": "token-level shift",
    "spanish": "token-level shift",
    "rewardbench-math": "domain shift",
    "rewardbench-code": "domain shift",
    "rewardmath": "domain shift",
}
REWARDMATH_SETS = {
    "rewardmath": "in-distribution",
    "rewardbench-math": "token-level shift",
    "rewardbench-code": "domain shift",
    "ultrafeedback": "domain shift",
    "paraphrase": "domain shift",
    "french": "domain shift",
    "spanish": "domain shift",
}


def real_rows(sets: dict[str, str], cells: tuple[str, ...] = ("published",), seeds: int = 2) -> list[Row]:
    """Explicit 0.7 in distribution, 0.6 elsewhere; implicit 0.05 lower, and 0.1 higher on the last set."""
    rows: list[Row] = []
    for cell in cells:
        for architecture in ("mistral", "gemma"):
            for seed in range(seeds):
                for place, (name, category) in enumerate({"train": "train", **sets}.items()):
                    for kind in ("explicit", "implicit"):
                        accuracy = (0.7 if category == "in-distribution" else 0.6) + 0.01 * seed
                        accuracy += 0.0 if kind == "explicit" else 0.1 if place == len(sets) else -0.05
                        row = {"cell": cell, "architecture": architecture, "seed": seed, "kind": kind, "set": name}
                        row |= {
                            "category": category,
                            "n": 200,
                            "accuracy": accuracy,
                            "normalised_margin": 1.0,
                            "length_residual": accuracy - 0.02,
                        }
                        row |= {"prompt_trained_on": None, "prompt_not_trained_on": None}
                        row |= {"length_matched": accuracy - 0.04 if name != "rewardbench-math" else None}
                        row |= {"baseline_longest": 0.58, "baseline_bag_of_tokens": 0.54, "baseline_token_overlap": 0.5}
                        rows.append(row | {"by_overlap": [accuracy - 0.02 * q for q in range(4)]})
    return rows


def cycle_rows(seeds: int = 3) -> list[Row]:
    return [
        {"cell": cell, "trained_on": trained, "seed": seed, "kind": kind, "split": "test", "negatives": negatives}
        | {"n": 200, "accuracy": accuracy + 0.002 * seed, "least_margin": 0.02 + 0.01 * seed, "median_margin": 0.3}
        for cell, trained in (("published", "random"), ("near-cycle", "near_cycle"))
        for seed in range(seeds)
        for kind in ("explicit", "implicit")
        for negatives, accuracy in (("random", 0.99), ("one_swap", 0.9), ("near_cycle", 0.7))
    ]


def generation_rows(seeds: int = 3) -> list[Row]:
    """ln of the probability of a cycle is -9 before and -8 after training, in every graph."""
    rows: list[Row] = []
    for cell in ("published", "near-cycle"):
        for seed in range(seeds):
            for policy, logs in (("reference", -9.0), ("implicit", -8.0)):
                row = {"cell": cell, "seed": seed, "policy": policy, "samples": 400, "orders": 300, "chance": 5.8e-5}
                row |= {"orders": 10} if policy == "implicit" else {}
                row |= {"cycles": int(policy == "implicit" and seed == 0)}
                rows.append(row | {"log_probability_correct": np.full(5, logs).tolist()})
    return [*rows, {"cell": "control", "policy": "reference", "samples": 400, "orders": 390, "cycles": 40}]


def factorial_rows(arm, accuracies, n=100):
    """Explicit models at 0.95, implicit ones at `accuracies`, a list per cluster in the order of FACTORIAL."""
    return [
        {"cell": arm, "kind": kind, "split": split, "cluster": c, "forms": c, "seed": 0, "n": n, "accuracy": value}
        for c, some in enumerate(accuracies)
        for kind in ("explicit", "implicit")
        for split, value in [("train", 1.0), *zip(FACTORIAL, some if kind == "implicit" else [0.95] * 4, strict=True)]
    ]


def scale_rows(slope):
    """Implicit accuracy falls by `slope` per doubling of pairs, beta has implicit models only."""
    cells = [("reference", 0.0, 0.0), *(("training_pairs", 96.0 * 2**x, x) for x in (-2, -1, 1)), ("beta", 0.4, 2)]
    return [
        {"sweep": sweep, "level": level, "kind": kind, "split": split, "seed": seed, "forms": forms}
        | {"accuracy": 0.9 if kind == "explicit" else 0.6 + seed / 50 - x * slope}
        for sweep, level, x in cells
        for kind in ("explicit", "implicit")
        if (sweep, kind) != ("beta", "explicit")
        for split in ("train", "seen_forms", "unseen_forms")
        for seed in range(4)
        for forms in range(2)
    ]


def predicted_rows(noise):
    """Six models by eight cells in which between none and all of 20 pairs are ranked right, scored with noise."""
    random, rows = np.random.default_rng(0), []
    for model in range(6):
        for cell in range(8):
            right = random.random(20) < cell / 7
            scores = {"all": np.where(right, 1.0, -1.0) + noise * random.normal(size=20)}
            scores |= {"head": np.zeros(20), "overlap": np.zeros(20)}
            about = {"model": model, "held_out": True, "shift": cell}
            rows.append(about | {"kind": "explicit", "accuracy": 1.0, "all": 1.0, "head": 1.0, "overlap": 0.5})
            rows.append(about | {"kind": "implicit", "accuracy": float(right.mean()), "right": right, "pairs": scores})
            rows[-1] |= {name: float(np.mean((values > 0) + 0.5 * (values == 0))) for name, values in scores.items()}
    return rows


def grid_rows() -> list[Row]:
    """A setting per two of six sets: both kinds and their difference."""
    names = ("HH harmless", "UltraFeedback", "LLMBar", "GSM8K", "RewardMATH", "HumanEval")
    rows = []
    for i, train in enumerate(names):
        for j, test in enumerate(names):
            shift = "in-distribution" if i == j else "response shift" if {i, j} in ({1, 2}, {3, 4}) else "prompt shift"
            values = {"explicit": 0.5 + 0.05 * i, "implicit": 0.5 + 0.03 * j}
            values["difference"] = values["explicit"] - values["implicit"]
            about = {"train": train, "set": test, "shift": shift, "pairs": 80, "clusters": 6}
            rows += [about | {"kind": k, "value": v, "low": v - 0.1, "high": v + 0.1} for k, v in values.items()]
    return rows
