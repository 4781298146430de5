"""Every figure again from stored results, in seconds and without training: `rewardgap figures`."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from figures import audits
from figures.gallery import MODELS, SIMULATIONS, STORY, facts, load, render
from figures.page import embedded, page
from figures.published import as_markdown, published_rows
from figures.style import Width
from simulations.results import UserError, write_text

STORED = Path(__file__).with_name("data")


def _draw(name: str, data: Path, output: Path) -> dict[Width, list[Path]]:
    """One figure by name, in whichever process. Raises UserError where its rows are not what it is drawn from."""
    picture = next(picture for picture in (*STORY, *SIMULATIONS, *MODELS) if picture.name == name)
    try:
        return render(picture, load(picture, data), output)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(
            f"{data}: the rows of {' and '.join(picture.sources)} cannot be drawn "
            f"({type(error).__name__}: {error}); make them again with `{picture.command}`"
        ) from None


def redraw(output: Path, data: Path = STORED) -> Path:
    """Draw every figure whose rows are below `data` into `output` and return its index.html.

    Args:
        data: the committed small results, the folder of any `rewardgap reproduce`, or one that holds `simulate/NAME`.

    Raises:
        UserError: `data` holds no rows of any figure, or rows that its figure cannot be drawn from.
    """
    pictures = (*STORY, *SIMULATIONS, *MODELS)
    found = [(picture, tables) for picture in pictures if any(tables := load(picture, data))]
    if not found:
        wanted = ", ".join(sorted({source for picture in (*STORY, *MODELS) for source in picture.sources}))
        raise UserError(f"{data} holds no results to draw (looked for {wanted}); run `rewardgap reproduce` first")
    items = published_rows(data)
    entries, lines = [], ["# The paper's items", "", as_markdown(items), "", "# Figures", ""]
    names = [picture.name for picture, _ in found]
    with ProcessPoolExecutor(min(os.cpu_count() or 1, len(names)), mp_context=get_context("spawn")) as pool:
        drawn = list(pool.map(_draw, names, [data] * len(names), [output] * len(names)))
    for (picture, tables), paths in zip(found, drawn, strict=True):
        entries.append({"picture": picture, "facts": facts(picture, tables), "images": embedded(paths)})
        wide, narrow = f"{picture.name}.pdf", f"{picture.name}_single.pdf"
        lines += [f"## {picture.title}", "", f"![{picture.title}]({picture.name}.png)", "", picture.caption, ""]
        lines += [f"* source: `{source}` ({extent})" for source, extent in facts(picture, tables)]
        lines += [f"* rows made by: `{picture.command}`; redrawn by: `rewardgap figures`"]
        lines += [f"* for print: [two columns]({wide}), [one column]({narrow})", ""]
    folder = data / "audits"
    audited = folder.is_dir()
    lines += [audits.markdown(folder)] if audited else []
    write_text(output / "index.md", "\n".join(lines))
    index = output / "index.html"
    whole = [audits.whole(folder), *audits.sections(folder)] if audited else []
    write_text(index, page("index.html.jinja", entries=entries, items=items, audits=whole))
    return index
