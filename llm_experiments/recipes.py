"""The studies at the papers' own scale: which model is trained on what, how, and what that costs.

    rewardgap study persona --scale paper --plan      what would run, GPU hours, memory and GPUs
    rewardgap study persona --scale paper             runs it, one `rewardgap train` folder per recipe

Settings are those of the published code of Razin et al. (2025) (arXiv 2507.07981, princeton-pli/exrm-vs-imrm): AdamW at
a constant 1e-6, no warm-up, no clipping, no weight decay, beta 0.01, all parameters, effective batch 32, last epoch's
model. Not as published: runs are seeded, the last step of an epoch has its full weight, and no sequence loses its last
token.

Those of lin2024 are of Lin et al. (2024) (arXiv 2409.03650) as far as they are known: models, sets, epochs, learning
rates, beta. Batch, schedule, length, precision and the parts of the sets are ours.
"""

import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from llm_experiments.locks import POLL, locked
from llm_experiments.paper_pairs import paper_pairs
from llm_experiments.settings import TrainRequest
from simulations.results import Claim, Row, UserError
from theory.rewards import Kind

BILLION = {  # parameters, as the model cards say
    "google/gemma-2b": 2.51,
    "google/gemma-7b": 8.54,
    "mistralai/Mistral-7B-v0.1": 7.24,
    "EleutherAI/pythia-1b": 1.01,
    "meta-llama/Llama-3.2-1B": 1.24,
    "meta-llama/Llama-3.2-1B-Instruct": 1.24,
    "meta-llama/Llama-3.2-3B-Instruct": 3.21,
    "meta-llama/Llama-3.1-8B-Instruct": 8.03,
    "Qwen/Qwen2.5-1.5B-Instruct": 1.54,
}
# FLOPs a second: an A100's by its data sheet, at 40 % utilisation; float32 without TF32, transformers' default
RATE = {"float32": 0.4 * 19.5e12, "bfloat16": 0.4 * 312e12}
OUTPUT_LAYER = {"meta-llama/Llama-3.2-1B-Instruct": 0.26}  # as BILLION; tied, so that training it alone copies it
GPU = 80  # gigabytes, of an A100 or H100
GATED = ("google/gemma-", "meta-llama/")  # their terms are to be accepted on the hub first
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
    trained_on: str = "train"  # which of the study's files
    learning_rate: float = 1e-6
    beta: float = 0.01
    max_length: int = 0

    @property
    def name(self) -> str:
        trained_on = self.trained_on if self.trained_on != "train" else ""
        return "-".join(part for part in (self.model.split("/")[-1], self.kind, self.ablation, trained_on) if part)

    @property
    def _frozen(self) -> float:
        """Billions of parameters that are never trained, without the reference's."""
        return BILLION[self.model] if dict(self.changes).get("trainable") == "head" else 0.0

    @property
    def _trained(self) -> float:
        if not self._frozen:
            return BILLION[self.model]
        return 0.0 if self.kind == "explicit" else OUTPUT_LAYER[self.model]

    @property
    def _reference(self) -> float:
        has_one = self.kind == "implicit" and dict(self.changes).get("reference") != "none"
        return BILLION[self.model] if has_one else 0.0

    @property
    def gpu_hours(self) -> float:
        """6 FLOPs per trained parameter and token, 2 per frozen one, and 2 more for a reference, read once."""
        tokens = 2 * self.pairs * self.tokens * 1e9
        each = (6 * self._trained + 2 * self._frozen) * self.epochs + 2 * self._reference
        return tokens * each / RATE[self.dtype] / 3600

    @property
    def gigabytes(self) -> float:
        """Weights, and of trained ones gradients and AdamW's two moments, and the reference; all devices together,
        without activations. At most: one process alone keeps the reference off its device while it trains."""
        bytes_each = 4 if self.dtype == "float32" else 2
        return bytes_each * (4 * self._trained + self._frozen + self._reference)

    @property
    def gpus(self) -> int:
        """That hold it, at least."""
        return math.ceil(self.gigabytes / GPU)

    def accumulation_on(self, processes: int) -> int:
        """Passes of each of `processes` devices before a step, which make the published batch.

        Raises:
            UserError: so many cannot share it out evenly.
        """
        passes = self.accumulation * self.devices
        if passes % processes:
            fitting = ", ".join(str(number) for number in range(1, passes + 1) if passes % number == 0)
            raise UserError(
                f"recipe {self.name}: {processes} processes cannot share its {passes} passes of {self.batch} pairs a "
                f"step evenly; start one of {fitting}"
            )
        return passes // processes

    def request(
        self, pairs: Path, tests: Sequence[Path], output: Path, *, model: str = "", processes: int = 1
    ) -> TrainRequest:
        """What `rewardgap train` is asked for where `processes` train together; `model` in place of the recipe's own.
        The batch of a step is the same for any number of them.

        Raises:
            UserError: as `accumulation_on`.
        """
        return TrainRequest(
            kind=self.kind,
            model=model or self.model,
            pairs=str(pairs),
            eval_pairs=tuple(map(str, tests)),
            output=output / self.name,
            learning_rate=self.learning_rate,
            num_train_epochs=float(self.epochs),
            per_device_train_batch_size=self.batch,
            gradient_accumulation_steps=self.accumulation_on(processes),
            beta=self.beta if self.kind == "implicit" else 0.0,
            max_length=self.max_length,
            dtype=self.dtype,  # type: ignore[arg-type]
            bad_pairs="drop",
            **dict(self.changes),  # type: ignore[arg-type]
        )

    def to_row(self) -> Row:
        cost = {"gpu_hours": self.gpu_hours, "gigabytes": self.gigabytes, "gpus": self.gpus}
        return {**asdict(self), "name": self.name, **cost, "gated": self.model.startswith(GATED)}


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
        source = "switch of the published code" if published else "ours; nobody ran it"
        plain = Recipe("ablations", REAL_MODELS[0], kind, 2000, 5, 4, 8, 1, "float32", 430, source)  # type: ignore[arg-type]
        found.append(replace(plain, ablation=ablation, changes=changes))
    return found


def _lin() -> list[Recipe]:
    """Every set as training set; sizes are those of the sets, of which a part is not trained on (`paper_pairs.py`)."""
    sizes = {
        "hh-rlhf": 161_000,
        "arena": 22_000,  # of 33,000, ties and different histories left out; a guess
        "ultrafeedback": 61_000,
        "nectar": 366_000,
        "summarize-from-feedback": 93_000,
        "webgpt": 14_000,  # of 19,600, ties left out; a guess
    }
    found = []
    for model in LIN_MODELS:
        for trained_on, pairs in sizes.items():
            for kind in KINDS:
                epochs, rate = (1, 5e-6) if kind == "explicit" else (2, 1e-6)
                source = "abstracts and summaries; batch, length and precision ours"
                recipe = Recipe("lin2024", model, kind, pairs, epochs, 4, 1, 8, "bfloat16", 400, source)
                found.append(replace(recipe, trained_on=trained_on, learning_rate=rate, beta=0.03, max_length=2048))
    return found


LIN_MODELS = ("google/gemma-2b", "google/gemma-7b", "mistralai/Mistral-7B-v0.1")

RECIPES: dict[str, list[Recipe]] = {
    "persona": _persona(),
    "hamiltonian": _hamiltonian(),
    "ultrafeedback": _real("ultrafeedback", 2000, 430),
    "rewardmath": _real("rewardmath", 1000, 330),
    "ablations": _ablations(),
    "lin2024": _lin(),
}


def run_recipes(study: str, folder: Path, data: Path) -> Row:
    """Every recipe of a study, each in a folder of its own that a rerun continues; metrics by recipe and test file.

    The same command several times at once shares the recipes out. Processes that torchrun or accelerate launch started
    compute each recipe together instead; there, one command at a time.

    Raises:
        UserError: the processes that compute together cannot make a batch, or the hub keeps a model back, before
            anything is written; else as `paper_pairs`, or of a training run.
    """
    from llm_experiments.distributed import launched
    from llm_experiments.training import run_training
    from llm_experiments.weights import load_tokenizer

    recipes, found = recipes_of(study), {}
    for recipe in recipes:
        recipe.accumulation_on(launched())
    for model in dict.fromkeys(one.model for one in recipes if not (folder / one.name / "done.json").exists()):
        load_tokenizer(model)
    trains, tests = paper_pairs(study, data, folder)
    while True:
        before = len(found)
        for recipe in recipes:
            if recipe.name not in found:
                with nullcontext(True) if launched() > 1 else locked(folder / recipe.name) as mine:
                    if mine:
                        request = recipe.request(trains[recipe.trained_on], tests, folder, processes=launched())
                        found[recipe.name] = run_training(request)
        if len(found) == len(recipes):
            return {recipe.name: found[recipe.name] for recipe in recipes}
        if len(found) == before:
            time.sleep(POLL)


def recipe_claims(study: str, metrics: Row) -> list[Claim]:
    """What the recipes' metrics say together, of the one study that has a table for it."""
    from llm_experiments.tasks.lin_claims import paper_claims

    return paper_claims(metrics, recipes_of(study)) if study == "lin2024" else []


def recipes_of(study: str) -> list[Recipe]:
    """Raises UserError where the study has none."""
    if study not in RECIPES:
        raise UserError(f"study {study} has no recipe at the papers' scale; one of {', '.join(RECIPES)} has")
    return RECIPES[study]
