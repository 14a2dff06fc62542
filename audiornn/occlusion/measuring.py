"""Occlusion over time and frequency (Zeiler and Fergus, 2014): what an answer loses when a part falls silent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

from audiornn.errors import ConfigError
from audiornn.features.mel import hz_to_mel, mel_to_hz
from audiornn.tasks import BINARY, MULTICLASS, MULTILABEL, REGRESSION, TaskSpec

if TYPE_CHECKING:
    from audiornn.inference import Classifier
    from audiornn.inference.reading import AudioInput

MAX_PARTS = 20_000
"""More are refused: longer windows, or a shorter clip."""
_FFT_SECONDS = 0.032
_PER_WINDOW = 4
"""Steps of the transform in one of its windows."""
_AT_ONCE = 256

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class OcclusionConfig:
    """What is silenced at a time."""

    window_seconds: float = 0.1
    """Windows overlap by half."""
    bands: int = 8
    """Equally wide on the mel scale; 1 = all frequencies at once."""

    def __post_init__(self) -> None:
        if not 0.01 <= self.window_seconds <= 10:
            raise ConfigError(f"window_seconds must be from 0.01 to 10, got {self.window_seconds}")
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
) -> Explanation:
    """Which parts of a clip speak for an answer.

    Parts are cut out of the sound itself, so that any model can be asked, an exported one too.

    Args:
        classifier: the model.
        audio: a file or an array, see `audiornn.inference.Classifier.predict`.
        sample_rate: of an array, Hz.
        task: of several, the one to explain; None = the first of utterances.
        label: what to explain; None = the answer, of several labels or quantities the most probable or the first.
        config: what is silenced at a time.

    Raises:
        AudioError: audio that can't be used.
        ConfigError: no such task or label, a model without audio, more than `MAX_PARTS` parts.
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
    if count * (config.bands + 1) > MAX_PARTS:
        raise ConfigError(
            f"expected at most {MAX_PARTS:,} parts, got {count * (config.bands + 1):,} of {signals.seconds:.1f} s; "
            "take a longer window_seconds, fewer bands, or a piece of the recording"
        )
    starts = np.arange(-1, count) * step
    """Windows of two steps, the first and the last of which reach out of the clip."""
    edges = mel_to_hz(np.linspace(0, hz_to_mel(rate / 2, "htk"), config.bands + 1), "htk")
    whole = classifier.run([signals])
    index = _index(spec, label, whole.scores[spec.name][0])
    held = _Silencer(signals.waveform, rate)
    ends = [*edges[1:-1], np.inf]  # the highest frequency too
    bands = [(0.0, np.inf), *(zip(edges[:-1], ends, strict=True) if config.bands > 1 else ())]
    places = [(start, start + 2 * step, low, high) for low, high in bands for start in starts.tolist()]
    answers: list[float] = []
    for first in range(0, len(places), _AT_ONCE):
        heard = [replace(signals, waveform=held.without(*place)) for place in places[first : first + _AT_ONCE]]
        answers += _evidence(classifier, spec, classifier.run(heard).logits, index).tolist()
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
    """A clip without one of its parts.

    Args:
        waveform: ``(samples,)``, NaN where missing.
        rate: Hz.
    """

    def __init__(self, waveform: Floats, rate: int) -> None:
        self._missing = np.isnan(waveform)
        self._waveform = np.where(self._missing, np.float32(0), waveform)
        size = max(_PER_WINDOW, round(_FFT_SECONDS * rate / _PER_WINDOW) * _PER_WINDOW)
        self._transform = ShortTimeFFT(hann(size, sym=False), hop=size // _PER_WINDOW, fs=rate)
        # As long as a window at least, which the transform needs.
        self._padded = np.pad(self._waveform, (0, max(0, size - len(waveform))))
        self._spectra = self._transform.stft(self._padded)
        # What begins before the clip, or ends behind it, belongs to its first and its last sample.
        self._middles = (self._transform.t(len(self._padded)) * rate).clip(0, max(0, len(waveform) - 1))

    def without(self, start: float, stop: float, low: float, high: float) -> Floats:
        """Samples from ``start`` to ``stop`` silent between two frequencies, in Hz. Shape: -> ``(samples,)``."""
        frames = (self._middles >= start) & (self._middles < stop)
        bins = (self._transform.f >= low) & (self._transform.f < high)
        part = np.where(bins[:, None] & frames[None], self._spectra, 0)
        silent = self._padded - self._transform.istft(part, k1=len(self._padded)).real
        without: Floats = silent[: len(self._waveform)].astype(np.float32)
        without[self._missing] = np.nan
        return without
