"""Which utterances are computed together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from audiornn.errors import ConfigError

MAX_BATCH_SECONDS = 320.0
"""Padded audio in one batch at 16 kHz, 20 MB of samples: long recordings go in smaller batches."""


def check_batch_size(batch_size: int) -> None:
    """Raise `ConfigError` for batches of nothing."""
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {batch_size}")


def batches_by_length(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Rows in batches of similar length, shortest first, bounded in rows and in padded samples.

    >>> list(batches_by_length([30, 10, 20], batch_size=2))
    [[1, 2], [0]]
    """
    most_samples = int(MAX_BATCH_SECONDS * 16_000)
    batch: list[int] = []
    for row in np.argsort(np.asarray(lengths, dtype=np.int64), kind="stable").tolist():
        if batch and (len(batch) == batch_size or (len(batch) + 1) * lengths[row] > most_samples):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
