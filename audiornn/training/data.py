"""Batches of variable-length utterances from a prepared store."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from audiornn.audio.recording import filled
from audiornn.errors import ConfigError, lacks_memory
from audiornn.objectives import Objective
from audiornn.sequences import pad_rows
from audiornn.splits import hash_order
from audiornn.stopping import interrupts_held_back, stop_if_asked
from audiornn.store import Store


@dataclass(frozen=True, kw_only=True)
class LoaderConfig:
    """How batches are made."""

    batch_size: int = 64
    """Utterances per optimiser step and device."""
    global_batch_size: int = 0
    """Utterances per optimiser step over all devices, in place of ``batch_size``: a run on other devices then is the
    same run, but for dither, and for partners of ``mixup`` and of made unknown words, which lie on one device; 0 =
    ``batch_size`` of them per device."""
    eval_batch_size: int = 256
    """Utterances per batch where nothing is trained."""
    bucket_batches: int = 20
    """Batches are cut from length-sorted pools of this many batches; 1 = no bucketing."""
    balance: float = 0.0
    """How far training utterances are drawn so that groups of them are equally frequent: a group of n utterances is
    drawn as often as ``n ** (1 - balance)`` says; 0 = each utterance once an epoch, 1 = every group equally often."""
    balance_by: str | None = None
    """Column of the groups, such as ``word``; None = the classes."""
    overfit_clips: int = 0
    """Train and validate on this many training clips only, to see that the model can learn them; 0 = off."""
    train_share: float = 1.0
    """Share of the training utterances that is used, the same of every class; others might as well not be there."""
    on_device: str = "auto"
    """``true``: the training and validation clips lie as int16 on the device, once, and a batch is a gather there;
    ``auto``: so on a GPU where they have room; ``false``. The batches are the same."""
    num_workers: int = 0
    """Loader processes; reading the store costs so little that 0 is fastest on few cores."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "eval_batch_size", "bucket_batches"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        object.__setattr__(self, "on_device", str(self.on_device).lower())  # a plain true is no text to YAML
        if self.on_device not in ("auto", "true", "false"):
            raise ConfigError(f"on_device must be auto, true or false, got {self.on_device!r}")
        if not 0 < self.train_share <= 1:
            raise ConfigError(f"train_share must be above 0 and at most 1, got {self.train_share}")
        if not 0 <= self.balance <= 1:
            raise ConfigError(f"balance must be in [0, 1], got {self.balance}")
        if self.balance_by is not None and not self.balance:
            raise ConfigError(f"balance_by={self.balance_by!r} needs balance above 0, got {self.balance}")
        for name in ("overfit_clips", "num_workers", "global_batch_size"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be at least 0, got {getattr(self, name)}")


@dataclass(kw_only=True)
class Batch:
    """Utterances padded to the longest of them."""

    waveforms: Tensor
    """float32 ``(batch, samples)``, zeros as padding, NaN where samples are missing."""
    lengths: Tensor
    """int64 ``(batch,)``, valid samples."""
    targets: dict[str, Tensor]
    """By task, ``(batch, ...)``, see `audiornn.targets.read_targets`."""
    utterances: Tensor
    """int64 ``(batch,)``, rows of the store."""
    has_gaps: bool = False
    """Whether any sample is missing."""
    counts: bool = True
    """False: here only so that every replica takes the step; neither in its loss nor in its statistics."""
    sequences: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """By name: float32 ``(batch, frames, features)``, zeros as padding, NaN where missing, and int64 ``(batch,)``."""

    def heard(self, device: torch.device | None = None) -> tuple[Tensor, Tensor, dict[str, tuple[Tensor, Tensor]]]:
        """What a network takes, on a device: waveforms, lengths, sequences."""
        sequences = {name: (values.to(device), counts.to(device)) for name, (values, counts) in self.sequences.items()}
        return self.waveforms.to(device), self.lengths.to(device), sequences


MAX_SAMPLES = 1 << 25
"""Most samples of a batch where nothing is trained, padding included, but for a single utterance: 128 MB, 35 minutes at
16 kHz."""


Targets = Mapping[str, NDArray[Any]]
"""By task, one entry per row of a store."""


class StoreDataset(Dataset[int]):
    """Row numbers of a store; the collate function reads whole batches.

    Args:
        store: prepared.
        targets: what belongs to its rows.
    """

    def __init__(self, store: Store, targets: Targets) -> None:
        self.store = store
        self.targets = targets

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> int:
        return index

    def collate(self, indices: list[int]) -> Batch:
        """Read and pad a batch; of a row that does not count, ``~row`` is asked for."""
        rows = np.asarray(indices, dtype=np.int64)
        counts = bool(rows[0] >= 0)
        if not counts:
            rows = ~rows
            indices = rows.tolist()
        lengths = self.store.num_samples[rows] if self.store.reads_audio else np.zeros(len(rows), dtype=np.int64)
        waveforms = torch.zeros(len(rows), int(lengths.max()))
        has_gaps = False
        for row, index, length in zip(waveforms.numpy(), indices, lengths, strict=True):
            np.multiply(self.store.waveform(index), np.float32(1 / 32768), out=row[:length], casting="unsafe")
            gaps = self.store.gaps(index)
            filled(row, gaps, np.nan)
            has_gaps = has_gaps or len(gaps) > 0
        return Batch(
            waveforms=waveforms,
            lengths=torch.from_numpy(lengths.copy()),
            targets={name: torch.from_numpy(values[rows]) for name, values in self.targets.items()},
            utterances=torch.from_numpy(rows),
            has_gaps=has_gaps,
            counts=counts,
            sequences={
                name: _tensors(*pad_rows([self.store.sequence(index, name) for index in indices], (size,)))
                for name, size in self.store.sequence_sizes.items()
            },
        )


def _tensors(values: NDArray[np.float32], lengths: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(values), torch.from_numpy(lengths)


class BucketBatchSampler:
    """Shuffled batches of utterances of similar length.

    The order depends on ``(seed, epoch)`` alone. With several replicas, each takes its share of every global batch; a
    replica for which none is left gets ``~row`` of another's, which does not count.

    Args:
        indices: rows to draw from.
        lengths: samples of each of them, same order.
        batch_size: utterances per batch and replica.
        global_batch_size: utterances per batch over all replicas; 0 = ``batch_size`` of each.
        seed: of the run.
        bucket_batches: pool size in batches; 1 = no bucketing.
        shares: how often each of them is to be drawn, in proportion to the others; None = each once.
        rank, num_replicas: this process among the distributed ones.
    """

    def __init__(
        self,
        indices: NDArray[np.int64],
        lengths: NDArray[np.int64],
        batch_size: int,
        *,
        seed: int,
        bucket_batches: int = 20,
        shares: NDArray[np.float64] | None = None,
        rank: int = 0,
        num_replicas: int = 1,
        global_batch_size: int = 0,
    ) -> None:
        self._indices = indices
        self._lengths = lengths
        self._batch_size = global_batch_size or batch_size * num_replicas
        self._seed = seed
        self._bucket_batches = bucket_batches
        self._rank, self._num_replicas = rank, num_replicas
        self._epoch = 0
        self._shares = None if shares is None else shares / shares.sum()
        # Lightning announces each epoch to `batch_sampler.sampler.set_epoch`.
        self.sampler = self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration gives."""
        self._epoch = epoch

    def __len__(self) -> int:
        return math.ceil(len(self._indices) / self._batch_size)

    def _order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        order = rng.permutation(len(self._indices))
        return order if self._shares is None else rng.permutation(order[drawn_by_shares(self._shares[order], rng)])

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self._seed, self._epoch])
        order = self._order(rng)
        pool = self._batch_size * self._bucket_batches
        batches: list[NDArray[np.int64]] = []
        for start in range(0, len(order), pool):
            chunk = order[start : start + pool]
            chunk = chunk[np.argsort(self._lengths[chunk], kind="stable")]
            batches += [chunk[at : at + self._batch_size] for at in range(0, len(chunk), self._batch_size)]
        for which in rng.permutation(len(batches)):
            batch = self._indices[batches[which]]
            share = batch[self._rank :: self._num_replicas]
            yield (share if len(share) else ~batch[:1]).tolist()


def drawn_by_shares(shares: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """As many places as there are shares, each as often as its share says, to the next whole number above or below.

    Systematic sampling: with replacement, a third of what is to be drawn once would not be drawn at all.

    Shape: sum 1, ``(count,)`` -> ``(count,)``.
    """
    count = len(shares)
    return np.minimum(np.searchsorted(shares.cumsum(), (np.arange(count) + rng.random()) / count), count - 1)


def balanced_shares(groups: NDArray[Any], balance: float) -> NDArray[np.float64]:
    """How often rows are to be drawn, see `LoaderConfig.balance`.

    >>> balanced_shares(np.array([0, 0, 0, 0, 1]), 0.5).tolist()
    [0.5, 0.5, 0.5, 0.5, 1.0]
    """
    _, places, counts = np.unique(groups, return_inverse=True, return_counts=True)
    return (counts.astype(np.float64) ** -balance)[places]


def training_loader(
    store: Store,
    config: LoaderConfig,
    targets: Targets,
    *,
    seed: int,
    groups: NDArray[Any] | None = None,
    rank: int = 0,
    num_replicas: int = 1,
) -> DataLoader[Batch]:
    """Shuffled, length-bucketed batches of the training split; see `training_batches` for the other arguments.

    Args:
        targets: of every row of the store.
    """
    batches = training_batches(store, config, seed=seed, groups=groups, rank=rank, num_replicas=num_replicas)
    return _loader(store, config, targets, batches)


def training_batches(
    store: Store,
    config: LoaderConfig,
    *,
    seed: int,
    groups: NDArray[Any] | None = None,
    rank: int = 0,
    num_replicas: int = 1,
) -> BucketBatchSampler:
    """Rows of each batch of the training split.

    Args:
        store: prepared.
        config: batch sizes, buckets.
        seed: of the run.
        groups: the group of every row of the store that `LoaderConfig.balance` is about.
        rank, num_replicas: this process among the distributed ones.
    """
    indices = store.indices("train")
    return BucketBatchSampler(
        indices,
        store.num_samples[indices],
        config.batch_size,
        seed=seed,
        bucket_batches=config.bucket_batches,
        shares=None if groups is None else balanced_shares(groups[indices], config.balance),
        rank=rank,
        num_replicas=num_replicas,
        global_batch_size=config.global_batch_size,
    )


@contextlib.contextmanager
def failures_told() -> Iterator[None]:
    """What the machine refuses to training, in its network or in a process of a loader, told as a `ConfigError`."""
    try:
        yield
    except Exception as error:
        stop_if_asked()  # a signal to all processes ends those of a loader first
        if (reason := _failure(error)) is None:
            raise
        raise ConfigError(f"expected the training to go on, got {reason}; then resume it") from error


def _failure(error: Exception) -> str | None:
    """What the machine refused, and what to do; None for an error of another kind."""
    text = str(error)
    if lacks_memory(error):
        return "no memory left; set a smaller loader.batch_size, or fewer loader.num_workers"
    if text.startswith("DataLoader worker"):
        return f"a loader's process that ended ({text.strip(' .')}); set loader.num_workers=0, or free memory"
    return None


def evaluation_loader(store: Store, config: LoaderConfig, targets: Targets, split: str) -> DataLoader[Batch]:
    """Batches of a split in order of length, each utterance once; fewer to a batch when they are long."""
    return _loader(store, config, targets, evaluation_batches(store, config, split))


def evaluation_batches(store: Store, config: LoaderConfig, split: str) -> list[list[int]]:
    """Rows of each batch of `evaluation_loader`."""
    indices = store.indices(split)
    ordered = indices[np.argsort(store.num_samples[indices], kind="stable")]
    batches: list[list[int]] = []
    for row, length in zip(ordered.tolist(), store.num_samples[ordered].tolist(), strict=True):
        full = not batches or len(batches[-1]) == config.eval_batch_size
        if full or (len(batches[-1]) + 1) * length > MAX_SAMPLES:
            batches.append([])
        batches[-1].append(row)
    return batches


def _loader(
    store: Store, config: LoaderConfig, targets: Targets, batches: BucketBatchSampler | list[list[int]]
) -> DataLoader[Batch]:
    dataset = StoreDataset(store, targets)
    return _Loader(
        dataset,  # type: ignore[arg-type]  # collate turns row numbers into batches
        batch_sampler=batches,
        collate_fn=dataset.collate,
        num_workers=config.num_workers,
        persistent_workers=config.num_workers > 0,
        multiprocessing_context="spawn" if config.num_workers else None,
        pin_memory=torch.cuda.is_available(),
    )


class _Loader(DataLoader[Batch]):
    """Its processes leave Ctrl-C to this one."""

    def __iter__(self) -> Any:
        if self.num_workers == 0:
            return super().__iter__()
        resource_tracker.ensure_running()  # which would let signals through again
        with interrupts_held_back():
            return super().__iter__()


def training_share(store: Store, share: float, objective: Objective) -> Store:
    """A store with a share of the training utterances, of every class if there are any: the first by a hash of ids."""
    train = store.indices("train")
    targets = next(iter(objective.read_targets(store).values()))
    classes = targets[train] if targets.ndim == 1 and targets.dtype == np.int64 else np.zeros(len(train))
    chosen: list[int] = []
    for label in np.unique(classes):
        rows = sorted(train[classes == label].tolist(), key=lambda row: hash_order(store.utterance_ids[row], 0))
        chosen += rows[: math.ceil(round(share * len(rows), 6))]
    others = {split: store.indices(split) for split in ("validation", "test", "noise")}
    return store.with_splits({"train": sorted(chosen), **others})


def overfitting_subset(store: Store, num_clips: int) -> Store:
    """A store of a few training clips, classes in turn, that are the validation split too."""
    train = store.indices("train")
    by_class = [train[store.label_indices[train] == index] for index in np.unique(store.label_indices[train])]
    turns = [rows[turn] for turn in range(num_clips) for rows in by_class if turn < len(rows)]
    chosen = np.array(turns[:num_clips])
    return store.with_splits({"train": chosen, "validation": chosen, "noise": store.indices("noise")})
