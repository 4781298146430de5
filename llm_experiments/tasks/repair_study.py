"""Does augmentation, or a consistency regulariser, stop an implicit model from reading tokens? (rung 1)

The synonym language of rung 1, untied Mistral, label by the statement: an implicit model ranks held-out prompts right
with words it was trained on, and guesses with others of the same meaning; an explicit one ranks both. Here every
training pair is given copies in which the two answer words are swapped for synonyms. What an arm means depends on whose
words these are:

    none               no copies: rung 1's own clusters
    seen               words of the training pairs themselves: variety without a new word
    third              one group of words that is neither trained on otherwise nor evaluated: what one has in practice
    many               all such groups (four): more of the same
    third-consistency  `third`, and the margins of a pair and its copy are drawn together (weight 1, not tuned)
    evaluated          the evaluated words. No repair: it shows the test's words in training. An upper limit

All arms take the same number of steps; the copies' arms therefore see each pair less often.

Expected, written before the first run. In an untied model without terminator the answer's word is read by the output
layer alone, and training moves the rows of the words it shows; what any number of other words teach reaches the
evaluated ones through the state before them only, which their unaligned rows read at random. So: copies in seen or
third words, few or many, with or without the regulariser, change the implicit model's accuracy on unseen words by less
than 0.2 (less than half of the gap); the evaluated words raise it by more than 0.2; and an explicit model loses no more
than 0.05 to copies or regulariser. Should an interval of `third`, `many` or `third-consistency` lie above zero, then
the repair helps, if only by so much: the note says so.

Six clusters: each split of the words once, over rung 1's four language models, with rung 1's training seeds.

Found: no copies in other words, with or without the regulariser, are shown to raise the implicit model; the evaluated
words close 95 % of the gap; the explicit model loses nothing. That the change is less than 0.2 is shown of `seen` and
`many`, and undecided of `third` (up to 0.203) and `third-consistency` (up to 0.253). What had not been thought of: in a
hundred steps four of six implicit models of `many`, and one of `third`, rank less than 0.9 of their own training pairs
right; `many` therefore says little. The stored run took its four language models from an earlier run of rung 1, where
two runs had made the same ones to the last bit.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llm_experiments.augmentation import augment
from llm_experiments.cells import Plan
from llm_experiments.pairs import Pair
from llm_experiments.stress.shifts import CHANGED, Shift, Shifted
from llm_experiments.stress.sides import with_words, words_of
from llm_experiments.tasks import language_study
from llm_experiments.tasks.language import Language
from llm_experiments.tasks.language_study import load_base, make_base
from simulations.interval_claims import interval_claim
from simulations.results import Claim, Row
from simulations.statistics import crossed_interval, sign_flip_test

__all__ = ["claims", "compute_cell", "make_base", "plan"]

BOTH = ("explicit", "implicit")
ARMS = {  # whose words, which kinds, weight of the regulariser
    "none": ((), BOTH, 0.0),
    "seen": ("seen", ("implicit",), 0.0),
    "third": ("third", BOTH, 0.0),
    "many": ("many", ("implicit",), 0.0),
    "third-consistency": ("third", BOTH, 1.0),
    "evaluated": ("evaluated", ("implicit",), 0.0),
}
CLUSTERS = 6
MODELS = 4
HALF_THE_GAP = 0.2
LITTLE = 0.05
EXPECTED = {  # change of accuracy on unseen words against `none`, by arm and kind
    **{
        (arm, "implicit"): ("within", (-HALF_THE_GAP, HALF_THE_GAP)) for arm in ARMS if arm not in ("none", "evaluated")
    },
    ("evaluated", "implicit"): (">=", HALF_THE_GAP),
    ("third", "explicit"): (">=", -LITTLE),
    ("third-consistency", "explicit"): (">=", -LITTLE),
}
WORDS = {
    "none": "no augmentation",
    "seen": "copies in other training words",
    "third": "copies in words neither trained nor evaluated",
    "many": "copies in four groups of such words",
    "third-consistency": "the same copies, and the regulariser",
    "evaluated": "copies in the evaluated words: an upper limit, no repair",
}


def plan(data: None = None, *, quick: bool = False) -> Plan:
    """Every arm in every cluster; a quick one has three groups of words, so that there is a third."""
    rung1 = language_study.plan(quick=quick)
    bases: dict[str, Row] = {}
    cells: dict[str, Row] = {}
    for cluster in range(1 if quick else CLUSTERS):
        groups = 3 if quick else Language().groups
        number = cluster % MODELS * groups + cluster % groups
        cell = rung1.cells[f"registered/statement-{number:02d}"]
        world = cell["language"] | {"groups": groups}
        bases[cell["base"]] = rung1.bases[cell["base"]] | {"language": world}
        for arm, (words, kinds, weight) in ARMS.items():
            cells[f"{arm}/{cluster}"] = cell | {
                "cell": arm,
                "language": world,
                "words": words,
                "consistency": weight,
                "learning_rates": {kind: cell["learning_rates"][kind] for kind in kinds},
            }
    return Plan(bases, cells)


def compute_cell(folder: Path, config: Mapping[str, Any], *, data: None = None) -> None:
    """Train the arm's kinds on the pairs and their copies, and score every split."""
    policy, tokenizer = load_base(str(folder.parents[1] / "models" / config["base"] / "model"))
    pairs, encoded, encoding = language_study.encoded_pairs(config, tokenizer)
    shifts = synonym_shifts(config)
    train = augment(pairs["train"], encoded["train"], shifts, tokenizer, encoding)
    language_study.train_and_score(
        folder, config, policy, encoded, train.pairs, consistency=train.consistency(config["consistency"])
    )


def synonym_shifts(config: Mapping[str, Any]) -> list[Shift]:
    """One edit per group of words: each answer word seen in training becomes a certain other word of its class."""
    language, forms, seed = Language(**config["language"]), config["forms"], config["seed"]
    groups = {"seen": [0], "evaluated": [1], "third": [2], "many": range(2, language.groups)}
    mine, random = language.split(forms, seed), np.random.default_rng([config["cluster"], 7])
    shifts = []
    for distance in groups[config["words"]] if config["words"] else ():
        other = language.split((forms + distance) % language.groups, seed)
        swaps: dict[str, str] = {}
        for old, new in ((mine.seen_agree, other.seen_agree), (mine.seen_disagree, other.seen_disagree)):
            turn = int(random.integers(1, len(new)))  # a rotation has no word of its own to stay with
            swaps |= dict(zip(old, (*new[turn:], *new[:turn]), strict=True))
        shifts.append(_swap(f"group+{distance}", swaps))
    return shifts


def _swap(name: str, swaps: Mapping[str, str]) -> Shift:
    def change(pair: Pair) -> Shifted:
        for side in ("chosen", "rejected"):
            words = [swaps.get(word, word) for word in words_of(pair, side).split(" ")]
            pair = with_words(pair, side, " ".join(words))
        return Shifted(pair, CHANGED)

    return Shift(name, "synonyms", "invariance", 1.0, "responses", "answer words become others of their class", change)


def claims(folder: Path, plan: Plan) -> tuple[list[Claim], list[str]]:
    return repair_claims(plan.gather(folder))


def repair_claims(rows: Sequence[Row]) -> tuple[list[Claim], list[str]]:
    """Accuracy on unseen words by arm and kind, its change against `none` cluster by cluster, and how much of the gap
    between the kinds the change is."""
    found = {
        (arm, kind): {row["cluster"]: row for row in rows if _about(row) == (arm, kind, "unseen_forms")}
        for arm, (_, kinds, _) in ARMS.items()
        for kind in kinds
    }
    before = {kind: found["none", kind] for kind in BOTH}
    gap = np.mean([before["explicit"][c]["accuracy"] - row["accuracy"] for c, row in before["implicit"].items()])
    made, notes = (
        [],
        [f"Repair: without copies the implicit model is {gap:.3f} behind the explicit one on unseen words."],
    )
    for (arm, kind), mine in found.items():
        where = f"{kind}, unseen words of the same meaning ({WORDS[arm]})"
        accuracies = [row["accuracy"] for row in mine.values()]
        made.append(_claim(f"{arm}/{kind}", where, accuracies, list(mine.values())))
        if arm == "none":
            continue
        changes = [row["accuracy"] - before[kind][cluster]["accuracy"] for cluster, row in mine.items()]
        p = sign_flip_test(changes)
        statement = f"{where}: change against no augmentation (exact sign-flip p = {p:.3f})"
        claim = _claim(f"{arm}/{kind}/change", statement, changes, list(mine.values()), *EXPECTED[arm, kind])
        made.append(claim)
        if kind == "implicit":
            verdict = "raises" if claim.low > 0 else "lowers" if claim.high < 0 else "is not shown to change"
            share = " to ".join(f"{value / gap:.0%}" for value in (claim.low, claim.high))
            fits = [row["accuracy"] for row in rows if _about(row) == (arm, kind, "train")]
            notes.append(
                f"Repair: {WORDS[arm]}: {verdict} the implicit model's accuracy there; {claim.measured / gap:.0%} of "
                f"the gap ({share}). Of the original training pairs {min(fits):.2f} to {max(fits):.2f} are learnt."
            )
    return made, notes


def _about(row: Row) -> tuple[str, str, str]:
    return row["cell"], row["kind"], row["split"]


def _claim(
    id: str, statement: str, values: Sequence[float], rows: Sequence[Row], op: Any = "none", value: Any = None
) -> Claim:
    interval = crossed_interval(values, [row["forms"] for row in rows], [row["seed"] for row in rows])
    return interval_claim(
        f"repair/{id}",
        statement,
        interval,
        rung=1,
        op=op,
        value=value,
        kind=rows[0]["kind"],
        model="Mistral, untied",
        split="unseen_forms",
    )
