"""Token reliance: can the changes of a model's margins be foretold from the tokens of its training responses?

Three rules know the training pairs and nothing else of the model's training. `bag_of_tokens` and `token_overlap` are
those of `llm_experiments.baselines`. `coefficient` is the theory's (Razin et al. 2025, section 4): how fast each reward
would move if a gradient step were taken on the training pairs,

    implicit     sum over both responses' tokens of rho <h', h>, from the reference where it is known
    explicit     <h', h+ - h->, from the model as it is
    generative   the verification prompt's rho <h', h>, from the model as it is

It needs hidden states, so it is computed for a sample of pairs, the same for every shift.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from llm_experiments.baselines import TokenRules
from llm_experiments.encoding import EncodedPair
from llm_experiments.pairs import Pair, load_pairs
from llm_experiments.stress.folder import ORIGINAL, Texts
from llm_experiments.stress.judges import Judge
from llm_experiments.stress.scorers import SIDES, encode
from llm_experiments.stress.shifts import CHANGED
from simulations.results import Row, UserError, read_json, write_json, write_rows

RULES = ("bag_of_tokens", "token_overlap", "coefficient")
SAMPLE, TRAINED = 64, 64  # evaluated and training pairs for the coefficient


def rely(judge: Judge, source: str, place: Path, pairs: Sequence[Pair], texts: Texts) -> None:
    """Write what the three rules say of every pair, before and after every shift, unless it is there.

    Raises:
        UserError: the training pairs cannot be read, or the folder has the reliance on others.
    """
    _claim(place, source, judge.request.split)
    shifted = {name: [pair for pair, fate in some if fate == CHANGED] for name, some in texts.items()}
    wanted = {ORIGINAL: list(pairs)} | shifted
    missing = [name for name in wanted if not (place / f"{name}.jsonl").exists()]
    if not missing:
        return
    scorer = judge.scorer()
    trained = load_pairs(source, bad_pairs="drop", split=judge.request.split)
    train, _ = encode(trained, scorer.tokenizer, scorer.encoding)
    if not train:
        raise UserError(f"--train_pairs {source}: no pair is left after encoding; raise --max_length")
    rules, coefficient = TokenRules.of(train), Coefficient(scorer.model, _sample(train, TRAINED))
    sample = {pair.id for pair in _sample(pairs, SAMPLE)}
    for name in missing:
        encoded, _ = encode(wanted[name], scorer.tokenizer, scorer.encoding)
        write_rows(place / f"{name}.jsonl", rule_rows(rules, encoded, coefficient, sample))


class Coefficient:
    """How fast rewards move if the model steps on `train`, to first order and by the theory."""

    def __init__(self, model: Any, train: Sequence[EncodedPair]) -> None:
        from llm_experiments.models import RewardModel
        from llm_experiments.predictions import response_states

        self.model, self._adapter = model, None
        if model.kind == "implicit" and model.reference is not None:
            self._adapter = model.adapter if model.reference is model.policy else None
            if self._adapter is None:
                self.model = RewardModel("implicit", model.reference.to(model.device), beta=model.beta)
        self._states = response_states
        with self._switched_off():
            self._train = self._states(self.model, train)

    def rates(self, pairs: Sequence[EncodedPair]) -> np.ndarray:
        """Per pair the rates of its chosen and its rejected response, per unit of step size, (pairs, 2)."""
        from llm_experiments.predictions import reward_rates

        if not pairs:
            return np.empty((0, 2))
        with self._switched_off():
            return reward_rates(self.model, self._states(self.model, pairs), self._train).mean(-1)

    def _switched_off(self) -> Any:
        return self._adapter.disable_adapter() if self._adapter is not None else nullcontext()


def rule_rows(rules: TokenRules, pairs: Sequence[EncodedPair], coefficient: Coefficient, sample: set[str]) -> list[Row]:
    """What the rules say of either response; the coefficient is null outside of the sample."""
    columns = {name: (value.chosen, value.rejected) for name, value in rules.rewards(pairs).items()}
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


def _claim(place: Path, source: str, split: str) -> None:
    path, asked = place / "train_pairs.json", {"train_pairs": source, "split": split}
    if not path.exists():
        write_json(path, asked)
    elif read_json(path) != asked:
        raise UserError(
            f"--train_pairs {source}: {place} holds the reliance on {read_json(path)['train_pairs']}; choose another "
            "--output, or delete that folder"
        )
