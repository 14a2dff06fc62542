"""One self-contained HTML page per evaluation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from audiornn.evaluation.classes import Evaluation
from audiornn.evaluation.clips import TaskEvaluation
from audiornn.evaluation.intervals import format_percent
from audiornn.evaluation.label_sets import MultilabelEvaluation
from audiornn.evaluation.next_frame import NextFrameEvaluation
from audiornn.evaluation.numbers import RegressionEvaluation
from audiornn.evaluation.pictures import (
    draw_det_curve,
    draw_reliability_panel,
    draw_risk_curve,
    draw_scatter,
    draw_threshold_curves,
    draw_training_curves,
    row_shares,
)
from audiornn.evaluation.segments import IntervalsEvaluation
from audiornn.files.escaping import escape_text
from audiornn.labels import UNKNOWN
from audiornn.page.rendering import render_page
from audiornn.tasks import BINARY

if TYPE_CHECKING:
    from audiornn.evaluation.costs import ModelCost
    from audiornn.evaluation.media import ClipMedia

MAX_MATRIX_CLASSES = 60
"""With more, the page lists the most frequent confusions alone."""
MAX_LISTED_CLIPS = 20_000
"""Clips the page holds for its lists: all mistakes come first, then the least sure of the rest."""
_CONFUSIONS = 12
_CONFUSIONS_ALONE = 200


def render_report(
    evaluation: TaskEvaluation,
    *,
    title: str | None = None,
    history: Sequence[Mapping[str, Any]] | None = None,
    settings: Mapping[str, Any] | None = None,
    media: Mapping[str, ClipMedia] | None = None,
    cost: ModelCost | None = None,
) -> str:
    """The page as text.

    Args:
        evaluation: what to show.
        title: None = made of the corpus and the split in the provenance.
        history: one row per epoch, see `audiornn.evaluation.pictures.draw_training_curves`.
        settings: what the model was trained with; mappings within are shown as dotted names.
        media: clips to be heard and seen, by utterance id.
        cost: what the model costs.
    """
    template, own = (
        _parts_of_classes(evaluation) if isinstance(evaluation, Evaluation) else _parts_of_tables(evaluation)
    )
    name, first = evaluation.headline
    return render_page(
        "audiornn.evaluation",
        template,
        title=title or _title(evaluation),
        scripts=["report.js", "sorting.js"],
        filters={"percent": format_percent, "bare_percent": _bare_percent},
        evaluation=evaluation,
        seconds=None if evaluation.durations is None else float(evaluation.durations.sum()),
        headline=(escape_text(name), first),
        confidence=f"{100 * first.confidence:g}",
        estimates=list(evaluation.figures.items())[1:],
        further=[(escape_text(name.strip()), text) for name, text in evaluation.further_rows],
        reliability=_reliability_pictures(evaluation),
        groups=[
            (escape_text(column), [(escape_text(each.group), each) for each in groups])
            for column, groups in evaluation.groups.items()
        ],
        group_figure=evaluation.clip_figure.name,
        worst=evaluation.worst_mistakes(),
        media_data=_script_json(
            {escape_text(name): [each.audio, each.picture] for name, each in (media or {}).items()}
        ),
        cost=cost,
        curves=draw_training_curves(history or []),
        provenance=list(_flatten(evaluation.provenance)),
        settings=list(_flatten(settings or {})),
        **own,
    )


def _parts_of_classes(evaluation: Evaluation) -> tuple[str, dict[str, Any]]:
    """Template and content of the page of one class per clip."""
    labels = [escape_text(label) for label in evaluation.labels]
    pictures: list[tuple[str, str]] = []
    if evaluation.task.kind == BINARY:
        threshold = evaluation.task.thresholds[0]
        pictures = draw_threshold_curves(evaluation.targets, evaluation.probabilities[:, 1], threshold)
    return "classes.html.jinja", {
        "what": f"{len(labels)} classes",
        "loss_unit": "cross-entropy, nats",
        "labels": labels,
        "num_mistakes": len(evaluation.mistakes()),
        "pictures": pictures,
        "pictures_title": f"At every threshold for {labels[-1]!r}; the dot is the chosen one" if pictures else "",
        "data": _script_json({"labels": labels, "clips": _clips(evaluation)}),
        **_confusion(evaluation),
    }


def _parts_of_tables(evaluation: TaskEvaluation) -> tuple[str, dict[str, Any]]:
    """Template and content of the page of sets of labels, and of numbers."""
    size = len(evaluation.task.labels)
    parts: dict[str, Any] = {
        "label_rows": evaluation.label_rows(),
        "texts": [name for name, kind in evaluation.columns.items() if kind is str],
        "data": _script_json({"labels": [], "clips": []}),
    }
    if isinstance(evaluation, RegressionEvaluation):
        parts |= {
            "what": f"{size} {'quantities' if size > 1 else 'quantity'}",
            "loss_unit": "squared error, standardised",
            "labels_title": "Quantities",
            "pictures": draw_scatter(evaluation.task.labels, evaluation.targets, evaluation.values),
            "pictures_title": "Predicted against true",
        }
    elif isinstance(evaluation, NextFrameEvaluation):
        parts |= {
            "what": f"{evaluation.task.size} features, {evaluation.task.steps_ahead} frames ahead",
            "loss_unit": "mean absolute error",
            "labels_title": "Mean absolute error of normalised features",
            "pictures": [],
            "pictures_title": "",
        }
    elif isinstance(evaluation, IntervalsEvaluation):
        parts |= {
            "what": f"{size - 1} labels and {evaluation.task.labels[0]}",
            "loss_unit": "share of all",
            "labels_title": "Labels: moments 10 ms apart, and intervals, in per cent",
            "pictures": [],
            "pictures_title": "",
        }
    else:
        parts |= {
            "what": f"{size} labels",
            "loss_unit": "binary cross-entropy, nats",
            "labels_title": "Labels, in per cent",
            "pictures": [],
            "pictures_title": "",
        }
    return "tables.html.jinja", parts


def _reliability_pictures(evaluation: TaskEvaluation) -> list[tuple[str, str]]:
    """Whether probabilities can be believed; nothing for answers without any."""
    if isinstance(evaluation, MultilabelEvaluation):
        return [draw_reliability_panel(evaluation.reliability)]
    if not isinstance(evaluation, Evaluation):
        return []
    rejection, chosen = evaluation.rejection, None
    if rejection is not None and rejection.accuracy_of_accepted is not None:
        chosen = rejection.accepted.value, rejection.accuracy_of_accepted.value
    answers = evaluation.predictions
    probabilities = evaluation.probabilities[np.arange(len(answers)), answers]
    curve = draw_risk_curve(probabilities, answers == evaluation.targets, chosen)
    return [draw_reliability_panel(evaluation.reliability), curve, *_det_curves(evaluation)]


def _det_curves(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Of two classes, the second; of several, all words against ``unknown``."""
    if evaluation.task.kind == BINARY:
        title = f"misses and false alarms of {evaluation.labels[1]!r}"
        return draw_det_curve(evaluation.targets == 1, evaluation.probabilities[:, 1], title)
    if UNKNOWN not in evaluation.labels:
        return []
    unknown = evaluation.labels.index(UNKNOWN)
    title = f"words told from {UNKNOWN!r}: misses and false alarms"
    return draw_det_curve(evaluation.targets != unknown, -evaluation.probabilities[:, unknown], title)


def _confusion(evaluation: Evaluation) -> dict[str, Any]:
    """The matrix row by row, None when it is too large for a page, and the most frequent confusions."""
    shares = row_shares(evaluation.confusion).tolist()
    small = len(evaluation.labels) <= MAX_MATRIX_CLASSES
    matrix = [
        [_cell(target, prediction, count, shares[target][prediction]) for prediction, count in enumerate(counts)]
        for target, counts in enumerate(evaluation.confusion.tolist())
    ]
    confusions = [
        _cell(target, prediction, count, shares[target][prediction])
        for target, prediction, count in evaluation.confusions()[: _CONFUSIONS if small else _CONFUSIONS_ALONE]
    ]
    return {"matrix": matrix if small else None, "confusions": confusions}


def _title(evaluation: TaskEvaluation) -> str:
    parts = [
        str(evaluation.provenance[name]) for name in ("corpus", "split", "task") if evaluation.provenance.get(name)
    ]
    return "Evaluation" + (f": {', '.join(parts)}" if parts else "")


def _bare_percent(share: float) -> str:
    return format_percent(share, unit=False)


def _cell(target: int, prediction: int, count: int, share: float) -> dict[str, Any]:
    hit = target == prediction
    heat = share if hit else share**0.5
    return {
        "target": target,
        "prediction": prediction,
        "count": count,
        "share": share,
        "heat": f"{heat:.3f}",
        "classes": " ".join(["hit"] * hit + ["strong"] * (heat > 0.55)),
    }


def _clips(evaluation: Evaluation) -> list[list[Any]]:
    """What the lists need per clip: id, target, prediction, its probability, the target's, seconds."""
    mistakes = evaluation.mistakes()
    sureness = evaluation.probabilities.max(axis=1)
    right = np.flatnonzero(evaluation.predictions == evaluation.targets)
    order = [*mistakes.tolist(), *right[np.argsort(sureness[right], kind="stable")].tolist()][:MAX_LISTED_CLIPS]
    targets, predictions = evaluation.targets.tolist(), evaluation.predictions.tolist()
    return [
        [
            escape_text(evaluation.utterance_ids[clip]),
            targets[clip],
            predictions[clip],
            round(float(evaluation.probabilities[clip, predictions[clip]]), 4),
            round(float(evaluation.probabilities[clip, targets[clip]]), 4),
            None if evaluation.durations is None else round(float(evaluation.durations[clip]), 3),
        ]
        for clip in order
    ]


def _script_json(document: Any) -> Markup:
    """JSON that stays inside its ``<script>`` element whatever the texts in it."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _flatten(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Leaves as (dotted name, text)."""
    for name, value in mapping.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{name}.")
        elif value is not None:
            yield escape_text(f"{prefix}{name}".replace("_", " ")), escape_text(_fact(value))


def _fact(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
