"""Changing some rows of a batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def in_chosen_rows(
    chosen: Tensor, change: Callable[..., Tensor], waveforms: Tensor, *beside: Tensor, most: int = 16
) -> Tensor:
    """``change(waveforms, *beside)`` in the chosen rows, every other row as it is.

    On a CPU only these are computed, ``most`` at a time, so that temporaries stay in the cache; elsewhere all of them
    at once, since asking which would wait for the device.

    Shape: chosen bool ``(batch,)``, waveforms ``(batch, samples)``, whatever stands beside ``(batch, ...)`` -> like
    waveforms.
    """
    if waveforms.device.type != "cpu":
        return torch.where(chosen.unsqueeze(1), change(waveforms, *beside), waveforms)
    changed = waveforms.clone()
    for rows in torch.split(chosen.nonzero().squeeze(1), most):
        if len(rows):
            changed[rows] = change(waveforms[rows], *(each[rows] for each in beside))
    return changed
