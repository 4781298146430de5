"""Laws that every transformation obeys, whatever the text."""

import time

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from llm_experiments.stress.catalogue import DEFAULT_SUITE, TRANSFORMATIONS, by_name
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
TARGETS: dict[str, set[str]] = {}  # what a transformation may edit of that which the others leave alone
every = pytest.mark.parametrize("transformation", TRANSFORMATIONS, ids=lambda transformation: transformation.name)
few = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def edited(transformation, text, *, seed=0, example="1/responses", strength=1.0):
    return transform_text(transformation, text, seed=seed, example=example, strength=strength)


@every
@few
@given(text=TEXTS, seed=st.integers(0, 9), strength=st.floats(0, 1))
@example(text=TRICKY, seed=0, strength=1.0)
@example(text=SPECIMEN, seed=1, strength=0.5)
def test_same_draws_in_any_order_and_strength_zero_is_the_identity(transformation, text, seed, strength):
    first = edited(transformation, text, seed=seed, strength=strength)
    edited(transformation, SPECIMEN, seed=seed, example="2/responses")  # whatever else was transformed in between
    assert edited(transformation, text, seed=seed, strength=strength) == first
    assert edited(transformation, text, seed=seed, strength=0.0) == text
    assert transformation.apply(text, np.random.default_rng(seed), 0.0) == text
    check(transformation.gate, text, first)  # has an answer to whatever it is shown


@every
@few
@given(text=TEXTS, seed=st.integers(0, 9))
@example(text=TRICKY, seed=0)
@example(text=SPECIMEN, seed=1)
def test_protected_spans_and_foreign_scripts_are_untouched(transformation, text, seed):
    after = edited(transformation, text, seed=seed)
    assert {c for c in after if "\ud800" <= c <= "\udfff"} <= set(text), "a torn surrogate pair"
    if transformation.purpose == "sensitivity":
        return  # what is damaged on purpose may lose anything
    for start, end, kind in protected_spans(text):
        if kind not in TARGETS.get(transformation.name, ()):
            assert after.count(text[start:end].strip()) >= text.count(text[start:end].strip())
    for whole in ("שלום", "مرحبا", "你好", "नमस्ते", "👩‍👩‍👧", "\u200d", "\ufe0f"):
        assert after.count(whole) == text.count(whole)


@pytest.mark.integration
@every
def test_a_huge_text_is_answered_in_time_linear_in_its_length(transformation):
    for text in (SPECIMEN * 330, "a" * 300_000, "- a\n" * 75_000, "\ud800 " * 150_000, "$`\\[" * 75_000):
        start = time.process_time()
        edited(transformation, text, strength=0.5)
        assert time.process_time() - start < 1


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
