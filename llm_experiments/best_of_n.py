"""Best-of-n: what the response is worth that a proxy likes best among n, without sampling n again and again.

Stiennon et al. 2020 sort N samples by the proxy: of all ways to take n of them, the i-th lowest is the best in
C(i - 1, n - 1). Weighted by that share of C(N, n), the samples' values give an unbiased estimate of the expected value
of the best of n, whatever N >= n.
"""

from collections.abc import Sequence
from math import log

import numpy as np
from jaxtyping import Float
from scipy.special import gammaln


def best_of_n(
    proxy: Float[np.ndarray, "prompts samples"], value: Float[np.ndarray, "prompts samples"], n: int
) -> Float[np.ndarray, " prompts"]:
    """Expected `value` of the sample whose `proxy` is highest among n, per prompt; equal proxies are drawn by lot.

    With `value` the proxy itself this is its expected maximum.

    Raises:
        ValueError: n is below 1 or above the number of samples, or the shapes differ.
    """
    prompts, samples = proxy.shape
    both = np.stack([proxy, value])
    if not 1 <= n <= samples:
        raise ValueError(f"the best of {n} cannot be estimated from {samples} samples")
    sorted_proxy, sorted_value = np.take_along_axis(both, np.argsort(proxy, axis=1, kind="stable")[None], 2)
    weights = _shares(samples, n)
    found = np.empty(prompts)
    for row in range(prompts):
        _, group, sizes = np.unique(sorted_proxy[row], return_inverse=True, return_counts=True)
        found[row] = weights @ (np.bincount(group, sorted_value[row]) / sizes)[group]
    return found


def best_of_n_kl(n: int) -> float:
    """log n - (n - 1) / n nats: how far the best of n is from the policy that was sampled, at most.

    Equal where the proxy has no ties and no response is drawn twice (Beirami et al. 2024).
    """
    return log(n) - (n - 1) / n


def powers_of_two(largest: int) -> Sequence[int]:
    """1, 2, 4, ... up to `largest`."""
    return [2**k for k in range(largest.bit_length())]


def _shares(samples: int, n: int) -> Float[np.ndarray, " samples"]:
    """C(i - 1, n - 1) / C(samples, n) for i = 1 ... samples."""
    rank = np.arange(1, samples + 1, dtype=np.float64)
    shares = np.zeros(samples)
    able = rank >= n
    log_ways = gammaln(rank[able]) - gammaln(n) - gammaln(rank[able] - n + 1)
    shares[able] = np.exp(log_ways - (gammaln(samples + 1) - gammaln(n + 1) - gammaln(samples - n + 1)))
    return shares / shares.sum()  # one up to rounding
