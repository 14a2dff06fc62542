"""Arrow files mapped into memory: nothing of them is copied before it is used, and processes share their pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", bound=np.generic)


class Lists(NamedTuple, Generic[Number]):
    """Where the values of each row are. Plain lists: they are indexed faster than arrays."""

    files: list[NDArray[Number]]
    """All of the file that they are in."""
    starts: list[int]
    stops: list[int]


@dataclass(frozen=True)
class Mapped:
    """Arrow files that are one after the other, mapped into memory."""

    schema: Any
    batches: list[Any]
    buffers: list[Any]
    """The file that each batch is in, all of it."""

    def lists(self, name: str, kind: type[Number]) -> Lists[Number]:
        """A column of lists of numbers."""
        found: Lists[Number] = Lists([], [], [])
        size = np.dtype(kind).itemsize
        for batch, buffer in zip(self.batches, self.buffers, strict=True):
            column = batch.column(name)
            # Arrow aligns every column in a file to 8 bytes at least.
            values = np.frombuffer(buffer, dtype=kind, count=buffer.size // size)
            base = (column.values.buffers()[1].address - buffer.address) // size if len(column.values) else 0
            bounds = (base + column.offsets.to_numpy().astype(np.int64)).tolist()
            found.files.extend([values] * len(column))
            found.starts.extend(bounds[:-1])
            found.stops.extend(bounds[1:])
        return found


def map_files(paths: Sequence[Path]) -> Mapped:
    """Map Arrow files of one schema."""
    import pyarrow as pa

    schema, batches, buffers = pa.schema([]), [], []
    for path in paths:
        with pa.memory_map(str(path)) as source:
            buffer = source.read_buffer()
        reader = pa.ipc.open_file(pa.BufferReader(buffer))
        schema = reader.schema
        batches += [reader.get_batch(number) for number in range(reader.num_record_batches)]
        buffers += [buffer] * reader.num_record_batches
    return Mapped(schema, batches, buffers)
