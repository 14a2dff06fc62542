"""A trained model at work: files, folders and arrays in, predictions and embeddings out."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray

from audiornn.audio import find_audio, prepare_waveform, read_audio
from audiornn.checkpoint import ModelSpec, load_model
from audiornn.errors import AudioError, ConfigError
from audiornn.models.classifier import RecurrentClassifier
from audiornn.padding import pad_waveforms

Waveform = NDArray[np.float32]
AudioPath = str | os.PathLike[str]
AudioInput = AudioPath | NDArray[np.generic]
AudioInputs = list[Any] | tuple[Any, ...]
"""Several `AudioInput`."""

WINDOW_FILES = 1024
"""Files that are decoded before the model sees them, so that batches can be cut by length."""
WINDOW_SAMPLES = 32_000_000
"""Samples that are decoded before, at most, but for the last file: 128 MB, 33 minutes at 16 kHz."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What the model says of one utterance."""

    label: str
    """The most probable class."""
    probability: float
    """Its probability."""
    probabilities: dict[str, float]
    """Every class's, in the model's order of labels."""
    duration_seconds: float

    def top(self, k: int) -> list[tuple[str, float]]:
        """The ``k`` most probable classes, most probable first."""
        return sorted(self.probabilities.items(), key=lambda item: -item[1])[:k]


@dataclass(frozen=True, kw_only=True)
class FileResult:
    """One file of a folder: a prediction, or the reason why there is none."""

    path: str
    prediction: Prediction | None
    embedding: NDArray[np.float32] | None = None
    """``(embedding_size,)``; None for a file that failed."""
    error: str = ""


@dataclass(frozen=True)
class Outputs:
    """The network's answers for a list of waveforms, in the order of the list."""

    probabilities: NDArray[np.float32]
    """``(utterances, classes)``."""
    logits: NDArray[np.float32]
    """``(utterances, classes)``."""
    embeddings: NDArray[np.float32]
    """``(utterances, embedding_size)``."""


def usable_device(name: str | None) -> torch.device:
    """The device of a name; None = a GPU when there is one.

    Raises:
        ConfigError: unknown, or not on this machine.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"expected a device of this machine, such as cpu, got {name!r}: {reason}") from error
    return device


class Classifier:
    """A trained model: `predict`, `predict_folder`, `embed`.

    The answer for a clip is the same (to 1e-6) alone, in any batch and in any order. Audio from files and from arrays
    passes the same steps: mean over channels, resampling to `sample_rate`, rounding to 16 bits.

    Args:
        network: in evaluation mode.
        spec: its settings and labels.
        source: where it was read from, for messages.
        device: ``cpu``, ``cuda``, ...; None = a GPU when there is one.
    """

    def __init__(
        self, network: RecurrentClassifier, spec: ModelSpec, *, source: AudioPath = "", device: str | None = None
    ) -> None:
        self.device = usable_device(device)
        self.network = network.to(self.device).eval()
        self.spec = spec
        self.source = str(source)

    @property
    def settings(self) -> dict[str, Any]:
        """Front end, network and training, nested."""
        spec = dataclasses.asdict(self.spec)
        return {name: spec[name] for name in ("features", "model", "training")}

    @property
    def labels(self) -> list[str]:
        """Class names in the order of `Prediction.probabilities`."""
        return list(self.spec.labels)

    @property
    def sample_rate(self) -> int:
        """Rate that audio is resampled to, Hz."""
        return self.spec.features.sample_rate

    @property
    def embedding_size(self) -> int:
        """Length of an embedding."""
        return self.network.embedding.output_size

    @overload
    def predict(self, audio: AudioPath, *, sample_rate: int | None = None) -> Prediction: ...
    @overload
    def predict(self, audio: NDArray[np.generic], *, sample_rate: int | None = None) -> Prediction: ...
    @overload
    def predict(self, audio: AudioInputs, *, sample_rate: int | None = None) -> list[Prediction]: ...
    def predict(
        self, audio: AudioInput | AudioInputs, *, sample_rate: int | None = None
    ) -> Prediction | list[Prediction]:
        """Classify one utterance, or several at once.

        Args:
            audio: a path; an array ``(samples,)`` or ``(channels, samples)``; or a list of paths or arrays.
            sample_rate: of the arrays, Hz; needed with arrays, resampled from when it is not the model's.

        Raises:
            AudioError: audio that can't be used, or an array without its sample rate.
        """
        waveforms, single = self._waveforms(audio, sample_rate)
        outputs = self.run(waveforms)
        predictions = [self._prediction(*pair) for pair in zip(outputs.probabilities, waveforms, strict=True)]
        return predictions[0] if single else predictions

    def embed(self, audio: AudioInput | AudioInputs, *, sample_rate: int | None = None) -> NDArray[np.float32]:
        """The vector before the output layer, of one utterance or of several.

        Args and errors as in `predict`.

        Returns:
            ``(embedding_size,)`` for one utterance, ``(utterances, embedding_size)`` for a list.
        """
        waveforms, single = self._waveforms(audio, sample_rate)
        embeddings = self.run(waveforms).embeddings
        return embeddings[0] if single else embeddings

    def predict_folder(self, folder: AudioPath, *, batch_size: int = 64) -> Iterator[FileResult]:
        """Classify every audio file below a folder, sorted by path, in constant memory.

        Yields:
            one result per file, in order; a file that can't be used has an ``error`` instead of a prediction.

        Raises:
            AudioError: no such folder, or no audio in it.
        """
        return self.predict_files(find_audio(folder), batch_size=batch_size)

    def predict_files(self, paths: Iterable[AudioPath], *, batch_size: int = 64) -> Iterator[FileResult]:
        """`predict_folder` for given files."""
        window: list[tuple[str, Waveform | AudioError]] = []
        samples = 0
        for path in paths:
            try:
                waveform = read_audio(path, sample_rate=self.sample_rate)
                window.append((os.fspath(path), waveform))
                samples += len(waveform)
            except AudioError as error:
                window.append((os.fspath(path), error))
            if len(window) == WINDOW_FILES or samples >= WINDOW_SAMPLES:
                yield from self._predict_window(window, batch_size)
                window, samples = [], 0
        yield from self._predict_window(window, batch_size)

    def _predict_window(
        self, window: Sequence[tuple[str, Waveform | AudioError]], batch_size: int
    ) -> Iterator[FileResult]:
        waveforms = [waveform for _, waveform in window if not isinstance(waveform, AudioError)]
        outputs = self.run(waveforms, batch_size=batch_size)
        answers = zip(outputs.probabilities, outputs.embeddings, strict=True)
        for path, waveform in window:
            if isinstance(waveform, AudioError):
                yield FileResult(path=path, prediction=None, error=str(waveform))
            else:
                probabilities, embedding = next(answers)
                yield FileResult(path=path, prediction=self._prediction(probabilities, waveform), embedding=embedding)

    @torch.inference_mode()
    def run(self, waveforms: Sequence[Waveform], *, batch_size: int = 64) -> Outputs:
        """Probabilities, logits and embeddings of waveforms at the model's rate, batched by length.

        Shape: list of float32 ``(samples,)`` -> rows in the order of the list.
        """
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
        logits = np.zeros((len(waveforms), len(self.labels)), dtype=np.float32)
        embeddings = np.zeros((len(waveforms), self.embedding_size), dtype=np.float32)
        for rows in batches_by_length([len(waveform) for waveform in waveforms], batch_size):
            batch, lengths = pad_waveforms([waveforms[row] for row in rows])
            output = self.network(batch.to(self.device), lengths.to(self.device))
            logits[rows] = output.logits.float().cpu().numpy()
            embeddings[rows] = output.embedding.float().cpu().numpy()
        # float64: a sum of float32 exponentials would put its rounding into the last digit that is promised.
        exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True, initial=-np.inf))
        probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
        return Outputs(probabilities.astype(np.float32), logits, embeddings)

    def _waveforms(self, audio: AudioInput | AudioInputs, sample_rate: int | None) -> tuple[list[Waveform], bool]:
        if isinstance(audio, str | os.PathLike | np.ndarray):
            return [self._waveform(audio, sample_rate)], True
        return [self._waveform(item, sample_rate) for item in audio], False

    def _waveform(self, audio: AudioInput, sample_rate: int | None) -> Waveform:
        if not isinstance(audio, np.ndarray):
            return read_audio(audio, sample_rate=self.sample_rate)
        if sample_rate is None:
            raise AudioError(
                f"expected sample_rate=... beside an array of samples, got none; "
                f"the model works at {self.sample_rate} Hz"
            )
        return prepare_waveform(audio, sample_rate, self.sample_rate)

    def _prediction(self, probabilities: NDArray[np.float32], waveform: Waveform) -> Prediction:
        best = int(probabilities.argmax())
        return Prediction(
            label=self.spec.labels[best],
            probability=float(probabilities[best]),
            probabilities=dict(zip(self.spec.labels, probabilities.tolist(), strict=True)),
            duration_seconds=len(waveform) / self.sample_rate,
        )


MAX_BATCH_SECONDS = 320.0
"""Padded audio in one batch at 16 kHz, 20 MB of samples: long recordings go in smaller batches."""


def batches_by_length(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Rows in batches of similar length, shortest first, bounded in rows and in padded samples.

    >>> list(batches_by_length([30, 10, 20], batch_size=2))
    [[1, 2], [0]]
    """
    most_samples = int(MAX_BATCH_SECONDS * 16_000)
    batch: list[int] = []
    for row in np.argsort(np.asarray(lengths, dtype=np.int64), kind="stable").tolist():
        if batch and (len(batch) == batch_size or (len(batch) + 1) * lengths[row] > most_samples):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def load(path: AudioPath, *, device: str | None = None) -> Classifier:
    """Read a model folder.

    Args:
        path: the folder that training left as ``model/``.
        device: ``cpu``, ``cuda``, ...; None = a GPU when there is one.

    Raises:
        ModelError: the folder is missing, damaged or foreign.
    """
    return Classifier(*load_model(Path(path)), source=path, device=device)
