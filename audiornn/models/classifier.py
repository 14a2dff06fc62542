"""The whole network: waveforms in, logits and embeddings out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor, nn

from audiornn.features import FeatureExtractor, FeaturesConfig
from audiornn.models.encoder import EncoderConfig, RecurrentEncoder
from audiornn.models.heads import EmbeddingLayer, HeadConfig, LinearHead
from audiornn.models.pooling import PoolingConfig, build_pooling


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


class RecurrentClassifier(nn.Module):
    """Front end, recurrent encoder, pooling, embedding, head, in one module.

    ``model(waveforms, lengths)`` gives each item the same numbers alone and in any batch (to float rounding, 1e-6),
    whatever the padding holds.

    Args:
        features: the front end.
        model: encoder, pooling and head.
        num_outputs: classes.
    """

    def __init__(self, features: FeaturesConfig, model: ModelConfig, num_outputs: int) -> None:
        super().__init__()
        self.features = FeatureExtractor(features)
        self.encoder = RecurrentEncoder(model.encoder, self.features.num_features)
        self.pooling = build_pooling(model.pooling, self.encoder.output_size, bidirectional=model.encoder.bidirectional)
        self.embedding = EmbeddingLayer(model.head, self.pooling.output_size)
        self.head = LinearHead(model.head, self.embedding.output_size, num_outputs)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> ClassifierOutput:
        """Shape: waveforms ``(batch, samples)`` float32 at the front end's rate, lengths ``(batch,)`` int64 counts."""
        return self.classify(*self.features(waveforms, lengths))

    def classify(self, features: Tensor, frame_lengths: Tensor) -> ClassifierOutput:
        """Shape: features ``(batch, frames, features)``, frame_lengths ``(batch,)`` int64 counts."""
        frames, frame_lengths = self.encoder(features, frame_lengths)
        embedding = self.embedding(self.pooling(frames, frame_lengths))
        return ClassifierOutput(self.head(embedding), embedding)
