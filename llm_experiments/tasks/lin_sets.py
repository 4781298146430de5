"""The sets of pairs of the study after Lin et al. (2024): what they are, their parts, and which shift lies between two.

Lin et al. train on six sets and evaluate on others. A *prompt shift* is another domain of prompts, a *response shift*
other generators of responses (paper, section 4 as summarised; which five settings its 3 % and 7 % are about is not
known). Here two sets of one domain differ in who wrote the responses: a response shift. Two sets of different domains
are a prompt shift. Both are labels for the pair of sets and hold nothing else fixed: the prompts of two sets of one
domain are different prompts, and another domain has other generators too.

Parts are by the hash of the prompt (`splits.py`) with one seed for all sets, so that a prompt that two sets share, as
Nectar does with HH-RLHF and UltraFeedback, is on the same side in both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from llm_experiments.pairs import Pair, load_pairs
from llm_experiments.splits import near_key, split_pairs
from simulations.results import UserError

Shift = Literal["in-distribution", "response shift", "prompt shift"]
SHIFTS: tuple[Shift, ...] = ("in-distribution", "response shift", "prompt shift")
Part = Literal["train", "held-out"]
SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")


@dataclass(frozen=True)
class SetOfPairs:
    """`files` lie below the data folder; without any, the set is one of named_datasets.HUB_SETS."""

    name: str
    domain: str
    responses: str
    files: tuple[str, ...] = ()


LLMBAR = ("Natural", "Adversarial_GPTInst", "Adversarial_GPTOut", "Adversarial_Manual", "Adversarial_Neighbor")
SMALL = (  # what is at hand, and not what the paper used; HH and UltraFeedback are small parts of the paper's
    SetOfPairs("HH harmless", "chat", "Anthropic's models, judged by people", ("hh_rlhf/harmless-base_test.jsonl.gz",)),
    SetOfPairs(
        "UltraFeedback",
        "instructions",
        "many models, judged by GPT-4",
        ("ultrafeedback/train_clean.jsonl.gz", "ultrafeedback/eval_clean.jsonl.gz"),
    ),
    SetOfPairs(
        "LLMBar",
        "instructions",
        "models and people, made to mislead judges",
        tuple(f"llmbar/LLMBar_{name}_dataset.json" for name in LLMBAR),
    ),
    SetOfPairs("GSM8K", "mathematics", "GPT-3, right or wrong", ("gsm8k/example_model_solutions.jsonl.gz",)),
    SetOfPairs(
        "RewardMATH",
        "mathematics",
        "one right solution to a problem, and several models' wrong ones",
        ("razin2025/rewardmath_train.jsonl", "razin2025/rewardmath_test.jsonl"),
    ),
    SetOfPairs(
        "HumanEval",
        "code",
        "people's programs, right or with a bug (RewardBench)",
        ("razin2025/rewardbench_code_train.jsonl", "razin2025/rewardbench_code_test.jsonl"),
    ),
)
PAPER = (  # the paper's six; the domains are ours, but for summaries, which its own example calls a prompt shift
    SetOfPairs("hh-rlhf", "chat", "Anthropic's models, judged by people"),
    SetOfPairs("arena", "chat", "twenty chat models, judged by visitors"),
    SetOfPairs("ultrafeedback", "chat", "seventeen models, judged by GPT-4"),
    SetOfPairs("nectar", "chat", "seven models' answers, ranked by GPT-4"),
    SetOfPairs("summarize-from-feedback", "summaries", "policies of different training, judged by people"),
    SetOfPairs("webgpt", "questions", "a browsing GPT-3, judged by people"),
)


def shift_between(train: SetOfPairs, test: SetOfPairs) -> Shift:
    if train.name == test.name:
        return "in-distribution"
    return "response shift" if train.domain == test.domain else "prompt shift"


def shifts_of(sets: Sequence[SetOfPairs]) -> dict[tuple[str, str], Shift]:
    """By names of training set and evaluation set: every cell of the grid."""
    return {(train.name, test.name): shift_between(train, test) for train in sets for test in sets}


def read_part(data: Path, one: SetOfPairs, part: Part, held_out: float) -> list[Pair]:
    """Rankable pairs whose prompt is in the part; of a held-out prompt the first pair alone, so that pairs are
    independent.

    Args:
        held_out: the share of prompts that is held out.

    Raises:
        UserError: a file is not there, or the hub has no such set.
    """
    pairs = _parts(data, one, held_out)[part]
    return pairs if part == "train" else list({near_key(pair.prompt): pair for pair in reversed(pairs)}.values())[::-1]


@lru_cache(maxsize=len(PAPER))
def _parts(data: Path, one: SetOfPairs, held_out: float) -> dict[str, list[Pair]]:
    return split_pairs(read_set(data, one), {"train": 1 - held_out, "held-out": held_out})


def read_set(data: Path, one: SetOfPairs) -> list[Pair]:
    """Of its files; of a named set the file NAME.jsonl (.jsonl.gz, .parquet) in `data`/hub, in the hub's schema, or
    else the hub's own."""
    if one.files:
        missing = [file for file in one.files if not (data / file).exists()]
        if missing:
            raise UserError(f"{data / missing[0]}: no such file; this study reads it (README, Real data)")
        return [pair for file in one.files for pair in load_pairs(data / file, bad_pairs="drop")]
    local = [path for suffix in SUFFIXES if (path := data / "hub" / f"{one.name}{suffix}").exists()]
    return list(load_pairs(local[0] if local else one.name, bad_pairs="drop"))
