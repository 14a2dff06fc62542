"""What was decoded, in Arrow files of a prepared corpus: samples, gaps, faults, and the frames of sequences."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from audiornn.audio import Faults, Recording

SEQUENCE_PREFIX = "sequence "
"""Before the names of the sequences, whose frames stand one after the other."""

# Of a record batch: what the processor's cache holds is written before it has to be fetched again.
_BATCH_ROWS, _BATCH_SAMPLES = 1024, 1 << 20
_NO_FRAMES = np.zeros(0, dtype=np.float32)


class Heard(NamedTuple):
    """A recording as it is stored, what was wrong with it as it came, and its sequences."""

    recording: Recording
    faults: Faults
    sequences: dict[str, NDArray[np.float32]]
    num_samples: int
    """How long all of it is, at the sample rate."""


class ChecksummedFile:
    """A new file, written from its beginning to its end, and the sum of what was written."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self.num_bytes = 0
        self.crc32 = 0

    @property
    def closed(self) -> bool:
        return self._file.closed

    def write(self, data: Any) -> None:
        view = memoryview(data).cast("B")
        self._file.write(view)
        self.num_bytes += len(view)
        self.crc32 = zlib.crc32(view, self.crc32)

    def flush(self) -> None:
        self._file.flush()

    def tell(self) -> int:
        return self.num_bytes

    def close(self) -> None:
        self._file.close()


class SamplesWriter:
    """Recordings to an Arrow file, in record batches of bounded size; no file where none is added.

    Args:
        path: of the file.
        sequences: names of the sequences that recordings may have.
    """

    def __init__(self, path: Path, sequences: Sequence[str] = ()) -> None:
        import pyarrow as pa

        self._pa = pa
        self._path = path
        self._sequences = sequences
        self._schema = pa.schema(
            {
                "num_samples": pa.int64(),
                "gaps": pa.list_(pa.int64()),
                **{name: pa.float64() if name == "dc_offset" else pa.int64() for name in Faults._fields},
                **{SEQUENCE_PREFIX + name: pa.large_list(pa.float32()) for name in sequences},
                "waveform": pa.large_list(pa.int16()),
            }
        )
        self._file: ChecksummedFile | None = None
        self._writer: Any = None
        self._heard: list[Heard] = []
        self._buffer = np.empty(_BATCH_SAMPLES, dtype=np.int16)
        self._held = 0
        self._values = 0
        self.num_samples = 0
        """Of all recordings."""

    @property
    def num_bytes(self) -> int:
        """Of the whole file once it is closed; 0 where there is none."""
        return self._file.num_bytes if self._file else 0

    @property
    def crc32(self) -> int:
        return self._file.crc32 if self._file else 0

    def __enter__(self) -> SamplesWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._flush()
                if self._writer is not None:
                    self._writer.close()
        finally:
            if self._file is not None:
                self._file.close()

    def add(self, heard: Heard) -> None:
        samples = heard.recording.samples
        if self._held + samples.size > _BATCH_SAMPLES:
            self._flush()
        if samples.size <= _BATCH_SAMPLES:
            # Copied at once: the recording's memory is still in the cache, and the next one may have it.
            held = self._buffer[self._held : self._held + samples.size]
            held[...] = samples
            heard = heard._replace(recording=Recording(held, heard.recording.gaps))
        self._heard.append(heard)
        self.num_samples += heard.num_samples
        self._held += samples.size
        self._values += sum(values.size for values in heard.sequences.values())
        if max(self._held, self._values) >= _BATCH_SAMPLES or len(self._heard) >= _BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        if not self._heard:
            return
        pa, heard = self._pa, self._heard
        if self._file is None:
            self._file = ChecksummedFile(self._path)
            self._writer = pa.ipc.new_file(self._file, self._schema)
        waveforms = [each.recording.samples for each in heard]
        samples = waveforms[0] if len(heard) == 1 else self._buffer[: self._held]
        gaps = [each.recording.gaps.reshape(-1) for each in heard]
        columns = [
            pa.array([each.num_samples for each in heard], pa.int64()),
            pa.ListArray.from_arrays(_offsets(gaps, np.int32), pa.array(np.concatenate(gaps))),
            *(
                pa.array(values, kind)
                for values, kind in zip(
                    zip(*(each.faults for each in heard), strict=True), self._schema.types[2:], strict=False
                )
            ),
        ]
        for name in self._sequences:
            frames = [each.sequences.get(name, _NO_FRAMES).reshape(-1) for each in heard]
            columns.append(pa.LargeListArray.from_arrays(_offsets(frames, np.int64), pa.array(np.concatenate(frames))))
        columns.append(pa.LargeListArray.from_arrays(_offsets(waveforms, np.int64), pa.array(samples)))
        self._writer.write_batch(pa.record_batch(columns, schema=self._schema))
        self._heard, self._held, self._values = [], 0, 0


def _offsets(values: Sequence[NDArray[Any]], kind: type[np.signedinteger[Any]]) -> NDArray[Any]:
    offsets = np.zeros(len(values) + 1, dtype=kind)
    np.cumsum([each.size for each in values], out=offsets[1:])
    return offsets
