"""The stress suite on worlds where the truth is known: verdicts of planted models, cost of a rerun, joins, measures."""

import shutil

import pytest
from stress_worlds import (
    DAMAGED,
    HALF,
    REWARDS,
    SWAPPED,
    VERDICT,
    constant,
    however,
    keyword,
    length,
    long_pairs,
    pairs,
    replacing,
    sentence_pairs,
    truth,
    worth,
)

from figures.stress_table import stress_table
from llm_experiments.pairs import Pair, PairSet
from llm_experiments.stress.catalogue import DEFAULT_SUITE, by_name
from llm_experiments.stress.folder import score_shifts
from llm_experiments.stress.scorers import FunctionScorer
from llm_experiments.stress.shifts import combined, shift_by
from llm_experiments.stress.suite import _record, stress_scorers
from llm_experiments.stress.verdict import JUDGED
from simulations.results import UserError, read_json, read_rows, write_json, write_rows


def stress(folder, rewards, shifts=(SWAPPED, DAMAGED), count=150, **options):
    scorers = {name: FunctionScorer(reward) for name, reward in rewards.items()}
    return stress_scorers(pairs(count), shifts, scorers, folder, **options)


@pytest.fixture(scope="module")
def summary(tmp_path_factory):
    return stress(tmp_path_factory.mktemp("stress"), REWARDS, (SWAPPED, HALF, DAMAGED))


@pytest.mark.parametrize("name", VERDICT)
def test_every_planted_model_gets_its_verdict(summary, name):
    model = next(row for row in summary["models"] if row["name"] == name)
    assert model["verdict"] == VERDICT[name], model["reasons"]
    assert model["reasons"]


@pytest.mark.integration
def test_the_default_suite_gives_the_planted_models_their_verdicts_too(tmp_path):
    """The real transformations, on sentences that some of the models find again in any spelling."""
    transformations = by_name(DEFAULT_SUITE)
    sides = {"invariance": "responses", "sensitivity": "chosen"}
    shifts = [shift_by(one, 0.5, sides[one.purpose], seed=0) for one in transformations]
    rewards = {"oracle": worth, "keyword": however, "constant": constant, "length": length}
    scorers = {name: FunctionScorer(reward) for name, reward in rewards.items()}
    summary = stress_scorers(sentence_pairs(100), shifts, scorers, tmp_path)
    assert {row["name"]: row["verdict"] for row in summary["models"]} == {name: VERDICT[name] for name in rewards}
    assert all(row["n_changed"] > JUDGED for row in summary["table"])


@pytest.mark.integration
def test_counting_words_is_not_robust_where_hardly_a_shorter_answer_is_right(tmp_path):
    """Damage happens to shorten, and two pairs cannot show that the length rule is wrong where the model is."""
    transformations = by_name([name for name in DEFAULT_SUITE if name != "shuffled_words"])  # which changes no length
    sides = {"invariance": "responses", "sensitivity": "chosen"}
    shifts = [shift_by(one, 0.5, sides[one.purpose], seed=0) for one in transformations]
    made = stress_scorers(long_pairs(100, shorter=2), shifts, {"length": FunctionScorer(length)}, tmp_path)
    (model,) = made["models"]
    assert (model["accuracy"]["value"], model["length"]["where_wrong"]["n"]) == (0.98, 2)
    assert any(row["falls"]["value"] > 0.9 for row in made["table"] if row["falls"])  # so damage was noticed
    assert model["verdict"] == "inconclusive"
    assert len(model["reasons"]) == 1
    assert "cannot be told from length" in model["reasons"][0]
    assert any("ranks as a length rule" in rule for rule in made["rules"])


def test_too_few_pairs_decide_nothing(tmp_path):
    few = stress(tmp_path, {"oracle": truth}, count=30)
    assert few["models"][0]["verdict"] == "inconclusive"
    assert "changed pairs of 40 prompts" in " ".join(few["models"][0]["reasons"])


def test_without_damage_nobody_is_called_robust(tmp_path):
    assert stress(tmp_path, {"oracle": truth}, (SWAPPED,))["models"][0]["verdict"] == "inconclusive"


def test_a_right_model_on_pairs_where_the_better_answer_is_longer_is_not_length_driven(tmp_path):
    longer = [Pair(p.id, p.subset, p.prompt, p.chosen + " filler" * 12, p.rejected) for p in pairs(150)]
    longer[:20] = [Pair(p.id, p.subset, p.prompt, p.chosen, p.rejected + " filler" * 20) for p in longer[:20]]
    made = stress_scorers(longer, (SWAPPED, DAMAGED), {"oracle": FunctionScorer(truth)}, tmp_path)
    assert made["models"][0]["length"]["agreement"]["value"] > 0.85
    assert made["models"][0]["verdict"] == "robust"


def test_the_drop_and_its_neighbours_by_hand(summary):
    rows = {(row["model"], row["transformation"]): row for row in summary["table"]}
    swapped = rows["keyword", "swapped"]
    assert (swapped["accuracy_before"], swapped["accuracy_after"]) == (1.0, 0.5)
    assert swapped["difference"]["value"] == -0.5
    assert swapped["difference"]["high"] < -0.3
    assert swapped["flip_rate"]["value"] == 0.5  # to a tie is half a reversal
    assert swapped["p_holm"] < 1e-10
    assert (swapped["n_pairs"], swapped["n_changed"], swapped["n_rejected"]) == (150, 150, 0)
    for model in ("oracle", "constant", "length"):
        assert rows[model, "swapped"]["difference"]["value"] == 0
        assert rows[model, "swapped"]["drift"] in (0, None)
    damaged = rows["oracle", "damaged"]
    assert damaged["falls"]["value"] == 1.0
    assert damaged["p_holm"] < 1e-10
    assert rows["constant", "damaged"]["falls"]["value"] == 0.5
    assert rows["constant", "damaged"]["drift"] is None  # no spread to measure it in
    half = rows["keyword", "half"]
    assert 0 < half["n_changed"] < 150
    assert half["n_changed"] + half["n_unchanged"] == 150


def test_holm_is_over_the_lines_of_a_model_and_a_purpose(summary, tmp_path):
    """What keeps the meaning and what does damage are two questions: more of one makes the other no harder."""
    for name in REWARDS:
        for purpose, count in (("invariance", 2), ("sensitivity", 1)):
            lines = [row for row in summary["table"] if (row["model"], row["purpose"]) == (name, purpose)]
            first = min(row["p_value"] for row in lines)
            assert min(row["p_holm"] for row in lines) == pytest.approx(min(1, count * first), rel=1e-9, abs=0)
    alone = stress(tmp_path, {"keyword": keyword}, (SWAPPED, HALF, DAMAGED))
    assert alone["models"] == [row for row in summary["models"] if row["name"] == "keyword"]
    assert alone["table"] == [row for row in summary["table"] if row["model"] == "keyword"]


def test_models_are_compared_by_what_a_shift_does_to_either(summary):
    found = {(row["model_a"], row["model_b"], row["transformation"]): row for row in summary["comparisons"]}
    apart = found["oracle", "keyword", "swapped"]
    assert apart["difference"]["value"] == 0.5
    assert apart["difference"]["low"] > 0
    alike = found["constant", "length", "swapped"]["difference"]
    assert -0.05 < alike["low"] <= 0 <= alike["high"] < 0.05


class Counting(FunctionScorer):
    """Keeps a list of the texts that it was really asked about."""

    def __init__(self, reward):
        self.texts = []
        super().__init__(lambda prompt, response: self.texts.append((prompt, response)) or reward(prompt, response))


def test_one_more_shift_costs_the_texts_that_it_changed(tmp_path):
    first = Counting(keyword)
    stress_scorers(pairs(60), (SWAPPED,), {"m": first}, tmp_path / "grown")
    assert len(first.texts) == len(set(first.texts))  # no text twice
    before = (tmp_path / "grown" / "scores" / "m" / f"{SWAPPED.name}.jsonl").read_bytes()
    second = Counting(keyword)
    grown = stress_scorers(pairs(60), (SWAPPED, HALF), {"m": second}, tmp_path / "grown")
    asked_again, second.texts = second.texts[:2], second.texts[2:]
    assert set(asked_again) < set(first.texts)
    edited = [HALF.change(pair).pair for pair in pairs(60)]
    texts = {(p.prompt, text) for p in edited for text in (p.chosen, p.rejected)} - set(first.texts)
    assert sorted(second.texts) == sorted(texts)
    assert 0 < len(texts) < 120
    assert (tmp_path / "grown" / "scores" / "m" / f"{SWAPPED.name}.jsonl").read_bytes() == before
    at_once = stress_scorers(pairs(60), (SWAPPED, HALF), {"m": FunctionScorer(keyword)}, tmp_path / "at_once")
    assert at_once["table"] == grown["table"]
    third = Counting(keyword)
    stress_scorers(pairs(60), (SWAPPED, HALF), {"m": third}, tmp_path / "grown")
    assert len(third.texts) == 2  # is it still the same function?


def test_a_rerun_keeps_where_the_first_run_was_computed(tmp_path):
    path = tmp_path / "provenance.json"
    runs = [{"created": str(n), "commit": commit, "inputs": {"n": n}} for n, commit in enumerate("aabb")]
    for run in runs:
        _record(path, run)
    kept = {"created": "0", "commit": "a", "inputs": {"n": 3}, "continued": [{"created": "2", "commit": "b"}]}
    assert read_json(path) == kept


def test_a_folder_from_before_is_still_summarised(tmp_path):
    """Costs were not split, rows said nothing of tolerances, nor texts of sides."""
    place = tmp_path / "scores" / "m"
    stress_scorers(pairs(20), (SWAPPED,), {"m": FunctionScorer(truth)}, tmp_path)
    files = [f"texts/{SWAPPED.name}", "scores/m/original", f"scores/m/{SWAPPED.name}"]
    for name, column in zip(files, ("one_sided", "tie_tolerance", "tie_tolerance"), strict=True):
        rows = read_rows(tmp_path / f"{name}.jsonl")
        assert all(row.pop(column) is not None for row in rows)
        write_rows(tmp_path / f"{name}.jsonl", rows)
    cost = {name: {"responses": 40, "computed": 30} for name in ("original", SWAPPED.name)}
    write_json(place / "model.json", {"name": "m", "source": "m", "kind": "function", "notes": [], "cost": cost})
    made = stress_scorers(pairs(20), (SWAPPED,), {"m": FunctionScorer(truth)}, tmp_path)
    assert any(
        "60 of 80 rewards had to be computed, the others are of texts already scored" in note for note in made["notes"]
    )


def test_other_pairs_do_not_pass_for_those_of_the_folder(tmp_path):
    stress_scorers(pairs(20), (SWAPPED,), {"m": FunctionScorer(truth)}, tmp_path)
    with pytest.raises(UserError, match="holds other texts"):
        stress_scorers(pairs(20, seed=1), (SWAPPED,), {"m": FunctionScorer(truth)}, tmp_path)


@pytest.mark.parametrize("shifts", [(SWAPPED,), (SWAPPED, HALF)])
def test_a_function_that_has_changed_needs_another_folder(tmp_path, shifts):
    stress_scorers(pairs(20), (SWAPPED,), {"m": FunctionScorer(truth)}, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("scores/**/*.jsonl")}
    for changed in (lambda prompt, response: 2 * truth(prompt, response), length, constant):
        with pytest.raises(UserError, match=r"the function has changed .*; choose another folder"):
            stress_scorers(pairs(20), shifts, {"m": FunctionScorer(changed)}, tmp_path)
    with pytest.raises(UserError, match="another tie_tolerance; choose another folder"):
        stress_scorers(pairs(20), shifts, {"m": FunctionScorer(truth, tie_tolerance=0.0)}, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("scores/**/*.jsonl")} == before


def test_two_edits_at_once_and_their_interaction(tmp_path):
    """The prompt's edit alone reverses every second pair, the responses' every fourth, together they reverse all."""
    asked = replacing({"question": "query"}, "asked", "invariance", "prompt")
    both = combined(asked, SWAPPED)

    def fooled(prompt, response):
        asked_otherwise, answered_otherwise = "query" in prompt, "other-" in response
        number = int(prompt.split()[-1])
        wrong = (asked_otherwise and number % 2 == 0) or (answered_otherwise and number % 4 == 1)
        return truth(prompt, response) * (-1 if wrong or (asked_otherwise and answered_otherwise) else 1)

    found = stress(tmp_path, {"m": fooled}, (asked, SWAPPED, both), count=80)
    (row,) = found["grid"]
    assert (row["prompt_transformation"], row["response_transformation"]) == ("asked", "swapped")
    drops = [row[f"drop_{name}"]["value"] for name in ("prompt", "responses", "both")]
    assert drops == [0.5, 0.25, 1]
    assert row["interaction"]["value"] == 0.25
    assert row["interaction"]["low"] > 0
    assert {line["name"] for line in found["table"]} == {asked.name, SWAPPED.name}


def test_a_threshold_that_is_not_met_is_named(tmp_path):
    assert stress(tmp_path, {"keyword": keyword}, (SWAPPED,), fail_under=0.4)["failures"] == []
    (failure,) = stress(tmp_path, {"keyword": keyword}, (SWAPPED,), fail_under=0.6)["failures"]
    assert "keyword: 0.500" in failure


def test_numbers_of_a_line_add_up_where_prompts_have_unlike_numbers_of_pairs(tmp_path):
    some = pairs(90)
    shared = [Pair(p.id, p.subset, "one" if n < 40 else p.prompt, p.chosen, p.rejected) for n, p in enumerate(some)]

    def fooled(prompt, response):  # reads the other words on one prompt alone
        return truth(prompt, response) * (-1 if prompt == "one" and "other-" in response else 1)

    scorers = {"oracle": FunctionScorer(truth), "fooled": FunctionScorer(fooled)}
    made = stress_scorers(shared, (SWAPPED, DAMAGED), scorers, tmp_path)
    for row in made["table"]:
        change = row["accuracy_after"] - row["accuracy_before"]
        assert row["difference"]["value"] == pytest.approx(change, abs=1e-12)
        assert row["difference"]["n"] == 51
    lost = next(row for row in made["table"] if (row["model"], row["name"]) == ("fooled", SWAPPED.name))
    assert lost["difference"]["value"] == pytest.approx(-40 / 90, abs=1e-12)
    assert lost["flip_rate"]["value"] == pytest.approx(40 / 90, abs=1e-12)
    assert lost["difference"]["high"] > 0  # one prompt did it
    (between,) = made["comparisons"]
    assert between["difference"]["value"] == pytest.approx(40 / 90, abs=1e-12)


@pytest.mark.parametrize("count", [1, 60])
def test_the_printed_table_holds_every_model_and_shift(tmp_path, count):
    made = stress(tmp_path, {"oracle": truth, "constant": constant}, (SWAPPED, DAMAGED), count=count)
    assert made == read_json(tmp_path / "summary.json")
    text = stress_table(made)
    blocks = text.split("\n\n")
    heads = [block for block in blocks if "(function): " in block]
    for model, head in zip(made["models"], heads, strict=True):
        assert head.split("\n")[0] == f"{model['name']} (function): {model['stated']}"
        kept, damaged = blocks[blocks.index(head) + 1 :][:2]
        lines = [row for row in made["table"] if row["model"] == model["name"]]
        for row, table in zip(lines, (kept, damaged), strict=True):
            line, *remarks = table.split("\n")[1:]
            assert remarks == ([] if count >= JUDGED else ["    not judged: 1 of 40 prompts"])
            number = row["falls"]["value"] if row["purpose"] == "sensitivity" else row["accuracy_after"]
            assert line.startswith(row["name"])
            assert f"  {number:.3f}  " in line
    assert max(map(len, text.split("\n"))) <= 110


def test_the_printed_table_says_what_raises_rewards_and_who_loses_more(tmp_path):
    rewards = {"oracle": truth, "keyword": keyword, "against": lambda prompt, response: -truth(prompt, response)}
    made = stress(tmp_path, rewards, (SWAPPED, DAMAGED), count=60)
    before, against = stress_table(made).split("against (function)")
    assert "\n    damage raises its rewards\n" not in before
    assert against.count("\n    damage raises its rewards\n") == 1
    assert "damage raises its rewards: damaged" in " ".join(made["models"][2]["reasons"])
    said = " ".join(against.split())
    for one, other in (("oracle", "keyword"), ("keyword", "against")):
        (row,) = [row for row in made["comparisons"] if (row["model_a"], row["model_b"]) == (one, other)]
        low, high = sorted(abs(row["difference"][name]) for name in ("low", "high"))
        more = "less" if row["difference"]["value"] > 0 else "more"
        assert f"{one} loses 0.500 [{low:.3f}, {high:.3f}] {more} accuracy than {other} (p = " in said


class Short(FunctionScorer):
    """Reads no pair whose number is above 30."""

    def read(self, pairs):
        readings, _ = super().read(pairs)
        long = {one.id for one in readings if int(one.id.split("/")[1]) > 30}
        return [one for one in readings if one.id not in long], dict.fromkeys(long, "too long")


def test_pairs_and_models_that_are_left_out_are_named(tmp_path):
    some = PairSet("file", tuple(pairs(40)), {"identical responses": ("x", "y"), "no prompt": ("z",)})
    place = tmp_path / "scores" / "short"
    scorers = {"short": Short(truth), "long": FunctionScorer(truth)}
    made = stress_scorers(some, (SWAPPED,), scorers, tmp_path, notes=["given"])
    assert made["notes"][:3] == [
        "given",
        "kept 40 of 43 pairs, left out: 2 identical responses, 1 no prompt",
        "short: kept 31 of 40 pairs, left out: 9 for a reason that this folder does not hold",
    ]
    told = {}
    shutil.rmtree(place)
    score_shifts(place, some, {}, lambda: Short(truth), told.update)
    write_json(place / "model.json", {"cost": told})
    made = stress_scorers(some, (), {"short": Short(truth)}, tmp_path)
    assert "short: kept 31 of 40 pairs, left out: 9 too long" in made["notes"]
    assert "scored in this folder, but not asked for this time and left out: long" in made["notes"]


def test_rows_of_pairs_without_a_change_are_kept_as_they_were(tmp_path):
    stress(tmp_path, {"keyword": keyword}, (HALF,), count=40)
    place = tmp_path / "scores" / "keyword"
    originals = {row["id"]: row for row in read_rows(place / "original.jsonl")}
    for row in read_rows(place / f"{HALF.name}.jsonl"):
        if row["fate"] == "unchanged":
            assert row == originals[row["id"]] | {"fate": "unchanged"}
