"""Rung 2: explicit and implicit reward models on the real Persona questions, with the controls.

As published: 80 training and 40 test prompts about agreeableness, answers drawn per prompt, accuracy as the mean over
the four combinations of the paraphrase. Not as published: the language models are small and made here (persona.py says
from which texts), several clusters with intervals, the terminator as a factor, and the controls.

What is chosen freely is chosen by the fit of training pairs alone: the schedule and the rate are rung 1's, and pilot.py
shows that both kinds rank every training pair right with them (so they do at a third, a tenth and at three times it).

The unit of evidence is the cluster: training seed, training and test prompts of its own; one language model for all.
"""

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from llm_experiments.cells import Plan
from llm_experiments.encoding import EncodedPair
from llm_experiments.pairs import Pair
from llm_experiments.settings import EncodingSettings, PretrainSettings, TrainSettings
from llm_experiments.tasks.language import Label
from llm_experiments.tasks.language_study import load_base
from llm_experiments.tasks.persona import (
    CONDITIONS,
    EVALUATED,
    SIDES,
    Question,
    answer_pairs,
    answers_of,
    describe,
    pretraining_texts,
    read_personas,
    remark_pairs,
    sample_prompts,
    training_pairs,
    verification_texts,
)
from llm_experiments.tasks.persona_claims import persona_claims, persona_notes, separator_claims
from simulations.results import Claim, Row, read_json, write_json, write_rows
from simulations.statistics import cluster_means, wilson_interval
from theory.preferences import PairRewards, absolute_margin, accuracy, bradley_terry_loss, normalised_margin, tie_rate
from theory.rewards import Kind
from theory.separation import separate

Ablation = Literal["", "mean_pooling", "no_reference", "frozen", "on_the_other_kind", "dropped_last_token"]
BETA = 0.1
LEARNING_RATES = {"explicit": 3e-3, "implicit": 3e-3, "generative": 3e-3}  # rung 1's; pilot.py
FROZEN_RATES = {"explicit": 3e-2, "implicit": 3e-1}  # rung 1's, where only the head is trained
TRAIN = TrainSettings(
    max_steps=100, per_device_train_batch_size=16, lr_scheduler_type="linear", max_grad_norm=1.0, logging_steps=50
)
PRETRAIN = PretrainSettings(
    hidden=96, layers=3, heads=4, vocab_size=2048, block=128, max_positions=256, steps=700, batch_size=32
)
N_TRAIN, N_TEST = 80, 40
REPEATS = 2  # answers per question in the pretraining texts
TIE = 1e-5


@dataclass(frozen=True)
class Arm:
    """One way of training; its models are tested on every condition."""

    name: str
    architecture: str = "mistral"
    label: Label = "constant"
    terminator: bool = False
    pretraining: str = "all_words"
    clusters: int = 6
    tied: bool | None = None  # the family's own habit unless given
    kinds: tuple[Kind, ...] = ("explicit", "implicit")
    ablation: Ablation = ""

    @property
    def base(self) -> str:
        tying = "" if self.tied is None else "-tied" if self.tied else "-untied"
        return f"{self.architecture}{tying}-{self.pretraining}"


ARMS = (
    Arm("mistral"),
    Arm("mistral-terminator", terminator=True),
    Arm("gemma", architecture="gemma"),
    Arm("statement-label", label="statement"),
    Arm("without-evaluation-words", pretraining="without_evaluation_words"),
    Arm("verifying", pretraining="with_verification", kinds=("explicit", "implicit", "generative")),
)
QUICK = (Arm("mistral", clusters=1),)


def plan(data: Path, *, quick: bool = False) -> Plan:
    """Language models and cells by folder name; `data` is the folder of question files."""
    return plan_arms(QUICK if quick else ARMS, data, quick=quick)


def plan_arms(arms: Sequence[Arm], data: Path, *, quick: bool) -> Plan:
    """The configs hold the hash of the questions and not their place."""
    personas = read_personas(data)
    digest = hashlib.sha256(repr(sorted(personas.items())).encode()).hexdigest()
    bases: dict[str, Row] = {}
    cells: dict[str, Row] = {}
    for arm in arms:
        bases[arm.base] = {
            "architecture": arm.architecture,
            "pretraining": arm.pretraining,
            "questions": digest,
            "repeats": REPEATS,
            "settings": asdict(PRETRAIN) | {"tied": arm.tied} | ({"steps": 60} if quick else {}),
        }
        rates = FROZEN_RATES if arm.ablation == "frozen" else LEARNING_RATES
        about = {key: value for key, value in asdict(arm).items() if key not in ("name", "clusters", "kinds")}
        for seed in range(arm.clusters):
            cells[f"{arm.name}/{seed}"] = {
                "cell": arm.name,
                **about,
                "seed": seed,
                "base": arm.base,
                "questions": digest,
                "n_train": N_TRAIN,
                "n_test": N_TEST,
                "training": asdict(TRAIN) | {"seed": seed},
                "learning_rates": {kind: rates[kind] for kind in arm.kinds},
                "beta": BETA,
            }
    return Plan(bases, cells)


def claims(folder: Path, plan: Plan) -> tuple[list[Claim], list[str]]:
    """Claims and notes of a finished study."""
    rows = plan.gather(folder)
    texts = {name: read_json(folder / "models" / name / "texts.json") for name in plan.bases}
    separators = {
        arm.name: [
            read_json(folder / name / "separator.json") for name in plan.cells if name.startswith(f"{arm.name}/")
        ]
        for arm in ARMS
    }
    return [*persona_claims(rows), *separator_claims(separators)], persona_notes(rows, texts)


def make_base(folder: Path, config: Mapping[str, Any], *, data: Path) -> None:
    """Pretrain one language model; count its texts' answer words, and check that it knows what they mean."""
    from llm_experiments.encoding import encode_pairs
    from llm_experiments.models import load_reward_model
    from llm_experiments.pretraining import pretrain
    from llm_experiments.scoring import score_pairs

    personas = read_personas(data)
    texts = pretraining_texts(
        personas,
        evaluation_words=config["pretraining"] != "without_evaluation_words",
        repeats=config["repeats"],
        seed=config["settings"]["seed"],
    )
    settings = PretrainSettings(**config["settings"])
    more = verification_texts(texts, settings.seed) if config["pretraining"] == "with_verification" else []
    pretrain([*texts, *more], config["architecture"], folder / "model", settings, progress=False)
    policy, tokenizer = load_base(str(folder / "model"))
    model = load_reward_model(policy, "implicit", reference="none", device="cpu")
    remarks = remark_pairs(personas[EVALUATED][:10])
    encoding = EncodingSettings(terminator="strip", max_length=0)
    rows = score_pairs(model, encode_pairs(remarks, tokenizer, encoding)[0], batch_size=64)
    known = cluster_means([row["results"] for row in rows], [row["subset"] for row in rows])
    write_json(folder / "texts.json", describe(texts, tokenizer) | {"meaning_known": known})


def compute_cell(folder: Path, config: Mapping[str, Any], *, data: Path) -> None:
    """Train every kind on the same pairs, and reward every answer of every condition on training and test prompts."""
    from llm_experiments.encoding import encode_pairs
    from llm_experiments.scoring import pair_rewards, score_pairs

    policy, tokenizer = load_base(str(folder.parents[1] / "models" / config["base"] / "model"))
    questions = read_personas(data)[EVALUATED]
    train, test = sample_prompts(questions, config["label"], config["n_train"], config["n_test"], config["seed"])
    encoding = EncodingSettings(terminator="ensure" if config["terminator"] else "strip", max_length=0)
    pairs = encode_pairs(training_pairs(train, config["seed"]), tokenizer, encoding)[0]
    names = ("cell", "architecture", "label", "terminator", "pretraining", "ablation", "seed")
    about = {key: config[key] for key in names}
    write_json(
        folder / "separator.json", separator_statistics(policy, tokenizer, encoding, train, test, config["seed"])
    )
    rows = []
    for kind in config["learning_rates"]:
        model = train_arm(policy, tokenizer, kind, pairs, config)
        scores = score_pairs(model, pairs, batch_size=64)
        write_rows(folder / "scores" / f"{kind}_train.jsonl", scores)
        fit = _measure(pair_rewards(scores), len(train)) | {
            "condition": "published",
            "split": "train",
            "prompts": "train",
        }
        rows.append(about | {"kind": kind} | fit | {"loss": float(bradley_terry_loss(pair_rewards(scores)))})
        for name, prompts, conditions in (("train", train, ("published",)), ("test", test, CONDITIONS)):
            some = answer_pairs(prompts, conditions)
            encoded = encode_pairs(some, tokenizer, encoding)[0]
            if config["ablation"] == "dropped_last_token":
                encoded = drop_last_tokens(encoded, config["seed"])
            scores = score_pairs(model, encoded, batch_size=64)
            write_rows(folder / "scores" / f"{kind}_answers_{name}.jsonl", scores)
            rewards = {}
            for pair, row in zip(some, scores, strict=True):
                rewards[pair.prompt, pair.chosen] = row["scores_chosen"]
                rewards[pair.prompt, pair.rejected] = row["scores_rejected"]
            for condition in conditions:
                sides = np.array(
                    [
                        [rewards[question.text + "\n", answer] for answer in (both if question.yes else both[::-1])]
                        for question in prompts
                        for both in answers_of(condition)
                    ]
                )
                split = "seen_forms" if condition in ("seen", "swapped_training_prefix") else "unseen_forms"
                # the training answers belong to the published test, as its half of seen forms
                called = "published" if condition == "seen" else condition
                where = {"condition": called, "split": split, "prompts": name}
                rows.append(about | {"kind": kind} | where | _measure(PairRewards(*sides.T), len(prompts)))
    write_rows(folder / "rows.jsonl", rows)


def train_arm(policy: Any, tokenizer: Any, kind: Kind, pairs: Sequence[EncodedPair], config: Mapping[str, Any]) -> Any:
    """One reward model, trained as the arm's ablation says, from a copy of the policy."""
    from llm_experiments.forward import backbone
    from llm_experiments.models import load_reward_model
    from llm_experiments.training import train_reward_model

    ablation = config["ablation"]
    if ablation == "on_the_other_kind":
        other: Kind = "implicit" if kind == "explicit" else "explicit"
        trained = train_arm(policy, tokenizer, other, pairs, {**config, "ablation": ""})
        policy = copy.deepcopy(policy)
        backbone(policy).load_state_dict(backbone(trained.policy).state_dict())
        if other == "implicit":
            policy.get_output_embeddings().load_state_dict(trained.policy.get_output_embeddings().state_dict())
    if ablation == "dropped_last_token":
        pairs = drop_last_tokens(pairs, config["seed"])
    settings = TrainSettings(
        **{
            **config["training"],
            "learning_rate": config["learning_rates"][kind],
            "trainable": "head" if ablation == "frozen" else "all",
        }
    )
    model = load_reward_model(
        policy,
        kind,
        tokenizer=tokenizer,
        beta=config["beta"],
        device="cpu",
        seed=settings.seed,
        pooling="mean" if ablation == "mean_pooling" else "last",
        reference="none" if ablation == "no_reference" else "auto",
    )
    train_reward_model(model, pairs, settings)
    return model


def drop_last_tokens(pairs: Sequence[EncodedPair], seed: int, batch: int = 8) -> list[EncodedPair]:
    """What the published code does to a micro-batch: its longest sequences lose their last token.

    There micro-batches are drawn anew every epoch; here once, with the seed. Nothing is lost where all sequences of a
    micro-batch are equally long, as there.
    """
    made = list(pairs)
    order = np.random.default_rng([seed, 13]).permutation(len(made))
    for start in range(0, len(order), batch):
        chunk = order[start : start + batch]
        lengths = {(i, side): len(made[i].sequence("explicit", side)[0]) for i in chunk for side in SIDES}
        longest = max(lengths.values())
        if min(lengths.values()) == longest:
            continue
        for (i, side), length in lengths.items():
            if length == longest:
                ids = made[i].chosen_ids if side == "chosen" else made[i].rejected_ids
                made[i] = replace(made[i], **{f"{side}_ids": ids[:-1]})
    return made


def separator_statistics(
    policy: Any,
    tokenizer: Any,
    encoding: EncodingSettings,
    train: Sequence[Question],
    test: Sequence[Question],
    seed: int,
) -> Row:
    """Footnote 3 of Razin et al.: does the max-margin separator of the *untrained* hidden states, fitted to training
    answers, point along the differences of the paraphrased ones? Cosines' quartiles and the share that is positive."""
    from llm_experiments.batches import collate_pairs
    from llm_experiments.encoding import encode_pairs
    from llm_experiments.models import load_reward_model
    from llm_experiments.pooling import last_attended, pool_at

    model = load_reward_model(policy, "explicit", device="cpu")

    def differences(pairs: Sequence[Pair]) -> np.ndarray:
        encoded = encode_pairs(pairs, tokenizer, encoding)[0]
        parts = []
        for start in range(0, len(encoded), 64):
            batch = collate_pairs(encoded[start : start + 64], "explicit")
            batch.pop("response_mask")
            with torch.no_grad():
                states = pool_at(model.hidden_states(**batch), last_attended(batch["attention_mask"]))
            chosen, rejected = states.double().numpy().reshape(2, -1, states.shape[1])
            parts.append(chosen - rejected)
        return np.concatenate(parts)

    def answers(prompts: Sequence[Question]) -> list[Pair]:
        return [
            Pair(f"{number}/{form}", "", question.text + "\n", *(both if question.yes else both[::-1]))
            for number, question in enumerate(prompts)
            for form, both in enumerate(answers_of("published"))
        ]

    found = separate(differences(training_pairs(train, seed)))
    row: Row = {"status": found.status, "normalised_margin": found.normalised_margin}
    if found.direction is not None:
        for name, prompts in (("train", train), ("test", test)):
            some = differences(answers(prompts))
            cosines = some @ found.direction / np.linalg.norm(some, axis=1)
            row[name] = {"quartiles": np.quantile(cosines, [0.25, 0.5, 0.75]), "positive": float((cosines > 0).mean())}
    return row


def _measure(rewards: PairRewards, prompts: int) -> Row:
    """Ties count one half. The Wilson interval counts prompts, not answers: those of one prompt go together."""
    share = float(accuracy(rewards, tie_tolerance=TIE))
    interval = wilson_interval(share * prompts, prompts)
    return {
        "n": prompts,
        "accuracy": share,
        "low": interval.low,
        "high": interval.high,
        "tie_rate": float(tie_rate(rewards, tie_tolerance=TIE)),
        "absolute_margin": float(absolute_margin(rewards)),
        "normalised_margin": float(normalised_margin(rewards)),
    }
