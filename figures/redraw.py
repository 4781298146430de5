"""Every figure again from stored results, in half a minute and without training: `rewardgap figures`."""

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from figures import audits
from figures.gallery import PICTURES
from figures.page import embedded, page
from figures.picture import Picture, facts, load, render
from figures.published import as_markdown, published_rows
from figures.style import Width
from simulations.results import UserError, write_text

STORED = Path(__file__).with_name("data")
FEW = 2  # figures that are drawn sooner than another process has started


def _draw(name: str, data: Path, output: Path) -> dict[Width, list[Path]]:
    """One figure by name, in whichever process. Raises UserError where its rows are not what it is drawn from."""
    picture = next(picture for picture in PICTURES if picture.name == name)
    try:
        return render(picture, load(picture, data), output)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(
            f"{data}: the rows of {' and '.join(picture.sources)} cannot be drawn "
            f"({type(error).__name__}: {error}); make them again with `{picture.command}`"
        ) from None


def redraw(output: Path, data: Path = STORED) -> Path:
    """Draw every figure whose rows are below `data` into `output` and return its index.html; the index says which
    figures have no rows, and what makes them.

    Args:
        data: the committed small results, the folder of any `rewardgap reproduce`, or one that holds `simulate/NAME`
            or `study/NAME`.

    Raises:
        UserError: `data` holds no rows of any figure, or rows that its figure cannot be drawn from.
    """
    tables = {picture: load(picture, data) for picture in PICTURES}
    found = [picture for picture in PICTURES if any(tables[picture])]
    absent = [picture for picture in PICTURES if picture not in found]
    if not found:
        wanted = ", ".join(sorted({source for picture in PICTURES for source in picture.sources}))
        raise UserError(f"{data} holds no results to draw (looked for {wanted}); run `rewardgap reproduce` first")
    drawn = _draw_all([picture.name for picture in found], data, output)
    entries = [
        {"picture": picture, "facts": facts(picture, tables[picture]), "images": embedded(paths)}
        for picture, paths in zip(found, drawn, strict=True)
    ]
    items = published_rows(data)
    folder = data / "audits"
    audited = folder.is_dir()
    parts = ["# The papers' items", "", as_markdown(items), "", "# Figures", ""]
    parts += [_section(entry["picture"], entry["facts"]) for entry in entries]
    if absent:
        parts += ["## Not drawn", "", *(f"* {picture.title}: {why(picture)}" for picture in absent), ""]
    write_text(output / "index.md", "\n".join([*parts, *([audits.markdown(folder)] if audited else [])]))
    index = output / "index.html"
    missing = [(picture.title, why(picture)) for picture in absent]
    whole = [audits.whole(folder), *audits.sections(folder)] if audited else []
    write_text(index, page("index.html.jinja", entries=entries, missing=missing, items=items, audits=whole))
    return index


def _draw_all(names: Sequence[str], data: Path, output: Path) -> list[dict[Width, list[Path]]]:
    if len(names) <= FEW:
        return [_draw(name, data, output) for name in names]
    with ProcessPoolExecutor(min(os.cpu_count() or 1, len(names)), mp_context=get_context("spawn")) as pool:
        return list(pool.map(_draw, names, [data] * len(names), [output] * len(names)))


def why(picture: Picture) -> str:
    """Why a picture is not drawn, and what makes its rows."""
    return f"no {' and no '.join(picture.sources)}; made by `{picture.command}`"


def _section(picture: Picture, extents: Sequence[tuple[str, str]]) -> str:
    """A figure's part of index.md."""
    wide, narrow = f"{picture.name}.pdf", f"{picture.name}_single.pdf"
    lines = [f"## {picture.title}", "", f"![{picture.title}]({picture.name}.png)", "", picture.caption, ""]
    lines += [f"* source: `{source}` ({extent})" for source, extent in extents]
    lines += [f"* rows made by: `{picture.command}`; redrawn by: `rewardgap figures`"]
    return "\n".join([*lines, f"* for print: [two columns]({wide}), [one column]({narrow})", ""])
