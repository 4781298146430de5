"""The world of known rewards: what the true reward does and does not look at; the best of n against counting."""

from itertools import combinations, permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_experiments.best_of_n import best_of_n, best_of_n_kl
from llm_experiments.tasks.graded_language import ATTRIBUTES, LITTLE, MUCH, GradedLanguage

LANGUAGE = GradedLanguage(grades=4, words=3)
SMALL = GradedLanguage(grades=3, words=2, wishes=1, names=1)
seeds = st.integers(0, 2**32)


@given(seeds)
def test_the_true_reward_sees_meanings_and_not_words(seed):
    random = np.random.default_rng(seed)
    (prompt,) = LANGUAGE.prompts(1, seed)
    response = LANGUAGE.response(random)
    value = LANGUAGE.true_reward(prompt, response)
    synonyms = [f"{word.split('.')[0]}.{random.integers(LANGUAGE.words):02d}" for word in response.split(" ")]
    assert LANGUAGE.true_reward(prompt, " ".join(synonyms)) == value
    wishes = [f"{wish[:-1]}{random.integers(LANGUAGE.wishes)}" for wish in prompt.split(" ")[2:5]]
    assert LANGUAGE.true_reward(" ".join(["name00 wants", *wishes, "?"]), response) == value
    turned = prompt.translate(str.maketrans({LITTLE: MUCH, MUCH: LITTLE}))
    assert LANGUAGE.true_reward(turned, response) == pytest.approx(-value)  # nothing prompt-blind can rank


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


def test_texts_say_how_well_each_wish_is_met_after_any_response():
    met = set()
    for text in LANGUAGE.documents(400, 0):
        prompt, words = text[: text.index("?") + 1], text[text.index("?") + 2 :].split(" ")
        assert LANGUAGE.is_well_formed(" ".join(words[:3]))
        said = dict(word.split(":") for word in words[3:])
        if said:
            assert set(said) == set(ATTRIBUTES)
            share = [2 * int(said[attribute]) / 3 - 1 for attribute in ATTRIBUTES]
            assert LANGUAGE.true_reward(prompt, " ".join(words[:3])) == pytest.approx(np.dot(share, LANGUAGE.weights))
            met.add(words[3])
    assert len(met) == 3 * LANGUAGE.grades  # any attribute may come first: the state has to know them all


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
