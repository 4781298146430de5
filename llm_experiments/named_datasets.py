"""Preference data sets by name, and what a record of each means.

`--pairs nectar` reads Nectar from the hub; a file with records in a hub data set's own schema is known by its fields.

| name | hub id | what makes a pair |
|---|---|---|
| hh-rlhf | Anthropic/hh-rlhf | two transcripts that share all but the last turn (read by pairs.py) |
| ultrafeedback | HuggingFaceH4/ultrafeedback_binarized | the best of four answers against another (read by pairs.py) |
| arena | lmsys/chatbot_arena_conversations | one vote on two conversations |
| nectar | berkeley-nest/Nectar | two pairs of each ranking of seven answers, of four different answers |
| summarize-from-feedback | openai/summarize_from_feedback | one choice between two summaries |
| webgpt | openai/webgpt_comparisons | two answers whose scores differ |

Records of llm-blender/Unified-Feedback, which collects them, are known as well. Ties rank nothing: they are degenerate
pairs, and counted as such. So are Arena's conversations of several turns whose answers before the last differ, for
there is no common prompt.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from llm_experiments.labelled_answers import Ranked, Shape
from simulations.results import UserError


@dataclass(frozen=True)
class HubSet:
    """Where a named set is. `splits`: its own names for train and test. `files`: parquet files by split, of the hub's
    conversion of a set whose own loading script `datasets` no longer runs."""

    id: str
    splits: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


HUB_SETS = {
    "hh-rlhf": HubSet("Anthropic/hh-rlhf"),
    "arena": HubSet("lmsys/chatbot_arena_conversations"),
    "ultrafeedback": HubSet(
        "HuggingFaceH4/ultrafeedback_binarized", splits={"train": "train_prefs", "test": "test_prefs"}
    ),
    "nectar": HubSet("berkeley-nest/Nectar"),
    "summarize-from-feedback": HubSet(
        "openai/summarize_from_feedback",
        splits={"test": "validation"},
        files={split: f"comparisons/{split}/*.parquet" for split in ("train", "validation")},
    ),
    "webgpt": HubSet("openai/webgpt_comparisons", files={"train": "default/train/*.parquet"}),
}


def arena_pairs(row: Mapping[str, Any], place: str) -> Iterator[Ranked]:
    """The winner's conversation against the loser's. "tie (bothbad)" is a tie too."""
    winner = _at(row, place, "winner")
    if winner not in ("model_a", "model_b") and not winner.startswith("tie"):
        raise UserError(f'{place}: "winner": expected model_a, model_b or a tie, found {winner!r}')
    one, other = (float(winner == name) for name in ("model_a", "model_b"))
    yield _by_rating(None, row["conversation_a"], row["conversation_b"], one, other)


def nectar_pairs(row: Mapping[str, Any], place: str) -> Iterator[Ranked]:
    """Two pairs of four different answers, drawn by a hash of prompt and answer: the same ones wherever the record
    stands. All 21 pairs of a ranking would be 21 correlated ones; Unified-Feedback draws two as well."""
    prompt, ranking = _at(row, place, "prompt"), _at(row, place, "answers", kind=list)
    answers = [
        (
            _at(ranking, place, number, "answer", of="answers"),
            _at(ranking, place, number, "rank", of="answers", kind=NUMBER),
        )
        for number in range(len(ranking))
    ]
    drawn = sorted(answers, key=lambda answer: _hash(prompt, answer[0]))
    # as in HH-RLHF, the blank after the assistant's name is the answer's
    blank = " " if prompt.endswith("Assistant: ") else ""
    prompt = prompt.removesuffix(blank)
    for number in range(min(2, len(drawn) // 2)):
        (first, one), (second, other) = drawn[2 * number : 2 * number + 2]
        yield _by_rating(prompt, blank + first, blank + second, -one, -other)._replace(name=str(number))


def summary_pairs(row: Mapping[str, Any], place: str) -> Iterator[Ranked]:
    """A post (or, in the validation split, a news article too) as Stiennon et al. (2020) show it, and two summaries."""
    info = _at(row, place, "info", kind=dict)
    if info.get("post"):
        parts = (f"SUBREDDIT: r/{info.get('subreddit')}", f"TITLE: {info.get('title')}", f"POST: {info['post']}")
        prompt = "\n\n".join((*parts, "TL;DR:"))
    else:
        prompt = f"Article:\n\n{_at(row, place, 'info', 'article')}\n\nTL;DR:"
    choice = _at(row, place, "choice", kind=NUMBER)
    if choice not in (0, 1):
        raise UserError(f'{place}: "choice": expected 0 or 1, found {choice!r}')
    texts = [_at(row, place, "summaries", number, "text") for number in (0, 1)]
    yield _by_rating(prompt, *texts, 1 - choice, choice)._replace(subset="post" if info.get("post") else "article")


def webgpt_pairs(row: Mapping[str, Any], place: str) -> Iterator[Ranked]:
    """The answer with the higher score against the other; the question alone is the prompt, without the quotes."""
    texts = [_at(row, place, key) for key in ("answer_0", "answer_1")]
    scores = [_at(row, place, key, kind=NUMBER) for key in ("score_0", "score_1")]
    yield _by_rating(_at(row, place, "question", "full_text"), *texts, *scores)


def unified_pairs(row: Mapping[str, Any], place: str) -> Iterator[Ranked]:
    """The conversation with the higher rating against the other; the subset is where it comes from."""
    ratings = [_at(row, place, key, kind=NUMBER) for key in ("conv_A_rating", "conv_B_rating")]
    yield _by_rating(None, row["conv_A"], row["conv_B"], *ratings)._replace(subset=str(row.get("source", "")))


def _by_rating(prompt: Any, first: Any, second: Any, one: int | float, other: int | float) -> Ranked:
    chosen, rejected = (second, first) if other > one else (first, second)
    return Ranked("", "", prompt, chosen, rejected, TIED if one == other else "")


def _at(row: Any, place: str, *path: Any, kind: Any = str, of: str = "") -> Any:
    """What stands at `path` below a record's (or, with `of`, that field's) value."""
    name = ".".join(map(str, (of, *path) if of else path))
    for key in path:
        try:
            row = row[key]
        except (KeyError, IndexError, TypeError):
            raise UserError(f'{place}: "{name}" is missing') from None
    if not isinstance(row, kind) or isinstance(row, bool):
        wanted = {str: "text", NUMBER: "a number", list: "a list", dict: "an object"}[kind]
        raise UserError(f'{place}: "{name}": expected {wanted}, found {type(row).__name__}')
    return row


def _hash(*texts: str) -> bytes:
    return blake2b("\0".join(texts).encode("utf-8", "surrogatepass"), digest_size=8).digest()


NUMBER = (int, float)
TIED = "the two are tied"


def _has(*fields: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda row: row.keys() >= set(fields)


SHAPES: tuple[Shape, ...] = (
    (_has("conversation_a", "conversation_b", "winner"), arena_pairs, "winner"),
    (_has("prompt", "answers", "num_responses"), nectar_pairs, "answers"),
    (_has("info", "summaries", "choice"), summary_pairs, "choice"),
    (_has("question", "answer_0", "answer_1", "score_0", "score_1"), webgpt_pairs, "score_0"),
    (_has("conv_A", "conv_B", "conv_A_rating", "conv_B_rating"), unified_pairs, "conv_A_rating"),
)
