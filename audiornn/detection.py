"""How events are found in long recordings: settings that a model keeps, and what an event is."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from audiornn.errors import ConfigError
from audiornn.labels import SILENCE, UNKNOWN
from audiornn.tasks import BINARY, CALIBRATED, FRAMES, TaskSpec

BACKGROUND_LABELS = frozenset({UNKNOWN, SILENCE, "background", "noise", "other", "none"})
"""Labels, in lower case and without ``_`` around them, that are no event unless the settings say otherwise."""
CLIP_SECONDS = "clip_seconds"
"""In what a model says of its training: the median length of its clips."""
DEFAULT_WINDOW_SECONDS = 1.0
DEFAULT_THRESHOLD = 0.5
HOPS_PER_WINDOW = 4
FRAMES_SECONDS = 0.1
"""Where every frame is answered, shorter events are dropped unless the settings say otherwise."""


def usual_window(training: Mapping[str, Any]) -> float:
    """Seconds that a model hears at a time where nothing is said: the length of its clips, as its training tells it."""
    known = training.get(CLIP_SECONDS)
    return float(known) if isinstance(known, int | float) and 0 < known < math.inf else DEFAULT_WINDOW_SECONDS


def hop_of(window_seconds: float, hop_seconds: float | None) -> float:
    """Seconds from one window to the next: as given, else a quarter of a window."""
    return window_seconds / HOPS_PER_WINDOW if hop_seconds is None else hop_seconds


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something heard in a recording."""

    start_seconds: float
    """From the start of the recording; to the nearest moment between two windows."""
    end_seconds: float
    label: str
    probability: float
    """The highest on the way, after smoothing."""


@dataclass(frozen=True, kw_only=True)
class DetectionSettings:
    """How windows become events. A model keeps those that were chosen for it.

    Raises:
        ConfigError: a value out of range.
    """

    window_seconds: float | None = None
    """What the model hears at a time; None = the median length of its training clips, or 1 s."""
    hop_seconds: float | None = None
    """From one window to the next; None = a quarter of a window."""
    smoothing_windows: int = 3
    """Neighbours, itself among them, over which the probabilities of a window are averaged; odd."""
    threshold: float | None = None
    """Probability from which on a moment belongs to an event; None = that of the task, or 0.5. A label below which the
    model rejects its answers has at least that threshold."""
    thresholds: dict[str, float] = field(default_factory=dict)
    """By label, in place of ``threshold`` and of what the model rejects."""
    minimum_seconds: float | None = None
    """Shorter events are dropped, except in a recording of one window; None = two hops: two windows must agree; or
    `FRAMES_SECONDS` where every frame is answered."""
    merge_seconds: float = 0.0
    """Two events of a label that are no further apart are one, if there is none of another label between them."""
    background: list[str] | None = None
    """Labels that are no event; None = those called unknown, silence, background, noise, other or none, and the first
    one of two."""
    origin: dict[str, Any] = field(default_factory=dict)
    """Where the thresholds come from. Information only."""

    def __post_init__(self) -> None:
        for name in ("window_seconds", "hop_seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"{name} must be above 0, got {value}")
        for name in ("minimum_seconds", "merge_seconds"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ConfigError(f"{name} must be at least 0, got {value}")
        if self.smoothing_windows < 1 or self.smoothing_windows % 2 == 0:
            raise ConfigError(f"smoothing_windows must be odd and at least 1, got {self.smoothing_windows}")
        for name, value in [("threshold", self.threshold), *self.thresholds.items()]:
            if value is not None and not 0 <= value <= 1:
                raise ConfigError(f"expected a threshold from 0 to 1, got {value} for {name!r}")

    def threshold_of(self, label: str) -> float:
        """The one that counts for a label, of settled settings."""
        return self.thresholds.get(label, DEFAULT_THRESHOLD if self.threshold is None else self.threshold)

    def settled(
        self,
        task: TaskSpec,
        training: Mapping[str, Any],
        *,
        enrolled: Sequence[str] = (),
        from_states: bool = False,
    ) -> DetectionSettings:
        """The same with everything that is left to a model taken from it.

        Args:
            task: what the model answers.
            training: what it says of its training.
            enrolled: words that it answers with beside.
            from_states: it answers with every frame.

        Raises:
            ConfigError: a label that the model does not know, or none that could be an event.
        """
        window = float(self.window_seconds or usual_window(training))
        background = default_background(task) if self.background is None else list(self.background)
        labels = [*task.labels, *enrolled]
        for where, names in (("thresholds", self.thresholds), ("background", background)):
            for name in names:
                if name not in labels:
                    close = difflib.get_close_matches(name, labels, n=1)
                    hint = f"; did you mean {close[0]!r}?" if close else ""
                    raise ConfigError(f"{where}: expected labels of the model, got {name!r}{hint}")
        if not set(labels) - set(background):
            raise ConfigError(f"background: expected at least one label that is an event, got all: {background}")
        hop = float(hop_of(window, self.hop_seconds))
        shortest = FRAMES_SECONDS if from_states or task.kind == FRAMES else 2 * hop
        return dataclasses.replace(
            self,
            window_seconds=window,
            hop_seconds=hop,
            # Floats, whatever was given: a model on disk tells 1 from 1.0.
            threshold=float(self.threshold_of("")),
            thresholds=self._thresholds(task),
            minimum_seconds=float(shortest if self.minimum_seconds is None else self.minimum_seconds),
            merge_seconds=float(self.merge_seconds),
            background=background,
        )

    def _thresholds(self, task: TaskSpec) -> dict[str, float]:
        """By label, where it is not ``threshold`` that counts."""
        usual = {}
        if self.threshold is None and task.thresholds:
            usual = dict(zip(task.labels[-len(task.thresholds) :], task.thresholds, strict=True))
        for label, least in zip(task.labels, task.reject, strict=False):  # none, or one for each
            usual[label] = max(least, usual.get(label, self.threshold_of("")))
        common = float(self.threshold_of(""))
        thresholds = {label: float(value) for label, value in {**usual, **self.thresholds}.items()}
        return {label: value for label, value in thresholds.items() if label in self.thresholds or value != common}


def default_background(task: TaskSpec) -> list[str]:
    """The labels of a task that are no event by their names, and the first one of two, or of those of a frame."""
    named = [label for label in task.labels if label.strip("_").lower() in BACKGROUND_LABELS]
    if task.kind == FRAMES:
        return list(dict.fromkeys([task.labels[0], *named]))
    return [task.labels[0]] if task.kind == BINARY and not named else named


def detectable(tasks: Sequence[TaskSpec], *, of_frames: bool = True) -> TaskSpec:
    """The task whose labels can be events: that of a label for a clip, or for a frame in a model without one.

    Args:
        tasks: of a model.
        of_frames: whether the latter counts.

    Raises:
        ConfigError: there is none, or there are several.
    """
    found = [task for task in tasks if task.kind in CALIBRATED]
    if not found and of_frames:
        found = [task for task in tasks if task.kind == FRAMES]
    if len(found) != 1:
        kinds = ", ".join(f"{task.name} ({task.kind})" for task in tasks)
        whose = "" if of_frames else " for clips"
        raise ConfigError(f"expected a model with one task of labels{whose}, whose events are to be found, got {kinds}")
    return found[0]
