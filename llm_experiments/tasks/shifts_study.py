"""Prompt shift x response shift on the synonym language: does the gap between the kinds add up or compound? (rung 1)

Prompts with traits that the training pairs showed, or others; responses with prefixes and answer words that they
showed, or others; all four combinations, for the same trained models. The gap is explicit minus implicit accuracy, and

    interaction = gap(both) - gap(prompts) - gap(responses) + gap(none)

is zero where shifts add, positive where they compound, negative where one hides what the other would cost. Two scales:
accuracy, and log-odds with half a pair added to either side, where all right is ln(2n + 1) and no more.

Neither scale is free of its ends. Explicit models are near 1 everywhere, and of an implicit model nothing is left to
lose where it guesses: with the label by the statement no gap exceeds one half for long, and a second shift then has to
look as if it were hidden. So there are arms off the ends: fewer training pairs (new prompts are harder), a tied output
layer and a terminator (new words are easier); and the *share kept*,

    skill(both) skill(none) - skill(prompts) skill(responses)        skill = 2 accuracy - 1, of implicit models

which is zero if a shift of the prompts leaves the same share of an implicit model's skill whatever the words are.

Expected, written before the first run. Untied, without terminator, new words alone cost an implicit model nearly half
(gap at least 0.3 in all three such arms), whatever the prompts. So nothing compounds: the interaction of accuracies is
at most 0.05 in every arm, and clearly negative where new prompts alone cost something (24 pairs, untied).

Found: nothing compounds (interactions of accuracies 0.004 [-0.014, 0.021] with 96 pairs, at most 0.009 in any arm), and
nothing hides either: new traits are hardly a shift for these models, which fall behind on new pairs in seen words as
much as on new prompts (with 24 pairs by 0.238 and 0.229). The expectation that new prompts alone cost something, and
the clearly negative interaction that was to follow, were wrong (-0.003 [-0.014, 0.008]). Where prompts do cost, shifts
do not add: the interaction is -0.73 [-0.84, -0.63] at the far end of rung 0 and -0.28 [-0.39, -0.17] for the Persona
questions with the label by the prompt, where explicit models lose to new prompts what implicit ones had lost already.

Rungs 0 and 2 need no run of this study: rung 0 is `rewardgap simulate shift_grid`, and the Persona study's rows hold
the same four cells (`shift_claims.persona_factorial`). The figure `combined_shifts` shows all three.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_experiments.cells import Plan
from llm_experiments.encoding import encode_pairs
from llm_experiments.settings import EncodingSettings
from llm_experiments.tasks import language_study
from llm_experiments.tasks.language import Language
from llm_experiments.tasks.language_study import load_base, make_base, spread_clusters
from llm_experiments.tasks.shift_claims import shift_claims
from llm_experiments.tasks.shifted_pairs import factorial_pairs
from simulations.results import Claim, Row

__all__ = ["claims", "compute_cell", "make_base", "plan"]


@dataclass(frozen=True)
class Arm:
    """One way of training. A cluster is a split of the words over a language model, with a training seed of its own."""

    name: str
    n_train: int
    tied: bool = False
    terminator: bool = False
    clusters: tuple[int, ...] = tuple(spread_clusters(12))  # of rung 1's registered condition


ARMS = (
    Arm("96-pairs", 96),
    Arm("48-pairs", 48),
    Arm("24-pairs", 24),
    Arm("24-pairs-tied", 24, tied=True, clusters=tuple(range(6))),  # one language model, as in rung 1
    Arm("24-pairs-terminator", 24, terminator=True, clusters=tuple(spread_clusters(6))),
)


def plan(data: None = None, *, quick: bool = False) -> Plan:
    """Every arm in every cluster, from rung 1's language models and with its settings."""
    rung1 = language_study.plan(quick=quick)
    bases: dict[str, Row] = {}
    cells: dict[str, Row] = {}
    for arm in ARMS[:1] if quick else ARMS:
        for cluster in [0] if quick else arm.clusters:
            cell = rung1.cells[f"registered/statement-{cluster:02d}"]
            base = cell["base"].replace("untied", "tied") if arm.tied else cell["base"]
            bases[base] = _tied(rung1.bases[cell["base"]]) if arm.tied else rung1.bases[cell["base"]]
            about = {"cell": arm.name, "n_train": arm.n_train, "tied": arm.tied, "terminator": arm.terminator}
            cells[f"{arm.name}/{cluster:02d}"] = cell | about | {"base": base}
    return Plan(bases, cells)


def _tied(base: Row) -> Row:
    return base | {"settings": base["settings"] | {"tied": True}}


def compute_cell(folder: Path, config: Mapping[str, Any], *, data: None = None) -> None:
    """Train both kinds on the same pairs and score the four combinations."""
    policy, tokenizer = load_base(str(folder.parents[1] / "models" / config["base"] / "model"))
    language = Language(**config["language"])
    split = language.split(config["forms"], config["seed"])
    pairs = factorial_pairs(language, split, config["label"], config["n_train"], config["cluster"])
    encoding = EncodingSettings(terminator="ensure" if config["terminator"] else "strip", max_length=0)
    encoded = {name: encode_pairs(some, tokenizer, encoding)[0] for name, some in pairs.items()}
    language_study.train_and_score(folder, config, policy, encoded, encoded["train"])


def claims(folder: Path, plan: Plan) -> tuple[list[Claim], list[str]]:
    return shift_claims(plan.gather(folder))
