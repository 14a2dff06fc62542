"""One self-contained HTML page per diagnosis, with histograms and a player for the oddest clips."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from audiornn.doctor.counting import class_rows, speaker_rows, split_rows
from audiornn.doctor.diagnosis import Diagnosis
from audiornn.doctor.evidence import Evidence
from audiornn.doctor.examining import Examined
from audiornn.doctor.oddities import PLAYED_SECONDS, find_oddities
from audiornn.page.figures import INK, SPLIT_COLOURS, Picture, dress, svg
from audiornn.page.rendering import render_page

MAX_ROWS = 1_000
"""Classes and speakers that the page lists."""
_BINS = 40


def render_diagnosis(diagnosis: Diagnosis) -> str:
    """The page as text; reads the clips that can be played in it."""
    evidence = diagnosis.evidence
    classes, speakers = class_rows(evidence), speaker_rows(evidence)
    return render_page(
        "audiornn.doctor",
        "doctor.html.jinja",
        title=f"What is in {diagnosis.name}",
        diagnosis=diagnosis,
        seconds=float(sum(evidence.clips[index].seconds for index in evidence.heard)),
        severities=diagnosis.severities,
        tables=[
            ("Splits", split_rows(evidence), 0),
            ("Classes", classes[:MAX_ROWS], max(0, len(classes) - MAX_ROWS)),
            ("Speakers", speakers[:MAX_ROWS], max(0, len(speakers) - MAX_ROWS)),
        ],
        histograms=[(name, Markup(picture)) for name, picture in draw_histograms(evidence)],
        oddities=[
            (oddity, evidence.rows[oddity.index], evidence.clips[oddity.index]) for oddity in find_oddities(diagnosis)
        ],
        played_seconds=PLAYED_SECONDS,
    )


def draw_histograms(evidence: Evidence) -> list[Picture]:
    """How clips are spread over length, level, peak and silence, by split; noise is left out."""
    if not evidence.used:
        return []
    quantities: list[tuple[str, str, Callable[[Examined], float]]] = [
        ("Length", "s", lambda clip: clip.seconds),
        ("Mean level", "dB of full scale", lambda clip: clip.level_db or 0.0),
        ("Peak", "of full scale", lambda clip: clip.peak),
        ("Silence at both ends", "share of the clip", lambda clip: clip.silence_before + clip.silence_after),
    ]
    return [(name, _draw_histogram(evidence, name, unit, value)) for name, unit, value in quantities]


def _draw_histogram(evidence: Evidence, name: str, unit: str, value: Callable[[Examined], float]) -> str:
    values = {
        split: [value(evidence.clips[index]) for index in evidence.used if evidence.rows[index].split == split]
        for split in evidence.splits
    }
    everything = np.concatenate(list(values.values()))
    low, high = float(everything.min()), float(everything.max())
    if high - low < 1e-6 * max(abs(high), 1e-6):  # all are equal
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, _BINS + 1)
    figure = Figure(figsize=(4.4, 2.6), layout="constrained")
    axes = figure.add_subplot()
    below = np.zeros(_BINS)
    for split, numbers in values.items():
        counts = np.histogram(numbers, edges)[0]
        axes.stairs(below + counts, edges, baseline=below, fill=True, color=SPLIT_COLOURS[split], label=split)
        below = below + counts
    dress(axes, unit, "clips")
    axes.legend(frameon=False, labelcolor=INK)
    return svg(figure, salt=name)
