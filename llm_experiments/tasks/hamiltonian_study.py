"""Verifying without generating: reward models on Hamiltonian cycles (Razin et al. 2025, section 3.2), made small.

As published: graphs of ten vertices, the planted cycle against an order drawn at random, 1000 training and 200 test
graphs, beta 0.01, terminator in the response. Not as published: the language model is small and made here, an edge is
one token, negatives come in two harder kinds as well, explicit models stand beside the implicit ones, and the
probability of generating a correct response is computed exactly (all cycles of a graph enumerated) beside the share of
correct samples.

A cell says "cannot generate the format" where fewer than half of the samples are orders of all vertices: its zero
success would say nothing about cycles. The positive control is the same model pretrained on cycles.

The unit of evidence is the cluster: a training seed with training and test graphs of its own.

There are as many steps as published (480, of 16 pairs instead of 32). A first run had 200, at 3e-4 for implicit
models, and they had not fitted their training pairs (0.87 to 0.995 right); its verification was 0.918 [0.849, 0.986] on
random negatives, undecided against the threshold of 0.95. Steps and rate were changed for the fit of training pairs
alone, seen on graphs of no cluster; the threshold was not.

Found: implicit models verify 0.993 [0.989, 0.998] of random negatives (published 0.993), 0.948 of swapped and 0.838 of
near cycles, and generate nothing: none of 2400 samples is a cycle, and one is an order of all vertices, where the
reference has 2337. Training took the probability of a correct response down, e^-11 to e^-40 in the median graph, with
all else that has the format. Explicit models do not fit even their training pairs (0.61 to 0.88), and say nothing here.
Trained on near cycles, implicit models fit 0.80 to 0.89 of them and verify random negatives worse (0.80 [0.64, 0.96],
three clusters).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llm_experiments.cells import Plan
from llm_experiments.sampling import sample_responses
from llm_experiments.settings import EncodingSettings, PretrainSettings, TrainSettings
from llm_experiments.tasks.hamiltonian import (
    NEGATIVES,
    SHORT,
    VERTICES,
    WALK,
    Graph,
    Negative,
    draw_graphs,
    is_order,
    pairs,
    pretraining_texts,
    read_response,
    response,
    walk,
)
from llm_experiments.tasks.hamiltonian_claims import hamiltonian_claims, hamiltonian_notes
from llm_experiments.tasks.language_study import load_base
from simulations.results import Claim, Row, read_json, read_rows, write_json, write_rows
from simulations.statistics import wilson_interval

BETA = 0.01  # as published
TRAIN = TrainSettings(
    max_steps=480, per_device_train_batch_size=16, lr_scheduler_type="linear", max_grad_norm=1.0, logging_steps=50
)
LEARNING_RATES = {"explicit": 1e-3, "implicit": 1e-3}
PRETRAIN = PretrainSettings(
    hidden=64, layers=2, heads=4, tokenizer="word", block=128, max_positions=128, steps=3000, batch_size=32
)
TEXTS = 40_000
N_TRAIN, N_TEST = 1000, 200
SAMPLES = 2  # per test graph
ENUMERATED = 10  # test graphs whose cycles are all scored
ENCODING = EncodingSettings(terminator="ensure", max_length=0)
TEST_SEED = 10_000  # test graphs of seed s are those of TEST_SEED + s


@dataclass(frozen=True)
class Arm:
    """One way of training; `negatives` are those of the training pairs."""

    name: str
    negatives: Negative = "random"
    clusters: int = 6


ARMS = (Arm("published"), Arm("near-cycle", negatives="near_cycle", clusters=3))
QUICK = (Arm("published", clusters=1),)
CONTROL = "cycles"  # pretrained on cycles


def plan(data: Path | None = None, *, quick: bool = False) -> Plan:
    """Language models and cells by folder name; no data files are needed."""
    settings = asdict(PRETRAIN) | ({"steps": 4, "hidden": 16, "layers": 1} if quick else {})
    texts = 200 if quick else TEXTS
    bases: dict[str, Row] = {
        name: {"texts": texts, "cycles": name == CONTROL, "settings": settings} for name in ("orders", CONTROL)
    }
    cells: dict[str, Row] = {}
    for arm in QUICK if quick else ARMS:
        for seed in range(arm.clusters):
            cells[f"{arm.name}/{seed}"] = {
                "cell": arm.name,
                "negatives": arm.negatives,
                "seed": seed,
                "base": "orders",
                "n_train": 16 if quick else N_TRAIN,
                "n_test": 4 if quick else N_TEST,
                "enumerated": 2 if quick else ENUMERATED,
                "training": asdict(TRAIN) | {"seed": seed} | ({"max_steps": 4} if quick else {}),
                "learning_rates": LEARNING_RATES,
                "beta": BETA,
            }
    return Plan(bases, cells)


def claims(folder: Path, plan: Plan) -> tuple[list[Claim], list[str]]:
    """Claims and notes of a finished study."""
    generation = [row for name in plan.cells for row in read_rows(folder / name / "generation.jsonl")]
    bases = {name: read_json(folder / "models" / name / "generation.json") for name in plan.bases}
    rows = plan.gather(folder)
    control = {"cell": "control", "policy": "reference"} | bases[CONTROL]
    write_rows(folder / "generation.jsonl", [*generation, control])
    return hamiltonian_claims(rows, generation), hamiltonian_notes(rows, generation, bases, BETA)


def make_base(folder: Path, config: Mapping[str, Any], *, data: Path | None = None) -> None:
    """Pretrain one language model and let it generate: the reference, and the control, before any preference."""
    from llm_experiments.pretraining import pretrain

    settings = PretrainSettings(**config["settings"])
    texts = pretraining_texts(config["texts"], settings.seed, cycles=config["cycles"])
    pretrain(texts, "mistral", folder / "model", settings, progress=False)
    policy, tokenizer = load_base(str(folder / "model"))
    graphs = draw_graphs(4 if len(texts) < TEXTS else N_TEST, TEST_SEED - 1)
    known = {"mass_on_neighbours": mass_on_neighbours(policy, tokenizer, graphs[:50])}
    write_json(folder / "generation.json", sample(policy, tokenizer, graphs, seed=0) | known)


def compute_cell(folder: Path, config: Mapping[str, Any], *, data: Path | None = None) -> None:
    """Train both kinds on the same pairs; accuracy on every kind of negative; what the policies generate."""
    from llm_experiments.encoding import encode_pairs
    from llm_experiments.models import load_reward_model
    from llm_experiments.scoring import score_pairs, summarise
    from llm_experiments.training import train_reward_model

    policy, tokenizer = load_base(str(folder.parents[1] / "models" / config["base"] / "model"))
    seed, beta = config["seed"], config["beta"]
    test = draw_graphs(config["n_test"], TEST_SEED + seed)
    train_on = config["negatives"]
    sets = {("train", train_on): pairs(draw_graphs(config["n_train"], seed), train_on, seed, SHORT)}
    sets |= {("test", kind): pairs(test, kind, TEST_SEED + seed, SHORT) for kind in NEGATIVES}
    encoded = {name: encode_pairs(some, tokenizer, ENCODING)[0] for name, some in sets.items()}
    train = encoded["train", train_on]
    about = {"cell": config["cell"], "trained_on": train_on, "seed": seed}
    rows: list[Row] = []
    generated = [about | {"policy": "reference"} | _generation(policy, tokenizer, test, config, seed)]
    for kind, learning_rate in config["learning_rates"].items():
        settings = TrainSettings(**{**config["training"], "learning_rate": learning_rate})
        model = load_reward_model(policy, kind, beta=beta, device="cpu", seed=settings.seed)
        train_reward_model(model, train, settings)
        for (split, negatives), some in encoded.items():
            scores = score_pairs(model, some, batch_size=64)
            write_rows(folder / "scores" / f"{kind}_{split}_{negatives}.jsonl", scores)
            summary = summarise(scores)
            margins = [row["scores_chosen"] - row["scores_rejected"] for row in scores]
            rows.append(
                about
                | {"kind": kind, "split": split, "negatives": negatives}
                | {key: summary[key] for key in ("n", "accuracy", "tie_rate", "normalised_margin")}
                | {"least_margin": min(margins), "median_margin": float(np.median(margins))}
            )
        if kind == "implicit":
            generated.append(about | {"policy": "implicit"} | _generation(model.policy, tokenizer, test, config, seed))
    write_rows(folder / "generation.jsonl", generated)
    write_rows(folder / "rows.jsonl", rows)


def _generation(policy: Any, tokenizer: Any, graphs: Sequence[Graph], config: Mapping[str, Any], seed: int) -> Row:
    some = graphs[: config["enumerated"]]
    masses = [log_correct_probability(policy, tokenizer, graph) for graph in some]
    return sample(policy, tokenizer, graphs, seed) | {
        "enumerated": len(some),
        "log_probability_correct": [float(value) for value in masses],
        "chance": float(np.mean([len(graph.cycles()) / 3_628_800 for graph in graphs])),
    }


def sample(policy: Any, tokenizer: Any, graphs: Sequence[Graph], seed: int) -> Row:
    """Responses sampled at temperature 1, as published: how many are orders of all vertices, how many are cycles."""
    owners = [graph for graph in graphs for _ in range(SAMPLES)]
    prompts = [graph.prompt(notation=SHORT) for graph in owners]
    found = sample_responses(policy, tokenizer, prompts, length=24, seed=seed)
    orders = cycles = 0
    for graph, ids in zip(owners, found, strict=True):
        order = read_response(tokenizer.decode(ids, skip_special_tokens=True), SHORT)
        orders += order is not None and is_order(order)
        cycles += order is not None and graph.is_cycle(order)
    n = len(owners)
    return {
        "samples": n,
        "orders": orders,
        "cycles": cycles,
        "order_share": asdict(wilson_interval(orders, n)),
        "cycle_share": asdict(wilson_interval(cycles, n)),
    }


@torch.no_grad()
def mass_on_neighbours(policy: Any, tokenizer: Any, graphs: Sequence[Graph]) -> float:
    """How much of the next vertex's probability lies on neighbours of the last one, in walks: does it know edges?"""
    policy.eval()
    vertices = [tokenizer.convert_tokens_to_ids(str(v)) for v in range(VERTICES)]
    masses = []
    for number, graph in enumerate(graphs):
        start, path = graph.prompt(WALK, SHORT), walk(graph, np.random.default_rng(number))
        ids = tokenizer(start + response(path, SHORT), return_tensors="pt")["input_ids"]
        shares = policy(ids, use_cache=False).logits[0].double().softmax(-1)
        first = len(tokenizer(start)["input_ids"])
        masses += [
            float(shares[first + place, [vertices[v] for v in range(VERTICES) if graph.joined(v, here)]].sum())
            for place, here in enumerate(path[:-1])
        ]
    return float(np.mean(masses))


@torch.no_grad()
def log_correct_probability(policy: Any, tokenizer: Any, graph: Graph) -> float:
    """ln of the probability that a sampled response, terminator included, is a cycle: the sum over all of them."""
    prompt = tokenizer(graph.prompt(notation=SHORT))["input_ids"]
    answers = [
        [*tokenizer(response(cycle, SHORT), add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        for cycle in graph.cycles()
    ]
    totals = []
    for at in range(0, len(answers), 256):
        ids = torch.tensor(answers[at : at + 256])
        full = torch.cat([torch.tensor([prompt]).expand(len(ids), -1), ids], 1)
        logits = policy(full, use_cache=False).logits[:, len(prompt) - 1 : -1].double()
        totals.append(logits.log_softmax(-1).gather(-1, ids[..., None])[..., 0].sum(-1))
    return float(torch.logsumexp(torch.cat(totals), 0))
