"""What each transformation does to sentences whose meaning a reader can check, and the gate that judges it."""

import ast
import random
import re

import pytest

from llm_experiments.stress import validity
from llm_experiments.stress.catalogue import TRANSFORMATIONS, by_name
from llm_experiments.stress.numbers import number_values
from llm_experiments.stress.protected import protected_spans
from llm_experiments.stress.sentences import sentences
from llm_experiments.stress.transformation import transform_text
from llm_experiments.stress.validity import Gate, check, edit_similarity
from simulations.results import UserError

TEXT = "On the whole it is a fair answer, and the reader can see that it was written with care. "

# name, before, after at strength 1; None: nothing may change
EXAMPLES = [
    ("uppercase", "Let x be in `code`, see $a$.", "LET x BE IN `code`, SEE $a$."),
    ("lowercase", "The US and NASA met. I saw A.", "the US and NASA met. I saw A."),
    ("title_case", "it's a dog", "It's a Dog"),
    ("extra_spaces", "one two\nthree", "one  two\nthree"),
    ("trailing_spaces", "one\ntwo", "one \ntwo "),
    ("tight_paragraphs", "one\n\ntwo\n\n# three", "one\ntwo\n\n# three"),
    ("loose_lines", "one\ntwo\n| a | b |", "one\n\ntwo\n| a | b |"),
    ("final_stop_dropped", "Yes. It is.\nSee etc.\nDone!", "Yes. It is\nSee etc.\nDone!"),
    ("spaced_punctuation", "Yes, it costs 1,000: fine.", "Yes , it costs 1,000: fine ."),
    ("serial_comma_dropped", "red, green, and blue", "red, green and blue"),
    ("serial_comma_dropped", "We left, and they stayed", None),
    ("dash_style", "the cat - my big one - slept; 5 - 3", "the cat—my big one—slept; 5 - 3"),
    ("dash_style", "the cat—my big one", "the cat - my big one"),
    ("contractions", "I do not think that it is the end.", "I don't think that it's the end."),
    ("contractions", "Yes, it is. I know who they are and I have a dog.", None),
    ("contractions", "It is not only the cat that I have seen.", "It's not only the cat that I've seen."),
    ("contractions", "I have been to the sea.", "I've been to the sea."),
    ("written_out", "I don't think we're the ones.", "I do not think we are the ones."),
    ("written_out", "It's over. Isn't it? Why don't we go to the sea? Don't you see that?", None),
    ("written_out", "It doesn’t help to say that I can't.", "It does not help to say that I can't."),
    ("british_spelling", "Organize the color of the center. ", "Organise the colour of the centre. "),
    ("british_spelling", "We met the Lincoln Center people; `color: red` is that of the page.", None),
    ("american_spelling", "The neighbour is travelling to the theatre.", "The neighbor is traveling to the theater."),
    ("thousands_separated", "12000 miles of 2024, $12000, #12345", "12,000 miles of 2024, $12,000, #12345"),
    ("thousands_plain", "1,234,567 and (1,2)", "1234567 and (1,2)"),
    ("percent_in_words", "5% of 3.5%", "5 percent of 3.5 percent"),
    ("numbers_in_words", "buy 3 apples in step 3 of it and 3 plus 4", "buy three apples in step 3 of it and 3 plus 4"),
    ("numbers_in_figures", "It is the two of twenty-two and two hundred", "It is the 2 of twenty-two and two hundred"),
    ("dates_day_first", "On March 5th, 2024 or 2024-03-05.", "On 5 March 2024 or 5 March 2024."),
    ("dates_month_first", "On 5 March 2024.", "On March 5, 2024."),
    ("markdown_stripped", "# Head\n**bold 1** and *it* 2*3*4 [x](http://a.b)", "Head\nbold 1 and it 2*3*4 x (http://a.b)"),
    ("markdown_stripped", "# a comment\nimport os", None),
    ("markdown_added", "Yes. It is so.\n\n1. Cost: low", "**Yes.** It is so.\n\n1. **Cost**: low"),
    ("bullet_style", "- a\n* b\n5 - 3", "* a\n- b\n5 - 3"),
    ("ordinal_style", "1. a\n2) b\n1.5 c", "1) a\n2. b\n1.5 c"),
    ("curly_quotes", "\"it's\" \"in 1999\" x=\"y\"", "“it’s” “in 1999” x=\"y\""),
    ("straight_quotes", "“it’s”", '"it\'s"'),
    ("no_break_spaces", "a b, c", "a\u00a0b, c"),
    ("synonyms", "For example, it is a courageous dog.", "For instance, it is a brave dog."),
    ("synonyms", "It happens to be the more complicated of these.", None),
    ("synonyms", "C'est une chose que nous avons often vue dans la maison.", None),
    ("answer_unboxed", "It is $\\boxed{\\frac{1}{2}}$ or \\boxed{3}.", "It is $\\frac{1}{2}$ or 3."),
    ("answer_boxed", "The answer is 42.", "The answer is $\\boxed{42}$."),
    ("answer_boxed", "It is so.\nA: $42", "It is so.\nA: $\\boxed{\\$42}$"),
    ("answer_boxed", "A: 4\nB: 3", None),
    ("answer_boxed", "The answer is 42 in $\\boxed{43}$.", None),
    ("answer_headed", "So $x = \\boxed{7}$.", "So $x = 7$.\n\n# Answer\n\n7"),
]  # fmt: skip

# Found by reading what the edits did to real texts: each changed the meaning, or tore a pair of marks or a name.
LEFT_ALONE = {
    "synonyms": [
        "It is important to be honest and transparent about it.",
        "It is a matter of life, and that is at the moment of conception.",
        "We thank you for any attempt to translate this for the reader.",
        "The surface finish of it and the FIN (finish) bit are to be set.",
        "It is observed by Christians, and these are the observed outcomes of that.",
        "It is all about Big Data and the majority of people who have it.",
        "This is the start of your musical journey, and you have growth opportunities with it.",
        'This is the relation of "although" to the rest, and the word “merely” is of use.',
        "The train is due to arrive. Every day is a gift to you, and so is a power of attorney.",
        "It is the end of course material that you have to read.",
        "I can see that this is Beautiful Soup, and BEGIN TRANSACTION is for that.",
        "Serve it with roughly chopped onions, and it remained a mystery to the cook.",
    ],
    "curly_quotes": [
        '{"name": "a b", "list": ["c", "d"]}',
        '{\n  "name": "a b",\n  "list": [\n    "c"\n  ]\n}',
        '<pre><code>data = read.csv("my file")</code></pre>',
        "He is 5'10\" tall and a \"b\" man.",
    ],
    "straight_quotes": ["“it is so, he said.\n‘Yes’"],
    "thousands_separated": [
        "The zip code is 28078 and the case number is 234234.",
        "It spells out the digits of '2445297' and \"12345\" letters.",
    ],
    "thousands_plain": ["The set {1,234,567} and the tuple (1,234) are these."],
    "answer_boxed": [
        "a: 4\nb: 3",
        "My confidence level for this answer is 95%.",
        "The answer is 4 or 5.",
        "Total: 12:30",
        "#### 3 Things",
    ],
    "lowercase": ["DataFrames", "MHz of 5 Pa"],
    "uppercase": ["ls | cd | 5 mW | 12 kg"],
    "title_case": ["iPhone"],
    "typos": ["pandas numpy", "El gato negro duerme sobre la mesa grande mientras nosotros comemos."],
    "look_alikes": ["DataFrames"],
    "markdown_stripped": ["It is the __init__ of that."],
    "numbers_in_figures": ["They are the twenty one pilots of this."],
    "dash_style": ["Choices: - practice - feet - sight", "- the cat - my one"],
    "filler_sentences": ["Paris", "Yes, sir"],
    "contractions": ["A mineral could have incredible value, and we had better results."],
}  # fmt: skip


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_where_it_cannot_be_decided_by_rule_nothing_is_edited(name):
    for text in LEFT_ALONE[name]:
        assert [edited(name, text, seed=seed) for seed in range(3)] == [text] * 3


def test_names_that_the_code_of_a_text_defines_stay_in_its_prose():
    text = "The Stack is what the parser is for.\n\n```python\nclass Stack(parser): pass\n```\n"
    assert edited("lowercase", text) == text.replace("The S", "the S")
    assert all("parser is" in edited("typos", text, seed=seed) for seed in range(30))


def edited(name, text, *, seed=0, strength=1.0):
    return transform_text(by_name([name])[0], text, seed=seed, example="0/responses", strength=strength)


@pytest.mark.parametrize(("name", "before", "after"), EXAMPLES)
def test_worked_examples(name, before, after):
    assert edited(name, before) == (before if after is None else after)
    assert check(by_name([name])[0].gate, TEXT + before, TEXT + edited(name, before)) is None


def test_every_transformation_has_an_example_or_a_test_of_its_own():
    tested = {name for name, _, _ in EXAMPLES} | {
        "typos", "misspellings", "look_alikes", "filler_sentences", "bullet_order", "code_comments_removed",
        "code_variables_renamed",
    }  # fmt: skip
    assert {t.name for t in TRANSFORMATIONS if t.purpose == "invariance"} == tested


def test_typos_keep_first_and_last_letter_and_make_no_other_word():
    text = "the silver trial was over there and nobody believed the quiet casual report " * 5
    slipped = edited("typos", text)
    changed = [(a, b) for a, b in zip(text.split(), slipped.split(), strict=True) if a != b]
    assert 5 < len(changed) < 25
    for a, b in changed:
        assert (a[0], a[-1]) == (b[0], b[-1])
        assert b not in ("sliver", "trail", "three")
    assert {a for a, _ in changed} <= {"nobody", "believed", "quiet", "casual", "report", "silver", "trial", "there"}


def test_look_alikes_read_the_same_and_are_other_characters():
    disguised = edited("look_alikes", TEXT)
    assert len(disguised) == len(TEXT)
    assert sum(a != b for a, b in zip(TEXT, disguised, strict=True)) >= 15
    assert all(ord(b) > 0x400 for a, b in zip(TEXT, disguised, strict=True) if a != b)


def test_fillers_stand_around_the_text_and_code_stays_alone():
    both = edited("filler_sentences", TEXT)
    assert TEXT.strip() in both
    assert not both.startswith(TEXT[:10])
    one = edited("filler_sentences", TEXT, strength=0.5)
    assert len(TEXT) < len(one) < len(both)
    assert edited("filler_sentences", "def f(x):\n    return x\n") == "def f(x):\n    return x\n"
    assert edited("filler_sentences", "C'est une chose que nous avons vue dans la maison.").startswith("C'est")


def test_bullets_move_only_where_no_order_is_stated():
    free = "You need:\n- 2 apples\n- flour\n- butter\n- sugar\n"
    moved = {edited("bullet_order", free, seed=seed) for seed in range(5)}
    assert len(moved) > 1
    assert all(sorted(text.splitlines()) == sorted(free.splitlines()) for text in moved)
    for stated in (
        "Follow these steps:\n- mix\n- bake\n- eat\n",
        "You need:\n- first apples\n- flour\n- butter\n",
        "You need:\n- apples. Peel them\n- flour\n- butter\n",
        "You need:\n1. apples\n2. flour\n3. butter\n",
        "You need:\n- apples\n  - red\n- flour\n- butter\n",
        "Syllabus:\n- Sets\n- Limits\n- Integrals\n",  # a lead that names no set of things
        "The tags are:\n- The: determiner\n- cat: noun\n- sat: verb\n",
    ):
        assert edited("bullet_order", stated, seed=3) == stated


CODE = '''def total(prices, tax=0.1):
    """Sum of prices."""
    result = 0  # running sum
    for price in prices:
        # add one
        result += price
    label = "result"
    return result * (1 + tax)
'''


def test_code_without_comments_computes_the_same():
    fenced = f"Here it is.\n\n```python\n{CODE}```\n\n```\nnot # python (\n```\n"
    after = edited("code_comments_removed", fenced)
    assert "#" not in after.split("```")[1]
    assert after.split("```")[3] == fenced.split("```")[3]
    assert ast.dump(ast.parse(after.split("```python\n")[1].split("```")[0])) == ast.dump(ast.parse(CODE))


def test_the_body_of_a_function_without_its_head_loses_its_comments_and_nothing_else():
    body = CODE.split("\n", 1)[1].strip()
    assert edited("code_comments_removed", body) == body.replace("  # running sum", "").replace(
        "        # add one\n", ""
    )
    assert edited("code_variables_renamed", body) == body
    assert edited("code_comments_removed", "    # we return to this\n    in the next part\n").startswith("    # we")


def test_renamed_variables_compute_the_same_and_interfaces_stay():
    code = CODE.replace('    label = "result"\n', "")
    renamed = edited("code_variables_renamed", code)
    assert renamed != code
    assert not re.search(r"\b(?:result|price)\b", renamed)
    scopes = ({}, {})
    exec(code, scopes[0])
    exec(renamed, scopes[1])
    assert scopes[0]["total"]([1, 2], tax=0.5) == scopes[1]["total"]([1, 2], tax=0.5) == 4.5
    assert "result" in edited("code_variables_renamed", CODE)  # a string may name it
    assert edited("code_variables_renamed", f"Look at `result`:\n\n```python\n{code}```\n").count("result") == 4
    for kept in (
        "x = 1\ndef f():\n    return x\n",
        "def f():\n    y = 1\n    return locals()\n",
        "class A:\n    z = 1\n",
    ):
        assert edited("code_variables_renamed", kept) == kept


def test_lines_of_code_are_those_that_python_counts():
    """A form feed and the separators of Unicode end a line for `str.splitlines` alone."""
    code = 'def f(a):\n    text = "é\x0c\u2028"  # note\n    größe = 1\n    return text * größe + a\n'
    renamed = edited("code_variables_renamed", code)
    assert "größe" not in renamed
    assert "\x0c\u2028" in renamed
    assert "# note" not in edited("code_comments_removed", code)


def test_damage_damages():
    text = TEXT * 6 + "There are 12 cats in 3 houses."
    assert len(edited("dropped_sentences", text)) < 0.3 * len(text)
    assert text.startswith(edited("truncated", text, strength=0.5))
    assert len(edited("truncated", text, strength=0.5)) == pytest.approx(len(text) / 2, rel=0.1)
    assert sorted(edited("shuffled_words", text).split()) != text.split()
    assert sorted(re.findall(r"\w+", edited("shuffled_words", text))) == sorted(re.findall(r"\w+", text))
    wrong = edited("wrong_numbers", text)
    assert [len(n) for n in re.findall(r"\d+", wrong)] == [2, 1]
    assert not number_values(wrong) & number_values("12 3")
    assert "it is not a fair answer" in edited("negated", text)
    assert edited("negated", "It is not the end, and they cannot be that.") == "It is the end, and they cannot be that."
    assert not set(re.findall(r"\w{6,}", edited("off_topic_sentences", text))) & {"answer", "reader", "written"}
    for transformation in TRANSFORMATIONS:
        if transformation.purpose == "sensitivity":
            assert check(transformation.gate, text, edited(transformation.name, text)) is None, transformation.name


def test_sentences_end_where_readers_end_them():
    text = "Dr. Smith paid 3.50, i.e. a lot. “Why?” she asked! `a. B` is code. 你好。世界。\n- an item\n\nThe end"
    found = [text[start:end] for start, end in sentences(text)]
    assert found == [
        "Dr. Smith paid 3.50, i.e. a lot.", "“Why?”", "she asked!", "`a. B` is code.", "你好。", "世界。", "- an item",
        "The end",
    ]  # fmt: skip


def test_what_is_protected():
    text = (
        "See `x` and ``y``, $5 to $10, $x_1$, \\(a\\), \\frac{a}{b}, a@b.org, https://a.b/c, snake_case, "
        "f(x), 3.5%, <b>.\n"
        "```\ncode\n```\nlet a = 5\nx = y\nand that is prose"
    )
    found = {(kind, text[start:end]) for start, end, kind in protected_spans(text)}
    assert found >= {
        ("code", "`x`"), ("code", "``y``"), ("latex", "$x_1$"), ("latex", "\\(a\\)"), ("latex", "\\frac{a}{b}"),
        ("email", "a@b.org"), ("url", "https://a.b/c"), ("code", "snake_case"), ("code", "f(x)"), ("number", "3.5%"),
        ("number", "5"), ("number", "10"), ("markup", "<b>"), ("code", "```\ncode\n```"), ("code", "let a = 5"),
    }  # fmt: skip
    assert not any("prose" in span or "to" in span for _, span in found)


@pytest.mark.parametrize(
    ("gate", "after", "reason"),
    [
        (Gate(), "On 5 March 2024 I paid two times 1000 for `a`.", None),
        (Gate(), "On 5 May 2024 I paid 2 times 1,000 for `a`.", "numbers changed"),
        (Gate(), "On March 5, 2024 I paid 2 times 1,000 for `b`.", "code changed"),
        (Gate(numbers_preserved=False), "В марте я заплатил за `a` дважды и много.", "script changed"),
        (Gate(numbers_preserved=False), "En mars la maison a coûté cher, et `a` aussi.", None),
        (
            Gate(numbers_preserved=False, english_kept=True),
            "En mars la maison a coûté, et `a` aussi.",
            "language changed",
        ),
        (Gate(), " ", "nothing left"),
        (Gate(min_length_ratio=0.9, numbers_preserved=False), "`a`", "too short"),
        (Gate(max_length_ratio=1.1), "On March 5, 2024 I paid 2 times 1,000 for `a`, and that is it.", "too long"),
        (Gate(min_similarity=0.9), "March 5, 2024: we gave 2 times 1,000 to get `a`.", "changed too much"),
        (Gate(), "On March 5, 2024 I paid 2 times 1,000 for `a`, dearWatson.", "names changed"),
        (Gate(), "On March 5, 2024 I paid 2 times 1,000 “for `a`.", "quotes unpaired"),
        (Gate(max_similarity=0.9), "On March 5, 2024 I PAID 2 times 1,000 for `a`.", "changed too little"),
    ],
)
def test_the_gate_says_why(gate, after, reason):
    assert check(gate, "On March 5, 2024 I paid 2 times 1,000 for `a`.", after) == reason


def test_what_was_json_must_parse():
    assert check(Gate(), "[1, 2]", "[1, 2") == "no JSON any more"
    assert check(Gate(), "[1, 2]", "[1,  2]") is None
    assert check(Gate(), "[a, b]", "[a, b") is None  # was none


def test_edit_similarity_is_one_minus_levenshtein_in_words(monkeypatch):
    assert edit_similarity("The cat  SAT", "the cat sat") == 1
    assert edit_similarity("a b c d", "a x c d") == 3 / 4
    assert edit_similarity("a b c d", "b c d") == 3 / 4
    assert edit_similarity("a b", "c d e f") == 0
    rng = random.Random(0)
    for _ in range(200):  # against the textbook's table
        left, right = ("".join(rng.choices("abc", k=rng.randrange(9))) for _ in range(2))
        row = list(range(len(right) + 1))
        for i, a in enumerate(left):
            row = _next_row(row, i, a, right)
        assert validity._distance(list(left), list(right)) == row[-1]
    monkeypatch.setattr(validity, "_LONG", 3)
    assert edit_similarity("a b c d", "d c b x") == 3 / 4  # as bags


def _next_row(row, i, a, right):
    new = [i + 1]
    for j, b in enumerate(right):
        new.append(min(row[j] + (a != b), row[j + 1] + 1, new[j] + 1))
    return new


def test_names_on_demand_say_what_they_need():
    assert by_name(["paraphrase:some/model"])[0].name == "paraphrase_some_model"
    assert by_name(["translation:French:some/model"])[0].name == "translation_french_some_model"
    with pytest.raises(UserError, match="paraphrase:MODEL"):
        by_name(["paraphrase"])
