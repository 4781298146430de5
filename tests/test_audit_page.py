"""The stored audits of real files: the page says what the rows say, and every file went through every kind."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import story_rows
from markupsafe import escape

from figures.audits import KINDS, markdown, sections
from figures.redraw import STORED, redraw
from simulations.results import read_json, read_rows, write_rows

AUDITS = STORED / "audits"


def commits(path: Path) -> list[str]:
    """Every commit that a stored JSON file names, at any depth."""

    def found(value):
        if isinstance(value, dict):
            yield from (str(one) for key, one in value.items() if key == "commit")
        for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from found(one)

    return list(found(read_json(path)))


def test_the_page_is_made_of_the_stored_rows():
    assert (AUDITS / "README.md").read_text(encoding="utf-8") == markdown(AUDITS)


@pytest.mark.integration
def test_the_index_of_figures_holds_every_cell(tmp_path):
    shutil.copytree(AUDITS, tmp_path / "data" / "audits")
    write_rows(tmp_path / "data/rung0/unseen_pairs.jsonl", story_rows.unseen_pair_rows())
    text = redraw(tmp_path / "out", tmp_path / "data").read_text(encoding="utf-8")
    for section in sections(AUDITS):
        for row in section.rows:
            for cell in row:
                assert str(escape(cell.replace("`", ""))) in text


def test_every_file_was_audited_trained_on_and_scored():
    files = [row["file"] for row in read_rows(AUDITS / "files.jsonl")]
    assert len(files) == len(set(files)) == 23
    models = read_rows(AUDITS / "models.jsonl")
    for command in ("train", "score"):
        done = [(row["file"], row["kind"]) for row in models if row["command"] == command]
        assert sorted(done) == sorted((file, kind) for file in files for kind in KINDS)
    assert len(read_rows(AUDITS / "comparisons.jsonl")) == 3 * len(files)


PROVENANCES = [path.relative_to(STORED).as_posix() for path in sorted(STORED.rglob("*.json")) if commits(path)]


def git(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True)


@pytest.mark.parametrize("name", PROVENANCES)
def test_stored_numbers_name_a_commit_of_this_history(name):
    for commit in commits(STORED / name):
        assert re.fullmatch("[0-9a-f]{40}", commit)
        if git("rev-parse", "--is-shallow-repository").stdout.strip() == "false":
            assert git("merge-base", "--is-ancestor", commit, "HEAD").returncode == 0


def test_every_stored_set_of_numbers_says_where_it_is_from():
    assert {name.split("/")[0] for name in PROVENANCES} >= {"audits", "dynamics", "simulate", "stress", "summary.json"}


def test_the_known_leaks_are_in_the_table():
    """Counted before this code was written: 99 % of RewardMATH's test pairs, 90.5 % of RewardBench's prompts."""
    leaks = {(row["trained_on"], row["file"]): row for row in read_rows(AUDITS / "overlaps.jsonl")}
    training, *tests = (
        f"razin2025/{name}.jsonl" for name in ("rewardmath_train", "rewardmath_test", "rewardbench_math_test")
    )
    assert leaks[training, tests[0]]["prompt_and_chosen"] == 198
    assert leaks[training, tests[1]]["prompt"] == 181


def test_the_numbers_in_the_readme_are_stored():
    files = {row["file"]: row for row in read_rows(AUDITS / "files.jsonl")}
    found = files["razin2025/rewardmath_train.jsonl"]["held_out_baselines"]["bag_of_tokens"]
    said = f"{found['accuracy']:.2f} [{found['low']:.2f}, {found['high']:.2f}] of RewardMATH's held-out prompts"
    assert said in (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8").replace("\n", " ")


def test_differences_are_those_of_the_accuracies():
    for row in read_rows(AUDITS / "comparisons.jsonl"):
        assert abs(row["difference"] - (row["first_accuracy"] - row["second_accuracy"])) < 1e-9
        assert row["low"] is None or row["low"] <= row["difference"] <= row["high"]
