"""Hashes of what a command reads, so that an edited file does not pass for the one that results were computed from."""

import hashlib
from pathlib import Path
from typing import Any

from llm_experiments.models import model_folder, read_manifest

# fields of requests that name what is read, and whether it is a model
READ = {"model": True, "reference": True}
READ |= dict.fromkeys(("pairs", "eval_pairs", "train_pairs", "rewrites", "augment_rewrites"), False)
MODEL_SUFFIXES = (".safetensors", ".json", ".model", ".jinja", ".txt")
RUN_FILES = ("provenance.json", "done.json", "pretraining.json")  # beside a model made here; when, not what


def contents(request: Any) -> dict[str, dict[str, str | None]]:
    """SHA-256 by field and path; None for what is no local file or folder, such as a name on the hub."""
    found: dict[str, dict[str, str | None]] = {}
    for field, is_model in READ.items():
        paths = _as_tuple(getattr(request, field, ()))
        if field == "reference" and paths == ("auto",):
            models = _as_tuple(request.model)
            paths = tuple(read_manifest(model_folder(model)).get("reference") or "" for model in models)
        for path in paths:
            if path and path != "none":
                found.setdefault(field, {})[str(path)] = content_hash(
                    model_folder(path) if is_model else path, is_model
                )
    return found


def _as_tuple(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def content_hash(path: str | Path, is_model: bool = False) -> str | None:
    """SHA-256 of a file, or of the names and contents of a folder's files; of a model's folder only what is loaded."""
    place = Path(path)
    if place.is_file():
        return _file_hash(place)
    if not place.is_dir():
        return None
    files = sorted(place.iterdir() if is_model else place.rglob("*"))
    if is_model:
        files = [file for file in files if file.suffix in MODEL_SUFFIXES and file.name not in RUN_FILES]
    names = [f"{file.relative_to(place)} {_file_hash(file)}\n" for file in files if file.is_file()]
    return hashlib.sha256("".join(names).encode("utf-8", "surrogateescape")).hexdigest()


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
