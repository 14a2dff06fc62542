"""Convolutions of a stem over frames that come one after another, in NumPy: `audiornn.models.stem` in evaluation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from audiornn.inference.engines import Floats
from audiornn.models.config import RELU_NORM, StemConfig
from audiornn.streaming.carrying import Carry, Mask


class RunningConvolution:
    """One convolution and ReLU, with the normalisation folded in, or after them.

    Frames are ``(features, channels)`` with the zeros around the features that the convolution pads: what a kernel
    reads of a frame then lies in one piece.

    Args:
        kernel: ``(out_channels, in_channels, kernel_frames, kernel_features)``.
        bias: ``(out_channels,)``.
        strides: along frames and features.
        features: of a frame that enters.
        margin: zeros on either side of the features of a frame that leaves.
        after: factor and offset ``(out_channels,)`` of a normalisation that follows ReLU.

    Attributes:
        before: frames of zeros before the first one, as the convolution pads.
        ahead: frames that must have come after one; a stride must also know whether all that it takes are missing.
        frame_shape: of a frame that enters.
        output_shape: of one that leaves.
    """

    def __init__(
        self,
        kernel: Floats,
        bias: Floats,
        strides: tuple[int, int],
        features: int,
        margin: int,
        after: tuple[Floats, Floats] | None = None,
    ) -> None:
        channels, entering, self._reach, self._width = kernel.shape
        self.stride, self._feature_stride = strides
        self.before = self._reach // 2
        self.ahead = max(self.before, self.stride - 1)
        self._margin = margin
        self._leaving = -(-features // self._feature_stride)
        self.frame_shape = (features + 2 * (self._width // 2), entering)
        self.output_shape = (self._leaving + 2 * margin, channels)
        self._weights = np.ascontiguousarray(kernel.transpose(2, 3, 1, 0).reshape(-1, channels))
        self._bias = bias
        self._after = after

    def step(self, values: Floats, missing: Mask | None, carry: Carry, last: bool) -> tuple[Floats, Mask | None, Carry]:
        """Shape: values ``(batch, frames, *frame_shape)`` -> ``(batch, fewer, *output_shape)``."""
        carry = carry.extended(values, missing)
        held = carry.values.shape[1] - carry.skip - self.before  # from the middle of the next output's kernel on
        ready = max(0, -(-held // self.stride) if last else (held - self.ahead - 1) // self.stride + 1)
        if not ready:
            return np.zeros((len(values), 0, *self.output_shape), dtype=np.float32), None, carry
        found = self._convolved(carry.values, ready)
        absent = None
        if carry.missing is not None:
            absent = _missing_after(carry.missing[self.before :][: ready * self.stride], self.stride)
            absent = absent if absent.any() else None
        if absent is not None:
            found[:, absent] = 0
        return found, absent, carry.dropped(ready * self.stride)

    def _convolved(self, frames: Floats, count: int) -> Floats:
        reach = (count - 1) * self.stride + self._reach
        if frames.shape[1] < reach:  # after the end there are zeros
            end = np.zeros((len(frames), reach - frames.shape[1], *self.frame_shape), dtype=np.float32)
            frames = np.concatenate([frames, end], axis=1)
        batch, (_, entering) = len(frames), self.frame_shape
        per_item, per_frame, per_feature, size = frames.strides
        windows = np.ndarray(  # a view, as `numpy.lib.stride_tricks.as_strided` makes it in ten times as long
            (batch, count, self._leaving, self._reach, self._width * entering),
            np.float32,
            frames,
            strides=(per_item, self.stride * per_frame, self._feature_stride * per_feature, per_frame, size),
        )
        products = windows.reshape(-1, len(self._weights)) @ self._weights
        products += self._bias
        found = np.zeros((batch, count, *self.output_shape), dtype=np.float32)
        inside = found[:, :, self._margin : self._margin + self._leaving]
        np.maximum(products.reshape(inside.shape), 0, out=inside)
        if self._after is not None:
            inside *= self._after[0]
            inside += self._after[1]
        return found


def running_stem(config: StemConfig, weights: Mapping[str, Floats], num_features: int) -> list[RunningConvolution]:
    """The convolutions of a stem in their order.

    Args:
        config: of the stem.
        weights: its own, by their names in `audiornn.models.stem.ConvolutionStem`.
        num_features: of a frame.
    """
    depth = len(config.channels)
    frame_strides, feature_strides = config.frame_strides or [1] * depth, config.feature_strides or [1] * depth
    stages, features = [], num_features
    for index in range(depth):
        norm = {name: weights[f"norms.{index}.{name}"] for name in ("weight", "bias", "running_mean", "running_var")}
        factor = norm["weight"] / np.sqrt(norm["running_var"].astype(np.float64) + config.norm_eps)
        offset = (norm["bias"] - norm["running_mean"] * factor).astype(np.float32)
        kernel, bias, after = weights[f"convolutions.{index}.weight"], offset, None
        if config.order == RELU_NORM:
            bias, after = weights[f"convolutions.{index}.bias"], (factor.astype(np.float32), offset)
        else:
            kernel = (kernel * factor[:, None, None, None]).astype(np.float32)
        margin = config.kernel_features // 2 if index + 1 < depth else 0
        strides = frame_strides[index], feature_strides[index]
        stages.append(RunningConvolution(kernel, bias, strides, features, margin, after))
        features = -(-features // feature_strides[index])
    return stages


def _missing_after(missing: Mask, stride: int) -> Mask:
    """`audiornn.models.stem.missing_after` of one stream."""
    frames = -(-len(missing) // stride)
    filled = np.concatenate([missing, np.ones(frames * stride - len(missing), dtype=bool)])
    absent: Mask = np.all(filled.reshape(frames, stride), axis=1)
    return absent
