"""Streams of a uni-directional model: its states go on from chunk to chunk, and nothing is computed twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn.errors import ModelError
from audiornn.inference import Classifier
from audiornn.inference.engines import Floats, StreamingForm
from audiornn.spec import ModelSpec
from audiornn.streaming.carrying import State, join_states
from audiornn.streaming.core import Outputs, StreamingCore
from audiornn.streaming.saving import array_of
from audiornn.streaming.updates import Moments, joined
from audiornn.tasks import TaskSpec

Waveform = NDArray[np.float32]

# A chunk may be an hour: so many frames go through the network at once.
_MAX_FRAMES = 2000


@dataclass
class ExactRow:
    """Where one stream stands."""

    samples: Waveform
    """What the next windows begin with: pre-emphasised, NaN where missing."""
    state: tuple[State, int]
    """A batch, and the place of this stream there."""
    previous: float = 0.0
    """The last sample, before the pre-emphasis."""
    skip: int = 0
    """Samples to come that lie between two windows."""
    heard: int = 0
    """Samples at the model's rate."""
    taken: int = 0
    """Frames that went into the network."""
    frames: int = 0
    """Frames that left the encoder."""
    beside: list[ExactRow] = field(default_factory=list)
    """The streams of that batch when it was computed."""


class ExactStreams:
    """Moves any number of streams forward, those that stand at the same point of every stride as one batch.

    Raises:
        ConfigError: an exported file that does not hold what that takes.
        ModelError: one that holds something else.
    """

    def __init__(self, classifier: Classifier) -> None:
        form = classifier.engine.streaming_form()
        self.description = form.description
        self._config = classifier.spec.features
        self._core = _tried(classifier.spec, form)
        tasks = classifier.spec.tasks
        self._shares = _shares(tasks, [task.num_outputs for task in tasks])
        self._frame_shares = _shares(tasks, [task.num_frame_outputs for task in tasks])
        self._start = self._core.start()
        self._clock = classifier.spec.frame_clock
        config, clock = self._config, self._clock
        ahead = (config.win_length - config.samples_before) / config.sample_rate - config.first_seconds
        self.delay_seconds = ahead + self._core.look_ahead_frames / config.frame_rate + 1 / clock.frame_rate
        """Longest time from a moment to the result that has heard it."""

    def start(self) -> ExactRow:
        """A stream before its first sample."""
        before = np.zeros(self._config.samples_before, dtype=np.float32)
        return ExactRow(samples=before, state=(self._start, 0))

    def advance(
        self, rows: Sequence[ExactRow], waveforms: Sequence[Waveform], *, last: bool
    ) -> list[dict[str, Moments]]:
        """Let each stream hear more; ``last``: it ends there."""
        for row, waveform in zip(rows, waveforms, strict=True):
            self._hear(row, waveform)
        found: list[list[dict[str, Moments]]] = [[] for _ in rows]
        waiting = list(range(len(rows)))
        while waiting:
            groups = defaultdict(list)
            for index in waiting:
                windows, is_last = self._windows(rows[index], last=last)
                if len(windows) or is_last:
                    key = (
                        len(windows),
                        is_last,
                        *(self._together(index, rows[index], windows) if len(rows) > 1 else ()),
                    )
                    groups[key].append((index, windows))
            waiting = [index for key, group in groups.items() if not key[1] for index, _ in group]
            for (_, is_last, *_), group in groups.items():
                indices = [index for index, _ in group]
                windows = np.stack([own for _, own in group]) if len(group) > 1 else group[0][1][None]
                moments = self._step([rows[index] for index in indices], windows, is_last)
                for index, own in zip(indices, moments, strict=True):
                    found[index].append(own)
        return [joined(parts) for parts in found]

    @staticmethod
    def _together(index: int, row: ExactRow, windows: Waveform) -> tuple[Any, ...]:
        """Equal for streams that can be one batch; of those with gaps, each is alone."""
        return index if np.isnan(windows.sum()) else None, row.state[0].layout

    def _hear(self, row: ExactRow, waveform: Waveform) -> None:
        if not len(waveform):
            return
        row.heard += len(waveform)
        config = self._config
        if config.pre_emphasis > 0 and not config.pre_emphasis_per_frame:
            before = np.concatenate([np.array([row.previous], dtype=np.float32), waveform[:-1]])
            row.previous = float(waveform[-1])
            waveform = (waveform - np.float32(config.pre_emphasis) * before).astype(np.float32)
        passed = min(row.skip, len(waveform))
        row.skip -= passed
        row.samples = np.concatenate([row.samples, waveform[passed:]])

    def _windows(self, row: ExactRow, *, last: bool) -> tuple[Waveform, bool]:
        """Samples of the next whole windows, none if there is none; and whether the stream ends with them."""
        config, samples = self._config, row.samples
        hop, size = config.hop_length, config.win_length
        num_frames = max(0, (len(samples) - row.skip - size) // hop + 1)
        is_last = last and num_frames <= _MAX_FRAMES
        if is_last and config.center and row.heard:
            # As many as `FeaturesConfig.num_frames` says of the whole; after the end there are zeros.
            num_frames = max(0, (len(samples) - row.skip - config.samples_before) // hop + 1)
        if not is_last:
            num_frames = min(self._wanted(row.taken, num_frames), _MAX_FRAMES)
        row.taken += num_frames
        if not num_frames:
            return samples[:0], is_last
        reach = (num_frames - 1) * hop + size
        windows = samples[:reach]
        if len(windows) < reach:
            windows = np.concatenate([windows, np.zeros(reach - len(windows), dtype=np.float32)])
        row.skip = max(0, num_frames * hop - len(samples))
        rest = samples[num_frames * hop :]
        # A view would keep all of a long chunk.
        row.samples = rest.copy() if 2 * len(rest) < len(samples) else rest
        return windows, is_last

    def _wanted(self, taken: int, ready: int) -> int:
        """Of the frames that are ready those that bring one more out of the encoder: others can wait for it."""
        first, stride = self._core.look_ahead_frames + 1, self._core.stride
        outputs = (taken + ready - first) // stride
        return max(0, first + outputs * stride - taken) if outputs >= 0 else 0

    def _step(self, rows: Sequence[ExactRow], windows: NDArray[np.float32], last: bool) -> list[dict[str, Moments]]:
        _part(rows)
        state = join_states([row.state for row in rows])
        outputs, state = self._core.step(windows, state, last=last)
        found = self._moments(rows, outputs)
        if last and self._shares:
            logits = self._core.answer(state)
            for index, row in enumerate(rows):
                if row.heard and not row.frames and not found[index]:  # shorter than one frame
                    times = np.array([row.heard / self._config.sample_rate])
                    found[index] = self._of_utterance(logits[index : index + 1], times)
        together = list(rows)
        for index, row in enumerate(rows):
            row.state, row.beside = (state, index), together
            row.frames += outputs.logits.shape[1]
        return found

    def _of_utterance(self, logits: Floats, times: NDArray[np.float64]) -> dict[str, Moments]:
        return {task.name: Moments(times, task.scores(logits[:, own])) for task, own in self._shares}

    def _moments(self, rows: Sequence[ExactRow], outputs: Outputs) -> list[dict[str, Moments]]:
        clock = self._clock
        logits, frame_logits = outputs
        num_frames = logits.shape[1]
        if not num_frames:
            return [{} for _ in rows]
        found = []
        for index, row in enumerate(rows):
            times = clock.first_seconds + np.arange(row.frames, row.frames + num_frames) / clock.frame_rate
            moments = self._of_utterance(logits[index], times)
            if frame_logits is not None:
                for task, own in self._frame_shares:
                    moments[task.name] = Moments(times, task.frame_scores(frame_logits[index][:, own]))
            found.append(moments)
        return found

    def arrays(self, row: ExactRow) -> dict[str, NDArray[Any]]:
        """Where a stream stands, as arrays by name."""
        state, index = row.state
        counts = np.array([row.skip, row.heard, row.taken, row.frames], dtype=np.int64)
        own = {"samples": row.samples, "previous": np.array(row.previous), "counts": counts}
        return own | {f"state_{name}": array for name, array in state.row(index).arrays().items()}

    def restored(self, arrays: Mapping[str, NDArray[Any]]) -> ExactRow:
        """The stream that `arrays` was of.

        Raises:
            ModelError: it is of another network, or damaged.
        """
        own = {name.removeprefix("state_"): array for name, array in arrays.items() if name.startswith("state_")}
        skip, heard, taken, frames = array_of(arrays, "counts", np.int64, 1).tolist()
        return ExactRow(
            samples=array_of(arrays, "samples", np.float32, 1, beside=np.nan),
            state=(self._start.from_arrays(own), 0),
            previous=float(array_of(arrays, "previous", np.float64, 0, beside=np.nan)),
            skip=skip,
            heard=heard,
            taken=taken,
            frames=frames,
        )


def _tried(spec: ModelSpec, form: StreamingForm) -> StreamingCore:
    """A core that has run, so that weights of another network don't show up in the middle of a stream."""
    try:
        core = StreamingCore(spec, form)
        outputs, _ = core.step(np.zeros((1, spec.features.win_length), dtype=np.float32), core.start(), last=True)
        sizes = [0 if part is None else part.shape[2] for part in outputs]
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"expected the weights of the model beside its settings, got others: {error}") from None
    wanted = [sum(task.num_outputs for task in spec.tasks), sum(task.num_frame_outputs for task in spec.tasks)]
    if sizes != wanted:
        raise ModelError(f"expected weights with {wanted} outputs beside the settings of the model, got {sizes}")
    return core


def _shares(tasks: Sequence[TaskSpec], sizes: Sequence[int]) -> list[tuple[TaskSpec, slice]]:
    """The tasks that have outputs, and where these are among those of all."""
    ends = np.cumsum(sizes).tolist()
    return [(task, slice(end - size, end)) for task, size, end in zip(tasks, sizes, ends, strict=True) if size]


def _part(rows: Sequence[ExactRow]) -> None:
    """Give those that stay behind a state of their own, so that they don't keep the whole batch in memory."""
    going = {id(row) for row in rows}
    for together in {id(row.beside): row.beside for row in rows}.values():
        for row in together:
            if row.beside is together and id(row) not in going:
                state, index = row.state
                row.state, row.beside = (state.row(index), 0), [row]
