"""Rung 1: explicit and implicit reward models on the synonym language, on words seen in training and on others.

Claims were registered before the runs; their thresholds are never moved. What may be chosen freely is chosen by the
fit of *training* pairs alone: `pilot.py` tries learning rates on a language model that no claim uses, and says by which
rule the rates below follow. No rule looks at unseen
words; what had been seen of them before is in the changelog. The pilot's table is `figures/data/pilot.jsonl`.

The unit of evidence is the cluster: a split of the words, a language model's pretraining seed, and a training seed of
its own (head, order and choice of pairs). Within a cluster all prompts share one sign, so prompts are not counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from llm_experiments.augmentation import Consistency
from llm_experiments.baselines import bag_of_tokens_accuracy
from llm_experiments.cells import Plan
from llm_experiments.encoding import EncodedPair, encode_pairs
from llm_experiments.pairs import Pair
from llm_experiments.settings import EncodingSettings, PretrainSettings, TrainSettings
from llm_experiments.tasks.language import LABELS, Label, Language
from llm_experiments.tasks.language_claims import language_claims, language_notes
from simulations.results import Claim, Row, read_json, write_json, write_rows
from theory.preferences import bradley_terry_loss

BETA = 0.1
TRAIN = TrainSettings(
    max_steps=100, per_device_train_batch_size=16, lr_scheduler_type="linear", max_grad_norm=1.0, logging_steps=50
)
LEARNING_RATES = {  # by what is trained and kind; from pilot.py
    "all": {"explicit": 3e-3, "implicit": 3e-3},
    # Explicit: from the pilot at a constant rate; with the linear schedule 1e-1 fits as little (0.675 against 0.682
    # nats on the statement label, where ln 2 is chance). Head-only models carry observations only.
    "head": {"explicit": 3e-2, "implicit": 3e-1},
}
PRETRAIN = PretrainSettings(
    hidden=64, layers=2, heads=4, tokenizer="word", block=32, max_positions=64, steps=800, batch_size=64
)
DOCUMENTS = 30_000
ABOUT = ("cell", "label", "architecture", "tied", "trained", "terminator", "n_train", "answers", "cluster", "forms")
N_TRAIN = 96  # every seen word in four pairs


@dataclass(frozen=True)
class Condition:
    """One row of the table; the defaults are what the registered claims are about."""

    name: str = "registered"
    architecture: str = "mistral"
    tied: bool = False
    trained: str = "all"
    terminator: bool = False
    n_train: int = N_TRAIN
    answers: str = "independent"  # of the statement, in the texts of pretraining; or predictable from it
    labels: tuple[Label, ...] = LABELS
    clusters: int = 6

    def base(self, seed: int) -> str:
        """Name of the language model it starts from."""
        return f"{self.architecture}-{'tied' if self.tied else 'untied'}-{self.answers}-{seed}"


CONDITIONS = (
    Condition(clusters=24),
    Condition("mistral-tied", tied=True),
    Condition("gemma2-untied", architecture="gemma2"),
    Condition("gemma2-tied", architecture="gemma2", tied=True),
    Condition("predictable-answers", answers="predictable", labels=("statement",)),
    Condition("head-only", trained="head"),
    Condition("terminator", terminator=True),
    Condition("48-pairs", n_train=48, labels=("statement",)),
    Condition("288-pairs", n_train=288, labels=("statement",)),
)
QUICK = (Condition(clusters=1),)


def plan(data: None = None, *, quick: bool = False) -> Plan:
    """Language models and cells by folder name; no data files are needed."""
    language = Language(groups=2, words=8, traits=16) if quick else Language()
    pretrain = PRETRAIN if not quick else PretrainSettings(**{**asdict(PRETRAIN), "steps": 300})
    bases: dict[str, Row] = {}
    cells: dict[str, Row] = {}
    for condition in QUICK if quick else CONDITIONS:
        world = {**asdict(language), "predictable": 0.9 if condition.answers == "predictable" else 0.5}
        for cluster in range(condition.clusters):
            seed, forms = divmod(cluster, language.groups)
            base = condition.base(seed)
            bases[base] = {
                "architecture": condition.architecture,
                "language": world,
                "documents": DOCUMENTS,
                "settings": asdict(pretrain) | {"tied": condition.tied, "seed": seed},
            }
            for label in condition.labels:
                name = f"{condition.name}/{label}-{cluster:02d}"
                about = {k: v for k, v in asdict(condition).items() if k not in ("name", "labels", "clusters")}
                cells[name] = {
                    "cell": condition.name,
                    "label": label,
                    **about,
                    "cluster": cluster,
                    "forms": forms,
                    "seed": seed,
                    "base": base,
                    "language": world,
                    "training": asdict(TRAIN) | {"seed": cluster, "trainable": condition.trained},
                    "learning_rates": LEARNING_RATES[condition.trained],
                    "beta": BETA,
                }
    return Plan(bases, cells)


def spread_clusters(count: int, models: int = 4) -> list[int]:
    """Numbers of `count` (12 at most) of the registered condition's clusters, from one to the next another language
    model and another split of the words: of few clusters neither may have two levels only."""
    groups = Language().groups
    return [place % models * groups + place % groups for place in range(count)]


def claims(folder: Path, plan: Plan) -> tuple[list[Claim], list[str]]:
    """Claims and notes of a finished study."""
    rows = plan.gather(folder)
    alignment = {name: read_json(folder / "models" / name / "alignment.json") for name in plan.bases}
    return language_claims(rows, alignment), language_notes(rows)


def make_base(folder: Path, config: Mapping[str, Any], *, data: None = None) -> None:
    """Pretrain one language model, and measure how alike the rows of synonyms are in its output layer."""
    from llm_experiments.pretraining import pretrain

    language, settings = Language(**config["language"]), PretrainSettings(**config["settings"])
    documents = language.documents(config["documents"], settings.seed)
    pretrain(documents, config["architecture"], folder / "model", settings, progress=False)
    policy, tokenizer = load_base(str(folder / "model"))
    write_json(folder / "alignment.json", row_alignment(policy, tokenizer, language))


def row_alignment(policy: Any, tokenizer: Any, language: Language) -> Row:
    """Mean cosine between output rows of two answer words, centred: of one class (`within`) and of two (`between`)."""
    rows = policy.get_output_embeddings().weight.detach()
    words = [tokenizer.convert_tokens_to_ids(list(language.answers(agree=agree))) for agree in (True, False)]
    rows = torch.cat([rows[ids] for ids in words]).double()
    rows = torch.nn.functional.normalize(rows - rows.mean(0), dim=1)
    cosines, half = rows @ rows.T, len(words[0])
    within = (cosines[:half, :half].sum() + cosines[half:, half:].sum() - 2 * half) / (2 * half * (half - 1))
    return {"within": float(within), "between": float(cosines[:half, half:].mean())}


def compute_cell(folder: Path, config: Mapping[str, Any], *, data: None = None) -> None:
    """Train both kinds on the same pairs, score every split, keep every pair's scores."""
    policy, tokenizer = load_base(str(folder.parents[1] / "models" / config["base"] / "model"))
    _, encoded, _ = encoded_pairs(config, tokenizer)
    train_and_score(folder, config, policy, encoded, encoded["train"])


def encoded_pairs(
    config: Mapping[str, Any], tokenizer: Any
) -> tuple[dict[str, list[Pair]], dict[str, list[EncodedPair]], EncodingSettings]:
    """A cell's pairs by split, as text and as tokens, and how they are encoded."""
    language = Language(**config["language"])
    split = language.split(config["forms"], config["seed"])
    pairs = language.pairs(split, config["label"], config["n_train"], config["cluster"])
    encoding = EncodingSettings(terminator="ensure" if config["terminator"] else "strip", max_length=0)
    return pairs, {name: encode_pairs(some, tokenizer, encoding)[0] for name, some in pairs.items()}, encoding


def train_and_score(
    folder: Path,
    config: Mapping[str, Any],
    policy: Any,
    encoded: Mapping[str, list[EncodedPair]],
    train: list[EncodedPair],
    *,
    consistency: Consistency | None = None,
    about: Sequence[str] = ABOUT,
) -> None:
    """Train every kind on `train`, score every set of pairs, write rows and scores into the cell's folder.

    Args:
        about: what every row says of the cell, as fields of `config`.
    """
    from llm_experiments.models import load_reward_model
    from llm_experiments.scoring import pair_rewards, score_pairs, summarise
    from llm_experiments.training import train_reward_model

    bags = bag_of_tokens_accuracy(train, encoded)
    rows = []
    for kind, learning_rate in config["learning_rates"].items():
        settings = TrainSettings(**{**config["training"], "learning_rate": learning_rate})
        model = load_reward_model(policy, kind, beta=config["beta"], device="cpu", seed=settings.seed)
        train_reward_model(model, train, settings, consistency=consistency)
        for name, some in encoded.items():
            scores = score_pairs(model, some, batch_size=128)
            write_rows(folder / "scores" / f"{kind}_{name}.jsonl", scores)
            summary = summarise(scores)
            rows.append(
                {key: config[key] for key in (*about, "seed")}
                | {"kind": kind, "split": name}
                | {key: summary[key] for key in ("n", "accuracy", "tie_rate", "absolute_margin", "normalised_margin")}
                | {"loss": float(bradley_terry_loss(pair_rewards(scores))), "bag_of_tokens": bags[name]}
            )
    write_rows(folder / "rows.jsonl", rows)


@lru_cache(maxsize=2)
def load_base(place: str) -> tuple[Any, Any]:
    """A pretrained language model and its tokenizer, kept while a process works on its cells."""
    from transformers import AutoModelForCausalLM

    from llm_experiments.models import load_tokenizer, quiet_transformers

    with quiet_transformers():
        return AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32), load_tokenizer(place)
