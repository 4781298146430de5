"""What a stress test reads: an edit's words inside their form, rewrites joined to their originals, limits on pairs."""

import json

import pytest
from stress_worlds import write_pairs

from llm_experiments.pairs import Pair
from llm_experiments.settings import StressRequest
from llm_experiments.stress.catalogue import by_name
from llm_experiments.stress.folder import write_texts
from llm_experiments.stress.planning import plan
from llm_experiments.stress.rewrites import read_rewrites
from llm_experiments.stress.shifts import ASKED, CHANGED, shift_by
from llm_experiments.stress.sides import with_words, words_of
from llm_experiments.stress.suite import read_pairs
from simulations.results import UserError, read_rows


@pytest.mark.parametrize(
    "text",
    ["plain", " two words \n", "\n\nHuman: first\n\nAssistant: answer\n\nHuman: second one\n\nAssistant:", "", "   "],
)
@pytest.mark.parametrize("field", ["prompt", "chosen"])
def test_words_are_put_back_into_their_form(text, field):
    for value in (text, ({"role": "user", "content": text}, {"role": "assistant", "content": "x"})):
        pair = Pair("a", "", "p", "c", "r")
        pair = Pair(**{**pair.__dict__, field: value})
        words = words_of(pair, field)
        assert words == words.strip()
        assert with_words(pair, field, words) == pair
        assert words_of(with_words(pair, field, "NEW words"), field) == "NEW words"


def test_of_a_transcript_only_the_last_question_is_edited():
    prompt = "\n\nHuman: first\n\nAssistant: answer\n\nHuman: second\n\nAssistant:"
    edited = with_words(Pair("a", "", prompt, " c", " r"), "prompt", "third")
    assert edited.prompt == "\n\nHuman: first\n\nAssistant: answer\n\nHuman: third\n\nAssistant:"


def said(chosen, rejected):
    return {"orig_chosen": chosen, "orig_rejected": rejected}


def test_rewrites_join_by_words_then_by_id_and_the_rest_is_counted(tmp_path):
    originals = [
        Pair("a", "", "p", " one  good", " one bad"),
        Pair("b", "", ({"role": "user", "content": "q"},), ({"role": "assistant", "content": "two good"},), "two bad"),
        Pair("c", "", "r", "three good", "three bad"),
        Pair("d", "", "s", "four good", "four bad"),
    ]
    lines = [
        {"prompt": "p", "chosen": "ONE GOOD", "rejected": "ONE BAD"} | said("one good", "one bad"),
        {"prompt": "q", "chosen": "Zwei gut", "rejected": "Zwei schlecht"} | said("two good", "two bad"),
        {"id": "c", "prompt": "other r", "chosen": "drei gut", "rejected": "drei schlecht"},
        {"id": "d", "prompt": "s", "chosen": "x", "rejected": "y"} | said("not", "known"),
        {"prompt": "s", "chosen": "z", "rejected": "w"},
        {"prompt": "s", "chosen": "same", "rejected": "same"} | said("four good", "four bad"),
    ]
    path = tmp_path / "rewrites.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    found = read_rewrites(str(path), originals)
    assert list(found.pairs) == ["a", "b", "c"]
    assert (found.lines, found.unmatched, found.missing) == (6, 3, 1)
    assert found.pairs["a"] == Pair("a", "", "p", " ONE GOOD", " ONE BAD")  # blanks are the form, not the words
    assert found.pairs["b"].chosen == ({"role": "assistant", "content": "Zwei gut"},)
    assert found.pairs["b"].prompt == originals[1].prompt
    assert found.pairs["c"].prompt == "other r"
    assert found.shift().side == "both"  # one of them changes the prompt as well
    fates = [found.shift().change(pair).fate for pair in originals]
    assert fates == [CHANGED, CHANGED, CHANGED, "rejected: no rewrite of this pair"]
    with pytest.raises(UserError, match="none of its 6 rewrites"):
        read_rewrites(str(path), [Pair("z", "", "p", "nothing", "alike")])


@pytest.mark.parametrize(
    ("chosen", "rejected", "fate"),
    [
        ("An answer in other words, but as good.", "And the bad one in other words.", CHANGED),
        ("bad  one, and not short at all, is it?", "The good one", "rejected: the other response's words"),
        ("Fine", "bad one, and not short at all, is it", "rejected: too short"),
        ("The better one " * 300, "A bad one, long as it is", "rejected: too long"),
    ],
)
def test_a_rewrite_that_cannot_be_one_is_refused(tmp_path, chosen, rejected, fate):
    original = Pair(
        "a", "", "p", "This is the good one, and a long one as well. " * 5, "bad one, and not short at all, is it?"
    )
    path = tmp_path / "rewrites.jsonl"
    path.write_text(json.dumps({"id": "a", "prompt": "p", "chosen": chosen, "rejected": rejected}), encoding="utf-8")
    shift = read_rewrites(str(path), [original]).shift()
    assert (shift.change(original).fate, shift.side) == (fate, "responses")


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        ("lowercase", "Say which words to lower if they are not capitalized."),
        ("curly_quotes", "Give me JSON of that."),
        ("markdown_added", "Answer in plain text."),
        ("filler_sentences", "Answer in one word: who was it?"),
        ("synonyms", "Give me a synonym of it."),
        ("typos", "How do you spell it?"),
    ],
)
def test_a_form_that_the_prompt_asks_for_is_not_changed(name, prompt):
    text = (
        "Of this I am sure: It's costly, \"not good\" and I don't like the smell and taste of those things over there."
    )
    for asked, fate in ((prompt, f"rejected: {ASKED}"), ("Tell me about it.", CHANGED)):
        pair = Pair("a", "", asked, text, text + " It is costly.")
        assert shift_by(by_name([name])[0], 1.0, "responses", seed=0).change(pair).fate == fate
    damaged = shift_by(by_name(["shuffled_words"])[0], 1.0, "chosen", seed=0).change(Pair("a", "", prompt, text, "b"))
    assert damaged.fate == CHANGED


def test_texts_say_which_pairs_are_one_sided(tmp_path):
    pairs = [
        Pair("both", "", "p", "It's one", "It's two"),
        Pair("one", "", "p", "It's one", "Two"),
        Pair("none", "", "p", "a", "b"),
    ]
    shift = shift_by(by_name(["curly_quotes"])[0], 1.0, "responses", seed=0)
    write_texts(tmp_path, pairs, [shift])
    rows = read_rows(tmp_path / "texts" / f"{shift.name}.jsonl")
    assert {row["id"]: row["one_sided"] for row in rows} == {"both": False, "one": True, "none": False}


def test_the_grid_combines_families_and_two_shifts_of_one_name_are_refused(tmp_path, monkeypatch):
    asked = request(
        tmp_path, transforms=("uppercase", "lowercase", "extra_spaces", "typos"), sides=("responses", "prompt")
    )
    shifts, _ = plan(asked, [])
    names = {shift.transformation for shift in shifts if shift.family == "combined"}
    assert names == {
        f"{a}+{b}" for a in ("uppercase", "extra_spaces", "typos") for b in ("uppercase", "extra_spaces", "typos")
    }
    for folder in ("one", "two"):
        (tmp_path / folder / "t5").mkdir(parents=True)
    doubled = request(tmp_path, transforms=tuple(f"paraphrase:{tmp_path / folder / 't5'}" for folder in ("one", "two")))
    with pytest.raises(UserError, match="two of them are called 'paraphrase_t5"):
        plan(doubled, [])
    hub = request(tmp_path, transforms=("paraphrase:org1/t5", "paraphrase:org2/t5"))
    assert len({shift.name for shift in plan(hub, [])[0]}) == 2


def request(folder, *files, **changes):
    return StressRequest(model=("m",), pairs=tuple(map(str, files)), output=folder / "out", **changes)


def test_pairs_that_are_too_long_do_not_count_towards_a_limit(tmp_path):
    some = [Pair(f"{n}", "", *(f"{word} {n}" for word in ("p", "c", "r"))) for n in range(60)]
    file = write_pairs(tmp_path / "pairs.jsonl", some)
    long = {pair.id for pair in some[::3]}
    found = {pair.id for pair in read_pairs(request(tmp_path, file, limit=40), lambda pairs: long)}
    assert found == {pair.id for pair in some} - long
    alike = write_pairs(tmp_path / "alike.jsonl", [Pair("x", "", "p", "c", "c"), *some])
    few = read_pairs(request(tmp_path, alike, limit=40, bad_pairs="drop"), lambda pairs: long)
    (bad,) = (ids for reason, ids in few.dropped.items() if "--limit" not in reason)
    assert (len(few), few.pairs_in, bad) == (40, 61, ("x",))
    assert few.dropped["over --limit 40 or too long"] == tuple(sorted(long, key=int))
    with pytest.raises(UserError, match="every pair is longer than --max_length"):
        read_pairs(request(tmp_path, file, limit=40), lambda pairs: {pair.id for pair in pairs})


def test_a_limit_takes_from_all_files_alike_and_a_larger_one_keeps_what_a_smaller_took(tmp_path):
    sizes = {"small": 10, "middle": 50, "large": 200}
    files = []
    for name, size in sizes.items():
        some = [Pair(f"{name}/{n}", "", *(f"{word} {n}" for word in ("p", "c", "r"))) for n in range(size)]
        files.append(write_pairs(tmp_path / f"{name}.jsonl", some))
    taken = {}
    for limit in (60, 100, 1000):
        pairs_ = read_pairs(request(tmp_path, *files, limit=limit))
        taken[limit] = {pair.id for pair in pairs_}
        counts = {name: sum(pair.subset == name for pair in pairs_) for name in sizes}
        assert (
            counts
            == {
                60: {"small": 10, "middle": 25, "large": 25},
                100: {"small": 10, "middle": 45, "large": 45},
                1000: sizes,
            }[limit]
        )
    assert taken[60] < taken[100] < taken[1000]
