"""Files of pairs, spoilt in every way: `score` reads them, or ends in one line that names the file."""

import csv
import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzzing import VALUES, hunt, obeys, revalued, scratch, spoilt
from tests.lm import language_model, tokenizer
from tests.patients import write

pytestmark = pytest.mark.integration

ASK = [{"role": "user", "content": "Is it?"}]
YES, NO = ([{"role": "assistant", "content": text}] for text in (" Yes é", " No"))
SHAPES = {
    "texts": {"prompt": "Is it?", "chosen": " Yes é", "rejected": " No", "id": "a", "subset": "s"},
    "messages": {"prompt": ASK, "chosen": YES, "rejected": NO},
    "conversations": {"chosen": ASK + YES, "rejected": ASK + NO, "score_chosen": 2.0, "score_rejected": 1.0},
    "transcripts": {key: f"\n\nHuman: Is it?\n\nAssistant: {key}" for key in ("chosen", "rejected")},
    "several": {"prompt": "Is it?", "chosen": ["Yes", "Oui", "Ja"], "rejected": ["No", "Non", "Nein"], "domain": "d"},
    "llmbar": {"input": "Is it?", "output_1": "Yes", "output_2": "No", "label": 1},
    "sharegpt": {
        "conversations": [{"from": "human", "value": "Is it?"}],
        "chosen": {"from": "gpt", "value": "Yes"},
        "rejected": {"from": "gpt", "value": "No"},
    },
    "instruction": {"instruction": "Is it?", "input": "", "chosen": "Yes", "rejected": "No"},
}


def jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def table(rows):
    file = io.StringIO()
    writer = csv.DictWriter(file, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def parquet(rows):
    import pyarrow
    from pyarrow import parquet as pq

    file = io.BytesIO()
    pq.write_table(pyarrow.Table.from_pylist(rows), file)
    return file.getvalue()


TWO = [SHAPES["texts"], SHAPES["texts"] | {"id": "b", "chosen": " Yes, it is."}]
FORMATS = {
    "pairs.jsonl": jsonl(TWO),
    "pairs.json": json.dumps(TWO, ensure_ascii=False).encode(),
    "pairs.csv": table(TWO),
    "pairs.parquet": parquet(TWO),
    "pairs.jsonl.gz": gzip.compress(jsonl(TWO), mtime=0),
}


@pytest.fixture(scope="session")
def policy(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("policy"), language_model("mistral"), tokenizer())


def score(policy: Path, folder: Path, name: str, data: bytes, **flags: object) -> str:
    path, output = folder / name, folder / "run"
    path.write_bytes(data)
    words = ["score", "--model", policy, "--pairs", path, "--output", output, "--reference", "none"]
    words += ["--kind", "implicit", *(f"--{flag}={value}" for flag, value in flags.items())]
    return obeys(words, path, output=output)


def test_the_files_are_sound_before_they_are_spoilt(policy):
    for name, data in [*FORMATS.items(), *((f"{name}.jsonl", jsonl([row])) for name, row in SHAPES.items())]:
        with scratch() as folder:
            assert score(policy, folder, name, data) == ""
            assert (folder / "run" / "done.json").exists()


@hunt(12)
@given(data=st.data(), name=st.sampled_from(sorted(FORMATS)), bad_pairs=st.sampled_from(["error", "drop"]))
def test_spoilt_files(policy, data, name, bad_pairs):
    with scratch() as folder:
        score(policy, folder, name, data.draw(spoilt(FORMATS[name])), bad_pairs=bad_pairs)


@hunt(12)
@given(data=st.data(), name=st.sampled_from(sorted(SHAPES)), bad_pairs=st.sampled_from(["error", "drop"]))
def test_any_value_in_place_of_any_field(policy, data, name, bad_pairs):
    row = data.draw(revalued(SHAPES[name]))
    with scratch() as folder:
        score(policy, folder, "pairs.jsonl", jsonl([row, SHAPES["texts"]]), bad_pairs=bad_pairs)


ODD = st.one_of(
    VALUES.map(json.dumps),
    st.integers(4290, 9000).map(lambda digits: '[{"id": ' + "1" * digits + "}]"),
    st.integers(1, 3000).map(lambda depth: "[" * depth + "]" * depth),
)


@hunt(6)
@given(text=ODD, ending=st.sampled_from(["json", "jsonl"]))
def test_any_json_at_all(policy, text, ending):
    with scratch() as folder:
        score(policy, folder, f"pairs.{ending}", text.encode())
