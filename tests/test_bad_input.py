"""A user's mistake ends in one line that names file, line, field and cure; exit 2; nothing half-written."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from llm_experiments.inputs import read_inputs
from llm_experiments.settings import EncodingSettings, TrainRequest
from llm_experiments.stress.rewrites import read_rewrites
from llm_experiments.training_pairs import training_pairs
from rewardgap import main
from simulations.results import UserError
from theory.rewards import KINDS

pytestmark = pytest.mark.integration

GOOD = {"prompt": "Is it?", "chosen": "It is.", "rejected": "It is not."}


@pytest.fixture(scope="session")
def small_model(tmp_path_factory) -> Path:
    """A language model that `rewardgap pretrain` made in three steps."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "text.txt").write_text("Is it? It is. It is not.\n\n" * 20, encoding="utf-8")
    sizes = "--steps 3 --hidden 16 --heads 2 --layers 1 --vocab_size 300 --max_positions 64 --block 16"
    words = ["pretrain", "--architecture", "mistral", "--text", folder / "text.txt", "--output", folder / "lm"]
    assert main([*map(str, words), *sizes.split()]) == 0
    return folder / "lm"


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(capsys, words: list, *parts: str, alone: bool = True) -> str:
    """Run the command; it must exit with 2 and say `error: ...`, in one line that contains the parts."""
    assert main([str(word) for word in words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.strip().splitlines()
    assert lines[-1].startswith("error: ")
    assert len(lines) == 1 or not alone, lines
    assert "Traceback" not in said.err
    for part in parts:
        assert part in lines[-1]
    return lines[-1]


def lines_of(*rows: object) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


BAD_PAIRS = {
    "broken JSON": (lines_of(GOOD, GOOD, '{"prompt": "x", "chosen": '), [":3", "JSON"]),
    "no object": (lines_of(GOOD, "[1, 2]"), [":2"]),
    "missing field": (lines_of(GOOD, {"prompt": "x", "chosen": "y"}), [":2", '"rejected"', "missing"]),
    "wrong type": (lines_of(GOOD | {"chosen": 7}), [":1", '"chosen"']),
    "empty response": (lines_of(GOOD, GOOD | {"rejected": ""}), [":2", '"rejected"', "--bad_pairs drop"]),
    "equal responses": (lines_of(GOOD, GOOD | {"rejected": GOOD["chosen"]}), [":2", "--bad_pairs drop"]),
    "an id twice": (lines_of(GOOD | {"id": "a"}, GOOD | {"id": "a"}), [":2", '"id"', "'a'", ":1"]),
    "nothing": ("", []),
    "all too long": (lines_of(GOOD | {"prompt": "Is it? " * 50}), ["--max_length"]),
}


@pytest.mark.parametrize("command", ["train", "score"])
@pytest.mark.parametrize("name", BAD_PAIRS)
def test_pairs(small_model, tmp_path, capsys, command, name):
    text, parts = BAD_PAIRS[name]
    (tmp_path / "pairs.jsonl").write_text(text, encoding="utf-8")
    words = [command, "--kind", "implicit", "--reference", "none", "--model", small_model]
    words += ["--pairs", tmp_path / "pairs.jsonl", "--max_length", 48, "--output", tmp_path / "run"]
    refused(capsys, words, "pairs.jsonl", *parts)
    assert tree(tmp_path).keys() == {"pairs.jsonl"}
    assert not (tmp_path / "run").exists()


def wrong(small_model: Path, folder: Path, **changes: object) -> list:
    (folder / "pairs.jsonl").write_text(lines_of(GOOD, GOOD), encoding="utf-8")
    flags = {"kind": "explicit", "model": small_model, "pairs": folder / "pairs.jsonl", "output": folder / "run"}
    return ["train", *(word for name, value in (flags | changes).items() for word in (f"--{name}", value))]


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"pairs": "missing.jsonl"}, ["missing.jsonl", "no such file"]),
        ({"model": "missing-model"}, ["missing-model"]),
        ({"model": "."}, ["."]),
        ({"kind": "implict"}, ["--kind", "'implict'", "explicit", "implicit", "generative"]),
        ({"learnin_rate": 1}, ["--learnin_rate", "--learning_rate"]),
        ({"beta": "big"}, ["--beta", "'big'"]),
    ],
)
def test_flags(small_model, tmp_path, capsys, changes, parts):
    refused(capsys, wrong(small_model, tmp_path, **changes), *parts)
    assert not (tmp_path / "run").exists()


def test_a_file_that_is_not_there_is_told_by_the_flag_that_named_it(tmp_path):
    absent = str(tmp_path / "absent.jsonl")
    calls = {
        "--train_pairs": lambda: training_pairs((absent,), {}, None, EncodingSettings()),
        "--rewrites": lambda: read_rewrites(absent, []),
        "--eval_pairs": lambda: read_inputs((absent,), None, EncodingSettings(), flags=("--eval_pairs", "")),
        "--pairs": lambda: read_inputs((absent,), None, EncodingSettings()),
    }
    for flag, call in calls.items():
        with pytest.raises(UserError, match=f"absent.jsonl: no such file; {flag} takes a file"):
            call()


def test_flags_of_another_kind_are_refused(tmp_path):
    """They had been ignored in silence."""
    given = {"model": "m", "pairs": "p", "output": tmp_path / "run"}
    flags = {"pooling": "mean", "generative_loss": "bradley_terry", "reference": "none", "beta": 3.0}
    owners = {"pooling": "explicit", "generative_loss": "generative"}
    for flag, value in flags.items():
        for kind in KINDS:
            if kind == owners.get(flag, "implicit"):
                TrainRequest(kind=kind, **given, **{flag: value})
                continue
            with pytest.raises(UserError, match=f"--{flag} {value}: is for --kind .* only, and this is {kind}"):
                TrainRequest(kind=kind, **given, **{flag: value})


BAD_NUMBERS = {
    "train": [
        ("beta", -1, "at least 0"),
        ("per_device_train_batch_size", 0, "at least 1"),
        ("gradient_accumulation_steps", 0, "at least 1"),
        ("learning_rate", "nan", "finite"),
        ("learning_rate", -1, "at least 0"),
        ("num_train_epochs", -2, "greater than 0"),
        ("weight_decay", "inf", "finite"),
        ("logging_steps", 0, "at least 1"),
        ("seed", -1, "at least 0"),
        ("seed", 2**32, "at most"),
        ("max_length", -5, "at least 0"),
        ("optim", "adamm", "adamw_torch"),
        ("lr_scheduler_type", "cosin", "cosine"),
        ("lr_scheduler_type", "warmup_stable_decay", "cannot be used"),
        ("report_to", "paper", "not supported"),
    ],
    "score": [("batch_size", 0, "at least 1"), ("tie_tolerance", -1, "at least 0"), ("beta", "-inf", "finite")],
    "doctor": [("examples", 0, "at least 1")],
    "pretrain": [
        ("hidden", 100, "--heads"),
        ("heads", 0, "at least 1"),
        ("layers", 0, "at least 1"),
        ("batch_size", 0, "at least 1"),
        ("steps", 0, "at least 1"),
        ("block", 1, "at least 2"),
        ("block", 5000, "--max_positions"),
        ("checkpoint_every", 0, "at least 1"),
        ("vocab_size", 0, "at least 5"),
        ("learning_rate", -0.1, "at least 0"),
    ],
}


@pytest.mark.parametrize(
    ("command", "flag", "value", "part"), [(name, *row) for name, rows in BAD_NUMBERS.items() for row in rows]
)
def test_numbers_and_names_out_of_range(small_model, tmp_path, capsys, command, flag, value, part):
    (tmp_path / "pairs.jsonl").write_text(lines_of(GOOD, GOOD), encoding="utf-8")
    (tmp_path / "text.txt").write_text("Is it? It is.", encoding="utf-8")
    flags = {"kind": "explicit", "model": small_model, "pairs": tmp_path / "pairs.jsonl", "output": tmp_path / "run"}
    if command == "doctor":
        del flags["output"]
    if command == "pretrain":
        flags = {"architecture": "gemma", "text": tmp_path / "text.txt", "output": tmp_path / "run"}
        flags["heads"] = 3 if flag == "hidden" else 2
    flags[flag] = value
    words = [command, *(word for name, given in flags.items() for word in (f"--{name}={given}",))]
    refused(capsys, words, f"--{flag}", part, alone=False)
    assert not (tmp_path / "run").exists()


def test_a_pretraining_loss_that_is_not_finite_leaves_the_folder_to_a_smaller_rate(tmp_path, capsys):
    (tmp_path / "text.txt").write_text("Is it? It is. It is not.\n\n" * 20, encoding="utf-8")
    sizes = "--steps 6 --hidden 16 --heads 2 --layers 1 --vocab_size 300 --max_positions 64 --block 16"
    words = ["pretrain", "--architecture", "mistral", "--text", tmp_path / "text.txt", "--output", tmp_path / "lm"]
    words += [*sizes.split(), "--checkpoint_every", 1]
    refused(capsys, [*words, "--learning_rate", "1e30"], "not finite", "--learning_rate", alone=False)
    assert not (tmp_path / "lm").exists()
    assert main([*map(str, words), "--learning_rate", "1e-3"]) == 0


def test_a_loss_that_is_not_finite(small_model, tmp_path, capsys):
    words = wrong(small_model, tmp_path, learning_rate="1e30", max_steps=5, kind="implicit")
    refused(capsys, words, "loss", "--learning_rate", alone=False)
    assert not (tmp_path / "run").exists()


def test_an_output_folder_that_holds_another_run(small_model, tmp_path, capsys):
    words = wrong(small_model, tmp_path, max_steps=1, per_device_train_batch_size=2)
    assert main([str(word) for word in words]) == 0
    before = tree(tmp_path)
    capsys.readouterr()
    refused(capsys, [*words, "--seed", "1"], str(tmp_path / "run"), "seed", "--output")
    assert tree(tmp_path) == before


def test_an_output_folder_with_files_of_somebody_else(small_model, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("work", encoding="utf-8")
    refused(capsys, wrong(small_model, tmp_path), str(tmp_path / "run"), "--output")
    assert tree(tmp_path / "run") == {"thesis.tex": b"work"}


def test_an_output_that_is_a_file(small_model, tmp_path, capsys):
    (tmp_path / "run").write_text("work", encoding="utf-8")
    refused(capsys, wrong(small_model, tmp_path), str(tmp_path / "run"))
    assert (tmp_path / "run").read_text(encoding="utf-8") == "work"


def test_text_to_pretrain_on(tmp_path, capsys):
    (tmp_path / "empty.txt").write_text("\n\n", encoding="utf-8")
    (tmp_path / "picture.txt").write_bytes(b"\xff\xd8\xff")
    for name, part in {"empty.txt": "no text", "picture.txt": "not UTF-8", "missing.txt": "no such file"}.items():
        words = ["pretrain", "--architecture", "gemma", "--text", tmp_path / name, "--output", tmp_path / "lm"]
        refused(capsys, words, name, part)
    words = ["pretrain", "--architecture", "gpt", "--text", tmp_path / "empty.txt", "--output", tmp_path / "lm"]
    refused(capsys, words, "--architecture", "'gpt'", "gemma", "gemma2", "mistral")
    assert not (tmp_path / "lm").exists()


def test_names_that_do_not_exist(tmp_path, capsys):
    refused(capsys, ["derive", "explicit_two_step"], "'explicit_two_step'", "explicit_one_step")
    refused(capsys, ["simulate", "two_steps"], "'two_steps'", "single_token", "one_step")
    refused(capsys, ["simulate", "one_step", "--seeds", 1, "--output", tmp_path / "out"], "--seeds", "1")
    refused(capsys, ["figures", "--results", tmp_path / "none", "--output", tmp_path / "out"], "none", "reproduce")
    refused(capsys, ["reproduce", "--persona", tmp_path / "none", "--output", tmp_path / "out"], "none")
    assert not (tmp_path / "out").exists()


def test_a_mistake_on_the_real_command_line(small_model, tmp_path):
    """The same through a process: no traceback and no library's chatter around the one line."""
    (tmp_path / "pairs.jsonl").write_text(lines_of(GOOD, '{"prompt": "x"}'), encoding="utf-8")
    flags = {"kind": "explicit", "model": small_model, "pairs": tmp_path / "pairs.jsonl", "output": tmp_path / "run"}
    words = [sys.executable, "-m", "rewardgap", "train"]
    words += [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {tmp_path / 'pairs.jsonl'}:2: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("held", ['{"model_type": "mistral", "hidden_size": 16}', "3", "[]"])
def test_an_output_folder_that_holds_a_model_is_refused_as_such(tmp_path, capsys, held):
    (tmp_path / "config.json").write_text(held, encoding="utf-8")
    words = ["--model", "owner/name", "--pairs", "pairs.jsonl", "--output", str(tmp_path)]
    assert main(["score", *words]) == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path} holds a model, or what is no run of a command; choose another --output\n"
    )
    assert (tmp_path / "config.json").read_text(encoding="utf-8") == held
