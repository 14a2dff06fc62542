"""What a model is worth as a stream: the same clips, heard as they would come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn.detection import hop_of
from audiornn.inference import Classifier
from audiornn.inference.classifier import Outputs, Waveform
from audiornn.sequences import Signals
from audiornn.streaming.streams import StreamBatch
from audiornn.streaming.updates import Moments, Update, joined
from audiornn.tasks import FRAMES

_CHUNK_SECONDS = 0.1


class StreamedClassifier(Classifier):
    """A classifier whose `run` answers from streams.

    Without windows each clip is a stream, in chunks of 0.1 s, and its answer the one at its end. With windows, all
    clips are one stream, one after the other, and a clip's answer is that of the window whose middle is nearest to its
    own: such a window begins and ends at any moment and hears the neighbours too, as in use. So that clips of one
    length don't fall together with the windows, a random part of a hop of each clip's end comes after it once more,
    backwards.

    Args:
        classifier: the model.
        window_seconds, hop_seconds: as `StreamBatch` takes them.
    """

    def __init__(
        self, classifier: Classifier, *, window_seconds: float | None = None, hop_seconds: float | None = None
    ) -> None:
        super().__init__(classifier.engine, classifier.spec, source=classifier.source)
        self._batch = StreamBatch(classifier, window_seconds=window_seconds, hop_seconds=hop_seconds)
        self._window_seconds = window_seconds
        self._hop_seconds = hop_of(window_seconds or 0.0, hop_seconds)
        self.delay_seconds = self._batch.delay_seconds

    def run(self, signals: Sequence[Signals | Waveform], *, batch_size: int = 64) -> Outputs:
        """Scores as `Classifier.run` gives them; logits and embeddings are left empty."""
        waveforms = [each.waveform if isinstance(each, Signals) else each for each in signals]
        if self._window_seconds is None:
            answers = [
                answer
                for start in range(0, len(waveforms), batch_size)
                for answer in self._one_by_one(waveforms[start : start + batch_size])
            ]
        else:
            answers = self._one_after_the_other(waveforms, self._window_seconds)
        scores: dict[str, Any] = {
            task.name: [each[task.name] for each in answers]
            if task.kind == FRAMES
            else np.concatenate([each[task.name] for each in answers])
            for task in self.spec.tasks
        }
        nothing = np.zeros((len(waveforms), 0), dtype=np.float32)
        return Outputs(scores=scores, logits=nothing, embeddings=nothing)

    def _one_by_one(self, waveforms: Sequence[Waveform]) -> list[Mapping[str, Any]]:
        size = round(_CHUNK_SECONDS * self.sample_rate)
        parts: list[list[Mapping[str, Moments]]] = [[] for _ in waveforms]
        for start in range(0, max(len(waveform) for waveform in waveforms), size):
            chunks = {row: each[start : start + size] for row, each in enumerate(waveforms) if start < len(each)}
            updates = self._batch.push(chunks)
            for row in chunks:
                parts[row].append(updates[row].moments)
        ends = self._batch.finish(range(len(waveforms)))
        return [self._answer(joined([*parts[row], ends[row].moments]), ends[row]) for row in range(len(waveforms))]

    def _answer(self, moments: Mapping[str, Moments], end: Update) -> Mapping[str, Any]:
        return {
            task.name: task.intervals(moments[task.name].scores, moments[task.name].times, end.seconds)
            if task.kind == FRAMES
            else end.latest[task.name][None]
            for task in self.spec.tasks
        }

    def _one_after_the_other(self, waveforms: Sequence[Waveform], window_seconds: float) -> list[Mapping[str, Any]]:
        draws = np.random.default_rng(0).random(len(waveforms)) * self._hop_seconds * self.sample_rate
        parts, starts, pushed = [], [], 0
        for waveform, draw in zip(waveforms, draws.tolist(), strict=True):
            starts.append(pushed / self.sample_rate)
            for piece in (waveform, waveform[::-1][: int(draw)]):
                parts.append(self._batch.push({"": piece})[""].moments)
                pushed += len(piece)
        moments = joined([*parts, self._batch.finish([""])[""].moments])
        ends = [start + len(waveform) / self.sample_rate for start, waveform in zip(starts, waveforms, strict=True)]
        found: list[dict[str, Any]] = [{} for _ in waveforms]
        for task in self.spec.tasks:
            times, scores = moments[task.name]
            for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
                if task.kind == FRAMES:
                    own = slice(*np.searchsorted(times, [start, end]).tolist())
                    found[row][task.name] = task.intervals(scores[own], times[own] - start, end - start)
                else:
                    nearest = _nearest(times - window_seconds / 2, (start + end) / 2)
                    found[row][task.name] = scores[nearest : nearest + 1]
        return list(found)


def _nearest(sorted_times: NDArray[np.float64], moment: float) -> int:
    return int(np.abs(sorted_times - moment).argmin())
