"""Every flag that takes a number or a name, with anything in its place: a run, or one line that names the flag."""

import contextlib
import json
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardgap import COMMANDS
from tests.fuzzing import TEXTS, hunt, obeys, scratch
from tests.lm import language_model, tokenizer
from tests.patients import write

pytestmark = pytest.mark.integration

NUMBERS = ["nan", "inf", "-inf", "-1", "0", "-0.0", "0.3", "1", "3", "1e-320", "1e308", "1e999", "1_0", "0x1", "٣", "½"]
NUMBERS += ["9" * 400, "9" * 9000, "-" + "9" * 30, str(2**31), str(2**63), "--", "1,5", "1 2"]
# what a shell can pass on: no null, and of half surrogates those that stand for bytes that are no text
SAYABLE = [text for text in TEXTS if text not in ("\x00", "\ud800")] + ["\udcff"]
LETTERS = st.characters(codec="utf-8", exclude_characters="\x00")
WORDS = st.sampled_from(NUMBERS) | st.sampled_from(SAYABLE) | st.text(LETTERS, max_size=8)
# what makes each command run at once, and which flags would make it run for long or choose where it writes
COMMAND = {
    "train": "--kind=implicit --model={lm} --pairs={pairs} --output={run} --max_steps=1 --max_length=128",
    "score": "--kind=implicit --reference=none --model={lm} --pairs={pairs} --output={run}",
    "dynamics": "--kind=implicit --model={lm} --train_pairs={pairs} --pairs={pairs} --output={run} --trainable=head",
    "doctor": "--model={lm} --examples=2",
    "stress": "--kind=implicit --reference=none --model={lm} --pairs={pairs} --output={run} --transforms=uppercase",
    "pretrain": "--architecture=gemma --text={text} --output={run} --steps=1 --hidden=8 --heads=2 --layers=1 "
    "--vocab_size=260 --block=8 --max_positions=16 --batch_size=2",
}
ELSEWHERE = {"json", "output", "model", "pairs", "train_pairs", "eval_pairs", "text", "against", "full", "rewrites"}
LONG = {"steps", "max_steps", "num_train_epochs", "hidden", "layers", "heads", "vocab_size", "max_positions"}
SMALL = st.sampled_from(["nan", "-1", "0", "-5", "1.5", "x", "", "9" * 30, str(2**31), "1e3"])


@pytest.fixture(scope="session")
def places(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("flags")
    line = {"prompt": "Is it?", "chosen": " It is.", "rejected": " It is not."}
    (folder / "pairs.jsonl").write_text(json.dumps(line) + "\n" + json.dumps(line | {"prompt": "Or?"}) + "\n")
    (folder / "text.txt").write_text("Is it? It is.\n\nIt is not.\n")
    lm = write(folder / "lm", language_model("mistral"), tokenizer())
    return {"lm": lm, "pairs": folder / "pairs.jsonl", "text": folder / "text.txt"}


PATHS = ("cache", "reference")  # flags whose value is itself the file that an error names


def run(places, command: str, *changes: str) -> str:
    with scratch() as folder:
        words = COMMAND[command].format(**places, run=folder / "run").split()
        given_flags = {change.partition("=")[0] for change in changes}
        words = [word for word in words if word.partition("=")[0] not in given_flags]
        names = [value for flag, _, value in (one[2:].partition("=") for one in changes) if flag in PATHS]
        with contextlib.chdir(folder):
            return obeys([command, *words, *changes], *places.values(), *names, output=folder / "run")


ALONE = ("reproduce", "study", "simulate", "figures", "derive")  # run without any flag
FLAGS = [
    (command, field.name) for command in COMMAND for field in fields(COMMANDS[command]) if field.name not in ELSEWHERE
]


@pytest.mark.parametrize("command", COMMAND)
def test_the_commands_run_before_their_flags_are_spoilt(places, command):
    assert run(places, command) == ""


@hunt(18)
@given(data=st.data(), flag=st.sampled_from(FLAGS))
def test_anything_in_place_of_a_flags_value(places, data, flag):
    command, name = flag
    value = data.draw(SMALL if name in LONG else WORDS)
    run(places, command, f"--{name}={value}")


@hunt(18)
@given(words=st.lists(WORDS | st.sampled_from(["--kind", "--json", *COMMANDS, "--model=x"]), max_size=3))
def test_any_words_at_all(words):
    """Nothing that could start a long run, and no help, which ends by itself."""
    words = [word for word in words if word not in ("-h", "--help", *ALONE)]
    obeys(words, *words, "COMMAND", "there is no command")
