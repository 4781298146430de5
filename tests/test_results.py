"""Claims are decided as registered; files are whole or absent; a folder belongs to one run."""

import json
import math

import pytest

from simulations.results import Claim, UserError, finish_run, open_run, read_rows, write_json, write_rows, write_text


def registered(measured: float, low: float, high: float, op: str = ">=", value=0.95) -> Claim:
    return Claim("c", 1, "registered", "s", measured, low, high, 6, "split x seed", 6, op, value)


@pytest.mark.parametrize(
    ("interval", "holds"),
    [((0.96, 0.99), True), ((0.90, 0.99), None), ((0.10, 0.94), False), ((0.95, 0.95), True)],
)
def test_a_registered_claim_is_false_only_when_its_whole_interval_is_on_the_wrong_side(interval, holds):
    low, high = interval
    assert registered((low + high) / 2, low, high).holds is holds


def test_two_sided_thresholds_and_missing_numbers():
    assert registered(0.5, 0.45, 0.55, "within", (0.4, 0.6)).holds is True
    assert registered(0.5, 0.30, 0.55, "within", (0.4, 0.6)).holds is None
    assert registered(0.8, 0.70, 0.90, "within", (0.4, 0.6)).holds is False
    assert registered(math.nan, math.nan, math.nan).holds is None
    assert Claim("t", 0, "theorem", "s", math.nan, math.nan, math.nan, 1, "pair", 1, "<=", 1e-12).holds is False


def test_observations_are_never_decided_and_other_claims_need_a_threshold():
    assert Claim("o", 1, "observation", "s", 0.1, 0.0, 0.2, 6, "seed", 6).holds is None
    with pytest.raises(ValueError, match="needs an op"):
        Claim("t", 0, "theorem", "s", 0.0, 0.0, 0.0, 1, "pair", 1)


def test_rows_survive_the_disk_and_non_finite_numbers_become_null(tmp_path):
    rows = [{"id": "a", "r": 0.1 + 0.2, "text": "é\u2028\n\ud800"}, {"id": "b", "r": math.nan}]
    write_rows(tmp_path / "rows.jsonl", rows)
    back = read_rows(tmp_path / "rows.jsonl")
    assert back[0] == rows[0]
    assert back[1]["r"] is None


def test_a_broken_line_is_named(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n{"a": \n')
    with pytest.raises(UserError, match=r"rows\.jsonl:2: not valid JSON"):
        read_rows(tmp_path / "rows.jsonl")


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    write_json(path, {"old": 1})

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_text(path, "new")
    assert json.loads(path.read_text()) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_folder_belongs_to_one_run(tmp_path):
    config = {"kind": "explicit", "seed": 0}
    assert open_run(tmp_path / "run", config) is False
    assert open_run(tmp_path / "run", config) is False
    finish_run(tmp_path / "run")
    assert open_run(tmp_path / "run", config) is True
    with pytest.raises(UserError, match="differs in seed"):
        open_run(tmp_path / "run", {**config, "seed": 1})
    many = dict.fromkeys("abcdef", 1)
    with pytest.raises(UserError, match=r"\(it differs in a, b, c and 5 more\)"):
        open_run(tmp_path / "run", many)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="holds no run of ours"):
        open_run(tmp_path / "other", config)
