"""A corpus from its archives: a folder that is there whole or not at all."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from audiornn.downloads.archives import extract, inspect
from audiornn.downloads.fetching import fetch, one_at_a_time, write_errors
from audiornn.downloads.members import Limits
from audiornn.downloads.part import keep_fetched, remove_fetched
from audiornn.downloads.source import Fetched, Source
from audiornn.downloads.transfer import Patience
from audiornn.errors import CorpusError
from audiornn.files.unfinished import remove_abandoned, unfinished_folder
from audiornn.progress import Progress, ProgressOf

_logger = logging.getLogger(__name__)
MARKER = ".audiornn-download.json"


@dataclass(frozen=True, kw_only=True)
class Archive:
    """An archive and where its files go."""

    source: Source
    unpack_to: str = ""
    """Folder below the corpus's, with forward slashes; another one for each archive of a corpus."""
    strip: int = 0
    """Leading folders to take off: 1 for an archive with one top folder, such as ``ESC-50-master/``."""
    only: Callable[[str], bool] | None = None
    """Which files to unpack, by their paths in the archive."""
    limits: Limits | None = None
    holds: tuple[str, ...] = ()
    """Patterns of paths below its folder, such as ``audio/*.wav``; without a file that fits each it is the archive of
    something else. Read where no digest tells."""


@dataclass(frozen=True, kw_only=True)
class InstalledArchive:
    """What came of one archive."""

    file_name: str
    num_bytes: int
    sha256: str
    unpack_to: str
    strip: int
    num_files: int


@dataclass(frozen=True, kw_only=True)
class Installed:
    """What `install` put there, as its marker file records it."""

    archives: list[InstalledArchive]

    @property
    def num_files(self) -> int:
        return sum(archive.num_files for archive in self.archives)


def install(
    archives: Sequence[Archive],
    folder: Path,
    *,
    downloads: Path,
    mirror: str | None = None,
    patience: Patience | None = None,
    progress: ProgressOf | None = None,
    keep_archives: bool = True,
) -> Installed:
    """Fetch archives and unpack them into ``folder``, which appears when everything is in it.

    It is filled under another name beside its place. The last file in it is the marker ``.audiornn-download.json``,
    which records the archives with their digests and numbers of files; then it is renamed. Nothing is done where a
    folder with the marker of the same archives is.

    Args:
        archives: in the order to unpack them: one that goes below the folder of another comes after it.
        folder: the corpus; missing parent folders are made.
        downloads: the folder that the archives are fetched to and found in; one put there by hand is taken.
        mirror: see `audiornn.downloads.fetch`.
        patience: see there.
        progress: opens the progress of fetching and of unpacking each archive.
        keep_archives: whether they stay in ``downloads``; those that were put there by hand always do.

    Raises:
        CorpusError: something could not be fetched, was refused or can't be written, or there is a folder already that
            was not made from these archives. It is left alone, and nothing half done is left.
    """
    folder = folder.absolute()
    targets = [downloads / archive.source.file_name for archive in archives]
    with write_errors(folder):
        if (installed := _find(archives, folder)) is None:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with one_at_a_time(folder.with_name(f".{folder.name}.lock"), folder):
                if (installed := _find(archives, folder)) is None:
                    fetched = [
                        _fetch(archive, target, mirror, patience, progress, to_stay=keep_archives)
                        for archive, target in zip(archives, targets, strict=True)
                    ]
                    installed = _unpack_all(archives, fetched, folder, progress)
        # Also of a process that was killed before it came to this.
        for target in targets:
            (keep_fetched if keep_archives else remove_fetched)(target)
        return installed


def _fetch(
    archive: Archive,
    target: Path,
    mirror: str | None,
    patience: Patience | None,
    progress: ProgressOf | None,
    *,
    to_stay: bool,
) -> Fetched:
    check = partial(inspect, limits=archive.limits, holds=archive.holds, strip=archive.strip)
    with _opened(progress, f"fetching {target.name}") as update:
        return fetch(
            archive.source, target, mirror=mirror, patience=patience, progress=update, check=check, to_stay=to_stay
        )


def read_installed(folder: Path) -> Installed | None:
    """What `install` put at ``folder``; None if it was not made by it."""
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        return Installed(archives=[InstalledArchive(**archive) for archive in marker["archives"]])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _find(archives: Sequence[Archive], folder: Path) -> Installed | None:
    if not os.path.lexists(folder):
        return None
    installed = read_installed(folder)
    if installed is None:
        raise CorpusError(
            f"expected a downloaded corpus or nothing, got a folder without {MARKER} at '{folder}'; "
            "use it as it is, or move it away to have it downloaded"
        )
    if len(installed.archives) != len(archives) or not all(map(_is_of, installed.archives, archives)):
        raise CorpusError(
            f"expected what {', '.join(archive.source.file_name for archive in archives)} holds, got what "
            f"{', '.join(archive.file_name for archive in installed.archives)} held at '{folder}'; "
            "move it away to have it downloaded again"
        )
    return installed


def _is_of(installed: InstalledArchive, archive: Archive) -> bool:
    source = archive.source
    return (
        (installed.file_name, installed.unpack_to, installed.strip)
        == (source.file_name, archive.unpack_to, archive.strip)
        and source.num_bytes in (None, installed.num_bytes)
        and source.sha256 in (None, installed.sha256)
    )


def _unpack_all(
    archives: Sequence[Archive], fetched: Sequence[Fetched], folder: Path, progress: ProgressOf | None
) -> Installed:
    remove_abandoned(folder.parent)
    with unfinished_folder(folder.parent, folder.name) as unfinished:
        done = []
        for archive, file in zip(archives, fetched, strict=True):
            place = unfinished / archive.unpack_to
            place.mkdir(parents=True, exist_ok=True)
            with _opened(progress, f"unpacking {file.path.name}") as update:
                num_files = extract(
                    file.path, place, limits=archive.limits, progress=update, only=archive.only, strip=archive.strip
                )
            done.append(
                InstalledArchive(
                    file_name=file.path.name,
                    num_bytes=file.num_bytes,
                    sha256=file.sha256,
                    unpack_to=archive.unpack_to,
                    strip=archive.strip,
                    num_files=num_files,
                )
            )
        installed = Installed(archives=done)
        with (unfinished / MARKER).open("x", encoding="utf-8") as marker:
            marker.write(json.dumps(asdict(installed), indent=2) + "\n")
        unfinished.rename(folder)
    _logger.info("%d files in %s", installed.num_files, folder)
    return installed


def _opened(progress: ProgressOf | None, what: str) -> AbstractContextManager[Progress | None]:
    return nullcontext() if progress is None else progress(what)
