"""A corpus of tones and chirps that a small model learns in seconds, on disk as class folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from signals import chirp, noise, tone, write_wav

from audiornn.features.config import FeaturesConfig
from audiornn.models.config import EncoderConfig, HeadConfig, ModelConfig, PoolingConfig

TINY_FEATURES = FeaturesConfig(n_mels=20, n_mfcc=12)
TINY_MODEL = ModelConfig(
    encoder=EncoderConfig(cell="gru", hidden_size=8, num_layers=1),
    pooling=PoolingConfig(kind="mean"),
    head=HeadConfig(embedding_size=6),
)

# The same as overrides of the command line: a network that trains in a second.
TINY_OVERRIDES = (
    "features=mfcc",
    "features.n_mels=20",
    "features.n_mfcc=12",
    "model=gru",
    "model.encoder.hidden_size=8",
    "model.encoder.num_layers=1",
    "loader.batch_size=8",
    "trainer.max_epochs=2",
    "trainer.accelerator=cpu",
)


def write_clip(path: Path, label: str, index: int, sample_rate: int = 16_000) -> Path:
    """One clip of a class, 0.2 to 0.5 s, different for each index."""
    rng = np.random.default_rng([index, *label.encode()])
    seconds = rng.uniform(0.2, 0.5)
    pitch = rng.uniform(300, 400)
    waveforms = {
        "high": lambda: tone(6 * pitch, seconds, sample_rate=sample_rate),
        "low": lambda: tone(pitch, seconds, sample_rate=sample_rate),
        "rise": lambda: chirp(pitch, 8 * pitch, seconds, sample_rate=sample_rate),
    }
    waveform = waveforms[label]()
    return write_wav(path, waveform + noise(len(waveform), seed=index, amplitude=0.01), sample_rate)


def write_corpus(folder: Path, *, clips: int = 12, labels: tuple[str, ...] = ("high", "low", "rise")) -> Path:
    """``folder/<label>/<index>.wav``"""
    for label in labels:
        for index in range(clips):
            write_clip(folder / label / f"{index:02d}.wav", label, index)
    return folder
