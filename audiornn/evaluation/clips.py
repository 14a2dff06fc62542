"""What every evaluation has: the clips it was made on, and where its figures come from."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audiornn.errors import CorpusError, ModelError
from audiornn.evaluation.groups import BY_PREFIX, ClipFigure, GroupFigure, measure_groups
from audiornn.evaluation.intervals import RESAMPLES, Estimate, Ints
from audiornn.tasks import TaskSpec

MIN_SPEAKERS = 10
"""With fewer, drawing whole speakers says little, and intervals are drawn over clips: other clips of these speakers."""
WORST_MISTAKES = 100
CLIP_COLUMNS: dict[str, type] = {"utterance_id": str, "speaker": str, "duration_seconds": float}
_DIGITS = 12
_VERSIONED = ("audiornn", "torch", "numpy", "scipy", "soundfile", "soxr")


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskEvaluation:
    """What a model answered to every clip of a split that has a target, and how well that matches."""

    task: TaskSpec
    utterance_ids: tuple[str, ...]
    durations: NDArray[np.float64] | None
    """``(clips,)`` seconds."""
    speakers: tuple[str, ...] | None
    """Empty where a clip's speaker is not known; None where no clip's is."""
    by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Group of each clip, by column of the corpus; empty where it is not known."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """What was measured: corpus, split, fingerprint, model hash from the caller; clips, hash of ids, versions."""

    def __len__(self) -> int:
        return len(self.utterance_ids)

    rows_title: ClassVar[str]
    """Over `label_rows`."""
    loss_name: ClassVar[str] = "mean loss"
    """Of `mean_loss`."""

    @property
    @abstractmethod
    def figures(self) -> dict[str, Estimate]:
        """By name, the headline first."""

    @property
    @abstractmethod
    def mean_loss(self) -> float:
        """One number of how wrong the answers are; each kind says which."""

    @property
    @abstractmethod
    def clip_figure(self) -> ClipFigure:
        """What `groups` are told apart by."""

    @property
    @abstractmethod
    def columns(self) -> dict[str, type]:
        """Names and types of `prediction_rows`."""

    @abstractmethod
    def prediction_rows(self) -> Iterator[dict[str, Any]]:
        """One row per clip, in order, with everything that the figures follow from."""

    @abstractmethod
    def worst_mistakes(self, count: int = WORST_MISTAKES) -> list[dict[str, Any]]:
        """Rows of the clips that are most wrong, worst first, without the columns per label."""

    @abstractmethod
    def label_rows(self) -> list[dict[str, Any]]:
        """A table for the terminal: one row per class, label or quantity."""

    @abstractmethod
    def document(self) -> dict[str, Any]:
        """The content of ``metrics.json`` beside provenance and task."""

    @cached_property
    def groups(self) -> dict[str, list[GroupFigure]]:
        """`clip_figure` on each group of `by`, the worst group of a column first."""
        return measure_groups(self.by, self.clip_figure, seed=self.provenance.get("bootstrap", {}).get("seed", 0))

    @property
    def headline(self) -> tuple[str, Estimate]:
        """Name and value of the first figure."""
        return next(iter(self.figures.items()))

    @property
    def further_rows(self) -> list[tuple[str, str]]:
        """(name, text) of figures without an interval, or beside the question how good the answers are."""
        return []

    def summary_rows(self) -> list[tuple[str, str]]:
        """(name, text) of the headline figures, for a terminal."""
        figures = [(name, str(figure)) for name, figure in self.figures.items()]
        return [*figures, (self.loss_name, f"{self.mean_loss:.4f}"), *self.further_rows]

    def summary_lines(self) -> list[str]:
        """`summary_rows` as aligned text."""
        rows = self.summary_rows()
        width = max(19, *(len(name) + 2 for name, _ in rows))
        return [f"{name:<{width}}{text}" for name, text in rows]

    def provenance_lines(self) -> list[str]:
        """What was measured, as aligned text: digests by their first twelve digits."""
        known = self.provenance
        clips = f"{known['num_clips']:,} clips" if known["num_clips"] != 1 else "1 clip"
        digests = {
            "ids": known["utterance_ids_sha256"],
            "audio": known.get("audio_sha256"),
            "corpus": known.get("corpus_fingerprint"),
            "model": known.get("model_sha256"),
        }
        rows = {
            "measured on": ", ".join([*(str(known[name]) for name in ("corpus", "split") if known.get(name)), clips]),
            "digests": ", ".join(f"{name} {digest[:_DIGITS]}" for name, digest in digests.items() if digest),
            "versions": ", ".join(f"{name} {version}" for name, version in known["versions"].items()),
        }
        return [f"{name:<19}{text}" for name, text in rows.items()]

    @property
    def clip_columns(self) -> dict[str, type]:
        """Names and types of `clip_row`."""
        return {**CLIP_COLUMNS, **{f"{BY_PREFIX}{name}": str for name in self.by}}

    def clip_row(self, index: int) -> dict[str, Any]:
        """What the clip is."""
        return {
            "utterance_id": self.utterance_ids[index],
            "speaker": self.speakers[index] if self.speakers else "",
            "duration_seconds": None if self.durations is None else round(float(self.durations[index]), 6),
            **{f"{BY_PREFIX}{name}": cells[index] for name, cells in self.by.items()},
        }


@dataclass(frozen=True)
class Clips:
    """Checked facts about clips, as arguments of a `TaskEvaluation`, and the groups that intervals are drawn over."""

    arguments: dict[str, Any]
    groups: Ints | None


def checked_clips(
    utterance_ids: Sequence[str],
    *,
    durations: ArrayLike | None,
    speakers: Sequence[str] | None,
    by: Mapping[str, Sequence[str]] | None = None,
    provenance: Mapping[str, Any] | None,
    seed: int,
) -> Clips:
    """Facts about clips, in the order of their ids.

    Raises:
        CorpusError: there is no clip.
        ValueError: sizes that don't fit each other.
    """
    count = len(utterance_ids)
    if count == 0:
        raise CorpusError("expected at least 1 clip to evaluate, got 0")
    seconds = _per_clip("durations", durations, count)
    voices = _per_clip("speakers", speakers, count)
    facts = {
        **(provenance or {}),
        "num_clips": count,
        "utterance_ids_sha256": hash_ids(utterance_ids),
        "bootstrap": {"seed": seed, "resamples": RESAMPLES},
    }
    arguments = {
        "utterance_ids": tuple(utterance_ids),
        "durations": None if seconds is None else seconds.astype(np.float64),
        "by": {name: _cells_per_clip(name, cells, count) for name, cells in (by or {}).items()},
        "speakers": tuple(voices.tolist()) if voices is not None and any(voices) else None,
        "provenance": {**facts, "versions": facts.get("versions") or _versions()},
    }
    return Clips(arguments, speaker_groups(voices))


def check_scores(scores: NDArray[np.float32], utterance_ids: Sequence[str], width: int) -> None:
    """Raise `ModelError` for a score that is no number, ValueError for a wrong shape."""
    if scores.shape != (len(utterance_ids), width):
        raise ValueError(f"expected scores ({len(utterance_ids)}, {width}), got {scores.shape = }")
    broken = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if broken.size:
        raise ModelError(
            f"expected finite probabilities, got others for {broken.size} of {len(utterance_ids)} clips, "
            f"first for '{utterance_ids[int(broken[0])]}'"
        )


def hash_ids(utterance_ids: Sequence[str]) -> str:
    """SHA-256, in hexadecimal, of the ids in order, as UTF-8 and with a NUL between them."""
    return hashlib.sha256("\0".join(utterance_ids).encode("utf-8", "surrogatepass")).hexdigest()


def share_document(estimate: Estimate | None) -> dict[str, Any] | None:
    """An estimate as JSON, to six digits."""
    if estimate is None:
        return None
    return {name: rounded(value) if isinstance(value, float) else value for name, value in asdict(estimate).items()}


def rounded(value: float | None) -> float | None:
    """To six digits."""
    return None if value is None else round(value, 6)


def percent(estimate: Estimate | None) -> float | None:
    """For a table: per cent with one decimal."""
    return None if estimate is None else round(100 * estimate.value, 1)


def _per_clip(name: str, values: Sequence[Any] | ArrayLike | None, clips: int) -> NDArray[Any] | None:
    if values is None:
        return None
    array = np.asarray(values)
    if array.shape != (clips,):
        raise ValueError(f"expected {clips} {name}, one per clip, got {array.shape = }")
    return array


def _cells_per_clip(name: str, cells: Sequence[str], clips: int) -> tuple[str, ...]:
    if len(cells) != clips:
        raise ValueError(f"expected {clips} groups by {name}, one per clip, got {len(cells)}")
    return tuple(cells)


def speaker_groups(speakers: NDArray[Any] | None) -> NDArray[np.int64] | None:
    """Speakers as numbers; a clip without one is a group of its own. None when they are too few to draw from."""
    if speakers is None:
        return None
    names, groups = np.unique(speakers, return_inverse=True)
    if np.count_nonzero(names != "") < MIN_SPEAKERS:
        return None
    alone = np.flatnonzero(speakers == "")
    groups[alone] = len(names) + np.arange(alone.size)
    return np.unique(groups, return_inverse=True)[1].astype(np.int64)


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _VERSIONED:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
