"""One training loop for the three kinds of reward model, and the run folder around it.

    rewardgap train --kind explicit --model runs/lm --pairs train.jsonl --output runs/explicit

The folder ends up with config.json, provenance.json, pairs.jsonl (as encoded), log.jsonl, cost.json (memory and time,
estimated and measured), model/, scores/, metrics.json and, last, done.json. A finished run is not repeated; a killed
one continues from its newest checkpoint and ends with the same numbers. The loss that is minimised is the mean over all
pairs of a step.
"""

import gc
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from llm_experiments.adapters import add_lora
from llm_experiments.augmentation import Augmented, Consistency, augment, edits
from llm_experiments.baselines import TokenRules
from llm_experiments.batches import collate_rows, pair_lines, plan_batches
from llm_experiments.card import write_card
from llm_experiments.checkpoints import CHECKPOINTS, bytes_needed, check_space
from llm_experiments.cost import compared, estimate, passes, say, spent, start_watch
from llm_experiments.distributed import Spread, gather, launched, processes, share, wait_for_all
from llm_experiments.encoding import EncodedPair, end_token
from llm_experiments.evaluation import summarise
from llm_experiments.frozen import fitting_states
from llm_experiments.inputs import CONTENTS, part_of, read_inputs, run_in_folder, with_overlap
from llm_experiments.models import MANIFEST, RewardModel, load_reward_model, load_tokenizer, model_folder, read_manifest
from llm_experiments.out_of_memory import in_pieces
from llm_experiments.reference_cache import cache_folder
from llm_experiments.saving import save_reward_model
from llm_experiments.scoring import check_lengths, score_source
from llm_experiments.settings import AugmentSettings, EncodingSettings, StartSettings, TrainRequest, TrainSettings
from llm_experiments.tied import one_gradient
from llm_experiments.weights import adapter_base, first_line
from simulations.results import (
    Row,
    UserError,
    finish_run,
    is_main_process,
    provenance,
    read_json,
    write_json,
    write_rows,
)


def train_reward_model(
    model: RewardModel,
    pairs: Sequence[EncodedPair],
    settings: TrainSettings | None = None,
    *,
    progress: bool = False,
    on_log: Callable[[Row], None] | None = None,
    on_cost: Callable[[Row], None] | None = None,
    checkpoints: Path | None = None,
    consistency: Consistency | None = None,
) -> list[Row]:
    """Train `model` in place on encoded pairs, in memory; the rows that were logged are returned.

    With `consistency` the margins of a pair and its partner are drawn together; margins are of the rewards that rank
    (a generative model's are probabilities of Yes, whatever its loss).

    With `checkpoints`, a folder, a run that was killed continues from the newest one there and ends with the same
    weights, bit for bit at a fixed number of threads; it must be given the same model, pairs and settings again.

    Deterministic in (`settings.seed`, pairs, weights) at a fixed number of threads. The reference's log-probabilities
    are computed once, before the first step. With `on_cost`, memory and time are estimated before that, and it is given
    the estimate beside what was measured.

    Raises:
        UserError: a loss or gradient is not finite (the message names the pairs and the module), sequences exceed the
            model's positions, memory does not suffice for one pair, or transformers knows no such optimiser, schedule
            or logger.
        KeyboardInterrupt: with `checkpoints`, on SIGTERM or Ctrl-C, after a last checkpoint.
    """
    from llm_experiments.callbacks import Progress, Saving
    from llm_experiments.trainer import Collator, RewardTrainer
    from llm_experiments.training_arguments import check_names, training_arguments

    settings = settings or TrainSettings()
    if not pairs:
        raise UserError("there are no pairs to train on")
    if launched() != processes():  # transformers' Trainer would divide the batches, and nobody put them together
        raise UserError("several processes train together by `rewardgap train` alone; start this with one")
    check_lengths(model, pairs)
    check_names(settings)
    select_parameters(model, settings.trainable)
    if checkpoints is not None:
        check_space(checkpoints, bytes_needed(model, settings.optim))
    if settings.gradient_checkpointing:
        model.policy.gradient_checkpointing_enable({"use_reentrant": False})
    frozen = None
    with torch.autocast(model.device.type, torch.bfloat16, enabled=settings.bf16):  # as every step is
        reference = reference_log_probabilities(model, pairs, settings.per_device_train_batch_size)
        if settings.trainable == "head" and processes() == 1 and passes(settings, len(pairs)) > 1:
            frozen = fitting_states(model, pairs, settings.per_device_train_batch_size)
    if reference is not None and model.reference is not model.policy:
        model.reference.to("cpu")  # not asked again before the end
    rows: list[Row] = []

    def collect(row: Row) -> None:
        rows.append(row)
        if on_log is not None:
            on_log(row)

    collator = Collator(
        pairs, model.kind, None if reference is None else torch.from_numpy(reference), frozen, consistency
    )
    spread, on_cpu = Spread.asked(), model.device.type == "cpu"
    if spread.by_deepspeed and checkpoints is not None:
        print("no checkpoints: DeepSpeed's are pickles; a run that is killed starts again", file=sys.stderr)
        checkpoints = None
    saving = Saving(settings.save_steps)
    callbacks = [Progress()] * progress + [saving] * (checkpoints is not None)
    with tempfile.TemporaryDirectory() as scratch, spread.trainable(model) as trained:
        try:
            trainer = RewardTrainer(
                model=trained,
                args=training_arguments(settings, scratch, cpu=on_cpu),
                collator=collator,
                generative_loss=settings.generative_loss,
                on_log=collect,
                checkpoints=checkpoints,
                buckets=settings.group_by_length,
                callbacks=callbacks,
            )
        except (ImportError, RuntimeError, ValueError) as error:
            raise UserError(
                f"transformers' Trainer refuses its settings ({first_line(error)}); see --report_to, --optim and "
                "--lr_scheduler_type"
            ) from None
        before = estimate(model, collator, settings) if on_cost and processes() == 1 else None
        if before:
            say(before)
        started = start_watch(model)
        gc.freeze()  # accelerate collects garbage before it trains: 0.4 s over the libraries' objects, for nothing
        try:
            with one_gradient(model):
                trainer.run()
        finally:
            gc.unfreeze()
            saving.restore_signals()
        spread.put_together(model, trainer)
    if before and on_cost:
        steps = trainer.state.global_step - trainer.first_step
        on_cost(compared(before, spent(model, started), share=steps / max(1, trainer.state.max_steps)))
    if saving.interrupted:
        raise KeyboardInterrupt
    model.eval()
    return rows


def select_parameters(model: RewardModel, trainable: str) -> None:
    """Leave gradients on for every parameter, or for the head alone.

    The head of an implicit or generative model is its output layer. Where that shares its weights with the input
    embeddings it is given a copy of its own: training the shared matrix would move every hidden state as well.
    """
    if model.adapter is not None:
        if trainable == "head":
            raise UserError("--trainable head leaves nothing to --use_peft; use one of the two")
        if model.kind == "explicit":  # peft has already frozen everything but the adapter
            model.head.requires_grad_(True)
        return
    model.requires_grad_(trainable == "all")
    if trainable == "all":
        return
    if model.kind == "explicit":
        model.head.requires_grad_(True)
        return
    policy = model.policy
    layer = policy.get_output_embeddings()
    if layer.weight is policy.get_input_embeddings().weight:
        copied = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        copied.weight = nn.Parameter(layer.weight.detach().clone())
        if layer.bias is not None:
            copied.bias = nn.Parameter(layer.bias.detach().clone())
        policy.set_output_embeddings(copied)
        policy.config.tie_word_embeddings = policy.config.get_text_config().tie_word_embeddings = False
        layer = copied
    layer.requires_grad_(True)


def reference_log_probabilities(
    model: RewardModel, pairs: Sequence[EncodedPair], batch_size: int = 8
) -> Float[np.ndarray, "pairs 2"] | None:
    """The reference's log-probability of each chosen and rejected response, in nats; None where there is none."""
    if model.kind != "implicit" or model.reference is None:
        return None
    sums = np.empty((len(pairs), 2))
    rows = pair_lines(pairs, "implicit")

    def values(chunk: list[int]) -> np.ndarray:
        batch = collate_rows([rows[number] for number in chunk])
        return model.reference_log_probabilities({k: v.to(model.device) for k, v in batch.items()}).cpu().numpy()

    found: list[tuple[list[int], np.ndarray]] = []
    for chunk in share(plan_batches(rows, 2 * batch_size, paired=True)):
        found += in_pieces(values, chunk)
    for chunk, part in chain.from_iterable(gather(found)):
        sums.reshape(-1)[chunk] = part
    return sums


def run_training(request: TrainRequest) -> dict[str, Row]:
    """Everything `rewardgap train` does; returns the metrics by source of pairs.

    Raises:
        UserError: whatever the user can set right, with nothing half-written left behind.
    """
    return run_in_folder("train", request, _train)


def _train(request: TrainRequest, output: Path) -> dict[str, Row]:
    if read_manifest(model_folder(request.model)):
        raise UserError(f"{request.model}: is a reward model already; give the language model it was trained from")
    if adapter_base(request.model):
        raise UserError(f"{request.model}: is an adapter; merge it into its base first, and train the result")
    tokenizer = load_tokenizer(request.model)
    encoding = part_of(request, EncodingSettings)
    inputs = read_inputs(
        (request.pairs, *request.eval_pairs),
        tokenizer,
        encoding,
        request.split,
        eval_fraction=request.eval_fraction,
        flags=("--pairs", "--eval_pairs"),
    )
    (name, train), *others = inputs.items()
    inputs = {name: train, **with_overlap(dict(others), train.texts)}
    settings = part_of(request, AugmentSettings)
    shifts = edits(settings, train.texts, seed=request.seed, split=request.split)
    augmented = augment(train.texts, train.pairs, shifts, tokenizer, encoding)
    for note in augmented.notes:
        print(f"augmentation: {note}", file=sys.stderr)
    # without its adapter the policy is what it was trained from: no second model is needed
    own_reference = request.use_peft and request.reference == "auto"
    model = load_reward_model(
        request.model,
        request.kind,
        tokenizer=tokenizer,
        reference="none" if own_reference else request.reference,
        beta=request.beta,
        dtype=request.dtype,
        device=request.device,
        seed=request.seed,
        pooling=request.pooling,
        end_id=end_token(tokenizer, encoding),
    )
    for note in model.notes:
        print(note, file=sys.stderr)
    for source in inputs.values():  # also those that are only scored: hours before their turn
        check_lengths(model, source.pairs)
    check_lengths(model, augmented.pairs)
    audits = {name: source.to_row() for name, source in inputs.items()}
    write_json(
        output / "provenance.json",
        provenance(
            seed=request.seed,
            audits=audits,
            augmentation=augmented.notes,
            inputs=read_json(output / CONTENTS),
            notes=model.notes,
        ),
    )
    write_rows(output / "pairs.jsonl", [asdict(pair) for pair in augmented.pairs])
    if (output / "model" / MANIFEST).exists():  # a run that was killed while it scored
        model = load_reward_model(
            output / "model", request.kind, dtype=request.dtype, device=request.device, answers=model.answers
        )
        model.remember(cache_folder(request.cache))
    else:
        if request.use_peft:
            add_lora(model, part_of(request, StartSettings), seed=request.seed, adapter_reference=own_reference)
        model.remember(cache_folder(request.cache))
        _fit(request, model, tokenizer, augmented)
    metrics, rules = {}, TokenRules.of(train.pairs)
    for name, source in inputs.items():
        rows = score_source(model, source, rules)
        write_rows(output / "scores" / f"{name}.jsonl", rows)
        metrics[name] = summarise(rows)
    manifest = read_manifest(output / "model")
    write_card(output / "model", manifest, metrics, inputs, dtype=request.dtype)
    write_json(output / "metrics.json", metrics)
    finish_run(output)
    return metrics


def _fit(request: TrainRequest, model: RewardModel, tokenizer: Any, augmented: Augmented) -> None:
    settings = part_of(request, TrainSettings)
    place = request.output / "log.jsonl" if is_main_process() else Path(os.devnull)
    with place.open("w", encoding="utf-8") as log:

        def write(row: Row) -> None:
            log.write(json.dumps(row) + "\n")
            log.flush()

        checkpoints = request.output / CHECKPOINTS
        costs: list[Row] = []
        train_reward_model(
            model,
            augmented.pairs,
            settings,
            progress=True,
            on_log=write,
            on_cost=costs.append,
            checkpoints=checkpoints,
            consistency=augmented.consistency(request.consistency),
        )
    if costs:
        write_json(request.output / "cost.json", costs[0])
    if is_main_process():
        _save(request, model, tokenizer, augmented.pairs)
        shutil.rmtree(checkpoints, ignore_errors=True)
    wait_for_all()


def _save(request: TrainRequest, model: RewardModel, tokenizer: Any, pairs: Sequence[EncodedPair]) -> None:
    save_reward_model(
        model,
        tokenizer,
        request.output / "model",
        pairs,
        reference=request.model if request.reference == "auto" else request.reference,
        extra={
            "encoding": asdict(part_of(request, EncodingSettings)),
            "training": {
                key: value
                for part in (TrainSettings, StartSettings, AugmentSettings)
                for key, value in asdict(part_of(request, part)).items()
            },
            "pairs": request.pairs,
            "pairs_sha256": read_json(request.output / CONTENTS)["pairs"][request.pairs],
            "split": request.split,
            "eval_fraction": request.eval_fraction,
        },
    )
