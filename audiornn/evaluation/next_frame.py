"""Evaluation of next-frame prediction: its error beside that of copying and of linear prediction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audiornn.errors import CorpusError
from audiornn.evaluation import weighted
from audiornn.evaluation.clips import (
    WORST_MISTAKES,
    TaskEvaluation,
    checked_clips,
    rounded,
    share_document,
)
from audiornn.evaluation.groups import ClipFigure
from audiornn.evaluation.intervals import Estimate, Floats
from audiornn.tasks import TaskSpec

PREDICTORS = ("network", "copying the last frame", "linear prediction")
_COLUMNS = ("error", "error of copying", "error of linear prediction")


@dataclass(frozen=True, kw_only=True, eq=False)
class NextFrameEvaluation(TaskEvaluation):
    """How well frames were foretold. Made by `evaluate_next_frame`."""

    rows_title: ClassVar[str] = "mean absolute error of normalised features"
    sums: NDArray[np.float64]
    """Absolute error of the network, of copying, of linear prediction, and values compared: ``(clips, 4)``."""
    errors: Mapping[str, Estimate]
    """Mean absolute error of each of `PREDICTORS`."""
    ratios: Mapping[str, Estimate]
    """The network's error over that of the other two."""
    example: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
    """Real and predicted frames of one clip, ``(frames, features)`` each; not kept in tables."""

    @property
    def figures(self) -> dict[str, Estimate]:
        return {f"error of {name}": estimate for name, estimate in self.errors.items()} | {
            f"network over {name}": estimate for name, estimate in self.ratios.items()
        }

    @property
    def mean_loss(self) -> float:
        """Mean absolute error of the network."""
        return float(self.sums[:, 0].sum() / max(1.0, self.sums[:, 3].sum()))

    @property
    def clip_figure(self) -> ClipFigure:
        return ClipFigure("error of network", self.sums[:, 0], self.sums[:, 3], share=False)

    @property
    def columns(self) -> dict[str, type]:
        return {**self.clip_columns, **dict.fromkeys(_COLUMNS, float), "values": int}

    def prediction_rows(self) -> Iterator[dict[str, Any]]:
        for index in range(len(self)):
            yield self._row(index)

    def worst_mistakes(self, count: int = WORST_MISTAKES) -> list[dict[str, Any]]:
        """The clips that were foretold worst."""
        order = np.argsort(-self.sums[:, 0] / np.maximum(1, self.sums[:, 3]), kind="stable")
        return [self._row(int(index)) for index in order[:count]]

    def label_rows(self) -> list[dict[str, Any]]:
        return [
            {"prediction by": name, "error": float(f"{estimate.value:.4g}"), "interval": estimate.interval_text()}
            for name, estimate in self.errors.items()
        ]

    def document(self) -> dict[str, Any]:
        return {
            "mean_loss": rounded(self.mean_loss),
            "errors": {name: share_document(estimate) for name, estimate in self.errors.items()},
            "network_over": {name: share_document(estimate) for name, estimate in self.ratios.items()},
        }

    def _row(self, index: int) -> dict[str, Any]:
        values = max(1.0, self.sums[index, 3])
        means = dict(zip(_COLUMNS, (self.sums[index, :3] / values).tolist(), strict=True))
        return {**self.clip_row(index), **means, "values": int(self.sums[index, 3])}


def sums_of_rows(rows: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """`NextFrameEvaluation.sums` from `NextFrameEvaluation.prediction_rows`."""
    counts = np.array([float(row["values"]) for row in rows])
    means = np.array([[float(row[name]) for name in _COLUMNS] for row in rows]).reshape(len(rows), len(_COLUMNS))
    return np.concatenate([means * counts[:, None], counts[:, None]], axis=1)


def evaluate_next_frame(
    *,
    task: TaskSpec,
    utterance_ids: Sequence[str],
    sums: ArrayLike,
    durations: ArrayLike | None = None,
    speakers: Sequence[str] | None = None,
    by: Mapping[str, Sequence[str]] | None = None,
    provenance: Mapping[str, Any] | None = None,
    seed: int = 0,
    example: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
) -> NextFrameEvaluation:
    """Measure predicted frames.

    Arguments and errors as in `audiornn.evaluation.evaluate_predictions`, but for:

    Args:
        sums: ``(clips, 4)``, see `audiornn.tasks.TaskSpec.frame_errors`.
        example: real and predicted frames of one clip, to be drawn.
    """
    facts: dict[str, Any] = {"durations": durations, "speakers": speakers, "by": by, "provenance": provenance}
    clips = checked_clips(utterance_ids, seed=seed, **facts)
    totals = np.asarray(sums, dtype=np.float64).reshape(len(utterance_ids), -1)
    if totals.shape != (len(utterance_ids), 4) or not np.isfinite(totals).all():
        raise ValueError(f"expected finite sums ({len(utterance_ids)}, 4), got {totals.shape = }")
    if not totals[:, 3].any():
        raise CorpusError(f"expected clips of more than {task.steps_ahead} frames to foretell, got none")

    def estimate(above: int, below: int) -> Estimate | None:
        def ratio(weights: Floats) -> Floats:
            with np.errstate(invalid="ignore", divide="ignore"):
                below_it = weights @ totals[:, below]
                found: Floats = np.where(below_it > 0, (weights @ totals[:, above]) / below_it, np.nan)
            return found

        return weighted.bootstrap_weights(ratio, len(totals), groups=clips.groups, share=False, seed=seed)

    errors = {name: estimate(index, 3) for index, name in enumerate(PREDICTORS)}
    ratios = {name: estimate(0, index) for index, name in enumerate(PREDICTORS) if index}
    return NextFrameEvaluation(
        task=task,
        sums=totals,
        errors={name: found for name, found in errors.items() if found is not None},
        ratios={name: found for name, found in ratios.items() if found is not None},
        example=example,
        **clips.arguments,
    )
