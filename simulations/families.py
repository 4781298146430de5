"""Families of synthetic languages: responses of several tokens over a bag-of-context representation.

A response is a sequence of tokens. Answer words mean agree (+1) or disagree (-1); half of each are seen in training.
Two prefix tokens, a neutral one and a terminator mean nothing. Hidden states are a fixed function of prompt and prefix,

    h(x, y_<k) = prompt(x) + bag of the embeddings of y_<k + signal label(x) meaning(y_<k) s + answered(y_<k) d + noise

with meaning the mean over the answer words so far, s the semantic direction and d one that says an answer was given.
The label is +1 for every prompt (constant) or depends on the statement in it; then the same word is right for one
prompt and wrong for another, and the prompt carries its label along a direction of its own.

States after an answer word hold signal label(x) meaning s: whether the answer is right stands in them by construction,
along one direction, and a linear head can read it off however new the words are. What the families ask is what
token-level training does with such states, not whether states of a language model are like that.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from simulations.embeddings import SEEN_AGREE, SEEN_DISAGREE, UNSEEN_AGREE, UNSEEN_DISAGREE

Label = Literal["constant", "statement"]


@dataclass(frozen=True)
class FamilySettings:
    """What can be varied about a language. Lengths are those of whole vectors, whatever the dimension."""

    dim: int = 24
    words_per_group: int = 4
    fillers: int = 0  # tokens that occur in no response, only in the vocabulary
    label: Label = "constant"
    signal: float = 1.0  # of the semantic direction in states after an answer word; 0 takes correctness out of them
    noise: float = 0.5  # of what is particular to one prompt and prefix
    prompt_mean: float = 1.0  # of the direction all prompts share
    prompt_own: float = 1.0  # of what is particular to one prompt
    prompt_label: float = 1.5  # of the label's direction in the prompt, statement label only
    identity: float = 0.5  # of a word's own embedding in the bag
    anisotropy: float = 0.0  # noise, prompts and embeddings have variances rank^-anisotropy; 0 is isotropic
    zipf: float = 0.0  # words are drawn with probability rank^-zipf; 0 is uniform
    # Output rows start as the embeddings of the bag, with the words' meanings in them; tied at the start alone, since
    # training moves the rows and leaves the bag where it was. Stored results have the name.
    tied: bool = False
    saturated_terminator: bool = False  # the reference already ends every answered response with the terminator

    def __post_init__(self) -> None:
        if self.dim < 5 or self.words_per_group < 1:
            raise ValueError(
                f"a language needs at least 5 dimensions (it names 5 directions) and a word per group, got "
                f"{self.dim} and {self.words_per_group}"
            )


@dataclass(frozen=True)
class Tokens:
    """The vocabulary: four groups of answer words first, as in `simulations.embeddings`, then the others."""

    words_per_group: int
    fillers: int = 0

    def group(self, group: int) -> Int[np.ndarray, " words"]:
        return np.arange(group * self.words_per_group, (group + 1) * self.words_per_group)

    @property
    def prefixes(self) -> tuple[int, int, int]:
        """Two opposed prefixes and a neutral one."""
        first = 4 * self.words_per_group
        return first, first + 1, first + 2

    @property
    def terminator(self) -> int:
        return 4 * self.words_per_group + 3

    @property
    def size(self) -> int:
        return 4 * self.words_per_group + 4 + self.fillers

    def meaning(self) -> Float[np.ndarray, " vocabulary"]:
        """+1 for words that agree, -1 for words that disagree, 0 for the rest."""
        meaning = np.zeros(self.size)
        for group, sign in ((SEEN_AGREE, 1), (UNSEEN_AGREE, 1), (SEEN_DISAGREE, -1), (UNSEEN_DISAGREE, -1)):
            meaning[self.group(group)] = sign
        return meaning


@dataclass(frozen=True)
class Prompts:
    """Hidden states of prompts and their labels: +1 where agreeing is right."""

    hidden: Float[np.ndarray, "prompts dim"]
    label: Int[np.ndarray, " prompts"]


@dataclass(frozen=True)
class States:
    """What the reward models see. Side 0 is chosen, side 1 rejected; `hidden[..., k, :]` predicts `tokens[..., k]`."""

    tokens: Int[np.ndarray, "*runs pairs 2 tokens"]
    hidden: Float[np.ndarray, "*runs pairs 2 tokens dim"]
    final: Float[np.ndarray, "*runs pairs 2 dim"]


class Language:
    """One draw of all directions, embeddings and output rows. `rng` serves later draws of prompts and noise too."""

    def __init__(self, settings: FamilySettings, rng: np.random.Generator) -> None:
        self.settings, self.rng, self.tokens = settings, rng, Tokens(settings.words_per_group, settings.fillers)
        dim, size = settings.dim, self.tokens.size
        basis = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
        self.shared, self.semantic, self.answered, self.label, self.agree = basis[:, :5].T
        spectrum = np.arange(1, dim + 1.0) ** (-settings.anisotropy / 2)
        spread = spectrum / np.linalg.norm(spectrum)  # so that a draw has length about one
        self._colour = np.linalg.qr(rng.standard_normal((dim, dim)))[0] * spread
        self.embeddings = self._noise(size)
        if settings.tied:
            own = np.outer(self.tokens.meaning(), self.agree) + settings.identity * self.embeddings
            self.reference = own
        else:
            self.reference = self._noise(size)
        if settings.saturated_terminator:
            self.reference[self.tokens.terminator] = 12 * self.answered  # odds of e^12 against each other token

    def prompts(self, n: int, *, rotation: float = 0.0) -> Prompts:
        """`rotation` (radians) turns the directions that prompts share and that carry labels: another domain."""
        s = self.settings
        label = np.ones(n, dtype=np.int64)
        if s.label == "statement":
            label = np.where(np.arange(n) % 2 == 0, 1, -1)
        shared, towards = self._turned(self.shared, rotation), self._turned(self.label, rotation)
        hidden = s.prompt_mean * shared + s.prompt_own * self._noise(n)
        if s.label == "statement":
            hidden = hidden + s.prompt_label * label[:, None] * towards
        return Prompts(hidden, label)

    def answer_words(self, prompts: Prompts, *, seen: bool | np.ndarray, length: int = 1) -> np.ndarray:
        """Words of the right meaning (side 0) and of the wrong one (side 1): integers (prompts, 2, length).

        `seen` says for all, or per position (prompts, length), which half of the vocabulary the words are from.
        """
        n, w = len(prompts.label), self.settings.words_per_group
        weights = np.arange(1, w + 1.0) ** -self.settings.zipf
        rank = self.rng.choice(w, size=(n, 2, length), p=weights / weights.sum())
        agree = np.stack([prompts.label > 0, prompts.label < 0], axis=1)[..., None]
        seen = np.broadcast_to(np.asarray(seen), (n, length))[:, None]
        group = np.where(
            seen, np.where(agree, SEEN_AGREE, SEEN_DISAGREE), np.where(agree, UNSEEN_AGREE, UNSEEN_DISAGREE)
        )
        return group * w + rank

    def states(self, prompts: Prompts, tokens: Int[np.ndarray, "prompts 2 tokens"], *, rotation: float = 0.0) -> States:
        """Hidden states along both responses. Equal prefixes get equal states; `rotation` turns the semantic direction
        in states, not in rewards: a domain in which meaning looks different."""
        s, (n, _, length) = self.settings, tokens.shape
        before = np.zeros((n, 2, length + 1, s.dim))
        before[:, :, 1:] = np.cumsum(self.embeddings[tokens], axis=2)
        meaning, is_word = self.tokens.meaning()[tokens], self.tokens.meaning()[tokens] != 0
        words = np.zeros((n, 2, length + 1))
        words[:, :, 1:] = np.cumsum(is_word, axis=2)
        mean = np.zeros((n, 2, length + 1))
        mean[:, :, 1:] = np.cumsum(meaning, axis=2)
        mean = mean / np.maximum(words, 1)
        semantic = self._turned(self.semantic, rotation)
        states = (
            prompts.hidden[:, None, None]
            + s.identity * before / np.sqrt(np.maximum(np.arange(length + 1), 1))[:, None]
            + s.signal * prompts.label[:, None, None, None] * mean[..., None] * semantic
            + (words > 0)[..., None] * self.answered
            + s.noise * self._prefix_noise(tokens)
        )
        return States(tokens, states[:, :, :-1], states[:, :, -1])

    def _prefix_noise(self, tokens: Int[np.ndarray, "prompts 2 tokens"]) -> np.ndarray:
        n, _, length = tokens.shape
        noise = self._noise(n * 2 * (length + 1)).reshape(n, 2, length + 1, -1)
        noise[:, :, 0] = 0  # the state before any token is the prompt's
        same = np.cumprod(tokens[:, 0] == tokens[:, 1], axis=1).astype(bool)
        noise[:, 1, 1:] = np.where(same[..., None], noise[:, 0, 1:], noise[:, 1, 1:])
        return noise

    def _noise(self, n: int) -> Float[np.ndarray, "n dim"]:
        return self.rng.standard_normal((n, self.settings.dim)) @ self._colour.T

    def _turned(self, direction: Float[np.ndarray, " dim"], angle: float) -> Float[np.ndarray, " dim"]:
        """`direction` turned toward a random one at a right angle to it and to the other named directions."""
        named = np.stack([self.shared, self.semantic, self.answered, self.label, self.agree])
        other = self.rng.standard_normal(self.settings.dim)
        other -= named.T @ (named @ other)
        return np.cos(angle) * direction + np.sin(angle) * other / np.linalg.norm(other)
