"""What runs a network: PyTorch or onnxruntime. Both hear the same signals, and answer in NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from audiornn.inputs import StreamConfig
from audiornn.sequences import Signals, pad_rows

Floats = NDArray[np.float32]

TORCH, ONNX = ENGINES = ("torch", "onnx")


class Answer(NamedTuple):
    """What a network says of a batch."""

    logits: Floats
    """``(batch, outputs)``, before any temperature and softmax, of all tasks side by side."""
    embeddings: Floats
    """``(batch, embedding_size)``."""
    frame_logits: Floats | None = None
    """``(batch, frames, frame_outputs)``; None for a network without."""
    frame_lengths: NDArray[np.int64] | None = None
    """``(batch,)``, valid frames."""
    features: Floats | None = None
    """``(batch, frames, features)`` that entered the encoder; None where no frame has outputs."""
    missing: NDArray[np.bool_] | None = None
    """``(batch, frames)``, frames of which nothing was heard; None = none."""


class Attention(NamedTuple):
    """What the pooling of a network listens to."""

    times: NDArray[np.float64]
    """Middles of the frames, ``(frames,)`` s from the start."""
    shares: Floats
    """``(frames,)``, mean over heads; they sum to 1."""


Fourier = Callable[[Floats, int], NDArray[np.complexfloating[Any, Any]]]
"""Transform of real frames ``(..., samples)``, padded with zeros to a size -> ``(..., size // 2 + 1)``."""


class StreamingForm(NamedTuple):
    """What it takes to run a network step by step, beside its settings: see `audiornn.streaming.core`."""

    weights: Mapping[str, Floats]
    """All of them, by their names in ``model.safetensors``."""
    fourier: Fourier
    """Numbers as close as can be to those of the engine: a pure tone has bands that hold nothing but its rounding."""
    description: str
    """What runs it, in words."""


class Engine(Protocol):
    """A network that answers."""

    name: str
    """``torch`` or ``onnx``."""
    embedding_size: int

    @property
    def description(self) -> str:
        """Library and device in words."""
        ...

    def answer(self, signals: Sequence[Signals]) -> Answer:
        """Of one batch of signals at the model's rate, at least one."""
        ...

    def attention(self, signals: Signals) -> Attention | None:
        """What is listened to of one recording; None where that can't be told."""
        ...

    def streaming_form(self) -> StreamingForm:
        """Of a network that can stream from its states.

        Raises:
            ConfigError: an exported file without it.
        """
        ...

    def callers(self, count: int | None = None) -> AbstractContextManager[Executor]:
        """Threads that may ask at once: several batches on a core each are done sooner than one after the other on all.

        Args:
            count: how many; None = as many as there are cores, where those do the work.
        """
        ...


def pad_streams(
    signals: Sequence[Signals], streams: Mapping[str, StreamConfig]
) -> dict[str, tuple[Floats, NDArray[np.int64]]]:
    """The sequences of a batch by name, padded; a signal without one has no frame of it.

    Shape:
        -> float32 ``(batch, longest, features)`` and int64 lengths ``(batch,)`` each.
    """
    padded = {}
    for name, stream in streams.items():
        none = np.zeros((0, stream.num_features), dtype=np.float32)
        padded[name] = pad_rows([each.sequences.get(name, none) for each in signals], (stream.num_features,))
    return padded
