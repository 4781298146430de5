"""What happens around a training step: checkpoints, also when the process is asked to stop, and a progress bar."""

import os
import signal
import threading
import time
from typing import Any

from transformers import TrainerCallback

from llm_experiments.distributed import gather, rank
from simulations.progress import progress_bar


class Saving(TrainerCallback):
    """A checkpoint every `save_steps` steps or, where that is 0, `SECONDS` after the last one; and one before the end
    if the process is asked to stop (SIGTERM, Ctrl-C), after which `interrupted` is true.

    The last step needs none: the trained model follows.
    """

    SECONDS = 600.0

    def __init__(self, save_steps: int) -> None:
        self.save_steps, self.interrupted = save_steps, False
        self._handlers: dict[int, Any] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.last = time.monotonic()
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._ask) for number in (signal.SIGTERM, signal.SIGINT)}

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        due = time.monotonic() - self.last >= self.SECONDS
        if self.save_steps:
            due = state.global_step % self.save_steps == 0
        self.interrupted, due = gather((self.interrupted, due))[0]  # the first process's clock is everybody's
        if state.global_step < state.max_steps:
            control.should_save = due or self.interrupted
            control.should_training_stop = control.should_training_stop or self.interrupted
        else:
            self.interrupted = False

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.last = time.monotonic()

    def restore_signals(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _ask(self, number: int, frame: Any) -> None:
        if rank() == 0:  # past Python's buffer, in which this may have interrupted a write
            os.write(2, b"stopping after this step, with a checkpoint; once more to stop at once\n")
        self.interrupted = True
        self.restore_signals()


class Progress(TrainerCallback):
    """Steps and an estimate on stderr."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar = progress_bar(total=state.max_steps, initial=state.global_step, desc="training", unit="step")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.update(state.global_step - self.bar.n)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.close()
