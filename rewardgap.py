"""The front door: `rewardgap COMMAND`. The commands are in `rewardgap_commands.py`; here is what is the same for all.

Exit codes: 0; 2 a mistake of the user's, in one line on stderr; 3 a claim is false, a model has a problem, or an
accuracy is below the threshold given; 130 interrupted.
"""

import json
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from rewardgap_arguments import parse
from rewardgap_commands import COMMANDS, INTERRUPTED, transformations
from simulations.results import UserError

ABOUT = "Why implicit reward models (DPO) read tokens where explicit ones read meaning."
ALIASES = {"model_name_or_path": "model", "dataset_name": "pairs", "output_dir": "output"}  # as TRL calls them
# other tools' words for what is called otherwise here; empty for what there is not
FOREIGN = {
    "--ref_model": "--reference",
    "--dataset_train_split": "--split",
    **dict.fromkeys(
        (
            "--dataset_test_split",
            "--eval_steps",
            "--eval_strategy",
            "--load_in_4bit",
            "--load_in_8bit",
            "--loss_type",
            "--max_completion_length",
            "--max_prompt_length",
            "--per_device_eval_batch_size",
        ),
        "",
    ),
    "dpo": "implicit",
    "reward": "explicit",
    "rm": "explicit",
}


def main(argv: Sequence[str] | None = None) -> int:
    try:
        words = list(sys.argv[1:] if argv is None else argv)
        if words == ["--version"]:
            print(f"rewardgap {version('rewardgap')}")
            return 0
        if words[:1] == ["stress"] and "--transforms list" in " ".join(words).replace("=", " "):
            print(transformations())  # needs neither models nor pairs
            return 0
        command = parse("rewardgap", ABOUT, COMMANDS, ALIASES, words, FOREIGN)
        answer = command.run()
        print(json.dumps(answer.data, indent=2, default=str) if command.json else answer.text, flush=True)
        for failure in answer.data.get("failures", ()):
            print(f"failed: {failure}", file=sys.stderr)
    except UserError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return 130
    except BrokenPipeError:  # `rewardgap derive | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno is None:  # raised by a library, not by the system: a defect, which needs its traceback
            raise
        return _fail(f"{error.filename or 'the system'}: {(error.strerror or str(error)).lower()}")
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        return _fail("the device is out of memory; try a smaller batch size, --dtype bfloat16 or another --device")
    return 3 if answer.refuted else 0


def _out_of_memory(error: BaseException) -> bool:
    """torch has a class of its own for a GPU, and plain words for a CPU; recognised without importing torch."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in str(error)
    )


def _fail(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
