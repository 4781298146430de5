"""Synonyms from WordNet, by the library `wn` (an optional extra) and a lexicon that the user has downloaded for it."""

from collections.abc import Iterator
from functools import cache, partial
from typing import Any

import numpy as np

from llm_experiments.stress.edits import ENGLISH_WORD, Edit, Place, edit_some
from llm_experiments.stress.transformation import Transformation
from llm_experiments.stress.transforms.synonyms import GATE, fits_article
from llm_experiments.stress.vocabulary import is_english
from simulations.results import UserError

LEXICON = "oewn:2024"  # Open English WordNet, CC BY 4.0


def wordnet_synonyms(lexicon: str = LEXICON) -> Transformation:
    """The transformation `wordnet_synonyms`: words of a single sense by synonyms of a single sense.

    A word of several senses is left alone, for its synonyms are those of one sense only; so are inflected forms,
    which a lexicon of base forms would replace by uninflected ones.

    Raises:
        UserError: `wn` or the lexicon is not there.
    """
    try:
        import wn
    except ImportError:
        raise UserError('wordnet_synonyms needs the library wn: pip install "rewardgap[wordnet]"') from None
    try:
        wn.Wordnet(lexicon)
    except wn.Error:
        raise UserError(
            f"wordnet_synonyms: lexicon {lexicon} is not installed; python -m wn download {lexicon}"
        ) from None
    find = partial(_substituted, lexicon=lexicon)
    return Transformation(
        "wordnet_synonyms",
        "synonyms",
        "invariance",
        partial(edit_some, find),
        GATE,
        f"words of a single sense by synonyms from WordNet ({lexicon})",
    )


def _substituted(text: str, _: np.random.Generator, *, lexicon: str) -> Iterator[Place]:
    if not is_english(text):
        return
    for match in ENGLISH_WORD.finditer(text):
        word = match[0]
        synonym = _synonym(lexicon, word) if word.islower() and len(word) > 3 else ""
        if synonym and fits_article(text, match.start(), word, synonym):
            yield (Edit(*match.span(), synonym),)


@cache
def _wordnet(lexicon: str) -> Any:
    import wn

    return wn.Wordnet(lexicon)


@cache
def _synonym(lexicon: str, word: str) -> str:
    """The first synonym, by the alphabet, of a word's only sense; empty where there is none."""
    wordnet = _wordnet(lexicon)
    senses = wordnet.senses(word)
    if len(senses) != 1 or senses[0].word().lemma() != word:
        return ""
    for lemma in sorted(senses[0].synset().lemmas()):
        if (
            lemma != word
            and lemma.isascii()
            and lemma.islower()
            and lemma.isalpha()
            and len(wordnet.senses(lemma)) == 1
        ):
            return lemma
    return ""
