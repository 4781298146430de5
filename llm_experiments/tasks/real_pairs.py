"""Reward models on real preference pairs (rung 2): in distribution, under token-level shift, in another domain.

The studies of Razin et al. (2025), section 5.2, made small: language models of a million parameters, pretrained here
on local text, trained on real pairs and tested on the paper's own test files with their GPT-4.1 rewrites. Beside every
accuracy stand what it must beat (length, a prompt-blind bag of tokens) and what is left of it without length, and in
distribution its course over token overlap with the training responses, the paper's explanation of the gap there.

Test pairs are those of the paper's 200 that are short enough; versions of the same pairs (originals, paraphrases,
translations) are compared on the prompts that are short enough in every version. No prompt of a test set is in the
pretraining texts, and none in the training pairs of a leak-free arm.

The unit of evidence is the cluster: a pretrained language model with a training seed, which draws the training pairs.
Clusters are crossed: those of one architecture share the language model, those of one seed the sample, so intervals
say nothing about other language models. All are tested on the same pairs, so intervals over prompts stand beside those
over clusters.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from llm_experiments.baselines import BASELINES, TokenRules
from llm_experiments.cells import Plan
from llm_experiments.encoding import EncodedPair
from llm_experiments.overlap import audit_overlap
from llm_experiments.pairs import Pair, load_pairs
from llm_experiments.settings import EncodingSettings, PretrainSettings, TrainSettings
from llm_experiments.splits import near_key
from llm_experiments.tasks.language_study import load_base
from simulations.results import Row, UserError, read_rows, write_json, write_rows
from theory.preferences import PairRewards, accuracy

Category = Literal["in-distribution", "token-level shift", "domain shift"]
CATEGORIES: tuple[Category, ...] = ("in-distribution", "token-level shift", "domain shift")
TEXTS = ("text/tinystories_sample.txt.gz", "text/wiki_demo.txt.gz", "text/wikitext2_valid.txt.gz")
BETA = 0.1
LEARNING_RATES = {"explicit": 1e-3, "implicit": 1e-3}
TRAIN = TrainSettings(
    num_train_epochs=2.0,
    per_device_train_batch_size=8,
    lr_scheduler_type="linear",
    max_grad_norm=1.0,
    logging_steps=10,
)
ENCODING = EncodingSettings(max_length=384, bad_pairs="drop")
PRETRAIN = PretrainSettings(
    hidden=64, layers=2, heads=2, vocab_size=4096, block=256, max_positions=384, steps=200, batch_size=16
)
ANSWERS = (  # preference files whose prompts and answers, chosen and rejected alike, are pretraining text
    "ultrafeedback/train_clean.jsonl.gz",
    *(f"razin2025/ultrafeedback_{version}_train.jsonl" for version in ("paraphrase", "french", "spanish")),
    "razin2025/rewardmath_train.jsonl",
)
QUANTILES = 4
LENGTH_MATCH = 0.2  # responses whose lengths differ by less than this share of the longer one


@dataclass(frozen=True)
class TestSet:
    """A file of pairs below the data folder, and what its distance from the training pairs is called; sets with one
    `versions_of` hold versions of the same pairs."""

    name: str
    file: str
    category: Category
    versions_of: str = ""


@dataclass(frozen=True)
class Arm:
    """One way of training on a file."""

    name: str
    train: str
    tests: tuple[TestSet, ...]
    architectures: tuple[str, ...] = ("mistral", "gemma")
    kinds: tuple[str, ...] = ("explicit", "implicit")
    seeds: int = 3
    pairs: int = 150
    leak_free: bool = True


def plan_of(arms: Sequence[Arm], tests: Sequence[TestSet], *, quick: bool) -> Plan:
    """Language models and cells by folder name; the language models have seen no prompt of `tests`, whatever an arm
    is tested on."""
    bases: dict[str, Row] = {}
    cells: dict[str, Row] = {}
    small = {"steps": 4, "hidden": 16, "layers": 1, "heads": 2} if quick else {}
    for arm in arms:
        for architecture in arm.architectures[:1] if quick else arm.architectures:
            bases[architecture] = {
                "architecture": architecture,
                "texts": list(TEXTS),
                "answers_of": list(ANSWERS),
                "not_in": sorted({test.file for test in tests}),
                "settings": asdict(PRETRAIN) | small,
            }
            for seed in range(1 if quick else arm.seeds):
                cells[f"{arm.name}/{architecture}-{seed}"] = {
                    "cell": arm.name,
                    "architecture": architecture,
                    "seed": seed,
                    "base": architecture,
                    "train": arm.train,
                    "pairs": 8 if quick else arm.pairs,
                    "test_pairs": 6 if quick else 0,
                    "leak_free": arm.leak_free,
                    "tests": [asdict(test) for test in arm.tests],
                    "kinds": list(arm.kinds),
                    "training": asdict(TRAIN) | {"seed": seed} | ({"max_steps": 2} if quick else {}),
                    "learning_rates": LEARNING_RATES,
                    "encoding": asdict(ENCODING),
                    "beta": BETA,
                }
    return Plan(bases, cells)


def read_pairs(data: Path, file: str) -> list[Pair]:
    """Rankable pairs of a file below the data folder.

    Raises:
        UserError: it is not there.
    """
    if not (data / file).exists():
        raise UserError(f"{data / file}: no such file; this study reads it (README, Real data)")
    return list(load_pairs(data / file, bad_pairs="drop"))


def make_base(folder: Path, config: Mapping[str, Any], *, data: Path) -> None:
    """Pretrain one language model on local text and on answers, chosen and rejected alike, to prompts not tested."""
    from llm_experiments.pretraining import pretrain, read_documents

    documents = read_documents([data / name for name in config["texts"]])
    tested = {near_key(pair.prompt) for file in config["not_in"] for pair in read_pairs(data, file)}
    for file in config["answers_of"]:
        for pair in read_pairs(data, file):
            if near_key(pair.prompt) not in tested:
                documents += [f"{pair.prompt}\n{pair.chosen}", f"{pair.prompt}\n{pair.rejected}"]
    pretrain(
        documents, config["architecture"], folder / "model", PretrainSettings(**config["settings"]), progress=False
    )


def compute_cell(folder: Path, config: Mapping[str, Any], *, data: Path) -> None:
    """Train every kind on the same pairs and score every test set; keep every pair's scores."""
    from llm_experiments.encoding import encode_pairs

    policy, tokenizer = load_base(str(folder.parents[1] / "models" / config["base"] / "model"))
    encoding = EncodingSettings(**config["encoding"])
    tests = {test["name"]: read_pairs(data, test["file"]) for test in config["tests"]}
    pool, audit = _training_pairs(data, config, tests)
    train = encode_pairs(pool, tokenizer, encoding)[0][: config["pairs"]]
    used = {pair.id for pair in train}
    trained_on = [pair for pair in pool if pair.id in used]
    shared = {name: audit_overlap(trained_on, some) for name, some in tests.items()}
    write_json(folder / "overlap.json", audit | {"trained_on": {name: one.to_row() for name, one in shared.items()}})
    encoded = {name: encode_pairs(some, tokenizer, encoding)[0] for name, some in tests.items()}
    encoded = in_every_version(encoded, {test["name"]: test["versions_of"] for test in config["tests"]})
    encoded = {"train": train} | {name: some[: config["test_pairs"] or None] for name, some in encoded.items()}
    categories = {test["name"]: test["category"] for test in config["tests"]} | {"train": "train"}
    training = {
        kind: TrainSettings(**{**config["training"], "learning_rate": config["learning_rates"][kind]})
        for kind in config["kinds"]
    }
    rows = []
    for kind, name, scores in train_and_score(folder, policy, encoded, training, config["beta"]):
        rows.append(
            {"cell": config["cell"], "architecture": config["architecture"], "seed": config["seed"], "kind": kind}
            | {"set": name, "category": categories[name]}
            | measure(scores, encoded[name], train)
            | by_prompt(scores, shared[name].shared if name in shared else {})
        )
    write_rows(folder / "rows.jsonl", rows)


def train_and_score(
    folder: Path,
    policy: Any,
    encoded: Mapping[str, Sequence[EncodedPair]],
    training: Mapping[str, TrainSettings],
    beta: float,
) -> Iterator[tuple[str, str, list[Row]]]:
    """A reward model of each kind from `policy`, trained on encoded["train"]: kind, set, and its scores on the set.

    Scores, those of the baselines among them, are also stored as scores/KIND_SET.jsonl in `folder`.
    """
    from llm_experiments.models import load_reward_model
    from llm_experiments.scoring import score_pairs
    from llm_experiments.training import train_reward_model

    rules = TokenRules.of(encoded["train"])
    for kind, settings in training.items():
        model = load_reward_model(policy, kind, beta=beta, device="cpu", seed=settings.seed)
        train_reward_model(model, encoded["train"], settings)
        for name, some in encoded.items():
            scores = _with_rules(score_pairs(model, some, batch_size=32), rules.rewards(some))
            write_rows(folder / "scores" / f"{kind}_{name}.jsonl", scores)
            yield kind, name, scores


def in_every_version(
    encoded: Mapping[str, list[EncodedPair]], versions_of: Mapping[str, str]
) -> dict[str, list[EncodedPair]]:
    """Sets of versions of the same pairs, cut to the prompts that all of them hold; other sets as they are."""
    kept = {}
    for name, some in encoded.items():
        family = [other for other in encoded if versions_of[name] and versions_of[other] == versions_of[name]]
        prompts = [{pair.prompt_ids for pair in encoded[other]} for other in family]
        kept[name] = [pair for pair in some if all(pair.prompt_ids in one for one in prompts)]
    return kept


def by_prompt(scores: Sequence[Row], shared: Mapping[str, Sequence[str]]) -> Row:
    """Accuracy on the pairs whose prompt was trained on, and on the others; None where there are not both."""
    seen = np.array([bool({"prompt", "near_prompt"} & set(shared.get(row["id"], ()))) for row in scores])
    right = np.array([row["results"] for row in scores])
    both = seen.any() and not seen.all()
    return {
        "prompt_trained_on": float(right[seen].mean()) if both else None,
        "prompt_trained_on_n": int(seen.sum()),
        "prompt_not_trained_on": float(right[~seen].mean()) if both else None,
    }


def read_prompts(folder: Path, plan: Plan) -> list[Row]:
    """From the cells' scores: mean result of each test prompt over models, seeds and the category's sets, by kind."""
    found: dict[tuple[str, str, str, str], list[float]] = {}
    for name, config in plan.cells.items():
        for kind in config["kinds"]:
            for test in config["tests"]:
                for row in read_rows(folder / name / "scores" / f"{kind}_{test['name']}.jsonl"):
                    key = (config["cell"], test["category"], kind, row["prompt_hash"])
                    found.setdefault(key, []).append(row["results"])
    names = ("cell", "category", "kind", "prompt")
    return [
        dict(zip(names, key, strict=True)) | {"n": len(some), "accuracy": float(np.mean(some))}
        for key, some in found.items()
    ]


def _training_pairs(
    data: Path, config: Mapping[str, Any], tests: Mapping[str, Sequence[Pair]]
) -> tuple[list[Pair], Row]:
    """Candidates for training in an order drawn with the seed, without a prompt of any test set where that was asked
    for; what the whole file shares with the test sets."""
    pairs = read_pairs(data, config["train"])
    seen = {near_key(pair.prompt) for some in tests.values() for pair in some}
    before = {name: audit_overlap(pairs, some).to_row() for name, some in tests.items()}
    kept = [pair for pair in pairs if near_key(pair.prompt) not in seen] if config["leak_free"] else pairs
    order = np.random.default_rng([config["seed"], 11]).permutation(len(kept))
    return [kept[i] for i in order], {"pairs": len(pairs), "kept": len(kept), "before": before}


def _with_rules(scores: Sequence[Row], rewards: Mapping[str, PairRewards]) -> list[Row]:
    """Score rows with the baselines' rewards in them."""
    columns = {
        f"{name}_{side}": getattr(found, side).tolist()
        for name, found in rewards.items()
        for side in ("chosen", "rejected")
    }
    return [row | {name: column[i] for name, column in columns.items()} for i, row in enumerate(scores)]


def measure(scores: Sequence[Row], pairs: Sequence[EncodedPair], train: Sequence[EncodedPair]) -> Row:
    """Accuracy, margins and length controls of one set, and accuracy by quantile of token overlap with training."""
    from llm_experiments.scoring import summarise

    summary = summarise(scores)
    names = ("n", "prompts", "accuracy", "low", "high", "tie_rate", "normalised_margin", "length_correlation")
    lengths = np.array([[row["n_tokens_chosen"], row["n_tokens_rejected"]] for row in scores], dtype=float)
    margin = np.array([row["scores_chosen"] - row["scores_rejected"] for row in scores])
    right = np.array([row["results"] for row in scores])
    matched = np.abs(lengths[:, 0] - lengths[:, 1]) < LENGTH_MATCH * lengths.max(1)
    overlap = matching_share(pairs, train)
    edges = np.quantile(overlap, np.linspace(0, 1, QUANTILES + 1)[1:-1])
    quantile = np.searchsorted(edges, overlap)
    return {
        **{name: summary[name] for name in names},
        **{f"baseline_{rule}": summary["baselines"][rule]["accuracy"] for rule in BASELINES},
        "length_matched": float(right[matched].mean()) if matched.any() else None,
        "length_matched_n": int(matched.sum()),
        "length_residual": residual_accuracy(margin, lengths[:, 0] - lengths[:, 1]),
        "by_overlap": [float(right[quantile == q].mean()) if (quantile == q).any() else None for q in range(QUANTILES)],
    }


def residual_accuracy(margin: np.ndarray, longer: np.ndarray) -> float:
    """Accuracy of the margins without what a line through zero makes of the difference in length (least squares).

    Which response is called chosen decides both signs at once, so there is no constant to fit.
    """
    slope = float(margin @ longer / (longer @ longer)) if np.any(longer) else 0.0
    rest = margin - slope * longer
    return float(accuracy(PairRewards(rest, np.zeros_like(rest)), tie_tolerance=1e-9))


def matching_share(pairs: Sequence[EncodedPair], train: Sequence[EncodedPair]) -> np.ndarray:
    """Per pair, the share of matching token pairs between its responses and the training responses: the mean over
    (i, j) of 1[y_i = v_j], which multiplies similar hidden states in the implicit model's coefficients."""
    width = 1 + max(max(p.chosen_ids + p.rejected_ids) for some in (pairs, train) for p in some)
    counts = np.zeros(width)
    for pair in train:
        counts += np.bincount(pair.chosen_ids + pair.rejected_ids, minlength=width)
    share = counts / counts.sum()
    return np.array([np.mean([share[list(ids)].mean() for ids in (p.chosen_ids, p.rejected_ids)]) for p in pairs])
