"""Streams of audio through a trained model: chunks of any size in, results as they come out."""

from __future__ import annotations

import numbers
import os
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn.audio.reading import check_rates, reason_unheard
from audiornn.detection import hop_of
from audiornn.errors import AudioError, ConfigError, ModelError
from audiornn.inference import Classifier, load
from audiornn.streaming.hearing import Hearing, check_chunk
from audiornn.streaming.limits import check_streamable, reason_against
from audiornn.streaming.saving import array_of, packed, unpacked
from audiornn.streaming.updates import Floats, Update

Chunk = NDArray[Any]
"""``(samples,)`` or ``(channels, samples)``: floats in [-1, 1], NaN where missing, or int16. It may be empty."""

_FORMAT, _VERSION = "audiornn-stream", 3


@dataclass
class _Stream:
    hearing: Hearing
    row: Any
    pushed: int = 0
    is_heard: bool = False
    """A sample came that is not missing."""
    latest: dict[str, Floats] = field(default_factory=dict)


class StreamBatch:
    """Many streams of one model side by side; those that come together are computed together.

    A stream of a uni-directional model gives what `Classifier.predict` gives of the whole signal (to 1e-5), however it
    is cut. What hears a clip from its end, or takes a figure over all of it, streams by windows: see `window_seconds`.

    Args:
        model: a `Classifier`, or the folder or file of one.
        sample_rate: of the chunks, Hz; None = the model's.
        window_seconds: None = go on from the states; else each result is of so much audio, heard as a clip of its own.
        hop_seconds: from one window to the next; None = a quarter of the window.
        frames: of windows, tell labels per frame where the model has some; hops are then rounded to frames.

    Raises:
        ConfigError: a model that can't stream without windows, given none; a rate, window or hop that can't be; an
            exported file without the weights that streaming from states takes.

    Attributes:
        delay_seconds: longest time from a sound to a result that has heard it, as `audiornn evaluate streaming=true`
            states it; a rate that is not the model's adds up to 0.1 s.
        description: library and device that run it, in words.
    """

    def __init__(
        self,
        model: Classifier | str | os.PathLike[str],
        *,
        sample_rate: int | None = None,
        window_seconds: float | None = None,
        hop_seconds: float | None = None,
        frames: bool = True,
    ) -> None:
        classifier = model if isinstance(model, Classifier) else load(model)
        check_streamable(classifier.spec)
        self.classifier = classifier
        self.sample_rate = (
            classifier.sample_rate if sample_rate is None else _checked_rate(sample_rate, classifier.sample_rate)
        )
        self._rows: Any
        if window_seconds is not None:
            from audiornn.streaming.windows import WindowStreams

            hop_seconds = hop_of(window_seconds, hop_seconds)
            self._rows = WindowStreams(classifier, window_seconds, hop_seconds, frames=frames)
        else:
            reason = reason_against(classifier.spec)
            if classifier.enrolled is not None:
                reason = reason or "enrolled words are told by a whole window"
            if reason or hop_seconds is not None:
                raise ConfigError(f"expected window_seconds: {reason or 'hop_seconds is from one window to the next'}")
            from audiornn.streaming.exact import ExactStreams

            self._rows = ExactStreams(classifier)
        self.delay_seconds: float = self._rows.delay_seconds
        self.description: str = self._rows.description
        self._windows = [window_seconds, hop_seconds, *([] if frames else ["no frames"])]
        self._streams: dict[Hashable, _Stream] = {}

    @property
    def names(self) -> list[Hashable]:
        """The streams that have begun."""
        return list(self._streams)

    def push(self, chunks: Mapping[Any, Chunk], *, sample_rate: int | None = None) -> dict[Any, Update]:
        """Let streams hear what comes next; a name that is not known begins a stream.

        Args:
            chunks: by the name of the stream.
            sample_rate: of the chunks, if it is known: another one than `sample_rate` is refused.

        Raises:
            AudioError: a chunk that can't be used, or of another rate; then no stream has heard anything.
        """
        if sample_rate is not None and sample_rate != self.sample_rate:
            raise AudioError(
                f"expected chunks at {self.sample_rate} Hz, got {sample_rate}; make the stream with sample_rate="
                f"{sample_rate}"
            )
        samples = {}
        for name, chunk in chunks.items():
            try:
                samples[name] = check_chunk(chunk)
            except AudioError as error:
                raise AudioError(f"{error} in a chunk{'' if name == '' else f' of the stream {name!r}'}") from None
        waveforms = {}
        for name, own in samples.items():
            stream = self._begun(name)
            stream.pushed += len(own.mono)
            waveforms[name] = stream.hearing.take(own)
        return self._advance(waveforms, last=False)

    def finish(self, names: Iterable[Hashable]) -> dict[Any, Update]:
        """End streams: what was still to come, and the answers to all that they heard. Their names are free again.

        Raises:
            ConfigError: a name that no stream has, or one twice; then no stream has ended.
        """
        given = list(names)
        for name, times in Counter(given).items():
            if name not in self._streams:
                raise ConfigError(f"expected names of streams that have begun, got {name!r}")
            if times > 1:
                raise ConfigError(f"expected each stream once, got {name!r} {times} times")
        found = self._advance({name: self._streams[name].hearing.finish() for name in given}, last=True)
        for name in given:
            del self._streams[name]
        return found

    def reset(self, name: Hashable) -> None:
        """Forget a stream."""
        self._streams.pop(name, None)

    def _begun(self, name: Hashable) -> _Stream:
        """The stream of that name, which begins if there is none."""
        if name not in self._streams:
            self._streams[name] = self._fresh()
        return self._streams[name]

    def _fresh(self) -> _Stream:
        return _Stream(Hearing(self.sample_rate, self.classifier.sample_rate), self._rows.start())

    def _advance(self, waveforms: Mapping[Hashable, NDArray[np.float32]], *, last: bool) -> dict[Any, Update]:
        streams = [self._streams[name] for name in waveforms]
        for stream, waveform in zip(streams, waveforms.values(), strict=True):
            if not stream.is_heard:
                stream.is_heard = not np.isnan(waveform).all()
        advanced = self._rows.advance([stream.row for stream in streams], list(waveforms.values()), last=last)
        found = {}
        for name, stream, moments in zip(waveforms, streams, advanced, strict=True):
            stream.latest |= {task: own.scores[-1] for task, own in moments.items() if len(own.times)}
            found[name] = Update(
                seconds=stream.pushed / self.sample_rate,
                moments=moments,
                # Of nothing but missing samples a network has scores too, which say nothing.
                latest=dict(stream.latest) if stream.is_heard else {},
                reason="" if stream.is_heard or not last else reason_unheard(stream.pushed),
                tasks=self.classifier.spec.tasks,
                enrolled=self.classifier.enrolled,
            )
        return found

    def save(self, name: Hashable) -> bytes:
        """Where a stream stands, to go on from with `restore`, also in another process: a ``.npz`` without pickles."""
        stream = self._begun(name)
        own = {"pushed": stream.pushed, "is_heard": stream.is_heard, "latest": list(stream.latest)}
        arrays = {f"heard_{key}": array for key, array in stream.hearing.arrays().items()}
        arrays |= {f"row_{key}": array for key, array in self._rows.arrays(stream.row).items()}
        arrays |= {f"latest_{number}": row for number, row in enumerate(stream.latest.values())}
        return packed(self._header() | own, arrays)

    def restore(self, name: Hashable, saved: bytes) -> None:
        """Go on with a stream where `save` was called; a stream of that name is forgotten.

        Raises:
            ModelError: not such bytes, or of a stream of another model, rate or window.
        """
        header, arrays = unpacked(saved)
        for key, value in self._header().items():
            if header.get(key) != value:
                raise ModelError(f"expected the state of a stream with {key}={value}, got {header.get(key)}")
        stream = self._fresh()
        try:
            stream.pushed, stream.is_heard = int(header["pushed"]), bool(header["is_heard"])
            stream.latest = self._latest(header["latest"], _below("latest_", arrays))
            stream.hearing.restore(_below("heard_", arrays))
            stream.row = self._rows.restored(_below("row_", arrays))
        except (LookupError, ValueError, TypeError) as error:
            raise ModelError(f"expected the state of a stream, got a damaged one: {error}") from None
        self._streams[name] = stream

    def _latest(self, tasks: Iterable[str], arrays: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
        sizes = {task.name: len(task.labels) for task in self.classifier.answered}
        found = {task: array_of(arrays, str(number), np.float32, 1) for number, task in enumerate(tasks)}
        for task, row in found.items():
            if len(row) != sizes[task]:
                raise ModelError(f"expected {sizes[task]} scores of {task!r}, got {len(row)}")
        return found

    def _header(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "version": _VERSION,
            "sample_rate": self.sample_rate,
            "weights_sha256": self.classifier.spec.weights_sha256,
            "windows": self._windows,
            "words": list(self.classifier.enrolled_words),
        }


def _checked_rate(given: float, model_rate: int) -> int:
    is_whole = isinstance(given, numbers.Real) and not isinstance(given, bool) and given % 1 == 0
    if not is_whole:
        raise ConfigError(f"expected a sample_rate in whole Hz, got {given!r}")
    try:
        check_rates(int(given), model_rate)
    except AudioError as error:
        raise ConfigError(f"sample_rate: {error}") from None
    return int(given)


def _below(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


class Stream:
    """One stream through a trained model: `push` chunks of any size, `finish` for the answer to all of them.

    Arguments, attributes and errors are those of `StreamBatch`.

    >>> import numpy, audiornn
    >>> stream = audiornn.Stream("runs/demo/2026-11-21_10-00-00/model", sample_rate=16_000)  # doctest: +SKIP
    >>> for chunk in numpy.split(waveform, 100):  # doctest: +SKIP
    ...     update = stream.push(chunk)
    >>> stream.finish().prediction.label  # doctest: +SKIP
    'yes'
    """

    def __init__(
        self,
        model: Classifier | str | os.PathLike[str],
        *,
        sample_rate: int | None = None,
        window_seconds: float | None = None,
        hop_seconds: float | None = None,
        frames: bool = True,
    ) -> None:
        self._batch = StreamBatch(
            model, sample_rate=sample_rate, window_seconds=window_seconds, hop_seconds=hop_seconds, frames=frames
        )
        self.classifier = self._batch.classifier
        self.sample_rate = self._batch.sample_rate
        self.delay_seconds = self._batch.delay_seconds
        self.description = self._batch.description

    def push(self, chunk: Chunk, *, sample_rate: int | None = None) -> Update:
        """Hear what comes next; see `StreamBatch.push`."""
        return self._batch.push({"": chunk}, sample_rate=sample_rate)[""]

    def finish(self) -> Update:
        """What was still to come, and the answer to all that was heard. The next chunk begins another stream."""
        self._batch._begun("")  # one that has heard nothing ends too
        return self._batch.finish([""])[""]

    def reset(self) -> None:
        """Forget all that was heard."""
        self._batch.reset("")

    def save(self) -> bytes:
        """Where the stream stands, see `StreamBatch.save`."""
        return self._batch.save("")

    def restore(self, saved: bytes) -> None:
        """Go on where `save` was called, see `StreamBatch.restore`."""
        self._batch.restore("", saved)
