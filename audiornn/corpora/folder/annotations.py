"""What a folder corpus without class folders is annotated by."""

from __future__ import annotations

from collections.abc import Sequence

from audiornn.corpora.folder.audiofolder import LABEL_COLUMN, names_files, read_metadata
from audiornn.corpora.folder.label_tracks import label_track_of, looks_like_label_track
from audiornn.corpora.folder.listing import FoundFile, Listing
from audiornn.errors import CorpusError


def find_annotations(listing: Listing, notes: list[str]) -> str:
    """``metadata``, ``audacity`` or ``none``. Class folders stay class folders, whatever else lies in them.

    One label track is enough: a recording that lacks one then is to be refused, and not to go without its labels.

    Args:
        listing: of a corpus.
        notes: is added to where something lies in class folders and is not read.

    Raises:
        CorpusError: clips lie in class folders that metadata contradicts.
    """
    described = [path for path in listing.metadata if names_files(path)]
    if "" not in listing.top_folders and len(listing.top_folders) > 1:
        unread = [*_check_agreement(listing.clips, described), *_some_label_tracks(listing)]
        if unread:
            remedy = "metadata" if described else "audacity"
            notes.append(f"{unread[0]!r} is not read: folders are classes; data.annotations={remedy} reads such files")
        return "none"
    if described:
        return "metadata"
    return "audacity" if any(_has_label_track(file) for file in listing.clips) else "none"


def metadata_files(listing: Listing) -> list[str]:
    """The metadata files of a corpus; those that are no ``audiofolder``'s are left out beside such that are.

    Raises:
        CorpusError: there is none.
    """
    if not listing.metadata:
        raise CorpusError(f"expected metadata.csv, metadata.jsonl or metadata.parquet, got none in {listing.where}")
    return [path for path in listing.metadata if names_files(path)] or listing.metadata


def _has_label_track(file: FoundFile) -> bool:
    track = label_track_of(file.path)
    return track is not None and looks_like_label_track(track)


def _some_label_tracks(listing: Listing) -> list[str]:
    """The label track of the first clip, where it has one; not those of all, which would be looked for in vain."""
    return [str(label_track_of(file.path)) for file in listing.clips[:1] if _has_label_track(file)]


def _check_agreement(clips: Sequence[FoundFile], metadata: Sequence[str]) -> list[str]:
    """The metadata files that describe clips."""
    describing = []
    by_path = {file.path: file for file in clips} if metadata else {}
    for path in metadata:
        try:
            said = [(by_path[recording], row.label) for recording, row in read_metadata([path], by_path, LABEL_COLUMN)]
        except CorpusError:
            continue  # it describes something else
        describing.append(path)
        for file, label in said:
            folder = file.inner.partition("/")[0]
            if label not in ("", folder):
                raise CorpusError(
                    f"expected one label for {file.utterance_id!r}, got {folder!r} by its folder and {label!r} by "
                    f"{path!r}; set data.annotations=none for folders, data.annotations=metadata for the other"
                )
    return describing
