"""One frame of samples to its log mel bands and cepstra: all of the front end that looks at a single frame."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from audiornn.features.config import LOGMEL, MFCC, FeaturesConfig
from audiornn.features.matrices import SMALLEST_POWER, cepstrum_matrix, frame_window, mel_bank

# A triangle touches few bins: a product per group of neighbouring bands skips most of the zeros. Groups are at least as
# wide as a register of 512 bits: narrower ones are multiplied at half the rate.
_GROUP_BANDS = 16

_LOGARITHMS: dict[str, Callable[[Tensor], Tensor]] = {"ln": torch.log_, "log10": torch.log10_, "db": torch.log10_}


def _constant(matrix: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(matrix, dtype=np.float32))


class FrameTransform(nn.Module):
    """Frames of samples to columns of log bands, and those to cepstra.

    Attributes:
        frame_length: samples that a frame must have: ``win_length`` where something looks at it before its window; else
            ``n_fft``, under a window that ends in zeros, which spares the transform a copy.
    """

    window: Tensor
    dct: Tensor

    def __init__(self, config: FeaturesConfig) -> None:
        super().__init__()
        self.config = config
        self._emphasis = config.pre_emphasis if config.pre_emphasis_per_frame else 0.0
        per_frame = config.remove_dc or config.use_energy or self._emphasis > 0
        self.frame_length = config.win_length if per_frame else config.n_fft
        window = np.pad(frame_window(config), (0, self.frame_length - config.win_length))
        self.register_buffer("window", _constant(window), persistent=False)
        self._bins = self._register_bands()
        if config.kind == MFCC:
            self.register_buffer("dct", _constant(cepstrum_matrix(config)), persistent=False)

    def _register_bands(self) -> dict[str, slice]:
        """The filter bank as a buffer per group of bands; its name, and the columns of the spectrum that it reads.

        A power spectrum is kept as its squared real and imaginary parts side by side; the product adds them.
        """
        config = self.config
        width = 2 if config.power == 2 else 1
        bins = {}
        groups = np.array_split(mel_bank(config), max(1, config.n_mels // _GROUP_BANDS), axis=1)
        for index, group in enumerate(groups):
            used = np.flatnonzero(group.any(axis=1))
            first, last = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 1)
            bins[f"bands_{index}"] = slice(width * first, width * last)
            weights = np.repeat(group[first:last], width, axis=0)
            self.register_buffer(f"bands_{index}", _constant(weights), persistent=False)
        return bins

    def filter_bank(self) -> Tensor:
        """The groups of bands as one matrix, ``(n_fft // 2 + 1, n_mels)``."""
        width = 2 if self.config.power == 2 else 1
        bank = self.window.new_zeros(self.config.n_fft // 2 + 1, self.config.n_mels)
        column = 0
        for name, used in self._bins.items():
            weights = getattr(self, name)[::width]
            bank[used.start // width : used.stop // width, column : column + weights.shape[1]] = weights
            column += weights.shape[1]
        return bank

    def forward(self, frames: Tensor) -> Tensor:
        """Log bands, with the log energy as one more column if it is used.

        Shape:
            frames ``(batch, frames, frame_length)`` -> ``(batch, frames, n_mels)`` or ``(batch, frames, n_mels + 1)``.
        """
        config = self.config
        energy = None
        if config.remove_dc:
            frames = frames - frames.mean(dim=2, keepdim=True)
        if config.use_energy:
            energy = frames.square().sum(dim=2, keepdim=True)
        if self._emphasis > 0:
            first, others = (1 - self._emphasis) * frames[..., :1], frames[..., 1:] - self._emphasis * frames[..., :-1]
            frames = torch.cat([first, others], dim=2)
        # Flat: a product with a slice of three axes would copy it first.
        spectrum = torch.view_as_real(torch.fft.rfft(frames * self.window, n=config.n_fft)).flatten(2).square_()
        spectrum = spectrum.flatten(0, 1)
        if config.power == 1:
            spectrum = (spectrum[:, 0::2] + spectrum[:, 1::2]).clamp_(min=SMALLEST_POWER).sqrt_()
        bands = torch.cat([spectrum[:, used] @ getattr(self, name) for name, used in self._bins.items()], dim=1)
        logs = self._log(bands.reshape(*frames.shape[:2], -1), config.power)
        return logs if energy is None else torch.cat([logs, self._log(energy, 2.0)], dim=2)

    def _log(self, x: Tensor, power: float) -> Tensor:
        config = self.config
        x = x.clamp_(min=config.log_floor) if config.log_floor_mode == "max" else x.add_(config.log_floor)
        x = _LOGARITHMS[config.log](x)
        return x.mul_(20.0 / power) if config.log == "db" else x

    def cepstra(self, columns: Tensor) -> Tensor:
        """Cosine transform of log bands; for ``logmel`` the bands themselves.

        Shape:
            columns as :meth:`forward` returns them -> ``(batch, frames, n_mfcc)`` or ``(batch, frames, n_mels)``.
        """
        if self.config.kind == LOGMEL:
            return columns
        if not self.config.use_energy:
            return columns @ self.dct
        cepstra = columns[..., :-1] @ self.dct
        return torch.cat([columns[..., -1:], cepstra[..., 1:]], dim=2)
