"""Weights, tokenizers and small files from a folder or the hub: safetensors only, no foreign code, a dtype always."""

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from llm_experiments.hub import ask_hub, hub_cure
from simulations.results import UserError, read_json

# Whatever is wrong with a folder, transformers has another exception for it, down to ZeroDivisionError
LOAD_ERRORS = (Exception,)
MOST_LAYERS = 2000
ADAPTER_CONFIG = "adapter_config.json"
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
DTYPES = {name: getattr(torch, name) for name in ("float32", "bfloat16", "float16", "float64")}


def load_weights(source: Any, loader: str, dtype: str, *, new: tuple[str, ...] = (), **options: Any) -> Any:
    """A model by one of transformers' auto classes, or a copy of one in memory.

    Args:
        new: beginnings of the names of parameters that need not be in the files.

    Raises:
        UserError: there is none, its files are damaged or pickles, a parameter is not in them (transformers would draw
            it at random), or it is a Gemma in float16.
    """
    if not isinstance(source, str | Path):
        return copy.deepcopy(source).to(DTYPES[dtype])
    import transformers

    try:
        with quiet_transformers():
            config = load_config(source)
            if dtype == "float16" and "gemma" in config.model_type:
                raise UserError(f"{source}: Gemma overflows in float16; use --dtype bfloat16 or float32")
            check_size(config, source)
            cls = getattr(transformers, loader)
            model, report = cls.from_pretrained(
                str(source),
                dtype=DTYPES[dtype],
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # refused below, by name
                trust_remote_code=False,
                **options,
            )
    except UserError:
        raise
    except LOAD_ERRORS as error:
        if told := foreign_code(source, error) or without_weights(source):
            raise UserError(told) from None
        hint = "is it a model folder?" if Path(source).exists() else f"there is no such folder; {hub_cure(str(source))}"
        raise UserError(f"{source}: no model could be loaded ({first_line(error)}); {hint}") from None
    if wrong := sorted((name, tuple(stored), tuple(wanted)) for name, stored, wanted in report["mismatched_keys"]):
        name, stored, wanted = wrong[0]
        raise UserError(
            f"{source}: {name} has shape {stored} in its files and {wanted} by its config.json; they disagree about "
            "the model's sizes: download or save both again"
        )
    drawn = set(report["missing_keys"]) & {name for name, _ in model.named_parameters()}
    if lost := sorted(name for name in drawn if not name.startswith(new)):
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        raise UserError(
            f"{source}: {', '.join(lost[:3])}{more} is not in its files and would be random; is it the kind of model "
            "that it is taken for?"
        )
    return model


def load_config(source: str | Path) -> Any:
    """A model's config.json; a mistake in it is told as its own, not as one of the weights or the tokenizer.

    Raises:
        UserError: there is none, it cannot be read, or its family needs code of its own.
    """
    from transformers import AutoConfig

    check_place(source)
    try:
        return AutoConfig.from_pretrained(str(source), trust_remote_code=False)
    except LOAD_ERRORS as error:
        if told := foreign_code(source, error):
            raise UserError(told) from None
        if not Path(source).exists():
            raise UserError(
                f"{source}: no model could be loaded ({first_line(error)}); there is no such folder; "
                f"{hub_cure(str(source))}"
            ) from None
        path = Path(source) / "config.json"
        if not path.is_file():
            raise UserError(f"{path}: is missing; is {source} a model folder?") from None
        raise UserError(f"{path}: is no config ({first_line(error)}); correct it, or download it again") from None


def without_weights(source: str | Path) -> str:
    """What to say of a folder without a single safetensors file; empty for any other."""
    if not Path(source).is_dir() or any(Path(source).glob("*.safetensors")):
        return ""
    if pickles := sorted(Path(source).glob("pytorch_model*.bin")):
        return (
            f"{source}: its weights are pickled ({pickles[0].name}), which is never read; save them as safetensors, "
            "or take a model that has them"
        )
    return f"{source}: has no weights (no model.safetensors); download or save it again"


def check_size(config: Any, source: Any) -> None:
    """Raises UserError where a config asks for so many layers that building them would not end."""
    layers = getattr(config.get_text_config(), "num_hidden_layers", 0)
    if isinstance(layers, int) and layers > MOST_LAYERS:
        raise UserError(f"{source}: its config.json says {layers} layers; correct num_hidden_layers")


@torch.no_grad()
def check_runs(model: Any, name: str) -> None:
    """Two tokens through a model that was loaded: a config may fit the weights and still be none.

    Raises:
        UserError: the model stops.
    """
    try:
        model.base_model(input_ids=torch.zeros(1, 2, dtype=torch.long, device=model.device), use_cache=False)
    except torch.OutOfMemoryError:
        raise
    except LOAD_ERRORS as error:
        raise UserError(f"{name}: the model cannot be run ({first_line(error)}); is its config.json damaged?") from None


def stored_file(source: str | Path, name: str) -> Path | None:
    """A file beside a model, fetched from the hub if `source` is no folder; None where there is none."""
    if Path(source).exists():
        return path if (path := Path(source) / name).is_file() else None
    if not HUB_NAME.fullmatch(str(source)):
        return None
    from transformers.utils import cached_file

    ask_hub(str(source))
    try:
        found = cached_file(
            str(source),
            name,
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    except (OSError, ValueError):
        return None
    return Path(found) if found else None


def check_place(source: str | Path) -> None:
    """Raises UserError where `source` can be no model's: the hub would be asked for a minute, in vain."""
    if not Path(source).exists() and not HUB_NAME.fullmatch(str(source)):
        raise UserError(f"{source}: no such folder, and no hub name (owner/name); check the path")


def adapter_config(source: Any) -> dict[str, Any]:
    """A peft folder's config; empty for anything else."""
    path = stored_file(source, ADAPTER_CONFIG) if isinstance(source, str | Path) else None
    config = read_json(path) if path else {}
    base = config.get("base_model_name_or_path") if isinstance(config, dict) else 0
    if not isinstance(base, str | None) or base == str(source):
        raise UserError(f"{path}: does not say which model the adapter lies over; set base_model_name_or_path")
    return config


def adapter_base(source: Any) -> str:
    """What an adapter lies over; empty if `source` is none."""
    config = adapter_config(source)
    base = config.get("base_model_name_or_path") or ""
    if config and not base:
        raise UserError(f"{source}/{ADAPTER_CONFIG}: base_model_name_or_path is missing; write the base model there")
    return base


def tensor_names(source: str | Path) -> dict[str, Path]:
    """Names of the tensors in a model's safetensors files, and where each one is; only headers are read."""
    if Path(source).is_dir():
        files = sorted(Path(source).glob("*.safetensors"))
    else:
        index = stored_file(source, "model.safetensors.index.json")
        shards = set(read_json(index)["weight_map"].values()) if index else {"model.safetensors"}
        files = [path for name in (*sorted(shards), "value_head.safetensors") if (path := stored_file(source, name))]
    places = {}
    for path in files:
        try:
            with safe_open(path, framework="pt") as file:
                places |= dict.fromkeys(file.keys(), path)
        except SafetensorError as error:
            raise UserError(f"{path}: is damaged ({first_line(error)}); download or save it again") from None
    return places


def load_tokenizer(source: str | Path) -> Any:
    """The tokenizer of a model, or of an adapter's base where the adapter came without."""
    from transformers import AutoTokenizer

    check_place(source)
    if not Path(source).exists():
        ask_hub(str(source))
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(source), trust_remote_code=False)
        tokenizer(["Yes", "No"])  # settings of no kind come to light when it is used
        return tokenizer
    except BaseException as error:
        # a damaged tokenizer.json can make the Rust below panic, which is no Exception
        if not isinstance(error, LOAD_ERRORS) and type(error).__name__ != "PanicException":
            raise
        if told := foreign_code(source, error):
            raise UserError(told) from None
        if base := adapter_base(source):
            return load_tokenizer(base)
        if stored_file(source, "config.json"):
            load_config(source)  # a tokenizer reads it too, and would take the blame
        if not Path(source).exists():
            raise UserError(
                f"{source}: no tokenizer could be loaded ({first_line(error)}); {hub_cure(str(source))}"
            ) from None
        found = [path for names in ("tokenizer*", "vocab*", "*.model") for path in Path(source).glob(names)]
        cause = "there is no tokenizer.json" if Path(source).is_dir() and not found else first_line(error)
        raise UserError(
            f"{source}: no tokenizer could be loaded ({cause}); download or save the tokenizer's files again"
        ) from None


def foreign_code(source: Any, error: BaseException) -> str:
    """What to say where transformers would have had to run a folder's own code; empty for any other `error`.

    `trust_remote_code=False` is what makes it say so: unless it is given, transformers asks on the terminal.
    """
    if "trust_remote_code" not in str(error):
        return ""
    return f"{source}: needs code of its own, which is never run here; choose a family that transformers knows"


def check_same_tokens(tokenizer: Any, place: str) -> None:
    """A reference of equal size is not enough: a token must mean the same to both.

    Raises:
        UserError: the tokenizer of the reference at `place` has other tokens.
    """
    try:
        theirs = load_tokenizer(place).get_vocab()
    except UserError:
        return  # it came without a tokenizer: the number of tokens has to do
    mine, added = tokenizer.get_vocab(), tokenizer.get_added_vocab()
    wrong = sorted(word for word, number in theirs.items() if mine.get(word) != number)
    wrong += sorted(word for word in mine if word not in theirs and word not in added)
    if wrong:
        raise UserError(
            f"{place}: as reference its tokenizer differs from the policy's in {len(wrong)} tokens (such as "
            f"{wrong[0]!r}); give the model that the policy was trained from, or --reference none"
        )


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No load reports and no bars for files: what matters in them is checked, and said in our own words."""
    from transformers.utils import logging as theirs

    level, bars = theirs.get_verbosity(), theirs.is_progress_bar_enabled()
    theirs.set_verbosity_error()
    theirs.disable_progress_bar()
    try:
        yield
    finally:
        theirs.set_verbosity(level)
        if bars:
            theirs.enable_progress_bar()


def without_dropout(model: Any) -> None:
    """A policy in training mode must equal its reference."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, 0.0)


def find_device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
        return device
    except (RuntimeError, AssertionError):  # the latter from a torch that was built without CUDA
        here = ["auto", "cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
        raise UserError(f"--device {name!r} is no device of this machine, which has {', '.join(here)}") from None


def first_line(error: BaseException) -> str:
    """What an exception says, in a line: the second, too, where the first announces it by a colon."""
    first, *rest = (str(error).strip() or type(error).__name__).split("\n")
    if isinstance(error, KeyError):
        return f"{first} is missing"
    return (f"{first} {rest[0].strip()}" if first.endswith(":") and rest else first)[:200]
