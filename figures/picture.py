"""A figure of the gallery as an object: where its rows are, how it is drawn, and files of both print widths."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from figures.style import Width, save
from simulations.results import Row, read_rows


@dataclass(frozen=True)
class Picture:
    """A figure of the story. `sources` are relative to the results folder and go to `draw` in order, one table each;
    `command` makes their rows."""

    name: str
    title: str
    sources: tuple[str, ...]
    command: str
    draw: Callable[..., Figure]
    caption: str


def load(picture: Picture, folder: Path) -> list[list[Row]]:
    """The picture's tables below `folder`, one per source; an empty one where that part was not run."""
    paths = [folder / source for source in picture.sources]
    return [read_rows(path) if path.exists() else [] for path in paths]


def facts(picture: Picture, tables: Sequence[Sequence[Row]]) -> list[tuple[str, str]]:
    """For each source of a figure how much stands in it, counted from its rows."""
    return [(source, _extent(rows)) for source, rows in zip(picture.sources, tables, strict=True)]


def _extent(rows: Sequence[Row]) -> str:
    if not rows:
        return "not run"
    parts = [_count(len(rows), "row")]
    for name in ("cluster", "seed"):
        values = {str(row[name]) for row in rows if row.get(name) is not None}
        if values:
            parts.append(_count(len(values), name))
    return ", ".join(parts)


def _count(n: int, word: str) -> str:
    return f"{n:,} {word}" + ("" if n == 1 else "s")


def render(picture: Picture, tables: Sequence[Sequence[Row]], folder: Path) -> dict[Width, list[Path]]:
    """Write the picture as PNG and PDF at both print widths: `NAME.*` (double column) and `NAME_single.*`."""
    stems: dict[Width, str] = {"double": picture.name, "single": f"{picture.name}_single"}
    return {width: save(picture.draw(*tables, width=width), folder / stem) for width, stem in stems.items()}
