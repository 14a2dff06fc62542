"""The operating point of a detector: thresholds for so many false alarms per hour, on clips placed in noise."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from audiornn.audio import Recording, from_int16
from audiornn.detection import DetectionSettings, detectable
from audiornn.errors import ConfigError, CorpusError
from audiornn.evaluation.detections import DetectionCounts, Track, total
from audiornn.evaluation.operating_point import OperatingPoint, choose_operating_point
from audiornn.inference import Classifier
from audiornn.mixtures import Clips, Mixture, MixtureConfig, Waveform
from audiornn.progress import Progress
from audiornn.recordings import moments, scored_windows, settings_for, smoothed
from audiornn.store import Store
from audiornn.targets import label_sets
from audiornn.tasks import MULTILABEL, TaskSpec

OTHERS_SECONDS = 10.0
"""Longer sounds of no label are placed in parts."""


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What was chosen, and what it did where it was chosen."""

    point: OperatingPoint
    counts: Mapping[str, DetectionCounts]
    """By label."""
    hours: float
    heard: str
    """What the recording was made of, in words."""

    @property
    def settings(self) -> DetectionSettings:
        """To be kept in the model."""
        return self.point.settings

    @property
    def total(self) -> DetectionCounts:
        """Of all labels together."""
        return total(self.counts, self.hours)


def tune(
    classifier: Classifier,
    store: Store,
    config: MixtureConfig,
    settings: DetectionSettings | None = None,
    *,
    false_alarms_per_hour: float,
    confidence: float = 0.9,
    others: Sequence[Waveform] = (),
    noises: Sequence[Waveform] | None = None,
    split: str = "validation",
    batch_size: int = 64,
    progress: Progress | None = None,
) -> Tuned:
    """Choose the thresholds of a detector.

    Args:
        classifier: with one task of labels.
        store: of the corpus at the model's rate, without ``audio.steps``; its noise recordings serve as noise.
        config: how the clips are placed.
        settings: all but the thresholds; None = what the model keeps.
        false_alarms_per_hour: of all labels together, at most.
        confidence: with which that shall be so in audio like this.
        others: further sounds of no label, at the model's rate; they only disturb.
        noises: recordings of noise at the model's rate; None = the corpus's, which training may have heard.
        split: whose clips are placed.
        batch_size: windows per batch.
        progress: called with the scenes done and in all.

    Raises:
        ConfigError: a budget that is not above 0, or settings that don't fit the model.
        CorpusError: a split without clips of labels that are events.
    """
    if not 0 < false_alarms_per_hour < float("inf"):
        raise ConfigError(f"false_alarms_per_hour must be above 0, got {false_alarms_per_hour}")
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence must be above 0 and below 1, got {confidence}")
    task = detectable(classifier.tasks, of_frames=False)
    settled = settings_for(classifier.spec, settings)
    clips = with_others(clips_of(store, task, settled, split), others, classifier.sample_rate)
    if noises is None:
        noises = [store.audio(int(row)) for row in store.indices("noise")]
    mixture = Mixture(config, clips, noises, classifier.sample_rate)
    track = hear(classifier, mixture, settled, batch_size=batch_size, progress=progress)
    point = choose_operating_point(
        track,
        task,
        settled,
        false_alarms_per_hour=false_alarms_per_hour,
        confidence=confidence,
        repeats=mixture.repeats,
    )
    counts = track.counts(task, point.settings)
    origin = _origin(store, split, mixture, point) | {
        "asked_false_alarms_per_hour": false_alarms_per_hour,
        "confidence": confidence,
    }
    point = dataclasses.replace(point, settings=dataclasses.replace(point.settings, origin=origin))
    return Tuned(point=point, counts=counts, hours=track.hours, heard=_heard(mixture, track.hours))


def with_others(clips: Clips, others: Sequence[Waveform], sample_rate: int) -> Clips:
    """Clips with further ones of no label, in parts of at most `OTHERS_SECONDS`."""
    size = round(OTHERS_SECONDS * sample_rate)
    parts = [other[start : start + size] for other in others for start in range(0, len(other), size)]
    count = len(clips.labels)
    return Clips(
        [*clips.labels, *([] for _ in parts)],
        lambda index: clips.read(index) if index < count else parts[index - count],
        max([clips.longest_samples, *map(len, parts)]),
    )


def _heard(mixture: Mixture, hours: float) -> str:
    clips, recorded = mixture.num_clips, mixture.recorded_scenes / mixture.num_scenes
    snr_db = ", ".join(f"{ratio:g}" for ratio in mixture.config.snr_db)
    return (
        f"{hours:.2f} hours, {clips / hours:,.0f} clips per hour, {100 * mixture.num_others / max(1, clips):.0f} % of "
        f"them no event, each {mixture.repeats:.1f} times; noise at {snr_db} dB, "
        f"{100 * recorded:.0f} % of it recorded"
    )


def hear(
    classifier: Classifier,
    mixture: Mixture,
    settings: DetectionSettings,
    *,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> Track:
    """A model's answers to a mixture, smoothed; settings are settled."""

    def blocks() -> Iterator[Recording]:
        for done, block in enumerate(mixture.blocks(), 1):
            yield block
            if progress is not None:
                progress(done, mixture.num_scenes)

    scored = scored_windows(classifier, blocks(), settings, batch_size=batch_size)
    track = list(moments(smoothed(scored, settings.smoothing_windows)))
    return Track.of(track, mixture.truth, len(detectable(classifier.tasks).labels))


def clips_of(store: Store, task: TaskSpec, settings: DetectionSettings, split: str) -> Clips:
    """The clips of a split; those of the background only disturb.

    Raises:
        CorpusError: none has a label that is an event.
    """
    rows = store.indices(split)
    if len(task.columns) != 1:
        raise CorpusError(f"expected labels in one column, got {len(task.columns)} of task {task.name!r}")
    cells = store.column(task.columns[0])
    wanted = set(task.labels) - set(settings.background or ())
    said = _labels(task, [cells[int(row)] for row in rows])
    labels = [[label for label in each if label in wanted] for each in said]
    if not any(labels):
        raise CorpusError(
            f"expected clips of {', '.join(sorted(wanted))} in the {split} split of '{store.folder}', found none"
        )
    lengths = store.num_samples[rows]
    return Clips(labels, lambda index: from_int16(store.waveform(int(rows[index]))), int(lengths.max()))


def _labels(task: TaskSpec, cells: Sequence[str]) -> list[list[str]]:
    if task.kind == MULTILABEL and task.separator:
        return label_sets(cells, task.separator)
    return [[cell] for cell in cells]


def _origin(store: Store, split: str, mixture: Mixture, point: OperatingPoint) -> dict[str, Any]:
    return {
        "corpus": store.name,
        "corpus_fingerprint": store.fingerprint,
        "split": split,
        **dataclasses.asdict(mixture.config),
        "clips": mixture.num_clips,
        "others": mixture.num_others,
        "repeats": round(mixture.repeats, 3),
        "recorded_noise_share": round(mixture.recorded_scenes / mixture.num_scenes, 3),
        "held_out_hours": round(point.held_out.hours, 4),
        "held_out_false_alarms": point.held_out.false_alarms,
        "held_out_hits": point.held_out.hits,
        "held_out_truths": point.held_out.truths,
        "bound_per_hour": round(point.bound_per_hour, 4),
        "is_promised": point.is_promised,
    }
