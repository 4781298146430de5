"""A sweep of 1000 seeds in one batch against a loop over seeds: 8 pairs, 6 dimensions, 10,000 steps, both kinds.

    python benchmarks/bench_sweep.py          writes benchmarks/results/sweep.json

Seconds are processor seconds on one thread, which on an idle machine are wall-clock seconds. The loop is timed on a few
seeds and scaled; those seeds' parameters are compared with the batch's.
"""

import time

import numpy as np
import torch
from measure import save

from simulations.descent import descend, explicit_margins, single_token_margins, smoothness
from simulations.embeddings import Population, PopulationSettings, draw_population, stack

SEEDS, STEPS, LOOPED = 1000, 10_000, 4


def run(kind: str, population: Population) -> np.ndarray:
    pairs = population.train
    if kind == "explicit":
        margins = explicit_margins(pairs.chosen_final, pairs.rejected_final)
        start = np.zeros((len(pairs.chosen_final), pairs.chosen_final.shape[-1]))
    else:
        start = population.reference
        margins = single_token_margins(pairs.context, pairs.chosen_token, pairs.rejected_token, start, 1.0)
    path = descend(margins, start, step_size=1 / smoothness(margins, start), steps=STEPS)
    return path.parameters[-1]


def main() -> None:
    torch.set_num_threads(1)  # as `descend` has it: tensors this small gain nothing from a second
    settings = PopulationSettings(train_pairs=8, dim=6, unseen_pairs=8)
    started = time.process_time()
    populations = [draw_population(settings, np.random.default_rng([0, seed])) for seed in range(SEEDS)]
    batch = stack(populations)
    drawing = time.process_time() - started
    rows = []
    for kind in ("explicit", "implicit"):
        started = time.process_time()
        together = run(kind, batch)
        batched = time.process_time() - started
        started = time.process_time()
        alone = [run(kind, stack([population])) for population in populations[:LOOPED]]
        looped = (time.process_time() - started) * SEEDS / LOOPED
        rows.append(
            {
                "kind": kind,
                "seconds_batched": round(batched, 2),
                "seconds_looped": round(looped, 1),
                "looped_seeds_timed": LOOPED,
                "times_faster": round(looped / batched, 1),
                "largest_difference": float(np.abs(np.concatenate(alone) - together[:LOOPED]).max()),
            }
        )
        print(rows[-1], flush=True)
    save(
        "sweep",
        __doc__.splitlines()[0],
        {
            "clock": "processor seconds",
            "threads": torch.get_num_threads(),
            "seeds": SEEDS,
            "pairs": settings.train_pairs,
            "dim": settings.dim,
            "steps": STEPS,
            "seconds_drawing": round(drawing, 2),
            "rows": rows,
        },
        ("numpy", "torch"),
    )


if __name__ == "__main__":
    main()
