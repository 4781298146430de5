"""The graded synonym language: a world in which the true reward of any response is known.

A response is one word per attribute, in order, and every grade of an attribute has many words that mean the same.
Warmth is always welcome; of the other attributes a prompt wishes either much or little:

    name03 wants much2 ? warm2.03 bold1.07 brief0.06 warm:2 met2 bold:1 met1 brief:0 met0
    name07 wants little5 ? warm2.00 bold1.02 brief0.01
    name07 wants little5 scant1                          plain talk, which teaches what wishes mean

After most responses a text says of each attribute its grade and how well that meets the wish, never which word it was;
so a language model trained on such texts knows what words and wishes mean. Which attribute matters how much no text
says: only preferences do. Texts answer whatever was wished, so a language model itself prefers nothing.

The true reward is the weighted sum over attributes of how well they meet the wish, from -1 to 1 each. A model that
does not read the prompt gets no further than warmth. A response of any other form is worth 1 less than the worst one
of the right form.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from llm_experiments.pairs import Pair

ATTRIBUTES = ("warm", "bold", "brief")
LITTLE, MUCH = WISHES = ("little", "much")


@dataclass(frozen=True)
class GradedLanguage:
    """Sizes and habits of the language; `weights` say how much each attribute counts in the true reward."""

    grades: int = 3
    words: int = 8  # per attribute and grade
    wishes: int = 6  # words per direction
    names: int = 48
    plain: float = 0.3  # share of texts without a response
    ending: float = 0.2  # share of responses that end the text
    weights: tuple[float, float, float] = (1.0, 0.75, 0.5)

    def grade_words(self, attribute: str, grade: int) -> tuple[str, ...]:
        return tuple(f"{attribute}{grade}.{number:02d}" for number in range(self.words))

    def documents(self, count: int, seed: int) -> list[str]:
        """Texts to pretrain on; every grade and every word is equally frequent in expectation."""
        random = np.random.default_rng([seed, 0])
        texts = []
        for prompt in self._prompts(count, random):
            if random.random() < self.plain:
                said = "plenty" if MUCH in prompt else "scant"
                texts.append(f"{prompt.removesuffix('?')}{said}{random.integers(2)}")
                continue
            response = self.response(random)
            text = f"{prompt} {response}"
            if random.random() >= self.ending:
                met, grades = self._met(prompt, response), self._grades(response)
                for attribute, grade, m in zip(ATTRIBUTES, grades, met, strict=True):
                    text += f" {attribute}:{grade} met{m}"
            texts.append(text)
        return texts

    def prompts(self, count: int, seed: int) -> list[str]:
        """Different prompts, in random order."""
        random, found = np.random.default_rng([seed, 1]), dict[str, None]()
        while len(found) < count:
            found |= dict.fromkeys(self._prompts(count - len(found), random))
        return list(found)

    def halves(self, seed: int) -> tuple[frozenset[str], frozenset[str]]:
        """The words of responses, halved at random within each attribute and grade: seen in preferences, and not."""
        random = np.random.default_rng([seed, 2])
        seen: set[str] = set()
        for attribute, grade in product(ATTRIBUTES, range(self.grades)):
            seen |= set(random.permutation(self.grade_words(attribute, grade))[: self.words // 2].tolist())
        return frozenset(seen), frozenset(self._places) - seen

    def response(self, random: np.random.Generator, words: frozenset[str] | None = None) -> str:
        """A response of the right form, every grade as likely as another; of `words` only, if given."""
        chosen = []
        for attribute in ATTRIBUTES:
            some = self.grade_words(attribute, int(random.integers(self.grades)))
            some = tuple(word for word in some if words is None or word in words)
            chosen.append(some[random.integers(len(some))])
        return " ".join(chosen)

    def pairs(self, name: str, prompts: Sequence[str], words: frozenset[str], count: int, seed: int) -> list[Pair]:
        """Pairs of responses in `words` to `prompts` in turn; the one with the higher true reward is chosen, and two
        of equal reward are drawn again."""
        random, pairs = np.random.default_rng([seed, 3]), []
        while len(pairs) < count:
            prompt = prompts[len(pairs) % len(prompts)]
            some = [self.response(random, words) for _ in range(2)]
            worse, better = sorted(some, key=lambda response: self.true_reward(prompt, response))
            if self.true_reward(prompt, worse) < self.true_reward(prompt, better):
                pairs.append(Pair(f"{name}/{len(pairs)}", "", prompt, f" {better}", f" {worse}"))
        return pairs

    @property
    def best_reward(self) -> float:
        return sum(self.weights)

    @property
    def ill_formed_reward(self) -> float:
        return -self.best_reward - 1

    def is_well_formed(self, response: str) -> bool:
        """One word of every attribute, in order, and nothing else."""
        places = [self._places.get(word, ("", 0))[0] for word in response.split(" ")]
        return places == list(ATTRIBUTES)

    def true_reward(self, prompt: str, response: str) -> float:
        """Of any response, its words separated by single blanks, to a prompt of this language."""
        if not self.is_well_formed(response):
            return self.ill_formed_reward
        met = self._met(prompt, response)
        return sum(weight * (2 * m / (self.grades - 1) - 1) for weight, m in zip(self.weights, met, strict=True))

    def _met(self, prompt: str, response: str) -> list[int]:
        """Per attribute how well the wish is met, 0 to grades - 1."""
        warmth, *others = self._grades(response)
        return [warmth, *(others if MUCH in prompt else [self.grades - 1 - grade for grade in others])]

    def _grades(self, response: str) -> list[int]:
        return [self._places[word][1] for word in response.split(" ")]

    def _prompts(self, count: int, random: np.random.Generator) -> list[str]:
        """Any number of prompts, drawn independently."""
        draws = (random.integers(size, size=count) for size in (self.names, len(WISHES), self.wishes))
        return [f"name{name:02d} wants {WISHES[way]}{word} ?" for name, way, word in zip(*draws, strict=True)]

    @cached_property
    def _places(self) -> dict[str, tuple[str, int]]:
        """Attribute and grade of every word that a response can have."""
        every = product(ATTRIBUTES, range(self.grades))
        return {word: (attribute, grade) for attribute, grade in every for word in self.grade_words(attribute, grade)}
