"""What a folder corpus without class folders is annotated by."""

from __future__ import annotations

from collections.abc import Sequence

from audiornn.corpora.folder.audiofolder import LABEL_COLUMN, names_files, read_metadata
from audiornn.corpora.folder.label_tracks import label_track_of, looks_like_label_track
from audiornn.corpora.folder.listing import FoundFile, Listing
from audiornn.errors import CorpusError


def find_annotations(listing: Listing) -> str:
    """``metadata``, ``audacity`` or ``none``. Class folders stay class folders, whatever else lies in them.

    Raises:
        CorpusError: clips lie in class folders that metadata contradicts.
    """
    described = [path for path in listing.metadata if names_files(path)]
    if "" not in listing.top_folders and len(listing.top_folders) > 1:
        _check_agreement(listing.clips, described)
        return "none"
    if described:
        return "metadata"
    tracks = (label_track_of(file.path) for file in listing.clips)
    return "audacity" if all(track is not None and looks_like_label_track(track) for track in tracks) else "none"


def metadata_files(listing: Listing) -> list[str]:
    """The metadata files of a corpus; those that are no ``audiofolder``'s are left out beside such that are.

    Raises:
        CorpusError: there is none.
    """
    if not listing.metadata:
        raise CorpusError(f"expected metadata.csv, metadata.jsonl or metadata.parquet, got none in {listing.where}")
    return [path for path in listing.metadata if names_files(path)] or listing.metadata


def _check_agreement(clips: Sequence[FoundFile], metadata: Sequence[str]) -> None:
    by_path = {file.path: file for file in clips} if metadata else {}
    for path in metadata:
        try:
            said = [(by_path[recording], row.label) for recording, row in read_metadata([path], by_path, LABEL_COLUMN)]
        except CorpusError:
            continue  # it describes something else
        for file, label in said:
            folder = file.inner.partition("/")[0]
            if label not in ("", folder):
                raise CorpusError(
                    f"expected one label for {file.utterance_id!r}, got {folder!r} by its folder and {label!r} by "
                    f"{path!r}; set data.annotations=none for folders, data.annotations=metadata for the other"
                )
