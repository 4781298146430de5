"""transformers' Trainer, subclassed once for the three kinds.

A module of its own because importing Trainer takes seconds; training.py imports it when it trains.

The loss of a step is the mean over all pairs of its window (micro-batches x accumulation x devices), whatever the
micro-batches' sizes, also in the last, incomplete window of an epoch; published code divides that one by the full
count and so weakens the last step. Where several processes share a window, the pairs that accelerate repeats to give
each of them as many are left out.
"""

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer
from transformers.trainer import TRAINER_STATE_NAME

from llm_experiments.augmentation import Consistency
from llm_experiments.batches import collate_pairs
from llm_experiments.buckets import LengthBuckets
from llm_experiments.checkpoints import (
    Checkpoint,
    put_random_numbers,
    put_running_means,
    put_weights_and_optimizer,
    read_checkpoint,
    write_checkpoint,
)
from llm_experiments.distributed import gather, processes, rank, whole
from llm_experiments.encoding import EncodedPair
from llm_experiments.frozen import FrozenStates
from llm_experiments.models import RewardModel
from llm_experiments.non_finite import first_non_finite, first_non_finite_gradient
from llm_experiments.out_of_memory import free_memory, is_out_of_memory
from simulations.results import Row, UserError
from theory.preferences import PairRewards, bradley_terry_loss
from theory.rewards import Kind, generative_cross_entropy


class PairNumbers(Dataset):
    """Item i is i: the collator holds the pairs."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        return index


class Collator:
    """Pairs by number into one batch, with their reference log-probabilities (rows,) where the kind has them; with a
    consistency regulariser their partners behind them."""

    def __init__(
        self,
        pairs: Sequence[EncodedPair],
        kind: Kind,
        reference: Any,
        frozen: FrozenStates | None = None,
        consistency: Consistency | None = None,
    ) -> None:
        self.pairs, self.kind, self.reference, self.frozen = pairs, kind, reference, frozen
        self.consistency = consistency

    def __call__(self, numbers: list[int]) -> dict[str, torch.Tensor]:
        rows = numbers + [self.consistency.partners[number] for number in numbers] if self.consistency else numbers
        pairs = [self.pairs[number] for number in rows]
        batch = collate_pairs(pairs, self.kind) if self.frozen is None else self.frozen.collate(rows)
        batch["numbers"] = torch.tensor(numbers)
        if self.reference is not None:
            batch["reference"] = self.reference[rows].T.reshape(-1)  # (pairs, 2) -> chosen rows, rejected rows
        return batch


class RewardTrainer(Trainer):
    """Bradley-Terry for explicit and implicit models; cross-entropy on Yes and No (or Bradley-Terry) for generative.

    `checkpoints` is the folder they are written to and continued from; None for neither.
    """

    loss_is_scaled_for_ga = True  # compute_loss divides by the whole window's pairs

    def __init__(
        self,
        *,
        collator: Collator,
        generative_loss: str,
        on_log: Callable[[Row], None],
        checkpoints: Path | None = None,
        buckets: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(data_collator=collator, train_dataset=PairNumbers(len(collator.pairs)), **options)
        self.pairs, self.kind, self.generative_loss = collator.pairs, collator.kind, generative_loss
        self.consistency = collator.consistency
        self.on_log, self.checkpoints, self.buckets = on_log, checkpoints, buckets
        self.found: Checkpoint | None = None
        self.first_step = 0  # steps that an earlier process took
        self.micro_batch: int = self.args.per_device_train_batch_size  # less after running out of memory
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []  # rewards since the last row of the log
        self._window: list[list[int]] = []  # pairs of the micro-batches since the last optimiser step
        self._seen_before = 0
        self.remove_callback(PrinterCallback)  # prints to stdout, which belongs to --json

    def run(self) -> None:
        """Train from the newest checkpoint, whose rows are logged again first, or from the start."""
        self.found = read_checkpoint(self.checkpoints) if self.checkpoints else None
        if self.found is None:
            self.train()
            return
        state = self.found.said["trainer"]
        self.first_step = state["global_step"]
        for row in state["log_history"]:
            self.on_log({"step": row["step"], **row})
        place = Path(self.args.output_dir)
        (place / TRAINER_STATE_NAME).write_text(json.dumps(state), encoding="utf-8")
        self.train(resume_from_checkpoint=str(place))

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Any:
        if not self.buckets:
            return super()._get_train_sampler(train_dataset)
        step = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        return LengthBuckets([pair.longest for pair in self.pairs], step, self.args.seed)

    def get_batch_samples(self, epoch_iterator: Iterator, num_batches: int, device: torch.device) -> tuple[list, Any]:
        """The window's micro-batches, and how many pairs there are in all of them, on all devices."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._window, self._seen_before = [], len(self.seen)
        if batches and processes() > 1 and self.accelerator.gradient_state.end_of_dataloader:
            batches[-1] = self._without_repeats(batches[-1])
        pairs = sum(len(batch["numbers"]) for batch in batches)
        return batches, torch.tensor(sum(gather(pairs)), device=device)

    def _without_repeats(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """accelerate fills up the last batches of an epoch with its first pairs. Where a process has nothing else, one
        is computed and counts for nothing (it has no number): all must take the step together."""
        numbers, left = batch["numbers"].tolist(), self.accelerator.gradient_state.remainder
        own = left - rank() * self.args.per_device_train_batch_size if left > 0 else len(numbers)
        if own >= len(numbers):
            return batch
        batch = self.data_collator(numbers[: max(1, own)])
        return batch if own > 0 else batch | {"numbers": batch["numbers"][:0]}

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Forward and backward pass of one micro-batch, in smaller pieces where memory does not suffice."""
        numbers = inputs["numbers"].tolist()
        self._window.append(numbers)
        todo = [numbers]
        while True:
            exhausted = ""
            try:
                for some in todo:
                    loss = torch.zeros((), device=self.args.device)
                    for start in range(0, max(1, len(some)), self.micro_batch):
                        piece = some[start : start + self.micro_batch]
                        batch = inputs if piece == numbers else self.data_collator(piece)
                        loss += super().training_step(model, batch, num_items_in_batch)
                return loss
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                exhausted = str(error)
            self._halve(exhausted)  # out of the except clause, whose traceback holds on to the memory
            # a backward pass that was cut short has left some of its gradients: the window starts again
            model.zero_grad()
            del self.seen[self._seen_before :]
            todo = self._window

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        numbers, reference = inputs.pop("numbers"), inputs.pop("reference", None)
        output = model(**inputs)
        owner: RewardModel = self.accelerator.unwrap_model(model)
        chosen, rejected = owner.rewards(output, reference).chunk(2)
        outputs, penalty = output.chunk(2), 0.0
        if self.consistency:  # the second half of either side are the partners, which teach nothing but agreement
            difference = (chosen - rejected).chunk(2)
            penalty = self.consistency.weight * (difference[0] - difference[1]).square().mean()
            chosen, rejected, *outputs = (rows.chunk(2)[0] for rows in (chosen, rejected, *outputs))
        if self.kind == "generative" and self.generative_loss == "cross_entropy":
            mean = generative_cross_entropy(*outputs, *owner.answers)
        else:
            mean = bradley_terry_loss(PairRewards(chosen, rejected))
        mean = mean + penalty
        if not torch.isfinite(mean):
            bad = ~(torch.isfinite(chosen) & torch.isfinite(rejected))[: len(numbers)]
            # on one of several processes alone, running it again would wait for the others for ever
            where = first_non_finite(owner, lambda: owner(**inputs)) if processes() == 1 else ""
            self._stop("loss", (numbers[bad] if bad.any() else numbers).tolist(), where)
        if len(numbers):
            self.seen.append((chosen.detach(), rejected.detach()))
        window = num_items_in_batch if num_items_in_batch is not None else len(numbers)
        # distributed training averages gradients over processes; the window counts the pairs of all of them
        loss = mean * (len(numbers) / window) * self.accelerator.num_processes
        return (loss, output) if return_outputs else loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """Called before every optimiser step: weights that are not finite would never be again."""
        norm = super()._get_grad_norm(model, grad_norm)
        if norm is None or math.isfinite(whole(norm) if isinstance(norm, torch.Tensor) else norm):
            return norm  # None: DeepSpeed's, before its first step
        for batch in self._window if processes() == 1 else ():
            for start in range(0, len(batch), self.micro_batch):
                piece = batch[start : start + self.micro_batch]
                inputs = self._prepare_inputs(self.data_collator(piece))
                if where := first_non_finite_gradient(model, lambda: self.compute_loss(model, inputs)):  # noqa: B023
                    self._stop("gradient", piece, where)
        return self._stop("gradient", [number for batch in self._window for number in batch])

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """TRL's names for rewards, means over the pairs seen since the last row."""
        seen = [(chosen.cpu(), rejected.cpu()) for chosen, rejected in self.seen]
        if seen := [rewards for process in gather(seen) for rewards in process]:
            chosen, rejected = (torch.cat(parts) for parts in zip(*seen, strict=True))
            margin = chosen - rejected
            logs["rewards/chosen"], logs["rewards/rejected"] = float(chosen.mean()), float(rejected.mean())
            logs["rewards/margins"] = float(margin.mean())
            logs["rewards/accuracies"] = float(((margin > 0).double() + (margin == 0).double() / 2).mean())
            self.seen.clear()
        if "train_loss" in logs:  # also of the steps before a checkpoint
            logs["train_loss"] = self._total_loss_scalar / max(1, self.state.global_step)
        if self.micro_batch < self.args.per_device_train_batch_size:
            logs["micro_batch"] = self.micro_batch
        super().log(logs, start_time)
        self.on_log({"step": self.state.global_step, **logs})

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        write_checkpoint(self.checkpoints, self)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Too early for a model that is yet to be spread over processes: the weights come with the optimiser."""

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            put_weights_and_optimizer(self, self.found)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        put_running_means(self, self.found, rank())
        put_random_numbers(self.found, rank())
        self.found = None  # as large as the weights and their moments

    def _stop(self, what: str, numbers: Sequence[int], where: str = "") -> NoReturn:
        names = [self.pairs[number].id for number in numbers]
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        raise UserError(
            f"the {what} is not finite at step {self.state.global_step + 1} (pairs {', '.join(names[:4])}{more}"
            f"{f'; first in {where}' if where else ''}); lower "
            f"--learning_rate (now {self.args.learning_rate:g}), add --warmup_steps, or use --dtype float32"
        )

    def _halve(self, reason: str) -> None:
        """Half as many pairs per forward pass from now on.

        Raises:
            UserError: one pair is too many, or other processes are waiting for this one's gradients.
        """
        pairs = min(self.micro_batch, max(map(len, self._window)))
        reason = reason.strip().partition("\n")[0][:120]
        if processes() > 1:
            raise UserError(
                f"out of memory at step {self.state.global_step + 1} with {pairs} pairs per device ({reason}); halve "
                "--per_device_train_batch_size and double --gradient_accumulation_steps, which is the same batch"
            )
        if pairs == 1:
            longest = max((self.pairs[n] for batch in self._window for n in batch), key=lambda pair: pair.longest)
            raise UserError(
                f"out of memory at step {self.state.global_step + 1} with one pair at a time (the longest is "
                f"{longest.id}, {longest.longest} tokens; {reason}); lower --max_length, or use "
                "--gradient_checkpointing, --use_peft or --dtype bfloat16"
            )
        self.micro_batch = pairs // 2
        free_memory()
        print(
            f"out of memory with {pairs} pairs per forward pass; going on with {self.micro_batch}, at the same "
            "number of pairs per step",
            file=sys.stderr,
        )
