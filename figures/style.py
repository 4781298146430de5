"""One look for every figure: a colour and a marker per kind of reward model, print widths, repeatable files.

Blue and vermilion are Okabe and Ito's; their green comes close to the blue in tritanopia, so plum is the third. A test
measures the distances under each colour-vision deficiency. The marker repeats the distinction for a greyscale print.
"""

import functools
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Literal, ParamSpec

import matplotlib.style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from simulations.results import write_bytes

Width = Literal["single", "double"]
INCHES: dict[Width, float] = {"single": 3.3, "double": 6.9}
STYLE_FILE = Path(__file__).with_name("rewardgap.mplstyle")

COLOUR = {"explicit": "#0072B2", "implicit": "#D55E00", "generative": "#994F6B"}
MARKER = {"explicit": "o", "implicit": "s", "generative": "^"}
INK, MUTED, FAINT = "#222222", "#666666", "#b8b8b8"
REFERENCE = "#000000"  # closed forms, separators, published values: what a kind is compared with

P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Run a drawing function under the house style, whatever the caller's matplotlib settings are."""

    @functools.wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.style.context(["default", str(STYLE_FILE)]):
            return draw(*args, **kwargs)

    return wrapper


def new_figure(width: Width, height: float) -> Figure:
    """An empty figure `INCHES[width]` wide and `height` inches high, without pyplot's global state."""
    if width not in INCHES:
        raise ValueError(f"width must be one of {', '.join(INCHES)}, got {width!r}")
    figure = Figure(figsize=(INCHES[width], height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png_bytes(figure: Figure) -> bytes:
    return _render(figure, "png", {"Software": None})


def pdf_bytes(figure: Figure) -> bytes:
    return _render(figure, "pdf", {"CreationDate": None, "Creator": None, "Producer": None})


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write `stem`.png (200 dpi) and `stem`.pdf, each atomically. The same figure gives the same bytes."""
    paths = [stem.with_name(stem.name + ".png"), stem.with_name(stem.name + ".pdf")]
    write_bytes(paths[0], png_bytes(figure))
    figure.set_layout_engine(None)  # everything has found its place; finding it again takes as long as drawing, twice
    write_bytes(paths[1], pdf_bytes(figure))
    return paths


def _render(figure: Figure, file_format: str, metadata: dict[str, None]) -> bytes:
    buffer = BytesIO()
    with matplotlib.style.context(["default", str(STYLE_FILE)]):
        figure.savefig(buffer, format=file_format, metadata=metadata)
    return buffer.getvalue()
