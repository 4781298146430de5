"""Tensor files say themselves whether they are whole, and are whole or absent."""

import errno
import os

import pytest
import torch

from llm_experiments.tensors import DamagedFile, read_tensors, write_tensors
from simulations.results import leave_writing_to_the_first, open_run, remove_temporaries, write_json

TENSORS = {
    "matrix": torch.arange(6.0).reshape(2, 3),
    "half": torch.tensor([1.5, -2.0]).bfloat16(),
    "scalar": torch.tensor(7, dtype=torch.int64),
    "none": torch.zeros(0),
}


def test_tensors_and_their_metadata_survive_the_disk(tmp_path):
    write_tensors(tmp_path / "x.safetensors", TENSORS, {"said": '{"é": 1}'})
    back, said = read_tensors(tmp_path / "x.safetensors")
    assert said == {"said": '{"é": 1}'}
    assert back.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor)


def test_others_may_read_what_the_umask_lets_them_read(tmp_path):
    before = os.umask(0o027)
    try:
        write_tensors(tmp_path / "x.safetensors", TENSORS)
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert (tmp_path / "x.safetensors").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:20],
        lambda content: content[:-3],
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),  # one bit of one number
        lambda content: content.replace(b'"said"', b'"sold"'),
        lambda content: content + b"\0",
        lambda content: b"\x00" * len(content),
    ],
)
def test_a_damaged_file_is_named_and_never_used(damage, tmp_path):
    path = tmp_path / "x.safetensors"
    write_tensors(path, TENSORS, {"said": "so"})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DamagedFile, match=r"x\.safetensors: is damaged .*; delete it") as caught:
        read_tensors(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_write_that_fails_names_its_file_and_leaves_the_old_one(number, tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    write_tensors(path, TENSORS)
    old = path.read_bytes()

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", refuse)
    for write in (lambda: write_tensors(path, {"other": torch.ones(3)}), lambda: write_json(path, {})):
        with pytest.raises(OSError, match=os.strerror(number)) as caught:
            write()
        assert caught.value.filename == str(path)
        assert path.read_bytes() == old
        assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_neither_stops_a_run_nor_stays(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / ".config.json.123.0123abcd.tmp").write_text("{")
    assert open_run(run, {"seed": 0}) is False
    (run / "scores").mkdir()
    (run / "scores" / ".pairs.jsonl.7.00000000.tmp").write_text("{")
    (run / "scores" / ".mine.tmp").write_text("kept")
    remove_temporaries(run)
    assert sorted(item.name for item in run.rglob(".*")) == [".mine.tmp"]


def test_of_processes_that_compute_together_one_writes(tmp_path):
    leave_writing_to_the_first(True)
    write_tensors(tmp_path / "a", TENSORS)
    write_json(tmp_path / "b", {})
    assert not list(tmp_path.iterdir())
    leave_writing_to_the_first(False)
    write_json(tmp_path / "b", {})
    assert [item.name for item in tmp_path.iterdir()] == ["b"]
