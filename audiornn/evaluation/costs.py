"""What a model costs where it is used: parameters, operations, time, memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from audiornn.errors import ModelError
from audiornn.machine import peak_memory, processor
from audiornn.workers import available_cores

if TYPE_CHECKING:
    from audiornn.inference import Classifier
    from audiornn.spec import ModelSpec
    from audiornn.store import Store

_MOST_AUDIO = 600.0
"""Seconds that are answered at once."""
_WARM_UPS, _MOST_TIMES, _MOST_SECONDS = 2, 30, 1.5


@dataclass(frozen=True, kw_only=True)
class ModelCost:
    """Measured on one machine, which does other things too: compare what was measured side by side."""

    parameters: int | None
    """None where there is no torch."""
    operations_per_second: dict[str, int] | None
    """Multiply-accumulates per second of audio, by part, see `audiornn.models.operations.count_operations`; None where
    they can't be counted: without torch, or with layers that it does not know."""
    clip_seconds: float
    """Length of the clip that ``latency_ms`` is of: the median of those that were evaluated."""
    latency_ms: float
    """To answer one clip by itself, the median."""
    latency_ms_slowest: float
    """Of as many tries."""
    tries: int
    batch_size: int
    """Clips that ``audio_per_second`` is of."""
    audio_per_second: float
    """Seconds of audio answered in a second, in batches."""
    peak_bytes: int | None
    """Most memory that the process has had, libraries and recordings included; None where that can't be told."""
    engine: str
    """Library and device."""
    machine: str

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def rows(self) -> list[tuple[str, str, str]]:
        """Name, figure and what it is of, in words."""
        found = [] if self.parameters is None else [("parameters", f"{self.parameters:,}", "")]
        if self.operations_per_second is not None:
            total = sum(self.operations_per_second.values())
            parts = ", ".join(f"{part} {count / 1e6:.3g}" for part, count in self.operations_per_second.items())
            found.append(("multiply-accumulates per second of audio", f"{total / 1e6:.3g} million", parts))
        found += [
            (
                "latency",
                f"{self.latency_ms:.3g} ms",
                f"for a clip of {self.clip_seconds:.3g} s by itself, median of {self.tries}, slowest "
                f"{self.latency_ms_slowest:.3g} ms",
            ),
            ("throughput", f"{self.audio_per_second:,.0f} s/s", f"of audio, {self.batch_size:,} clips at once"),
        ]
        if self.peak_bytes is not None:
            found.append(("peak memory", f"{self.peak_bytes / 2**20:,.0f} MiB", "of the process"))
        return found

    def lines(self) -> list[str]:
        """In words, for the terminal."""
        rows = [f"  {name}: {figure}{f' ({about})' if about else ''}" for name, figure, about in self.rows()]
        return [f"speed and size, {self.engine} on {self.machine}:", *rows]


def measure_cost(classifier: Classifier, store: Store, rows: NDArray[np.int64], *, batch_size: int = 256) -> ModelCost:
    """Time a model on some rows of a prepared corpus; takes some seconds.

    Args:
        classifier: the model.
        store: the corpus.
        rows: at least one; of long ones fewer are taken at once.
        batch_size: clips at once.
    """
    durations = store.num_samples[rows] / store.sample_rate
    middle = int(rows[np.argsort(durations, kind="stable")[len(rows) // 2]])
    one = [store.signals(middle)]
    chosen = rows[np.linspace(0, len(rows) - 1, min(batch_size, len(rows))).round().astype(np.int64)]
    while len(chosen) > 1 and store.num_samples[chosen].sum() > _MOST_AUDIO * store.sample_rate:
        chosen = chosen[: len(chosen) // 2]
    many = [store.signals(row) for row in chosen.tolist()]
    parameters, operations = _size(classifier.spec)
    alone = _seconds(lambda: classifier.run(one))
    together = _seconds(lambda: classifier.run(many, batch_size=batch_size))
    return ModelCost(
        parameters=parameters,
        operations_per_second=operations,
        clip_seconds=one[0].seconds,
        latency_ms=1000 * statistics.median(alone),
        latency_ms_slowest=1000 * max(alone),
        tries=len(alone),
        batch_size=len(many),
        audio_per_second=sum(each.seconds for each in many) / statistics.median(together),
        peak_bytes=peak_memory(),
        engine=classifier.engine.description,
        machine=f"{processor()}, {available_cores()} cores, {_threads(classifier)} threads",
    )


def _seconds(run: Callable[[], object]) -> Sequence[float]:
    """Of some runs, after those that warm up."""
    for _ in range(_WARM_UPS):
        run()
    found: list[float] = []
    while not found or (len(found) < _MOST_TIMES and sum(found) < _MOST_SECONDS):
        started = time.perf_counter()
        run()
        found.append(time.perf_counter() - started)
    return found


def _size(spec: ModelSpec) -> tuple[int | None, dict[str, int] | None]:
    """Parameters and operations."""
    try:
        from audiornn.checkpoint import build_model
        from audiornn.models.operations import count_operations
    except ModuleNotFoundError:  # an exported model needs no torch
        return None, None
    network = build_model(spec)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    try:
        return parameters, count_operations(network)
    except ModelError:
        return parameters, None


def _threads(classifier: Classifier) -> int:
    if classifier.engine.name != "torch":
        return available_cores()
    import torch

    return torch.get_num_threads()
