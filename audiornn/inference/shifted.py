"""Answers averaged over copies of the audio that are moved in time: dearer, and a little more often right."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager

import numpy as np

from audiornn.errors import ConfigError
from audiornn.inference.engines import Answer, Attention, Engine, Floats, StreamingForm
from audiornn.sequences import Signals
from audiornn.spec import ModelSpec


class ShiftedEngine:
    """`audiornn.inference.engines.Engine` that asks another one once for each shift.

    Logits and embeddings are means: of probabilities that is the geometric mean.

    Args:
        engine: what answers.
        samples: shifts; a positive one delays. What leaves a clip is lost, zeros enter, its length stays.
    """

    def __init__(self, engine: Engine, samples: Sequence[int]) -> None:
        self.name = engine.name
        self.embedding_size = engine.embedding_size
        self._engine = engine
        self._samples = tuple(samples)

    @property
    def description(self) -> str:
        """Library, device and number of shifts in words."""
        return f"{self._engine.description}, over {len(self._samples)} shifts"

    def answer(self, signals: Sequence[Signals]) -> Answer:
        """Of one batch."""
        answers = [self._engine.answer([shifted(each, by) for each in signals]) for by in self._samples]

        def mean(part: Callable[[Answer], Floats]) -> Floats:
            found: Floats = np.mean([part(answer) for answer in answers], axis=0, dtype=np.float32)
            return found

        return Answer(mean(lambda answer: answer.logits), mean(lambda answer: answer.embeddings))

    def attention(self, signals: Signals) -> Attention | None:
        """Of the recording as it is."""
        return self._engine.attention(signals)

    def streaming_form(self) -> StreamingForm:
        """There is none: a stream is heard once."""
        raise ConfigError("expected no shifts for a stream, which is heard once, got some")

    def callers(self, count: int | None = None) -> AbstractContextManager[Executor]:
        """Those of the engine that answers."""
        return self._engine.callers(count)


def shifted(signals: Signals, samples: int) -> Signals:
    """Delayed within its length (negative: advanced); zeros enter."""
    if not samples:
        return signals
    waveform = np.zeros_like(signals.waveform)
    kept = max(0, len(waveform) - abs(samples))
    if samples > 0:
        waveform[len(waveform) - kept :] = signals.waveform[:kept]
    else:
        waveform[:kept] = signals.waveform[len(waveform) - kept :]
    return dataclasses.replace(signals, waveform=waveform)


def samples_of(shifts_ms: Sequence[float], spec: ModelSpec) -> list[int]:
    """Shifts in samples.

    Raises:
        ConfigError: no numbers, twice the same, longer than a second, or a model whose answers have times or whose
            audio has sequences beside it.
    """
    wanted = "shifts_ms: expected different numbers of at most 1000 ms, such as [-20,0,20]"
    if not isinstance(shifts_ms, Sequence) or not all(type(shift) in (int, float) for shift in shifts_ms):
        raise ConfigError(f"{wanted}, got {shifts_ms!r}")
    if not shifts_ms or not max(map(abs, shifts_ms)) <= 1000:
        raise ConfigError(f"{wanted}, got {shifts_ms}")
    samples = [round(shift * spec.features.sample_rate / 1000) for shift in shifts_ms]
    if len(set(samples)) < len(samples):
        raise ConfigError(f"{wanted}, got {shifts_ms}")
    if any(task.num_frame_outputs for task in spec.tasks):
        raise ConfigError("shifts_ms: expected a model that answers for whole utterances, got one of frames")
    if not spec.inputs.reads_audio or spec.inputs.sequences:
        raise ConfigError("shifts_ms: expected a model that hears audio alone, got sequences")
    return samples
