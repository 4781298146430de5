"""The Persona study: real questions, published answers, and the controls that the publication lacks (rung 2).

Questions are Anthropic's model-written "agreeableness" items ("Is the following statement something you would say?");
the answers are those of Razin et al. (2025), whose implicit reward models fall to 0.02 on a paraphrase of the answers
while explicit ones stay at 1.00. In that paraphrase more changes than the words: its chosen answers open with "My",
which opened only *rejected* answers in training. The controls vary prefix and word separately.

A small language model has to be taught what the words mean, since raw files hold hardly any "certainly", "absolutely"
or "nope". It is pretrained on the other eleven persona files' questions with synthetic answers: every prefix with
every word, agreeing or not at random, mostly followed by sentences that depend on the answer's class (and on whether
that answer shows the persona), never on the word.
"""

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from llm_experiments.pairs import Pair
from llm_experiments.rendering import ANSWER_CHECK
from llm_experiments.tasks.language import Label
from simulations.results import Row, UserError, json_fault

EVALUATED = "agreeableness"

# The published strings, letter by letter.
TRAIN_PREFIXES = (
    ("In my view, the answer is ", "A truthful reply is "),
    ("My judgement: ", "Considering the statement, I say "),
)
TRAIN_WORDS = (("yes", "sure"), ("no", "never"))
EVALUATION_PREFIXES = (("My response would be ",), ("I lean toward ",))
EVALUATION_WORDS = (("certainly", "absolutely"), ("not really", "nope"))

Condition = Literal[
    "seen", "published", "prefix_swap", "same_prefix", "shared_prefix", "swapped_training_prefix", "prefix_free"
]
CONDITIONS: tuple[Condition, ...] = get_args(Condition)
AGREE, DISAGREE = 0, 1  # sides of everything below

# What follows an answer in the pretraining texts: by class, and by whether the answer shows the persona.
REMARKS = (
    ("I agree with it.", "That is what I think.", "It is true of me."),
    ("I do not agree with it.", "That is not what I think.", "It is not true of me."),
)
PREFIX_FREE = 0.2  # share of synthetic answers without a prefix
ENDING = 0.2  # share of synthetic answers that end the text, so that a terminator is possible there


@dataclass(frozen=True)
class Question:
    text: str
    yes: bool  # the matching answer is Yes


def read_personas(folder: Path) -> dict[str, list[Question]]:
    """Questions by persona from `folder/*.jsonl` or `*.jsonl.gz`.

    Raises:
        UserError: no such folder, no agreeableness file, none beside it, or a faulty line (file, line and field).
    """
    if not folder.is_dir():
        raise UserError(f"--persona {folder}: no such folder; `make data` fetches the question files into data/persona")
    personas: dict[str, list[Question]] = {}
    for path in sorted([*folder.glob("*.jsonl"), *folder.glob("*.jsonl.gz")]):
        personas.setdefault(path.name.split(".jsonl")[0], _read(path))
    if EVALUATED not in personas or len(personas) < 2:
        raise UserError(
            f"--persona {folder}: needs {EVALUATED}.jsonl and at least one other persona's file (found "
            f"{', '.join(personas) or 'none'}); `make data` fetches them into data/persona"
        )
    return personas


def _read(path: Path) -> list[Question]:
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
    except (gzip.BadGzipFile, zlib.error, EOFError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); fetch it again with `make data`") from None
    questions = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{path}:{number}: not valid JSON ({json_fault(error)}); fetch it again with `make data`"
            ) from None
        if not isinstance(row, dict) or not isinstance(row.get("question"), str):
            raise UserError(f'{path}:{number}: "question" is missing or no text; fetch it again with `make data`')
        answer = row.get("answer_matching_behavior")
        if not isinstance(answer, str) or answer.strip() not in ("Yes", "No"):
            raise UserError(f'{path}:{number}: "answer_matching_behavior" is {answer!r}; it must be " Yes" or " No"')
        questions.append(Question(row["question"], answer.strip() == "Yes"))
    if not questions:
        raise UserError(f"{path}: holds no question; fetch it again with `make data`")
    return questions


def pretraining_texts(
    personas: Mapping[str, Sequence[Question]], *, evaluation_words: bool, repeats: int, seed: int
) -> list[str]:
    """Questions of every persona but the evaluated one (and none that it holds too), with synthetic answers.

    Args:
        evaluation_words: whether the words of the evaluation answers are among the synthetic ones.
        repeats: how often each question is asked, with a new answer every time.
    """
    random = np.random.default_rng([seed, 3])
    held_out = {question.text for question in personas[EVALUATED]}
    prefixes = [prefix for side in (*TRAIN_PREFIXES, *EVALUATION_PREFIXES) for prefix in side]
    words = [TRAIN_WORDS[side] + (EVALUATION_WORDS[side] if evaluation_words else ()) for side in (AGREE, DISAGREE)]
    texts = []
    for name, questions in personas.items():
        if name == EVALUATED:
            continue
        trait = name.replace("-", " ")
        for question in questions * repeats:
            if question.text in held_out:
                continue
            side = int(random.integers(2))
            prefix = "" if random.random() < PREFIX_FREE else prefixes[random.integers(len(prefixes))]
            text = f"{question.text}\n{prefix}{words[side][random.integers(len(words[side]))]}"
            if random.random() >= ENDING:
                remark = REMARKS[side][random.integers(len(REMARKS[side]))]
                shows = "shows" if question.yes == (side == AGREE) else "does not show"
                text += f". {remark} This {shows} {trait}."
            texts.append(text)
    return texts


def verification_texts(texts: Sequence[str], seed: int) -> list[str]:
    """The same questions and answers inside a generative model's verification prompt, answered Yes or No at random: the
    model learns that one of the two words stands there, and nothing about which."""
    random = np.random.default_rng([seed, 9])
    made = []
    for text in texts:
        question, answer = text.rsplit("\n", 1)
        verdict = "Yes" if random.integers(2) else "No"
        made.append(f"Question: {question}\nAnswer: {answer.split('.')[0]}{ANSWER_CHECK}\n{verdict}")
    return made


def sample_prompts(
    questions: Sequence[Question], label: Label, n_train: int, n_test: int, seed: int
) -> tuple[list[Question], list[Question]]:
    """Disjoint training and test prompts. `constant`: only questions whose matching answer is Yes, as published;
    `statement`: as many with No.

    Raises:
        ValueError: there are too few questions.
    """
    random = np.random.default_rng([seed, 4])
    unique = list({question.text: question for question in questions}.values())
    kinds = (
        [[q for q in unique if q.yes]]
        if label == "constant"
        else [[q for q in unique if q.yes is yes] for yes in (True, False)]
    )
    train: list[Question] = []
    test: list[Question] = []
    for some in kinds:
        a, b = n_train // len(kinds), n_test // len(kinds)
        if len(some) < a + b:
            raise ValueError(f"{a + b} questions are needed of one matching answer, there are {len(some)}")
        order = random.permutation(len(some))
        train += [some[i] for i in order[:a]]
        test += [some[i] for i in order[a : a + b]]
    return train, test


def training_pairs(prompts: Sequence[Question], seed: int, *, crossed: bool = False) -> list[Pair]:
    """One pair per prompt, with training answers drawn independently for each, as published.

    `crossed`: any training prefix before any answer. As published each side has prefixes of its own, so that these
    training pairs leave open whether the prefix or the word decides.
    """
    random = np.random.default_rng([seed, 5])
    every = tuple(prefix for side in TRAIN_PREFIXES for prefix in side)
    pairs = []
    for number, question in enumerate(prompts):
        agree, disagree = (
            prefixes[random.integers(len(prefixes))] + words[random.integers(len(words))]
            for prefixes, words in zip((every, every) if crossed else TRAIN_PREFIXES, TRAIN_WORDS, strict=True)
        )
        pairs.append(_pair(f"train/{number}", question, agree, disagree))
    return pairs


def answer_pairs(prompts: Sequence[Question], conditions: Sequence[Condition] = CONDITIONS) -> list[Pair]:
    """Every answer of the conditions once per prompt, as pairs; which answers share a pair has no meaning."""
    answers = [sorted({pair[side] for name in conditions for pair in answers_of(name)}) for side in (AGREE, DISAGREE)]
    return [
        Pair(f"{number}/{form}", "", question.text + "\n", agree, disagree)
        for number, question in enumerate(prompts)
        for form, (agree, disagree) in enumerate(zip(*answers, strict=True))
    ]


def answers_of(condition: Condition) -> list[tuple[str, str]]:
    """Every (agreeing, disagreeing) answer of a condition; accuracies are means over them.

    seen                      the training answers
    published                 the published paraphrase: other words in other prefixes
    prefix_swap               its words, each side in the other side's prefix
    same_prefix               its words in the training prefixes of their own side
    shared_prefix             its words, both sides in the same evaluation prefix
    swapped_training_prefix   the training words in the training prefixes of the other side
    prefix_free               its words alone
    """
    prefixes, words = EVALUATION_PREFIXES, EVALUATION_WORDS
    if condition == "shared_prefix":
        shared = (prefix for side in EVALUATION_PREFIXES for prefix in side)
        return [(prefix + a, prefix + d) for prefix in shared for a, d in product(*words)]
    if condition == "prefix_swap":
        prefixes = EVALUATION_PREFIXES[::-1]
    elif condition == "seen":
        prefixes, words = TRAIN_PREFIXES, TRAIN_WORDS
    elif condition == "same_prefix":
        prefixes = TRAIN_PREFIXES
    elif condition == "swapped_training_prefix":
        prefixes, words = TRAIN_PREFIXES[::-1], TRAIN_WORDS
    elif condition == "prefix_free":
        prefixes = (("",), ("",))
    agreeing, disagreeing = ([p + w for p, w in product(prefixes[s], words[s])] for s in (AGREE, DISAGREE))
    return list(product(agreeing, disagreeing))


def _pair(name: str, question: Question, agree: str, disagree: str) -> Pair:
    right, wrong = (agree, disagree) if question.yes else (disagree, agree)
    return Pair(name, "", question.text + "\n", right, wrong)


def remark_pairs(prompts: Sequence[Question]) -> list[Pair]:
    """After every answer word (in every prefix), the remark that fits it against the one that does not; `subset` is
    the word. A language model that prefers the first knows what the word means."""
    prefixes = ["", *(prefix for side in (*TRAIN_PREFIXES, *EVALUATION_PREFIXES) for prefix in side)]
    pairs = []
    for side, words in enumerate(zip(TRAIN_WORDS, EVALUATION_WORDS, strict=True)):
        for word, prefix, question in product(words[0] + words[1], prefixes, prompts):
            name = f"{word}/{prefix}/{question.text}"
            right, wrong = REMARKS[side][0], REMARKS[1 - side][0]
            pairs.append(Pair(name, word, f"{question.text}\n{prefix}{word}.", f" {right}", f" {wrong}"))
    return pairs


def describe(texts: Sequence[str], tokenizer: Any) -> Row:
    """What a reader must know about the pretraining: how often it holds each answer word and each prefix, and which
    token ids the training and the evaluation answers share."""
    answers = [text.rsplit("\n", 1)[1].split(".")[0] for text in texts]
    prefixes = [prefix for side in (*TRAIN_PREFIXES, *EVALUATION_PREFIXES) for prefix in side]
    opening = [next((prefix for prefix in prefixes if answer.startswith(prefix)), "") for answer in answers]
    words = Counter(answer.removeprefix(prefix) for answer, prefix in zip(answers, opening, strict=True))

    def ids(condition: Condition, side: int) -> set[int]:
        return {
            i for pair in answers_of(condition) for i in tokenizer(pair[side], add_special_tokens=False)["input_ids"]
        }

    shared = {}
    for evaluation, training in product((AGREE, DISAGREE), repeat=2):
        both = sorted(ids("published", evaluation) & ids("seen", training))
        name = f"evaluation {SIDES[evaluation]}, training {SIDES[training]}"
        shared[name] = {str(i): tokenizer.decode([i]) for i in both}
    return {
        "texts": len(texts),
        "words": {
            word: words[word]
            for sides in zip(TRAIN_WORDS, EVALUATION_WORDS, strict=True)
            for side in sides
            for word in side
        },
        "prefixes": {prefix: opening.count(prefix) for prefix in [*prefixes, ""]},
        "shared_tokens": shared,
    }


SIDES = ("chosen", "rejected")
