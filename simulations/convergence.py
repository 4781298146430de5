"""How explicit models approach the max-margin separator, and what happens where there is none.

The direction of the head converges like one over the logarithm of time (Soudry et al. 2018), its length grows like the
logarithm; a large random start only delays it. Without a separator the head converges to a finite point instead, its
length stops growing, unless some head ties some pairs and ranks the rest right, which no population drawn here allows.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from simulations.claims import observation, registered
from simulations.descent import descend, explicit_margins, smoothness
from simulations.embeddings import PopulationSettings, draw_population, stack
from simulations.results import Claim, Row
from theory.separation import separate


@dataclass(frozen=True)
class Variant:
    """What differs from the base: fields of the population, the length of a random start, what the data must be."""

    changes: dict[str, object] = field(default_factory=dict)
    start: float = 0.0
    status: str = "separable"


VARIANTS: dict[str, Variant] = {
    "base": Variant(),
    "small_margin": Variant({"signal": 0.35}),
    "high_dimension": Variant({"dim": 32, "train_pairs": 16}),
    "large_start": Variant(start=10.0),
    "non_separable": Variant({"signal": 0.2, "train_pairs": 64}, status="non-separable"),
}
RECORD = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)


@dataclass(frozen=True)
class ConvergenceSettings:
    population: PopulationSettings = field(default_factory=PopulationSettings)
    seeds: int = 16
    steps: int = 100_000


def run_convergence(settings: ConvergenceSettings, *, tick: Callable[[int], object] | None = None) -> list[Row]:
    """Rows {family, seed, step, angle (radians, null without a separator), length, loss, separator_margin}.

    Each family takes its first seeds whose training pairs are as the family says (separable or not). `tick` hears of
    `len(VARIANTS) * steps` steps.
    """
    record = [step for step in RECORD if step <= settings.steps]
    rows: list[Row] = []
    for family, variant in VARIANTS.items():
        populations, separators, seeds = [], [], []
        for seed in range(20 * settings.seeds):
            rng = np.random.default_rng([8, seed])
            population = draw_population(replace(settings.population, **variant.changes), rng)
            separator = separate(population.train.chosen_final - population.train.rejected_final)
            if separator.status == variant.status:
                populations.append(population)
                separators.append(separator)
                seeds.append(seed)
            if len(seeds) == settings.seeds:
                break
        train = stack(populations).train
        margins = explicit_margins(train.chosen_final, train.rejected_final)
        rng = np.random.default_rng(9)
        start = rng.standard_normal((len(seeds), train.chosen_final.shape[-1]))
        start *= variant.start / np.linalg.norm(start, axis=1, keepdims=True)
        path = descend(
            margins, start, step_size=1 / smoothness(margins, start), steps=record[-1], record=record, tick=tick
        )
        for place, step in enumerate(record):
            for run, seed in enumerate(seeds):
                head, direction = path.parameters[place, run], separators[run].direction
                length = float(np.linalg.norm(head))
                rows.append(
                    {
                        "family": family,
                        "seed": seed,
                        "step": step,
                        "angle": None if direction is None else float(np.arccos(min(1.0, head @ direction / length))),
                        "length": length,
                        "loss": float(path.losses[place, run]),
                        "separator_margin": None if direction is None else separators[run].normalised_margin,
                    }
                )
    return rows


def convergence_claims(rows: list[Row], settings: ConvergenceSettings) -> list[Claim]:
    """Registered before the first run."""
    last = max(row["step"] for row in rows)
    earlier = max(step for step in RECORD if step <= last / 10)

    def values(family: str, value: str, step: int) -> np.ndarray:
        return np.array([row[value] for row in rows if (row["family"], row["step"]) == (family, step)])

    separable = [family for family, variant in VARIANTS.items() if variant.status == "separable"]
    closer = [values(f, "angle", last) < values(f, "angle", earlier) for f in separable]
    growth = {f: (values(f, "length", last) / values(f, "length", earlier)) for f in VARIANTS}
    scaled = values("base", "angle", last) * np.log(last) / values("base", "angle", earlier) / np.log(earlier)
    return [
        registered(
            "convergence.closer", f"share of separable families whose head is closer to the separator at {last:.0e} "
            f"than at {earlier:.0e} steps",
            np.mean(closer, axis=0).tolist(), ">=", 0.95, kind="explicit",
        ),
        registered(
            "convergence.logarithmic",
            f"angle x ln t at {last:.0e} over the same at {earlier:.0e} steps: 1 where the angle falls like 1 / ln t",
            scaled.tolist(), "within", (0.6, 1.4), kind="explicit",
        ),
        registered(
            "convergence.non_separable", f"without a separator the head stops growing: length at {last:.0e} over "
            f"that at {earlier:.0e} steps",
            growth["non_separable"].tolist(), "<=", 1.05, kind="explicit",
        ),
        observation(
            "convergence.growth", "with a separator it keeps growing: the same ratio, base family",
            growth["base"].tolist(), kind="explicit",
        ),
        observation(
            "convergence.large_start", f"angle (radians) at {last:.0e} steps after a start of length "
            f"{VARIANTS['large_start'].start:g}, over that from zero",
            (values("large_start", "angle", last) / values("base", "angle", last)).tolist(), kind="explicit",
        ),
    ]  # fmt: skip
