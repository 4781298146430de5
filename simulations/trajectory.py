"""From one step to a whole training run: how long does a prediction made from the first step's coefficients last?

The formulas say what one step does to a margin: a coefficient for each pair of evaluated and trained pair, times how
much the trained pair is still lost. Two ways to follow a run with them are compared with gradient descent:

    frozen    coefficients at step 0, losses followed by the prediction itself: nothing is measured after the start
    tracked   coefficients and losses recomputed from the policy at every step, changes summed

Explicit coefficients do not depend on the parameters, so both are exact. Implicit ones do, through the probabilities;
what remains of the tracked error is the second order of each step, proportional to the step size at a given time.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from scipy.special import expit

from simulations.claims import observation, theorem
from simulations.descent import Trajectory, descend, evaluate
from simulations.families import FamilySettings, Language, States
from simulations.fitting import BOTH, margins_of, stack_states
from simulations.results import Claim, Row
from simulations.statistics import Interval, mean_interval
from theory.contraction import overlap_sums
from theory.dynamics import OutputLayer, Response, ResponsePair

EXACT = 1e-10  # nats, accumulated over a few hundred steps


@dataclass(frozen=True)
class TrajectorySettings:
    family: FamilySettings = field(default_factory=lambda: FamilySettings(dim=12, words_per_group=2, label="statement"))
    seeds: int = 16
    first_seed: int = 100  # step sizes and times were chosen on seeds 0 to 5
    length: int = 2
    train_pairs: int = 4
    evaluated_pairs: int = 6
    beta: float = 1.0
    # time is step size times steps
    frozen_step_size: float = 0.1
    frozen_times: tuple[float, ...] = (0.2, 0.8, 3.2, 12.8, 51.2, 204.8)
    tracked_step_sizes: tuple[float, ...] = (0.05, 0.025, 0.0125)
    tracked_times: tuple[float, ...] = (0.2, 0.8, 3.2)

    def ticks(self) -> int:
        tracked = sum(round(self.tracked_times[-1] / size) for size in self.tracked_step_sizes)
        return 2 * self.seeds * (tracked + round(self.frozen_times[-1] / self.frozen_step_size))


def run_trajectory(settings: TrajectorySettings, *, tick: Callable[[int], object] | None = None) -> list[Row]:
    """Rows {seed, kind, mode: frozen|tracked, step_size, time, error, relative_error, sign_agreement}.

    `error` is the largest absolute difference of predicted and measured margins, nats; `relative_error` the root mean
    square difference over the root mean square change. Half of the evaluated pairs have seen words. `tick` hears of
    `settings.ticks()` steps.
    """
    train, evaluated, references = [], [], []
    for seed in _seeds(settings):
        language = Language(settings.family, np.random.default_rng([7, seed]))
        references.append(language.reference)
        prompts = language.prompts(settings.train_pairs)
        train.append(language.states(prompts, language.answer_words(prompts, seen=True, length=settings.length)))
        prompts = language.prompts(settings.evaluated_pairs)
        seen = np.repeat(np.arange(settings.evaluated_pairs)[:, None] % 2 == 0, settings.length, axis=1)
        evaluated.append(language.states(prompts, language.answer_words(prompts, seen=seen, length=settings.length)))
    reference = np.stack(references)
    rows: list[Row] = []
    for kind in BOTH:
        start = np.zeros((settings.seeds, settings.family.dim)) if kind == "explicit" else reference
        own, asked = (margins_of(kind, stack_states(sets), reference, settings.beta) for sets in (train, evaluated))
        plans = [("frozen", settings.frozen_step_size, settings.frozen_times)]
        plans += [("tracked", size, settings.tracked_times) for size in settings.tracked_step_sizes]
        for mode, step_size, times in plans:
            steps = round(times[-1] / step_size)
            path = descend(own, start, step_size=step_size, steps=steps, record=range(steps + 1))
            trained, measured = (np.stack([evaluate(m, p) for p in path.parameters]) for m in (own, asked))
            for run, seed in enumerate(_seeds(settings)):

                def coefficients(step: int, run: int = run, kind: str = kind, path: Trajectory = path) -> np.ndarray:
                    return _coefficients(kind, train[run], evaluated[run], path.parameters[step, run], settings.beta)

                if mode == "frozen":
                    predicted = _frozen(coefficients(0), step_size, steps)
                else:
                    predicted = _tracked([coefficients(step) for step in range(steps)], trained[:, run], step_size)
                rows += [
                    {"seed": seed, "kind": kind, "mode": mode, "step_size": step_size, "time": time}
                    | _compare(predicted[round(time / step_size)], measured[round(time / step_size), run])
                    for time in times
                ]
                if tick is not None:
                    tick(steps)
    return rows


def _seeds(settings: TrajectorySettings) -> range:
    return range(settings.first_seed, settings.first_seed + settings.seeds)


def _coefficients(
    kind: str, train: States, evaluated: States, parameters: np.ndarray, beta: float
) -> Float[np.ndarray, "all train"]:
    """Change of each margin (training pairs first, then evaluated ones) per unit of a training pair's lost share."""
    final = np.concatenate([train.final, evaluated.final])
    if kind == "explicit":
        differences = final[:, 0] - final[:, 1]
        return differences @ differences[: len(train.final)].T
    pairs = [
        ResponsePair(*(Response(states.hidden[pair, side], states.tokens[pair, side]) for side in (0, 1)))
        for states in (train, evaluated)
        for pair in range(len(states.tokens))
    ]
    return beta**2 * overlap_sums(OutputLayer(parameters), pairs, pairs[: len(train.tokens)], memory=2**26).values


def _frozen(coefficients: Float[np.ndarray, "all train"], step_size: float, steps: int) -> np.ndarray:
    n = coefficients.shape[1]
    margins = [np.zeros(len(coefficients))]
    for _ in range(steps):
        margins.append(margins[-1] + step_size * coefficients @ expit(-margins[-1][:n]) / n)
    return np.stack(margins)[:, n:]


def _tracked(coefficients: list[np.ndarray], own: Float[np.ndarray, "steps train"], step_size: float) -> np.ndarray:
    n = own.shape[1]
    changes = [step_size * c[n:] @ expit(-margins) / n for c, margins in zip(coefficients, own[:-1], strict=True)]
    return np.concatenate([np.zeros((1, len(changes[0]))), np.cumsum(changes, axis=0)])


def _compare(predicted: np.ndarray, measured: np.ndarray) -> Row:
    difference = predicted - measured
    return {
        "error": float(np.abs(difference).max()),
        "relative_error": float(np.sqrt(np.mean(difference**2) / np.mean(measured**2))),
        "sign_agreement": float(np.mean(np.sign(predicted) == np.sign(measured))),
    }


def trajectory_claims(rows: list[Row], settings: TrajectorySettings) -> list[Claim]:
    def pick(value: str, **wanted: object) -> list[float]:
        return [row[value] for row in rows if all(row[name] == want for name, want in wanted.items())]

    explicit = pick("error", kind="explicit")
    sizes, last = settings.tracked_step_sizes, settings.tracked_times[-1]
    slopes = []
    for seed in _seeds(settings):
        wanted = {"kind": "implicit", "mode": "tracked", "seed": seed, "time": last}
        errors = [pick("relative_error", step_size=size, **wanted)[0] for size in sizes]
        slopes.append(float(np.polyfit(np.log(sizes), np.log(errors), 1)[0]))
    mean, farthest = mean_interval(slopes), max(slopes, key=lambda slope: abs(slope - 1))
    frozen = {"kind": "implicit", "mode": "frozen"}
    return [
        theorem(
            "trajectory.explicit", "explicit margins are predicted along the whole run: largest error, nats",
            max(explicit), "<=", EXACT, n=len(explicit), unit="run x time", seeds=settings.seeds, kind="explicit",
        ),
        theorem(
            "trajectory.implicit.tracked",
            f"tracked implicit predictions err in proportion to the step: log-log slope at time {last:g} of the seed "
            f"farthest from 1 (mean {mean.mean:.3f})",
            Interval(farthest, min(slopes), max(slopes), mean.n), "within", (0.75, 1.25), n=mean.n, unit="seed",
            seeds=settings.seeds, kind="implicit",
        ),
        *(
            observation(
                f"trajectory.implicit.frozen.{name}",
                f"coefficients frozen at step 0: {what} of implicit margins at time {time:g}",
                pick(value, time=time, **frozen), kind="implicit",
            )
            for name, what, value, time in (
                ("early", "relative error", "relative_error", settings.frozen_times[0]),
                ("late", "relative error", "relative_error", settings.frozen_times[-1]),
                ("signs", "sign agreement", "sign_agreement", settings.frozen_times[-1]),
            )
        ),
    ]  # fmt: skip
