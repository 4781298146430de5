"""Predicted against measured reward changes on a language model: `rewardgap dynamics`.

    rewardgap dynamics --model M --train_pairs train.jsonl --pairs other.jsonl --output runs/dynamics

A step is plain gradient descent on the mean loss of all training pairs. What it moves is one of

    head  the explicit head, or an output layer of its own (a tied one is copied first): the theory's assumption
    tied  the matrix that output layer and input embeddings share: hidden states move as well, the theory says nothing
    all   every parameter

With `head` the theory holds to first order (exactly for explicit models). At the default step of 1e-5 the relative
error is below 1e-3 on the stored models; at 1e-3 that of generative ones is 0.02. transformers computes norms in
float32 whatever the weights are: where hidden states move, changes below about 1e-5 of a reward are rounding, small
steps say nothing, and the default is 1e-3. With `head` they stay, and float64 carries any step.

The folder ends up with one_step.jsonl (a row per evaluated pair, step size, kind and what was moved), training.jsonl
(the same along a training run), prediction.jsonl (with --predict: which pairs will be ranked right, before anything is
trained; llm_experiments/prediction.py), metrics.json and provenance.json. Along training two predictions run: `frozen`
knows hidden states and output layer at step 0 only and lets nothing but its own predicted margins act back, `tracked`
adds up one-step predictions from the states of every step. No prediction ever sees a measured reward after step 0, but
for `tracked`, which sees the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float

from llm_experiments.agreement import STEP_SIZE, agreement, flip_auc, flips
from llm_experiments.batches import Batch, collate_pairs
from llm_experiments.encoding import EncodedPair
from llm_experiments.inputs import Metrics, part_of, read_inputs, run_in_folder
from llm_experiments.models import RewardModel, kind_of, load_reward_model, load_tokenizer, model_folder
from llm_experiments.prediction import prediction_rows, summarise_predictions
from llm_experiments.predictions import loss_factors, output_layer, response_states, reward_rates
from llm_experiments.scoring import check_lengths
from llm_experiments.settings import DynamicsRequest, EncodingSettings
from llm_experiments.training import reference_log_probabilities, select_parameters
from simulations.progress import progress_bar
from simulations.results import Row, UserError, finish_run, provenance, write_json, write_rows
from theory.preferences import PairRewards, bradley_terry_loss
from theory.rewards import KINDS, generative_cross_entropy

Trained = Literal["head", "tied", "all"]
Rewards = Float[np.ndarray, "pairs 2"]
RECORDS = 20  # of a longer training run, steps that are measured
VIOLATION = {
    "tied": "the output layer is the input embedding, so the step moves hidden states, which the theory holds fixed",
    "all": "the step moves hidden states, which the theory holds fixed",
}


@dataclass(frozen=True)
class Experiment:
    """A model, the pairs that steps are on, and the pairs whose rewards are watched; the model is put back after use.

    `evaluated` come first wherever both are computed together, `trained` after them.
    """

    model: RewardModel
    evaluated: Sequence[EncodedPair]
    trained: Sequence[EncodedPair]
    generative_loss: str = "cross_entropy"
    batch_size: int = 8

    @cached_property
    def both(self) -> list[EncodedPair]:
        return [*self.evaluated, *self.trained]

    @cached_property
    def reference(self) -> Rewards | None:
        """The reference's log-probabilities of both, which never change."""
        return reference_log_probabilities(self.model, self.both, self.batch_size)

    def rewards(self, count: int | None = None) -> Rewards:
        """Of the first `count` of both; by the model's own forward pass, as in scoring."""
        pairs = self.both[:count]
        found = np.empty((len(pairs), 2))
        with torch.no_grad():
            for chunk in self._chunks(0, len(pairs)):
                batch, reference = self._batch(chunk)
                values = self.model.rewards(self.model(**batch), reference)
                found[chunk] = values.double().cpu().numpy().reshape(2, -1).T
        return found

    def gradients(self, parameters: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Of the mean loss over the training pairs, by automatic differentiation."""
        for parameter in parameters:
            parameter.grad = None
        first, total = len(self.evaluated), len(self.trained)
        for chunk in self._chunks(first, first + total):
            batch, reference = self._batch(chunk)
            output = self.model(**batch)
            if self.model.kind == "generative" and self.generative_loss == "cross_entropy":
                loss = generative_cross_entropy(*output.chunk(2), *self.model.answers)
            else:
                loss = bradley_terry_loss(PairRewards(*self.model.rewards(output, reference).chunk(2)))
            (loss * ((chunk.stop - chunk.start) / total)).backward()
        found = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        for parameter in parameters:
            parameter.grad = None
        return found

    def rates(self, count: int) -> Float[np.ndarray, "pairs 2 trained"]:
        """Predicted change of the first `count` of both, per unit of step size and training pair, at present."""
        states = response_states(self.model, self.both, self.batch_size)
        first = len(self.evaluated)
        ratios = None if self.reference is None else self.reference[first:, 0] - self.reference[first:, 1]
        return reward_rates(
            self.model,
            states[:count],
            states[first:],
            reference_log_ratios=ratios,
            generative_loss=self.generative_loss,
        )

    def _chunks(self, start: int, stop: int) -> list[slice]:
        return [slice(i, min(i + self.batch_size, stop)) for i in range(start, stop, self.batch_size)]

    def _batch(self, chunk: slice) -> tuple[Batch, torch.Tensor | None]:
        device = self.model.device
        batch = {name: tensor.to(device) for name, tensor in collate_pairs(self.both[chunk], self.model.kind).items()}
        if self.reference is None:
            return batch, None
        return batch, torch.from_numpy(self.reference[chunk].T.reshape(-1)).to(device)


class _Moved:
    """The parameters that steps move; back at their start on leaving."""

    def __init__(self, model: RewardModel, trained: Trained) -> None:
        if trained == "tied":
            model.requires_grad_(False)
            model.policy.get_output_embeddings().weight.requires_grad_(True)
        else:
            select_parameters(model, trained)
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.start = [parameter.detach().clone() for parameter in self.parameters]

    def __enter__(self) -> "_Moved":
        return self

    def __exit__(self, *_: object) -> None:
        self.step_from(self.start, self.start, 0.0)

    @torch.no_grad()
    def step_from(self, place: Sequence[torch.Tensor], gradients: Sequence[torch.Tensor], size: float) -> None:
        for parameter, origin, gradient in zip(self.parameters, place, gradients, strict=True):
            parameter.copy_(origin - size * gradient)


def is_tied(model: RewardModel) -> bool:
    """Does the output layer share its weights with the input embeddings? (An explicit model reads neither.)"""
    if model.kind == "explicit":
        return False
    return model.policy.get_output_embeddings().weight is model.policy.get_input_embeddings().weight


def one_step_rows(experiment: Experiment, trained: Trained, step_sizes: Sequence[float]) -> list[Row]:
    """A row per evaluated pair and step size: predicted and measured change of its margin and of both rewards."""
    count = len(experiment.evaluated)
    rows = []
    with _Moved(experiment.model, trained) as moved:
        before, rates = experiment.rewards(count), experiment.rates(count).mean(-1)
        gradients = experiment.gradients(moved.parameters)
        for size in step_sizes:
            moved.step_from(moved.start, gradients, size)
            measured, predicted = experiment.rewards(count) - before, size * rates
            for number, pair in enumerate(experiment.evaluated):
                row = {"kind": experiment.model.kind, "trained": trained, "step_size": size, "id": pair.id}
                row |= {"margin": before[number, 0] - before[number, 1]}
                for name, change in (("predicted", predicted[number]), ("measured", measured[number])):
                    row |= {name: change[0] - change[1], f"{name}_chosen": change[0], f"{name}_rejected": change[1]}
                rows.append({name: _plain(value) for name, value in row.items()})
    return rows


def training_rows(
    experiment: Experiment, trained: Trained, *, learning_rate: float, max_steps: int, progress: bool = False
) -> list[Row]:
    """A row per evaluated pair and recorded step: how far its margin has moved, and how far either prediction says.

    Raises:
        UserError: a reward is no longer finite; the learning rate is too high.
    """
    count, model, rows = len(experiment.evaluated), experiment.model, []
    recorded = set(np.unique(np.geomspace(1, max_steps, RECORDS).round()) if max_steps > RECORDS else ())
    name = f"{model.kind}, {trained}"
    with _Moved(model, trained) as moved:
        before = _margins(experiment.rewards())
        rates = _margins(experiment.rates(len(before)))
        start_factors = loss_factors(model, before[count:], experiment.generative_loss)
        kernel = rates / np.maximum(start_factors, np.finfo(float).tiny)
        frozen, tracked = np.zeros(len(before)), np.zeros(count)
        for step in progress_bar(range(1, max_steps + 1), desc=name, unit="step", show=progress):
            if step > 1:
                rates = _margins(experiment.rates(count))
            factors = loss_factors(model, before[count:] + frozen[count:], experiment.generative_loss)
            frozen = frozen + learning_rate * (kernel @ factors) / len(factors)
            tracked = tracked + learning_rate * rates[:count].mean(-1)
            here = [parameter.detach() for parameter in moved.parameters]
            moved.step_from(here, experiment.gradients(moved.parameters), learning_rate)
            if recorded and step not in recorded:
                continue
            measured = _margins(experiment.rewards(count)) - before[:count]
            if not np.isfinite(measured).all():
                raise UserError(f"{name}: rewards are not finite after {step} steps; lower --learning_rate")
            for number, pair in enumerate(experiment.evaluated):
                row = {"kind": model.kind, "trained": trained, "learning_rate": learning_rate, "step": step}
                row |= {"id": pair.id, "margin": before[number], "measured": measured[number]}
                row |= {"frozen": frozen[number], "tracked": tracked[number]}
                rows.append({name: _plain(value) for name, value in row.items()})
    return rows


def summarise_dynamics(rows: Sequence[Row], *, tie_tolerance: float) -> Metrics:
    """Agreement per kind, per what was moved, and per step size (one step) or step and prediction (training)."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["kind"], row["trained"], row.get("step"), row.get("step_size")), []).append(row)
    metrics: Metrics = {}
    for (kind, trained, step, size), group in groups.items():
        margin, measured = _column(group, "margin"), _column(group, "measured")
        flipped = flips(margin, margin + measured, tie_tolerance=tie_tolerance)
        for prediction in ("predicted",) if step is None else ("frozen", "tracked"):
            predicted = _column(group, prediction)
            row: Row = {"kind": kind, "trained": trained}
            if step is None:
                name = f"{kind}/{trained}/one_step/{size:g}"
                row |= {"phase": "one_step", "step_size": size}
            else:
                name = f"{kind}/{trained}/{prediction}/{step}"
                row |= {"phase": "training", "coefficients": prediction, "step": step}
                ranked = [_accuracy(margins, tie_tolerance) for margins in (margin, margin + measured)]
                row |= dict(zip(("accuracy_before", "accuracy_after"), ranked, strict=True))
            row |= agreement(predicted, measured).to_row()
            auc = flip_auc(margin, predicted, flipped, tie_tolerance=tie_tolerance)
            row |= {"flipped": int(flipped.sum()), "flip_auc": auc, "violation": VIOLATION.get(trained)}
            metrics[name] = row
    return metrics


def _accuracy(margins: Float[np.ndarray, " pairs"], tie_tolerance: float) -> float:
    """Share of pairs ranked right; ties count one half."""
    return float(np.mean((margins > tie_tolerance) + 0.5 * (np.abs(margins) <= tie_tolerance)))


def run_dynamics(request: DynamicsRequest) -> Metrics:
    """Everything `rewardgap dynamics` does; returns the last step's metrics and all of the one step.

    Raises:
        UserError: whatever the user can set right, with nothing half-written left behind.
    """
    return run_in_folder("dynamics", request, _run)


def _run(request: DynamicsRequest, output: Path) -> Metrics:
    if request.predict != "none" and request.kind == "generative":
        raise UserError(f"--predict {request.predict}: is for explicit and implicit models; leave it out")
    for name, value in (("step", min(request.step, default=1)), ("learning_rate", request.learning_rate)):
        if not value > 0:
            raise UserError(f"--{name} must be positive, got {value:g}")
    source = model_folder(request.model)
    known = kind_of(source)
    kinds = (request.kind,) if request.kind != "auto" else KINDS if known is None else (known,)
    tokenizer, encoding = load_tokenizer(source), part_of(request, EncodingSettings)
    train, evaluation = (
        next(iter(read_inputs((place,), tokenizer, encoding, request.split, flags=(flag, flag)).values()))
        for place, flag in ((request.train_pairs, "--train_pairs"), (request.pairs, "--pairs"))
    )
    one, along, scores, models = [], [], [], {}
    for kind in kinds:
        model = load_reward_model(
            source,
            kind,
            tokenizer=tokenizer,
            reference=request.reference,
            beta=request.beta,
            dtype=request.dtype,
            device=request.device,
            seed=request.seed,
            trained=known is not None,
        )
        if model.adapter is not None:
            raise UserError(f"{source}: is an adapter; merge it into its base first")
        check_lengths(model, [*train.pairs, *evaluation.pairs])
        experiment = Experiment(model, evaluation.pairs, train.pairs, request.generative_loss, request.batch_size)
        models[kind] = describe(experiment)
        family = {"model": model.config.model_type}
        if request.predict != "none" and kind != "generative":
            scores += prediction_rows(
                model, evaluation.pairs, train.pairs, moved=request.predict, batch_size=request.batch_size
            )
        for trained in _arms(model, request.trainable):
            one += [family | row for row in one_step_rows(experiment, trained, request.step or [STEP_SIZE[trained]])]
            if request.max_steps > 0:
                along += [
                    family | row
                    for row in training_rows(
                        experiment,
                        trained,
                        learning_rate=request.learning_rate,
                        max_steps=request.max_steps,
                        progress=True,
                    )
                ]
    write_rows(output / "one_step.jsonl", one)
    if along:
        write_rows(output / "training.jsonl", along)
    if scores:
        write_rows(output / "prediction.jsonl", scores)
    audits = {"train_pairs": train.audit.to_row(), "pairs": evaluation.audit.to_row()}
    write_json(output / "provenance.json", provenance(seed=request.seed, audits=audits, models=models))
    last = max((row["step"] for row in along), default=0)
    metrics = summarise_dynamics(
        [*one, *(row for row in along if row["step"] == last)], tie_tolerance=request.tie_tolerance
    )
    metrics |= summarise_predictions(scores)
    write_json(output / "metrics.json", metrics)
    finish_run(output)
    return metrics


def describe(experiment: Experiment) -> Row:
    """What of the model decides how hard the prediction is: tying, and how far logits reach beyond the cap."""
    model = experiment.model
    row: Row = {"model": model.config.model_type, "tied": is_tied(model), "beta": model.beta}
    if model.kind == "explicit":
        return row
    layer = output_layer(model)
    highest = 0.0
    for pair in response_states(model, experiment.evaluated, experiment.batch_size):
        for response in (pair.chosen, pair.rejected):
            raw = layer.scale * response.hidden @ layer.weights.T
            highest = max(highest, float(raw.abs().max()))
    return row | {"soft_cap": layer.soft_cap, "largest_logit_before_the_cap": highest}


def _arms(model: RewardModel, trainable: str) -> list[Trained]:
    """In an order that leaves the head for last: it unties the output layer."""
    arms: list[Trained] = ["all"] if trainable != "head" else []
    if trainable != "all":
        arms += ["tied", "head"] if is_tied(model) else ["head"]
    return arms


def _margins(rewards: np.ndarray) -> np.ndarray:
    return rewards[:, 0] - rewards[:, 1]


def _column(rows: Sequence[Row], name: str) -> np.ndarray:
    return np.array([row[name] for row in rows])


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, np.floating) else value
