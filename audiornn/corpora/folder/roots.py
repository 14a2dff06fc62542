"""Where the files of a corpus lie: one folder or several, and archives that are unpacked once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiornn.corpora.corpus import corpus_folder
from audiornn.errors import ConfigError, CorpusError
from audiornn.files.atomic import write_text
from audiornn.files.unfinished import remove_abandoned, unfinished_folder
from audiornn.places import is_file
from audiornn.progress import Progress

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
ARCHIVES_FOLDER = Path(".audiornn", "archives")
"""Below ``data_dir``: unpacked archives, each in ``<name>-<hash of its content>``. All of it can be removed."""
ARCHIVE_MARKER = "archive.json"
"""In each of them; its time is when the archive was last asked for."""

_FILES = "files"
_NAME_LIMIT = 80


@dataclass(frozen=True, slots=True)
class Root:
    """A folder whose files belong to a corpus.

    Attributes:
        folder: absolute.
        name: what tells it from the other roots, one or several parts of its path; empty where it is the only one.
        last_name: the last part of its path; of an archive without the ending.
    """

    folder: str
    name: str
    last_name: str

    @property
    def prefix(self) -> str:
        """What utterance ids begin with."""
        return f"{self.name}/" if self.name else ""


def find_roots(paths: Sequence[str], data_dir: Path, *, in_order: bool = False) -> list[Root]:
    """The folders of ``paths``, ordered by their names or as given; of an archive, what `unpack_archives` unpacked.

    Roots whose last names are alike are told apart by as many further parts of their paths as that takes.

    Raises:
        CorpusError: one is missing, given twice, inside another, or an archive that is not unpacked.
    """
    places = [_without_ending(Path(os.path.normpath(Path(path).absolute()))) for path in paths]
    folders = [_folder(path, data_dir) for path in paths]
    if len(paths) == 1:
        return [Root(str(folders[0]), "", places[0].name)]
    real = [os.path.realpath(folder) for folder in folders]
    for number, inner in enumerate(real):
        for other, outer in enumerate(real):
            if number != other and _lies_in(inner, outer):
                what = "the same files" if inner == outer else f"{paths[number]!r} inside {paths[other]!r}"
                raise CorpusError(f"expected roots apart from each other, got {what} in {list(paths)}; give each once")
    names = _distinct_names(places, paths)
    roots = [Root(str(folder), *pair) for folder, *pair in zip(folders, names, (p.name for p in places), strict=True)]
    return roots if in_order else sorted(roots, key=lambda root: root.name)


def unpack_archives(paths: Sequence[str], data_dir: Path, progress: Progress | None = None) -> None:
    """Unpack those of ``paths`` that are archives and are not unpacked as they are now; others are left alone.

    Raises:
        CorpusError: a damaged or hostile archive, or ``data_dir`` can't be written; nothing half unpacked is left.
    """
    for path in paths:
        if is_archive(path) and _unpacked(Path(path), data_dir) is None:
            _unpack(Path(path), data_dir / ARCHIVES_FOLDER, progress)


def is_archive(path: str) -> bool:
    """Whether a path is a file that ends as an archive does."""
    return path.lower().endswith(ARCHIVE_SUFFIXES) and is_file(path)


def _folder(path: str, data_dir: Path) -> Path:
    if is_archive(path):
        unpacked = _unpacked(Path(path), data_dir)
        if unpacked is None:
            raise CorpusError(
                f"expected {path!r} unpacked below {str(data_dir)!r}, got nothing; `audiornn prepare` unpacks it"
            )
        return unpacked
    if is_file(path):
        remedy = "; a list of files is data=manifest" if path.lower().endswith((".csv", ".jsonl")) else ""
        raise CorpusError(
            f"expected a folder or an archive ({', '.join(ARCHIVE_SUFFIXES)}), got a file at {path!r}{remedy}"
        )
    return corpus_folder(path)


def _lies_in(inner: str, outer: str) -> bool:
    """Whether a folder is among those that are listed below another; hidden ones, as of archives, are not."""
    below = Path(inner).relative_to(outer).parts if Path(inner).is_relative_to(outer) else (".",)
    return not any(part.startswith(".") for part in below)


def _without_ending(path: Path) -> Path:
    if not is_archive(str(path)):
        return path
    ending = max((end for end in ARCHIVE_SUFFIXES if path.name.lower().endswith(end)), key=len)
    return path.with_name(path.name[: -len(ending)] or path.name)


def _distinct_names(places: Sequence[Path], paths: Sequence[str]) -> list[str]:
    """The last parts of each path, as many as it takes that no name begins another."""
    lengths = [1] * len(places)
    while True:
        names = ["/".join(place.parts[1:][-length:]) for place, length in zip(places, lengths, strict=True)]
        clashing: set[int] = set()
        for number, name in enumerate(names):
            for other, longer in enumerate(names):
                if number != other and f"{longer}/".startswith(f"{name}/"):
                    clashing |= {number, other}
        if not clashing:
            return names
        if all(lengths[number] >= len(places[number].parts) for number in clashing):
            alike = [paths[number] for number in sorted(clashing)]
            raise CorpusError(f"expected roots with names of their own, got {alike}; give each once, or rename one")
        lengths = [length + (number in clashing) for number, length in enumerate(lengths)]


def _unpacked(archive: Path, data_dir: Path) -> Path | None:
    """The folder of the files of an archive as it is now; None where it is not unpacked."""
    root = data_dir / ARCHIVES_FOLDER
    name = _name(archive)
    with _system_errors(archive):
        state = _state(archive)
        markers = sorted(root.glob(f"{name}-*/{ARCHIVE_MARKER}"))
        for marker in markers:
            if _read_marker(marker).get("state") == state:
                with contextlib.suppress(OSError):
                    os.utime(marker)
                return _content(marker.parent / _FILES)
        if not markers or (marker := root / f"{name}-{_digest(archive)}" / ARCHIVE_MARKER) not in markers:
            return None
        with contextlib.suppress(ConfigError):  # it only spares the next digest
            _write_marker(marker, state)
        return _content(marker.parent / _FILES)


def _unpack(archive: Path, root: Path, progress: Progress | None) -> None:
    from audiornn.downloads.archives import extract

    with _system_errors(archive):
        state = _state(archive)
        final = root / f"{_name(archive)}-{_digest(archive)}"
        remove_abandoned(root)
        with unfinished_folder(root, _name(archive)) as folder:
            (folder / _FILES).mkdir()
            extract(archive, folder / _FILES, progress=progress)
            if _state(archive) != state:
                raise CorpusError(f"expected files at rest, got '{archive}' changed while it was unpacked; try again")
            _write_marker(folder / ARCHIVE_MARKER, state)
            try:
                folder.rename(final)
            except OSError:
                if not (final / ARCHIVE_MARKER).is_file():  # no other process was first
                    raise


def _content(folder: Path) -> Path:
    """The unpacked files: in the single top folder, where the archive has one."""
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(".") and entry.name != "__MACOSX"]
    alone = len(visible) == 1 and visible[0].is_dir()
    return (folder / visible[0].name if alone else folder).absolute()


def _name(archive: Path) -> str:
    """What the folder of an archive begins with."""
    return re.sub(r"[^\w.-]", "_", _without_ending(archive).name)[:_NAME_LIMIT]


def _state(archive: Path) -> list[int]:
    """What the file system says of a file; while none of it changes, neither has the content."""
    status = archive.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _digest(archive: Path) -> str:
    with archive.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _write_marker(path: Path, state: list[int]) -> None:
    write_text(path, json.dumps({"state": state}) + "\n")


def _read_marker(path: Path) -> dict[str, Any]:
    try:
        marker = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return marker if isinstance(marker, dict) else {}


@contextlib.contextmanager
def _system_errors(archive: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        place = error.filename or archive
        raise CorpusError(f"expected to unpack '{archive}', got {error.strerror or error} at '{place}'") from error
