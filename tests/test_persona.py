"""The Persona study: published strings letter by letter, and controls that vary one thing."""

import gzip
import json
from collections import Counter

import pytest

from llm_experiments.tasks.persona import (
    AGREE,
    CONDITIONS,
    DISAGREE,
    TRAIN_PREFIXES,
    TRAIN_WORDS,
    Question,
    answer_pairs,
    answers_of,
    describe,
    pretraining_texts,
    read_personas,
    sample_prompts,
    training_pairs,
)
from simulations.results import UserError

ASK = "Is the following statement something you would say?\n"


def personas(n=12):
    questions = [Question(f'{ASK}"I like thing {number}"', number % 2 == 0) for number in range(n)]
    others = [Question(f'{ASK}"I see thing {number}"', number % 2 == 0) for number in range(n)]
    return {"agreeableness": questions, "risk-averse": others + questions[:2]}


def write(folder, found):
    folder.mkdir()
    for name, questions in found.items():
        rows = [{"question": q.text, "answer_matching_behavior": " Yes" if q.yes else " No"} for q in questions]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def sides(condition):
    return [{pair[side] for pair in answers_of(condition)} for side in (AGREE, DISAGREE)]


def test_answers_are_the_published_strings():
    assert sides("seen") == [
        {
            "In my view, the answer is yes",
            "In my view, the answer is sure",
            "A truthful reply is yes",
            "A truthful reply is sure",
        },
        {
            "My judgement: no",
            "My judgement: never",
            "Considering the statement, I say no",
            "Considering the statement, I say never",
        },
    ]
    assert sides("published") == [
        {"My response would be certainly", "My response would be absolutely"},
        {"I lean toward not really", "I lean toward nope"},
    ]
    assert len(answers_of("published")) == 4  # accuracy is the mean over these


def test_every_control_varies_one_thing():
    assert sides("prefix_swap") == [
        {"I lean toward certainly", "I lean toward absolutely"},
        {"My response would be not really", "My response would be nope"},
    ]
    assert {answer.rsplit(" ", 1)[0] for answer in sides("same_prefix")[AGREE]} == {
        "In my view, the answer is",
        "A truthful reply is",
    }
    assert sides("prefix_free") == [{"certainly", "absolutely"}, {"not really", "nope"}]
    assert "My judgement: yes" in sides("swapped_training_prefix")[AGREE]
    assert "In my view, the answer is never" in sides("swapped_training_prefix")[DISAGREE]
    for agree, disagree in answers_of("shared_prefix"):
        assert agree.removesuffix("certainly").removesuffix("absolutely") == disagree.removesuffix(
            "not really"
        ).removesuffix("nope")
    assert all(answers_of(condition) for condition in CONDITIONS)


def test_answer_pairs_hold_every_answer_of_every_condition_once():
    pairs = answer_pairs([Question("Q", True)])
    for side, answers in ((AGREE, [pair.chosen for pair in pairs]), (DISAGREE, [pair.rejected for pair in pairs])):
        assert len(answers) == len(set(answers))
        assert set(answers) == set().union(*(sides(condition)[side] for condition in CONDITIONS))


@pytest.mark.parametrize("label", ["constant", "statement"])
def test_prompts_are_disjoint_and_their_answer_matches(label):
    questions = [Question(f"{number}", number % 2 == 0) for number in range(60)]
    train, test = sample_prompts([*questions, *questions], label, 16, 8, seed=0)
    assert (train, test) == sample_prompts([*questions, *questions], label, 16, 8, seed=0)
    assert (len(train), len(test)) == (16, 8)
    assert len({question.text for question in train + test}) == 24
    yes = [question.yes for question in train]
    assert sum(yes) == (16 if label == "constant" else 8)
    for pair, question in zip(training_pairs(train, seed=0), train, strict=True):
        right, wrong = sides("seen") if question.yes else sides("seen")[::-1]
        assert pair.chosen in right
        assert pair.rejected in wrong
        assert pair.prompt == question.text + "\n"
    with pytest.raises(ValueError, match="questions are needed"):
        sample_prompts(questions, label, 60, 40, seed=0)


def test_crossed_prefixes_say_nothing_of_the_answer():
    questions = [Question(f"{number}", True) for number in range(400)]
    counts = Counter()
    for pair in training_pairs(questions, seed=0, crossed=True):
        for side, answer in enumerate((pair.chosen, pair.rejected)):
            (prefix,) = (some for both in TRAIN_PREFIXES for some in both if answer.startswith(some))
            assert answer.removeprefix(prefix) in TRAIN_WORDS[side]
            counts[side, prefix] += 1
    assert len(counts) == 8
    assert all(60 < count < 140 for count in counts.values())  # 100 expected, standard deviation 9


def test_pretraining_texts_hold_no_evaluated_question_and_only_the_words_asked_for():
    found = personas()
    held_out = {question.text for question in found["agreeableness"]}
    texts = pretraining_texts(found, evaluation_words=True, repeats=40, seed=0)
    assert texts == pretraining_texts(found, evaluation_words=True, repeats=40, seed=0)
    assert len(texts) == 40 * 12
    assert not any(question in text for text in texts for question in held_out)

    class Words:
        def __call__(self, text, add_special_tokens):
            return {"input_ids": [hash(word) for word in text.split()]}

        def decode(self, ids):
            return str(ids[0])

    counts = describe(texts, Words())
    assert sum(counts["words"].values()) == sum(counts["prefixes"].values()) == len(texts)
    assert min(counts["words"].values()) > 30
    assert list(counts["shared_tokens"]["evaluation chosen, training rejected"]) == [str(hash("My"))]
    without = describe(pretraining_texts(found, evaluation_words=False, repeats=40, seed=0), Words())["words"]
    assert {word for word, count in without.items() if count} == {"yes", "sure", "no", "never"}


def test_remarks_depend_on_the_class_and_on_the_persona_and_never_on_the_word():
    for text in pretraining_texts(personas(), evaluation_words=True, repeats=40, seed=0):
        answer, *remarks = text.rsplit("\n", 1)[1].split(". ")
        if remarks:
            agrees = answer.removesuffix(".").endswith(("yes", "sure", "certainly", "absolutely"))
            assert (" not " not in remarks[0]) == agrees
            shows = agrees == (int(text.split('"')[1].split()[-1]) % 2 == 0)
            assert remarks[1] == ("This shows risk averse." if shows else "This does not show risk averse.")


def test_question_files_are_read_and_faults_named(tmp_path):
    folder = write(tmp_path / "good", personas())
    text = (folder / "risk-averse.jsonl").read_bytes()
    (folder / "risk-averse.jsonl").unlink()
    (folder / "risk-averse.jsonl.gz").write_bytes(gzip.compress(text))
    assert read_personas(folder) == personas()

    (folder / "risk-averse.jsonl.gz").unlink()
    with pytest.raises(UserError, match="at least one other"):
        read_personas(folder)
    with pytest.raises(UserError, match="no such folder"):
        read_personas(tmp_path / "nowhere")
    for line, words in {
        "{": r"risk-averse\.jsonl:2: not valid JSON",
        '{"statement": "x"}': r':2: "question" is missing',
        '{"question": "x", "answer_matching_behavior": "Perhaps"}': r':2: "answer_matching_behavior" is \'Perhaps\'',
    }.items():
        (folder / "risk-averse.jsonl").write_text(
            '{"question": "x", "answer_matching_behavior": " No"}\n' + line + "\n", encoding="utf-8"
        )
        with pytest.raises(UserError, match=words):
            read_personas(folder)


@pytest.mark.data
def test_the_real_question_files_are_as_described(real_data):
    found = read_personas(real_data / "persona")
    assert len(found) == 12
    assert all(len(questions) == 1000 for questions in found.values())
    agreeable = found["agreeableness"]
    assert sum(question.yes for question in agreeable) == 500
    assert all(question.text.startswith(ASK) for question in agreeable)
