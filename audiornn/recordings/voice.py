"""Where somebody speaks, by Silero VAD (https://github.com/snakers4/silero-vad): its model from its wheel, run by
onnxruntime. Its Python code, which needs torch, is not imported."""

from __future__ import annotations

import importlib.util
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from audiornn.audio import Recording, from_int16
from audiornn.errors import ConfigError
from audiornn.recordings.windows import Gate

VOICE_RATE = 16_000
FRAME_SAMPLES = 512
_CONTEXT_SAMPLES = 64
_STATE = (1, 1, 128)
_MODEL = Path("data", "silero_vad_16k_sequence.onnx")
# Of a window, what is not judged: how late a probability may come, by the frame and by resampling.
_LATE_SECONDS = 0.1


def voice_model() -> Path:
    """The model in the wheel of silero-vad.

    Raises:
        ConfigError: it is not installed, or a version without this model.
    """
    found = importlib.util.find_spec("silero_vad")
    if found is None or found.origin is None:
        raise ConfigError("voice_only: expected silero-vad, which is not installed: pip install 'audiornn[vad]'")
    path = Path(found.origin).parent / _MODEL
    if not path.is_file():
        raise ConfigError(f"voice_only: expected {_MODEL.name} in silero-vad, found none at '{path}'; update it")
    return path


class VoiceActivity:
    """Probabilities of speech as a recording comes."""

    def __init__(self, model: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._hidden = self._cell = np.zeros(_STATE, dtype=np.float32)
        self._held = np.zeros(0, dtype=np.float32)
        self._context = np.zeros(_CONTEXT_SAMPLES, dtype=np.float32)

    def push(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of every frame of 512 samples at 16 kHz that is whole by now, one after the other.

        Shape: ``(samples,)`` -> ``(frames,)``.
        """
        held = np.concatenate([self._held, waveform])
        count = held.size // FRAME_SAMPLES
        self._held = held[count * FRAME_SAMPLES :]
        if not count:
            return np.zeros(0, dtype=np.float32)
        frames = held[: count * FRAME_SAMPLES].reshape(count, FRAME_SAMPLES)
        contexts = np.concatenate([self._context[None], frames[:-1, -_CONTEXT_SAMPLES:]])
        self._context = frames[-1, -_CONTEXT_SAMPLES:]
        feed = {"input": np.concatenate([contexts, frames], axis=1), "h": self._hidden, "c": self._cell}
        found, self._hidden, self._cell = self._session.run(["speech_probs", "hn", "cn"], feed)
        probabilities: NDArray[np.float32] = found.reshape(-1)
        return probabilities


class VoiceGate(Gate):
    """Closes windows in which nobody speaks.

    Args:
        sample_rate: of the recording, Hz.
        threshold: probability of speech from which on one frame of 32 ms is enough.
        on_heard: as for `Gate`.

    Raises:
        ConfigError: silero-vad is not installed, or a threshold out of range.
    """

    def __init__(
        self, sample_rate: int, *, threshold: float = 0.5, on_heard: Callable[[int], None] | None = None
    ) -> None:
        super().__init__(on_heard)
        if not 0 <= threshold <= 1:
            raise ConfigError(f"voice_threshold must be from 0 to 1, got {threshold}")
        self._threshold = threshold
        self._voice = VoiceActivity(voice_model())
        self._resampler = (
            None
            if sample_rate == VOICE_RATE
            else soxr.ResampleStream(sample_rate, VOICE_RATE, 1, dtype="float32", quality="HQ")
        )
        self._first = 0
        self._probabilities: deque[float] = deque()

    def listen(self, part: Recording) -> None:
        super().listen(part)
        waveform = from_int16(part.samples)
        if self._resampler is not None:
            waveform = self._resampler.resample_chunk(waveform)
        self._probabilities.extend(self._voice.push(waveform).tolist())

    def is_open(self, start_seconds: float, end_seconds: float) -> bool:
        """Whether somebody speaks in it; also where it is too short to tell."""
        first = int(start_seconds * VOICE_RATE / FRAME_SAMPLES)
        while self._first < first and self._probabilities:
            self._probabilities.popleft()
            self._first += 1
        count = int((end_seconds - _LATE_SECONDS) * VOICE_RATE / FRAME_SAMPLES) - first
        judged = [probability for probability, _ in zip(self._probabilities, range(count), strict=False)]
        return not judged or max(judged) >= self._threshold
