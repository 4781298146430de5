"""One gradient step measured by autograd, which knows no formula, beside the closed forms in the same shape.

`measure` takes one step on the loss as defined and reads the rewards again. A right first-order formula errs by the
square of the step, a wrong one (a sign, a dropped term, beta or soft-cap factor) by the step itself: `accepts` is the
judge.
"""

from dataclasses import dataclass

import numpy as np
import torch

from theory.dynamics import (
    OutputLayer,
    Response,
    ResponsePair,
    generative_change_bradley_terry,
    generative_change_cross_entropy,
    implicit_change,
    log_probability,
)

YES, NO, BETA = 0, 1, 0.3
STEPS = (1e-2, 1e-3, 1e-4)
LAYERS = {"plain": (None, 1.0), "capped": (1.5, 1.0), "scaled": (None, 1.7), "capped and scaled": (2.0, 0.6)}


@dataclass(frozen=True)
class World:
    layer: OutputLayer
    reference: OutputLayer
    evaluated: list[Response]
    pairs: list[ResponsePair]

    @property
    def reference_log_ratios(self) -> np.ndarray:
        ratios = [
            log_probability(self.reference, p.chosen) - log_probability(self.reference, p.rejected) for p in self.pairs
        ]
        return np.array(ratios)

    @property
    def verification(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Hidden states of evaluated, chosen and rejected responses at one position each."""
        return (
            np.stack([r.hidden[-1] for r in self.evaluated]),
            np.stack([p.chosen.hidden[-1] for p in self.pairs]),
            np.stack([p.rejected.hidden[-1] for p in self.pairs]),
        )


def draw(seed: int = 0, *, name: str = "plain", vocabulary: int = 7, dim: int = 5, longest: int = 4) -> World:
    rng = np.random.default_rng(seed)

    def response() -> Response:
        tokens = rng.integers(0, vocabulary, rng.integers(1, longest + 1))
        return Response(rng.standard_normal((len(tokens), dim)), tokens)

    cap, scale = LAYERS[name]
    weights, reference = rng.standard_normal((2, vocabulary, dim))
    pairs = [ResponsePair(response(), response()) for _ in range(3)]
    return World(
        OutputLayer(weights, cap, scale), OutputLayer(reference, cap, scale), [response() for _ in range(4)], pairs
    )


def logits(layer: OutputLayer, weights: torch.Tensor, hidden: np.ndarray) -> torch.Tensor:
    raw = layer.scale * (torch.tensor(hidden) @ weights.T)
    return raw if layer.soft_cap is None else layer.soft_cap * torch.tanh(raw / layer.soft_cap)


def logprob(layer: OutputLayer, weights: torch.Tensor, response: Response) -> torch.Tensor:
    table = torch.log_softmax(logits(layer, weights, response.hidden), dim=-1)
    return table[torch.arange(len(response.tokens)), torch.tensor(response.tokens)].sum()


def yes_probability(layer: OutputLayer, weights: torch.Tensor, hidden: np.ndarray) -> torch.Tensor:
    return torch.softmax(logits(layer, weights, hidden), dim=-1)[..., YES]


def measure(parameters: np.ndarray, rewards, losses, step_size: float) -> np.ndarray:
    """Change of rewards(parameters) after one step on each of the losses in turn; (evaluated, pairs)."""
    start = torch.tensor(parameters)
    before, changes = rewards(start), []
    for loss in losses:
        leaf = start.clone().requires_grad_()
        loss(leaf).backward()
        changes.append(rewards(start - step_size * leaf.grad) - before)
    return torch.stack(changes, dim=1).numpy()


def measured_explicit(world: World, head: np.ndarray, step_size: float) -> np.ndarray:
    evaluated, chosen, rejected = (torch.tensor(h) for h in world.verification)
    losses = [
        lambda u, z=z: -torch.nn.functional.logsigmoid(u @ z) for z in chosen - rejected
    ]  # fmt: skip
    return measure(head, lambda u: evaluated @ u, losses, step_size)


def measured_implicit(world: World, step_size: float) -> np.ndarray:
    reference = torch.tensor(world.reference.weights)

    def reward(weights: torch.Tensor, response: Response) -> torch.Tensor:
        return BETA * (logprob(world.layer, weights, response) - logprob(world.reference, reference, response))

    losses = [
        lambda w, p=p: -torch.nn.functional.logsigmoid(reward(w, p.chosen) - reward(w, p.rejected)) for p in world.pairs
    ]
    return measure(
        world.layer.weights, lambda w: torch.stack([reward(w, r) for r in world.evaluated]), losses, step_size
    )


def measured_generative(world: World, step_size: float, *, loss: str) -> np.ndarray:
    evaluated, chosen, rejected = world.verification

    def cross_entropy(w: torch.Tensor, j: int) -> torch.Tensor:
        both = torch.log_softmax(logits(world.layer, w, np.stack([chosen[j], rejected[j]])), dim=-1)
        return -(both[0, YES] + both[1, NO]) / 2

    def bradley_terry(w: torch.Tensor, j: int) -> torch.Tensor:
        margin = yes_probability(world.layer, w, chosen[j]) - yes_probability(world.layer, w, rejected[j])
        return -torch.nn.functional.logsigmoid(margin)

    form = {"cross_entropy": cross_entropy, "bradley_terry": bradley_terry}[loss]
    losses = [lambda w, j=j: form(w, j) for j in range(len(world.pairs))]
    return measure(world.layer.weights, lambda w: yes_probability(world.layer, w, evaluated), losses, step_size)


def predicted_implicit(world: World, step_size: float, *, beta: float = BETA) -> np.ndarray:
    return implicit_change(
        world.layer, world.evaluated, world.pairs,
        reference_log_ratios=world.reference_log_ratios, beta=beta, step_size=step_size,
    )  # fmt: skip


def predicted_cross_entropy(world: World, step_size: float) -> np.ndarray:
    return generative_change_cross_entropy(world.layer, *world.verification, yes=YES, no=NO, step_size=step_size)


def predicted_bradley_terry(world: World, step_size: float) -> np.ndarray:
    return generative_change_bradley_terry(world.layer, *world.verification, yes=YES, step_size=step_size)


FORMS = {
    "implicit": (predicted_implicit, measured_implicit),
    "generative, cross-entropy": (
        predicted_cross_entropy,
        lambda w, s: measured_generative(w, s, loss="cross_entropy"),
    ),
    "generative, Bradley-Terry": (
        predicted_bradley_terry,
        lambda w, s: measured_generative(w, s, loss="bradley_terry"),
    ),
}


def order_of_error(predict, measured, world: World) -> float:
    """Slope of ln(largest error) in ln(step): 2 for a right first-order formula, 1 for any wrong one."""
    errors = [np.abs(predict(world, step) - measured(world, step)).max() for step in STEPS]
    return float(np.polyfit(np.log(STEPS), np.log(errors), 1)[0])


def accepts(predict, measured, world: World) -> bool:
    return 1.9 < order_of_error(predict, measured, world) < 2.1
