"""Hand-made rows in the shape that `rewardgap reproduce` writes, for the tests of figures and pages."""

import numpy as np

from simulations.results import Row

STEPS = (0, 1, 10, 100, 1000, 10_000, 100_000)


def single_token_rows(seeds: int = 6) -> list[Row]:
    rows: list[Row] = []
    conditions = ("baseline", "one_seen_token", "non_zero_start", "weight_decay", "tied_rows")
    for condition in conditions:
        for seed in range(seeds):
            generator = np.random.default_rng([seed, conditions.index(condition)])
            final = generator.uniform(0.2, 0.9)
            for step in STEPS:
                grown = step / (step + 5)
                for kind in ("explicit", "implicit"):
                    frozen = kind == "implicit" and condition == "baseline"
                    accuracy = (
                        0.5 if frozen or step == 0 else 0.5 + grown * ((0.95 if kind == "explicit" else final) - 0.5)
                    )
                    for split in ("train", "unseen"):
                        rows.append(
                            {
                                "condition": condition,
                                "seed": seed,
                                "kind": kind,
                                "step": step,
                                "split": split,
                                "n": 60,
                                "accuracy": accuracy if split == "unseen" else 0.5 + 0.5 * grown,
                                "tie_rate": float(frozen and split == "unseen"),
                                "max_abs_margin": 0.0 if frozen and split == "unseen" else np.log1p(step),
                                "cosine": 0.6 + 0.39 * grown if kind == "explicit" else None,
                                "separator_accuracy": 0.95,
                            }
                        )
    return rows


def one_step_rows(pairs: int = 40) -> list[Row]:
    generator = np.random.default_rng(0)
    rows: list[Row] = []
    for seed in range(2):
        change = generator.standard_normal(pairs)
        for step_size in (1e-4, 1e-3, 1e-2, 1.0):
            for pair in range(pairs):
                predicted = step_size * float(change[pair])
                curvature = 0.3 * step_size**2 * float(1 + change[pair] ** 2)
                rows += [
                    {
                        "seed": seed,
                        "kind": "explicit",
                        "step_size": step_size,
                        "pair": pair,
                        "predicted": predicted,
                        "measured": predicted + 1e-17,
                    },
                    {
                        "seed": seed,
                        "kind": "implicit",
                        "step_size": step_size,
                        "pair": pair,
                        "predicted": 0.1 * predicted,
                        "measured": 0.1 * predicted + curvature,
                    },
                ]
    return rows


def unseen_pair_rows(seeds: int = 4, pairs: int = 12) -> list[Row]:
    generator = np.random.default_rng(2)
    margins = generator.uniform(-0.2, 1.0, size=(seeds, pairs))
    rows: list[Row] = []
    for power in range(2, 6):
        for seed in range(seeds):
            angle = (0.3 + 0.05 * seed) / power
            rows += [
                {
                    "seed": seed,
                    "pair": pair,
                    "time": 10**power,
                    "separator_margin": float(margin),
                    "angle": angle,
                    "excluded": bool(abs(margin) <= angle),
                    "agrees": bool(abs(margin) > angle / 2),
                }
                for pair, margin in enumerate(margins[seed])
            ]
    return rows


def surface_form_rows(clusters: int = 6, seeds: int = 2) -> list[Row]:
    cells = [
        ("mistral", False, "all", False, 80),
        ("mistral", True, "all", False, 80),
        ("gemma2", False, "all", False, 80),
        ("gemma2", True, "all", False, 80),
        ("mistral", False, "head", False, 80),
        ("mistral", False, "all", True, 80),
        ("mistral", False, "all", False, 20),
        ("mistral", False, "all", False, 320),
    ]
    generator = np.random.default_rng(1)
    rows: list[Row] = []
    for label in ("statement", "constant"):
        for architecture, tied, trained, terminator, n_train in cells:
            for cluster in range(clusters):
                for seed in range(seeds):
                    for kind in ("explicit", "implicit"):
                        for split in ("train", "seen_forms", "unseen_forms"):
                            middle = 0.5 if label == "statement" else 0.35
                            fails = kind == "implicit" and split == "unseen_forms" and not tied
                            accuracy = float(
                                np.clip(generator.normal(middle if fails else 0.98, 0.1 if fails else 0.01), 0, 1)
                            )
                            rows.append(
                                {
                                    "cell": f"{architecture}-{tied}-{trained}-{terminator}-{n_train}",
                                    "label": label,
                                    "architecture": architecture,
                                    "tied": tied,
                                    "trained": trained,
                                    "terminator": terminator,
                                    "n_train": n_train,
                                    "cluster": cluster,
                                    "forms": cluster,
                                    "seed": seed,
                                    "kind": kind,
                                    "split": split,
                                    "n": 100,
                                    "accuracy": accuracy,
                                    "tie_rate": 0.0,
                                    "absolute_margin": 1.0,
                                    "normalised_margin": 1.0,
                                    "bag_of_tokens": 0.5 if label == "statement" else 0.9,
                                }
                            )
    return rows


PERSONA_ARMS = (
    ("mistral", False, "constant", "all_words"),
    ("gemma", False, "constant", "all_words"),
    ("mistral", True, "constant", "all_words"),
    ("mistral", False, "statement", "all_words"),
    ("mistral", False, "constant", "without_evaluation_words"),
)
PERSONA_IMPLICIT = {
    "seen": 1.0,
    "published": 0.02,
    "prefix_swap": 0.98,
    "same_prefix": 1.0,
    "shared_prefix": 0.6,
    "swapped_training_prefix": 0.0,
    "prefix_free": 0.5,
}


def persona_rows(seeds: int = 2) -> list[Row]:
    rows: list[Row] = []
    for architecture, terminator, label, pretraining in PERSONA_ARMS:
        for condition, implicit in PERSONA_IMPLICIT.items():
            for seed in range(seeds):
                for kind, accuracy in (("explicit", 0.99), ("implicit", implicit)):
                    for prompts in ("train", "test"):
                        rows.append(
                            {
                                "cell": f"{architecture}-{terminator}-{label}-{pretraining}",
                                "architecture": architecture,
                                "label": label,
                                "terminator": terminator,
                                "pretraining": pretraining,
                                "condition": "published" if condition == "seen" else condition,
                                "seed": seed,
                                "kind": kind,
                                "split": "seen_forms" if condition.startswith(("seen", "swapped")) else "unseen_forms",
                                "prompts": prompts,
                                "n": 40,
                                "accuracy": min(1.0, accuracy + 0.01 * seed) if prompts == "test" else 0.123,
                                "low": max(0.0, accuracy - 0.04),
                                "high": min(1.0, accuracy + 0.04),
                                "tie_rate": 0.0,
                                "normalised_margin": 1.0,
                            }
                        )
    return rows


def model_one_step_rows(pairs: int = 6) -> list[Row]:
    """Measured = predicted * (1 + step size) where the output layer alone moves, three times it elsewhere."""
    rows: list[Row] = []
    for model, kind, trained in _model_arms():
        for size in (1e-5, 1e-3):
            for pair, predicted in enumerate(np.linspace(-1, 1, pairs) * size):
                measured = predicted * (1 + size if trained == "head" else 3)
                row = {"model": model, "kind": kind, "trained": trained, "step_size": size, "id": f"watched/{pair}"}
                rows.append({**row, "margin": 0.0, "predicted": predicted, "measured": measured})
    return rows


def model_training_rows(pairs: int = 6) -> list[Row]:
    """The tracked prediction is 1 % off, the frozen one by half."""
    rows: list[Row] = []
    for model, kind, trained in _model_arms():
        for step in (1, 4, 30, 100):
            for pair, measured in enumerate(np.linspace(-1, 1, pairs) * step):
                row = {"model": model, "kind": kind, "trained": trained, "learning_rate": 0.1, "step": step}
                row |= {"id": f"watched/{pair}", "margin": 0.0, "measured": measured}
                rows.append({**row, "frozen": 0.5 * measured, "tracked": 0.99 * measured})
    return rows


def _model_arms() -> list[tuple[str, str, str]]:
    return [
        (model, kind, trained)
        for model in ("mistral", "gemma2")
        for kind in ("explicit", "implicit", "generative")
        for trained in ("head", "tied", "all")
        if trained != "tied" or (model == "gemma2" and kind != "explicit")
    ]
