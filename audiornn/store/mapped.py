"""Arrow files mapped into memory: nothing of them is copied before it is used, and processes share their pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from audiornn.errors import CorpusError, lacks_memory

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

    def columns(self, name: str) -> list[Any]:
        """A column of each batch.

        Raises:
            CorpusError: there is none of this name.
        """
        if self.batches and name not in self.schema.names:
            raise CorpusError(f"expected a column {name!r} in a prepared corpus, got a damaged one; prepare it again")
        return [batch.column(name) for batch in self.batches]

    def lists(self, name: str, kind: type[Number]) -> Lists[Number]:
        """A column of lists of numbers."""
        found: Lists[Number] = Lists([], [], [])
        size = np.dtype(kind).itemsize
        for column, buffer in zip(self.columns(name), self.buffers, strict=True):
            # Arrow aligns every column in a file to 8 bytes at least.
            values = np.frombuffer(buffer, dtype=kind, count=buffer.size // size)
            base = (column.values.buffers()[1].address - buffer.address) // size if len(column.values) else 0
            bounds = (base + column.offsets.to_numpy().astype(np.int64)).tolist()
            found.files.extend([values] * len(column))
            found.starts.extend(bounds[:-1])
            found.stops.extend(bounds[1:])
        return found


def map_files(paths: Sequence[Path]) -> Mapped:
    """Map Arrow files of one schema.

    Raises:
        CorpusError: one of them is damaged, as far as lengths and positions in it tell; what they lead to is not read.
    """
    import pyarrow as pa

    schema = pa.schema([])
    batches: list[Any] = []
    buffers: list[Any] = []
    for path in paths:
        try:
            with pa.memory_map(str(path)) as source:
                buffer = source.read_buffer()
            reader = pa.ipc.open_file(pa.BufferReader(buffer))
            found = [reader.get_batch(number) for number in range(reader.num_record_batches)]
            for batch in found:
                batch.validate(full=True)  # Arrow believes a file, and would read anywhere
        except (OSError, pa.ArrowException) as error:
            if isinstance(error, OSError) and lacks_memory(error):
                raise
            what = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CorpusError(f"expected a whole file at '{path}', got a damaged one ({what}); prepare again") from None
        if batches and reader.schema != schema:
            raise CorpusError(f"expected the columns of the files beside it in '{path}', got others; prepare again")
        schema = reader.schema
        batches += found
        buffers += [buffer] * len(found)
    return Mapped(schema, batches, buffers)
