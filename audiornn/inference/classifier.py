"""A trained model: what it answers, whichever engine runs it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn.detection import DetectionSettings, Event
from audiornn.errors import ConfigError, ModelError
from audiornn.inference.batching import batches_by_length, check_batch_size
from audiornn.inference.engines import Answer, Engine
from audiornn.inference.enrolment import EnrolledWords, check_enrollable, read_enrolled
from audiornn.inference.reading import AudioInput, AudioPath, SignalReader
from audiornn.inference.shifted import ShiftedEngine, samples_of
from audiornn.predictions import AnyPrediction, FileResult, predictions_of
from audiornn.recordings import detect_events
from audiornn.sequences import Signals
from audiornn.spec import ModelSpec
from audiornn.tasks import FRAMES, NEXT_FRAME, TaskSpec

Waveform = NDArray[np.float32]
AudioInputs = list[Any] | tuple[Any, ...]
"""Several `AudioInput`."""


@dataclass(frozen=True)
class Outputs:
    """The network's answers for a list of waveforms, in the order of the list."""

    scores: dict[str, Any]
    """By task, ``(utterances, labels)``: probabilities, or numbers. For ``frames`` the intervals of each utterance, for
    ``next_frame`` what `TaskSpec.frame_errors` gives."""
    logits: NDArray[np.float32]
    """``(utterances, outputs)``, before any temperature and softmax, of all tasks side by side."""
    embeddings: NDArray[np.float32]
    """``(utterances, embedding_size)``."""


class Classifier:
    """A trained model: `predict`, `predict_folder`, `embed`.

    The answer for a clip is the same (to 1e-6) alone, in any batch and in any order. Audio from files and from arrays
    passes the same steps: mean over channels, resampling to `sample_rate`, rounding to 16 bits.

    Args:
        engine: what runs its network.
        spec: its settings and labels.
        source: where it was read from, for messages.
        enrolled: words that it answers with beside its own; see `with_enrolled`.
    """

    def __init__(
        self, engine: Engine, spec: ModelSpec, *, source: AudioPath = "", enrolled: EnrolledWords | None = None
    ) -> None:
        self.engine = engine
        self.spec = spec
        # Kept: checked anew whenever it is asked for.
        self.inputs = spec.inputs
        self.reader = SignalReader(self.inputs)
        self.source = str(source)
        self.enrolled = enrolled

    def with_enrolled(self, words: EnrolledWords | AudioPath) -> Classifier:
        """The same model, whose predictions know further words.

        Args:
            words: from `audiornn.inference.enrolment.enroll_words`, or the file that ``audiornn enroll`` wrote.

        Raises:
            ModelError: the file is damaged, they belong to another model or are labels already, or the model does not
                answer with one label.
        """
        enrolled = words if isinstance(words, EnrolledWords) else read_enrolled(words)
        enrolled.task(check_enrollable(self.spec.tasks))
        if enrolled.weights_sha256 != self.spec.weights_sha256:
            where = "" if isinstance(words, EnrolledWords) else f" in '{os.fspath(words)}'"
            raise ModelError(f"expected words enrolled with the model '{self.source}', got those of another{where}")
        return Classifier(self.engine, self.spec, source=self.source, enrolled=enrolled)

    def with_shifts(self, shifts_ms: Sequence[float]) -> Classifier:
        """The same model, whose answers are averaged over copies of the audio, moved by these milliseconds each.

        >>> classifier.with_shifts([-20, 0, 20]).predict("clip.wav")  # doctest: +SKIP

        Raises:
            ConfigError: no shifts, or a model whose answers have times or whose audio has sequences beside it.
        """
        engine = ShiftedEngine(self.engine, samples_of(shifts_ms, self.spec))
        return Classifier(engine, self.spec, source=self.source, enrolled=self.enrolled)

    @property
    def settings(self) -> dict[str, Any]:
        """What is heard, network and training, nested."""
        return self.spec.settings

    @property
    def tasks(self) -> list[TaskSpec]:
        """What the model answers; most models have one task."""
        return list(self.spec.tasks)

    @property
    def answered(self) -> list[TaskSpec]:
        """What predictions hold: `tasks`, with the enrolled words among their labels."""
        return self.tasks if self.enrolled is None else [self.enrolled.task(self.spec.tasks[0])]

    @property
    def enrolled_words(self) -> tuple[str, ...]:
        """Words that it answers with beside its own labels."""
        return () if self.enrolled is None else self.enrolled.words

    @property
    def labels(self) -> list[str]:
        """The model's own class names in the order of `Prediction.probabilities`.

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
        return self.engine.embedding_size

    def predict(self, audio: AudioInput | AudioInputs, *, sample_rate: int | None = None) -> Any:
        """Classify one utterance, or several at once.

        Args:
            audio: a path; an array ``(samples,)`` or ``(channels, samples)``, NaN where samples are missing; a
                tensor like that in main memory; for a model with sequences a mapping of their names, and ``audio``, to
                arrays, any of which may be left out; or a list of these.
            sample_rate: of the arrays, Hz; needed with arrays, resampled from when it is not the model's.

        Returns:
            a `Prediction` (one label), `LabelsPrediction` (any number), `ValuesPrediction` (regression, next-frame
            prediction), `IntervalsPrediction` (frames) or `TasksPrediction` (several tasks), as the model is; a list of
            them for a list.

        Raises:
            AudioError: audio that can't be used, or an array without its sample rate.
        """
        signals, single = self._signals(audio, sample_rate)
        predictions = self.predictions_of(signals, self.run(signals))
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

    def predict_folder(
        self,
        folder: AudioPath,
        *,
        batch_size: int = 64,
        num_workers: int | None = None,
        in_order: bool = True,
        window_seconds: float | None = None,
        hop_seconds: float | None = None,
    ) -> Iterator[FileResult]:
        """`predict_files` of every file below a folder that the model can hear, sorted by path.

        Raises:
            AudioError: no such folder, or no audio in it.
        """
        paths = self.reader.find_files(folder)
        return self.predict_files(
            paths,
            batch_size=batch_size,
            num_workers=num_workers,
            in_order=in_order,
            window_seconds=window_seconds,
            hop_seconds=hop_seconds,
        )

    def predict_files(
        self,
        paths: Iterable[AudioPath],
        *,
        batch_size: int = 64,
        num_workers: int | None = None,
        in_order: bool = True,
        window_seconds: float | None = None,
        hop_seconds: float | None = None,
    ) -> Iterator[FileResult]:
        """Classify any number of files in constant memory, on all cores.

        Args:
            paths: of the files; taken as they are needed.
            batch_size: utterances per batch, at most.
            num_workers: processes that decode beside the model; 0 = this one, None = one per core where there is much
                to decode.
            in_order: false = results as their batches are done.
            window_seconds: a file's prediction is that of the mean of its windows, which come with it where there are
                several; None = each file is heard whole.
            hop_seconds: from the start of one window to the next one's; None = a quarter of a window.

        Yields:
            one result per file; a file that can't be used, or that changes while it is read, has an ``error`` instead
            of a prediction.

        Raises:
            ConfigError: a single path, or settings out of range; once the first result is asked for.
        """
        from audiornn.inference.files import predict_groups
        from audiornn.inference.windowed import windowing_of

        if isinstance(paths, str | bytes | os.PathLike):  # of a text each letter would be a file
            raise ConfigError(
                f"expected a list of paths, got one: {os.fspath(paths)!r}; write [path], or predict(path)"
            )
        groups = predict_groups(
            self,
            paths,
            batch_size=batch_size,
            num_workers=num_workers,
            in_order=in_order,
            windowing=windowing_of(window_seconds, hop_seconds),
        )
        with contextlib.closing(groups):
            for group in groups:
                yield from group

    def detect(self, path: AudioPath, settings: DetectionSettings | None = None) -> list[Event]:
        """The events in a recording of any length.

        Args:
            path: of the file.
            settings: window, thresholds and so on; None = those that the model keeps.

        Returns:
            the events by their starts; `audiornn.recordings.detect_events` gives them one by one.

        Raises:
            AudioError: the file can't be read to its end.
            ConfigError: settings that don't fit the model, or a model without one task of labels for clips: for one
                with a label per frame see `audiornn.streaming.detect_frames`.
        """
        return sorted(detect_events(self, path, settings), key=lambda event: (event.start_seconds, event.end_seconds))

    def run(self, signals: Sequence[Signals | Waveform], *, batch_size: int = 64) -> Outputs:
        """Scores, logits and embeddings of signals, or of waveforms alone, at the model's rate, batched by length.

        Shape: list of `Signals` or of float32 ``(samples,)`` -> rows in the order of the list.
        """
        check_batch_size(batch_size)
        num_outputs = sum(task.num_outputs for task in self.spec.tasks)
        heard = [each if isinstance(each, Signals) else Signals(each, len(each) / self.sample_rate) for each in signals]
        logits = np.zeros((len(heard), num_outputs), dtype=np.float32)
        embeddings = np.zeros((len(heard), self.embedding_size), dtype=np.float32)
        durations = [each.seconds for each in heard]
        of_frames: dict[str, dict[int, Any]] = {task.name: {} for task in self.spec.tasks if task.num_frame_outputs}
        for rows in batches_by_length([round(seconds * self.sample_rate) for seconds in durations], batch_size):
            answer = self.engine.answer([heard[row] for row in rows])
            logits[rows], embeddings[rows] = answer.logits, answer.embeddings
            if answer.frame_logits is not None:
                for name, scores in self._scores_of_frames(answer, [durations[row] for row in rows]).items():
                    of_frames[name] |= dict(zip(rows, scores, strict=True))
        return Outputs(
            scores={
                **{name: task.scores(own) for name, (task, own) in self.shares(logits).items() if task.num_outputs},
                **{name: [scores[row] for row in range(len(heard))] for name, scores in of_frames.items()},
            },
            logits=logits,
            embeddings=embeddings,
        )

    def _scores_of_frames(self, answer: Answer, durations: Sequence[float]) -> dict[str, list[Any]]:
        """Intervals, or errors of the next frame, of each utterance of a batch, by task."""
        frame_logits = answer.frame_logits
        assert frame_logits is not None and answer.frame_lengths is not None
        clock = self.spec.frame_clock
        times = clock.first_seconds + np.arange(frame_logits.shape[1]) / clock.frame_rate
        lengths = answer.frame_lengths.tolist()
        missing = [None] * len(lengths) if answer.missing is None else list(answer.missing)
        found: dict[str, list[Any]] = {}
        first = 0
        for task in self.spec.tasks:
            own = frame_logits[:, :, first : first + task.num_frame_outputs]
            first += task.num_frame_outputs
            if task.kind == NEXT_FRAME:
                assert answer.features is not None
                rows = zip(own, answer.features, missing, lengths, strict=True)
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

    def predicted_frames(self, signals: Signals) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Real and predicted frames of signals at the model's rate, for a model of next-frame prediction.

        Shape: -> two of ``(frames, features)``, row by row the same moment.
        """
        answer = self.engine.answer([signals])
        task = self.spec.tasks[0]
        if task.kind != NEXT_FRAME or answer.frame_logits is None or answer.features is None:
            raise ConfigError(f"expected a model of next-frame prediction, got {task.kind}")
        return answer.features[0, task.steps_ahead :], answer.frame_logits[0, : -task.steps_ahead]

    def shares(self, logits: NDArray[np.float32]) -> dict[str, tuple[TaskSpec, NDArray[np.float32]]]:
        """Each task with its columns of `Outputs.logits`, by name; a task of frames has none."""
        ends = np.cumsum([task.num_outputs for task in self.spec.tasks])
        parts = np.split(logits, ends[:-1], axis=1)
        return {task.name: (task, part) for task, part in zip(self.spec.tasks, parts, strict=True)}

    def _signals(self, audio: AudioInput | AudioInputs, sample_rate: int | None) -> tuple[list[Signals], bool]:
        given: Any = audio
        # A tensor is an array too; a number is refused where it is read.
        # Bytes, and files line by line, could be gone through too, as what they are not.
        is_one = isinstance(given, str | bytes | bytearray | os.PathLike | Mapping)
        is_paths = getattr(getattr(given, "dtype", None), "kind", "") in ("U", "O")
        is_one = is_one or (hasattr(given, "__array__") and not is_paths) or hasattr(given, "read")
        items = [given] if is_one or not isinstance(given, Iterable) else given
        return [self.reader.prepare(item, sample_rate) for item in items], items is not given

    def answered_scores(self, outputs: Outputs) -> dict[str, Any]:
        """`Outputs.scores` for the tasks of `answered`: with enrolled words, see `EnrolledWords.scores`."""
        if self.enrolled is None:
            return outputs.scores
        [(name, scores)] = outputs.scores.items()
        return {name: self.enrolled.scores(self.spec.tasks[0], scores, outputs.embeddings)}

    def predictions_of(self, signals: Sequence[Signals], outputs: Outputs) -> list[AnyPrediction]:
        """What `run` found of signals, in words, one prediction per utterance."""
        predictions = predictions_of(self.spec.tasks, outputs.scores, [each.seconds for each in signals])
        if self.enrolled is None:
            return predictions
        return [*self.enrolled.answers(self.spec.tasks[0], predictions, outputs.embeddings)]
