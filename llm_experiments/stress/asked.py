"""Prompts that ask for the very form which an edit changes: after them the edit is none that keeps the meaning.

Found by words of the prompt, generously: a pair that is left out costs coverage.
"""

import re

# Anything in such an answer may be what was asked for.
_ANY = (
    r"json|xml|csv|yaml|regex|verbatim|word for word|exactly as|repeat after|copy|proofread|grammar|grammatical\w*"
    r"|punctuat\w*|correct (?:the|this|these|any|all) \w+|format(?:ted|ting)?"
)
_BY_FAMILY = {
    "case": (
        r"(?:upper|lower|title|camel|snake|sentence)[ -]?case\w*|capital letters?|(?:de)?capitali[sz]\w*|all caps|caps"
    ),
    "whitespace": r"white ?space|spaces?|spacing|blank lines?|line breaks?|new ?lines?|indent\w*|haiku|poem",
    "punctuation": r"commas?|hyphens?|dash(?:es)?|full stops?|semicolons?",
    "typos": r"spell\w*|misspel\w*|typos?|letters?|anagrams?|rhym\w*",
    "misspellings": r"spell\w*|misspel\w*|typos?|letters?|anagrams?|rhym\w*",
    "US/UK spelling": r"spell\w*|british|american|letters?|anagrams?",
    "contractions": r"contractions?|contracted|apostrophes?|formal(?:ly)?|informal(?:ly)?",
    "quotes": r"quotes?|quotation\w*|quoted|apostrophes?",
    "Markdown": r"markdown|bold|italics?|headings?|html|plain text|bullet\w*",
    "list style": r"markdown|bullet\w*|numbered|lists? with|html|plain text",
    "number and date formats": r"digits?|numerals?|roman|in words|spelled out|date format",
    "answer format": r"boxed",
    "filler sentences": (
        r"(?:one|single|two|three)[ -](?:word|sentence|letter|number)s?|yes or no|true or false|in \d+ words?|at most"
        r"|(?:output|answer|respond|reply|return|give me|provide|say|write|print)(?: with)? (?:only|just)"
        r"|only (?:the|one|output|answer|respond|reply|return)|(?:less|fewer|more) than \d+ \w+"
        r"|(?:do not|don't|no|without) (?:explain|explanations?|add|include|other|further|additional)"
    ),
    "synonyms": (
        r"synonyms?|antonyms?|rhym\w*|idioms?|words? (?:for|that|which|with)|vocabulary|translat\w*|paraphras\w*"
    ),
    "sentence order": r"order(?:ed)?|sort(?:ed)?|rank(?:ed)?|alphabetical\w*",
}
_PATTERNS = {family: re.compile(rf"\b(?:{_ANY}|{words})\b", re.IGNORECASE) for family, words in _BY_FAMILY.items()}


def asks_for_form(prompt: str, family: str) -> bool:
    """Does the prompt name what edits of this family change?"""
    pattern = _PATTERNS.get(family)
    return bool(pattern and pattern.search(prompt))
