"""One self-contained HTML page for several models."""

from __future__ import annotations

from collections.abc import Sequence

from audiornn.evaluation.comparing import Comparison
from audiornn.evaluation.intervals import format_percent
from audiornn.files.escaping import escape_text
from audiornn.page.rendering import render_page

MAX_CHANGED = 2_000
"""Clips that changed sides which the page lists: first those that fewest have right."""


def render_comparison(found: Comparison, *, about: Sequence[str] = ()) -> str:
    """The page as text.

    Args:
        found: what to show.
        about: what was measured, and what was left out.
    """
    models = [escape_text(each.name) for each in found.standings]
    changed = sorted(found.changed, key=lambda row: row["right"])
    low, high = min(each.figure.low for each in found.standings), max(each.figure.high for each in found.standings)
    answers = [name for name in (changed[0] if changed else {}) if name.startswith("answer of ")]
    return render_page(
        "audiornn.evaluation",
        "comparison.html.jinja",
        title="Models compared",
        scripts=["sorting.js"],
        filters={"percent": format_percent},
        found=found,
        about=[escape_text(line) for line in about],
        models=models,
        standings=[
            (name, each, *((edge - low) / max(high - low, 1e-9) for edge in (each.figure.low, each.figure.high)))
            for name, each in zip(models, found.standings, strict=True)
        ],
        span=f"{format_percent(low, unit=False)} to {format_percent(high)}",
        pairs=[(escape_text(pair.first), escape_text(pair.second), pair) for pair in found.pairs],
        classes=[(escape_text(each.label), each) for each in found.classes],
        num_runs=sum(each.spread.count for each in found.standings),
        answers=[escape_text(name.removeprefix("answer of ")) for name in answers],
        changed=[
            {
                "clip": escape_text(row["utterance_id"]),
                "target": escape_text(str(row["target"])),
                "right": row["right"],
                "answers": [(escape_text(str(row[name])), str(row[name]) == str(row["target"])) for name in answers],
            }
            for row in changed[:MAX_CHANGED]
        ],
    )
