"""A split of a store that lies on the device it is trained on: a batch is a gather there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiornn.errors import ConfigError
from audiornn.padding import lengths_to_padding_mask
from audiornn.store import Store
from audiornn.training.data import Batch, Targets

FREE_SHARE = 0.5
"""Of the device's free memory, what a corpus may take where nobody has asked for it."""


class Batches(Iterable[list[int]], Sized, Protocol):
    """Rows of each batch."""


def obstacle(store: Store, split: str) -> str | None:
    """Why a split can't lie on a device, or None."""
    if store.sequence_sizes:
        return "sequences"
    if not store.reads_audio:
        return "no audio"
    if any(len(store.gaps(row)) for row in store.indices(split).tolist()):
        return "missing samples"
    return None


def is_resident(wanted: str, store: Store, splits: Iterable[str], device: torch.device) -> bool:
    """Whether splits are to lie on a device.

    Args:
        wanted: ``true``, ``false``, or ``auto``: on a GPU, where they can and have room.

    Raises:
        ConfigError: they are to, and can't.
    """
    if wanted == "false" or (wanted == "auto" and device.type != "cuda"):
        return False
    splits = list(splits)
    found = next((what for split in splits if (what := obstacle(store, split))), None)
    if wanted == "true":
        if found:
            raise ConfigError(f"loader.on_device=true: expected clips of audio alone, got {found}; take auto or false")
        return True
    num_bytes = 2 * sum(int(store.num_samples[store.indices(split)].sum()) for split in splits)
    return found is None and num_bytes <= FREE_SHARE * torch.cuda.mem_get_info(device)[0]


class ResidentSplit:
    """The samples, lengths and targets of some rows of a store, on a device.

    Args:
        store: prepared, with audio alone in these rows.
        targets: of every row of the store.
        rows: of the store, each once.
        device: where they are to lie.
    """

    def __init__(self, store: Store, targets: Targets, rows: NDArray[np.int64], device: torch.device) -> None:
        self._sizes = store.num_samples
        self._position = np.full(len(store), -1, dtype=np.int64)
        self._position[rows] = np.arange(len(rows))
        sizes = self._sizes[rows]
        starts = np.cumsum(sizes) - sizes
        samples = np.empty(int(sizes.sum()), dtype=np.int16)
        for row, start, size in zip(rows.tolist(), starts.tolist(), sizes.tolist(), strict=True):
            samples[start : start + size] = store.waveform(row)

        def there(values: NDArray[Any]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(values)).to(device)

        self.device = device
        self._samples, self._starts, self._lengths, self._rows = map(there, (samples, starts, sizes, rows))
        self._targets = {name: there(values[rows]) for name, values in targets.items()}

    def batches(self, batches: Iterable[list[int]]) -> Iterator[Batch]:
        """What `audiornn.training.data.StoreDataset.collate` makes of each of some lists of rows, on the device.

        The rows of all of them are copied there at once: nothing waits for the device between two batches.
        """
        lists = list(batches)
        if not lists:
            return
        rows = np.array([row for batch in lists for row in batch], dtype=np.int64)
        counts = rows >= 0
        rows = np.where(counts, rows, ~rows)
        positions = torch.from_numpy(self._position[rows]).to(self.device)
        sizes = self._sizes[rows]
        start = 0
        for batch in lists:
            part = slice(start, start + len(batch))
            yield self._gathered(positions[part], int(sizes[part].max()), counts=bool(counts[start]))
            start += len(batch)

    def _gathered(self, positions: Tensor, longest: int, *, counts: bool) -> Batch:
        lengths = self._lengths[positions]
        index = self._starts[positions].unsqueeze(1) + torch.arange(longest, device=self.device)
        samples = self._samples[index.clamp_(max=len(self._samples) - 1)]
        padding = lengths_to_padding_mask(lengths, longest)
        return Batch(
            waveforms=(samples.float() * (1 / 32768)).masked_fill_(padding, 0.0),
            lengths=lengths,
            targets={name: values[positions] for name, values in self._targets.items()},
            utterances=self._rows[positions],
            counts=counts,
        )


class ResidentLoader:
    """Batches of a `ResidentSplit`, in place of a `torch.utils.data.DataLoader`.

    Args:
        split: where they come from.
        batches: their rows, anew for each epoch.
    """

    def __init__(self, split: ResidentSplit, batches: Batches) -> None:
        self.split = split
        # Under the name by which Lightning announces each epoch.
        self.batch_sampler = batches

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[Batch]:
        return self.split.batches(self.batch_sampler)
