"""The example page of a stress test: pairs written here, two reward models trained here, `rewardgap stress` on both.

    python benchmarks/store_stress_page.py TEXT... [--output FOLDER]      some minutes on one core

TEXT is what the language model under both is pretrained on (`make data`: data/text/wikitext2_valid.txt). The pairs are
about manners: which of two answers to a request for help is the helpful one. Topics of test prompts are new; phrases
are not, so that both models have something to lose.
"""

import argparse
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

import rewardgap
from figures.redraw import STORED
from simulations.results import Row, write_rows

PLACE = STORED / "stress" / "example"
KEPT = ("report.html", "summary.json", "config.json", "provenance.json")
TRAIN, TEST = 600, 400

TOPICS = (
    *("boil an egg", "fold a shirt", "clean a window", "plant 12 tulips", "paint a door", "sharpen a knife"),
    *("bake bread", "mend a sock", "wash a car", "brew coffee", "train a puppy", "draw a horse", "sew on a button"),
    *("hang a picture", "learn 50 words", "polish shoes", "make 2 candles", "cook rice", "tie a bow", "wrap a gift"),
    *("build a shelf", "catch a train", "write a letter", "choose a colour", "organise a party", "fix a bicycle"),
    *("grow basil", "iron a dress", "store 30 apples", "tune a guitar", "feed a cat", "pack a bag", "move a sofa"),
    *("read a map", "plan a journey", "make a favourite soup", "light a fire", "frame a photo", "dry herbs", "swim"),
)
QUESTIONS = (
    "How do I {}?",
    "Can you tell me how to {}?",
    "What is the best way to {}?",
    "I'd like to {}. Where should I start?",
    "Please explain how to {}.",
)
HELPFUL = (
    ("Of course.", "Gladly.", "I'm happy to help.", "Sure, that's easy.", "Good question.", "With pleasure.", ""),
    (
        "Start with a clean table, take about {} minutes, and don't hurry.",
        "It isn't hard: get everything ready and work slowly for {} minutes.",
        "You'll need a quiet room; after {} minutes you will see a good result.",
        "The big secret is patience, and {} minutes are enough for a beginner.",
        "First gather your tools, then follow the {} steps that I list below.",
    ),
    ("Let me know how it goes.", "Ask again if anything is unclear.", "I hope this helps.", "You can do it.", ""),
)
DISMISSIVE = (
    ("No.", "Not now.", "Whatever.", "That's a dull question.", "I've no time for this.", "Why should I?", ""),
    (
        "Find a book yourself, waste {} minutes, and don't bother me.",
        "It isn't my problem: somebody else can lose {} minutes on it.",
        "You'd ruin the room; after {} minutes you would see a bad result.",
        "The big mistake is asking, and {} minutes are wasted on a beginner.",
        "First leave me alone, then forget the {} things that you asked before.",
    ),
    ("Stop asking.", "Go away now.", "I couldn't care less.", "Do as you like.", ""),
)


def write_pairs(folder: Path) -> None:
    half = len(TOPICS) // 2
    for name, topics, count in (("train", TOPICS[:half], TRAIN), ("test", TOPICS[half:], TEST)):
        write_rows(folder / f"{name}.jsonl", manners(topics, count, seed=len(name)))


def manners(topics: Sequence[str], count: int, seed: int) -> Iterator[Row]:
    random = np.random.default_rng(seed)
    for number in range(count):
        prompt = str(random.choice(QUESTIONS)).format(random.choice(topics))
        chosen, rejected = (_answer(phrases, random) for phrases in (HELPFUL, DISMISSIVE))
        yield {"id": f"manners/{number}", "prompt": prompt, "chosen": chosen, "rejected": rejected}


def _answer(phrases: Sequence[Sequence[str]], random: np.random.Generator) -> str:
    said = (str(random.choice(some)).format(random.integers(2, 60)) for some in phrases)
    return " ".join(phrase for phrase in said if phrase)


def commands(folder: Path, texts: Sequence[str]) -> Iterator[list[str]]:
    """What a reader would type; the run folders are skipped where they are finished."""
    small, train, test = (str(folder / name) for name in ("small", "train.jsonl", "test.jsonl"))
    size = ["--hidden", "64", "--layers", "2", "--steps", "600"]
    yield ["pretrain", "--architecture", "mistral", "--text", *texts, *size, "--output", small]
    for kind in ("explicit", "implicit"):
        settings = ["--learning_rate", "1e-3", "--num_train_epochs", "2", "--output", str(folder / kind)]
        yield ["train", "--kind", kind, "--model", small, "--pairs", train, *settings]
    models = [str(folder / kind) for kind in ("explicit", "implicit")]
    edits = ["--strength", "0.5", "1", "--sides", "responses", "prompt", "--train_pairs", train]
    yield ["stress", "--model", *models, "--pairs", test, *edits, "--output", str(folder / "stress")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", nargs="+")
    parser.add_argument("--output", type=Path, default=Path("runs/stress_page"))
    asked = parser.parse_args()
    write_pairs(asked.output)
    for command in commands(asked.output, asked.text):
        if rewardgap.main(command):
            raise SystemExit(f"failed: rewardgap {' '.join(command)}")
    PLACE.mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        shutil.copy(asked.output / "stress" / name, PLACE / name)


if __name__ == "__main__":
    main()
