"""Utterances of the files of a folder corpus, labelled by folders, paths, label tracks or metadata files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from audiornn.corpora.folder.audiofolder import read_metadata
from audiornn.corpora.folder.label_tracks import LabelTrack, Region, as_intervals, label_track_of, read_label_track
from audiornn.corpora.folder.listing import FoundFile
from audiornn.corpora.folder.patterns import find_label
from audiornn.errors import CorpusError
from audiornn.manifest import NOISE, Utterance
from audiornn.manifest.columns import nearest_column

INTERVALS = "intervals"
"""Column that the regions of a whole recording go into, for an objective of frames."""

_Labelled = TypeVar("_Labelled", Utterance, Region)


class RowReader:
    """Makes utterances of files; what has no label is refused, or left out and noted.

    Args:
        speaker_pattern: a regular expression searched in each file's `FoundFile.place`; None = no speakers.
        labels: names of the labels that are found; empty = they are names. One that is not in it counts as none.
        skips: leave out what has no label.
    """

    def __init__(self, *, speaker_pattern: str | None, labels: Mapping[str, str], skips: bool) -> None:
        self._speaker_pattern = None if speaker_pattern is None else re.compile(speaker_pattern)
        self._labels = labels
        self._skips = skips
        self.notes: list[str] = []
        """What was left out, in words."""

    def without_labels(self, files: Sequence[FoundFile]) -> list[Utterance]:
        """An utterance for each file."""
        return [self._row(file, "") for file in files]

    def by_folder(self, files: Sequence[FoundFile]) -> list[Utterance]:
        """Labelled by the first folder below the root, or the split folder."""
        rows = []
        for file in files:
            label, in_folder, _ = file.inner.partition("/")
            if not in_folder and file.split != NOISE:
                above = file.path[: -len(file.inner) - 1]
                raise CorpusError(
                    f"expected audio in a folder per class, got {file.utterance_id!r} in none in {above!r}; "
                    "put it in one, or set data.label_pattern"
                )
            rows.append(self._row(file, label))
        return self._named(rows, _id)

    def by_pattern(self, files: Sequence[FoundFile], pattern: str) -> list[Utterance]:
        """Labelled by a regular expression searched in `FoundFile.place`."""
        labels = self._find_labels(files, pattern)
        return self._named([self._row(file, labels[file.path]) for file in files if file.path in labels], _id)

    def by_track(self, files: Sequence[FoundFile], *, whole: bool) -> list[Utterance]:
        """An utterance for each region of the label tracks beside recordings.

        With ``whole`` an utterance for each recording instead, whose regions are in the column `INTERVALS`.
        """
        clips = [file for file in files if file.split != NOISE]
        found = {file.path: label_track_of(file.path) for file in clips}
        rest = [repr(file.utterance_id) for file in clips if found[file.path] is None]
        expected = "data.annotations=none, or a label track rec.txt or rec.labels.txt beside every recording rec.wav"
        self._settle(expected, rest, len(clips))
        regions = self._usable([read_label_track(path) for path in dict.fromkeys(found.values()) if path is not None])
        rows = []
        for file in files:
            track = found.get(file.path)
            if file.split == NOISE:
                rows.append(self._row(file, ""))
            elif track is not None and whole:
                rows.append(replace(self._row(file, ""), columns={INTERVALS: as_intervals(regions[track])}))
            elif track is not None:
                rows += [self._segment(file, region) for region in regions[track]]
        return rows

    def by_metadata(
        self, files: Sequence[FoundFile], metadata: Sequence[str], label_column: str | None, pattern: str | None
    ) -> list[Utterance]:
        """An utterance for each row of metadata files: a recording or a segment of one.

        Labelled by a column or, where there is a ``pattern``, as `by_pattern` does; with neither, not at all.
        """
        by_path = {file.path: file for file in files}
        rows: dict[str, Utterance] = {}
        for recording, said in read_metadata(metadata, by_path, label_column):
            row = self._described(by_path[recording], said)
            earlier = rows.setdefault(row.utterance_id, row)
            if earlier is not row:
                raise CorpusError(
                    f"expected metadata once for each utterance, got {row.utterance_id!r} on line {row.line} in "
                    f"{row.folder!r} and on line {earlier.line} in {earlier.folder!r}"
                )
        if pattern is None and label_column is not None and not any(row.label for row in rows.values()):
            raise CorpusError(_no_labels(list(rows.values()), metadata, label_column))
        named = {row.path for row in rows.values()}
        rest = [file for file in files if file.path not in named]
        unnamed = [repr(file.utterance_id) for file in rest if file.split != NOISE]
        self._settle("metadata for every recording", unnamed, len(files))
        found = [self._row(file, "") for file in rest if file.split == NOISE]
        if pattern is None:
            return self._named([*found, *rows.values()], _id)
        labels = self._find_labels([by_path[path] for path in sorted(named)], pattern)
        found += [replace(row, label=labels[row.path]) for row in rows.values() if row.path in labels]
        return self._named(found, _id)

    def _row(self, file: FoundFile, label: str) -> Utterance:
        noise = file.split == NOISE
        return Utterance(
            utterance_id=file.utterance_id,
            path=file.path,
            label="" if noise else label,
            split=file.split,
            speaker="" if noise or self._speaker_pattern is None else self._speaker(file),
        )

    def _segment(self, file: FoundFile, region: Region) -> Utterance:
        return replace(
            self._row(file, region.label),
            utterance_id=f"{file.utterance_id}#{region.span}",
            start_seconds=region.start,
            end_seconds=region.end,
            line=region.line,
        )

    def _described(self, file: FoundFile, said: Utterance) -> Utterance:
        start, end = said.start_seconds, said.end_seconds
        segment = "" if not start and end is None else f"#{start:.10g}-{'' if end is None else f'{end:.10g}'}"
        if said.split and file.split not in ("", NOISE, said.split):
            raise CorpusError(
                f"expected one split for {file.utterance_id!r}, got {file.split!r} by lists or folders and "
                f"{said.split!r} on line {said.line} of the metadata in {said.folder!r}; data.split=random, for one, "
                "takes neither"
            )
        by_pattern = "" if said.split == NOISE or self._speaker_pattern is None else self._speaker(file)
        return replace(
            said,
            utterance_id=file.utterance_id + segment,
            path=file.path,
            split=said.split or file.split,
            speaker=said.speaker or by_pattern,
        )

    def _speaker(self, file: FoundFile) -> str:
        assert self._speaker_pattern is not None
        match = self._speaker_pattern.search(file.place)
        if match is None:
            pattern = self._speaker_pattern.pattern
            raise CorpusError(f"speaker_pattern {pattern!r} must match every path, got {file.utterance_id!r}")
        return (match[1] if match.re.groups else match[0]) or ""

    def _find_labels(self, files: Sequence[FoundFile], pattern: str) -> dict[str, str]:
        """Label by path, of the files where there is one; of noise, nothing."""
        expression = re.compile(pattern)
        labels = {}
        rest = []
        for file in files:
            if file.split == NOISE:
                labels[file.path] = ""
            elif label := find_label(expression, file.place):
                labels[file.path] = label
            else:
                rest.append(repr(file.utterance_id))
        self._settle(f"label_pattern {pattern!r} to find a label in every path", rest, len(files))
        return labels

    def _usable(self, tracks: Sequence[LabelTrack]) -> dict[str, list[Region]]:
        """Regions with a label, under its name, by the path of their track."""
        kept: dict[str, list[Region]] = {track.path: [] for track in tracks}
        regions = [region for track in tracks for region in track.regions]
        points = [point for track in tracks for point in track.points]
        if points:
            self.notes.append(
                f"{len(points)} point labels, which last no time, are left out, such as {points[0].where}"
            )
        rest = [region.where for region in regions if not region.label]
        self._settle("a text for every region of a label track", rest, len(regions))
        for region in self._named([region for region in regions if region.label], lambda region: region.where):
            kept[region.path].append(region)
        return kept

    def _named(self, items: list[_Labelled], where: Callable[[_Labelled], str]) -> list[_Labelled]:
        """Items under the names of their labels; those without a label as they are."""
        if not self._labels:
            return items
        rest = [f"{item.label!r} of {where(item)}" for item in items if item.label and item.label not in self._labels]
        self._settle("a name in data.labels for every label", rest, len(items))
        names = {"": "", **self._labels}
        return [replace(item, label=names[item.label]) for item in items if item.label in names]

    def _settle(self, expected: str, rest: Sequence[str], total: int) -> None:
        """Refuse, or note as left out, what lacks something."""
        if not rest:
            return
        if not self._skips:
            raise CorpusError(
                f"expected {expected}, got {len(rest)} of {total} without, such as {rest[0]}; "
                "data.unmatched=skip leaves them out"
            )
        self.notes.append(f"{len(rest)} of {total} left out, such as {rest[0]}: expected {expected}")


def _no_labels(rows: Sequence[Utterance], metadata: Sequence[str], label_column: str) -> str:
    """The complaint about metadata that labels nothing."""
    names = list(dict.fromkeys(name for row in rows for name in row.columns))
    names += [name for name in ("speaker", "split") if any(row.column(name) for row in rows)]
    near = nearest_column(label_column, names) or "COLUMN"
    return (
        f"expected labels in column {label_column!r} of {metadata[0]!r}, got none; further columns with something in "
        f"them: {', '.join(map(repr, names[:20])) or 'none'}; give data.label_column={near}, or data.label_column=null "
        "for clips without labels"
    )


def _id(row: Utterance) -> str:
    return repr(row.utterance_id)
