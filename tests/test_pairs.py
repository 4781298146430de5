"""Every published shape of preference pairs, and every mistake in one, named by file, line and field."""

import gzip
import json

import pytest

from llm_experiments.pairs import load_pairs
from simulations.results import UserError

USER = {"role": "user", "content": "Is 7 prime?"}
GOOD, BAD = {"role": "assistant", "content": "Yes."}, {"role": "assistant", "content": "No."}
PLAIN = {"prompt": "Is 7 prime?", "chosen": " Yes.", "rejected": " No."}


def write(path, rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def only(path, rows, **options):
    (pair,) = load_pairs(write(path / "file.jsonl", rows), **options)
    return pair


SHAPES = {
    "standard, explicit prompt": (PLAIN, ("Is 7 prime?", " Yes.", " No.")),
    "standard, shared beginning": (
        {"chosen": "The sky is blue.", "rejected": "The sky is black."},
        ("The sky is", " blue.", " black."),
    ),
    "one word more": ({"chosen": "It is so nice.", "rejected": "It is so."}, ("It is", " so nice.", " so.")),
    "messages, explicit prompt": (
        {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
        ((USER,), (GOOD,), (BAD,)),
    ),
    "messages, shared prompt": ({"chosen": [USER, GOOD], "rejected": [USER, BAD]}, ((USER,), (GOOD,), (BAD,))),
    "prompt given twice": (
        {"prompt": USER["content"], "chosen": [USER, GOOD], "rejected": [USER, BAD]},
        ((USER,), (GOOD,), (BAD,)),
    ),
    "transcript": (
        {
            "chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d",
            "rejected": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: e\n",
        },
        ("\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:", " d", " e\n"),
    ),
    "LLMBar": ({"input": "q", "output_1": "worse", "output_2": "better", "label": 2}, ("q", "better", "worse")),
    "RewardBench": (PLAIN | {"chosen_model": "a", "rejected_model": "b"}, ("Is 7 prime?", " Yes.", " No.")),
    "instruction": (
        {"instruction": "Translate.", "input": "oui", "chosen": "yes", "rejected": "no"},
        ("Translate.\noui", "yes", "no"),
    ),
    "ShareGPT": (
        {
            "conversations": [{"from": "human", "value": "Is 7 prime?"}],
            "chosen": {"from": "gpt", "value": "Yes."},
            "rejected": {"from": "gpt", "value": "No."},
        },
        ((USER,), (GOOD,), (BAD,)),
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_published_shapes(name, tmp_path):
    row, expected = SHAPES[name]
    pair = only(tmp_path, [row])
    assert (pair.prompt, pair.chosen, pair.rejected) == expected
    assert pair.id == "file/1"


@pytest.mark.parametrize("name", ["standard, shared beginning", "transcript", "messages, shared prompt"])
def test_a_prompt_that_responses_hold_is_read_beside_columns_that_repeat_it(name, tmp_path):
    row, expected = SHAPES[name]
    for more in ({"topic": "of the day", "source": "web"}, {"question": "The sky"}, {"Query": " "}):
        pair = only(tmp_path, [row | more])
        assert (pair.prompt, pair.chosen, pair.rejected) == expected


def test_a_null_prompt_is_one_where_the_responses_do_not_mark_theirs(tmp_path):
    import pyarrow
    from pyarrow import parquet

    rows = [SHAPES["transcript"][0], SHAPES["standard, shared beginning"][0], PLAIN]
    parquet.write_table(pyarrow.Table.from_pylist([{"prompt": None} | row for row in rows]), tmp_path / "mixed.parquet")
    found = load_pairs(tmp_path / "mixed.parquet", bad_pairs="drop")
    assert found.dropped == {"the prompt is null": ("mixed/2",)}
    assert found.shared_prompts == {"mixed/1"}


def test_words_under_any_name_are_offered_where_there_is_no_prompt(tmp_path):
    row = {"topic": "The sky at night", "kind": "easy", "chosen": "Dark.", "rejected": "Light."}
    with pytest.raises(UserError, match=r'there is no prompt.*; rename "topic" to "prompt", or leave such pairs out'):
        only(tmp_path, [row])


def test_several_responses_a_side_give_every_pair_of_them(tmp_path):
    responses = {"prompt": "q", "chosen": ["a", "b", "c"], "rejected": ["x", "y", "z"], "id": 7}
    pairs = load_pairs(write(tmp_path / "rm.jsonl", [responses | {"domain": "math"}]))
    assert [(p.id, p.subset) for p in pairs][:4] == [
        ("7/0-0", "math/normal"),
        ("7/0-1", "math/hard"),  # the rejected response is the more ornate one
        ("7/0-2", "math/hard"),
        ("7/1-0", "math/easy"),
    ]
    assert len(pairs) == 9
    best = load_pairs(write(tmp_path / "two.jsonl", [{"prompt": "q", "chosen": ["a"], "rejected": ["x", "y", "z"]}]))
    assert [(p.chosen, p.rejected) for p in best] == [("a", "x"), ("a", "y"), ("a", "z")]


def test_ids_and_subsets_are_carried_and_numbered_where_missing(tmp_path):
    rows = [PLAIN | {"id": 3, "subset": "chat"}, "", PLAIN]
    pairs = load_pairs(write(tmp_path / "set.jsonl", rows))
    assert [(pair.id, pair.subset) for pair in pairs] == [("3", "chat"), ("set/3", "")]


def test_all_file_formats_give_the_same_pairs(tmp_path):
    import datasets
    import pyarrow
    from pyarrow import parquet

    rows = [PLAIN | {"id": f"p{i}", "chosen": f'Yes, "{i}"\nand\u2028so on, 你好'} for i in range(3)]
    write(tmp_path / "a.jsonl", rows)
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as file:
        file.write((tmp_path / "a.jsonl").read_text())
    (tmp_path / "c.json").write_text(json.dumps(rows))
    (tmp_path / "bom.jsonl").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "a.jsonl").read_bytes().replace(b"\n", b"\r\n"))
    import csv

    with (tmp_path / "d.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "e.parquet")
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "folder")
    first = load_pairs(tmp_path / "a.jsonl").pairs
    assert first[0].chosen == 'Yes, "0"\nand\u2028so on, 你好'
    for name in ("b.jsonl.gz", "c.json", "bom.jsonl", "d.csv", "e.parquet", "folder"):
        assert load_pairs(tmp_path / name).pairs == first, name


DEGENERATE = {
    "the chosen response is empty": PLAIN | {"chosen": " \n"},
    "the rejected response is empty": {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD | {"content": ""}]},
    "chosen and rejected are the same": PLAIN | {"rejected": " Yes."},
    "chosen and rejected have different prompts": {
        "chosen": "\n\nHuman: a\n\nAssistant: b",
        "rejected": "\n\nHuman: b\n\nAssistant: c",
    },
    "there is no prompt, and chosen and rejected share no beginning": {"chosen": "Yes.", "rejected": "No."},
    "the prompt is null": {"prompt": None, "chosen": "I say yes.", "rejected": "I say no."},
    "the chosen response is null": PLAIN | {"chosen": None},
    "the rejected response is null": PLAIN | {"rejected": None},
    "the scores of chosen and rejected are tied": PLAIN | {"score_chosen": 4.0, "score_rejected": 4.0},
}


@pytest.mark.parametrize("reason", DEGENERATE)
def test_pairs_that_cannot_be_ranked_stop_or_are_counted(reason, tmp_path):
    path = write(tmp_path / "set.jsonl", [PLAIN, DEGENERATE[reason]])
    with pytest.raises(UserError, match=f'set.jsonl:2: "[a-z_]+": {reason}.*--bad_pairs drop'):
        load_pairs(path)
    kept = load_pairs(path, bad_pairs="drop")
    assert len(kept) == 1
    assert kept.dropped == {reason: ("set/2",)}
    assert kept.pairs_in == 2


FAULTS = {
    "broken JSON": (['{"prompt": "a", "chosen"'], r":2: not valid JSON"),
    "no object": (["[1, 2]"], r":2: expected an object.*found a list"),
    "missing field": ([{"prompt": "a", "chosen": "b"}], r':2: "rejected" is missing \(found .prompt., .chosen.\)'),
    "prompt of another name": (
        [{"Question": "Is 7 prime?", "topic": "a b", "chosen": "I say yes.", "rejected": "I say no."}],
        r':2: "prompt" is missing.*; rename "Question" to "prompt"$',
    ),
    "one of two names": (
        [{"context": "Sums.", "query": [USER], "chosen": "Yes.", "rejected": "No.", "prompt": None}],
        r':2: .*; rename the one of "context", "query" that is the prompt to "prompt"$',
    ),
    "messages, prompt of another name": (
        [{"messages": [USER], "chosen": [GOOD], "rejected": [BAD]}],
        r':2: .*rename "messages"',
    ),
    "lists, prompt of another name": ([{"input": "q", "chosen": ["a"], "rejected": ["b"]}], r':2: .*rename "input"'),
    "number": ([PLAIN | {"chosen": 7}], r':2: "chosen": expected a text or a list of messages, found a number'),
    "text and messages": ([PLAIN | {"chosen": [GOOD]}], r':2: "rejected": .*must both be'),
    "message without content": (
        [{"prompt": [USER], "chosen": [{"role": "assistant"}], "rejected": [BAD]}],
        r':2: "chosen": message 1 needs "content" as text, found nothing',
    ),
    "ends with the user": ([{"chosen": [USER], "rejected": [USER, BAD]}], r':2: "chosen": the last message must be'),
    "no prompt": ([{"chosen": [GOOD], "rejected": [BAD]}], r':2: "prompt" is missing'),
    "id of another type": ([PLAIN | {"id": [1]}], r':2: "id": expected text or a whole number, found a list'),
    "same id twice": ([PLAIN | {"id": "x"}, PLAIN | {"id": "x"}], r":3: \"id\": 'x' was already used at .*:2"),
    "LLMBar label": ([{"input": "q", "output_1": "a", "output_2": "b", "label": 0}], r':2: "label": expected 1 or 2'),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("bad_pairs", ["error", "drop"])
def test_faults_of_structure_always_stop_with_the_place_and_the_cure(name, bad_pairs, tmp_path):
    rows, message = FAULTS[name]
    with pytest.raises(UserError, match="set.jsonl" + message) as caught:
        load_pairs(write(tmp_path / "set.jsonl", [PLAIN, *rows]), bad_pairs=bad_pairs)
    assert "\n" not in str(caught.value)


def test_unreadable_files(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n\n")
    (tmp_path / "latin.jsonl").write_bytes(b'{"prompt": "a"}\n{"prompt": "\xe9"}')
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"prompt": "a"}' * 100)[:-9])
    (tmp_path / "lines.json").write_text(json.dumps(PLAIN) + "\n" + json.dumps(PLAIN))
    (tmp_path / "table.csv").write_text("prompt,chosen,rejected\na,b,c,d\n")
    (tmp_path / "european.csv").write_text("prompt;chosen;rejected\na, b;c, d;e\n")
    (tmp_path / "several").mkdir()
    write(tmp_path / "several" / "a.jsonl", [PLAIN])
    write(tmp_path / "several" / "b.jsonl", [{"other": [1]}])
    (tmp_path / "fake.parquet").write_text("not parquet")
    (tmp_path / "notes.docx").write_text("hello")
    (tmp_path / "folder").mkdir()
    for name, message in {
        "absent.jsonl": "no such file",
        "empty.jsonl": "holds no pairs",
        "latin.jsonl": "latin.jsonl:2: not UTF-8",
        "cut.jsonl.gz": "cannot be read",
        "lines.json": "call it .jsonl",
        "table.csv": "table.csv:2: more cells",
        "european.csv": "one column `prompt;chosen;rejected`: separated by semicolons",
        "several": "give a file in it: a.jsonl, b.jsonl",
        "fake.parquet": "not a readable Parquet file",
        "notes.docx": "unknown kind of file",
        "folder": "not a folder that `datasets` can read",
    }.items():
        with pytest.raises(UserError, match=message) as caught:
            load_pairs(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no pair is left"):
        load_pairs(write(tmp_path / "bad.jsonl", [PLAIN | {"chosen": ""}]), bad_pairs="drop")
