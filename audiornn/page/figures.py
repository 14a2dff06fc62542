"""Figures drawn by matplotlib without its global state: SVG that takes on a page's colours, and PNG."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

Picture = tuple[str, str]
"""Title and SVG."""
SPLIT_COLOURS = {"train": "#1f5fa8", "validation": "#c8481c", "test": "#3d7d3a"}
"""On paper; in an SVG they become those of the page's style sheet."""
INK = "#010203"
"""Stands for the page's text colour in an SVG, and is replaced by it."""


def dress(axes: Any, across: str, up: str) -> None:
    """Name the axes, draw them in `INK`, and leave out what says nothing."""
    axes.set_xlabel(across, color=INK)
    axes.set_ylabel(up, color=INK)
    axes.tick_params(colors=INK)
    axes.grid(alpha=0.2, color=INK)
    axes.patch.set_visible(False)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)


def svg(figure: Figure, *, salt: str) -> str:
    """An ``<svg>`` element that takes width, font and colours from its page; the same bytes each time."""
    FigureCanvasSVG(figure)
    stream = io.StringIO()
    with _quiet_fonts(), matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    for pattern in (r"<metadata>.*?</metadata>", r"<style.*?</style>", r'(?<=<g) id="[^"]*"', r"font-family: [^;]*; "):
        text = re.sub(pattern, "", text, flags=re.DOTALL)
    text = re.sub(r'(?<=<svg)([^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(?<=<svg)([^>]*?) height="[^"]*"', r"\1", text, count=1)
    for split, colour in SPLIT_COLOURS.items():
        text = text.replace(colour, f"var(--{split}, {colour})")
    return text.replace(INK, "currentColor")


def png(figure: Figure) -> bytes:
    """The figure as PNG, cut to what is drawn."""
    FigureCanvasAgg(figure)
    stream = io.BytesIO()
    with _quiet_fonts():
        figure.savefig(stream, format="png", bbox_inches="tight", pad_inches=0.15, metadata={"Software": None})
    return stream.getvalue()


@contextmanager
def _quiet_fonts() -> Iterator[None]:
    """A label in a script that the font lacks is drawn as boxes, without a warning for each glyph."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield
