"""The columns of a stress test's table by hand, from rows of five pairs."""

import numpy as np
import pytest

from llm_experiments.stress.measures import (
    Change,
    as_compared,
    fates,
    foretold,
    length_rule,
    measure,
    near_ties,
    one_sided,
    overall_accuracy,
    spread_of,
)
from llm_experiments.stress.summary import _failures

BEFORE = {"a": (2.0, 0.0), "b": (1.0, 0.0), "c": (3.0, 0.0), "d": (0.0, 1.0), "e": (0.0, 9.0)}
AFTER = {"a": (1.0, 0.0), "b": (-1.0, 0.0), "c": (2.5, 0.0), "d": (0.0, 2.0)}  # chosen alone, but of d
LONGER = {"a": 4, "b": 6, "c": 3, "d": 5}  # tokens of the chosen response afterwards; of every other response 3


def row(name, scores, *, tokens=3, **more):
    chosen, rejected = scores
    return {
        "id": name,
        "prompt_hash": name,
        "scores_chosen": chosen,
        "scores_rejected": rejected,
        "results": float(chosen > rejected),
        "n_tokens_chosen": tokens,
        "n_tokens_rejected": 3,
        **more,
    }


ORIGINALS = [row(name, scores) for name, scores in BEFORE.items()]
SHIFTED = [
    row(name, scores, tokens=LONGER[name], fate="changed", edited_chosen=name != "d", edited_rejected=name == "d")
    for name, scores in AFTER.items()
]
SHIFTED.append(row("e", BEFORE["e"], fate="unchanged"))
CHANGE = Change.of(ORIGINALS, [*SHIFTED, {"id": "f", "fate": "rejected: too long"}])


@pytest.mark.parametrize("purpose", ["invariance", "sensitivity"])
def test_every_column_of_a_line(purpose):
    found = measure(CHANGE, purpose=purpose, spread=0.5)
    assert (found["n_prompts"], found["accuracy_before"], found["accuracy_after"]) == (4, 0.75, 0.5)
    assert found["difference"]["value"] == -0.25
    assert found["flip_rate"]["value"] == 0.25
    # margins fall by 1, 2, 0.5 and 1, in units of a spread of 0.5
    assert found["margin_shift"]["value"] == pytest.approx(-2.25)
    # the responses that were edited go from 2, 1, 3, 1 to 1, -1, 2.5, 2
    assert found["drift"] == pytest.approx(2.25)
    # margins from 2, 1, 3, -1 to 1, -1, 2.5, -2
    assert found["rank_correlation"] == pytest.approx(np.corrcoef([3, 2, 4, 1], [3, 2, 4, 1])[0, 1])
    assert (found["tokens_before"], found["tokens_after"]) == (3, (4 + 6 + 3 + 3) / 4)
    # length differences grow by 1, 3, 0 and 2
    assert found["length_correlation"] == pytest.approx(np.corrcoef([2.5, 1, 4, 2.5], [2, 4, 1, 3])[0, 1])
    falls = found["falls"] and found["falls"]["value"]
    assert falls == (0.75 if purpose == "sensitivity" else None)
    assert measure(CHANGE, purpose=purpose, spread=0.0)["drift"] is None


def test_counts_and_the_accuracy_of_all_that_is_left():
    rows = [*SHIFTED, {"id": "f", "fate": "rejected: too long"}]
    assert fates(rows) == {
        "n_pairs": 6,
        "n_changed": 4,
        "n_unchanged": 1,
        "n_rejected": 1,
        "rejected_reasons": {"too long": 1},
    }
    assert overall_accuracy(rows) == pytest.approx(2 / 5)
    assert overall_accuracy(rows[-1:]) is None
    assert spread_of(ORIGINALS) == pytest.approx(np.sqrt((4 + 1 + 9 + 1 + 81) / 5))


def test_what_a_rule_foretells_is_compared_where_it_says_something():
    def rules(margins):
        return {name: {"rule_chosen": value, "rule_rejected": 0.0 if value is not None else None}
                for name, value in margins.items()}  # fmt: skip

    before = rules({"a": 0.0, "b": 0.0, "c": None, "d": 0.0})
    assert foretold(CHANGE, before, rules({"a": -1.0, "b": -2.0, "c": 5.0, "d": -1.0}), "rule") == {"r": 1.0, "n": 3}
    assert foretold(CHANGE, before, rules({"a": 1.0, "b": 2.0, "c": 5.0, "d": 1.0}), "rule") == {"r": -1.0, "n": 3}
    assert foretold(CHANGE, {}, {}, "rule") == {"r": None, "n": 0}


def test_the_length_rule_that_a_model_follows():
    rows = [row(str(n), (1.0, 0.0), tokens=2 if n < 9 else 4) for n in range(10)]  # shorter ones win, but for one
    rows.append(row("even", (1.0, 0.0)))
    found = length_rule(rows)
    assert (found["rule"], found["agreement"]["value"], found["agreement"]["n"]) == ("shortest", 0.9, 10)
    assert (found["where_wrong"]["value"], found["where_wrong"]["n"]) == (1.0, 1)
    assert length_rule(rows[-1:]) is None


def test_only_an_edit_that_keeps_the_meaning_and_the_pairs_as_they_were_can_miss_the_threshold():
    def line(purpose, accuracy, prompts=5):
        return {"model": "m", "name": purpose, "purpose": purpose, "accuracy_overall": accuracy, "n_prompts": prompts}

    models = [{"name": "m", "verdict": "robust", "accuracy": {"value": 0.65}}]
    table = [line("invariance", 0.6), line("sensitivity", 0.1), line("invariance", None, None)]
    assert _failures(models, table, None, ()) == _failures(models, table, 0.6, ("inconclusive",)) == []
    edited = "m: 0.600 of all pairs after invariance, less than 0.65"
    assert _failures(models, table, 0.65, ()) == [edited]
    assert _failures(models, [], 0.7, ("robust",)) == ["m is robust", "m: 0.650 of the original pairs, less than 0.7"]


def test_a_generative_model_is_compared_by_its_log_odds():
    sure = row("sure", (1.0, 1.0)) | {"log_odds_chosen": 44.0, "log_odds_rejected": 40.0, "results": 0.5}
    near = row("near", (0.5, 0.5)) | {"log_odds_chosen": 1e-6, "log_odds_rejected": 0.0, "tie_tolerance": 1e-7}
    found = as_compared([sure, near, {"id": "gone", "fate": "rejected: x"}, ORIGINALS[0]])
    assert [one.get("results") for one in found] == [1.0, 1.0, None, 1.0]
    assert (found[0]["scores_chosen"], found[0]["scores_rejected"]) == (44.0, 40.0)
    assert found[2:] == [{"id": "gone", "fate": "rejected: x"}, ORIGINALS[0]]
    assert as_compared([near | {"tie_tolerance": 1e-5}])[0]["results"] == 0.5


def test_ties_of_unequal_rewards_are_counted_apart():
    rows = [row("a", (1.0, 1.0)), row("b", (1.0, 1.0 + 1e-7)), row("c", (2.0, 1.0)), row("d", (0.0, 3.0))]
    for one in rows[:2]:
        one["results"] = 0.5
    assert near_ties(rows) == 0.25


def test_pairs_with_one_edited_side_are_counted_where_they_were_changed():
    assert one_sided(SHIFTED) == 4
    both = [one | {"edited_chosen": True, "edited_rejected": True} for one in SHIFTED[:2]]
    assert one_sided([*both, *SHIFTED[2:]]) == 2
