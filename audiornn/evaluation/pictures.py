"""Pictures of an evaluation, drawn by matplotlib without its global state: PNG files and SVG for a page."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from audiornn.files.escaping import escape_text

MAX_COUNTED_CLASSES = 40
"""With more, the picture shows colours alone."""
CORRECT_COLOUR = "#1f5fa8"
MISTAKE_COLOUR = "#c8481c"
_LABEL_LENGTH = 20
_CURVE_COLOURS = {"train": CORRECT_COLOUR, "validation": MISTAKE_COLOUR, "test": "#3d7d3a"}
_INK = "#010203"
"""Stands for the page's text colour in an SVG, and is replaced by it."""


def draw_confusion_matrix(labels: Sequence[str], confusion: NDArray[np.int64]) -> bytes:
    """The confusion matrix as PNG: counts, coloured by their share of the row.

    The diagonal is blue, mistakes are orange on a root scale, so that one clip in a hundred can be seen.

    Args:
        labels: class names in index order.
        confusion: ``(classes, classes)``, rows are targets.
    """
    size = len(labels)
    shares = row_shares(confusion)
    inches = max(4.0, 0.34 * size + 2.6) if size <= MAX_COUNTED_CLASSES else 14.0
    figure = Figure(figsize=(inches, inches), dpi=140 if size <= 20 else 110)
    axes = figure.add_subplot()
    axes.imshow(_heat_colours(shares), interpolation="nearest")
    names = [shorten(label) for label in labels]
    fontsize = 9 if size <= MAX_COUNTED_CLASSES else max(2.0, 9 * MAX_COUNTED_CLASSES / size)
    upright = size > 6 or max(map(len, names)) > 12
    axes.set_xticks(range(size), names, rotation=90 if upright else 0, fontsize=fontsize, parse_math=False)
    axes.set_yticks(range(size), names, fontsize=fontsize, parse_math=False)
    axes.set_xlabel("prediction")
    axes.set_title("colour: share of the row; mistakes in orange, on a root scale", fontsize=7, color="#606060")
    axes.set_ylabel("target")
    axes.tick_params(length=0)
    axes.set_xticks(np.arange(size + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(size + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#e4e4e4", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if size <= MAX_COUNTED_CLASSES:
        for row, column in np.argwhere(confusion):
            dark = shares[row, column] > (0.55 if row == column else 0.3)
            text = str(confusion[row, column])
            colour = "white" if dark else "#202020"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8 if len(text) < 4 else 6)
    return _png(figure)


def draw_training_curves(history: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Curves over epochs as (title, SVG), one panel per figure, its splits together.

    A column ``train_loss`` or ``validation/loss`` is the curve ``train`` or ``validation`` of the panel ``loss``;
    columns with no split in front have their own panel. ``epoch`` is the axis; ``step`` and ``seconds`` are left
    out, and so are cells without a number.
    """
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for position, row in enumerate(history, start=1):
        epoch = _number(row.get("epoch")) or float(position)
        for name, cell in row.items():
            value = _number(cell)
            if name in ("epoch", "step", "seconds") or value is None:
                continue
            found = re.fullmatch(r"(train|val|validation|valid|test)[_/](.+)", name)
            split, panel = (found[1], found[2]) if found else ("", name)
            split = "validation" if split.startswith("val") else split
            panels.setdefault(panel, {}).setdefault(split, []).append((epoch, value))
    return [(panel.replace("_", " "), _curve_svg(panel, curves)) for panel, curves in panels.items()]


def row_shares(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Each count over the sum of its row; 0 in rows without clips."""
    shares: NDArray[np.float64] = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    return shares


def shorten(label: str, length: int = _LABEL_LENGTH) -> str:
    """One line of at most ``length`` characters."""
    line = " ".join(escape_text(label).split())
    return line if len(line) <= length else line[: length - 1] + "…"


def _heat_colours(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares -> RGB ``(classes, classes, 3)``."""
    strength = np.where(np.eye(len(shares), dtype=bool), shares, np.sqrt(shares))[..., None]
    hue = np.where(np.eye(len(shares), dtype=bool)[..., None], to_rgb(CORRECT_COLOUR), to_rgb(MISTAKE_COLOUR))
    colours: NDArray[np.float64] = 1 - strength * (1 - hue)
    return colours


def _curve_svg(panel: str, curves: Mapping[str, list[tuple[float, float]]]) -> str:
    figure = Figure(figsize=(4.4, 2.6), layout="constrained")
    axes = figure.add_subplot()
    for split, points in curves.items():
        epochs, values = zip(*points, strict=True)
        marker = "o" if len(points) < 3 else None
        axes.plot(epochs, values, label=split or None, color=_CURVE_COLOURS.get(split, CORRECT_COLOUR), marker=marker)
    axes.set_xlabel("epoch", color=_INK)
    axes.tick_params(colors=_INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.2, color=_INK)
    axes.patch.set_visible(False)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_INK)
    if any(curves):
        axes.legend(frameon=False, labelcolor=_INK)
    return _svg(figure, salt=panel)


def _png(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    stream = io.BytesIO()
    with _quiet_fonts():
        figure.savefig(stream, format="png", bbox_inches="tight", pad_inches=0.15, metadata={"Software": None})
    return stream.getvalue()


def _svg(figure: Figure, *, salt: str) -> str:
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
    for split, colour in _CURVE_COLOURS.items():
        text = text.replace(colour, f"var(--{split}, {colour})")
    return text.replace(_INK, "currentColor")


@contextmanager
def _quiet_fonts() -> Iterator[None]:
    """A label in a script that the font lacks is drawn as boxes, without a warning for each glyph."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def _number(cell: Any) -> float | None:
    try:
        value = float(cell)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None
