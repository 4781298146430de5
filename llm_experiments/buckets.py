"""Steps of pairs of similar length, so that little is padded: drawn at random, and the same for the same seed."""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

STEPS_TOGETHER = 50  # as many steps' pairs, drawn at random, are sorted by length and dealt out again


class LengthBuckets(Sampler[int]):
    """Numbers of pairs, every one once an epoch; each run of `size` has similar lengths, and runs are in random order.

    The loss of a step stays the mean over its pairs, and which pairs meet in one is still random; it does depend on
    their lengths. The last run is the one that may be short. Depends on `seed` and the epoch alone.
    """

    def __init__(self, lengths: Sequence[int], size: int, seed: int) -> None:
        self.lengths, self.size, self.seed, self.epoch = list(lengths), size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed((self.seed << 20) + self.epoch)
        order = torch.randperm(len(self.lengths), generator=generator).tolist()
        whole = len(order) - len(order) % self.size
        together = STEPS_TOGETHER * self.size
        runs = []
        for start in range(0, whole, together):
            some = sorted(order[start : min(whole, start + together)], key=self.lengths.__getitem__)
            runs += [some[at : at + self.size] for at in range(0, len(some), self.size)]
        mixed = [runs[number] for number in torch.randperm(len(runs), generator=generator).tolist()]
        return iter([number for run in mixed for number in run] + order[whole:])
