"""The studies at the papers' own scale: which model is trained on what, how, and what that costs.

    rewardgap study persona --scale paper --plan      what would run, GPU hours and memory
    rewardgap study persona --scale paper             runs it, one `rewardgap train` folder per recipe

Settings are those of the published code of Razin et al. (2025) (arXiv 2507.07981, princeton-pli/exrm-vs-imrm): AdamW at
a constant 1e-6, no warm-up, no clipping, no weight decay, beta 0.01, all parameters, effective batch 32, last epoch's
model. Not as published: runs are seeded, the last step of an epoch has its full weight, and no sequence loses its last
token.
"""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

from llm_experiments.locks import POLL, locked
from llm_experiments.pairs import Pair
from llm_experiments.settings import TrainRequest
from simulations.results import Row, UserError, write_rows
from theory.rewards import Kind

BILLION = {  # parameters, as the model cards say
    "EleutherAI/pythia-1b": 1.01,
    "meta-llama/Llama-3.2-1B": 1.24,
    "meta-llama/Llama-3.2-1B-Instruct": 1.24,
    "meta-llama/Llama-3.2-3B-Instruct": 3.21,
    "meta-llama/Llama-3.1-8B-Instruct": 8.03,
    "Qwen/Qwen2.5-1.5B-Instruct": 1.54,
}
# FLOPs a second: an A100's by its data sheet, at 40 % utilisation; float32 without TF32, transformers' default
RATE = {"float32": 0.4 * 19.5e12, "bfloat16": 0.4 * 312e12}
PERSONA_MODELS = (
    "EleutherAI/pythia-1b",
    "meta-llama/Llama-3.2-1B",
    "meta-llama/Llama-3.2-1B-Instruct",
    "Qwen/Qwen2.5-1.5B-Instruct",
)
REAL_MODELS = (
    "meta-llama/Llama-3.2-1B-Instruct",
    "meta-llama/Llama-3.2-3B-Instruct",
    "meta-llama/Llama-3.1-8B-Instruct",
)
KINDS: tuple[Kind, ...] = ("explicit", "implicit")


@dataclass(frozen=True)
class Recipe:
    """One reward model at the published scale. `tokens` are of prompt and response, on average over both responses."""

    study: str
    model: str
    kind: Kind
    pairs: int
    epochs: int
    batch: int  # pairs per forward pass
    accumulation: int
    devices: int
    dtype: str
    tokens: int
    source: str
    ablation: str = ""
    changes: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        return "-".join(part for part in (self.model.split("/")[-1], self.kind, self.ablation) if part)

    @property
    def gpu_hours(self) -> float:
        """6 FLOPs per parameter and token trained, 2 more for an implicit model's reference, read once."""
        sequences = 2 * self.pairs * self.tokens * BILLION[self.model] * 1e9
        reference = 2 * sequences if self.kind == "implicit" else 0.0
        return (6 * sequences * self.epochs + reference) / RATE[self.dtype] / 3600

    @property
    def gigabytes(self) -> float:
        """Weights, gradients and AdamW's two moments, and an implicit model's reference; all devices together,
        without activations."""
        bytes_each = (4 if self.dtype == "float32" else 2) * 4 + (0 if self.kind != "implicit" else 4)
        return bytes_each * BILLION[self.model]

    def request(self, pairs: Path, tests: Sequence[Path], output: Path, *, model: str = "") -> TrainRequest:
        """What `rewardgap train` is asked for; `model` in place of the recipe's own."""
        return TrainRequest(
            kind=self.kind,
            model=model or self.model,
            pairs=str(pairs),
            eval_pairs=tuple(map(str, tests)),
            output=output / self.name,
            learning_rate=1e-6,
            num_train_epochs=float(self.epochs),
            per_device_train_batch_size=self.batch,
            gradient_accumulation_steps=self.accumulation,
            beta=0.01 if self.kind == "implicit" else 0.0,
            max_length=0,
            dtype=self.dtype,  # type: ignore[arg-type]
            bad_pairs="drop",
            **dict(self.changes),  # type: ignore[arg-type]
        )

    def to_row(self) -> Row:
        return {**asdict(self), "name": self.name, "gpu_hours": self.gpu_hours, "gigabytes": self.gigabytes}


def _persona() -> list[Recipe]:
    kinds: tuple[Kind, ...] = ("explicit", "implicit", "generative")
    return [
        Recipe("persona", model, kind, 80, 50, 8, 4, 1, "float32", 60, "plans of section 5.1 and appendix A")
        for model in PERSONA_MODELS
        for kind in kinds
    ]


def _hamiltonian() -> list[Recipe]:
    source = "plan of section 3.2"
    return [
        Recipe("hamiltonian", "EleutherAI/pythia-1b", kind, 1000, 15, 16, 2, 1, "float32", 150, source)
        for kind in KINDS
    ]


def _real(study: str, pairs: int, tokens: int) -> list[Recipe]:
    found = []
    for model in REAL_MODELS:
        alone = model.endswith("1B-Instruct")
        batch, devices = (4, 1) if alone else (1, 4)
        dtype = "bfloat16" if "8B" in model else "float32"
        for kind in KINDS:
            found.append(Recipe(study, model, kind, pairs, 5, batch, 8, devices, dtype, tokens, "plans of section 5.2"))
    return found


def _ablations() -> list[Recipe]:
    found = []
    for kind, ablation, changes in (
        ("explicit", "mean-pooling", (("pooling", "mean"),)),
        ("implicit", "no-reference", (("reference", "none"),)),
        ("explicit", "frozen-backbone", (("trainable", "head"),)),
        ("implicit", "frozen-backbone", (("trainable", "head"),)),
        ("explicit", "no-terminator", (("terminator", "strip"),)),
        ("implicit", "no-terminator", (("terminator", "strip"),)),
    ):
        published = ablation in ("mean-pooling", "no-reference")
        found.append(
            Recipe(
                "ablations",
                REAL_MODELS[0],
                kind,  # type: ignore[arg-type]
                2000,
                5,
                4,
                8,
                1,
                "float32",
                430,
                "switch of the published code" if published else "ours; nobody ran it",
                ablation,
                changes,
            )
        )
    return found


RECIPES: dict[str, list[Recipe]] = {
    "persona": _persona(),
    "hamiltonian": _hamiltonian(),
    "ultrafeedback": _real("ultrafeedback", 2000, 430),
    "rewardmath": _real("rewardmath", 1000, 330),
    "ablations": _ablations(),
}


def run_recipes(study: str, folder: Path, data: Path) -> Row:
    """Every recipe of a study, each in a folder of its own that a rerun continues; metrics by recipe and test file.

    The same command several times at once shares the recipes out. Processes that torchrun or accelerate launch started
    compute each recipe together instead; there, one command at a time.

    Raises:
        UserError: as `paper_pairs`, or of a training run.
    """
    from llm_experiments.distributed import launched
    from llm_experiments.training import run_training

    pairs, tests = paper_pairs(study, data, folder)
    recipes, found = recipes_of(study), {}
    while True:
        before = len(found)
        for recipe in recipes:
            if recipe.name not in found:
                with nullcontext(True) if launched() > 1 else locked(folder / recipe.name) as mine:
                    if mine:
                        found[recipe.name] = run_training(recipe.request(pairs, tests, folder))
        if len(found) == len(recipes):
            return {recipe.name: found[recipe.name] for recipe in recipes}
        if len(found) == before:
            time.sleep(POLL)


def recipes_of(study: str) -> list[Recipe]:
    """Raises UserError where the study has none."""
    if study not in RECIPES:
        raise UserError(f"study {study} has no recipe at the papers' scale; one of {', '.join(RECIPES)} has")
    return RECIPES[study]


def paper_pairs(study: str, data: Path, folder: Path) -> tuple[Path, list[Path]]:
    """The study's training and test pairs as files below `folder`: made here, or copied out of the public ones.

    Raises:
        UserError: its data are not there.
    """
    if study == "persona":
        return _write(folder, _persona_pairs(data))
    if study == "hamiltonian":
        return _write(folder, _hamiltonian_pairs())
    return _write(folder, _real_pairs(study, data))


def _persona_pairs(data: Path) -> dict[str, list[Pair]]:
    """Subsets of the test files are the conditions: the published ones and their controls."""
    from llm_experiments.tasks.persona import (
        CONDITIONS,
        EVALUATED,
        answers_of,
        read_personas,
        sample_prompts,
        training_pairs,
    )

    train, test = sample_prompts(read_personas(data / "persona")[EVALUATED], "constant", 80, 40, 875)
    sets = {"train": training_pairs(train, 875)}
    for name, prompts in (("train", train), ("test", test)):
        sets[f"answers_{name}_prompts"] = [
            Pair(f"{name}/{number}/{condition}/{form}", condition, question.text + "\n", agree, disagree)
            for number, question in enumerate(prompts)
            for condition in CONDITIONS
            for form, (agree, disagree) in enumerate(answers_of(condition))
        ]
    return sets


def _hamiltonian_pairs() -> dict[str, list[Pair]]:
    from llm_experiments.tasks.hamiltonian import NEGATIVES, draw_graphs, pairs

    sets = {"train": pairs(draw_graphs(1000, 517), "random", 517)}
    graphs = draw_graphs(200, 982)
    return sets | {f"test_{kind}": pairs(graphs, kind, 982) for kind in NEGATIVES}


def _real_pairs(study: str, data: Path) -> dict[str, list[Pair]]:
    from llm_experiments.tasks import rewardmath_study, ultrafeedback_study
    from llm_experiments.tasks.real_pairs import read_pairs

    module = rewardmath_study if study == "rewardmath" else ultrafeedback_study
    train = read_pairs(data, module.TRAIN)[: 1000 if study == "rewardmath" else 2000]
    return {"train": train} | {test.name: read_pairs(data, test.file) for test in module.TESTS}


def _write(folder: Path, sets: dict[str, list[Pair]]) -> tuple[Path, list[Path]]:
    paths = {}
    for name, pairs in sets.items():
        paths[name] = folder / "pairs" / f"{name}.jsonl"
        write_rows(paths[name], [asdict(pair) for pair in pairs])
    return paths.pop("train"), list(paths.values())
