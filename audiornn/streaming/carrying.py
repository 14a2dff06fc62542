"""What a streaming network keeps between two steps: explicit, immutable, and the same for one stream or many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiornn.errors import ModelError


@dataclass(frozen=True)
class Carry:
    """Frames that came in and are still needed, the same number for every stream of a batch."""

    values: Tensor
    """``(batch, frames, ...)``."""
    missing: Tensor | None = None
    """bool ``(frames,)``, True where nothing is known of a frame; None = nowhere."""
    skip: int = 0
    """Frames to come that a stride passes over."""

    def extended(self, values: Tensor, missing: Tensor | None) -> Carry:
        """With further frames."""
        if self.skip:
            passed = min(self.skip, values.shape[1])
            values, missing = values[:, passed:], None if missing is None else missing[passed:]
            rest = replace(self, skip=self.skip - passed)
            return rest.extended(values, missing)
        if self.missing is not None or missing is not None:
            missing = torch.cat([_mask(self.missing, self.values), _mask(missing, values)])
        return Carry(torch.cat([self.values, values], dim=1), missing)

    def dropped(self, count: int) -> Carry:
        """Without its first frames, or those that are to come."""
        kept = self.values.shape[1]
        missing = None if self.missing is None else self.missing[count:]
        if missing is not None and not bool(missing.any()):
            missing = None
        return Carry(self.values[:, count:], missing, self.skip + max(0, count - kept))


def _mask(missing: Tensor | None, values: Tensor) -> Tensor:
    return torch.zeros(values.shape[1], dtype=torch.bool, device=values.device) if missing is None else missing


@dataclass(frozen=True)
class State:
    """Of a batch of streams that stand at the same point of every stride."""

    carries: tuple[Carry, ...]
    """Before the differences over frames, then before each convolution."""
    recurrent: tuple[tuple[Tensor, ...], ...]
    """Of each layer, ``(batch, hidden_size)`` each."""
    pooled: tuple[Tensor, ...]
    """Running sums of the pooling, ``(batch, ...)`` each."""

    @property
    def layout(self) -> tuple[Any, ...]:
        """Streams of equal layout can be in one batch."""
        return tuple(
            (each.values.shape[1], each.skip, None if each.missing is None else tuple(each.missing.tolist()))
            for each in self.carries
        )

    def tensors(self) -> list[Tensor]:
        """All tensors whose first axis are the streams, in a fixed order."""
        return [each.values for each in self.carries] + [t for layer in self.recurrent for t in layer] + [*self.pooled]

    def with_tensors(self, tensors: Sequence[Tensor]) -> State:
        """The same layout with other `tensors`."""
        given = iter(tensors)
        return State(
            tuple(replace(each, values=next(given)) for each in self.carries),
            tuple(tuple(next(given) for _ in layer) for layer in self.recurrent),
            tuple(next(given) for _ in self.pooled),
        )

    def row(self, index: int) -> State:
        """One stream of the batch, which does not keep the others."""
        return self.with_tensors([tensor[index : index + 1].clone() for tensor in self.tensors()])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """As arrays by name."""
        found = {f"tensor_{number}": tensor.cpu().numpy() for number, tensor in enumerate(self.tensors())}
        for number, carry in enumerate(self.carries):
            found[f"skip_{number}"] = np.array(carry.skip)
            if carry.missing is not None:
                found[f"missing_{number}"] = carry.missing.cpu().numpy()
        return found

    def from_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> State:
        """The state that `arrays` was of; this one says what it must look like.

        Raises:
            ModelError: it is of another network.
        """
        tensors = []
        for number, own in enumerate(self.tensors()):
            array = arrays[f"tensor_{number}"]
            given = torch.from_numpy(np.array(array)).to(own.device)
            frames = 2 if number < len(self.carries) else 1  # axes that may differ, or are 1
            if given.dtype != own.dtype or given.shape[frames:] != own.shape[frames:] or len(given) != 1:
                raise ModelError(f"expected a state of {tuple(own.shape)} {own.dtype}, got {array.shape} {array.dtype}")
            tensors.append(given)
        carries = []
        for number, values in enumerate(tensors[: len(self.carries)]):
            mask = arrays.get(f"missing_{number}")
            if mask is not None and (mask.dtype != bool or mask.shape != (values.shape[1],)):
                raise ModelError(f"expected a mask of {values.shape[1]} frames, got {mask.shape} {mask.dtype}")
            missing = None if mask is None else torch.from_numpy(np.array(mask)).to(values.device)
            carries.append(Carry(values, missing, int(arrays[f"skip_{number}"])))
        return replace(self, carries=tuple(carries)).with_tensors(tensors)


def join_states(parts: Sequence[tuple[State, int]]) -> State:
    """One batch out of streams of equal layout, each given as a batch and its place there."""
    first = parts[0][0]
    if all(state is first for state, _ in parts):
        rows = [row for _, row in parts]
        if rows == list(range(len(first.tensors()[-1]))):
            return first
        index = torch.tensor(rows, device=first.tensors()[-1].device)
        return first.with_tensors([tensor.index_select(0, index) for tensor in first.tensors()])
    columns = zip(*([tensor[row : row + 1] for tensor in state.tensors()] for state, row in parts), strict=True)
    return first.with_tensors([torch.cat(column) for column in columns])
