"""What one can ask of pretraining, training and encoding: the flags, their defaults and their help.

Plain dataclasses without torch, since the front door reads them for `--help`. The string under a field is its help.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from simulations.results import UserError
from theory.rewards import Kind

Architecture = Literal["gemma", "gemma2", "mistral"]
Pooling = Literal["last", "end_of_turn", "mean"]
ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)

# The smallest value that makes sense; names mean the same in every command. Nothing may be infinite or no number.
AT_LEAST = {
    **dict.fromkeys(("hidden", "layers", "heads", "steps", "batch_size", "max_positions", "checkpoint_every"), 1),
    **dict.fromkeys(("per_device_train_batch_size", "gradient_accumulation_steps", "logging_steps", "examples"), 1),
    **dict.fromkeys(("weight_decay", "warmup_steps", "max_grad_norm", "max_length", "tie_tolerance", "beta"), 0),
    **dict.fromkeys(("seed", "save_steps", "limit", "fail_under"), 0),
    "learning_rate": 0,  # at which nothing is learnt: a control
    "block": 2,  # one token alone predicts nothing
    "vocab_size": 5,  # four special tokens, and one to speak with
    **dict.fromkeys(("lora_r", "lora_alpha"), 1),
    **dict.fromkeys(("lora_dropout", "eval_fraction", "consistency"), 0),
    "max_steps": -1,
}
ABOVE_ZERO = ("num_train_epochs", "augment_strength")
LARGEST = 2**31 - 1  # of whole numbers: what libraries below hold them in
AT_MOST = {
    "seed": 2**32 - 1,
    "augment_strength": 1,
    "lora_dropout": 1,
    "eval_fraction": 0.9,
    "fail_under": 1,
}  # the seed's is numpy's


class _Checked:
    """Settings also come from Python, past the command line's checks: a misspelt choice must not pass for a default,
    and a number out of range must not be met half-way through a run."""

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self)).items():
            known = _choices(kind)
            if known and getattr(self, name) not in known:
                raise UserError(f"--{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
            _check_range(name, getattr(self, name))


def _check_range(name: str, value: Any) -> None:
    """Raises UserError where a number is not finite or outside of what its name allows."""
    if isinstance(value, tuple):
        for item in value:
            _check_range(name, item)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    least, most = AT_LEAST.get(name), AT_MOST.get(name)
    if isinstance(value, int) and abs(value) > (most or LARGEST):
        raise UserError(f"--{name} must be at most {most or LARGEST} in size, got {str(value)[:30]}")
    if not math.isfinite(value):
        raise UserError(f"--{name} must be a finite number, got {value}")
    if name in ABOVE_ZERO and value <= 0:
        raise UserError(f"--{name} must be greater than 0, got {value:g}")
    if least is not None and value < least:
        raise UserError(f"--{name} must be at least {least}, got {value:g}")
    if most is not None and value > most:
        raise UserError(f"--{name} must be at most {most}, got {value}")


def _choices(kind: Any) -> tuple[str, ...]:
    """The values that a type allows; empty if it is not made of Literals."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    parts = [_choices(part) for part in get_args(kind)]
    return tuple(value for part in parts for value in part) if parts and all(parts) else ()


# Flags that say nothing to the other kinds, with the values that say nothing at all.
OF_ONE_KIND = {
    "reference": ("implicit", "auto"),
    "beta": ("implicit", 0.0),
    "pooling": ("explicit", "last"),
    "generative_loss": ("generative", "cross_entropy"),
}


def check_kind(request: Any, kind: Kind) -> None:
    """Raises UserError where a flag was given that a model of this kind would not look at."""
    for name, (owner, silent) in OF_ONE_KIND.items():
        value = getattr(request, name, silent)
        if kind != owner and value != silent:
            raise UserError(f"--{name} {value}: is for --kind {owner} only, and this is {kind}; leave it out")


@dataclass(frozen=True)
class PretrainSettings(_Checked):
    """Sizes and schedule. The defaults make a model of about 1.5 million parameters in a few minutes on two cores."""

    hidden: int = 128
    """Width of the hidden states"""
    layers: int = 4
    """Number of transformer layers"""
    heads: int = 4
    """Attention heads per layer; the width must be a multiple of twice their number"""
    tied: bool | None = None
    """Share input and output embeddings; the family's own habit unless given (Gemma and Gemma-2 yes, Mistral no)"""
    vocab_size: int = 4096
    """Upper bound on the tokenizer's size; a word-level tokenizer needs no more than the words there are"""
    tokenizer: Literal["bpe", "word"] = "bpe"
    """Byte-level BPE, or one token per word of the text"""
    block: int = 128
    """Longest piece of a document, in tokens; longer documents are cut"""
    max_positions: int = 1024
    """Longest sequence that the model will accept later, in tokens"""
    steps: int = 1000
    """Optimiser steps"""
    batch_size: int = 32
    """Pieces of text per step"""
    learning_rate: float = 3e-3
    """Peak of a cosine that starts with 5 % warm-up and ends at a tenth"""
    weight_decay: float = 0.0
    """AdamW's decoupled weight decay"""
    seed: int = 0
    """Initial weights and order of the text"""
    checkpoint_every: int = 200
    """Steps between checkpoints, from which a killed run continues"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden % (2 * self.heads):
            raise UserError(
                f"--hidden {self.hidden} must be a multiple of twice --heads (of {2 * self.heads}); change one of them"
            )
        if self.block > self.max_positions:
            raise UserError(
                f"--block {self.block} is longer than --max_positions {self.max_positions}; make one at most the other"
            )


@dataclass(frozen=True)
class EncodingSettings(_Checked):
    """From text to tokens, for training and scoring alike."""

    max_length: int = 1024
    """Longest encoding of a pair under any kind, prompt and response together, in tokens; 0 for no limit"""
    over_length: Literal["drop", "truncate_prompt", "error"] = "drop"
    """What to do with longer pairs; responses are never cut"""
    terminator: Literal["ensure", "as_is", "strip"] = "ensure"
    """End every response with the template's end of turn (else EOS), leave its end alone, or take the end token off"""
    template: Literal["auto", "none"] = "auto"
    """Use the tokenizer's chat template where it has one, or plain text always"""
    bad_pairs: Literal["error", "drop"] = "error"
    """What to do with pairs that cannot be ranked: an empty response, two equal ones, differing prompts, tied scores"""


@dataclass(frozen=True)
class TrainSettings(_Checked):
    """Optimisation. Flags are called as in TRL; the defaults are the papers' habits, at a rate for small models."""

    learning_rate: float = 1e-4
    """The optimiser's learning rate"""
    num_train_epochs: float = 1.0
    """Passes over the pairs"""
    max_steps: int = -1
    """Optimiser steps; replaces num_train_epochs where positive"""
    per_device_train_batch_size: int = 8
    """Pairs per forward pass and device"""
    gradient_accumulation_steps: int = 1
    """Forward passes per optimiser step; the gradient is the one of all their pairs together"""
    optim: str = "adamw_torch"
    """Any of transformers' optimisers (sgd, adamw_torch_fused, ...)"""
    weight_decay: float = 0.0
    """AdamW's decoupled weight decay"""
    warmup_steps: float = 0.0
    """Steps of linear warm-up; below 1 a share of all steps"""
    lr_scheduler_type: str = "constant"
    """Any of transformers' schedules; constant turns into constant_with_warmup where there is a warm-up"""
    max_grad_norm: float = 0.0
    """Clip gradients to this norm; 0 for no clipping"""
    trainable: Literal["all", "head"] = "all"
    """Train every parameter, or only the head (of an implicit or generative model: the output layer, untied)"""
    generative_loss: Literal["cross_entropy", "bradley_terry"] = "cross_entropy"
    """Loss of generative models; Bradley-Terry on P(Yes) cannot fall below 0.313"""
    bf16: bool = False
    """Matrix products in bfloat16, weights, heads and sums as they are (autocast)"""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time"""
    group_by_length: bool = False
    """Steps of pairs of similar length: little is padded, but which pairs meet depends on their lengths"""
    seed: int = 0
    """New head's weights and order of the pairs"""
    logging_steps: int = 10
    """Optimiser steps between rows of log.jsonl"""
    save_steps: int = 0
    """Optimiser steps between checkpoints, from which a killed run continues; 0: one every ten minutes"""
    report_to: str = "none"
    """Also log to one of transformers' loggers (wandb, tensorboard, trackio, ...)"""


@dataclass(frozen=True)
class ModelSettings(_Checked):
    """Which reward is read off which weights."""

    reference: str = "auto"
    """Implicit only: auto (what the policy was trained from), none (log-probability alone), or a model"""
    beta: float = 0.0
    """Implicit only: factor of the log-ratio; 0: to train 0.1, to score the model's own, else 1 with a note"""
    dtype: Literal["float32", "bfloat16", "float16", "float64"] = "float32"
    """Precision of the weights; rewards are summed in float64 under any"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""


@dataclass(frozen=True)
class CacheSettings(_Checked):
    """Where what was computed once is kept for other runs."""

    cache: str = "auto"
    """Folder for the reference's log-probabilities; auto: $REWARDGAP_CACHE, else ~/.cache/rewardgap; none: keep none"""


@dataclass(frozen=True)
class StartSettings(_Checked):
    """What is added to the language model before it is trained."""

    pooling: Pooling = "last"
    """Explicit only: read the reward at the last token, at the last end of turn, or averaged over the response"""
    use_peft: bool = False
    """Train LoRA matrices (and an explicit model's head) instead of the model's own weights"""
    lora_r: int = 16
    """Rank of the LoRA matrices"""
    lora_alpha: int = 32
    """Their change is multiplied by alpha / r"""
    lora_dropout: float = 0.0
    """Dropout before them; any but 0 makes training differ from scoring"""
    lora_target_modules: tuple[str, ...] = ()
    """Names of the layers that get one; every linear layer but the output layer unless given"""


@dataclass(frozen=True)
class AugmentSettings(_Checked):
    """Training pairs once more in other words, so that a model learns to read what the words have in common."""

    augment: tuple[str, ...] = ()
    """Transformations of the stress tests that keep the meaning: each adds an edited copy of every pair it changes"""
    augment_strength: float = 0.5
    """Share of the places that such an edit touches, above 0 and at most 1"""
    augment_rewrites: tuple[str, ...] = ()
    """Files of rewritten pairs as further copies, joined by orig_chosen and orig_rejected, otherwise by id"""
    consistency: float = 0.0
    """Add so many times the mean squared difference between the margins of a pair and of its edited copy to the loss"""


@dataclass(frozen=True, kw_only=True)
class TrainRequest(EncodingSettings, TrainSettings, StartSettings, AugmentSettings, ModelSettings, CacheSettings):
    """Train one reward model."""

    kind: Kind
    """How the reward is read off: a head, a log-ratio, or P(Yes)"""
    model: str
    """Folder or hub name of a causal language model"""
    pairs: str
    """File, datasets folder or hub name of the training pairs, or hh-rlhf, arena, ultrafeedback, nectar,
    summarize-from-feedback, webgpt"""
    output: Path
    """Folder of the run; the same command again continues it"""
    eval_pairs: tuple[str, ...] = ()
    """Further pairs to score with the trained model"""
    eval_fraction: float = 0.0
    """Hold out the pairs of about this share of the prompts (by hash, whatever the seed), and score them afterwards"""
    split: str = "train"
    """Split of a data set that has several"""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_kind(self, self.kind)


@dataclass(frozen=True, kw_only=True)
class ScoreRequest(EncodingSettings, ModelSettings, CacheSettings):
    """Score pairs with a reward model."""

    model: str
    """Folder or hub name of a reward model, ours or another's"""
    pairs: tuple[str, ...]
    """Files, datasets folders or hub names of pairs"""
    output: Path
    """Folder of the run; finished files are skipped"""
    train_pairs: tuple[str, ...] = ()
    """What the model was trained on, for the baselines and the overlap audit; a model of ours knows it unless given"""
    against: tuple[Path, ...] = ()
    """Folders of other runs that scored the same pairs: every two models are compared by paired tests"""
    kind: Kind | Literal["auto"] = "auto"
    """How the reward is read off; auto where the model says so itself"""
    batch_size: int = 16
    """Responses per forward pass; changes no score"""
    split: str = "train"
    """Split of a data set that has several"""
    tie_tolerance: float = 1e-5
    """Margins up to this size are ties"""


@dataclass(frozen=True, kw_only=True)
class DynamicsRequest(EncodingSettings, ModelSettings):
    """Compare predicted with measured reward changes."""

    model: str
    """Folder or hub name of a language model, or of a reward model of ours"""
    train_pairs: str
    """File, datasets folder or hub name of the pairs that a step is on; their mean loss, all at once"""
    pairs: str
    """File, datasets folder or hub name of the pairs whose rewards change"""
    output: Path
    """Folder of the run"""
    step: tuple[float, ...] = ()
    """Sizes of the one plain gradient step; 1e-5 for the head and 1e-3 where hidden states move unless given"""
    kind: Kind | Literal["auto"] = "auto"
    """How the reward is read off; auto where the model says so itself, else each of the three"""
    trainable: Literal["both", "head", "all"] = "both"
    """What the step moves: the head (of an implicit or generative model an output layer of its own), all, or either"""
    max_steps: int = 0
    """Also train for so many plain gradient steps and compare along the way; 0 for the one step alone"""
    learning_rate: float = 1e-3
    """Size of those training steps"""
    predict: Literal["none", "head", "all"] = "none"
    """Say before training which pairs it will rank right, by the head's coefficients or those of all parameters"""
    generative_loss: Literal["cross_entropy", "bradley_terry"] = "cross_entropy"
    """Loss of generative models"""
    dtype: Literal["float64", "float32"] = "float64"
    """Precision of the weights; what a small step does drowns in the rounding of smaller types"""
    batch_size: int = 8
    """Pairs per forward pass"""
    seed: int = 0
    """A new explicit head's weights"""
    tie_tolerance: float = 1e-5
    """Margins up to this size are ties"""
    split: str = "train"
    """Split of a data set that has several"""


@dataclass(frozen=True, kw_only=True)
class DoctorRequest(EncodingSettings, ModelSettings):
    """Check a model and its tokenizer."""

    model: str
    """Folder or hub name of a language model to train from, or of a reward model, ours or another's"""
    kind: Kind | Literal["auto"] = "auto"
    """What it is or shall become; auto reads it from the files, and checks a language model for every kind"""
    pairs: str = ""
    """File, datasets folder or hub name of pairs to look at; a few built-in ones unless given"""
    examples: int = 6
    """Pairs that the model itself is run on, of all lengths"""
    split: str = "train"
    """Split of a data set that has several"""


@dataclass(frozen=True, kw_only=True)
class StressRequest(EncodingSettings, ModelSettings, CacheSettings):
    """Stress-test reward models: edits that keep the meaning should keep the ranking."""

    model: tuple[str, ...]
    """Folders or hub names of reward models, ours or others'; several are compared"""
    pairs: tuple[str, ...]
    """Files, datasets folders or hub names of pairs"""
    output: Path
    """Folder of the run; asked for more transformations, strengths, rewrites or models, it computes only those"""
    kind: Kind | Literal["auto"] = "auto"
    """How the reward is read off models that do not say so themselves"""
    transforms: tuple[str, ...] = ()
    """Names of transformations, or all, or none (rewrites only); the default suite of ten unless given. `list` prints
    what there is, and stops"""
    strength: tuple[float, ...] = (0.5,)
    """Shares of the places that an edit touches, above 0 and at most 1"""
    sides: tuple[str, ...] = ("responses",)
    """What invariance edits touch: responses, prompt; with both, a grid of combined edits is added"""
    rewrites: tuple[str, ...] = ()
    """Files of rewritten pairs (paraphrases, translations), joined by orig_chosen and orig_rejected, otherwise by id"""
    train_pairs: tuple[str, ...] = ()
    """The pairs that the models were trained on (models trained here know theirs): how well their tokens foretell what
    changes, and given here, how well the theory's coefficient does"""
    full: bool = False
    """Every transformation, three strengths, both sides, and the grid of combined edits"""
    limit: int = 0
    """Take so many pairs that are not too long, evenly from the files; 0 for all. Another limit needs another folder"""
    seed: int = 0
    """Random choices of edits, and which pairs --limit takes"""
    fail_under: float | None = None
    """End with exit code 3 if an accuracy (no limit) on all pairs, as they are or after an invariance edit, is below"""
    fail_on: tuple[str, ...] = ()
    """The same for verdicts: token-sensitive, uninformative, length-driven, inconclusive"""
    batch_size: int = 16
    """Responses per forward pass; changes no score"""
    split: str = "train"
    """Split of a data set that has several"""
    tie_tolerance: float = 1e-5
    """Margins up to this size are ties"""
