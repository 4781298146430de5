"""Results on disk, spoilt in every way: a command that finds them goes on, or ends in one line and leaves them be."""

import contextlib
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from figures.redraw import STORED, _draw
from simulations.results import UserError
from tests.fuzzing import hunt, obeys, revalued, scratch, spoilt
from tests.lm import language_model, tokenizer
from tests.patients import write

pytestmark = pytest.mark.integration
FLAGS = ["score", "--kind=implicit", "--reference=none"]


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """model/, pairs.jsonl and the run on both."""
    folder = tmp_path_factory.mktemp("finished")
    write(folder / "model", language_model("mistral"), tokenizer())
    lines = [{"prompt": f"Is {n} it?", "chosen": " It is.", "rejected": " It is not."} for n in range(3)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = [f"--model={folder / 'model'}", f"--pairs={folder / 'pairs.jsonl'}", f"--output={folder / 'run'}"]
    assert obeys([*FLAGS, *words], folder) == ""
    return folder


@hunt(8)
@given(data=st.data(), stopped=st.booleans())
def test_a_run_that_is_found_again(finished, data, stopped):
    """`stopped`: as if it had been killed before its end, so that it goes on from what is there."""
    names = sorted(str(path.relative_to(finished / "run")) for path in (finished / "run").rglob("*.json*"))
    name = data.draw(st.sampled_from(names))
    old = (finished / "run" / name).read_bytes()
    # what stands in metrics.json under a source's name is believed: it is ours, and written last but one
    if name.endswith(".json") and name != "metrics.json" and data.draw(st.booleans()):
        new = json.dumps(data.draw(revalued(json.loads(old)))).encode()
    else:
        new = data.draw(spoilt(old))
    with scratch() as folder:
        output = folder / "run"
        shutil.copytree(finished / "run", output)
        (output / name).write_bytes(new)
        if stopped:
            (output / "done.json").unlink()
        words = [f"--model={finished / 'model'}", f"--pairs={finished / 'pairs.jsonl'}", f"--output={output}"]
        obeys([*FLAGS, *words], output, output=output, finished=True)


@hunt(2)
@given(data=st.data())
def test_rows_that_are_drawn_again(data):
    source = "rung0/unseen_pairs.jsonl"
    rows = [json.loads(line) for line in (STORED / source).read_text().splitlines()]
    if data.draw(st.booleans()):
        new = "".join(json.dumps(row) + "\n" for row in data.draw(revalued(rows[:8]))).encode()
    else:
        new = data.draw(spoilt((STORED / source).read_bytes()[:2000]))
    with scratch() as folder, contextlib.suppress(UserError):
        path = folder / source
        path.parent.mkdir()
        path.write_bytes(new)
        _draw("separator", folder, folder / "out")
