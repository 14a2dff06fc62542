"""Events in a stream, told as they happen."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from audiornn.audio import read_blocks
from audiornn.detection import DetectionSettings, Event, detectable
from audiornn.inference import Classifier, load
from audiornn.recordings import EventDetector, Moment, settings_for
from audiornn.recordings.windows import Gate, UntilFailure, window_samples
from audiornn.streaming.limits import reason_against
from audiornn.streaming.streams import Chunk, Stream
from audiornn.streaming.updates import Moments
from audiornn.tasks import FRAMES

# What was heard is counted at two rates.
_ROUNDING_SECONDS = 1e-3


class EventStream:
    """The events in a stream: those that `audiornn.recordings.detect_events` finds in a file of the same samples.

    After `finish` the next chunk begins another stream.

    >>> events = EventStream("runs/demo/2026-11-21_10-00-00/model", sample_rate=16_000)  # doctest: +SKIP
    >>> for chunk in chunks:  # doctest: +SKIP
    ...     print(*events.push(chunk))

    Args:
        model: a `Classifier`, or the folder or file of one.
        settings: window, thresholds and so on; None = those that the model keeps.
        sample_rate: of the chunks, Hz; None = the model's.
        from_states: answer with every frame, from the model's states, instead of windows; None = where a model has a
            label per frame and needs no windows.

    Raises:
        ConfigError: settings that don't fit the model, or a model that needs windows.

    Attributes:
        settings: all that was left to the model taken from it.
        delay_seconds: longest time from a sound to when `begun` has its event.
    """

    def __init__(
        self,
        model: Classifier | str | os.PathLike[str],
        settings: DetectionSettings | None = None,
        *,
        sample_rate: int | None = None,
        from_states: bool | None = None,
    ) -> None:
        classifier = model if isinstance(model, Classifier) else load(model)
        spec = classifier.spec
        task = detectable(classifier.answered)
        has_frames = task.kind == FRAMES
        from_states = has_frames and not reason_against(spec) if from_states is None else from_states
        self.settings = settings_for(spec, settings, enrolled=classifier.enrolled_words, from_states=from_states)
        self.stream = Stream(
            classifier,
            sample_rate=sample_rate,
            window_seconds=None if from_states else self.settings.window_seconds,
            hop_seconds=None if from_states else self.settings.hop_seconds,
            frames=has_frames,  # beside a task that is answered by windows they would move these
        )
        self._task = task
        self._begun: list[Event] = []
        rate = classifier.sample_rate
        self._fresh_track: Callable[[], _FrameTrack | _WindowTrack]
        if has_frames or from_states:
            period = 1 / spec.frame_clock.frame_rate
            self._fresh_track = partial(_FrameTrack, period)
        else:
            assert self.settings.window_seconds is not None and self.settings.hop_seconds is not None
            size, hop = window_samples(spec.features, self.settings.window_seconds, self.settings.hop_seconds)
            self._fresh_track, period = partial(_WindowTrack, size, hop, rate), hop / rate
        self._track, self._detector = self._fresh_track(), EventDetector(task, self.settings)
        agreeing = max(1, math.ceil((self.settings.minimum_seconds or 0) / period - 1e-6))
        self.delay_seconds = self.stream.delay_seconds + (self.settings.smoothing_windows // 2 + agreeing) * period

    def push(self, chunk: Chunk) -> list[Event]:
        """Hear what comes next; the events that are over with it, in the order of their ends.

        Raises:
            AudioError: a chunk that can't be used; it was not heard.
        """
        return self._found(self._track.windows(self.stream.push(chunk).moments.get(self._task.name)))

    def finish(self) -> list[Event]:
        """The events at the end of the stream."""
        last = self.stream.finish()
        found = self._found(self._track.windows(last.moments.get(self._task.name)))
        found += self._found(self._track.rest(last.seconds)) + self._detector.finish()
        self._begun += self._detector.begun()
        self._track, self._detector = self._fresh_track(), EventDetector(self._task, self.settings)
        return found

    def begun(self) -> list[Event]:
        """Events that have become certain since this was last asked, each once. Label and start are final; the end is
        as far as it was heard, and the probability the highest until then."""
        told, self._begun = self._begun + self._detector.begun(), []
        return told

    def _found(self, windows: Iterable[Moment]) -> list[Event]:
        return [event for window in windows for event in self._detector.push(window)]


def detect_frames(
    classifier: Classifier,
    path: str | os.PathLike[str],
    settings: DetectionSettings | None = None,
    *,
    gate: Gate | None = None,
) -> Iterator[Event]:
    """The events in a file, for a model with a label per frame alone: those of a stream of it.

    From the model's states, where it can stream so and no window is asked for; `audiornn.recordings.detect_events` is
    for models with labels of clips.

    Args:
        classifier: the model.
        path: of the file.
        settings: None = those that the model keeps.
        gate: it learns how much was read; every frame is heard.

    Raises:
        AudioError: the file can't be read; raised after the events of what could be.
        ConfigError: settings that don't fit the model.
    """
    gate = gate or Gate()
    has_windows = settings is not None and settings.window_seconds is not None
    events = EventStream(classifier, settings, from_states=False if has_windows else None)
    parts = UntilFailure(read_blocks(path, sample_rate=classifier.sample_rate))
    for part in parts:
        gate.listen(part)
        yield from events.push(part.waveform if len(part.gaps) else part.samples)
    yield from events.finish()
    parts.raise_failure()


class _FrameTrack:
    """Scores of frames as moments as long as a frame."""

    def __init__(self, period: float) -> None:
        self._half = period / 2

    def windows(self, moments: Moments | None) -> Iterator[Moment]:
        if moments is not None:
            for time, scores in zip(moments.times.tolist(), moments.scores, strict=True):
                yield Moment(time - self._half, time + self._half, scores)

    def rest(self, seconds: float) -> Iterator[Moment]:
        del seconds
        return iter(())


class _WindowTrack:
    """Scores of windows as `audiornn.recordings.windows` gives them of a file: also those that could not be judged, of
    which a stream does not tell."""

    def __init__(self, size: int, hop: int, sample_rate: int) -> None:
        self._size, self._hop, self._rate = size, hop, sample_rate
        self._next = size  # where the next window ends
        self._last = 0

    def windows(self, moments: Moments | None) -> Iterator[Moment]:
        if moments is not None:
            for time, scores in zip(moments.times.tolist(), moments.scores, strict=True):
                stop = round(time * self._rate)
                while self._next < stop:
                    yield Moment(*self._times(self._next), None)
                    self._next += self._hop
                self._last, self._next = stop, stop + self._hop
                yield Moment(*self._times(stop), scores)

    def rest(self, seconds: float) -> Iterator[Moment]:
        """Those at the end of a stream of that length."""
        end = round(seconds * self._rate)
        while self._next <= end:
            yield Moment(*self._times(self._next), None)
            self._last, self._next = self._next, self._next + self._hop
        if end - self._last > max(1, _ROUNDING_SECONDS * self._rate):
            yield Moment(*self._times(end), None)

    def _times(self, stop: int) -> tuple[float, float]:
        return max(0, stop - self._size) / self._rate, stop / self._rate
