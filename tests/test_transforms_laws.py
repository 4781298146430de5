"""Laws that every transformation obeys, whatever the text."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from hashlib import blake2b
from itertools import count

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llm_experiments.stress.catalogue import DEFAULT_SUITE, TRANSFORMATIONS, by_name
from llm_experiments.stress.edits import Edit, edit_some
from llm_experiments.stress.protected import protected_spans
from llm_experiments.stress.transformation import transform_text
from llm_experiments.stress.validity import check
from simulations.results import UserError

SPECIMEN = """Sure! Here's what I don't like about the color of "my" house, and it is important:

- First item, which is big.
- **Bold** item with `x = a_b` code
- Another item: see https://example.com/A?b=1,2 or write to Jane.Doe@example.org.

## Heading

On March 5, 2024 there were 12 cats and 10,000 dogs; they cannot help. The answer is $\\boxed{42}$, i.e. $a + b$.

```python
def area(width, height):  # the area
    result = width * height
    return result
```

We tried it, and it is definitely good. However, nobody believes the results because they begin too quickly.
"""
TRICKY = (
    "e\u0301a\u0308 👩‍👩‍👧 don\u0301t and שלום עולם, مرحبا. 你好，世界。\ud83d lone \udc00 don't\u200d say\ufe0f "
    "नमस्ते ﬁne ŉ ß İ $5 to $10"
)
PIECES = [*SPECIMEN.split(" "), *TRICKY.split(" "), "\n", "\n\n", "```", "$", "`", "\n- a\n- b\n- c\n"]
TEXTS = st.text(st.characters(), max_size=60) | st.lists(st.sampled_from(PIECES), max_size=30).map(" ".join)
TARGETS = {  # by family: what it may edit of that which the others leave alone
    "number and date formats": {"number"},
    "answer format": {"number", "latex"},
    "code": {"code"},
}
every = pytest.mark.parametrize("transformation", TRANSFORMATIONS, ids=lambda transformation: transformation.name)
some = settings(max_examples=5, deadline=None)  # each example goes through every transformation


def edited(transformation, text, *, seed=0, example="1/responses", strength=1.0):
    return transform_text(transformation, text, seed=seed, example=example, strength=strength)


def assert_drawn_alone(transformation, text, *, seed, strength):
    first = edited(transformation, text, seed=seed, strength=strength)
    edited(transformation, SPECIMEN, seed=seed, example="2/responses")  # whatever else was transformed in between
    assert edited(transformation, text, seed=seed, strength=strength) == first, transformation.name
    assert edited(transformation, text, seed=seed, strength=0.0) == text
    assert transformation.apply(text, np.random.default_rng(seed), 0.0) == text, transformation.name
    check(transformation.gate, text, first)  # has an answer to whatever it is shown


def assert_untouched(transformation, text, *, seed):
    """Protected spans, scripts that no edit knows, marks and joiners."""
    after, name = edited(transformation, text, seed=seed), transformation.name
    assert {c for c in after if "\ud800" <= c <= "\udfff"} <= set(text), f"{name} tears a surrogate pair"
    if transformation.purpose == "sensitivity":
        return  # what is damaged on purpose may lose anything
    for start, end, kind in protected_spans(text):
        if kind not in TARGETS.get(transformation.family, ()):
            span = text[start:end].strip()
            assert after.count(span) >= text.count(span), (name, span)
    for whole in ("שלום", "مرحبا", "你好", "नमस्ते", "👩‍👩‍👧", "\u200d", "\ufe0f"):
        assert after.count(whole) == text.count(whole), (name, whole)
    for mark in ("\u0301", "\u0308"):
        letters = [text[i - 1].lower() for i in range(1, len(text)) if text[i] == mark]
        assert letters == [after[i - 1].lower() for i in range(1, len(after)) if after[i] == mark], name


@some
@given(text=TEXTS, seed=st.integers(0, 9), strength=st.floats(0, 1))
@example(text=TRICKY, seed=0, strength=1.0)
@example(text=SPECIMEN, seed=1, strength=0.5)
def test_draws_depend_on_seed_transformation_and_example_alone(text, seed, strength):
    for transformation in TRANSFORMATIONS:
        assert_drawn_alone(transformation, text, seed=seed, strength=strength)


@some
@given(text=TEXTS, seed=st.integers(0, 9))
@example(text=TRICKY, seed=0)
@example(text=SPECIMEN, seed=1)
def test_protected_spans_and_foreign_scripts_are_untouched(text, seed):
    for transformation in TRANSFORMATIONS:
        assert_untouched(transformation, text, seed=seed)


def digest():
    """Of what every transformation makes of a text."""
    after = [edited(t, text, seed=3, strength=0.5) for t in TRANSFORMATIONS for text in (SPECIMEN, TRICKY)]
    return blake2b("\0".join(after).encode("utf-8", "surrogatepass")).hexdigest()


@pytest.mark.integration
def test_another_process_whose_strings_hash_otherwise_edits_alike():
    script = "from tests.test_transforms_laws import digest; print(digest())"
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    other = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True
    )
    assert other.stdout.decode().strip() == digest()


def test_planted_mutants_break_the_laws():
    turns = count()

    def mutant(apply):
        return replace(TRANSFORMATIONS[0], name="mutant", apply=apply)

    with pytest.raises(AssertionError):  # draws from elsewhere
        assert_drawn_alone(mutant(lambda text, _, strength: f"{text}{next(turns)}"), SPECIMEN, seed=0, strength=1.0)
    with pytest.raises(AssertionError):  # strength 0 is no identity
        assert_drawn_alone(mutant(lambda text, *_: text.upper()), SPECIMEN, seed=0, strength=0.0)
    for careless in (str.upper, lambda text: text.replace("\u0301", ""), lambda text: " ".join(text)):
        with pytest.raises(AssertionError):
            assert_untouched(mutant(lambda text, *_, careless=careless: careless(text)), SPECIMEN + TRICKY, seed=0)


def test_another_seed_or_example_draws_otherwise_and_the_same_one_alike():
    typos = by_name(["typos"])[0]
    assert len({edited(typos, SPECIMEN, seed=seed) for seed in range(5)}) == 5
    assert edited(typos, SPECIMEN, example="1/prompt") != edited(typos, SPECIMEN, example="2/prompt")
    # what both responses of a pair open with is edited alike, however they go on
    opening = SPECIMEN[SPECIMEN.index("We tried") :]
    for seed in range(5):
        alike = edited(typos, opening, seed=seed).strip()
        assert alike != opening.strip()
        assert edited(typos, opening + "Whatever else follows here.", seed=seed).startswith(alike)


@some
@given(share=st.floats(0, 1), more=st.floats(0, 1))
def test_a_higher_strength_adds_edits_and_changes_none(share, more):
    def find(text, generator):
        return [(Edit(place, place + 1, "-"),) for place in range(len(text))]

    low, high = sorted((share, more))
    few, many = (edit_some(find, "x" * 50, np.random.default_rng(0), strength) for strength in (low, high))
    assert all(b == "-" for a, b in zip(few, many, strict=True) if a == "-")


def test_strength_is_the_share_of_places_edited():
    extra_spaces = by_name(["extra_spaces"])[0]
    text = "word " * 2000
    for strength in (0.1, 0.5, 0.9):
        added = len(edited(extra_spaces, text.strip(), strength=strength)) - len(text.strip())
        assert added == pytest.approx(1999 * strength, abs=100)  # five standard deviations


@pytest.mark.integration
@every
def test_a_huge_text_is_answered_in_time_linear_in_its_length(transformation):
    for text in (SPECIMEN * 40, "a" * 40_000, "- a\n" * 10_000, "\ud800 " * 20_000, "$`\\[{" * 10_000):
        start = time.process_time()
        edited(transformation, text, strength=0.5)
        assert time.process_time() - start < 1  # 40 kB; in quadratic time, minutes


@every
def test_nothing_comes_of_nothing(transformation):
    assert edited(transformation, "") == ""
    assert edited(transformation, " \n").strip() == ""


def test_names_are_unique_and_a_misspelt_one_is_answered_with_its_neighbours():
    names = [transformation.name for transformation in TRANSFORMATIONS]
    assert len(set(names)) == len(names)
    assert [t.name for t in by_name(DEFAULT_SUITE)] == list(DEFAULT_SUITE)
    with pytest.raises(UserError, match="uppercase"):
        by_name(["upper_case"])


def test_a_strength_outside_the_unit_interval_is_refused():
    with pytest.raises(ValueError, match="strength"):
        edited(TRANSFORMATIONS[0], "text", strength=1.5)
