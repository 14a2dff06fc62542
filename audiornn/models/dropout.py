"""Dropout whose draws belong to an utterance: the same ones whatever batch, process or device it is in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

# Of SplitMix64 (Steele et al., 2014): a counter mixed by these is as good as random. Signed, as torch's numbers are.
_STEP = 0x9E3779B97F4A7C15 - 2**64
_FIRST, _SECOND = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64
_USES = 1 << 20
"""Of one module in one step, at most."""


def mixed(numbers: Tensor) -> Tensor:
    """Numbers that look random, one for each: the finaliser of SplitMix64. Shape: int64 -> int64, alike."""

    def folded(values: Tensor, bits: int) -> Tensor:
        return values ^ ((values >> bits) & ((1 << (64 - bits)) - 1))  # `>>` keeps the sign

    return folded(folded(folded(numbers, 30) * _FIRST, 27) * _SECOND, 31)


def utterance_keys(seed: int, epoch: int, utterances: Tensor) -> Tensor:
    """What the draws of utterances in an epoch follow from. Shape: int64 ``(batch,)`` -> int64 ``(batch,)``."""
    start = int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0].astype(np.int64))
    return mixed(utterances * _STEP + start)


class _Dropout(nn.Module):
    """What both kinds share.

    Args:
        probability: of a value to be left out, in [0, 1).
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self._keys: Tensor | None = None
        self._uses = 0

    def _factors(self, like: Tensor) -> Tensor:
        """0 where a value is left out, else what makes up for those. Shape: ``(batch, values)`` -> alike."""
        if self._keys is None:
            return functional.dropout(torch.ones_like(like), self.probability)
        columns = torch.arange(1, like.shape[1] + 1, device=like.device) * _STEP
        numbers = mixed(mixed(self._keys + self._uses).unsqueeze(1) + columns)
        self._uses += 1
        uniform = ((numbers >> 40) & 0xFFFFFF).float() * 2.0**-24
        return (uniform >= self.probability).to(like.dtype) / (1 - self.probability)


class SequenceDropout(_Dropout):
    """Dropout that leaves out the same features in every frame of an utterance (Gal & Ghahramani, 2016).

    Besides, it draws random numbers for one frame, not for all: on a CPU those take as long as a convolution.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Shape: x ``(batch, frames, features)`` -> like x."""
        if not self.training or self.probability == 0:
            return x
        return x * self._factors(x.new_empty(len(x), x.shape[2])).unsqueeze(1)


class VectorDropout(_Dropout):
    """Dropout of one vector per utterance."""

    def forward(self, x: Tensor) -> Tensor:
        """Shape: x ``(batch, features)`` -> like x."""
        if not self.training or self.probability == 0:
            return x
        return functional.dropout(x, self.probability) if self._keys is None else x * self._factors(x)


@contextmanager
def drawing_by(network: nn.Module, keys: Tensor) -> Iterator[None]:
    """Have the dropout of a network follow from the keys of a batch; outside it draws from torch's generator.

    Shape: keys int64 ``(batch,)``, see `utterance_keys`.
    """
    modules = [module for module in network.modules() if isinstance(module, _Dropout) and module.probability]
    for number, module in enumerate(modules):
        module._keys, module._uses = keys + number * _USES, 0
    try:
        yield
    finally:
        for module in modules:
            module._keys = None
