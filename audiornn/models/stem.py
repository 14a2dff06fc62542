"""Convolutions before the recurrent layers, exact under padding."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from audiornn.errors import ConfigError
from audiornn.padding import lengths_to_padding_mask


@dataclass(frozen=True, kw_only=True)
class StemConfig:
    """A stack of 2-D convolutions over (frames, features); no channels means no stem."""

    channels: list[int] = field(default_factory=list)
    """Output channels of each convolution."""
    frame_strides: list[int] = field(default_factory=list)
    """Stride along frames of each convolution; empty means 1 everywhere."""
    feature_strides: list[int] = field(default_factory=list)
    """Stride along features of each convolution; empty means 1 everywhere."""
    kernel_frames: int = 3
    """Kernel extent along frames, odd."""
    kernel_features: int = 3
    """Kernel extent along features, odd; 1 for MFCC, whose neighbours are not alike."""

    def __post_init__(self) -> None:
        for name in ("frame_strides", "feature_strides"):
            strides = getattr(self, name)
            if strides and len(strides) != len(self.channels):
                raise ConfigError(
                    f"{name} must have one entry per stem convolution, got {len(strides)} for {len(self.channels)}"
                )
        if min([1, *self.channels, *self.frame_strides, *self.feature_strides]) < 1:
            raise ConfigError("stem channels and strides must be at least 1")
        for name in ("kernel_frames", "kernel_features"):
            if getattr(self, name) < 1 or getattr(self, name) % 2 == 0:
                raise ConfigError(f"{name} must be odd and at least 1, got {getattr(self, name)}")


class MaskedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation and ReLU, whose training statistics leave the padding out.

    In evaluation it is `torch.nn.BatchNorm2d` and ReLU. Parameters and buffers are those of `torch.nn.BatchNorm2d`.
    """

    def forward_valid(self, x: Tensor, padding: Tensor, lengths: Tensor) -> Tensor:
        """Normalise, rectify, zero the padding.

        Shape:
            x ``(batch, channels, frames, features)`` with zeros as padding, padding ``(batch, 1, frames, 1)`` True
            there, lengths ``(batch,)`` -> like x with zeros as padding.
        """
        if not self.training:
            return self.forward(x).masked_fill_(padding, 0.0).relu_()
        # In float32 whatever the precision: in half, the count itself overflows.
        wide = x if x.dtype == torch.float64 else x.float()
        count = (lengths.sum() * x.shape[3]).clamp(min=1).to(wide.dtype)
        outputs: Tensor
        outputs, mean, variance = _NormaliseAndRectify.apply(  # type: ignore[no-untyped-call]
            wide, padding, count, self.weight, self.bias, self.eps
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


class _NormaliseAndRectify(torch.autograd.Function):
    """Batch normalisation by the statistics of the valid frames, then ReLU, with the gradient written out.

    Its passes over memory are what a stem takes beside its convolutions: autograd's own form has three times as many.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, padding: Tensor, count: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Shape: as `MaskedBatchNorm.forward_valid`, count of valid values -> outputs, mean and biased variance."""
        # The padding is 0 and adds nothing.
        mean = x.sum(dim=(0, 2, 3)) / count
        variance = (x.square().sum(dim=(0, 2, 3)) / count - mean.square()).clamp(min=0)
        inverse_std = torch.rsqrt(variance + eps)
        scale = weight * inverse_std
        outputs = torch.addcmul(_per_channel(bias - mean * scale), x, _per_channel(scale))
        outputs.masked_fill_(padding, 0.0).relu_()
        ctx.save_for_backward(x, outputs, mean, inverse_std, weight, count)
        ctx.mark_non_differentiable(mean, variance)
        return outputs, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        """Ioffe & Szegedy, 2015, section 3; the mask of the ReLU is the padding's too."""
        x, outputs, mean, inverse_std, weight, count = ctx.saved_tensors
        gradient = gradient.masked_fill(outputs <= 0, 0.0)
        bias_gradient = gradient.sum(dim=(0, 2, 3))
        weight_gradient = ((gradient * x).sum(dim=(0, 2, 3)) - mean * bias_gradient) * inverse_std
        scale = weight * inverse_std
        slope = -scale * inverse_std * weight_gradient / count
        offset = -scale * bias_gradient / count - slope * mean
        x_gradient = torch.addcmul(_per_channel(offset), x, _per_channel(slope))
        x_gradient.addcmul_(gradient, _per_channel(scale))
        return x_gradient, None, None, weight_gradient, bias_gradient, None


def _per_channel(values: Tensor) -> Tensor:
    return values.reshape(1, -1, 1, 1)


class ConvolutionStem(nn.Module):
    """Convolution, batch normalisation, ReLU, as often as `StemConfig.channels` says.

    Each convolution keeps ``ceil(length / stride)`` frames. Padding is zeroed before every convolution, so the last
    frames of a clip see the zeros that they would see alone.
    """

    def __init__(self, config: StemConfig, num_features: int) -> None:
        super().__init__()
        depth = len(config.channels)
        self._frame_strides = list(config.frame_strides) or [1] * depth
        feature_strides = list(config.feature_strides) or [1] * depth
        self.convolutions = nn.ModuleList()
        self.norms = nn.ModuleList()
        channels, features = 1, num_features
        for index, width in enumerate(config.channels):
            self.convolutions.append(
                nn.Conv2d(
                    channels,
                    width,
                    (config.kernel_frames, config.kernel_features),
                    stride=(self._frame_strides[index], feature_strides[index]),
                    padding=(config.kernel_frames // 2, config.kernel_features // 2),
                    bias=False,
                )
            )
            self.norms.append(MaskedBatchNorm(width))
            channels, features = width, -(-features // feature_strides[index])
        self.output_size = channels * features

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Frames left of each length."""
        for stride in self._frame_strides:
            lengths = torch.div(lengths + stride - 1, stride, rounding_mode="floor")
        return lengths

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Shape: x ``(batch, frames, features)`` with zeros as padding -> ``(batch, shorter frames, output_size)``."""
        x = x.unsqueeze(1).contiguous(memory_format=torch.channels_last)
        for convolution, norm, stride in zip(self.convolutions, self.norms, self._frame_strides, strict=True):
            x = convolution(x)
            lengths = torch.div(lengths + stride - 1, stride, rounding_mode="floor")
            padding = lengths_to_padding_mask(lengths, x.shape[2])[:, None, :, None]
            assert isinstance(norm, MaskedBatchNorm)
            # A kernel wider than one frame reaches into the padding: it is zeroed for the norm, too; in place, as the
            # convolution does not need its outputs again.
            x = norm.forward_valid(x.masked_fill_(padding, 0.0), padding, lengths)
        return x.permute(0, 2, 1, 3).flatten(2), lengths
