"""What a streaming network keeps between two steps: explicit, immutable, and the same for one stream or many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn.errors import ModelError
from audiornn.inference.engines import Floats
from audiornn.streaming.saving import array_of

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Carry:
    """Frames that came in and are still needed, the same number for every stream of a batch."""

    values: Floats
    """``(batch, frames, ...)``."""
    missing: Mask | None = None
    """``(frames,)``, True where nothing is known of a frame; None = nowhere."""
    skip: int = 0
    """Frames to come that a stride passes over."""

    def extended(self, values: Floats, missing: Mask | None) -> Carry:
        """With further frames."""
        passed = min(self.skip, values.shape[1])
        if passed:
            values, missing = values[:, passed:], None if missing is None else missing[passed:]
        if self.missing is not None or missing is not None:
            missing = np.concatenate([_mask(self.missing, self.values), _mask(missing, values)])
        return Carry(np.concatenate([self.values, values], axis=1), missing, self.skip - passed)

    def dropped(self, count: int) -> Carry:
        """Without its first frames, or those that are to come."""
        kept = self.values.shape[1]
        missing = None if self.missing is None else self.missing[count:]
        if missing is not None and not missing.any():
            missing = None
        # A view would keep all of a long chunk.
        return Carry(self.values[:, count:].copy(), missing, self.skip + max(0, count - kept))


def _mask(missing: Mask | None, values: Floats) -> Mask:
    return np.zeros(values.shape[1], dtype=bool) if missing is None else missing


@dataclass(frozen=True)
class State:
    """Of a batch of streams that stand at the same point of every stride."""

    carries: tuple[Carry, ...]
    """Before the differences over frames, then before each convolution."""
    recurrent: tuple[tuple[Floats, ...], ...]
    """Of each layer, ``(batch, hidden_size)`` each."""
    pooled: tuple[NDArray[Any], ...]
    """What the pooling gave last, and its running sums, ``(batch, ...)`` each."""

    @property
    def layout(self) -> tuple[Any, ...]:
        """Streams of equal layout can be in one batch."""
        return tuple(
            (each.values.shape[1], each.skip, None if each.missing is None else tuple(each.missing.tolist()))
            for each in self.carries
        )

    def parts(self) -> list[NDArray[Any]]:
        """All arrays whose first axis are the streams, in a fixed order."""
        return (
            [each.values for each in self.carries]
            + [part for layer in self.recurrent for part in layer]
            + [*self.pooled]
        )

    def with_parts(self, parts: Sequence[NDArray[Any]]) -> State:
        """The same layout with other `parts`."""
        given = iter(parts)
        return State(
            tuple(replace(each, values=next(given)) for each in self.carries),
            tuple(tuple(next(given) for _ in layer) for layer in self.recurrent),
            tuple(next(given) for _ in self.pooled),
        )

    def row(self, index: int) -> State:
        """One stream of the batch, which does not keep the others."""
        return self.with_parts([part[index : index + 1].copy() for part in self.parts()])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """As arrays by name."""
        found = {f"part_{number}": part for number, part in enumerate(self.parts())}
        for number, carry in enumerate(self.carries):
            found[f"skip_{number}"] = np.array(carry.skip)
            if carry.missing is not None:
                found[f"missing_{number}"] = carry.missing
        return found

    def from_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> State:
        """The state that `arrays` was of; this one says what it must look like.

        Raises:
            ModelError: it is of another network, or damaged.
        """
        parts = []
        for number, own in enumerate(self.parts()):
            given = array_of(arrays, f"part_{number}", own.dtype.type, own.ndim, beside=-np.inf)
            frames = 2 if number < len(self.carries) else 1  # axes that may differ, or are 1
            if given.shape[frames:] != own.shape[frames:] or len(given) != 1:
                raise ModelError(f"expected a state of {own.shape}, got {given.shape}")
            parts.append(given)
        carries = []
        for number, values in enumerate(parts[: len(self.carries)]):
            mask = arrays.get(f"missing_{number}")
            if mask is not None and (mask.dtype != bool or mask.shape != (values.shape[1],)):
                raise ModelError(f"expected a mask of {values.shape[1]} frames, got {mask.shape} {mask.dtype}")
            skip = int(array_of(arrays, f"skip_{number}", np.int64, 0))
            carries.append(Carry(values, mask, skip))
        return replace(self, carries=tuple(carries)).with_parts(parts)


def join_states(parts: Sequence[tuple[State, int]]) -> State:
    """One batch out of streams of equal layout, each given as a batch and its place there."""
    first = parts[0][0]
    if all(state is first for state, _ in parts):
        rows = [row for _, row in parts]
        if rows == list(range(len(first.parts()[-1]))):
            return first
        return first.with_parts([part[rows] for part in first.parts()])
    columns = zip(*([part[row : row + 1] for part in state.parts()] for state, row in parts), strict=True)
    return first.with_parts([np.concatenate(column) for column in columns])
