"""Transformations that need more: a language model that rewrites (a toy here), WordNet by the library wn."""

import json

import lm
import pytest
from test_transforms_laws import SPECIMEN, TRICKY, assert_drawn_alone

from llm_experiments.stress.catalogue import by_name
from llm_experiments.stress.protected import protected_spans
from llm_experiments.stress.transformation import transform_text
from llm_experiments.stress.transforms import rewriting
from llm_experiments.stress.transforms.rewriting import paraphrase, translation
from llm_experiments.stress.transforms.wordnet import wordnet_synonyms
from simulations.results import UserError

TEXT = (
    "The first paragraph is here.\n\n```python\nx = 1\n\ny = 2\n```\n\n"
    "And the second one, with lone \ud83d.\n\nThe third."
)

LEXICON = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE LexicalResource SYSTEM "http://globalwordnet.github.io/schemas/WN-LMF-1.0.dtd">
<LexicalResource><Lexicon id="toy" label="toy" language="en" email="a@b.c" license="CC0" version="1">
<LexicalEntry id="toy-a"><Lemma writtenForm="gauzy" partOfSpeech="a"/><Sense id="s1" synset="toy-1"/></LexicalEntry>
<LexicalEntry id="toy-b"><Lemma writtenForm="filmy" partOfSpeech="a"/><Sense id="s2" synset="toy-1"/></LexicalEntry>
<LexicalEntry id="toy-c"><Lemma writtenForm="bank" partOfSpeech="n"/><Sense id="s3" synset="toy-2"/>
<Sense id="s4" synset="toy-3"/></LexicalEntry>
<LexicalEntry id="toy-d"><Lemma writtenForm="shore" partOfSpeech="n"/><Sense id="s5" synset="toy-3"/></LexicalEntry>
<Synset id="toy-1" ili="" partOfSpeech="a"/><Synset id="toy-2" ili="" partOfSpeech="n"/>
<Synset id="toy-3" ili="" partOfSpeech="n"/>
</Lexicon></LexicalResource>
"""


def edited(transformation, text, *, seed=0, strength=1.0):
    return transform_text(transformation, text, seed=seed, example="0/responses", strength=strength)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "toy"
    lm.language_model().save_pretrained(folder)
    lm.tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.mark.integration
def test_a_model_rewrites_paragraphs_once_and_the_cache_answers_after(toy, tmp_path, monkeypatch):
    asked = []
    generate = rewriting._generate
    monkeypatch.setattr(rewriting, "_generate", lambda *arguments: asked.append(arguments[1]) or generate(*arguments))
    rewriter = paraphrase(toy, folder=tmp_path)
    once = edited(rewriter, TEXT)
    assert asked == ["The first paragraph is here.", "The third."]  # neither code nor what no tokenizer takes
    assert "```python\nx = 1\n\ny = 2\n```\n\nAnd the second one, with lone \ud83d." in once
    assert once != TEXT
    assert edited(paraphrase(toy, folder=tmp_path), TEXT) == once
    assert len(asked) == 2, "asked again for what the cache holds"
    assert edited(rewriter, TEXT, seed=1) != once
    assert len(asked) == 4
    kept = [json.loads(path.read_text()) for path in tmp_path.rglob("*.json")]
    assert {(row["text"], row["model"]) for row in kept} == {(text, toy) for text in asked}
    assert all(row["revision"] and row["prompt"] == rewriting.PARAPHRASE for row in kept)
    monkeypatch.setenv("REWARDGAP_CACHE", "none")
    assert edited(paraphrase(toy), TEXT) == once
    assert len(asked) == 6


@pytest.mark.integration
def test_an_answer_is_the_same_without_the_cache_and_another_prompt_asks_anew(toy, tmp_path):
    answers = [edited(paraphrase(toy, folder=tmp_path / str(turn)), TEXT) for turn in range(2)]
    assert answers[0] == answers[1]
    french = translation(toy, "French", folder=tmp_path / "0")
    assert french.name == "translation_french_toy"
    assert edited(french, TEXT, seed=0) == edited(french, TEXT, seed=1)  # greedy
    assert edited(french, TEXT) != answers[0]


def test_a_paragraph_whose_rewrite_loses_a_protected_span_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(rewriting, "_state", lambda *_: ("", "0"))
    monkeypatch.setattr(rewriting, "_generate", lambda _, text, seed: text.replace("is", "was").replace("12", "13"))
    rewriter = paraphrase("toy", folder=tmp_path)
    assert (
        edited(rewriter, "It is late.\n\nThere is a cat of 12 years.") == "It was late.\n\nThere is a cat of 12 years."
    )
    assert edited(rewriter, "It is late.", strength=0.0) == "It is late."


def test_a_rewriting_model_obeys_the_laws_whatever_it_answers(tmp_path, monkeypatch):
    monkeypatch.setattr(rewriting, "_state", lambda *_: ("", "0"))
    monkeypatch.setattr(rewriting, "_generate", lambda _, text, seed: text.replace("o", "0").replace("=", ":"))
    rewriter = paraphrase("toy", folder=tmp_path)
    formula = "See \\[ foo = 1\n\n+ too \\] to go."  # over a blank line
    for text in (SPECIMEN, TRICKY, formula):
        assert_drawn_alone(rewriter, text, seed=0, strength=0.5)
        for start, end, _ in protected_spans(text):
            assert edited(rewriter, text).count(text[start:end].strip()) >= text.count(text[start:end].strip())
    assert edited(rewriter, SPECIMEN) != SPECIMEN


def test_a_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="no-such"):
        edited(paraphrase(str(tmp_path / "no-such"), folder=tmp_path), TEXT)


@pytest.mark.integration
def test_wordnet_replaces_words_of_one_sense_only(tmp_path, monkeypatch):
    wn = pytest.importorskip("wn", reason="the optional extra wordnet is not installed")
    monkeypatch.setattr(wn.config, "data_directory", tmp_path / "wn")
    with pytest.raises(UserError, match="wn download"):
        wordnet_synonyms("toy:1")
    (tmp_path / "toy.xml").write_text(LEXICON)
    wn.add(tmp_path / "toy.xml", progress_handler=None)
    text = "The gauzy curtain is near the bank and the shore of a `gauzy` river."
    assert edited(wordnet_synonyms("toy:1"), text) == text.replace("gauzy c", "filmy c")
    with pytest.raises(UserError, match="oewn:2024"):
        by_name(["wordnet_synonyms"])
