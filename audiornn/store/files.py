"""The files of a prepared corpus: what is in which, and how they are written."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn.audio import Faults
from audiornn.manifest import Utterance
from audiornn.store.decoding import Heard

FORMAT = 3
TABLE_NAME, DESCRIPTION_NAME, REJECTED_NAME = "utterances.arrow", "store.json", "rejected.csv"
FAULTS_NAME = "faults.csv"

COLUMN_PREFIX = "column "
"""Before the names of the further columns of the utterances, which may be any."""

SEQUENCE_PREFIX = "sequence "
"""Before the names of the sequences, whose frames stand one after the other."""

_BATCH_ROWS, _BATCH_SAMPLES = 1024, 8 << 20


@dataclass(frozen=True, slots=True)
class Rejected:
    """An utterance that is not in the store, and why."""

    utterance_id: str
    path: str
    reason: str


def read_description(folder: Path) -> dict[str, Any] | None:
    """``store.json`` of a folder that is a whole store of this format, else None."""
    try:
        description = json.loads((folder / DESCRIPTION_NAME).read_text(encoding="utf-8"))
        whole = description["format"] == FORMAT and (folder / TABLE_NAME).stat().st_size == description["table_bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return description if whole else None


def read_rejected(folder: Path) -> list[Rejected]:
    with (folder / REJECTED_NAME).open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return [Rejected(**row) for row in csv.DictReader(file)]


def write_rejected(folder: Path, rejected: Iterable[Rejected]) -> None:
    with (folder / REJECTED_NAME).open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        table = csv.DictWriter(file, ["utterance_id", "path", "reason"], lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(row) for row in rejected)


def write_faults(folder: Path, faulty: Iterable[tuple[Utterance, Faults]]) -> None:
    """List the utterances that something is wrong with."""
    with (folder / FAULTS_NAME).open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        table = csv.DictWriter(file, ["utterance_id", "path", *Faults._fields], lineterminator="\n")
        table.writeheader()
        for row, faults in faulty:
            table.writerow({"utterance_id": row.utterance_id, "path": row.path, **faults._asdict()})


class TableWriter:
    """Utterances and their samples to an Arrow file, in record batches of bounded size.

    Args:
        path: of the file.
        further: names of the utterances' further columns.
        sequences: names of their sequences.
    """

    def __init__(self, path: Path, further: Sequence[str] = (), sequences: Sequence[str] = ()) -> None:
        import pyarrow as pa

        self._pa = pa
        self._further = further
        self._sequences = sequences
        text = pa.string()
        self._schema = pa.schema(
            {
                "utterance_id": text,
                "file": pa.int32(),
                "label": text,
                "split": text,
                "speaker": text,
                "start_seconds": pa.float64(),
                "end_seconds": pa.float64(),
                "num_samples": pa.int64(),
                "gaps": pa.list_(pa.int64()),
                **{name: pa.float64() if name == "dc_offset" else pa.int64() for name in Faults._fields},
                **{COLUMN_PREFIX + name: text for name in further},
                **{SEQUENCE_PREFIX + name: pa.large_list(pa.float32()) for name in sequences},
                "waveform": pa.large_list(pa.int16()),
            }
        )
        self._file = path.open("wb")
        self._writer = pa.ipc.new_file(self._file, self._schema)
        self._rows: list[tuple[Utterance, int]] = []
        self._heard: list[Heard] = []
        self._num_samples = 0

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._flush()
                self._writer.close()
                self._file.flush()
                os.fsync(self._file.fileno())
        finally:
            self._file.close()

    def add(self, row: Utterance, file_number: int, heard: Heard) -> None:
        self._rows.append((row, file_number))
        self._heard.append(heard)
        self._num_samples += heard.recording.samples.size + 2 * sum(each.size for each in heard.sequences.values())
        if len(self._rows) >= _BATCH_ROWS or self._num_samples >= _BATCH_SAMPLES:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        rows = [row for row, _ in self._rows]
        columns = [
            [row.utterance_id for row in rows],
            [number for _, number in self._rows],
            *([getattr(row, name) for row in rows] for name in self._schema.names[2:7]),
            [heard.num_samples for heard in self._heard],
            [heard.recording.gaps.reshape(-1) for heard in self._heard],
            *zip(*(heard.faults for heard in self._heard), strict=True),
            *([row.columns.get(name, "") for row in rows] for name in self._further),
        ]
        arrays = [self._pa.array(column, kind) for column, kind in zip(columns, self._schema.types, strict=False)]
        for name in self._sequences:
            empty = np.zeros(0, dtype=np.float32)
            arrays.append(self._lists([heard.sequences.get(name, empty).reshape(-1) for heard in self._heard]))
        arrays.append(self._lists([heard.recording.samples for heard in self._heard]))
        self._writer.write_batch(self._pa.record_batch(arrays, schema=self._schema))
        self._rows, self._heard, self._num_samples = [], [], 0

    def _lists(self, values: Sequence[NDArray[Any]]) -> Any:
        offsets = np.concatenate([[0], np.cumsum([each.size for each in values], dtype=np.int64)])
        return self._pa.LargeListArray.from_arrays(self._pa.array(offsets), self._pa.array(np.concatenate(values)))
