"""Pair rewards and what is read off them: the Bradley-Terry model, accuracy, ties and margins.

Razin et al. 2025 (arXiv 2507.07981), section 2. Every function takes numpy arrays or torch tensors and computes in
float64; probability and loss are differentiable in torch. A margin is chosen minus rejected, so positive means right.
Implicit rewards are in nats, explicit ones free numbers, generative ones probabilities; the Bradley-Terry model reads
the margin of any of them as log-odds, in nats.
"""

from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace
from jaxtyping import Float

# Anything with a shape and a floating dtype; jaxtyping checks both. Not a union with torch.Tensor: importing torch
# would cost every user of the theory two seconds.
Array = Any

# The constant in the denominator of the normalised margin, as in the official code.
SPREAD_FLOOR = 1e-8


@dataclass(frozen=True)
class PairRewards:
    """The rewards of the chosen and of the rejected response of each pair, shape (pairs,) each.

    Raises:
        ValueError: the shapes are not (pairs,) or differ, or there is no pair. Checked always, not under test only.
    """

    chosen: Float[Array, "..."]
    rejected: Float[Array, "..."]

    def __post_init__(self) -> None:
        if self.chosen.ndim != 1 or self.chosen.shape != self.rejected.shape:
            raise ValueError(
                f"chosen and rejected must hold one reward per pair, got shapes {tuple(self.chosen.shape)} and "
                f"{tuple(self.rejected.shape)}; did you pass token log-probabilities instead of their sums?"
            )
        if self.chosen.shape[0] == 0:
            raise ValueError("no pairs: the mean over an empty set of pairs is not a number")

    @property
    def margin(self) -> Float[Array, " pairs"]:
        """Chosen minus rejected, float64; subtracted after widening, so that nothing is lost before."""
        xp = array_namespace(self.chosen, self.rejected)
        return xp.astype(self.chosen, xp.float64) - xp.astype(self.rejected, xp.float64)

    def swapped(self) -> "PairRewards":
        """The same pairs with chosen and rejected exchanged: every margin changes its sign."""
        return PairRewards(self.rejected, self.chosen)


def bradley_terry_probability(rewards: PairRewards) -> Float[Array, " pairs"]:
    """P(chosen beats rejected) = sigma(margin); one half at a tie, finite at any margin."""
    return _exp_of_minus_softplus(-rewards.margin)


def bradley_terry_loss(rewards: PairRewards) -> Float[Array, ""]:
    """Mean of -ln sigma(margin) in nats; ln 2 where policy and reference agree, -margin as margin -> -inf."""
    margin = rewards.margin
    xp = array_namespace(margin)
    return xp.mean(xp.logaddexp(xp.zeros_like(margin), -margin))


def accuracy(rewards: PairRewards, *, tie_tolerance: float = 0.0) -> float:
    """Share of pairs ranked right; a pair whose margin is at most `tie_tolerance` in size counts one half.

    Rewards that are differences of log-softmaxes carry about 1e-15 of noise where exact arithmetic has a tie, so
    state a tolerance wherever ties are expected.

    Raises:
        ValueError: a reward is not finite: a missing reward is neither right nor wrong.
    """
    margin = _finite_margin(rewards)
    xp = array_namespace(margin)
    right = xp.astype(margin > tie_tolerance, xp.float64)
    tied = xp.astype(xp.abs(margin) <= tie_tolerance, xp.float64)
    return float(xp.mean(right + tied / 2))


def tie_rate(rewards: PairRewards, *, tie_tolerance: float = 0.0) -> float:
    """Share of pairs whose margin is at most `tie_tolerance` in size. Raises ValueError as `accuracy` does."""
    margin = _finite_margin(rewards)
    xp = array_namespace(margin)
    return float(xp.mean(xp.astype(xp.abs(margin) <= tie_tolerance, xp.float64)))


def absolute_margin(rewards: PairRewards) -> float:
    """Mean of |margin|, in units of the reward. Blind to the sign: a confidently wrong model has a large one."""
    margin = _finite_margin(rewards)
    xp = array_namespace(margin)
    return float(xp.mean(xp.abs(margin)))


def normalised_margin(rewards: PairRewards) -> float:
    """Mean of |margin| / (std + 1e-8), std the unbiased one over all 2 x pairs rewards; free of the rewards' scale.

    Zero where all rewards are equal. The papers call it the absolute (normalised) reward margin.
    """
    xp = array_namespace(rewards.chosen, rewards.rejected)
    spread = xp.std(xp.astype(xp.concat((rewards.chosen, rewards.rejected)), xp.float64), correction=1)
    return absolute_margin(rewards) / (float(spread) + SPREAD_FLOOR)


def _exp_of_minus_softplus(values: Float[Array, " pairs"]) -> Float[Array, " pairs"]:
    """1 / (1 + exp(values)) without overflow at either end."""
    xp = array_namespace(values)
    return xp.exp(-xp.logaddexp(xp.zeros_like(values), values))


def _finite_margin(rewards: PairRewards) -> Float[Array, " pairs"]:
    margin = rewards.margin
    xp = array_namespace(margin)
    bad = int(xp.sum(xp.astype(~xp.isfinite(margin), xp.int64)))
    if bad:
        raise ValueError(f"{bad} of {margin.shape[0]} margins are not finite; a missing reward has no rank")
    return margin
