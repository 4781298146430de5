"""The stored results of the stress suite on rung 2: models of the Persona questions, in four designs.

    python benchmarks/store_stress_rung2.py NAME [FOLDER]

NAME is a design (rung2_published, rung2_one_rate, rung2) or a pilot (explicit_pilot, implicit_pilot); each needs
$REWARDGAP_DATA and ten minutes. What is expected is written in `store_stress.py`, and was the same for all designs.

On rung 2 the first run, four clusters of 80 training and 40 test prompts, told implicit and explicit apart in each, and
failed in the rest: no two explicit models were shown to be equal. 40 prompts without a single change give an interval
of +-0.047, and in one cluster the two did differ, by 0.125. The second design, chosen by explicit models alone on three
clusters that it does not use: 320 training prompts, 300 steps, 180 test prompts (there are 500), six clusters, and the
same expectations. Found (rung2_published.jsonl): told apart in six of six, by 0.43 at least; equal within 0.05 in four;
in the other two the explicit models do differ, by 0.39 and by 0.03 [0.007, 0.059].

The published training answers leave open what is to be learnt: each side has prefixes of its own, so prefix and word
decide alike, and in the paraphrase the chosen answers open with a word that opened only rejected ones. A seed may
settle that either way. The third design therefore crosses the prefixes: any of the four before any training answer, so
that the word alone decides; the paraphrase and everything else stay as published. Its rate is explicit_pilot's, which
trains two explicit models in each of six clusters that no design uses (100 to 105), with published and crossed
prefixes, at rates of 3e-3 and 1e-3. The rule, written before it ran: of the crossed designs that rank every training
pair right, the rate whose two models differ least at worst. It was written after such runs had been looked at in an
exploration of the same clusters that was not stored, so the pilot repeats a known answer; clusters 0 to 5 were in none.
Found (rung2_one_rate.jsonl): two explicit models differ by 0.0014 at most, all twelve are robust; told apart in five
clusters of six, and in the sixth the implicit model loses nothing. But at that rate implicit models are not trained:
they rank 0.79 to 0.98 of the test prompts' *training* answers right, and rung 2 calls 0.99 fit.

The fourth design gives the implicit kind a rate of its own and is the third in all else. implicit_pilot measures, in
the clusters 100 to 105, the share of test prompts whose training answers are ranked right, and no paraphrase. The rule,
written before it ran: the lowest of 1e-3, 3e-3 and 1e-2 at which all six models reach 0.99, else the rate whose worst
model is best. Expectations as above. Known before: the third design's outcome in these clusters, and that at 3e-3 two
clusters of the exploration ranked less than half of the paraphrases right. Found: 1e-2 is the only rate at which all
six reach 0.99 (worst models 0.70, 0.97, 1.00), and all that was expected holds in six clusters of six (rung2.jsonl):
told apart by 0.52 to 0.97, two explicit models different by 0.0014 at most, explicit robust, implicit token-sensitive.
The explicit pilot, at 1e-3 and 3e-3: two models differ by up to 0.05 and 0.06 with the published prefixes, by 0.007 and
0.024 with crossed ones.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from store_stress import ALIKE, CLUSTERS, PLAIN, clock, cluster_rows, data_folder, scorer, store

from llm_experiments.encoding import encode_pairs
from llm_experiments.scoring import score_pairs
from llm_experiments.tasks import persona_study
from llm_experiments.tasks.language_study import load_base
from llm_experiments.tasks.persona import EVALUATED, Condition, Question, read_personas, sample_prompts, training_pairs
from llm_experiments.tasks.stress_ladder import persona_pairs, persona_shifts
from simulations.results import Row

N_TRAIN, N_TEST, STEPS = 320, 180, 300
PILOT_CLUSTERS = range(100, 106)
TRAIN = replace(persona_study.TRAIN, max_steps=STEPS)
RATES = (1e-3, 3e-3, 1e-2)


@dataclass(frozen=True)
class Design:
    """How rung 2's models are trained: on which training answers, and at which learning rate."""

    crossed: bool
    rates: dict[str, float]


DESIGNS = {
    "rung2_published": Design(crossed=False, rates=persona_study.LEARNING_RATES),
    "rung2_one_rate": Design(crossed=True, rates={"explicit": 1e-3, "implicit": 1e-3}),
    "rung2": Design(crossed=True, rates={"explicit": 1e-3, "implicit": 1e-2}),
}


def rung_2(folder: Path, name: str) -> None:
    world, design = PersonaWorld(folder), DESIGNS[name]
    rows = []
    for cluster in range(CLUSTERS):
        train, test = world.prompts(cluster)
        shifts = persona_shifts(test, folder / f"{cluster}")
        given = world.training(train, cluster, design)
        rows += cluster_rows(2, cluster, given, persona_pairs(test), shifts, folder / f"{cluster}")
    store(name, rows)


def explicit_pilot(folder: Path) -> None:
    """Accuracy on the published paraphrase of two explicit models that differ by their seed alone."""
    designs = [Design(crossed, {"explicit": rate}) for crossed in (False, True) for rate in RATES[:2]]
    store("explicit_pilot", pilot(folder, designs, "explicit", {"paraphrase": "published"}, (0, ALIKE)))


def implicit_pilot(folder: Path) -> None:
    """Accuracy of implicit models on the training answers after test prompts."""
    designs = [Design(True, {"implicit": rate}) for rate in RATES]
    store("implicit_pilot", pilot(folder, designs, "implicit", {"training_answers": "seen"}, (0,)))


def pilot(
    folder: Path,
    designs: Sequence[Design],
    kind: str,
    measured: Mapping[str, Condition],
    seeds: Sequence[int],
) -> list[Row]:
    world = PersonaWorld(folder)
    rows: list[Row] = []
    for design, cluster in product(designs, PILOT_CLUSTERS):
        spent = clock()
        train, test = world.prompts(cluster)
        given = world.training(train, cluster, design)
        scorers = [scorer(kind, cluster + more, *given) for more in seeds]
        some = {name: encode_pairs(persona_pairs(test, condition), world.tokenizer, PLAIN)[0]
                for name, condition in measured.items()}  # fmt: skip
        found = {
            name: [float(np.mean([row["results"] for row in score_pairs(one.model, pairs)])) for one in scorers]
            for name, pairs in {"fit": given[2], **some}.items()
        }
        about = {"kind": kind, "crossed": design.crossed, "learning_rate": design.rates[kind], "cluster": cluster}
        rows.append({**about, **found, "seconds": spent()})
        print(rows[-1], flush=True)
    return rows


class PersonaWorld:
    """Rung 2's language model, made in `folder` where it is not there, its tokenizer, and the evaluated questions."""

    def __init__(self, folder: Path) -> None:
        persona = data_folder() / "persona"
        base = "mistral-all_words"
        persona_study.make_base(folder / base, persona_study.plan(persona).bases[base], data=persona)
        self.policy, self.tokenizer = load_base(str(folder / base / "model"))
        self.questions = read_personas(persona)[EVALUATED]

    def prompts(self, cluster: int) -> tuple[list[Question], list[Question]]:
        return sample_prompts(self.questions, "constant", N_TRAIN, N_TEST, cluster)

    def training(self, prompts: Sequence[Question], cluster: int, design: Design) -> tuple[Any, ...]:
        """What `scorer` wants to know after kind and seed."""
        pairs = encode_pairs(training_pairs(prompts, cluster, crossed=design.crossed), self.tokenizer, PLAIN)[0]
        return self.policy, self.tokenizer, pairs, TRAIN, design.rates, persona_study.BETA


if __name__ == "__main__":
    what, *place = sys.argv[1:] or ["help"]
    commands = {name: partial(rung_2, name=name) for name in DESIGNS}
    commands |= {"explicit_pilot": explicit_pilot, "implicit_pilot": implicit_pilot}
    if what not in commands:
        raise SystemExit(__doc__)
    commands[what](Path(place[0] if place else f"runs/store_stress/{what}"))
