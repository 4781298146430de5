"""Will a model rank these pairs right after training on those? A score from the model as it is before training.

    scores = predicted_margins(model, evaluated, trained)      # one per evaluated pair; positive: right
    predicted_accuracy(scores)

A gradient step on training pair j changes the margin of pair i in proportion to the inner product of their margins'
gradients, K_ij. Over all of training a mean over j says too little: where the right answer depends on the prompt, the
same words pull in either direction and cancel. Training learns to keep such prompts apart if the language model does.
So each training pair counts as much as its prompt is like the evaluated one's:

    score_i = mean_j K_ij max(0, cos(p_i, p_j)) / mean_t |score_t before this division|        t: training pairs

p is the mean of the prompt's hidden states, less its mean over the training pairs. A score of 1 moves as training pairs
do on average; one near 0 says that nothing which training teaches reaches the pair, and either sign may come of it.

K is of one of two kinds. `all`: of all parameters, by automatic differentiation; holds one gradient per training pair.
`head`: the theory's (Razin et al. 2025, section 4), hidden states fixed, at any size (`theory.overlap`); it cannot see
what moves through hidden states or through an output layer that is also the input embedding.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float

from llm_experiments.batches import collate_pairs, collate_rows
from llm_experiments.encoding import EncodedPair
from llm_experiments.models import RewardModel
from llm_experiments.predictions import response_states, reward_rates
from simulations.results import Row

Moved = Literal["all", "head"]
AT_A_TIME = 32  # gradients of evaluated pairs
ROUNDING = 1e-5  # relative; of hidden states in float32


def predicted_margins(
    model: RewardModel,
    evaluated: Sequence[EncodedPair],
    trained: Sequence[EncodedPair],
    *,
    moved: Moved = "all",
    batch_size: int = 8,
) -> Float[np.ndarray, " evaluated"]:
    """The score of every evaluated pair, in units of the training pairs' own; nothing is trained.

    Args:
        model: as it is before training; explicit or implicit.
        moved: which parameters the kernel is of.
    """
    kernel = margin_kernel(model, evaluated, trained, moved=moved, batch_size=batch_size)
    scores = (kernel * prompt_likeness(model, [*evaluated, *trained], trained, batch_size)).mean(1)
    own = float(np.abs(scores[len(evaluated) :]).mean())
    return scores[: len(evaluated)] / own if own > 0 else np.zeros(len(evaluated))


def predicted_accuracy(scores: Float[np.ndarray, " pairs"]) -> float:
    """The share of pairs whose score is positive; a score of zero is half a pair."""
    return float(np.mean((scores > 0) + 0.5 * (scores == 0)))


def prediction_rows(
    model: RewardModel,
    evaluated: Sequence[EncodedPair],
    trained: Sequence[EncodedPair],
    *,
    moved: Moved,
    batch_size: int = 8,
) -> list[Row]:
    """A row per evaluated pair; what `rewardgap dynamics --predict` stores."""
    scores = predicted_margins(model, evaluated, trained, moved=moved, batch_size=batch_size)
    return [
        {"kind": model.kind, "coefficients": moved, "id": pair.id, "subset": pair.subset, "score": float(score)}
        for pair, score in zip(evaluated, scores, strict=True)
    ]


def summarise_predictions(rows: Sequence[Row]) -> dict[str, Row]:
    """By kind, the accuracy that the scores predict."""
    found = {}
    for kind, moved in dict.fromkeys((row["kind"], row["coefficients"]) for row in rows):
        scores = np.array([row["score"] for row in rows if row["kind"] == kind])
        row = {"kind": kind, "phase": "prediction", "coefficients": moved, "n": len(scores)}
        found[f"{kind}/prediction"] = row | {"predicted_accuracy": predicted_accuracy(scores)}
    return found


def margin_kernel(
    model: RewardModel,
    evaluated: Sequence[EncodedPair],
    trained: Sequence[EncodedPair],
    *,
    moved: Moved = "all",
    batch_size: int = 8,
) -> Float[np.ndarray, "both trained"]:
    """How fast the margin of a pair rises where that of a trained one is stepped uphill; trained pairs come last."""
    if moved == "head":
        return _head_kernel(model, [*evaluated, *trained], len(evaluated), batch_size)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def gradients(pairs: Sequence[EncodedPair]) -> torch.Tensor:
        return torch.stack([_margin_gradient(model, pair, parameters) for pair in pairs])

    own = gradients(trained)
    parts = [gradients(evaluated[i : i + AT_A_TIME]) @ own.T for i in range(0, len(evaluated), AT_A_TIME)]
    return torch.cat([*parts, own @ own.T]).double().cpu().numpy()


def _head_kernel(
    model: RewardModel, both: Sequence[EncodedPair], evaluated: int, batch_size: int
) -> Float[np.ndarray, "both trained"]:
    states = response_states(model, both, batch_size)
    if model.kind == "explicit":
        differences = torch.cat([pair.chosen.hidden - pair.rejected.hidden for pair in states]).double()
        return (differences @ differences[evaluated:].T).cpu().numpy()
    if model.kind == "generative":
        raise ValueError("the kernel of a head is known for explicit and implicit models")
    own = np.concatenate(
        [_log_ratios(model, both[start : start + batch_size]) for start in range(evaluated, len(both), batch_size)]
    )
    # against itself as reference a margin is zero, and its loss steps with a factor of one half
    rates = reward_rates(model, states, states[evaluated:], reference_log_ratios=own)
    return 2 * (rates[:, 0] - rates[:, 1])


@torch.no_grad()
def _log_ratios(model: RewardModel, pairs: Sequence[EncodedPair]) -> Float[np.ndarray, " pairs"]:
    """The policy's own ln pi(y+|x) - ln pi(y-|x)."""
    batch = {name: tensor.to(model.device) for name, tensor in collate_pairs(pairs, model.kind).items()}
    chosen, rejected = model(**batch).double().chunk(2)
    return (chosen - rejected).cpu().numpy()


def _margin_gradient(
    model: RewardModel, pair: EncodedPair, parameters: Sequence[torch.Tensor]
) -> Float[torch.Tensor, " parameters"]:
    """Of reward(chosen) - reward(rejected); the reference is a constant and has no part in it."""
    batch = {name: tensor.to(model.device) for name, tensor in collate_pairs([pair], model.kind).items()}
    chosen, rejected = model.rewards(model(**batch), None)
    found = torch.autograd.grad(chosen - rejected, parameters, allow_unused=True)
    return torch.cat(
        [
            (torch.zeros_like(parameter) if gradient is None else gradient).flatten()
            for parameter, gradient in zip(parameters, found, strict=True)
        ]
    )


def prompt_likeness(
    model: RewardModel, evaluated: Sequence[EncodedPair], trained: Sequence[EncodedPair], batch_size: int = 8
) -> Float[np.ndarray, "evaluated trained"]:
    """max(0, cosine) of the prompts' mean hidden states, centred on the training pairs; 1 where all prompts of the
    training pairs are the same one, which tells nothing apart."""
    one, other = (_prompt_means(model, some, batch_size) for some in (evaluated, trained))
    size, middle = np.abs(other).max(), other.mean(0)
    one, other = one - middle, other - middle
    if np.abs(other).max() <= ROUNDING * size:
        return np.ones((len(one), len(other)))
    lengths = np.linalg.norm(one, axis=1)[:, None] * np.linalg.norm(other, axis=1)
    return np.maximum(one @ other.T, 0.0) / np.maximum(lengths, np.finfo(float).tiny)


@torch.no_grad()
def _prompt_means(model: RewardModel, pairs: Sequence[EncodedPair], batch_size: int) -> Float[np.ndarray, "pairs dim"]:
    means = []
    for start in range(0, len(pairs), batch_size):
        rows = [(pair.prompt_ids, 0, len(pair.prompt_ids)) for pair in pairs[start : start + batch_size]]
        batch = {name: tensor.to(model.device) for name, tensor in collate_rows(rows).items()}
        mask = batch.pop("response_mask")[..., None]
        hidden = model.hidden_states(**batch).double()
        means.append(((hidden * mask).sum(1) / mask.sum(1)).cpu().numpy())
    return np.concatenate(means)
