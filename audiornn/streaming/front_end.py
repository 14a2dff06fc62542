"""The front end over frames that come one after another: gaps, differences and normalisation, in NumPy."""

from __future__ import annotations

import numpy as np

from audiornn.features.config import FeaturesConfig
from audiornn.inference.engines import Floats
from audiornn.streaming.carrying import Carry, Mask
from audiornn.streaming.columns import WindowColumns


class RunningFrontEnd:
    """Windows of samples to normalised frames, `audiornn.features.FeatureExtractor` for streams.

    Args:
        config: its settings, of which none needs the whole clip.
        columns: all of it that looks at one frame alone.
        mean, std: of the frames, ``(features,)``.

    Attributes:
        context: frames that must have come after one.
    """

    def __init__(self, config: FeaturesConfig, columns: WindowColumns, mean: Floats, std: Floats) -> None:
        self._config = config
        self._columns = columns
        self._num_columns = config.num_features // (1 + config.deltas)
        self._half = config.delta_window // 2
        self.context = config.deltas * self._half
        self._normalises = config.normalisation == "global"
        self._mean, self._std = mean, std

    def start(self, batch: int) -> tuple[Carry, ...]:
        """Before the first frame; nothing to carry without differences."""
        if not self.context:
            return ()
        values = np.zeros((batch, self.context, self._num_columns), dtype=np.float32)
        # Nothing is known before the beginning: differences end there as they do beside a gap.
        return (Carry(values, np.ones(self.context, dtype=bool)),)

    def step(
        self, windows: Floats, carries: tuple[Carry, ...], last: bool
    ) -> tuple[Floats, Mask | None, tuple[Carry, ...]]:
        """Frames that are complete.

        Shape:
            windows ``(batch, samples)`` as `StreamingCore.step` takes them -> ``(batch, frames, features)``, zeros
            where missing, and a mask ``(frames,)``.
        """
        values, missing = self._of_windows(windows)
        if not self.context:
            return self._normalised(values, missing), missing, carries
        carry = carries[0].extended(values, missing)
        ready = carry.values.shape[1] - (1 if last else 2) * self.context
        if ready <= 0:
            return np.zeros((len(values), 0, self._config.num_features), dtype=np.float32), None, (carry,)
        parts = [carry.values]
        for _ in range(self._config.deltas):
            parts.append(_differences(parts[-1], carry.missing, self._half))
        found = np.concatenate(parts, axis=2)[:, self.context : self.context + ready]
        missing = None if carry.missing is None else carry.missing[self.context : self.context + ready]
        return self._normalised(found, missing), missing, (carry.dropped(ready),)

    def _of_windows(self, windows: Floats) -> tuple[Floats, Mask | None]:
        if not windows.shape[1]:
            return np.zeros((len(windows), 0, self._num_columns), dtype=np.float32), None
        if not np.isnan(windows.sum()):
            return self._columns(windows), None
        gaps, config = np.isnan(windows), self._config
        touching = np.lib.stride_tricks.sliding_window_view(gaps[0], config.win_length)[:: config.hop_length]
        missing: Mask = np.any(touching, axis=1)
        return self._columns(np.where(gaps, np.float32(0), windows)), missing

    def _normalised(self, values: Floats, missing: Mask | None) -> Floats:
        if self._normalises:
            values = values - self._mean
            values /= self._std
        if missing is not None:
            values[:, missing] = 0
        return values


def _differences(values: Floats, missing: Mask | None, half: int) -> Floats:
    """`audiornn.features.deltas.compute_deltas`: each stretch of present frames as if it were all there is.

    Shape: values ``(batch, frames, features)``, missing ``(frames,)``.
    """
    frames = values.shape[1]
    at = np.arange(frames)
    first, end = np.zeros_like(at), np.full_like(at, frames - 1)
    if missing is not None:
        before = np.maximum.accumulate(np.where(missing, at, -1))
        after = np.minimum.accumulate(np.where(missing, at, frames)[::-1])[::-1]
        first, end = np.minimum(before + 1, frames - 1), np.maximum(after - 1, 0)

    def shifted(by: int) -> Floats:
        return values[:, np.minimum(np.maximum(at + by, first), end)]

    scale = 2 * sum(n * n for n in range(1, half + 1))
    slope = np.zeros_like(values)
    for n in range(1, half + 1):
        slope += (shifted(n) - shifted(-n)) * np.float32(n / scale)
    return slope
