"""What a stress test reads: an edit's words inside their form, rewrites joined to their originals, limits on pairs."""

import json

import pytest
from stress_worlds import write_pairs

from llm_experiments.pairs import Pair
from llm_experiments.settings import StressRequest
from llm_experiments.stress.rewrites import read_rewrites
from llm_experiments.stress.shifts import CHANGED
from llm_experiments.stress.sides import with_words, words_of
from llm_experiments.stress.suite import read_pairs
from simulations.results import UserError


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
    fates = [found.shift().change(pair).fate for pair in originals]
    assert fates == [CHANGED, CHANGED, CHANGED, "rejected: no rewrite of this pair"]
    with pytest.raises(UserError, match="none of its 6 rewrites"):
        read_rewrites(str(path), [Pair("z", "", "p", "nothing", "alike")])


def request(folder, *files, **changes):
    return StressRequest(model=("m",), pairs=tuple(map(str, files)), output=folder / "out", **changes)


def test_pairs_that_are_too_long_do_not_count_towards_a_limit(tmp_path):
    some = [Pair(f"{n}", "", *(f"{word} {n}" for word in ("p", "c", "r"))) for n in range(60)]
    file = write_pairs(tmp_path / "pairs.jsonl", some)
    long = {pair.id for pair in some[::3]}
    found = {pair.id for pair in read_pairs(request(tmp_path, file, limit=40), lambda pairs: long)}
    assert found == {pair.id for pair in some} - long
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
