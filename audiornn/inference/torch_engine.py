"""A network run by PyTorch, on any device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiornn.errors import ConfigError
from audiornn.inference.engines import TORCH, Answer, Attention, Floats, StreamingForm, pad_streams
from audiornn.inputs import Inputs
from audiornn.models.classifier import RecurrentClassifier
from audiornn.sequences import Signals, pad_rows
from audiornn.workers import available_cores


def usable_device(name: str | None) -> torch.device:
    """The device of a name; None = a GPU when there is one.

    Raises:
        ConfigError: unknown, or not on this machine.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"expected a device of this machine, such as cpu, got {name!r}: {reason}") from error
    return device


class TorchEngine:
    """`audiornn.inference.engines.Engine` of a module.

    Args:
        network: put into evaluation mode.
        inputs: what it hears.
        device: ``cpu``, ``cuda``, ...; None = a GPU when there is one.
    """

    name = TORCH

    def __init__(self, network: RecurrentClassifier, inputs: Inputs, *, device: str | None = None) -> None:
        self.device = usable_device(device)
        self.network = network.to(self.device).eval()
        self.embedding_size = network.embedding.output_size
        self._sequences = inputs.sequences

    @property
    def description(self) -> str:
        """Library and device in words."""
        return f"torch {torch.__version__} on {self.device}"

    @torch.inference_mode()
    def answer(self, signals: Sequence[Signals]) -> Answer:
        """Of one batch."""
        waveforms, lengths, sequences = self._padded(signals)
        # Asked here, where it costs nothing, and not on a GPU.
        has_gaps = any(bool(np.isnan(each.waveform.sum())) for each in signals)
        output = self.network(waveforms, lengths, sequences, has_gaps=has_gaps)
        frame_lengths, missing = output.frame_lengths, output.frame_missing
        return Answer(
            logits=_floats(output.logits),
            embeddings=_floats(output.embedding),
            frame_logits=None if output.frame_logits is None else _floats(output.frame_logits),
            frame_lengths=None if frame_lengths is None else frame_lengths.cpu().numpy(),
            features=None if output.features is None else _floats(output.features),
            missing=None if missing is None else missing.cpu().numpy(),
        )

    @torch.inference_mode()
    def attention(self, signals: Signals) -> Attention | None:
        """Of one recording; None for a pooling without attention."""
        found = self.network.attention(self.network.frames(*self._padded([signals])))
        if found is None:
            return None
        times, shares = found
        return Attention(times.cpu().numpy(), _floats(shares[0]))

    def streaming_form(self) -> StreamingForm:
        """Weights as arrays, and torch's own transform, on the CPU whatever the device."""
        weights = {name: _floats(tensor.detach()) for name, tensor in self.network.state_dict().items()}
        return StreamingForm(weights, _fourier, f"numpy {np.__version__} on cpu")

    @contextmanager
    def callers(self, count: int | None = None) -> Iterator[ThreadPoolExecutor]:
        """Threads that may ask at once."""
        count = count or (available_cores() if self.device.type == "cpu" else 1)
        before = torch.get_num_threads()
        try:
            with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as threads:
                yield threads
        finally:
            # It was set for the thread that asked, but for MKL, where it holds for all.
            torch.set_num_threads(before)

    def _padded(self, signals: Sequence[Signals]) -> tuple[Tensor, Tensor, dict[str, tuple[Tensor, Tensor]]]:
        """Waveforms, their lengths and all sequences, on the device."""
        streams = pad_streams(signals, self._sequences).items()
        sequences = {name: self._moved(*padded) for name, padded in streams}
        return *self._moved(*pad_rows([each.waveform for each in signals])), sequences

    def _moved(self, values: Floats, lengths: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(values).to(self.device), torch.from_numpy(lengths).to(self.device)


def _fourier(frames: Floats, size: int) -> NDArray[np.complex64]:
    found: NDArray[np.complex64] = torch.fft.rfft(torch.from_numpy(frames), n=size).numpy()
    return found


def _floats(values: Tensor) -> Floats:
    array: Floats = values.float().cpu().numpy()
    return array
