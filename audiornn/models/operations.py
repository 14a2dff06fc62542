"""How much a network computes: multiply-accumulate operations, counted by its parts."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn

from audiornn.errors import ModelError
from audiornn.features.config import ENERGY, LOGMEL, MFCC, NONE, FeaturesConfig
from audiornn.features.matrices import mel_bank
from audiornn.models.cells import RecurrentLayer
from audiornn.models.classifier import RecurrentClassifier
from audiornn.models.pooling import AttentionPooling, MultiheadAttentionPooling

FRONT_END = "front end"
_PARTS = (
    ("encoder.stem", "stem"),
    ("encoder", "recurrent layers"),
    ("pooling", "pooling"),
    ("projections", "projections"),
    ("frame_head", "head"),
    ("embedding", "head"),
    ("head", "head"),
)
_COUNTED = (nn.Linear, nn.Conv1d, nn.Conv2d, RecurrentLayer, AttentionPooling, MultiheadAttentionPooling)
_NOT_COUNTED = (nn.RNNBase, nn.modules.batchnorm._BatchNorm, nn.LayerNorm)
"""What a `RecurrentLayer` runs itself, and what only scales and shifts."""


@torch.no_grad()
def count_operations(network: RecurrentClassifier, *, seconds: float = 1.0) -> dict[str, int]:
    """Multiply-accumulates for one clip, by part; with seconds=1 what a second of audio costs when heard as a clip.

    Counted are products of weights with values: matrix products, convolutions (their zero padding included, as usual)
    and the weighted means of attention; of the front end see `front_end_operations`. Sums, activations, normalisation
    and the products inside the cells, some thousandths of the whole, are not. The network is run once over a clip: what
    is counted is what is there.

    Returns:
        Whole numbers by part, among them ``front end``; the network's own are all others.

    Raises:
        ModelError: weights of a kind that this function does not know.
    """
    counts: dict[str, int] = {}

    def count(part: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        counts[part] = counts.get(part, 0) + _operations(module, inputs[0], output)

    handles = []
    was_training = network.training
    try:
        for name, module in network.named_modules():
            if isinstance(module, _COUNTED):
                handles.append(module.register_forward_hook(partial(count, _part_of(name))))
            elif not isinstance(module, _NOT_COUNTED) and any(True for _ in module.parameters(recurse=False)):
                kind = type(module).__name__
                raise ModelError(f"expected modules whose operations can be counted, got {kind} at {name!r}")
        _hear(network.eval(), seconds)
    finally:
        network.train(was_training)
        for handle in handles:
            handle.remove()
    configs = [network.features.config, *(getattr(part, "config", None) for _, part in network.stream_inputs())]
    front_ends = sum(front_end_operations(config, seconds) for config in configs if config is not None)
    return {FRONT_END: front_ends, **counts}


def _hear(network: RecurrentClassifier, seconds: float) -> None:
    """Run the network over a clip of silence."""
    device = next(network.parameters()).device
    samples = round(seconds * network.features.config.sample_rate) if network.inputs.reads_audio else 0
    sequences = {}
    for name, stream in network.inputs.streams.items():
        if name in network.inputs.sequences:
            frames = round(seconds * stream.clock.frame_rate)
            size = network.inputs.sizes[name]
            sequences[name] = (torch.zeros(1, frames, size, device=device), torch.tensor([frames], device=device))
    network(torch.zeros(1, samples, device=device), torch.tensor([samples], device=device), sequences)


def _part_of(name: str) -> str:
    return next((part for prefix, part in _PARTS if name == prefix or name.startswith(f"{prefix}.")), name)


def _operations(module: nn.Module, heard: Tensor, output: Tensor) -> int:
    """Of one of `_COUNTED`, without those of modules inside it."""
    if isinstance(module, nn.Linear):
        return output.numel() * module.in_features
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        return output.numel() * (module.in_channels // module.groups) * math.prod(module.kernel_size)
    if isinstance(module, RecurrentLayer):  # of every frame: all matrices of all gates and directions
        return heard.shape[1] * sum(weight.numel() for weight in module.rnn.parameters() if weight.dim() > 1)
    if isinstance(module, MultiheadAttentionPooling):  # scores and weighted means
        return 2 * module.num_heads * heard.numel()
    return heard.numel()  # `AttentionPooling`: the weighted mean


def front_end_operations(config: FeaturesConfig, seconds: float = 1.0) -> int:
    """Multiply-accumulates of the front end for a clip.

    Per frame: the window, ``n_fft log2 n_fft`` for a real Fourier transform (``n_fft / 4 * log2 n_fft`` complex
    products), 2 for the power of each bin, the weights of the filter bank that are not 0, the whole cosine transform,
    and for each order of differences its window.

    >>> front_end_operations(FeaturesConfig(kind="energy"))  # 101 frames of 400 samples, squared
    40400
    """
    if config.kind == NONE:
        return 0
    frames = config.num_frames(round(seconds * config.sample_rate))
    if config.kind == ENERGY:
        return frames * config.win_length
    operations = config.win_length + round(config.n_fft * math.log2(config.n_fft))
    if config.kind in (MFCC, LOGMEL):
        operations += 2 * (config.n_fft // 2 + 1) + int((mel_bank(config) != 0).sum())
        operations += config.n_mels * config.n_mfcc if config.kind == MFCC else 0
    else:  # the autocorrelation is another transform
        operations += 2 * (config.n_fft // 2 + 1) + round(config.n_fft * math.log2(config.n_fft))
    own = config.num_features // (1 + config.deltas)
    return frames * (operations + config.deltas * own * config.delta_window)
