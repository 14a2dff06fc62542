"""Convolutions before the recurrent layers, exact under padding."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import batch_norm, pad

from audiornn.models.config import RELU_NORM, StemConfig
from audiornn.padding import Frames, absent_frames
from audiornn.replicas import summed_together

_SLOW_MOMENTUM = 0.01
"""Of models that rectify first: Keras's."""


class MaskedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation and ReLU, whose training statistics leave the padding out.

    With several replicas they are those of the whole batch. In evaluation it is `torch.nn.BatchNorm2d` and ReLU, whose
    parameters and buffers it has.

    Args:
        channels: of what it normalises.
        relu_first: ReLU, then normalisation.
        eps, momentum: as of `torch.nn.BatchNorm2d`.
    """

    def __init__(self, channels: int, *, relu_first: bool = False, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(channels, eps=eps, momentum=momentum)
        self.relu_first = relu_first

    def forward_valid(self, x: Tensor, padding: Tensor) -> Tensor:
        """Normalise, rectify, zero the padding, whatever finite values it holds.

        Shape:
            x ``(batch, channels, frames, features)``, padding ``(batch, 1, frames, 1)`` True where there is no frame
            -> like x with zeros as padding.
        """
        if not self.training and self.relu_first:
            return self.forward(x.relu()).masked_fill_(padding, 0.0)
        if not self.training:
            return self.forward(x).masked_fill_(padding, 0.0).relu_()
        # In float32 whatever the precision: in half, the count itself overflows.
        wide = x if x.dtype == torch.float64 else x.float()
        if self.relu_first:
            wide = wide.relu()
        count = ((~padding).sum() * x.shape[3]).to(wide.dtype)
        valid = (~padding).to(wide.dtype)
        outputs: Tensor
        outputs, mean, variance, count = _NormaliseAndRectify.apply(  # type: ignore[no-untyped-call]
            wide, valid, count, self.weight, self.bias, self.eps, not self.relu_first
        )
        self._update_running(mean, variance * count / (count - 1).clamp(min=1))
        return outputs.to(x.dtype)

    @torch.no_grad()
    def _update_running(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), self.momentum)


_LITTLE_LEFT = 1e-3
"""Variance over squared mean, below which sums of squares in float32 do not tell it."""


class _NormaliseAndRectify(torch.autograd.Function):
    """Batch normalisation by the statistics of the valid frames, then ReLU or not, with the gradient written out.

    What a stem takes beside its convolutions are passes over memory: autograd's own form has three times as many. Those
    here are ones that torch vectorises in the channels-last layout; the mask is multiplied, as selecting is not.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, valid: Tensor, count: Tensor, weight: Tensor, bias: Tensor, eps: float, rectify: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x as in `MaskedBatchNorm.forward_valid`, valid 1 where padding is False, else 0, count of valid values.

        Returns outputs, mean, biased variance, and the count over all replicas.
        """
        x = (x * valid).contiguous(memory_format=torch.channels_last)
        total, squares, count = summed_together(_sum_per_channel(x), _sum_per_channel(x.square()), count)
        count = count.clamp(min=1)
        mean = total / count
        variance = (squares / count - mean.square()).clamp(min=0)
        # Of a mean far above the deviation little is left of the difference: then in a pass more. Asking stalls a GPU.
        if x.device.type != "cpu" or bool((variance < _LITTLE_LEFT * mean.square()).any()):
            centred = (x - mean.reshape(-1, 1, 1)) * valid
            (squares,) = summed_together(_sum_per_channel(centred.square()))
            variance = squares / count
        outputs = batch_norm(x, mean, variance, weight, bias, eps=eps)
        outputs = (outputs.relu_() if rectify else outputs).mul_(valid)
        ctx.save_for_backward(x, outputs, valid, count, mean, variance, weight)
        ctx.eps, ctx.rectify = eps, rectify
        ctx.mark_non_differentiable(mean, variance, count)
        return outputs, mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        """Ioffe & Szegedy, 2015, section 3; the mask of the ReLU is the padding's too."""
        x, outputs, valid, count, mean, variance, weight = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        gradient = torch.ops.aten.threshold_backward(gradient, outputs, 0) if ctx.rectify else gradient * valid
        # As if mean and variance were constants, which gives the first of three terms ...
        x_gradient, weight_gradient, bias_gradient = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        # ... and what goes through them, from the outputs of every replica.
        weight_total, bias_total = summed_together(weight_gradient, bias_gradient)
        inverse_std = torch.rsqrt(variance + ctx.eps)
        slope = -weight * inverse_std.square() * weight_total / count
        offset = -weight * inverse_std * bias_total / count - slope * mean
        batch, _, frames, features = x.shape
        rows = _frame_rows(x_gradient).addcmul_(_frame_rows(x), slope.repeat(features))
        rows.addcmul_(_frame_rows(valid), offset.repeat(features))
        x_gradient = rows.reshape(batch, frames, features, -1).permute(0, 3, 1, 2)
        return x_gradient, None, None, weight_gradient, bias_gradient, None, None


def _frame_rows(x: Tensor) -> Tensor:
    """View of channels-last ``(batch, channels, frames, features)`` as ``(batch * frames, features * channels)``.

    With one value per channel, broadcasting and summing over long rows is 3 to 15 times faster than over the channels.
    """
    return x.permute(0, 2, 3, 1).flatten(0, 1).flatten(1)


def _sum_per_channel(x: Tensor) -> Tensor:
    return _frame_rows(x).sum(dim=0).reshape(x.shape[3], x.shape[1]).sum(dim=0)


class ConvolutionStem(nn.Module):
    """Convolution, batch normalisation, ReLU, in the order and as often as `StemConfig` says.

    Each convolution keeps ``ceil(length / stride)`` frames. Padding is zeroed before every convolution, so the last
    frames of a clip see the zeros that they would see alone; those beside a missing frame see zeros in its place. A
    frame that leaves is missing if all the frames are that its stride takes together.
    """

    def __init__(self, config: StemConfig, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features
        depth = len(config.channels)
        self._frame_strides = list(config.frame_strides) or [1] * depth
        feature_strides = list(config.feature_strides) or [1] * depth
        self.convolutions = nn.ModuleList()
        self.norms = nn.ModuleList()
        channels, features = 1, num_features
        relu_first = config.order == RELU_NORM
        for index, width in enumerate(config.channels):
            self.convolutions.append(
                nn.Conv2d(
                    channels,
                    width,
                    (config.kernel_frames, config.kernel_features),
                    stride=(self._frame_strides[index], feature_strides[index]),
                    padding=(config.kernel_frames // 2, config.kernel_features // 2),
                    bias=relu_first,
                )
            )
            momentum = _SLOW_MOMENTUM if relu_first else 0.1
            self.norms.append(MaskedBatchNorm(width, relu_first=relu_first, eps=config.norm_eps, momentum=momentum))
            channels, features = width, -(-features // feature_strides[index])
        self.output_size = channels * features
        self.frame_stride = math.prod(self._frame_strides)

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Frames left of each length."""
        for stride in self._frame_strides:
            lengths = torch.div(lengths + stride - 1, stride, rounding_mode="floor")
        return lengths

    def forward(self, x: Tensor, lengths: Tensor, missing: Tensor | None = None) -> Frames:
        """Shape: x ``(batch, frames, features)``, zeros where there is no frame -> ``(batch, fewer, output_size)``."""
        if missing is not None:  # a stride that reaches past the end hears as little there as in a gap
            missing = absent_frames(lengths, missing, x.shape[1])
        x = x.unsqueeze(1).contiguous(memory_format=torch.channels_last)
        for convolution, norm, stride in zip(self.convolutions, self.norms, self._frame_strides, strict=True):
            x = convolution(x)
            lengths = torch.div(lengths + stride - 1, stride, rounding_mode="floor")
            if missing is not None:
                missing = missing_after(missing, stride)
            absent = absent_frames(lengths, missing, x.shape[2])
            assert isinstance(norm, MaskedBatchNorm)
            # A kernel wider than one frame reaches into the padding, which the norm zeroes.
            x = norm.forward_valid(x, absent[:, None, :, None])
        return Frames(x.permute(0, 2, 1, 3).flatten(2), lengths, missing)


def missing_after(missing: Tensor, stride: int) -> Tensor:
    """Frames that are missing behind a stride. Shape: ``(batch, frames)`` -> ``(batch, ceil(frames / stride))``."""
    frames = (missing.shape[1] + stride - 1) // stride
    filled = pad(missing, (0, frames * stride - missing.shape[1]), value=True)
    return filled.reshape(missing.shape[0], frames, stride).all(dim=2)
