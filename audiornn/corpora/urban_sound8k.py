"""UrbanSound8K: sounds of the city, ten official folds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from audiornn.corpora.contents import check_present, read_table, whole_recording
from audiornn.corpora.public import FoldedCorpus
from audiornn.downloads import Archive, Source
from audiornn.manifest import Utterance

_TABLE = "metadata/UrbanSound8K.csv"
_COLUMNS = ("salience", "fsID", "classID")


@dataclass(frozen=True, kw_only=True)
class UrbanSound8k(FoldedCorpus):
    """8,732 clips of up to 4 s of ten classes, with the rate, depth and channels of what was sent to Freesound.

    The folds keep the clips of one source together; others make results that can't be compared, and are too good.
    Columns: ``salience``, 1 in the foreground, 2 in the background; ``fsID``, the source on Freesound; ``classID``.
    """

    name: str = "urban_sound8k"

    HOME: ClassVar[str] = "https://urbansounddataset.weebly.com/urbansound8k.html"
    FOLDERS: ClassVar[tuple[str, ...]] = ("UrbanSound8K",)
    ARCHIVES: ClassVar[tuple[Archive, ...]] = (
        Archive(
            source=Source(
                file_name="UrbanSound8K.tar.gz",
                urls=("https://zenodo.org/records/1203745/files/UrbanSound8K.tar.gz?download=1",),
                page=HOME,
                num_bytes=6_023_741_708,
                md5="9aa69802bbf37fb986f71ec1483a196e",
            ),
            strip=1,
        ),
    )

    def fold_sizes(self) -> Mapping[int, int]:
        return dict(enumerate((873, 888, 925, 990, 936, 823, 838, 806, 816, 837), start=1))

    def expected_values(self) -> Mapping[str, Iterable[str]]:
        return {"classID": map(str, range(10))}

    def rows(self, folder: Path) -> list[Utterance]:
        folds = {"fold": self.fold_sizes()}
        table = read_table(folder / _TABLE, ["slice_file_name", "class", *_COLUMNS], numbers=folds)
        names = [f"audio/fold{row['fold']}/{row['slice_file_name']}" for row in table]
        check_present(folder, {_TABLE: names})
        return [
            whole_recording(
                folder,
                name,
                row["class"],
                split=self.split_of(int(row["fold"])),
                columns={column: row[column] for column in _COLUMNS},
            )
            for name, row in zip(names, table, strict=True)
        ]
