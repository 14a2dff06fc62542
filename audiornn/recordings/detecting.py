"""Events in recordings of any length."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from audiornn.audio import Recording, read_blocks
from audiornn.detection import DetectionSettings, Event, detectable
from audiornn.recordings.events import EventDetector, Moment
from audiornn.recordings.windows import BATCH_WINDOWS, Gate, UntilFailure, windows_of_blocks
from audiornn.spec import ModelSpec

if TYPE_CHECKING:
    from audiornn.inference.classifier import Classifier


def settings_for(
    spec: ModelSpec,
    settings: DetectionSettings | None = None,
    *,
    enrolled: Sequence[str] = (),
    from_states: bool = False,
) -> DetectionSettings:
    """Settings with everything that is left to a model taken from it; None = those that it keeps.

    Args:
        spec: of the model.
        settings: what is wished for.
        enrolled: words that it answers with beside its labels.
        from_states: it answers with every frame, not window by window.

    Raises:
        ConfigError: a model without a task whose labels could be events, or a label that it does not know.
    """
    settings = settings or spec.detection or DetectionSettings()
    return settings.settled(detectable(spec.tasks), spec.training, enrolled=enrolled, from_states=from_states)


def detect_events(
    classifier: Classifier,
    path: str | os.PathLike[str],
    settings: DetectionSettings | None = None,
    *,
    batch_size: int = BATCH_WINDOWS,
    gate: Gate | None = None,
) -> Iterator[Event]:
    """The events in a file, in the order of their ends, in constant memory.

    Args:
        classifier: a model with one task of labels for clips; `audiornn.streaming.detect_frames` has one for frames.
        path: of the file.
        settings: None = those that the model keeps.
        batch_size: windows per batch.
        gate: windows that it closes are not heard.

    Raises:
        AudioError: the file can't be read; raised after the events of what could be.
        ConfigError: settings that don't fit the model.
    """
    parts = UntilFailure(read_blocks(path, sample_rate=classifier.sample_rate))
    yield from detect_blocks(classifier, parts, settings, batch_size=batch_size, gate=gate)
    parts.raise_failure()


def detect_blocks(
    classifier: Classifier,
    blocks: Iterable[Recording],
    settings: DetectionSettings | None = None,
    *,
    batch_size: int = BATCH_WINDOWS,
    gate: Gate | None = None,
) -> Iterator[Event]:
    """`detect_events` of the parts of a recording at the model's rate."""
    task = detectable(classifier.answered, of_frames=False)
    settings = settings_for(classifier.spec, settings, enrolled=classifier.enrolled_words)
    detector = EventDetector(task, settings)
    for window in scored_windows(classifier, blocks, settings, batch_size=batch_size, gate=gate):
        yield from detector.push(window)
    yield from detector.finish()


def scored_windows(
    classifier: Classifier,
    blocks: Iterable[Recording],
    settings: DetectionSettings,
    *,
    batch_size: int = BATCH_WINDOWS,
    gate: Gate | None = None,
) -> Iterator[Moment]:
    """Windows with the probabilities of the one task of clips that is detected; settings are settled."""
    name = detectable(classifier.answered, of_frames=False).name
    assert settings.window_seconds is not None and settings.hop_seconds is not None
    for start, end, scores in windows_of_blocks(
        classifier,
        blocks,
        window_seconds=settings.window_seconds,
        hop_seconds=settings.hop_seconds,
        batch_size=batch_size,
        gate=gate,
    ):
        yield Moment(start, end, None if scores is None else scores[name])
