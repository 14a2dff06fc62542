"""The whole network: waveforms in, logits and embeddings out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from audiornn.features import FeatureExtractor, FeaturesConfig
from audiornn.models.encoder import EncoderConfig, RecurrentEncoder
from audiornn.models.heads import EmbeddingLayer, HeadConfig, LinearHead
from audiornn.models.pooling import PoolingConfig, build_pooling
from audiornn.padding import Frames


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Everything after the front end."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    pooling: PoolingConfig = field(default_factory=PoolingConfig)
    head: HeadConfig = field(default_factory=HeadConfig)


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


class RecurrentClassifier(nn.Module):
    """Front end, recurrent encoder, pooling, embedding, head, in one module.

    ``model(waveforms, lengths)`` gives each item the same numbers alone and in any batch (to float rounding, 1e-6),
    whatever the padding holds. Samples that are NaN are missing: the frames that they touch are left out.

    Args:
        features: the front end.
        model: encoder, pooling and head.
        num_outputs: of all tasks together, for the utterance.
        num_frame_outputs: of all tasks together, for every frame.
    """

    def __init__(
        self, features: FeaturesConfig, model: ModelConfig, num_outputs: int, num_frame_outputs: int = 0
    ) -> None:
        super().__init__()
        self.features = FeatureExtractor(features)
        self.encoder = RecurrentEncoder(model.encoder, self.features.num_features)
        self.pooling = build_pooling(model.pooling, self.encoder.output_size, bidirectional=model.encoder.bidirectional)
        self.embedding = EmbeddingLayer(model.head, self.pooling.output_size)
        self.head = LinearHead(model.head, self.embedding.output_size, num_outputs) if num_outputs else None
        self.frame_head = nn.Linear(self.encoder.output_size, num_frame_outputs) if num_frame_outputs else None

    def forward(self, waveforms: Tensor, lengths: Tensor) -> ClassifierOutput:
        """Shape: waveforms ``(batch, samples)`` float32 at the front end's rate, lengths ``(batch,)`` int64 counts."""
        return self.classify(self.features.frames(waveforms, lengths))

    def classify(self, frames: Frames) -> ClassifierOutput:
        """What follows the front end."""
        x, lengths, missing = self.encoder(*frames)
        embedding = self.embedding(self.pooling(x, lengths, missing))
        logits = embedding.new_zeros(len(embedding), 0) if self.head is None else self.head(embedding)
        if self.frame_head is None:
            return ClassifierOutput(logits, embedding)
        return ClassifierOutput(
            logits, embedding, self.frame_head(x), lengths, self.frame_times(x), frames.values, missing
        )

    def frame_times(self, frames: Tensor) -> Tensor:
        """Middle of each frame that leaves the encoder. Shape: ``(batch, frames, ...)`` -> float64 ``(frames,)``, s."""
        config = self.features.config
        first = 0 if config.center else config.win_length / 2
        step = config.hop_length * self.encoder.frame_stride
        positions = torch.arange(frames.shape[1], device=frames.device, dtype=torch.float64)
        return (first + step * positions) / config.sample_rate
