"""The numbers of `numpy.random.Philox`, for many counters at once and on any device."""

from __future__ import annotations

import torch
from torch import Tensor

# Philox 4x64, ten rounds (Salmon et al., 2011).
_MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
_ROUNDS = 10
_WORDS = 4
_LOW = 0xFFFFFFFF


def uniform(key: tuple[int, int], streams: Tensor, count: int, *, series: int = 0) -> Tensor:
    """What ``Generator(Philox(key=key, counter=[0, 0, series, stream])).random(count)`` gives each stream, by the bit.

    Shape: streams int64 ``(streams,)`` -> float64 ``(streams, count)``, in [0, 1).

    >>> import numpy as np
    >>> numpys = np.random.Generator(np.random.Philox(key=[7, 2], counter=[0, 0, 0, 5])).random(3)
    >>> bool((uniform((7, 2), torch.tensor([5]), 3)[0].numpy() == numpys).all())
    True
    """
    blocks = -(-count // _WORDS)
    counter = torch.arange(1, blocks + 1, device=streams.device).expand(len(streams), blocks)
    zero = torch.zeros_like(counter)
    words = [counter, zero, torch.full_like(counter, series), streams.unsqueeze(1).expand(len(streams), blocks)]
    keys = [key[0], key[1]]
    for _ in range(_ROUNDS):
        high_0, low_0 = _product(words[0], _MULTIPLIERS[0])
        high_1, low_1 = _product(words[2], _MULTIPLIERS[1])
        words = [high_1 ^ words[1] ^ _signed(keys[0]), low_1, high_0 ^ words[3] ^ _signed(keys[1]), low_0]
        keys = [keys[0] + _WEYL[0], keys[1] + _WEYL[1]]
    numbers = torch.stack(words, dim=2).flatten(1)[:, :count]
    return _shifted(numbers, 11).double() * 2.0**-53


def _signed(number: int) -> int:
    """The same 64 bits as a signed number, which is what torch has."""
    return (number + 2**63) % 2**64 - 2**63


def _shifted(numbers: Tensor, bits: int) -> Tensor:
    """Shifted to the right, zeros entering; ``>>`` keeps the sign."""
    return (numbers >> bits) & ((1 << (64 - bits)) - 1)


def _product(numbers: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """The upper and the lower 64 bits of unsigned products, from those of the halves."""
    low, high = numbers & _LOW, _shifted(numbers, 32)
    factor_low, factor_high = factor & _LOW, factor >> 32
    middle_0, middle_1 = low * factor_high, high * factor_low
    carried = _shifted(low * factor_low, 32) + (middle_0 & _LOW) + (middle_1 & _LOW)
    upper = high * factor_high + _shifted(middle_0, 32) + _shifted(middle_1, 32) + (carried >> 32)
    return upper, numbers * _signed(factor)
