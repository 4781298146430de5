"""`rewardgap.json`, which this project writes beside a model it saves: read, and checked before it is believed."""

import math
from pathlib import Path
from typing import Any, get_args

from llm_experiments.settings import EncodingSettings, Pooling
from llm_experiments.weights import stored_file
from simulations.results import UserError, read_json
from theory.rewards import KINDS

MANIFEST = "rewardgap.json"
FORMATS = ("classifier", "backbone", "causal_lm", "adapter")
TYPES: dict[str, type | tuple[type, ...]] = {
    "beta": (int, float),
    "reference": str,
    "base": str,
    "end_token_id": int,
    "encoding": dict,
    "training": dict,
    "pairs": str,
    "pairs_sha256": str,
    "split": str,
    "eval_fraction": (int, float),
}
CHOICES = {"kind": KINDS, "format": FORMATS, "pooling": get_args(Pooling)}


def read_manifest(source: Any) -> dict[str, Any]:
    """Empty for a model of anybody else's.

    Raises:
        UserError: the file does not say what kind of model this is, or says something that cannot be.
    """
    path = stored_file(source, MANIFEST) if isinstance(source, str | Path) else None
    if path is None:
        return {}
    manifest = read_json(path)
    if not isinstance(manifest, dict) or manifest.get("kind") not in KINDS:
        raise UserError(f"{path}: does not say which kind of reward model this is; the save is damaged, train again")
    if damaged := _damaged(manifest):
        raise UserError(f'{path}: "{damaged}" is {str(manifest[damaged])[:60]!r}; the save is damaged, train again')
    return manifest


def _damaged(manifest: dict[str, Any]) -> str:
    """The first field that holds nothing it could hold; absent and null are the same."""
    for name, value in manifest.items():
        if value is None:
            continue
        if name in CHOICES and value not in CHOICES[name]:
            return name
        if name in TYPES and (not isinstance(value, TYPES[name]) or isinstance(value, bool)):
            return name
    if not 0 <= (manifest.get("beta") or 0) < math.inf:
        return "beta"
    try:
        EncodingSettings(**manifest.get("encoding") or {})
    except (TypeError, UserError):
        return "encoding"
    return ""
