"""A trained model at work: files, folders and arrays in, predictions and embeddings out."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from audiornn.audio import Recording, find_audio, prepare_recording, read_recording
from audiornn.checkpoint import ModelSpec, load_model
from audiornn.errors import AudioError, ConfigError
from audiornn.models.classifier import ClassifierOutput, RecurrentClassifier
from audiornn.padding import pad_sequences, pad_waveforms
from audiornn.predictions import AnyPrediction, FileResult, predictions_of
from audiornn.sequences import Signals, check_sequence, find_sequences, read_sequence, seconds_of, sequence_files
from audiornn.tasks import FRAMES, NEXT_FRAME, TaskSpec

Waveform = NDArray[np.float32]
AudioPath = str | os.PathLike[str]
AudioInput = AudioPath | NDArray[np.generic] | Mapping[str, NDArray[np.generic]]
AudioInputs = list[Any] | tuple[Any, ...]
"""Several `AudioInput`."""

WINDOW_FILES = 1024
"""Files that are decoded before the model sees them, so that batches can be cut by length."""
WINDOW_SAMPLES = 32_000_000
"""Samples that are decoded before, at most, but for the last file: 128 MB, 33 minutes at 16 kHz."""


@dataclass(frozen=True)
class Outputs:
    """The network's answers for a list of waveforms, in the order of the list."""

    scores: dict[str, Any]
    """By task, ``(utterances, labels)``: probabilities, or numbers. For ``frames`` the intervals of each utterance, for
    ``next_frame`` what `TaskSpec.frame_errors` gives."""
    logits: NDArray[np.float32]
    """``(utterances, outputs)``, before any softmax, of all tasks side by side."""
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
        # Kept: checked anew whenever it is asked for.
        self.inputs = spec.inputs
        self.source = str(source)

    @property
    def settings(self) -> dict[str, Any]:
        """What is heard, network and training, nested."""
        spec = dataclasses.asdict(self.spec)
        return {name: spec[name] for name in ("audio", "features", "streams", "model", "training")}

    @property
    def tasks(self) -> list[TaskSpec]:
        """What the model answers; most models have one task."""
        return list(self.spec.tasks)

    @property
    def labels(self) -> list[str]:
        """Class names in the order of `Prediction.probabilities`.

        Raises:
            ConfigError: the model has several tasks.
        """
        if len(self.spec.tasks) != 1:
            names = ", ".join(task.name for task in self.spec.tasks)
            raise ConfigError(f"expected a model with one task, got {names}; see Classifier.tasks")
        return list(self.spec.tasks[0].labels)

    @property
    def sample_rate(self) -> int:
        """Rate that audio is resampled to, Hz."""
        return self.spec.features.sample_rate

    @property
    def embedding_size(self) -> int:
        """Length of an embedding."""
        return self.network.embedding.output_size

    def predict(self, audio: AudioInput | AudioInputs, *, sample_rate: int | None = None) -> Any:
        """Classify one utterance, or several at once.

        Args:
            audio: a path; an array ``(samples,)`` or ``(channels, samples)``, NaN where samples are missing; for a
                model with sequences a mapping of their names, and ``audio``, to arrays, any of which may be left out;
                or a list of these.
            sample_rate: of the arrays, Hz; needed with arrays, resampled from when it is not the model's.

        Returns:
            a `Prediction` (one label), `LabelsPrediction` (any number), `ValuesPrediction` (regression, next-frame
            prediction), `IntervalsPrediction` (frames) or `TasksPrediction` (several tasks), as the model is; a list of
            them for a list.

        Raises:
            AudioError: audio that can't be used, or an array without its sample rate.
        """
        signals, single = self._signals(audio, sample_rate)
        predictions = self._predictions(signals, self.run(signals))
        return predictions[0] if single else predictions

    def embed(self, audio: AudioInput | AudioInputs, *, sample_rate: int | None = None) -> NDArray[np.float32]:
        """The vector before the output layer, of one utterance or of several.

        Args and errors as in `predict`.

        Returns:
            ``(embedding_size,)`` for one utterance, ``(utterances, embedding_size)`` for a list.
        """
        signals, single = self._signals(audio, sample_rate)
        embeddings = self.run(signals).embeddings
        return embeddings[0] if single else embeddings

    def predict_folder(self, folder: AudioPath, *, batch_size: int = 64) -> Iterator[FileResult]:
        """Classify every file below a folder that the model can hear, sorted by path, in constant memory.

        Yields:
            one result per file, in order; a file that can't be used has an ``error`` instead of a prediction.

        Raises:
            AudioError: no such folder, or no audio in it.
        """
        return self.predict_files(self.find_files(folder), batch_size=batch_size)

    def find_files(self, folder: AudioPath) -> list[Path]:
        """Files below a folder that the model can hear: audio, or for a model without it sequences.

        Raises:
            AudioError: no such folder, or no such file in it.
        """
        inputs = self.inputs
        return find_audio(folder) if inputs.reads_audio else find_sequences(folder, inputs.companions)

    def predict_files(self, paths: Iterable[AudioPath], *, batch_size: int = 64) -> Iterator[FileResult]:
        """`predict_folder` for given files."""
        window: list[tuple[str, Signals | AudioError]] = []
        samples = 0
        for path in paths:
            try:
                signals = self._read(path)
                window.append((os.fspath(path), signals))
                samples += round(signals.seconds * self.sample_rate)
            except AudioError as error:
                window.append((os.fspath(path), error))
            if len(window) == WINDOW_FILES or samples >= WINDOW_SAMPLES:
                yield from self._predict_window(window, batch_size)
                window, samples = [], 0
        yield from self._predict_window(window, batch_size)

    def _predict_window(
        self, window: Sequence[tuple[str, Signals | AudioError]], batch_size: int
    ) -> Iterator[FileResult]:
        heard = [signals for _, signals in window if not isinstance(signals, AudioError)]
        outputs = self.run(heard, batch_size=batch_size)
        answers = zip(self._predictions(heard, outputs), outputs.embeddings, strict=True)
        streams = self.inputs.sequences
        for path, signals in window:
            if isinstance(signals, AudioError):
                yield FileResult(path=path, prediction=None, error=str(signals))
            else:
                prediction, embedding = next(answers)
                without = tuple(name for name in streams if name not in signals.sequences)
                yield FileResult(path=path, prediction=prediction, embedding=embedding, without=without)

    @torch.inference_mode()
    def run(self, signals: Sequence[Signals | Waveform], *, batch_size: int = 64) -> Outputs:
        """Scores, logits and embeddings of signals, or of waveforms alone, at the model's rate, batched by length.

        Shape: list of `Signals` or of float32 ``(samples,)`` -> rows in the order of the list.
        """
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
        num_outputs = sum(task.num_outputs for task in self.spec.tasks)
        heard = [each if isinstance(each, Signals) else Signals(each, len(each) / self.sample_rate) for each in signals]
        logits = np.zeros((len(heard), num_outputs), dtype=np.float32)
        embeddings = np.zeros((len(heard), self.embedding_size), dtype=np.float32)
        durations = [each.seconds for each in heard]
        of_frames: dict[str, dict[int, Any]] = {task.name: {} for task in self.spec.tasks if task.num_frame_outputs}
        for rows in batches_by_length([round(seconds * self.sample_rate) for seconds in durations], batch_size):
            output = self._answer([heard[row] for row in rows])
            logits[rows] = output.logits.float().cpu().numpy()
            embeddings[rows] = output.embedding.float().cpu().numpy()
            if output.frame_logits is not None:
                for name, scores in self._scores_of_frames(output, [durations[row] for row in rows]).items():
                    of_frames[name] |= dict(zip(rows, scores, strict=True))
        return Outputs(
            scores={
                **{name: task.scores(own) for name, (task, own) in self.shares(logits).items() if task.num_outputs},
                **{name: [scores[row] for row in range(len(heard))] for name, scores in of_frames.items()},
            },
            logits=logits,
            embeddings=embeddings,
        )

    def _answer(self, signals: Sequence[Signals]) -> ClassifierOutput:
        """Of the network, for one batch."""
        waveforms, lengths = pad_waveforms([each.waveform for each in signals])
        sequences = {}
        for name, stream in self.inputs.sequences.items():
            none = np.zeros((0, stream.num_features), dtype=np.float32)
            values, counts = pad_sequences([each.sequences.get(name, none) for each in signals], stream.num_features)
            sequences[name] = (values.to(self.device), counts.to(self.device))
        # Asked here, where it costs nothing, and not on a GPU.
        has_gaps = bool(waveforms.sum().isnan())
        waveforms, lengths = waveforms.to(self.device), lengths.to(self.device)
        output: ClassifierOutput = self.network(waveforms, lengths, sequences, has_gaps=has_gaps)
        return output

    def _scores_of_frames(self, output: ClassifierOutput, durations: Sequence[float]) -> dict[str, list[Any]]:
        """Intervals, or errors of the next frame, of each utterance of a batch, by task."""
        assert output.frame_logits is not None and output.frame_lengths is not None
        assert output.frame_times is not None and output.features is not None
        frame_logits, times = output.frame_logits.float().cpu().numpy(), output.frame_times.cpu().numpy()
        lengths = output.frame_lengths.tolist()
        missing = [None] * len(lengths) if output.frame_missing is None else list(output.frame_missing.cpu().numpy())
        found: dict[str, list[Any]] = {}
        first = 0
        for task in self.spec.tasks:
            own = frame_logits[:, :, first : first + task.num_frame_outputs]
            first += task.num_frame_outputs
            if task.kind == NEXT_FRAME:
                rows = zip(own, output.features.float().cpu().numpy(), missing, lengths, strict=True)
                found[task.name] = [
                    task.frame_errors(row[:length], heard[:length], None if gaps is None else gaps[:length])
                    for row, heard, gaps, length in rows
                ]
            elif task.kind == FRAMES:
                found[task.name] = [
                    task.intervals(row[:length], times[:length], seconds)
                    for row, length, seconds in zip(own, lengths, durations, strict=True)
                ]
        return found

    @torch.inference_mode()
    def predicted_frames(self, signals: Signals) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Real and predicted frames of signals at the model's rate, for a model of next-frame prediction.

        Shape: -> two of ``(frames, features)``, row by row the same moment.
        """
        output = self._answer([signals])
        task = self.spec.tasks[0]
        if task.kind != NEXT_FRAME or output.frame_logits is None or output.features is None:
            raise ConfigError(f"expected a model of next-frame prediction, got {task.kind}")
        real, predicted = output.features[0, task.steps_ahead :], output.frame_logits[0, : -task.steps_ahead]
        return real.cpu().numpy(), predicted.cpu().numpy()

    def shares(self, logits: NDArray[np.float32]) -> dict[str, tuple[TaskSpec, NDArray[np.float32]]]:
        """Each task with its columns of `Outputs.logits`, by name; a task of frames has none."""
        ends = np.cumsum([task.num_outputs for task in self.spec.tasks])
        parts = np.split(logits, ends[:-1], axis=1)
        return {task.name: (task, part) for task, part in zip(self.spec.tasks, parts, strict=True)}

    def _signals(self, audio: AudioInput | AudioInputs, sample_rate: int | None) -> tuple[list[Signals], bool]:
        if isinstance(audio, str | os.PathLike | np.ndarray | Mapping):
            return [self._prepared(audio, sample_rate)], True
        return [self._prepared(item, sample_rate) for item in audio], False

    def _prepared(self, audio: AudioInput, sample_rate: int | None) -> Signals:
        if isinstance(audio, str | os.PathLike):
            return self._read(audio)
        if not isinstance(audio, Mapping):
            # An array alone is what the model hears first.
            audio = {"audio" if self.inputs.reads_audio else next(iter(self.inputs.sequences)): audio}
        known = (["audio"] if self.inputs.reads_audio else []) + list(self.inputs.sequences)
        if not audio or not set(audio) <= set(known):
            raise AudioError(f"expected arrays out of {', '.join(known)}, got {', '.join(map(str, audio)) or 'none'}")
        sequences = {name: check_sequence(values) for name, values in audio.items() if name != "audio"}
        if "audio" not in audio:
            return self._heard(None, sequences)
        if sample_rate is None:
            raise AudioError(
                f"expected sample_rate=... beside an array of samples, got none; "
                f"the model works at {self.sample_rate} Hz"
            )
        return self._heard(prepare_recording(audio["audio"], sample_rate, self.sample_rate), sequences)

    def _read(self, path: AudioPath) -> Signals:
        """A file, and the sequences that belong to it."""
        inputs = self.inputs
        files = sequence_files(os.fspath(path), inputs.sequences, reads_audio=inputs.reads_audio)
        sequences = {name: read_sequence(file) for name, file in files.items() if file}
        if inputs.reads_audio:
            return self._heard(read_recording(path, sample_rate=self.sample_rate), sequences)
        if not sequences:
            raise AudioError(f"expected a .npy file of {', '.join(files)}, got {os.fspath(path)!r}")
        return self._heard(None, sequences)

    def _heard(self, recording: Recording | None, sequences: Mapping[str, NDArray[np.float32]]) -> Signals:
        inputs = self.inputs
        for name, values in sequences.items():
            size = inputs.sequences[name].num_features
            if values.shape[1] != size:
                raise AudioError(f"expected {size} features in {name!r}, got {values.shape[1]}")
        if recording is None:
            size = round(seconds_of(sequences, inputs.clocks) * self.sample_rate)
            return Signals(np.zeros(0, dtype=np.float32), size / self.sample_rate, sequences)
        waveform = self.spec.audio.apply(recording, self.sample_rate).waveform
        return Signals(waveform, len(waveform) / self.sample_rate, sequences)

    def _predictions(self, signals: Sequence[Signals], outputs: Outputs) -> list[AnyPrediction]:
        return predictions_of(self.spec.tasks, outputs.scores, [each.seconds for each in signals])


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
