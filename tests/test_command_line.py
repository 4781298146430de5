"""The front door: help without torch, one-line mistakes, exit codes."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

import pytest

import rewardgap
from figures.metrics import backwards, metrics_table
from llm_experiments.models import model_folder
from rewardgap import main
from rewardgap_arguments import POSITIONAL, field_helps, parse
from rewardgap_commands import Answer, Command
from simulations.results import Claim, UserError, write_json


@dataclass(frozen=True, kw_only=True)
class Base:
    learning_rate: float = 1e-3
    """How far a step goes,
    in one go"""


@dataclass(frozen=True, kw_only=True)
class Walk(Base):
    """Walk somewhere.

    And back, 100 % of the time.
    """

    place: str = field(metadata=POSITIONAL)
    """Where to"""
    kind: Literal["slow", "fast"]
    """How"""
    output: Path = Path("runs/walk")
    """Where the diary goes"""
    steps: int | None = None
    mood: Literal["glad"] | Literal["sad", "mad"] = "glad"
    text: tuple[Path, ...] = ()
    """Songs"""
    again: bool = False
    shoes: bool = True


@dataclass(frozen=True, kw_only=True)
class Wait(Base):
    """Wait."""


def walk(*words: str) -> Walk:
    return parse("feet", "Feet.", {"walk": Walk, "wait": Wait}, {"output_dir": "output"}, ["walk", *words])


def test_defaults_are_those_of_the_dataclass():
    assert walk("home", "--kind", "slow") == Walk(place="home", kind="slow")


@pytest.mark.parametrize("flag", ["--learning_rate", "--learning-rate"])
@pytest.mark.parametrize("join", [False, True])
def test_hyphens_and_underscores_are_one_flag(flag: str, join: bool):
    words = [f"{flag}=0.5"] if join else [flag, "0.5"]
    assert walk("home", "--kind", "slow", *words).learning_rate == 0.5


def test_values_keep_their_hyphens():
    assert walk("home", "--kind", "slow", "--output=a-b--c").output == Path("a-b--c")
    assert walk("far-away", "--kind", "slow").place == "far-away"


def test_names_that_other_tools_use():
    assert walk("home", "--kind", "slow", "--output-dir", "there").output == Path("there")


def test_lists_and_optional_values():
    given = walk("home", "--kind", "slow", "--text", "a", "b", "--steps", "3", "--text", "c")
    assert given.text == (Path("a"), Path("b"), Path("c"))
    assert given.steps == 3


@pytest.mark.parametrize(
    ("words", "again", "shoes"),
    [
        ((), False, True),
        (("--again",), True, True),
        (("--again", "True"), True, True),
        (("--again=false", "--shoes", "false"), False, False),
    ],
)
def test_switches(words: tuple[str, ...], again: bool, shoes: bool):
    given = walk("home", "--kind", "slow", *words)
    assert (given.again, given.shoes) == (again, shoes)


def test_choices_of_several_literals():
    assert walk("home", "--kind", "slow", "--mood", "mad").mood == "mad"
    with pytest.raises(UserError, match="sad"):
        walk("home", "--kind", "slow", "--mood", "merry")


def test_a_switch_does_not_swallow_the_word_after_it():
    assert walk("--again", "home", "--kind", "slow").place == "home"


def test_help_is_the_string_under_the_field(capsys: pytest.CaptureFixture[str]):
    assert field_helps(Walk)["learning_rate"] == "How far a step goes, in one go"
    assert "steps" not in field_helps(Walk)
    with pytest.raises(SystemExit) as stopped:
        walk("--help")
    assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for part in ("100 % of the time", "How far a step goes, in one go (default: 0.001)", "(also --output_dir)"):
        assert part in text


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["wakl"], ["'wakl'", "did you mean walk?"]),
        (["zzz"], ["'zzz'", "walk, wait"]),
        ([], ["missing COMMAND", "feet COMMAND --help"]),
        (["walk", "home", "--knid", "slow"], ["--knid", "did you mean --kind?"]),
        (["walk", "home", "--zzzzz"], ["--zzzzz", "walk --help"]),
        (["walk", "home"], ["missing --kind", "feet walk --help"]),
        (["walk", "--kind", "slow"], ["missing PLACE"]),
        (["walk", "home", "--kind", "quick"], ["--kind", "'quick'", "slow", "fast"]),
        (["walk", "home", "--kind", "slow", "--learning-rate", "much"], ["--learning_rate", "float", "'much'"]),
        (["walk", "home", "--kind", "slow", "--steps", "1.5"], ["--steps", "int", "'1.5'"]),
        (["walk", "home", "--kind", "slow", "--again=perhaps"], ["--again", "'perhaps'", "true"]),
        (["walk", "home", "--kind"], ["--kind", "expected one argument"]),
        (["walk", "home", "work", "--kind", "slow"], ["work"]),
        (["wait", "--output_dir", "x"], ["--output_dir"]),
    ],
)
def test_every_mistake_is_one_line_that_says_what_to_do(words: list[str], parts: list[str]):
    with pytest.raises(UserError) as mistake:
        parse("feet", "Feet.", {"walk": Walk, "wait": Wait}, {"output_dir": "output"}, words)
    text = str(mistake.value)
    assert "\n" not in text
    assert "usage" not in text
    for part in parts:
        assert part in text


def command(run) -> type[Command]:
    return dataclass(frozen=True, kw_only=True)(type("Stub", (Command,), {"run": run, "__module__": __name__}))


def outcome(monkeypatch: pytest.MonkeyPatch, run, *words: str) -> int:
    monkeypatch.setattr(rewardgap, "COMMANDS", {"stub": command(run)})
    return main(["stub", *words])


def a_claim(measured: float) -> dict:
    claim = Claim(
        id="planted",
        rung=0,
        type="theorem",
        statement="one is at most zero",
        measured=measured,
        low=measured,
        high=measured,
        n=1,
        unit="claim",
        seeds=1,
        op="<=",
        value=0.0,
    )
    return claim.to_row()


@pytest.mark.parametrize(("measured", "code"), [(-1.0, 0), (1.0, 3)])
def test_a_false_claim_exits_with_3(monkeypatch, capsys, measured: float, code: int):
    assert outcome(monkeypatch, lambda _: Answer("a table", {"claims": [a_claim(measured)]})) == code
    assert capsys.readouterr().out == "a table\n"


def test_an_undecided_claim_is_not_a_false_one(monkeypatch):
    assert outcome(monkeypatch, lambda _: Answer("", {"claims": [{"holds": None}, {"holds": True}]})) == 0


def test_json_is_all_there_is_on_stdout(monkeypatch, capsys):
    assert outcome(monkeypatch, lambda _: Answer("text", {"n": 3, "where": Path("a")}), "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"n": 3, "where": "a"}


def raising(error: BaseException):
    def run(_):
        raise error

    return run


class OutOfMemoryError(RuntimeError):
    """As torch's is called."""


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (UserError("pairs.jsonl:3: no 'chosen';\n add it"), 2, "error: pairs.jsonl:3: no 'chosen'; add it\n"),
        (KeyboardInterrupt(), 130, "interrupted; run the same command again to continue\n"),
        (OSError(28, "No space left on device", "runs/x"), 2, "error: runs/x: no space left on device\n"),
        (
            OutOfMemoryError("CUDA"),
            2,
            "error: the device is out of memory; try a smaller batch size, --dtype bfloat16 or another --device\n",
        ),
        (PermissionError(13, "Permission denied", "runs/x"), 2, "error: runs/x: permission denied\n"),
    ],
)
def test_mistakes_and_accidents_end_in_one_line(monkeypatch, capsys, error: BaseException, code: int, text: str):
    assert outcome(monkeypatch, raising(error)) == code
    assert capsys.readouterr() == ("", text)


@pytest.mark.parametrize("error", [ZeroDivisionError(), RuntimeError("shape"), OSError("from a library")])
def test_a_defect_of_ours_keeps_its_traceback(monkeypatch, error: Exception):
    with pytest.raises(type(error)):
        outcome(monkeypatch, raising(error))


def test_metrics_as_a_table_with_subsets():
    row = {"n": 2, "accuracy": 0.5, "low": 0.1, "high": 0.9, "tie_rate": 0.0, "normalised_margin": 1.25, "ece": 0.25}
    row |= {"absolute_margin": 3.0, "brier": 0.375}
    rules = {"longest": {"accuracy": 1.0}, "shortest": {"accuracy": 0.0}, "bag_of_tokens": None, "token_overlap": None}
    metrics = {"pairs": {**row, "baselines": rules, "subsets": {"easy": {**row, "n": 1, "baselines": rules}}}}
    *lines, _, _, _, note = metrics_table(metrics).split("\n")
    told = "pairs 2 0.500 0.100 to 0.900 0 3.000 1.250 0.250 0.375 1.000 0.000 unknown unknown"
    assert lines[1].split() == told.split()
    assert lines[2].split()[:2] == ["easy", "1"]
    assert len(set(map(len, lines))) == 1
    assert note == "unknown: training pairs unknown; name them with --train_pairs FILE"
    known = {**row, "baselines": {name: {"accuracy": 0.5} for name in rules}}
    assert "unknown" not in metrics_table({"pairs": {**known, "unshared": known}})
    assert "sharing nothing" in metrics_table({"pairs": {**known, "unshared": known}})
    assert "EVERY PAIR IS A TIE" not in metrics_table({"pairs": known})
    assert "pairs: EVERY PAIR IS A TIE" in metrics_table({"pairs": known | {"tie_rate": 1.0}})


def test_an_accuracy_shown_to_be_below_one_half_is_told_as_backwards():
    metrics = {"swapped": {"high": 0.49}, "open": {"high": 0.5}, "unknown": {"high": None}}
    said = "swapped: it ranks these pairs the wrong way round: are the columns, or the sign of the rewards, swapped?"
    assert backwards(metrics) == [said]


def test_a_folder_of_scores_is_no_model_and_says_whose_scores_they_are(tmp_path):
    (tmp_path / "scores").mkdir()
    write_json(tmp_path / "config.json", {"command": "score", "model": "runs/rm"})
    with pytest.raises(UserError, match=r"is a folder of scores; its model was runs/rm: give that one$"):
        model_folder(str(tmp_path))
    write_json(tmp_path / "config.json", {"command": "train", "model": "runs/rm"})
    assert model_folder(str(tmp_path)) == str(tmp_path)


def test_every_field_of_every_command_says_what_it_is():
    for name, one in rewardgap.COMMANDS.items():
        assert one.__doc__, name
        missing = set(one.__dataclass_fields__) - set(field_helps(one))
        assert not missing, (name, missing)


PROBE = """
import sys, time
import rewardgap
for words in ([], *([name] for name in rewardgap.COMMANDS)):
    try:
        rewardgap.main([*words, "--help"])
    except SystemExit as stopped:
        assert not stopped.code
seconds = time.process_time()  # not the wall clock, which other processes on the machine share
heavy = {"torch", "transformers", "scipy", "sympy", "matplotlib", "datasets"} & set(sys.modules)
print(seconds, *heavy, file=sys.stderr)
"""


def test_help_of_every_command_together_takes_less_than_a_second_and_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    seconds, *heavy = done.stderr.split()
    assert not heavy
    assert float(seconds) < 1.0
    assert "reproduce" in done.stdout


def test_a_mistake_on_the_real_command_line():
    done = subprocess.run([sys.executable, "-m", "rewardgap", "reprodcue"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "error: there is no command 'reprodcue'; did you mean reproduce?\n"


def test_without_a_command_the_list_of_them_is_shown_and_version_needs_none(capsys):
    assert rewardgap.main([]) == 2
    told = capsys.readouterr().err
    assert all(f"\n    {name}" in told for name in rewardgap.COMMANDS)
    assert told.splitlines()[-1].startswith("error: missing COMMAND")
    assert rewardgap.main(["--version"]) == 0
    assert re.fullmatch(r"rewardgap \d+\.\d+\S*\n", capsys.readouterr().out)


def test_the_list_of_transformations_needs_neither_model_nor_pairs(capsys):
    from llm_experiments.stress.catalogue import DEFAULT_SUITE, ON_DEMAND, TRANSFORMATIONS

    assert rewardgap.main(["stress", "--transforms", "list"]) == 0
    lines = capsys.readouterr().out.split("\n\n")[0].splitlines()
    assert [line[2:].split()[0] for line in lines] == [*(one.name for one in TRANSFORMATIONS), *ON_DEMAND]
    assert {line[2:].split()[0] for line in lines if line[0] == "*"} == set(DEFAULT_SUITE)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "--ref_model", "m"], "train has no flag --ref_model; did you mean --reference?"),
        (["train", "--dataset-train-split=x"], "train has no flag --dataset_train_split; did you mean --split?"),
        (["derive", "--ref_model", "m"], "derive has no flag --ref_model; not supported here: "),
        (["train", "--load_in_4bit"], "train has no flag --load_in_4bit; not supported here: `rewardgap train --help`"),
        (["train", "--kind", "dpo"], "--kind takes no 'dpo'; did you mean implicit?"),
        (["score", "--kind=rm"], "--kind takes no 'rm'; did you mean explicit?"),
    ],
)
def test_other_tools_words_are_answered_with_ours_or_not_at_all(words, said, capsys):
    assert rewardgap.main(words) == 2
    assert capsys.readouterr().err.startswith(f"error: {said}")


def test_no_foreign_flag_is_one_of_ours():
    """It would never be answered."""
    ours = {f"--{one.name}" for command in rewardgap.COMMANDS.values() for one in fields(command)}
    foreign = {word for word in rewardgap.FOREIGN if word.startswith("--")}
    assert not foreign & (ours | {f"--{name}" for name in rewardgap.ALIASES})
    assert {rewardgap.FOREIGN[word] for word in foreign} - {""} <= ours


def test_a_model_that_can_be_nowhere_is_refused_before_the_hub_is_asked(tmp_path, monkeypatch, capsys):
    import llm_experiments.weights

    monkeypatch.setattr(llm_experiments.weights, "ask_hub", lambda name: pytest.fail(f"the hub was asked for {name}"))
    rows = ["--pairs", str(tmp_path / "pairs.jsonl"), "--output", str(tmp_path / "run")]
    for words in (["score", *rows], ["score", "--kind", "explicit", *rows], ["doctor"], ["stress", *rows]):
        Path(rows[1]).write_text('{"prompt": "Is it?", "chosen": "Yes.", "rejected": "No."}\n')
        assert rewardgap.main([*words, "--model", "nope"]) == 2
        assert "nope: no such folder, and no hub name (owner/name)" in capsys.readouterr().err


def test_a_quick_look_leaves_the_whole_run_its_folder(tmp_path, monkeypatch):
    import figures.story_page
    import llm_experiments.story

    told = []
    summary = {"claims": [], "notes": [], "seconds": {}}
    monkeypatch.setattr(llm_experiments.story, "run_story", lambda folder, **_: told.append(str(folder)) or summary)
    monkeypatch.setattr(figures.story_page, "write_story", lambda folder: folder)
    monkeypatch.chdir(tmp_path)
    for flags in (["--quick"], [], ["--quick", "--output", "mine"]):
        assert rewardgap.main(["reproduce", *flags]) == 0
    assert told == ["runs/quick", "runs/reproduce", "mine"]
