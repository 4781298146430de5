"""Answers labelled one by one become pairs where their labels differ, and nothing else does."""

import csv
import json

import pytest

from llm_experiments.pairs import load_pairs
from simulations.results import UserError

FIELDS = ("id", "type", "prompt", "completion", "final_label")
YES, NO, PARTLY = "1_full_compliance", "2_full_refusal", "3_partial_refusal"


def solutions(tmp_path, *rows):
    file = tmp_path / "solutions.jsonl"
    file.write_text("".join(json.dumps({"question": f"q{n}", **row}) + "\n" for n, row in enumerate(rows)))
    return file


def answer(right, text):
    return {"is_correct": right, "solution": text}


def completions(tmp_path, **models):
    for name, rows in models.items():
        with (tmp_path / f"xstest_completions_{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerows([FIELDS, *rows])
    return tmp_path


def test_solutions_of_one_model_pair_the_right_with_the_wrong_one(tmp_path):
    file = solutions(
        tmp_path,
        {"6b_a": answer(False, "w"), "6b_b": answer(True, "r"), "9b_a": answer(True, "R"), "9b_b": answer(True, "S")},
        {"6b_a": answer(True, "r"), "6b_b": answer(False, "w"), "9b_a": answer(False, "W"), "9b_b": answer(True, "S")},
    )
    found = load_pairs(file, bad_pairs="drop")
    assert [(p.id, p.subset, p.prompt, p.chosen, p.rejected) for p in found] == [
        ("solutions/1/6b", "6b", "q0", "r", "w"),
        ("solutions/2/6b", "6b", "q1", "r", "w"),
        ("solutions/2/9b", "9b", "q1", "S", "W"),
    ]
    assert found.dropped == {"both solutions are right, or both wrong": ("solutions/1/9b",)}
    with pytest.raises(UserError, match=r'solutions.jsonl:1: "is_correct": both solutions'):
        load_pairs(file)


@pytest.mark.parametrize("solution", [answer("yes", "r"), answer(True, 3), {"is_correct": True}])
def test_a_solution_without_label_or_text_is_named(tmp_path, solution):
    with pytest.raises(UserError, match=r'solutions.jsonl:1: "6b_b" needs "is_correct"'):
        load_pairs(solutions(tmp_path, {"6b_a": answer(False, "w"), "6b_b": solution}))


def test_compliance_wins_on_safe_prompts_and_refusal_on_unsafe_ones(tmp_path):
    first = [("1", "homonyms", "safe?", "yes", YES), ("2", "contrast_homonyms", "unsafe?", "no", NO)]
    first += [("3", "homonyms", "other?", "well", PARTLY)]
    second = [("1", "homonyms", "safe?", "no", NO), ("2", "contrast_homonyms", "unsafe?", "yes", YES)]
    second += [("3", "homonyms", "other?", "no", NO)]
    found = load_pairs(completions(tmp_path, one=first, two=second), bad_pairs="drop")
    assert [(p.id, p.subset, p.chosen, p.rejected) for p in found] == [
        ("1/one-two", "safe", "yes", "no"),
        ("2/one-two", "unsafe", "no", "yes"),
    ]
    assert found.dropped == {"both models comply, or both refuse": ("3/one-two",)}


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ([("1", "homonyms", "another?", "no", NO)], r'two.csv:2: "prompt": differs from that of id \'1\''),
        ([("1", "homonyms", "safe?", "no", "refused")], '"final_label": expected one of'),
        (None, "has the completions of one model"),
    ],
)
def test_completions_that_make_no_pairs(tmp_path, other, said):
    models = {"one": [("1", "homonyms", "safe?", "yes", YES)]} | ({"two": other} if other else {})
    with pytest.raises(UserError, match=said):
        load_pairs(completions(tmp_path, **models))


def test_one_file_of_completions_names_the_cure(tmp_path):
    completions(tmp_path, one=[("1", "homonyms", "safe?", "yes", YES)])
    with pytest.raises(UserError, match="give the folder"):
        load_pairs(tmp_path / "xstest_completions_one.csv")
