"""ESC-50: environmental sounds, five official folds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from audiornn.corpora.contents import check_present, read_table, whole_recording
from audiornn.corpora.public import FoldedCorpus
from audiornn.downloads import Archive, Source
from audiornn.errors import CorpusError
from audiornn.manifest import Utterance

_TABLE = "meta/esc50.csv"
_COMMIT = "33c8ce9eb2cf0b1c2f8bcf322eb349b6be34dbb6"


@dataclass(frozen=True, kw_only=True)
class Esc50(FoldedCorpus):
    """2,000 clips of 5 s, 44.1 kHz, 40 of each of 50 classes, in folds that keep clips of one source together.

    Columns: ``esc10``, True or False, and ``src_file``, the source on Freesound. Four sources are in two folds.
    """

    name: str = "esc50"
    esc10: bool = False
    """Only the ten classes of ESC-10."""

    HOME: ClassVar[str] = "https://github.com/karolpiczak/ESC-50"
    FOLDERS: ClassVar[tuple[str, ...]] = ("ESC-50", "ESC-50-master")
    ARCHIVES: ClassVar[tuple[Archive, ...]] = (
        Archive(
            source=Source(file_name=f"ESC-50-{_COMMIT}.zip", urls=(f"{HOME}/archive/{_COMMIT}.zip",), page=HOME),
            strip=1,
            holds=(_TABLE, "audio/*.wav"),
        ),
    )

    def fold_sizes(self) -> Mapping[int, int]:
        return dict.fromkeys((1, 2, 3, 4, 5), 80 if self.esc10 else 400)

    def rows(self, folder: Path) -> list[Utterance]:
        table = read_table(
            folder / _TABLE, ["filename", "category", "esc10", "src_file"], numbers={"fold": self.fold_sizes()}
        )
        check_present(folder, {_TABLE: [f"audio/{row['filename']}" for row in table]})
        if (classes := len({row["category"] for row in table})) != 50:
            raise CorpusError(f"expected 50 classes, got {classes} in {str(folder / _TABLE)!r}")
        return [
            whole_recording(
                folder,
                f"audio/{row['filename']}",
                row["category"],
                split=self.split_of(int(row["fold"])),
                columns={"esc10": row["esc10"], "src_file": row["src_file"]},
            )
            for row in table
            if row["esc10"] == "True" or not self.esc10
        ]
