"""The synonym language under named shifts: held-out pairs that differ from the training pairs in one thing or several.

A prompt is another one by its trait, a response by its prefix and its answer word. All of these words were in the texts
of pretraining; unseen are words that no preference pair has shown. Sets are drawn with the same random numbers, so that
two of them differ in what their names say and in nothing else.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from llm_experiments.pairs import Pair
from llm_experiments.tasks.language import Label, Language, Split

FACTORIAL = ("none", "prompts", "responses", "both")

Sets = dict[str, list[Pair]]


def factorial_pairs(language: Language, split: Split, label: Label, n_train: int, seed: int) -> Sets:
    """`train`, as rung 1 has it, and four held-out sets: unseen words in neither, in prompts, in responses, in both."""
    new = language.pairs(split, label, n_train, seed)
    old = language.pairs(replace(split, unseen_traits=split.seen_traits), label, n_train, seed)
    return {
        "train": new["train"],
        "none": old["seen_forms"],
        "prompts": new["seen_forms"],
        "responses": old["unseen_forms"],
        "both": new["unseen_forms"],
    }


def shifted_pairs(language: Language, split: Split, label: Label, n_train: int, seed: int) -> Sets:
    """The factorial, and parts of it: `prefixes` or `words` of the response alone; `no_prefix`, and `word_first`, which
    puts the word before the prefix as no text of pretraining does, in seen words."""
    sets = factorial_pairs(language, split, label, n_train, seed)
    seen = replace(split, unseen_traits=split.seen_traits)
    words = replace(seen, unseen_prefixes=split.seen_prefixes)
    prefixes = replace(seen, unseen_agree=split.seen_agree, unseen_disagree=split.seen_disagree)
    return sets | {
        "prefixes": language.pairs(prefixes, label, n_train, seed)["unseen_forms"],
        "words": language.pairs(words, label, n_train, seed)["unseen_forms"],
        "no_prefix": _responses(sets["none"], lambda prefix, word: [word]),
        "word_first": _responses(sets["none"], lambda prefix, word: [word, prefix]),
    }


def marked_pairs(language: Language, split: Split, label: Label, n_train: int, seed: int) -> Sets:
    """Chosen responses open with one half of the seen prefixes and rejected ones with the other, as in the published
    Persona study; held-out sets keep that (`none`, `prompts`, `words`), swap the halves, or give both one prefix."""
    sets = shifted_pairs(language, split, label, n_train, seed)
    half = len(split.seen_prefixes) // 2
    first, second = split.seen_prefixes[:half], split.seen_prefixes[half:]
    return {
        "train": _opened(sets["train"], first, second),
        "none": _opened(sets["none"], first, second),
        "prompts": _opened(sets["prompts"], first, second),
        "words": _opened(sets["words"], first, second),
        "swapped_prefixes": _opened(sets["none"], second, first),
        "words_swapped_prefixes": _opened(sets["words"], second, first),
        "one_prefix": sets["none"],
        "words_one_prefix": sets["words"],
        "no_prefix": sets["no_prefix"],
    }


def _opened(pairs: Sequence[Pair], chosen: Sequence[str], rejected: Sequence[str]) -> list[Pair]:
    """The prefixes of either side in turn; the second list is gone through at another pace."""
    made = []
    for number, pair in enumerate(pairs):
        prefixes = chosen[number % len(chosen)], rejected[number * 5 % len(rejected)]
        words = (response.split()[-1] for response in (pair.chosen, pair.rejected))
        both = (f" {prefix} {word}" for prefix, word in zip(prefixes, words, strict=True))
        made.append(replace(pair, **dict(zip(("chosen", "rejected"), both, strict=True))))
    return made


def _responses(pairs: Sequence[Pair], change: Callable[[str, str], list[str]]) -> list[Pair]:
    """Both responses from prefix and word."""
    return [
        replace(
            pair,
            chosen=f" {' '.join(change(*pair.chosen.split()))}",
            rejected=f" {' '.join(change(*pair.rejected.split()))}",
        )
        for pair in pairs
    ]
