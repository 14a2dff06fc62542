"""Pictures of an evaluation, drawn by matplotlib without its global state: PNG files and SVG for a page."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.special import ndtri

from audiornn.evaluation.reliability import BINS, Reliability, risk_curve
from audiornn.evaluation.weighted import ranking
from audiornn.files.escaping import escape_text
from audiornn.page.figures import INK, SPLIT_COLOURS, Picture, dress, png, svg

CORRECT_COLOUR, MISTAKE_COLOUR = SPLIT_COLOURS["train"], SPLIT_COLOURS["validation"]
MAX_COUNTED_CLASSES = 40
"""With more, the picture shows colours alone."""
_LABEL_LENGTH = 20
MAX_POINTS = 2_000
"""Clips in a picture of predicted against true."""
_CURVE_POINTS = 300
_DET_TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)


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
    return png(figure)


def draw_training_curves(history: Sequence[Mapping[str, Any]]) -> list[Picture]:
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


def draw_threshold_curves(targets: NDArray[np.int64], scores: NDArray[np.float32], threshold: float) -> list[Picture]:
    """ROC and precision-recall curves of a binary task, with the chosen threshold as a dot; none for one class alone.

    Args:
        targets: 0 or 1 ``(clips,)``.
        scores: probabilities of class 1.
        threshold: from which on the answer is class 1.
    """
    if len(np.unique(targets)) < 2:
        return []
    hits, false_alarms = (counts[0] for counts in ranking(targets, scores)(np.ones((1, len(targets)))))
    taken = scores >= np.float32(threshold)
    at = float((taken & (targets == 1)).sum()), float((taken & (targets == 0)).sum())
    recall, false_rate = hits / hits[-1], false_alarms / false_alarms[-1]
    precision = hits / (hits + false_alarms)
    roc = _curve(
        ("false positive rate", np.append(0.0, false_rate), at[1] / false_alarms[-1]),
        ("true positive rate", np.append(0.0, recall), at[0] / hits[-1]),
    )
    chosen_precision = at[0] / sum(at) if sum(at) else 1.0
    curve = _curve(("recall", recall, at[0] / hits[-1]), ("precision", precision, chosen_precision))
    return [("ROC", roc), ("precision and recall", curve)]


def draw_det_curve(positive: NDArray[np.bool_], scores: NDArray[np.float32], title: str) -> list[Picture]:
    """Misses over false alarms at every threshold, both on a normal scale (Martin et al., 1997); the dot is where they
    are equal. Nothing where there are fewer than two clips of either kind.

    Args:
        positive: clips that should be taken, ``(clips,)``.
        scores: the higher, the sooner a clip is taken, ``(clips,)``.
        title: of the picture.
    """
    if min(np.count_nonzero(positive), np.count_nonzero(~positive)) < 2:
        return []
    hits, false_alarms = (counts[0] for counts in ranking(positive, scores)(np.ones((1, len(positive)))))
    misses, alarms = 1 - hits / hits[-1], false_alarms / false_alarms[-1]
    at = int(np.abs(misses - alarms).argmin())
    # What no clip tells is drawn as half a clip, where the scale goes on for ever.
    ends = (0.5 / false_alarms[-1], 1 - 0.5 / false_alarms[-1]), (0.5 / hits[-1], 1 - 0.5 / hits[-1])
    figure = Figure(figsize=(4.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    across, up = ndtri(alarms.clip(*ends[0])), ndtri(misses.clip(*ends[1]))
    # Evenly along both axes: most is read off where few clips are.
    way = np.append(0.0, np.cumsum(np.abs(np.diff(across)) + np.abs(np.diff(up))))
    chosen = np.unique([*np.searchsorted(way, np.linspace(0, way[-1], _CURVE_POINTS)).clip(0, len(way) - 1), at])
    axes.plot(across[chosen], up[chosen], color=CORRECT_COLOUR)
    axes.plot(across[at], up[at], "o", color=MISTAKE_COLOUR)
    equal = 50 * (misses[at] + alarms[at])
    axes.annotate(f"{equal:.1f} %", (across[at], up[at]), xytext=(6, 6), textcoords="offset points", color=INK)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ndtri(np.array(_DET_TICKS)), [f"{100 * tick:g}" for tick in _DET_TICKS])
    limits = ndtri(np.array([max(1e-3, min(ends[0][0], ends[1][0]) / 2), 0.6]))
    axes.set_xlim(*limits)
    axes.set_ylim(*limits)
    dress(axes, "false alarms, %", "misses, %")
    return [(title, svg(figure, salt="det"))]


def _curve(across: tuple[str, NDArray[Any], float], up: tuple[str, NDArray[Any], float]) -> str:
    figure = Figure(figsize=(4.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    chosen = np.unique(np.linspace(0, len(across[1]) - 1, _CURVE_POINTS).astype(np.int64))
    axes.plot(across[1][chosen], up[1][chosen], color=CORRECT_COLOUR)
    axes.plot(across[2], up[2], "o", color=MISTAKE_COLOUR)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    dress(axes, across[0], up[0])
    return svg(figure, salt=up[0])


def draw_reliability_panel(reliability: Reliability) -> Picture:
    """Share of right answers over their probability, before and after calibration, as (title, SVG)."""
    figure = Figure(figsize=(4.4, 3.6), layout="constrained")
    _reliability(figure.add_subplot(), reliability)
    return ("share of right answers by probability", svg(figure, salt="reliability"))


def draw_reliability(reliability: Reliability) -> bytes:
    """`draw_reliability_panel` as PNG, with the number of answers below."""
    figure = Figure(figsize=(4.8, 5.4), dpi=120, layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=[3, 1], sharex=True)
    _reliability(upper, reliability)
    lower.bar(
        [(each.low + each.high) / 2 for each in reliability.bins],
        [each.count for each in reliability.bins],
        width=1 / BINS,
        color=CORRECT_COLOUR,
        edgecolor="white",
    )
    lower.set_yscale("log")
    dress(lower, "probability", "answers")
    return png(figure)


def _reliability(axes: Any, reliability: Reliability) -> None:
    axes.plot([0, 1], [0, 1], color="#909090", linewidth=1)
    for name, bins, error, colour in (
        ("before", reliability.bins_uncalibrated, reliability.error_uncalibrated, MISTAKE_COLOUR),
        ("calibrated", reliability.bins, reliability.error, CORRECT_COLOUR),
    ):
        across, up = [each.probability for each in bins], [each.share_right for each in bins]
        axes.plot(across, up, "o-", color=colour, label=f"{name}: error {100 * error:.2f} %", markersize=4)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.legend(frameon=False, labelcolor=INK)
    dress(axes, "probability", "share that is right")


def draw_risk_curve(
    probabilities: NDArray[np.float32], is_right: NDArray[np.bool_], chosen: tuple[float, float] | None
) -> Picture:
    """Accuracy over the share of clips that get an answer, the most probable first, as (title, SVG).

    Args:
        probabilities: of the answers ``(clips,)``.
        is_right: whether they are.
        chosen: share and accuracy of the answers that the model's own thresholds accept; None = it has none.
    """
    coverage, accuracy, _ = risk_curve(probabilities, is_right)
    figure = Figure(figsize=(4.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    taken = np.unique(np.linspace(0, len(coverage) - 1, _CURVE_POINTS).astype(np.int64))
    axes.plot(coverage[taken], accuracy[taken], color=CORRECT_COLOUR)
    if chosen is not None:
        axes.plot(*chosen, "o", color=MISTAKE_COLOUR)
    axes.set_xlim(-0.02, 1.02)
    dress(axes, "share of clips with an answer", "accuracy of these")
    return ("accuracy by coverage", svg(figure, salt="risk"))


def draw_scatter(names: Sequence[str], targets: NDArray[np.float32], values: NDArray[np.float32]) -> list[Picture]:
    """Predicted against true, a panel per quantity, of at most `MAX_POINTS` clips.

    Args:
        names: of the quantities.
        targets: NaN where not known, ``(clips, quantities)``.
        values: ``(clips, quantities)``.
    """
    panels = []
    for name, truth, guess in zip(names, targets.T, values.T, strict=True):
        figure = Figure(figsize=(4.4, 4.0), layout="constrained")
        _scatter(figure.add_subplot(), truth, guess)
        panels.append((name, svg(figure, salt=name)))
    return panels


def draw_predicted_against_true(
    names: Sequence[str], targets: NDArray[np.float32], values: NDArray[np.float32]
) -> bytes:
    """`draw_scatter` as one PNG."""
    figure = Figure(figsize=(4.6 * len(names), 4.4), dpi=120, layout="constrained")
    for index, name in enumerate(names):
        axes = figure.add_subplot(1, len(names), index + 1)
        _scatter(axes, targets[:, index], values[:, index])
        axes.set_title(shorten(name, 40), parse_math=False)
    return png(figure)


def draw_lines(
    panels: Sequence[tuple[str, str, str, Mapping[str, Sequence[tuple[float, float]]]]],
    *,
    log_up: Sequence[bool],
    log_across: Sequence[bool],
) -> bytes:
    """Panels of named lines side by side as PNG: title, names of the axes, points by line; scales for each panel."""
    figure = Figure(figsize=(4.8 * len(panels), 4), dpi=120, layout="constrained")
    for index, (title, across, up, lines) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), index + 1)
        for name, points in lines.items():
            axes.plot(*zip(*points, strict=True), label=name, marker="o" if len(points) < 20 else None)
        axes.set_title(title)
        axes.set_yscale("log" if log_up[index] else "linear")
        axes.set_xscale("log" if log_across[index] else "linear")
        dress(axes, across, up)
        axes.legend(frameon=False)
    return png(figure)


def draw_frames(real: NDArray[np.float32], predicted: NDArray[np.float32]) -> bytes:
    """Real frames over predicted ones as PNG, on one scale. Shape: two of ``(frames, features)``."""
    figure = Figure(figsize=(7, 5), dpi=120, layout="constrained")
    low, high = float(real.min(initial=0)), float(real.max(initial=1))
    for index, (name, frames) in enumerate((("real", real), ("predicted", predicted))):
        axes = figure.add_subplot(2, 1, index + 1)
        image = axes.imshow(frames.T, origin="lower", aspect="auto", vmin=low, vmax=high, interpolation="nearest")
        axes.set_title(name)
        axes.set_ylabel("feature")
    axes.set_xlabel("frame")
    figure.colorbar(image, ax=figure.axes, label="normalised value")
    return png(figure)


def _scatter(axes: Any, truth: NDArray[np.float32], guess: NDArray[np.float32]) -> None:
    known = np.flatnonzero(~np.isnan(truth))
    if len(known) > MAX_POINTS:
        known = known[np.linspace(0, len(known) - 1, MAX_POINTS).astype(np.int64)]
    axes.plot(truth[known], guess[known], ".", color=CORRECT_COLOUR, alpha=0.5, markersize=4, markeredgewidth=0)
    if len(known):
        ends = [float(truth[known].min()), float(truth[known].max())]
        axes.plot(ends, ends, color=MISTAKE_COLOUR, linewidth=1)
    dress(axes, "true", "predicted")


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
        axes.plot(epochs, values, label=split or None, color=SPLIT_COLOURS.get(split, CORRECT_COLOUR), marker=marker)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    dress(axes, "epoch", "")
    if any(curves):
        axes.legend(frameon=False, labelcolor=INK)
    return svg(figure, salt=panel)


def _number(cell: Any) -> float | None:
    try:
        value = float(cell)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None
