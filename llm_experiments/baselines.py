"""What a reward model must beat: rules that read no prompt and need no language model.

`longest` and `shortest` count tokens. The other two know the training pairs. `bag_of_tokens` is the best weight per
token, fitted; `token_overlap` is what one gradient step of an implicit model would do if all hidden states were
alike: a response's tokens occur more in the training's chosen responses than in its rejected ones.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from llm_experiments.encoding import EncodedPair, Ids
from theory.preferences import PairRewards, accuracy

BASELINES = ("longest", "shortest", "bag_of_tokens", "token_overlap")
# Up to which difference of its rewards a rule has no opinion: nothing for counts, the fit's precision, rounding.
TIES = {"longest": 0.0, "shortest": 0.0, "bag_of_tokens": 1e-9, "token_overlap": 1e-12}


@dataclass(frozen=True)
class TokenRules:
    """The two rules that know the training pairs, as a weight per token: summed over a response, and averaged."""

    bag_of_tokens: Float[np.ndarray, " vocabulary"]
    token_overlap: Float[np.ndarray, " vocabulary"]

    @classmethod
    def of(cls, train: Sequence[EncodedPair]) -> "TokenRules":
        return cls(bag_of_tokens(train), token_overlap(train))

    def rewards(self, pairs: Sequence[EncodedPair]) -> dict[str, PairRewards]:
        """By name of the rule; tokens that training never saw count nothing."""
        return {
            "bag_of_tokens": _rewards(self.bag_of_tokens, pairs, np.sum),
            "token_overlap": _rewards(self.token_overlap, pairs, np.mean),
        }


def bag_of_tokens(train: Sequence[EncodedPair], *, ridge: float = 1e-2) -> Float[np.ndarray, " vocabulary"]:
    """One weight per token, to be summed over a response.

    Bradley-Terry on `train` with an L2 penalty (per pair), from zero: a token that training never preferred or
    disliked weighs exactly nothing, and a pair of such tokens is a tie.
    """
    width = _width(train)
    features = _differences(train, width)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margin = features @ weights
        value = np.logaddexp(0, -margin).mean() + ridge / 2 * weights @ weights
        slope = -np.exp(-np.logaddexp(0, margin)) / len(train)
        return float(value), features.T @ slope + ridge * weights

    options = {"gtol": 1e-10, "maxiter": 1000}
    return minimize(loss, np.zeros(width), jac=True, method="L-BFGS-B", options=options).x


def token_overlap(train: Sequence[EncodedPair]) -> Float[np.ndarray, " vocabulary"]:
    """One weight per token, to be averaged over a response: its mean share in chosen minus that in rejected responses.

    The average over a response y is the share of token pairs (i, j) with y_i equal to the j-th token of a training
    response, averaged over the chosen ones, minus the same over the rejected ones: the token-overlap coefficient of
    Razin et al. (2025), section 4, with every inner product of hidden states set to one.
    """
    weights = np.zeros(_width(train))
    for pair in train:
        for ids, sign in ((pair.chosen_ids, 1.0), (pair.rejected_ids, -1.0)):
            np.add.at(weights, list(ids), sign / len(ids) / len(train))
    return weights


def bag_of_tokens_accuracy(
    train: Sequence[EncodedPair], tests: dict[str, Sequence[EncodedPair]], *, ridge: float = 1e-2
) -> dict[str, float]:
    """Accuracy of the bag of tokens per test set; ties count one half."""
    weights = bag_of_tokens(train, ridge=ridge)
    rewards = {name: _rewards(weights, pairs, np.sum) for name, pairs in tests.items()}
    return {name: float(accuracy(found, tie_tolerance=TIES["bag_of_tokens"])) for name, found in rewards.items()}


def _rewards(weights: np.ndarray, pairs: Sequence[EncodedPair], reduce: Callable) -> PairRewards:
    def reward(ids: Ids) -> float:
        known = np.array(ids)
        return float(reduce(np.where(known < len(weights), weights[np.minimum(known, len(weights) - 1)], 0.0)))

    return PairRewards(
        np.array([reward(pair.chosen_ids) for pair in pairs]), np.array([reward(pair.rejected_ids) for pair in pairs])
    )


def _width(pairs: Sequence[EncodedPair]) -> int:
    return 1 + max(max(pair.chosen_ids + pair.rejected_ids) for pair in pairs)


def _differences(pairs: Sequence[EncodedPair], width: int) -> csr_matrix:
    """Token counts of chosen minus rejected, (pairs, vocabulary)."""
    columns, values, starts = [], [], [0]
    for pair in pairs:
        counts = Counter(pair.chosen_ids)
        counts.subtract(pair.rejected_ids)
        tokens = sorted(token for token, count in counts.items() if count)
        # arrays at once: sixty thousand pairs are tens of millions of tokens
        columns.append(np.array(tokens, dtype=np.int32))
        values.append(np.array([counts[token] for token in tokens], dtype=np.float64))
        starts.append(starts[-1] + len(tokens))
    return csr_matrix((np.concatenate(values), np.concatenate(columns), starts), shape=(len(pairs), width))
