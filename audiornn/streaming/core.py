"""A network one step at a time: the same modules as offline, with what they need of the past carried over."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad
from torch.nn.utils.fusion import fuse_conv_bn_eval

from audiornn.models.cells import RecurrentLayer
from audiornn.models.classifier import RecurrentClassifier
from audiornn.models.stem import ConvolutionStem, MaskedBatchNorm, missing_after
from audiornn.streaming.carrying import Carry, State
from audiornn.streaming.running import running


class Outputs(NamedTuple):
    """What leaves the network in a step."""

    logits: Tensor
    """``(batch, frames, outputs)``, of everything up to and with each frame."""
    frame_logits: Tensor | None
    """``(batch, frames, frame_outputs)``; None for a network without."""


class StreamingCore:
    """``step(samples, state) -> (outputs, state)`` for a uni-directional network.

    Args:
        network: in evaluation mode, one that `audiornn.streaming.limits.reason_against` has nothing against.

    Attributes:
        look_ahead_frames: of the front end, that must have come after one before it leaves the encoder.
        stride: frames that enter for one that leaves.
    """

    def __init__(self, network: RecurrentClassifier) -> None:
        self.network = network
        self._front_end = network.features
        self.device = network.features.mean.device
        config = network.features.config
        self._own_features = config.num_features // (1 + config.deltas)
        self._delta_frames = config.deltas * (config.delta_window // 2)
        stem = network.encoder.stem
        self._stages = [] if stem is None else _stages(stem)
        self._pooling = running(network.pooling)
        self.stride = 1
        self.look_ahead_frames = self._delta_frames
        for stage in self._stages:
            self.look_ahead_frames += stage.ahead * self.stride
            self.stride *= stage.stride

    @torch.inference_mode()
    def start(self, batch: int = 1) -> State:
        """Before the first sample."""
        network = self.network
        carries = []
        if self._delta_frames:
            values = torch.zeros(batch, self._delta_frames, self._own_features, device=self.device)
            # Nothing is known before the beginning: differences end there as they do beside a gap.
            carries.append(Carry(values, torch.ones(self._delta_frames, dtype=torch.bool, device=self.device)))
        for stage in self._stages:
            values = torch.zeros(batch, stage.before, stage.channels, stage.features, device=self.device)
            carries.append(Carry(values))
        recurrent = tuple(layer.initial_state(batch) for layer in self._layers())
        like = recurrent[-1][0]
        nothing = torch.zeros(batch, dtype=torch.int64, device=self.device)
        latest = network.pooling(like.unsqueeze(1), nothing)
        return State(tuple(carries), recurrent, (latest, *self._pooling.start(like)))

    @torch.inference_mode()
    def step(self, windows: Tensor, state: State, *, last: bool = False) -> tuple[Outputs, State]:
        """Go on by the samples of some whole windows.

        Args:
            windows: ``(batch, samples)``, pre-emphasised if that goes over the waveform; from the first sample of the
                next window to the last one of the last window. NaN where missing, in every stream the same frames.
            state: of the same streams.
            last: the signals end here.
        """
        values, missing = windows.new_zeros(len(windows), 0, self._own_features), None
        if windows.shape[1]:
            values, missings = self._front_end.of_windows(windows)
            missing = None if missings is None else missings[0]
        values, missing, carries = self._over_frames(values, missing, state.carries, last)
        for stage in self._stages:
            values, missing, carry = stage.step(values, missing, carries[0], last)
            carries = (*carries[1:], carry)
        if self._stages:
            values = values.flatten(2)
        outputs, recurrent, pooled, sums = self._recur(values, missing, state)
        frame_head = self.network.frame_head
        frame_logits = None if frame_head is None else frame_head(outputs)
        return Outputs(self._logits(pooled), frame_logits), State(carries, recurrent, sums)

    @torch.inference_mode()
    def answer(self, state: State) -> Tensor:
        """Logits after what a state has heard. Shape: ``(batch, outputs)``."""
        return self._logits(state.pooled[0])

    def _logits(self, pooled: Tensor) -> Tensor:
        # Their dropouts, which do nothing here, take as long as the products.
        embedding, head = self.network.embedding.linear, self.network.head
        if embedding is not None:
            pooled = embedding(pooled).relu()
        logits: Tensor = pooled.new_zeros(*pooled.shape[:-1], 0) if head is None else head.linear(pooled)
        return logits

    def _layers(self) -> list[RecurrentLayer]:
        return [layer for layer in self.network.encoder.layers if isinstance(layer, RecurrentLayer)]

    def _over_frames(
        self, values: Tensor, missing: Tensor | None, carries: tuple[Carry, ...], last: bool
    ) -> tuple[Tensor, Tensor | None, tuple[Carry, ...]]:
        """Differences, which look a few frames ahead, and normalisation."""
        context = self._delta_frames
        if not context:
            return self._normalised(values, missing), missing, carries
        carry = carries[0].extended(values, missing)
        ready = carry.values.shape[1] - (1 if last else 2) * context
        if ready <= 0:
            return values.new_zeros(len(values), 0, self._front_end.num_features), None, (*carries[1:], carry)
        found = self._normalised(carry.values, carry.missing)[:, context : context + ready]
        missing = None if carry.missing is None else carry.missing[context : context + ready]
        return found, missing, (*carries[1:], carry.dropped(ready))

    def _normalised(self, values: Tensor, missing: Tensor | None) -> Tensor:
        lengths = torch.full((len(values),), values.shape[1], device=values.device)
        masks = None if missing is None else missing.expand(len(values), -1)
        return self._front_end.over_frames(values, lengths, masks)

    def _recur(
        self, x: Tensor, missing: Tensor | None, state: State
    ) -> tuple[Tensor, tuple[tuple[Tensor, ...], ...], Tensor, tuple[Tensor, ...]]:
        """Recurrent layers and pooling over the frames that are there; beside a missing one both stay as they were."""
        present = x if missing is None else x[:, ~missing]
        recurrent, pooled_state = state.recurrent, state.pooled
        outputs, pooled = present.new_zeros(len(x), 0, state.recurrent[-1][0].shape[1]), state.pooled[0][:, None][:, :0]
        if present.shape[1]:
            outputs, after = present, []
            for layer, before in zip(self._layers(), recurrent, strict=True):
                outputs, own = layer.go_on(outputs, before)
                after.append(own)
            recurrent = tuple(after)
            pooled, sums = self._pooling.step(outputs, state.pooled[1:])
            pooled_state = (pooled[:, -1], *sums)
        if missing is not None:
            count = (~missing).long().cumsum(dim=0)
            outputs = torch.cat([state.recurrent[-1][0].unsqueeze(1), outputs], dim=1)[:, count]
            pooled = torch.cat([state.pooled[0].unsqueeze(1), pooled], dim=1)[:, count]
        return outputs, recurrent, pooled, pooled_state


class _ConvolutionStage:
    """One convolution of a stem, with its normalisation, over frames that come one after another.

    Attributes:
        before: frames of zeros before the first one, as the convolution pads.
        ahead: frames that must have come after one; a stride must also know whether all that it takes are missing.
    """

    def __init__(self, convolution: nn.Conv2d, norm: MaskedBatchNorm, features: int) -> None:
        self._convolution = fuse_conv_bn_eval(convolution, norm)
        self.kernel, self.stride = int(convolution.kernel_size[0]), int(convolution.stride[0])
        self.before = self.kernel // 2
        self.ahead = max(self.before, self.stride - 1)
        self.channels, self.features = convolution.in_channels, features

    def step(
        self, values: Tensor, missing: Tensor | None, carry: Carry, last: bool
    ) -> tuple[Tensor, Tensor | None, Carry]:
        """Shape: values ``(batch, frames, channels, features)``, or without the channels where there is one."""
        x = values if values.dim() == 4 else values.unsqueeze(2)
        carry = carry.extended(x, missing)
        held = carry.values.shape[1] - carry.skip - self.before  # from the middle of the next output's kernel on
        ready = max(0, -(-held // self.stride) if last else (held - self.ahead - 1) // self.stride + 1)
        if not ready:
            width = -(-self.features // int(self._convolution.stride[1]))
            return x.new_zeros(len(x), 0, self._convolution.out_channels, width), None, carry
        reach = (ready - 1) * self.stride + self.kernel
        frames = carry.values[:, :reach].transpose(1, 2)
        if frames.shape[2] < reach:
            frames = pad(frames, (0, 0, 0, reach - frames.shape[2]))
        convolution = self._convolution
        padding = (0, int(convolution.padding[1]))
        found = conv2d(frames, convolution.weight, convolution.bias, convolution.stride, padding).relu_()
        absent = None
        if carry.missing is not None:
            middles = carry.missing[self.before :][: ready * self.stride]
            absent = missing_after(middles.unsqueeze(0), self.stride)[0]
            absent = absent if bool(absent.any()) else None
        if absent is not None:
            found = found.masked_fill(absent[None, None, :, None], 0.0)
        return found.transpose(1, 2), absent, carry.dropped(ready * self.stride)


def _stages(stem: ConvolutionStem) -> list[_ConvolutionStage]:
    stages = []
    features = stem.num_features
    for convolution, norm in zip(stem.convolutions, stem.norms, strict=True):
        assert isinstance(convolution, nn.Conv2d) and isinstance(norm, MaskedBatchNorm)
        stages.append(_ConvolutionStage(convolution, norm, features))
        features = -(-features // int(convolution.stride[1]))
    return stages
