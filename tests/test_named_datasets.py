"""Data sets by name: hand-made records in the hubs' schemas, and what of them is a pair."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_experiments.hub import ask_hub
from llm_experiments.named_datasets import HUB_SETS
from llm_experiments.pair_sources import Record
from llm_experiments.pairs import _pairs_of, load_pairs, plain_text
from llm_experiments.splits import split_pairs
from simulations.results import UserError
from tests.fuzzing import revalued


def turn(role, content):
    return {"role": role, "content": content}


ASKED = turn("user", "Is 7 prime?")
YES, NO = [ASKED, turn("assistant", "Yes.")], [ASKED, turn("assistant", "No.")]
LONG = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Is 7 prime?\n\nAssistant: "
ARENA = {
    "question_id": "58210e39b3fd4441a2bd4a518bb44c2d",
    "model_a": "koala-13b",
    "model_b": "vicuna-13b",
    "winner": "model_b",
    "judge": "arena_user_973",
    "conversation_a": NO,
    "conversation_b": YES,
    "turn": 1,
    "anony": True,
    "language": "English",
    "tstamp": 1682351591.1322,
}
NECTAR = {
    "prompt": LONG,
    "answers": [{"answer": f"Answer {rank}.", "model": "gpt-4", "rank": float(rank)} for rank in range(1, 8)],
    "turns": 2,
    "num_responses": 7,
    "source": ["lmsys-chat-1m"],
    "good_natured": True,
}
SUMMARY = {
    "info": {
        "id": "t3_1",
        "post": "My dog ran.",
        "title": "Dog",
        "subreddit": "AskReddit",
        "site": None,
        "article": None,
    },
    "summaries": [
        {"text": " A cat.", "policy": "ppo", "note": None},
        {"text": " A dog.", "policy": "ref", "note": None},
    ],
    "choice": 1,
    "worker": "w",
    "batch": "batch3",
    "split": "train",
    "extra": {"confidence": None},
}
WEBGPT = {
    "question": {"dataset": "triviaqa", "id": "q1", "full_text": "Is 7 prime?"},
    "quotes_0": {"title": ["Seven"], "extract": ["7 is prime."]},
    "answer_0": "Yes [1].",
    "tokens_0": {"prefix": [1], "completion": [2]},
    "score_0": 0.33,
    "quotes_1": {"title": [], "extract": []},
    "answer_1": "No.",
    "tokens_1": {"prefix": [1], "completion": [3]},
    "score_1": -0.33,
}
UNIFIED = {
    "id": "hh-rlhf_0",
    "conv_A": NO,
    "conv_B": YES,
    "conv_A_rating": 0.0,
    "conv_B_rating": 1.0,
    "num_turns": 1,
    "source": "Anthropic/hh-rlhf",
}
BINARIZED = {
    "prompt": "Is 7 prime?",
    "prompt_id": "0",
    "chosen": YES,
    "rejected": NO,
    "messages": YES,
    "score_chosen": 8.0,
    "score_rejected": 4.0,
}
RECORDS = {"arena": ARENA, "nectar": NECTAR, "summary": SUMMARY, "webgpt": WEBGPT, "unified": UNIFIED}


def load(tmp_path, *rows, **options):
    path = tmp_path / "file.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_pairs(path, **options)


@pytest.mark.parametrize(
    ("row", "prompt", "chosen", "rejected"),
    [
        (ARENA, "Is 7 prime?", "Yes.", "No."),
        (ARENA | {"winner": "model_a"}, "Is 7 prime?", "No.", "Yes."),
        (SUMMARY, "SUBREDDIT: r/AskReddit\n\nTITLE: Dog\n\nPOST: My dog ran.\n\nTL;DR:", " A dog.", " A cat."),
        (SUMMARY | {"info": {"article": "News."}, "choice": 0}, "Article:\n\nNews.\n\nTL;DR:", " A cat.", " A dog."),
        (WEBGPT, "Is 7 prime?", "Yes [1].", "No."),
        (WEBGPT | {"score_0": -1.0, "score_1": 1.0}, "Is 7 prime?", "No.", "Yes [1]."),
        (UNIFIED, "Is 7 prime?", "Yes.", "No."),
        (UNIFIED | {"conv_A_rating": 3, "conv_B_rating": 2.5}, "Is 7 prime?", "No.", "Yes."),
        (BINARIZED, "Is 7 prime?", "Yes.", "No."),
    ],
)  # fmt: skip
def test_the_preferred_answer_is_chosen(row, prompt, chosen, rejected, tmp_path):
    (pair,) = load(tmp_path, row)
    assert pair.id == "file/1"
    assert [plain_text(text) for text in (pair.prompt, pair.chosen, pair.rejected)] == [prompt, chosen, rejected]


def test_nectar_gives_two_pairs_of_four_different_answers_whatever_their_order(tmp_path):
    pairs = load(tmp_path, NECTAR)
    assert [pair.id for pair in pairs] == ["file/1/0", "file/1/1"]
    assert all(pair.prompt == LONG.removesuffix(" ") for pair in pairs)
    assert len({answer for pair in pairs for answer in (pair.chosen, pair.rejected)}) == 4
    assert all(
        pair.chosen < pair.rejected and pair.chosen.startswith(" Answer ") for pair in pairs
    )  # better: lower rank
    assert load(tmp_path, NECTAR | {"answers": NECTAR["answers"][::-1]}).pairs == pairs.pairs


def test_ties_and_different_histories_are_dropped_and_counted(tmp_path):
    history = [turn("user", "Hi"), turn("assistant", "Hello.")]
    ties = [
        ARENA | {"winner": "tie"},
        ARENA | {"winner": "tie (bothbad)"},
        WEBGPT | {"score_0": 0.0, "score_1": 0.0},
        UNIFIED | {"conv_A_rating": 0.5, "conv_B_rating": 0.5},
        NECTAR | {"answers": [answer | {"rank": 1} for answer in NECTAR["answers"]]},
    ]
    pairs = load(
        tmp_path, ARENA, ARENA | {"conversation_a": [*history, *NO]}, *ties, UNIFIED, UNIFIED, bad_pairs="drop"
    )
    assert len(pairs) == 3  # Unified-Feedback's ids repeat, and are left out
    counts = {reason: len(ids) for reason, ids in pairs.dropped.items()}
    assert counts == {"the two are tied": 6, "chosen and rejected have different prompts": 1}
    with pytest.raises(UserError, match=r'file.jsonl:1: "winner": the two are tied.*--bad_pairs drop'):
        load(tmp_path, ARENA | {"winner": "tie"})


def test_a_prompt_falls_on_one_side_of_a_split_in_whatever_data_set(tmp_path):
    """The same questions in four schemas: as text, as messages, as a transcript."""
    parts = {"train": set(), "test": set()}
    for number in range(40):
        asked = f"Is {number} prime?"
        two = {name: [turn("user", asked), turn("assistant", name)] for name in "ab"}
        transcript = f"\n\nHuman: {asked}\n\nAssistant:"
        rows = [
            ARENA | {"conversation_a": two["a"], "conversation_b": two["b"]},
            UNIFIED | {"conv_A": two["a"], "conv_B": two["b"]},
            WEBGPT | {"question": {"full_text": asked}},
            {"chosen": f"{transcript} a", "rejected": f"{transcript} b"},
        ]
        found = split_pairs(load(tmp_path, *rows), {"train": 0.5, "test": 0.5})
        assert sorted(map(len, found.values())) == [0, 4]
        parts["train" if found["train"] else "test"].add(number)
    assert min(map(len, parts.values())) > 5


@pytest.mark.parametrize("name", HUB_SETS)
def test_a_name_asks_the_hub_for_its_data_set(name, monkeypatch):
    import datasets

    rows = {
        "arena": ARENA,
        "nectar": NECTAR,
        "summarize-from-feedback": SUMMARY,
        "webgpt": WEBGPT,
        "ultrafeedback": BINARIZED,
    }
    asked = []

    def load_dataset(id, config, **options):
        asked.append((id, config, options))
        splits = ("train", "test", "train_prefs", "test_prefs", "validation")
        row = rows.get(name, {"chosen": LONG + "a", "rejected": LONG + "b"})
        return {split: [row | {"split": split}] for split in splits}

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    for split in ("train", "test"):
        pairs = load_pairs(name, split=split)
        assert pairs[0].id.startswith(f"{name}/1")
    (id, config, options), _ = asked
    assert (id, config) == (HUB_SETS[name].id, None)
    assert set(options) == ({"data_files", "revision"} if HUB_SETS[name].files else set())


def test_a_name_without_a_network_is_told_by_that_name_in_one_line(monkeypatch, capsys):
    with pytest.raises(UserError, match=r"^ultrafeedback: no such file here.*HF_HUB_OFFLINE=1.*pass a file"):
        load_pairs("ultrafeedback")
    assert capsys.readouterr().err == ""

    def unreachable(*_, **__):
        raise ConnectionError("Couldn't reach it")

    ask_hub.cache_clear()
    monkeypatch.setattr("datasets.load_dataset", unreachable)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with pytest.raises(UserError, match=r"^ultrafeedback: no such file here.*there is no network.*pass a file"):
        load_pairs("ultrafeedback")
    assert capsys.readouterr().err.startswith("asking the hub for HuggingFaceH4/ultrafeedback_binarized; ")


def fault_of(row):
    """Of the record on line 3, empty where it has none."""
    try:
        pairs = list(_pairs_of(Record("file.jsonl:3", 3, row), "file"))
    except UserError as error:
        return str(error)
    assert all(isinstance(pair.prompt, str | tuple) for pair, _ in pairs)
    return ""


@pytest.mark.parametrize("name", RECORDS)
def test_a_number_in_place_of_a_text_or_a_list_is_a_fault_at_its_line(name):
    whole = RECORDS[name]
    read = {
        "arena": ("winner", "conversation_a", "conversation_b"),
        "nectar": ("prompt", "answers"),
        "summary": ("info", "summaries", "choice"),
        "webgpt": ("question", "answer_0", "answer_1"),
        "unified": ("conv_A", "conv_B"),
    }[name]
    assert fault_of(whole) == ""
    for field in read:
        assert fault_of(whole | {field: 7}).startswith('file.jsonl:3: "')


@settings(max_examples=40)
@given(st.data())
def test_whatever_a_record_holds_its_fault_is_named(data):
    fault = fault_of(data.draw(revalued(data.draw(st.sampled_from(list(RECORDS.values()))))))
    assert fault == "" or fault.startswith('file.jsonl:3: "')
