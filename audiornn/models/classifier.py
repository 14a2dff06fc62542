"""The whole network: waveforms in, logits and embeddings out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from audiornn.features import FeatureExtractor, FeaturesConfig
from audiornn.features.joining import Origins, SequenceInput, Stream, join
from audiornn.inputs import AUDIO, Inputs, StreamConfig
from audiornn.models.config import ModelConfig
from audiornn.models.encoder import RecurrentEncoder
from audiornn.models.heads import EmbeddingLayer, LinearHead, MergedOutputs
from audiornn.models.pooling import AttentionPooling, MultiheadAttentionPooling, build_pooling
from audiornn.padding import Frames, is_captured


class ClassifierOutput(NamedTuple):
    """What the network says of a batch."""

    logits: Tensor
    """``(batch, num_outputs)``, before any softmax."""
    embedding: Tensor
    """``(batch, embedding_size)``, what the head sees, before dropout."""
    frame_logits: Tensor | None = None
    """``(batch, frames, num_frame_outputs)`` of every frame that leaves the encoder; None for a network without."""
    frame_lengths: Tensor | None = None
    """int64 ``(batch,)``, valid frames."""
    frame_times: Tensor | None = None
    """``(frames,)``, middle of each frame in seconds from the start of the clip."""
    features: Tensor | None = None
    """``(batch, frames, features)`` that entered the encoder; None where no frame has outputs."""
    frame_missing: Tensor | None = None
    """bool ``(batch, frames)``, frames of which nothing was heard; None = none, or no frame has outputs."""
    units: Tensor | None = None
    """``(batch, units)`` that `logits` were merged from; None where they were not."""


_PREFIX = "of_"
FRONT_END_PARTS = ("features.", "streams.")
"""Beginnings of the names of what frames are made with."""

PaddedSequences = tuple[Tensor, Tensor]
"""``(batch, frames, features)`` and int64 ``(batch,)``."""


class StreamProjections(nn.Module):
    """A linear map for each of several streams that stand side by side; without a constant, so that 0 stays 0.

    Args:
        sizes: features of each, by name.
        size: units that each is mapped to.
    """

    def __init__(self, sizes: Mapping[str, int], size: int) -> None:
        super().__init__()
        self._sizes = list(sizes.values())
        self.linears = nn.ModuleDict(
            {f"{_PREFIX}{name}": nn.Linear(own, size, bias=False) for name, own in sizes.items()}
        )
        self.output_size = len(sizes) * size

    def forward(self, x: Tensor) -> Tensor:
        """Shape: ``(batch, frames, sum of sizes)`` -> ``(batch, frames, output_size)``."""
        parts = torch.split(x, self._sizes, dim=2)
        return torch.cat([linear(part) for linear, part in zip(self.linears.values(), parts, strict=True)], dim=2)


class RecurrentClassifier(nn.Module):
    """Front end, recurrent encoder, pooling, embedding, head, in one module.

    ``model(waveforms, lengths)`` gives each item the same numbers alone and in any batch (to float rounding, 1e-6),
    whatever the padding holds. Samples that are NaN are missing: the frames that they touch are left out.

    Args:
        features: the front end.
        model: encoder, pooling and head.
        num_units: of the last layer, for the utterance: the outputs of all tasks together, or what these are made of.
        num_frame_outputs: of all tasks together, for every frame.
        streams: further inputs by name, with the sizes of their frames.
        merged: the units that each output is made of, ``(outputs, most)`` as of `audiornn.tasks.units_table`; None =
            each output is one.
    """

    def __init__(
        self,
        features: FeaturesConfig,
        model: ModelConfig,
        num_units: int,
        num_frame_outputs: int = 0,
        streams: Mapping[str, StreamConfig] | None = None,
        *,
        merged: NDArray[np.int64] | None = None,
    ) -> None:
        super().__init__()
        self.inputs = Inputs(features=features, streams=streams or {})
        self.features = FeatureExtractor(features)
        self.streams = nn.ModuleDict()
        for name, stream in self.inputs.streams.items():
            # With a prefix: a module can't be called like a method of the dictionary.
            part = (
                FeatureExtractor(stream.features)
                if stream.kind == AUDIO
                else SequenceInput(stream.num_features, normalise=stream.normalise)
            )
            self.streams[f"{_PREFIX}{name}"] = part
        sizes = self.inputs.sizes
        self.projections = StreamProjections(sizes, model.projection) if len(sizes) > 1 else None
        num_features = sum(sizes.values()) if self.projections is None else self.projections.output_size
        self.encoder = RecurrentEncoder(model.encoder, num_features)
        self.pooling = build_pooling(model.pooling, self.encoder.output_size, bidirectional=model.encoder.bidirectional)
        self.embedding = EmbeddingLayer(model.head, self.pooling.output_size)
        self.head = LinearHead(model.head, self.embedding.output_size, num_units) if num_units else None
        self.merged = None if merged is None else MergedOutputs(torch.from_numpy(merged))
        self.frame_head = nn.Linear(self.encoder.output_size, num_frame_outputs) if num_frame_outputs else None

    def forward(
        self,
        waveforms: Tensor,
        lengths: Tensor,
        sequences: Mapping[str, PaddedSequences] | None = None,
        *,
        has_gaps: bool | None = None,
    ) -> ClassifierOutput:
        """Shape: waveforms ``(batch, samples)`` float32 at the front end's rate, lengths ``(batch,)`` int64 counts.

        ``sequences`` has, by name, ``(batch, frames, features)`` and counts ``(batch,)``, NaN where missing.
        """
        return self.classify(self.frames(waveforms, lengths, sequences, has_gaps=has_gaps))

    def stream_inputs(self) -> Iterator[tuple[str, FeatureExtractor | SequenceInput]]:
        """The front ends of the streams, by name."""
        for name, part in self.streams.items():
            assert isinstance(part, FeatureExtractor | SequenceInput)
            yield name.removeprefix(_PREFIX), part

    def frames(
        self,
        waveforms: Tensor,
        lengths: Tensor,
        sequences: Mapping[str, PaddedSequences] | None = None,
        *,
        origins: Origins | None = None,
        has_gaps: bool | None = None,
    ) -> Frames:
        """Normalised frames of all inputs side by side, see `audiornn.features.joining.join`.

        Args:
            waveforms, lengths, sequences: as in `forward`.
            origins: where each moment of augmented audio was in the recording, whose clock the sequences keep.
            has_gaps: see `FeatureExtractor.frames`.
        """
        if not self.streams:
            return self.features.frames(waveforms, lengths, has_gaps=has_gaps)
        parts: list[Stream] = []
        if self.inputs.reads_audio:
            parts.append(Stream(self.features.frames(waveforms, lengths, has_gaps=has_gaps), self.inputs.clock))
        for name, module in self.stream_inputs():
            clock = self.inputs.streams[name].clock
            if isinstance(module, FeatureExtractor):
                parts.append(Stream(module.frames(waveforms, lengths, has_gaps=has_gaps), clock))
                continue
            given = (sequences or {}).get(name)
            if given is None:
                given = (waveforms.new_zeros(lengths.shape[0], 0, module.num_features), torch.zeros_like(lengths))
            parts.append(Stream(module.frames(*given), clock, origins))
        joined = join(parts)
        assert joined.missing is not None
        spared = joined.values.device.type == "cpu" and not is_captured() and not bool(joined.missing.any())
        return joined._replace(missing=None) if spared else joined

    def classify(self, frames: Frames) -> ClassifierOutput:
        """What follows the front end."""
        x, lengths, missing = self._encoded(frames)
        embedding = self.embedding(self.pooling(x, lengths, missing))
        logits = embedding.new_zeros(embedding.shape[0], 0) if self.head is None else self.head(embedding)
        units = None
        if self.merged is not None:
            units, logits = logits, self.merged(logits)
        if self.frame_head is None:
            return ClassifierOutput(logits, embedding, units=units)
        return ClassifierOutput(
            logits, embedding, self.frame_head(x), lengths, self.frame_times(x), frames.values, missing, units
        )

    def attention(self, frames: Frames) -> tuple[Tensor, Tensor] | None:
        """Middles of the frames that leave the encoder, and the share that each has in what is pooled, mean over heads.

        None for a pooling without attention.

        Shape: -> float64 ``(frames,)`` s, and ``(batch, frames)``, which sums to 1 over the valid frames.
        """
        if not isinstance(self.pooling, AttentionPooling | MultiheadAttentionPooling):
            return None
        x, lengths, missing = self._encoded(frames)
        return self.frame_times(x), self.pooling.weights(x, lengths, missing).mean(dim=2)

    def _encoded(self, frames: Frames) -> Frames:
        values = frames.values if self.projections is None else self.projections(frames.values)
        encoded: Frames = self.encoder(values, frames.lengths, frames.missing)
        return encoded

    def frame_times(self, frames: Tensor) -> Tensor:
        """Middle of each frame that leaves the encoder. Shape: ``(batch, frames, ...)`` -> float64 ``(frames,)``, s."""
        clock = self.inputs.clock
        positions = torch.arange(frames.shape[1], device=frames.device, dtype=torch.float64)
        return clock.first_seconds + positions * (self.encoder.frame_stride / clock.frame_rate)
