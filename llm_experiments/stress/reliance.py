"""Token reliance: can the changes of a model's margins be foretold from the tokens of its training responses?

Three rules know the training pairs and nothing else of the model's training. `bag_of_tokens` and `token_overlap` are
those of `llm_experiments.baselines`. `coefficient` is the theory's (Razin et al. 2025, section 4): how fast each reward
would move if a gradient step were taken on the training pairs,

    implicit     sum over both responses' tokens of rho <h', h>, from the reference where it is known
    explicit     <h', h+ - h->, from the model as it is
    generative   the verification prompt's rho <h', h>, from the model as it is

It needs hidden states and many products, so it is computed for a sample of pairs, the same for every shift, and only
where the training pairs are named; the other two are there whenever the training pairs are known.
"""

import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from llm_experiments.baselines import TokenRules
from llm_experiments.encoding import EncodedPair
from llm_experiments.models import RewardModel, load_tokenizer, read_manifest
from llm_experiments.pairs import Pair
from llm_experiments.predictions import response_states, reward_rates
from llm_experiments.stress.folder import ORIGINAL, Texts
from llm_experiments.stress.judges import Judge
from llm_experiments.stress.scorers import SIDES, encode
from llm_experiments.stress.shifts import CHANGED
from llm_experiments.training import reference_log_probabilities
from llm_experiments.training_pairs import training_pairs
from simulations.results import Row, read_json, write_json, write_rows
from theory.dynamics import ResponsePair

CLAIM = "train_pairs.json"
SAMPLE, TRAINED = 64, 64  # evaluated and training pairs for the coefficient


def rely(judge: Judge, place: Path, pairs: Sequence[Pair], texts: Texts) -> None:
    """Write what the rules say of every pair, before and after every shift, unless it is there; nothing where nobody
    knows the training pairs.

    Raises:
        UserError: the training pairs cannot be read.
    """
    given, manifest = judge.request.train_pairs, read_manifest(judge.folder)
    asked = {"train_pairs": list(given) or manifest.get("pairs"), "coefficient": bool(given)}
    if (place / CLAIM).exists() and read_json(place / CLAIM) != asked:
        shutil.rmtree(place)  # what follows from other pairs; nothing here took long
    shifted = {name: [pair for pair, fate in some if fate == CHANGED] for name, some in texts.items()}
    wanted = {ORIGINAL: list(pairs)} | shifted
    missing = [name for name in wanted if not (place / f"{name}.jsonl").exists()]
    if not missing or not asked["train_pairs"]:
        return
    train = training_pairs(given, manifest, load_tokenizer(judge.folder), judge.encoding)
    if train is None:
        return
    write_json(place / CLAIM, asked)
    scorer = judge.scorer()
    rules, sample = TokenRules.of(train.pairs), {pair.id for pair in _sample(pairs, SAMPLE)}
    coefficient = None
    if given:
        readable = [pair for pair in train.pairs if pair.longest <= (scorer.encoding.max_length or pair.longest)]
        coefficient = Coefficient(scorer.model, _sample(readable, TRAINED))
    for name in missing:
        encoded, _ = encode(wanted[name], scorer.tokenizer, scorer.encoding)
        write_rows(place / f"{name}.jsonl", rule_rows(rules, encoded, coefficient, sample))


class Coefficient:
    """How fast rewards move if the model steps on `train`, to first order and by the theory."""

    def __init__(self, model: RewardModel, train: Sequence[EncodedPair]) -> None:
        self._model, self._adapter = model, None
        if model.kind == "implicit" and model.reference is model.policy:
            self._adapter = model.adapter
        elif model.kind == "implicit" and model.reference is not None:
            self._model = RewardModel("implicit", model.reference.to(model.device), beta=model.beta)
        reference = reference_log_probabilities(model, train)  # at its own start every margin is zero
        self._ratios = None if reference is None else reference[:, 0] - reference[:, 1]
        self._train = self._states(train)

    def rates(self, pairs: Sequence[EncodedPair]) -> Float[np.ndarray, "pairs 2"]:
        """Per pair the rates of its chosen and its rejected response, per unit of step size."""
        if not pairs:
            return np.empty((0, 2))
        states = self._states(pairs)
        return reward_rates(self._model, states, self._train, reference_log_ratios=self._ratios).mean(-1)

    def _states(self, pairs: Sequence[EncodedPair]) -> list[ResponsePair]:
        with nullcontext() if self._adapter is None else self._adapter.disable_adapter():
            return response_states(self._model, pairs)


def rule_rows(
    rules: TokenRules,
    pairs: Sequence[EncodedPair],
    coefficient: Coefficient | None,
    sample: set[str],
) -> list[Row]:
    """What the rules say of either response; the coefficient is null outside of the sample."""
    if not pairs:
        return []
    columns = {name: (value.chosen, value.rejected) for name, value in rules.rewards(pairs).items()}
    rates: dict[str, list[float]] = {}
    if coefficient is not None:
        some = [pair for pair in pairs if pair.id in sample]
        rates = dict(zip((pair.id for pair in some), coefficient.rates(some).tolist(), strict=True))
    rows = []
    for number, pair in enumerate(pairs):
        row: Row = {"id": pair.id}
        for place, side in enumerate(SIDES):
            row |= {f"{name}_{side}": float(values[place][number]) for name, values in columns.items()}
            row[f"coefficient_{side}"] = rates[pair.id][place] if pair.id in rates else None
        rows.append(row)
    return rows


def _sample(pairs: Sequence[Any], count: int) -> list[Any]:
    """Which ones depends on their ids alone."""
    return sorted(pairs, key=lambda pair: blake2b(pair.id.encode("utf-8", "surrogatepass")).digest())[:count]
