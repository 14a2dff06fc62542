"""What a model answered to the clips of a split, and how well that matches the truth."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audiornn.errors import CorpusError, ModelError
from audiornn.evaluation import metrics
from audiornn.evaluation.intervals import RESAMPLES, Estimate, bootstrap
from audiornn.evaluation.metrics import ClassScores
from audiornn.labels import SILENCE, UNKNOWN
from audiornn.rows import PROBABILITY_PREFIX

MIN_SPEAKERS = 10
"""With fewer, drawing whole speakers says little, and intervals are drawn over clips: other clips of these speakers."""
WORST_MISTAKES = 100
_VERSIONED = ("audiornn", "torch", "numpy", "scipy", "soundfile", "soxr")


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """What a model answered to every clip of a split, and how well that matches. Made by `evaluate_predictions`."""

    labels: tuple[str, ...]
    utterance_ids: tuple[str, ...]
    targets: NDArray[np.int64]
    """``(clips,)``."""
    predictions: NDArray[np.int64]
    """``(clips,)``: the most probable class, the first of equals."""
    probabilities: NDArray[np.float32]
    """``(clips, classes)``."""
    durations: NDArray[np.float64] | None
    """``(clips,)`` seconds."""
    speakers: tuple[str, ...] | None
    """Empty where a clip's speaker is not known; None where no clip's is."""
    accuracy: Estimate
    balanced_accuracy: Estimate
    macro_f1: Estimate
    accuracy_over_speakers: Estimate | None
    """Accuracy with an interval over speakers, who differ more than their clips; None where they are not known."""
    accuracy_on_words: Estimate | None
    """Over clips whose label is neither ``unknown`` nor ``silence``; None without such a class, or such clips."""
    mean_loss: float
    """Cross-entropy, nats."""
    per_class: tuple[ClassScores, ...]
    confusion: NDArray[np.int64]
    """``(classes, classes)``: rows are targets, columns predictions."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """What was measured: corpus, split, fingerprint, model hash from the caller; clips, hash of ids, versions."""

    def __len__(self) -> int:
        return len(self.utterance_ids)

    def prediction_rows(self, *, probabilities: bool = True) -> Iterator[dict[str, Any]]:
        """One row per clip, in order; with ``probabilities`` a column per class."""
        for index in range(len(self)):
            yield self._row(index, probabilities=probabilities)

    def worst_mistakes(self, count: int = WORST_MISTAKES) -> list[dict[str, Any]]:
        """The wrong answers the model was surest of, surest first."""
        return [self._row(index, probabilities=False) for index in self.mistakes()[:count]]

    def mistakes(self) -> NDArray[np.int64]:
        """Rows of the wrong answers, highest probability first."""
        wrong = np.flatnonzero(self.predictions != self.targets)
        order = np.argsort(-self.probabilities[wrong, self.predictions[wrong]], kind="stable")
        return wrong[order]

    def confusions(self) -> list[tuple[int, int, int]]:
        """(target, prediction, clips) of every pair that was confused, most frequent first."""
        wrong = self.confusion - np.diag(self.confusion.diagonal())
        pairs = np.argwhere(wrong)
        return sorted(((int(t), int(p), int(wrong[t, p])) for t, p in pairs), key=lambda pair: (-pair[2], pair[:2]))

    def summary_rows(self) -> list[tuple[str, str]]:
        """(name, text) of the headline figures, for a terminal."""
        rows = [("accuracy", str(self.accuracy))]
        if self.accuracy_over_speakers is not None:
            rows.append(("  over speakers", str(self.accuracy_over_speakers)))
        if self.accuracy_on_words is not None:
            rows.append(("  on the words", str(self.accuracy_on_words)))
        rows += [("balanced accuracy", str(self.balanced_accuracy)), ("macro F1", str(self.macro_f1))]
        return [*rows, ("mean loss", f"{self.mean_loss:.4f}")]

    def summary_lines(self) -> list[str]:
        """`summary_rows` as aligned text."""
        return [f"{name:<19}{text}" for name, text in self.summary_rows()]

    def per_class_rows(self) -> list[dict[str, Any]]:
        """Per class: support, precision, recall and F1 in per cent with one decimal; None where undefined."""
        return [
            {
                "label": self.labels[scores.index],
                "support": scores.support,
                "precision": _percent(scores.precision),
                "recall": _percent(scores.recall),
                "f1": None if scores.f1 is None else round(100 * scores.f1, 1),
            }
            for scores in self.per_class
        ]

    def _row(self, index: int, *, probabilities: bool) -> dict[str, Any]:
        target, prediction = int(self.targets[index]), int(self.predictions[index])
        scores = self.probabilities[index]
        row: dict[str, Any] = {
            "utterance_id": self.utterance_ids[index],
            "speaker": self.speakers[index] if self.speakers else "",
            "duration_seconds": None if self.durations is None else round(float(self.durations[index]), 6),
            "target": self.labels[target],
            "prediction": self.labels[prediction],
            "correct": target == prediction,
            "probability": scores[prediction],
            "target_probability": scores[target],
        }
        if probabilities:
            row |= {f"{PROBABILITY_PREFIX}{label}": score for label, score in zip(self.labels, scores, strict=True)}
        return row


def evaluate_predictions(
    *,
    labels: Sequence[str],
    utterance_ids: Sequence[str],
    targets: ArrayLike,
    probabilities: ArrayLike,
    durations: ArrayLike | None = None,
    speakers: Sequence[str] | None = None,
    provenance: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Evaluation:
    """Measure answers against the truth.

    Intervals of balanced accuracy and macro F1 are drawn over speakers where at least `MIN_SPEAKERS` are known (a clip
    with none counts as its own), over clips otherwise.

    Args:
        labels: class names in the order of the columns of ``probabilities``.
        utterance_ids: one per clip, in a fixed order.
        targets: class indices ``(clips,)``.
        probabilities: ``(clips, classes)``; a clip's answer is its largest, the first of equals.
        durations: seconds ``(clips,)``.
        speakers: one per clip, empty where not known.
        provenance: facts to keep beside the numbers, as JSON takes them: corpus, split, fingerprint, model hash.
        seed: of the bootstrap.

    Raises:
        CorpusError: there is no clip.
        ModelError: a probability is not a finite number.
        ValueError: sizes that don't fit each other, or a target out of range.
    """
    truth, scores = _checked(labels, utterance_ids, targets, probabilities)
    seconds = _per_clip("durations", durations, len(truth))
    voices = _per_clip("speakers", speakers, len(truth))
    facts = {
        **(provenance or {}),
        "num_clips": len(utterance_ids),
        "utterance_ids_sha256": hash_ids(utterance_ids),
        "bootstrap": {"seed": seed, "resamples": RESAMPLES},
    }
    return Evaluation(
        labels=tuple(labels),
        utterance_ids=tuple(utterance_ids),
        targets=truth,
        probabilities=scores,
        durations=None if seconds is None else seconds.astype(np.float64),
        speakers=tuple(voices.tolist()) if voices is not None and any(voices) else None,
        mean_loss=metrics.cross_entropy(truth, scores),
        provenance={**facts, "versions": facts.get("versions") or _versions()},
        **_figures(truth, scores.argmax(axis=1).astype(np.int64), labels, _groups(voices), seed),
    )


def _figures(
    truth: NDArray[np.int64],
    answers: NDArray[np.int64],
    labels: Sequence[str],
    groups: NDArray[np.int64] | None,
    seed: int,
) -> dict[str, Any]:
    """The fields of `Evaluation` that follow from targets and predictions."""
    words = [index for index, label in enumerate(labels) if label not in (UNKNOWN, SILENCE)]
    some_are_not = len(words) < len(labels) and bool(np.isin(truth, words).any())
    return {
        "predictions": answers,
        "accuracy": metrics.accuracy(truth, answers),
        "balanced_accuracy": metrics.balanced_accuracy(truth, answers, groups=groups, seed=seed),
        "macro_f1": metrics.macro_f1(truth, answers, groups=groups, seed=seed),
        "accuracy_over_speakers": (
            None if groups is None else bootstrap(metrics.share_correct, truth, answers, groups=groups, seed=seed)
        ),
        "accuracy_on_words": metrics.accuracy(truth, answers, classes=words) if some_are_not else None,
        "per_class": tuple(metrics.per_class(truth, answers, len(labels))),
        "confusion": metrics.confusion_matrix(truth, answers, len(labels)),
    }


def hash_ids(utterance_ids: Sequence[str]) -> str:
    """SHA-256, in hexadecimal, of the ids in order, as UTF-8 and with a NUL between them."""
    return hashlib.sha256("\0".join(utterance_ids).encode("utf-8", "surrogatepass")).hexdigest()


def _checked(
    labels: Sequence[str], utterance_ids: Sequence[str], targets: ArrayLike, probabilities: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    truth, scores = np.asarray(targets), np.asarray(probabilities, dtype=np.float32)
    clips = len(utterance_ids)
    if clips == 0:
        raise CorpusError("expected at least 1 clip to evaluate, got 0")
    if truth.shape != (clips,) or scores.shape != (clips, len(labels)):
        raise ValueError(
            f"expected targets ({clips},) and probabilities ({clips}, {len(labels)}), "
            f"got {truth.shape = } and {scores.shape = }"
        )
    if truth.dtype.kind not in "iu" or truth.min() < 0 or truth.max() >= len(labels):
        raise ValueError(f"expected targets from 0 to {len(labels) - 1}, got {truth.min()} to {truth.max()}")
    broken = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if broken.size:
        raise ModelError(
            f"expected finite probabilities, got others for {broken.size} of {clips} clips, "
            f"first for '{utterance_ids[int(broken[0])]}'"
        )
    return truth.astype(np.int64), scores


def _per_clip(name: str, values: Sequence[Any] | ArrayLike | None, clips: int) -> NDArray[Any] | None:
    if values is None:
        return None
    array = np.asarray(values)
    if array.shape != (clips,):
        raise ValueError(f"expected {clips} {name}, one per clip, got {array.shape = }")
    return array


def _groups(speakers: NDArray[Any] | None) -> NDArray[np.int64] | None:
    """Speakers as numbers; a clip without one is a group of its own. None when they are too few to draw from."""
    if speakers is None:
        return None
    names, groups = np.unique(speakers, return_inverse=True)
    if np.count_nonzero(names != "") < MIN_SPEAKERS:
        return None
    alone = np.flatnonzero(speakers == "")
    groups[alone] = len(names) + np.arange(alone.size)
    return groups.astype(np.int64)


def _percent(estimate: Estimate | None) -> float | None:
    return None if estimate is None else round(100 * estimate.value, 1)


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _VERSIONED:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
