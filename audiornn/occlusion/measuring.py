"""Occlusion over time and frequency (Zeiler and Fergus, 2014): what an answer loses when a part falls silent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from audiornn.errors import ConfigError
from audiornn.features.mel import hz_to_mel, mel_to_hz
from audiornn.tasks import BINARY, MULTICLASS, MULTILABEL, REGRESSION, TaskSpec

if TYPE_CHECKING:
    from audiornn.inference import Classifier
    from audiornn.inference.reading import AudioInput
    from audiornn.progress import Progress

MAX_HEARD_SECONDS = 200_000
"""Of all copies of the clip together; more are refused: longer windows, fewer bands, or a piece of the recording."""
_FFT_SECONDS = 0.032
_PER_WINDOW = 4
"""Steps of the transform in one of its windows."""
_AT_ONCE, _MOST_SAMPLES = 256, 20_000_000
"""Copies in memory, and samples of all of them together."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class OcclusionConfig:
    """What is silenced at a time."""

    window_seconds: float = 0.1
    """Windows overlap by half."""
    bands: int = 8
    """Equally wide on the mel scale; 1 = all frequencies at once."""

    def __post_init__(self) -> None:
        if not _FFT_SECONDS <= self.window_seconds <= 10:
            raise ConfigError(f"window_seconds must be from {_FFT_SECONDS} to 10, got {self.window_seconds}")
        if not 1 <= self.bands <= 64:
            raise ConfigError(f"bands must be from 1 to 64, got {self.bands}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """What an answer hangs on.

    A number is by how much it falls when a part is silent: log-odds of a label in nats, a quantity in its unit. It is
    positive where the part speaks for the answer, and negative where it speaks against it.
    """

    task: str
    label: str
    """Class, label or quantity that is explained."""
    score: float
    """Its probability or value with nothing silenced."""
    unit: str
    """Of the numbers below."""
    times: Floats
    """Edges of the steps of time, ``(steps + 1,)`` s."""
    frequencies: Floats
    """Edges of the bands, ``(bands + 1,)`` Hz, lowest first."""
    parts: Floats
    """``(bands, steps)``: with a band silent around a step."""
    moments: Floats
    """``(steps,)``: with all frequencies silent around a step."""
    waveform: Floats
    """``(samples,)``, what was explained; NaN where missing."""
    sample_rate: int

    def rows(self) -> Iterator[dict[str, Any]]:
        """As a table: one row per part, and per moment over all frequencies."""
        whole = [(self.frequencies[0], self.frequencies[-1], self.moments)]
        edges = zip(self.frequencies[:-1], self.frequencies[1:], self.parts, strict=True)
        for low, high, falls in [*whole, *(edges if len(self.parts) > 1 else ())]:
            for start, end, fall in zip(self.times[:-1], self.times[1:], falls, strict=True):
                yield {
                    "start_seconds": round(float(start), 4),
                    "end_seconds": round(float(end), 4),
                    "low_hz": round(float(low), 1),
                    "high_hz": round(float(high), 1),
                    "fall": round(float(fall), 4),
                }


def explain(
    classifier: Classifier,
    audio: AudioInput,
    *,
    sample_rate: int | None = None,
    task: str | None = None,
    label: str | None = None,
    config: OcclusionConfig | None = None,
    progress: Progress | None = None,
) -> Explanation:
    """Which parts of a clip speak for an answer.

    Parts are cut out of the sound itself, so that any model can be asked, an exported one too.

    Args:
        classifier: the model.
        audio: a file or an array, see `audiornn.inference.Classifier.predict`.
        sample_rate: of an array, Hz.
        task: of several, the one to explain; None = the first of utterances.
        label: what to explain; None = the answer before anything is rejected, of several labels or quantities the most
            probable or the first.
        config: what is silenced at a time.
        progress: called with the numbers of parts done and in all.

    Raises:
        AudioError: audio that can't be used.
        ConfigError: no such task or label, a model without audio, too many bands for its rate, or more to be heard than
            `MAX_HEARD_SECONDS`.
    """
    config = config or OcclusionConfig()
    if not classifier.inputs.reads_audio:
        raise ConfigError("expected a model that hears audio, got one of sequences alone")
    spec = _task(classifier.tasks, task)
    signals = classifier.reader.prepare(audio, sample_rate)
    rate = classifier.sample_rate
    size = len(signals.waveform)
    step = max(1, round(config.window_seconds * rate / 2))
    count = max(1, -(-size // step))
    again = (count + 1) * (config.bands + 1) * signals.seconds
    if again > MAX_HEARD_SECONDS:
        raise ConfigError(
            f"expected at most {MAX_HEARD_SECONDS:,} s to be heard again, got {again:,.0f} of {signals.seconds:.1f} s; "
            "take a longer window_seconds, fewer bands, or a piece of the recording"
        )
    starts = np.arange(-1, count) * step
    """Windows of two steps, the first and the last of which reach out of the clip."""
    edges = mel_to_hz(np.linspace(0, hz_to_mel(rate / 2, "htk"), config.bands + 1), "htk")
    whole = classifier.run([signals])
    index = _index(spec, label, whole.scores[spec.name][0])
    held = _Silencer(signals.waveform, rate)
    if np.histogram(held.frequencies, edges)[0].min() == 0:
        raise ConfigError(f"expected fewer bands at {rate} Hz, got {config.bands}, some of them without a frequency")
    ends = [*edges[1:-1], np.inf]  # the highest frequency too
    bands = [(0.0, np.inf), *(zip(edges[:-1], ends, strict=True) if config.bands > 1 else ())]
    places = [(start, start + 2 * step, low, high) for low, high in bands for start in starts.tolist()]
    answers: list[float] = []
    at_once = max(1, min(_AT_ONCE, _MOST_SAMPLES // max(1, size)))
    for first in range(0, len(places), at_once):
        heard = [replace(signals, waveform=held.without(*place)) for place in places[first : first + at_once]]
        answers += _evidence(classifier, spec, classifier.run(heard).logits, index).tolist()
        if progress is not None:
            progress(len(answers), len(places))
    falls = _evidence(classifier, spec, whole.logits, index)[0] - np.array(answers).reshape(len(bands), len(starts))
    # Each step of time is in two windows.
    of_steps = ((falls[:, :-1] + falls[:, 1:]) / 2).astype(np.float32)
    return Explanation(
        task=spec.name,
        label=spec.labels[index],
        score=float(whole.scores[spec.name][0][index]),
        unit="" if spec.kind == REGRESSION else "nats",
        times=np.minimum(np.arange(count + 1) * step, size).astype(np.float32) / np.float32(rate),
        frequencies=edges.astype(np.float32),
        parts=of_steps[1:] if len(bands) > 1 else of_steps,
        moments=of_steps[0],
        waveform=signals.waveform,
        sample_rate=rate,
    )


def _task(tasks: Sequence[TaskSpec], name: str | None) -> TaskSpec:
    known = [task for task in tasks if task.num_outputs]
    found = next((task for task in known if name in (None, task.name)), None)
    if found is None:
        names = ", ".join(task.name for task in known) or "none that answers whole clips"
        raise ConfigError(f"task: expected one of {names}, got {name or 'none'}")
    return found


def _index(spec: TaskSpec, label: str | None, scores: NDArray[Any]) -> int:
    if label is not None:
        if label not in spec.labels:
            raise ConfigError(f"label: expected one of {', '.join(spec.labels)}, got {label!r}")
        return spec.labels.index(label)
    if spec.kind in (MULTICLASS, BINARY):
        return int(spec.decide(scores[None])[0])
    return int(np.argmax(scores)) if spec.kind == MULTILABEL else 0


def _evidence(classifier: Classifier, spec: TaskSpec, logits: Floats, index: int) -> NDArray[np.float64]:
    """Log-odds of a label, or a quantity. Shape: all logits ``(rows, outputs)`` -> ``(rows,)``."""
    own = classifier.shares(logits)[spec.name][1].astype(np.float64)
    if spec.kind == REGRESSION:
        return own[:, index] * spec.std[index] + spec.mean[index]
    own = own / spec.temperature
    if spec.kind == BINARY:
        return own[:, 0] * (1 if index else -1)
    evidence: NDArray[np.float64] = own[:, index]
    if spec.kind == MULTICLASS:
        evidence = evidence - np.logaddexp.reduce(np.delete(own, index, axis=1), axis=1)
    return evidence


class _Silencer:
    """A clip without one of its parts, by a transform of windows that add up to it.

    Args:
        waveform: ``(samples,)``, NaN where missing.
        rate: Hz.
    """

    def __init__(self, waveform: Floats, rate: int) -> None:
        self._missing = np.isnan(waveform)
        self._waveform = np.where(self._missing, np.float32(0), waveform)
        self._size = max(_PER_WINDOW, round(_FFT_SECONDS * rate / _PER_WINDOW) * _PER_WINDOW)
        self._hop = self._size // _PER_WINDOW
        # Hann's, whose squares at a quarter of its length add up to 3/2.
        self._window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self._size) / self._size)
        padded = np.pad(self._waveform, (self._size, self._size + self._hop))
        frames = np.lib.stride_tricks.sliding_window_view(padded, self._size)[:: self._hop] * self._window
        self._spectra = np.fft.rfft(frames, axis=1)
        self.frequencies: NDArray[Any] = np.fft.rfftfreq(self._size, 1 / rate)
        # What begins before the clip, or ends behind it, belongs to its first and its last sample.
        starts = np.arange(len(frames)) * self._hop - self._size
        self._middles = (starts + self._size // 2).clip(0, max(0, len(waveform) - 1))

    def without(self, start: float, stop: float, low: float, high: float) -> Floats:
        """Samples from ``start`` to ``stop`` silent between two frequencies, in Hz. Shape: -> ``(samples,)``."""
        first, last = np.searchsorted(self._middles, (start, stop))
        bins = (self.frequencies >= low) & (self.frequencies < high)
        parts = np.fft.irfft(np.where(bins, self._spectra[first:last], 0), n=self._size, axis=1) * self._window / 1.5
        part = np.zeros(max(0, len(parts) - 1) * self._hop + self._size)
        for number, each in enumerate(parts):
            part[number * self._hop :][: self._size] += each
        silent = self._waveform.copy()
        at = int(first) * self._hop - self._size
        begin, end = max(0, at), min(len(silent), at + len(part))
        if begin < end and len(parts):
            silent[begin:end] -= part[begin - at : end - at].astype(np.float32)
        silent[self._missing] = np.nan
        return silent
