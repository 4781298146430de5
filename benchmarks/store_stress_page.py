"""The example page of a stress test: pairs written here, two reward models trained here, `rewardgap stress` on both.

    python benchmarks/store_stress_page.py TEXT... [--output FOLDER]      some minutes on one core

TEXT is what the language model under both is pretrained on (`make data`: data/text/wikitext2_valid.txt). The pairs are
reviews that differ in one word: the kind one is chosen. Places are new in the test pairs; words are not, so that both
models have something to lose when a word gives way to another of the same meaning.
"""

import argparse
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

import rewardgap
from figures.redraw import STORED
from simulations.results import Row, write_rows

PLACE = STORED / "stress" / "example.html"
EDITS = ("lowercase", "typos", "filler_sentences", "synonyms", "shuffled_words", "off_topic_sentences")
TRAIN, TEST = 600, 400

PLACES = (
    *("hotel", "museum", "harbour", "library", "market", "garden", "theatre", "bakery", "castle", "cinema", "tower"),
    *("bridge", "bookshop", "gallery", "farm", "station", "aquarium", "chapel", "park", "zoo", "beach", "lighthouse"),
    *("school", "tavern", "workshop", "brewery", "vineyard", "ferry", "monastery", "playground"),
)
TOWNS = ("Ashby", "Brook", "Corley", "Dunmore", "Elton", "Farley", "Granby", "Holt", "Inver", "Kelso")
QUESTIONS = (
    "How was the {} in {}?",
    "Can you tell me about the {} in {}?",
    "I'm going to see the {} in {}. What's it like?",
    "Please write one line about the {} in {}.",
)
OPENINGS = ("I was there for 3 days.", "We went in March.", "It's a short walk.", "I don't travel much.", "")
REVIEWS = (
    "We thought that the visit was {}.",
    "It's fair to say that my guide was {}, and that is all I can say.",
    "In a word, everything about it seemed {} to us.",
    "What I remember is how {} it was on a rainy day.",
)
CLOSINGS = ("That's my view.", "Others may see it differently.", "It takes 2 hours.", "")
KIND = (
    "enjoyable",
    "clever",
    "beautiful",
    "amazing",
    "concise",
    "courageous",
    "polite",
    "reliable",
    "helpful",
    "smart",
)
UNKIND = ("boring", "costly", "dangerous", "difficult", "complicated", "rude", "careless", "wrong", "dreadful", "noisy")


def write_pairs(folder: Path) -> None:
    half = len(PLACES) // 2
    for name, places, count in (("train", PLACES[:half], TRAIN), ("test", PLACES[half:], TEST)):
        write_rows(folder / f"{name}.jsonl", reviews(places, count, seed=len(name)))


def reviews(places: Sequence[str], count: int, seed: int) -> Iterator[Row]:
    """Pairs whose responses are the same but for one word."""
    random = np.random.default_rng(seed)
    for number in range(count):
        prompt = str(random.choice(QUESTIONS)).format(random.choice(places), random.choice(TOWNS))
        parts = [str(random.choice(some)) for some in (OPENINGS, REVIEWS, CLOSINGS)]
        both = (" ".join(filter(None, parts)).format(random.choice(words)) for words in (KIND, UNKIND))
        yield {"id": f"reviews/{number}", "prompt": prompt} | dict(zip(("chosen", "rejected"), both, strict=True))


def commands(folder: Path, texts: Sequence[str]) -> Iterator[list[str]]:
    """What a reader would type; the run folders are skipped where they are finished."""
    small, train, test = (str(folder / name) for name in ("small", "train.jsonl", "test.jsonl"))
    size = ["--hidden", "64", "--layers", "2", "--steps", "600"]
    yield ["pretrain", "--architecture", "mistral", "--text", *texts, *size, "--output", small]
    for kind in ("explicit", "implicit"):
        settings = ["--learning_rate", "1e-3", "--num_train_epochs", "2", "--output", str(folder / kind)]
        yield ["train", "--kind", kind, "--model", small, "--pairs", train, *settings]
    models = [str(folder / kind) for kind in ("explicit", "implicit")]
    edits = ["--transforms", *EDITS, "--strength", "0.5", "1", "--sides", "responses", "prompt", "--train_pairs", train]
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
    PLACE.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(asked.output / "stress" / "report.html", PLACE)


if __name__ == "__main__":
    main()
