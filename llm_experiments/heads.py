"""The linear head of an explicit reward model: drawn anew, or read from beside its backbone."""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from llm_experiments.weights import DTYPES, first_line, stored_file
from simulations.results import UserError

HEAD_FILE = "head.safetensors"  # the explicit head, float32, beside whatever else holds it


def new_head(config: Any, seed: int, dtype: str = "float32") -> nn.Linear:
    """A linear head without bias, float32 under any smaller `dtype`, normal with the config's `initializer_range`
    (0.02 where it has none).

    Not zero: every pair would be a tie before the first step.
    """
    text = config.get_text_config()
    head = nn.Linear(text.hidden_size, 1, bias=False, dtype=torch.float32)
    spread = getattr(text, "initializer_range", None) or 0.02
    with torch.no_grad():
        head.weight.normal_(0.0, spread, generator=torch.Generator().manual_seed(seed))
    return head.to(torch.promote_types(DTYPES[dtype], torch.float32))


def load_head(source: str | Path) -> Float[torch.Tensor, "1 dim"]:
    """The weights of a saved explicit head.

    Raises:
        UserError: the file is missing or damaged: a new head in its place would be noise.
    """
    path = stored_file(source, HEAD_FILE)
    try:
        weight = load_file(str(path or Path(source) / HEAD_FILE))["weight"]
        if weight.ndim != 2 or len(weight) != 1 or not weight.is_floating_point():
            raise ValueError(f"a {weight.dtype} of shape {tuple(weight.shape)} is no head")
        return weight
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise UserError(
            f"{path or Path(source) / HEAD_FILE}: the head cannot be read ({first_line(error)}); train again, or find "
            "the file"
        ) from None
