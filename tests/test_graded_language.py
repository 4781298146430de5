"""The world of known rewards: what the true reward does and does not look at; the best of n against counting."""

from itertools import combinations, permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_experiments.best_of_n import best_of_n, best_of_n_kl
from llm_experiments.tasks.graded_language import ATTRIBUTES, WISHES, GradedLanguage

LANGUAGE = GradedLanguage(grades=4, words=3)
SMALL = GradedLanguage(words=2)
seeds = st.integers(0, 2**32)


@given(seeds)
def test_the_true_reward_sees_meanings_and_not_words(seed):
    random = np.random.default_rng(seed)
    (prompt,) = LANGUAGE.prompts(1, seed)
    response = LANGUAGE.response(random)
    value = LANGUAGE.true_reward(prompt, response)
    synonyms = [f"{word.split('.')[0]}.{random.integers(LANGUAGE.words):02d}" for word in response.split(" ")]
    assert LANGUAGE.true_reward(prompt, " ".join(synonyms)) == value
    wish = prompt.split(" ")[2]
    assert LANGUAGE.true_reward(f"name00 wants {wish[:-1]}{random.integers(LANGUAGE.wishes)} ?", response) == value
    turned = prompt.replace(*(WISHES if wish[:-1] == WISHES[0] else WISHES[::-1]))
    warmth = LANGUAGE.weights[0] * (2 * int(response[4]) / (LANGUAGE.grades - 1) - 1)
    assert value + LANGUAGE.true_reward(turned, response) == pytest.approx(2 * warmth)  # all that no wish turns round


def test_every_response_is_worth_what_its_form_and_grades_say():
    (prompt,) = SMALL.prompts(1, 5)
    vocabulary = [word for a in ATTRIBUTES for g in range(SMALL.grades) for word in SMALL.grade_words(a, g)]
    formed = []
    for length in (1, 2, 3):
        for words in product([*vocabulary, "?", "<eos>"], repeat=length):
            value = SMALL.true_reward(prompt, " ".join(words))
            starts = [next((a for a in ATTRIBUTES if word.startswith(a)), "") for word in words]
            if starts == list(ATTRIBUTES):
                formed.append(value)
            else:
                assert value == SMALL.ill_formed_reward
    assert len(formed) == (SMALL.grades * SMALL.words) ** 3
    assert max(formed) == pytest.approx(SMALL.best_reward)
    assert SMALL.true_reward("name00 wants much1 ?", "warm2.00 bold2.01 brief2.00") == pytest.approx(SMALL.best_reward)
    assert min(formed) == pytest.approx(SMALL.ill_formed_reward + 1)
    assert np.mean(formed) == pytest.approx(0)
    whole = SMALL.response(np.random.default_rng(0))
    assert not SMALL.is_well_formed(f"{whole} {vocabulary[0]}")
    assert [SMALL.is_well_formed(" ".join(words)) for words in permutations(whole.split(" "))].count(True) == 1


@given(seeds)
def test_preferences_hold_the_words_they_may_and_are_right(seed):
    seen, unseen = LANGUAGE.halves(seed)
    assert not seen & unseen
    for attribute, grade in product(ATTRIBUTES, range(LANGUAGE.grades)):
        assert {*LANGUAGE.grade_words(attribute, grade)} <= seen | unseen
        assert len(seen & {*LANGUAGE.grade_words(attribute, grade)}) == LANGUAGE.words // 2
    for pair in LANGUAGE.pairs("train", LANGUAGE.prompts(5, seed), seen, 12, seed):
        better, worse = (LANGUAGE.true_reward(pair.prompt, text[1:]) for text in (pair.chosen, pair.rejected))
        assert better > worse
        assert {*pair.chosen.split(), *pair.rejected.split()} <= seen


def test_texts_say_the_grades_and_how_well_they_meet_the_wish():
    whole = 0
    for text in LANGUAGE.documents(400, 0):
        if "?" not in text:
            assert ("much" in text) == ("plenty" in text) != ("scant" in text)
            continue
        prompt, words = text[: text.index("?") + 1], text[text.index("?") + 2 :].split(" ")
        response, grades, met = words[:3], words[3::2], [int(word[3:]) for word in words[4::2]]
        assert LANGUAGE.is_well_formed(" ".join(response))
        if met:
            whole += 1
            assert [f"{word[:-4]}:{word[-4]}" for word in response] == grades
            share = [2 * m / (LANGUAGE.grades - 1) - 1 for m in met]
            assert LANGUAGE.true_reward(prompt, " ".join(response)) == pytest.approx(np.dot(share, LANGUAGE.weights))
    assert 150 < whole < 300


def test_prompts_differ_and_are_drawn_by_seed():
    prompts = LANGUAGE.prompts(300, 1)
    assert len(set(prompts)) == 300
    assert LANGUAGE.prompts(300, 1) == prompts
    assert LANGUAGE.prompts(300, 2) != prompts


@given(seeds, st.integers(1, 6), st.integers(1, 4))
def test_the_best_of_n_is_the_mean_over_all_ways_to_draw_n(seed, n, levels):
    random = np.random.default_rng(seed)
    proxy, value = random.integers(levels, size=(3, 6)).astype(float), random.normal(size=(3, 6))
    for mine, found in zip(zip(proxy, value, strict=True), best_of_n(proxy, value, n), strict=True):
        picks = []
        for drawn in combinations(range(6), n):
            likes = mine[0][list(drawn)]
            picks.append(mine[1][list(drawn)][likes == likes.max()].mean())
        assert found == pytest.approx(np.mean(picks))
    assert best_of_n(proxy, proxy, n) == pytest.approx(
        [np.mean([some[list(drawn)].max() for drawn in combinations(range(6), n)]) for some in proxy]
    )


def test_the_best_of_many_of_many_samples_neither_overflows_nor_is_refused_quietly():
    values = np.linspace(0, 1, 4096)[None]
    # the largest of n uniform numbers is n / (n + 1) in the mean
    assert best_of_n(values, values, 256)[0] == pytest.approx(256 / 257, abs=1e-3)
    for n in (0, 4097):
        with pytest.raises(ValueError, match=f"best of {n}"):
            best_of_n(values, values, n)


def test_the_divergence_of_the_best_of_n_is_that_of_its_exact_distribution():
    outcomes = 200_000  # equally likely ones, which hardly ever repeat
    edges = np.arange(outcomes + 1) / outcomes
    for n in (1, 2, 16, 256):
        probabilities = np.diff(edges**n)
        likely = probabilities[probabilities > 0]
        exact = float(np.sum(likely * np.log(likely * outcomes)))
        assert exact == pytest.approx(best_of_n_kl(n), abs=1e-4)
        few = np.diff((np.arange(5) / 4) ** n)  # four outcomes: the bound is one
        assert np.sum(few * np.log(few * 4)) <= best_of_n_kl(n) + 1e-12
