"""The picture of how models suffer under each condition."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib import colormaps
from matplotlib.figure import Figure

from audiornn.files.escaping import escape_text
from audiornn.page.figures import dress, png
from audiornn.robustness.measuring import CLEAN, ConditionFigure

_COLUMNS = 3


def draw_conditions(models: Mapping[str, Sequence[ConditionFigure]]) -> bytes:
    """A panel for each condition, a line with its intervals for each model, as PNG; dotted: the clips as recorded.

    Args:
        models: figures of each, the clips as recorded first.
    """
    every = [each for figures in models.values() for each in figures]
    names = [name for name in dict.fromkeys(each.condition for each in every) if name != CLEAN] or [CLEAN]
    rows = math.ceil(len(names) / _COLUMNS)
    figure = Figure(figsize=(4.2 * _COLUMNS, 3.0 * rows + 0.5), dpi=110, layout="constrained")
    panels = figure.subplots(rows, _COLUMNS, sharey=True, squeeze=False).flatten()
    colours = colormaps["tab10"]
    scale = 100 if every[0].estimate.share else 1
    title = f"{every[0].figure}{' %' if scale == 100 else ''}"
    for place, (axes, name) in enumerate(zip(panels, names, strict=False)):
        levels = list(dict.fromkeys(each.level for each in every if each.condition == name))
        for number, figures in enumerate(models.values()):
            own = {each.level: each.estimate for each in figures if each.condition == name}
            places = [at for at, level in enumerate(levels) if level in own]
            values = [scale * own[levels[at]].value for at in places]
            ends = [
                [scale * abs(own[levels[at]].value - getattr(own[levels[at]], end)) for at in places]
                for end in ("low", "high")
            ]
            colour = colours(number % colours.N)
            axes.errorbar(
                places, values, yerr=ends, color=colour, marker="o", markersize=4, capsize=2, label=f"model {number}"
            )
            axes.axhline(scale * figures[0].estimate.value, color=colour, linestyle=":", linewidth=1)
        axes.set_xticks(range(len(levels)), levels, fontsize=8)
        axes.set_title(name, fontsize=10)
        dress(axes, "", "" if place % _COLUMNS else title)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    if len(models) > 1:
        lines = panels[0].get_legend_handles_labels()
        # A label that begins with _ would be left out.
        labels = [f" {escape_text(model)}".replace("$", r"\$") for model in models]
        figure.legend(lines[0], labels, loc="outside lower center", ncols=min(4, len(labels)), fontsize=8)
    return png(figure)
