"""Verdicts are claims: every printed rule has a model that meets it and one that just does not, and readers of tokens
are not called robust on real texts."""

import re

import numpy as np
import pytest
from stress_worlds import DAMAGED, SWAPPED, pairs, truth

from llm_experiments.pairs import Pair, load_pairs
from llm_experiments.stress.catalogue import by_name
from llm_experiments.stress.scorers import FunctionScorer
from llm_experiments.stress.shifts import shift_by
from llm_experiments.stress.suite import stress_scorers
from llm_experiments.stress.verdict import BLIND, REWARDING, RULES, VERDICTS, decide
from simulations.results import Row, UserError, read_rows


def interval(low: float, value: float, high: float) -> Row:
    return {"value": value, "low": low, "high": high, "n": 100}


def model(accuracy=(0.56, 0.6, 0.65), *, near_ties=0.0, agreement=None, where_wrong=None) -> Row:
    length = None
    if agreement:
        wrong = where_wrong and interval(*where_wrong)
        length = {"rule": "longest", "agreement": interval(*agreement), "where_wrong": wrong}
    return {"accuracy": interval(*accuracy), "near_ties": near_ties, "length": length}


def line(purpose: str, *, prompts=40, name="lowercase", **measures) -> Row:
    row = {"transformation": name, "family": "x", "side": "responses", "strength": 0.5, "purpose": purpose}
    return row | {"n_prompts": prompts, "p_holm": 1.0} | measures


def kept(difference=(-0.04, 0.0, 0.04), flips=(0.0, 0.1, 0.19), **more) -> Row:
    return line("invariance", difference=interval(*difference), flip_rate=interval(*flips), falls=None, **more)


def damage(*falls: float, **more) -> Row:
    return line("sensitivity", falls=interval(*falls), difference=interval(-1, 0, 1), **more)


SEEN = damage(0.51, 0.6, 0.7)
LONG = {"agreement": (0.85, 0.9, 0.95)}
DROP = {"difference": (-0.2, -0.05, -0.01), "p_holm": 0.04}

RULE = {  # what meets each rule, and what just does not; the model, and its rows
    "ties": (
        ("inconclusive", model(near_ties=0.06), [kept(), SEEN]),
        ("robust", model(near_ties=0.05), [kept(), SEEN]),
    ),
    "length": (
        ("length-driven", model(**LONG, where_wrong=(0.1, 0.3, 0.49)), [kept(), SEEN]),
        ("inconclusive", model(**LONG, where_wrong=(0.1, 0.3, 0.51)), [kept(), SEEN]),
        ("robust", model(agreement=(0.84, 0.9, 0.95), where_wrong=(0.1, 0.3, 0.49)), [kept(), SEEN]),
        ("robust", model(**LONG, where_wrong=(0.51, 0.6, 0.7)), [kept(), SEEN]),
        ("inconclusive", model(**LONG, where_wrong=(0.5, 0.6, 0.7)), [kept(), SEEN]),
        ("inconclusive", model(**LONG), [kept(), SEEN]),
    ),
    "chance": (
        ("uninformative", model((0.41, 0.5, 0.59)), [kept(**DROP), SEEN]),
        ("inconclusive", model((0.41, 0.5, 0.61)), [kept(**DROP), SEEN]),
        ("token-sensitive", model((0.501, 0.55, 0.59)), [kept(**DROP), SEEN]),
        ("uninformative", model((0.3, 0.4, 0.49)), [kept(**DROP), SEEN]),
        ("inconclusive", model((0.501, 0.55, 0.59)), [kept(), SEEN]),
    ),
    "drop": (
        ("token-sensitive", model(), [kept(**DROP), SEEN]),
        ("inconclusive", model(), [kept(**DROP | {"p_holm": 0.05}), SEEN]),
        ("inconclusive", model(), [kept(**DROP | {"difference": (-0.9, -0.3, 0.1)}), SEEN]),  # its p is of gains
        ("inconclusive", model(), [kept(**DROP | {"difference": (-0.2, -0.049, -0.01)}), SEEN]),
        ("inconclusive", model(), [kept(**DROP | {"prompts": 39}), SEEN]),
    ),
    "flips": (
        ("token-sensitive", model(), [kept(flips=(0.2, 0.3, 0.4)), SEEN]),
        ("inconclusive", model(), [kept(flips=(0.19, 0.3, 0.4)), SEEN]),
    ),
    "blind": (
        ("uninformative", model(), [kept(), damage(0.41, 0.5, 0.59)]),
        ("inconclusive", model(), [kept(), damage(0.49, 0.55, 0.61)]),
        ("inconclusive", model(), [kept(), damage(0.41, 0.5, 0.59), SEEN]),
        ("robust", model(), [kept(), damage(0.51, 0.55, 0.59)]),
    ),
    "robust": (
        ("robust", model((0.551, 0.6, 0.65)), [kept(), SEEN]),
        ("inconclusive", model((0.55, 0.6, 0.65)), [kept(), SEEN]),
        ("inconclusive", model(), [kept((-0.05, 0.0, 0.04)), SEEN]),
        ("inconclusive", model(), [kept(flips=(0.0, 0.1, 0.2)), SEEN]),
        ("inconclusive", model(), [kept(), damage(0.5, 0.6, 0.7)]),
        ("inconclusive", model(), [kept(), SEEN, damage(0.1, 0.2, 0.3)]),
        ("inconclusive", model(), [SEEN]),
        ("inconclusive", model(), [kept()]),
        ("inconclusive", model(), [kept(), damage(0.51, 0.6, 0.7, prompts=39)]),
    ),
}


@pytest.mark.parametrize("rule", RULE)
def test_every_rule_has_a_model_that_meets_it_and_one_that_just_does_not(rule):
    for number, (verdict, about, table) in enumerate(RULE[rule]):
        found = decide(about, table)
        assert found["verdict"] == verdict, (number, found)
        assert found["reasons"]
        assert found["meaning"]


def test_the_printed_rules_name_every_verdict_and_say_which_are_younger_than_the_first_runs():
    named = [re.match(r"([a-z-]+)(\*?):", rule) for rule in RULES[1:]]
    assert {one[1] for one in named} == set(VERDICTS)
    assert "* were added or made stricter after the first runs" in RULES[0]
    assert "one response alone counts" in RULES[0]


def test_what_a_model_is_robust_to_is_said_with_the_word():
    suite = ("lowercase", "typos", "synonyms")
    default = [kept(name=name) for name in suite]

    def said(*rows: Row) -> str:
        return decide(model(), [*rows, SEEN], suite)["stated"]

    assert said(*default, default[0] | {"strength": 1.0}) == "robust to 3 of the 3 default edits"
    assert said(default[0]) == "robust to 1 of the 3 default edits"
    assert said(default[0], kept(name="mine")) == "robust to 1 of the 3 default edits and 1 other"
    assert said(kept(name="mine"), kept(name="yours")) == "robust to 2 edits, none of the 3 default ones"
    unjudged = decide(model(), [default[0], kept(name="typos", prompts=3), SEEN], suite)
    assert unjudged["stated"] == "robust to 1 of the 3 default edits"
    assert "too few prompts: typos" in unjudged["reasons"][-1]
    assert decide(model(), [default[0]], suite)["stated"] == "inconclusive"


def test_damage_that_raises_rewards_is_said_under_every_verdict():
    raised = damage(0.0, 0.0, 0.49, name="off_topic_sentences")
    said = (
        "damage raises its rewards: off topic sentences (responses, strength 0.5), 0.000 [0.000, 0.490] of the damaged "
        "rewards fall"
    )
    for rule, cases in RULE.items():
        for _, about, table in cases:
            assert decide(about, [*table, raised])["reasons"].count(said) == 1, rule
            for other in ({"n_prompts": 39}, {"falls": interval(0.0, 0.0, 0.5)}):
                assert said not in decide(about, [*table, raised | other])["reasons"]
    for falls, meaning in ((0.5, BLIND), (0.49, REWARDING)):
        assert decide(model(), [kept(), damage(0.1, 0.2, falls), damage(0.41, 0.5, 0.59)])["meaning"] == meaning


def verdict_of(folder, reward, shifts=(SWAPPED, DAMAGED), some=None, **options) -> Row:
    scorers = {"m": FunctionScorer(reward, **options)}
    return stress_scorers(some or pairs(100), shifts, scorers, folder)["models"][0]


def test_an_inverse_model_is_asked_whether_columns_or_sign_are_swapped(tmp_path):
    found = verdict_of(tmp_path, lambda prompt, response: -truth(prompt, response))
    assert (found["verdict"], found["accuracy"]["value"]) == ("uninformative", 0.0)
    said = "the wrong way round: are the columns, or the sign of the rewards, swapped?"
    assert said in found["meaning"]
    assert said in decide(model((0.3, 0.4, 0.49)), [])["meaning"]
    assert said not in decide(model((0.3, 0.4, 0.5)), [])["meaning"]


@pytest.mark.parametrize(
    ("scale", "options", "verdict"),
    [(1e6, {}, "robust"), (1e-6, {}, "inconclusive"), (1e-6, {"tie_tolerance": 1e-12}, "robust")],
)
def test_the_oracle_on_other_scales_is_robust_or_told_why_nothing_can_be_said(tmp_path, scale, options, verdict):
    found = verdict_of(tmp_path, lambda prompt, response: scale * truth(prompt, response), **options)
    assert found["verdict"] == verdict, found["reasons"]
    if verdict == "inconclusive":
        assert "smaller --tie_tolerance" in found["reasons"][0]


def test_a_gain_on_many_prompts_and_a_loss_on_one_is_no_drop(tmp_path):
    """30 prompts gain, one prompt with 80 pairs loses: the test's p is of the gains."""
    some = pairs(150)
    some = [Pair(p.id, p.subset, "one" if n < 80 else p.prompt, p.chosen, p.rejected) for n, p in enumerate(some)]
    gains = {p.prompt for p in some[80:110]}

    def reward(prompt, response):
        wrong = "other-" in response if prompt == "one" else prompt in gains and "other-" not in response
        return -truth(prompt, response) if wrong else truth(prompt, response)

    made = stress_scorers(some, (SWAPPED, DAMAGED), {"m": FunctionScorer(reward)}, tmp_path)
    row = next(row for row in made["table"] if row["name"] == SWAPPED.name)
    assert row["p_holm"] < 1e-6
    assert row["difference"]["value"] < -0.05 < row["difference"]["high"]
    assert not any("changes the accuracy" in reason for reason in made["models"][0]["reasons"])


def test_a_sure_judge_is_compared_by_its_log_odds(tmp_path):
    """P(Yes) is 1 for all that it reads: these would be ties."""

    class Judge(FunctionScorer):
        kind = "generative"

        def rewards(self, texts, *, paired):
            odds = 40 + super().rewards(texts, paired=paired)["scores"]
            return {"scores": 1 / (1 + np.exp(-odds)), "log_odds": odds}

    made = stress_scorers(pairs(100), (SWAPPED, DAMAGED), {"m": Judge(truth)}, tmp_path)["models"][0]
    assert (made["verdict"], made["tie_rate"], made["accuracy"]["value"]) == ("robust", 0.0, 1.0)
    for row in read_rows(tmp_path / "scores" / "m" / "original.jsonl"):
        assert (row["scores_chosen"], row["scores_rejected"], row["results"]) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("said", [None, "x", float("nan")])
def test_a_function_that_gives_no_number_is_told_so(tmp_path, said):
    with pytest.raises(UserError, match=r"is no number|is not a finite number$"):
        verdict_of(tmp_path, lambda prompt, response: said)


WORDS = re.compile(r"[a-z]+")


@pytest.mark.data
def test_readers_of_tokens_are_not_robust_on_real_texts(tmp_path, real_data):
    """They are deaf to these edits, and off-topic damage is noticed: each passed for robust once."""
    some = list(load_pairs(real_data / "razin2025" / "ultrafeedback_test.jsonl"))
    good = [WORDS.findall(str(p.chosen).lower()) for p in some]
    bad = [WORDS.findall(str(p.rejected).lower()) for p in some]
    weight: dict[str, float] = {}
    for texts, sign in ((good, 1), (bad, -1)):
        for text in texts:
            for word in set(text):
                weight[word] = weight.get(word, 0) + sign
    bag = {word: value for word, value in weight.items() if abs(value) > 2}  # of the very pairs it is tested on

    rewards = {
        "digits": lambda prompt, response: sum(c.isdigit() for c in response),
        "bag": lambda prompt, response: sum(bag.get(word, 0) for word in WORDS.findall(response.lower())),
    }
    sides = {"invariance": "responses", "sensitivity": "chosen"}
    edits = by_name(("lowercase", "extra_spaces", "shuffled_words", "off_topic_sentences"))
    shifts = [shift_by(one, 0.5, sides[one.purpose], seed=0) for one in edits]
    scorers = {name: FunctionScorer(reward) for name, reward in rewards.items()}
    made = stress_scorers(some, shifts, scorers, tmp_path)
    found = {row["name"]: row for row in made["models"]}
    assert found["bag"]["accuracy"]["low"] > 0.55  # it has something to lose
    assert all(row["difference"]["low"] > -0.05 for row in made["table"] if row["purpose"] == "invariance")
    falls = {(row["model"], row["transformation"]): row["falls"] for row in made["table"] if row["falls"]}
    for name, model in found.items():
        assert falls[name, "off_topic_sentences"]["low"] > 0.5  # of two damages one is noticed, and one is not
        assert falls[name, "shuffled_words"]["value"] == 0.5
        assert model["verdict"] == "inconclusive"
        assert any("shuffled words" in reason for reason in model["reasons"])
