"""Our training settings as transformers' TrainingArguments."""

import tempfile
from collections.abc import Callable
from typing import Any

import torch
from transformers import Trainer, TrainingArguments, get_scheduler
from transformers.integrations import get_reporting_integration_callbacks

from llm_experiments.settings import TrainSettings
from simulations.results import UserError

USUAL = {"optim": "adamw_torch or sgd", "lr_scheduler_type": "constant, linear or cosine", "report_to": "none"}


def check_names(settings: TrainSettings) -> None:
    """Raises UserError for an optimiser, schedule or logger that transformers does not know or cannot use here."""
    names: dict[str, Callable[[], object]] = {
        "optim": lambda: Trainer.get_optimizer_cls_and_kwargs(_arguments(optim=settings.optim)),
        "lr_scheduler_type": lambda: get_scheduler(
            _arguments(lr_scheduler_type=settings.lr_scheduler_type).lr_scheduler_type,
            torch.optim.SGD([torch.zeros(1)]),
            num_warmup_steps=1,
            num_training_steps=2,
        ),
        "report_to": lambda: [make() for make in get_reporting_integration_callbacks(settings.report_to)],
    }
    for name, use in names.items():
        try:
            use()
        except (ValueError, TypeError, KeyError, ImportError, RuntimeError) as error:
            reason = str(error).strip().partition("\n")[0][:200]
            raise UserError(
                f"--{name} {getattr(settings, name)!r} cannot be used ({reason}); try --{name} {USUAL[name]}"
            ) from None


def _arguments(**options: Any) -> TrainingArguments:
    return TrainingArguments(output_dir=tempfile.gettempdir(), report_to="none", use_cpu=True, **options)


def training_arguments(settings: TrainSettings, output: str, *, cpu: bool) -> TrainingArguments:
    schedule = settings.lr_scheduler_type
    if schedule == "constant" and settings.warmup_steps > 0:
        schedule = "constant_with_warmup"
    return TrainingArguments(
        output_dir=output,
        learning_rate=settings.learning_rate,
        num_train_epochs=settings.num_train_epochs,
        max_steps=settings.max_steps,
        per_device_train_batch_size=settings.per_device_train_batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        optim=settings.optim,
        weight_decay=settings.weight_decay,
        warmup_steps=settings.warmup_steps,
        lr_scheduler_type=schedule,
        max_grad_norm=settings.max_grad_norm,
        seed=settings.seed,
        logging_steps=settings.logging_steps,
        logging_nan_inf_filter=False,  # a loss that is not finite stops the run
        save_strategy="no",
        report_to=settings.report_to,
        disable_tqdm=True,
        ddp_find_unused_parameters=False,  # every trained weight takes part in every loss
        remove_unused_columns=False,
        dataloader_pin_memory=not cpu,
        use_cpu=cpu,
        bf16=settings.bf16,
    )
