"""Every transformation, and the ten of the default suite."""

from collections.abc import Sequence
from difflib import get_close_matches

from llm_experiments.stress.transformation import Transformation
from llm_experiments.stress.transforms import (
    additions,
    case,
    characters,
    code,
    contractions,
    damage,
    markdown,
    mathematics,
    numerals,
    punctuation,
    rewriting,
    spelling,
    synonyms,
    whitespace,
    wordnet,
)
from simulations.results import UserError

TRANSFORMATIONS: tuple[Transformation, ...] = (
    *case.TRANSFORMATIONS,
    *whitespace.TRANSFORMATIONS,
    *punctuation.TRANSFORMATIONS,
    *spelling.TRANSFORMATIONS,
    *contractions.TRANSFORMATIONS,
    *numerals.TRANSFORMATIONS,
    *markdown.TRANSFORMATIONS,
    *characters.TRANSFORMATIONS,
    *additions.TRANSFORMATIONS,
    *synonyms.TRANSFORMATIONS,
    *mathematics.TRANSFORMATIONS,
    *code.TRANSFORMATIONS,
    *damage.TRANSFORMATIONS,
)

# The invariances that touch most texts, one a family; and two damages: a reader of bags of words overlooks the first,
# a constant model both.
DEFAULT_SUITE: tuple[str, ...] = (
    "lowercase",
    "extra_spaces",
    "typos",
    "contractions",
    "curly_quotes",
    "markdown_added",
    "filler_sentences",
    "synonyms",
    "shuffled_words",
    "off_topic_sentences",
)


# Transformations that need more than this package; `by_name` makes them on demand.
ON_DEMAND = {
    "wordnet_synonyms": "synonyms from WordNet, by the extra rewardgap[wordnet]",
    "paraphrase:MODEL": "paraphrases by a language model",
    "translation:LANGUAGE:MODEL": "translations by a language model",
}


def by_name(names: Sequence[str], *, flag: str = "--transforms") -> list[Transformation]:
    """The transformations of these names, in the order asked for, each once; MODEL is a folder or a hub name.

    Raises:
        UserError: a name is unknown (the message has those that come close), or what it needs is not there.
    """
    known = {transformation.name: transformation for transformation in TRANSFORMATIONS}
    return [
        known[name] if name in known else _on_demand(name, [*known, *ON_DEMAND], flag) for name in dict.fromkeys(names)
    ]


def _on_demand(name: str, known: list[str], flag: str) -> Transformation:
    kind, _, rest = name.partition(":")
    if name == "wordnet_synonyms":
        return wordnet.wordnet_synonyms()
    if kind == "paraphrase" and rest:
        return rewriting.paraphrase(rest)
    if kind == "translation" and all(rest.partition(":")):
        language, _, model = rest.partition(":")
        return rewriting.translation(model, language)
    close = get_close_matches(name, known, n=3, cutoff=0.5)
    raise UserError(
        f"{flag}: {name!r} is no transformation"
        + (f"; did you mean {' or '.join(close)}?" if close else f"; there are {', '.join(known)}")
    )
