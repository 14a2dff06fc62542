"""The operating point of a detector: thresholds for so many false alarms per hour, on clips placed in noise."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from audiornn.audio import Recording, from_int16
from audiornn.detection import DetectionSettings, detectable
from audiornn.errors import ConfigError, CorpusError
from audiornn.evaluation.detections import DetectionCounts, Track, choose_thresholds, total
from audiornn.inference import Classifier
from audiornn.mixtures import Clips, Mixture, MixtureConfig
from audiornn.progress import Progress
from audiornn.recordings import moments, scored_windows, settings_for, smoothed
from audiornn.store import Store
from audiornn.tasks import MULTILABEL, TaskSpec


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What was chosen, and what it did where it was chosen."""

    settings: DetectionSettings
    counts: Mapping[str, DetectionCounts]
    """By label."""
    hours: float

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
        split: whose clips are placed.
        batch_size: windows per batch.
        progress: called with the scenes done and in all.

    Raises:
        ConfigError: a budget that is not above 0, or settings that don't fit the model.
        CorpusError: a split without clips of labels that are events.
    """
    if not 0 < false_alarms_per_hour < float("inf"):
        raise ConfigError(f"false_alarms_per_hour must be above 0, got {false_alarms_per_hour}")
    task = detectable(classifier.tasks)
    settled = settings_for(classifier.spec, settings)
    clips = clips_of(store, task, settled, split)
    noises = [store.audio(int(row)) for row in store.indices("noise")]
    mixture = Mixture(config, clips, noises, classifier.sample_rate)
    track = hear(classifier, mixture, settled, batch_size=batch_size, progress=progress)
    chosen = choose_thresholds(track, task, settled, false_alarms_per_hour=false_alarms_per_hour)
    counts = track.counts(task, chosen)
    origin = _origin(store, split, mixture, false_alarms_per_hour, total(counts, track.hours))
    return Tuned(settings=dataclasses.replace(chosen, origin=origin), counts=counts, hours=track.hours)


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
    labels = [[label for label in _labels(task, cells[int(row)]) if label in wanted] for row in rows]
    if not any(labels):
        raise CorpusError(
            f"expected clips of {', '.join(sorted(wanted))} in the {split} split of '{store.folder}', found none"
        )
    lengths = store.num_samples[rows]
    return Clips(labels, lambda index: from_int16(store.waveform(int(rows[index]))), int(lengths.max()))


def _labels(task: TaskSpec, cell: str) -> Sequence[str]:
    if task.kind == MULTILABEL and task.separator:
        return [label.strip() for label in cell.split(task.separator)]
    return [cell]


def _origin(
    store: Store, split: str, mixture: Mixture, false_alarms_per_hour: float, found: DetectionCounts
) -> dict[str, Any]:
    return {
        "corpus": store.name,
        "corpus_fingerprint": store.fingerprint,
        "split": split,
        **dataclasses.asdict(mixture.config),
        "clips": mixture.num_clips,
        "recorded_noise_share": round(mixture.recorded_scenes / mixture.num_scenes, 3),
        "asked_false_alarms_per_hour": false_alarms_per_hour,
        "false_alarms": found.false_alarms,
        "hits": found.hits,
        "truths": found.truths,
    }
