"""The prepared corpora of a data folder and the archives unpacked for them: what there is, is it whole, what can go."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiornn.corpora.folder.roots import ARCHIVE_MARKER, ARCHIVES_FOLDER
from audiornn.errors import ConfigError, CorpusError
from audiornn.files.in_use import unless_in_use
from audiornn.files.unfinished import is_abandoned, list_unfinished, remove_abandoned
from audiornn.places import is_folder
from audiornn.progress import Progress
from audiornn.store.building import STORES_FOLDER
from audiornn.store.files import (
    DESCRIPTION_NAME,
    FORMAT,
    TABLE_NAME,
    USED_NAME,
    checksum,
    is_as_written,
    read_any_description,
    read_description,
    sizes_of,
)
from audiornn.store.fingerprint import FILES_NAME, read_file_index

WHOLE, DAMAGED, OLDER, NEWER = "whole", "damaged", "older format", "newer format"
UNFINISHED, IN_PROGRESS = "unfinished", "in progress"
ARCHIVE = "unpacked archive"

# What `audiornn.store.listing.Listing.folder` ends in, and the folder of an archive.
_STORE_NAME = re.compile(r"-[0-9a-f]{16}$")


@dataclass(frozen=True, slots=True)
class KeptStore:
    """One folder of a data folder's prepared corpora, or an unpacked archive. What is not known of it is None."""

    folder: Path
    state: str
    """``whole`` (all files are there, with their sizes), ``damaged``, ``older format``, ``newer format``,
    ``unfinished`` (the next `audiornn.store.prepare` of the same goes on with it), ``in progress``, or
    ``unpacked archive``."""
    num_bytes: int
    corpus: str | None = None
    clips: int | None = None
    hours: float | None = None
    sample_rate: int | None = None
    made: float | None = None
    """Seconds since 1970."""
    used: float | None = None
    """When it was last asked for, seconds since 1970."""
    path: str | None = None
    """Where its files were, as the corpus was told."""


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong with one file of a store."""

    file: str
    what: str
    rows: range | None = None
    """Rows of the store whose samples are in the file."""
    first_utterance: str = ""
    last_utterance: str = ""


def list_stores(data_dir: Path) -> list[KeptStore]:
    """Everything that preparing has left below ``data_dir``, by name; archives that it unpacked come last."""
    stores = _list(data_dir / STORES_FOLDER, _describe)
    return [*stores, *_list(data_dir / ARCHIVES_FOLDER, _describe_archive)]


def _list(root: Path, describe: Callable[[Path], KeptStore]) -> list[KeptStore]:
    if not is_folder(root):
        return []
    unfinished = set(list_unfinished(root))
    whole = {path for path in root.iterdir() if _STORE_NAME.search(path.name) and path.is_dir()}
    return [_describe_unfinished(each) if each in unfinished else describe(each) for each in sorted(whole | unfinished)]


def find_store(data_dir: Path, store: Path) -> Path:
    """The folder of a store, or of an archive, that is given by its path, or by its name in ``data_dir``.

    Raises:
        CorpusError: neither is a folder.
    """
    for folder in (store, data_dir / STORES_FOLDER / store, data_dir / ARCHIVES_FOLDER / store):
        if is_folder(folder):
            return folder
    raise CorpusError(f"expected a prepared corpus, got nothing at {str(store)!r}; see `audiornn store list`")


def _describe(folder: Path) -> KeptStore:
    said = read_any_description(folder)
    state = DAMAGED
    if (form := _whole_number(said, "format")) is not None and form != FORMAT:
        state = OLDER if form < FORMAT else NEWER
    elif read_description(folder) is not None:
        state = WHOLE
    samples, rate = _whole_number(said, "num_samples"), _whole_number(said, "sample_rate")
    name = said.get("name")
    return KeptStore(
        folder,
        state,
        _bytes_below(folder),
        corpus=name if isinstance(name, str) else None,
        clips=_whole_number(said, "num_utterances"),
        hours=samples / rate / 3600 if samples is not None and rate else None,
        sample_rate=rate,
        made=_time_of(folder / DESCRIPTION_NAME),
        used=_time_of(folder / USED_NAME),
        path=_path_of(said),
    )


def _whole_number(said: Mapping[str, Any], name: str) -> int | None:
    """What a description, perhaps a damaged one, says there."""
    value = said.get(name)
    return value if type(value) is int else None


def _path_of(said: Mapping[str, Any]) -> str | None:
    settings = said.get("corpus")
    path = settings.get("path") if isinstance(settings, dict) else None
    return ", ".join(map(str, path)) if isinstance(path, list) else None if path is None else str(path)


def _describe_archive(folder: Path) -> KeptStore:
    name, made, used = folder.name.rpartition("-")[0], _time_of(folder), _time_of(folder / ARCHIVE_MARKER)
    return KeptStore(folder, ARCHIVE, _bytes_below(folder), name, made=made, used=used)


def _describe_unfinished(folder: Path) -> KeptStore:
    state = UNFINISHED if is_abandoned(folder) else IN_PROGRESS
    return KeptStore(folder, state, _bytes_below(folder), folder.name.partition(".")[0], made=_time_of(folder))


def verify_store(folder: Path, progress: Progress | None = None) -> list[Damage]:
    """Compare every byte of a store with the checksums that were noted when it was made.

    Args:
        folder: of the store, wherever it is.
        progress: called with the bytes read and in all.

    Returns:
        what is wrong, file by file; nothing for a store that is whole.

    Raises:
        CorpusError: there is no store, or one whose format has no checksums.
    """
    said = read_any_description(folder)
    if (form := _whole_number(said, "format")) is not None and form != FORMAT:
        raise CorpusError(f"expected a prepared corpus of format {FORMAT}, got one of format {form} at {str(folder)!r}")
    if not any((folder / name).exists() for name in (DESCRIPTION_NAME, TABLE_NAME, FILES_NAME)):
        raise CorpusError(f"expected a prepared corpus, got none at {str(folder)!r}")
    if not is_as_written(said):
        return [Damage(DESCRIPTION_NAME, "missing, or other bytes than were written")]
    sizes, parts = sizes_of(said), {each["name"]: each for each in (*said["parts"], *said["tables"])}
    damages = []
    done = 0
    for name, size in sizes.items():
        what = _compare(folder / name, size, parts[name]["crc32"])
        if what:
            damages.append(Damage(name, what))
        done += size
        if progress is not None:
            progress(done, sum(sizes.values()))
    if read_file_index(folder, check=True) is None:
        damages.append(Damage(FILES_NAME, "missing, or other bytes than were written"))
    return [_with_rows(damage, folder, said) for damage in damages]


def _compare(path: Path, size: int, crc32: int) -> str:
    """What is wrong with a file, or nothing."""
    try:
        found, found_crc32 = checksum(path)
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"not readable ({error.strerror or error})"
    if found != size:
        return f"{found:,} bytes instead of {size:,}"
    return "" if found_crc32 == crc32 else "other bytes than were written"


def _with_rows(damage: Damage, folder: Path, said: Mapping[str, Any]) -> Damage:
    first = 0
    for part in said["parts"]:
        rows = range(first, first + part["rows"])
        first = rows.stop
        if part["name"] == damage.file:
            ids = _utterance_ids(folder, said)
            names = (ids[rows.start], ids[rows.stop - 1]) if len(ids) >= rows.stop else ("", "")
            return Damage(damage.file, damage.what, rows, *names)
    return damage


def _utterance_ids(folder: Path, said: Mapping[str, Any]) -> list[str]:
    """Of every row; none where the table is damaged."""
    (noted,) = (each for each in said["tables"] if each["name"] == TABLE_NAME)
    if _compare(folder / TABLE_NAME, noted["bytes"], noted["crc32"]):
        return []
    import pyarrow as pa

    with pa.memory_map(str(folder / TABLE_NAME)) as source:
        ids: list[str] = pa.ipc.open_file(source).read_all()["utterance_id"].to_pylist()
    return ids


@dataclass(frozen=True, kw_only=True)
class Unwanted:
    """Which stores are removed: those that any of these names."""

    store: Path | None = None
    """A folder, or its name."""
    older_than_days: float | None = None
    """Made, and last asked for, so long ago; of unfinished ones, last written to."""
    damaged: bool = False
    older_format: bool = False
    unfinished: bool = False
    archives: bool = False
    """Unpacked archives. They never go by their age: a manifest of files in one leaves no trace of its use there."""

    def __post_init__(self) -> None:
        asked = (self.damaged, self.older_format, self.unfinished, self.archives)
        if not any((self.store, self.older_than_days is not None, *asked)):
            raise ConfigError(
                "expected what to remove, got nothing; give store=FOLDER, older_than_days=N, damaged=true, "
                "older_format=true, unfinished=true or archives=true"
            )
        if self.older_than_days is not None and not self.older_than_days >= 0:  # nor what is no number
            raise ConfigError(f"older_than_days must be at least 0, got {self.older_than_days}")


@dataclass(frozen=True, slots=True)
class Removal:
    """A store that is not wanted, and what became of it."""

    store: KeptStore
    why: str
    kept_because: str = ""
    """Why it is there still; empty where it is removed, or would be."""


def remove_stores(data_dir: Path, unwanted: Unwanted, *, dry_run: bool = False) -> list[Removal]:
    """Remove prepared corpora. What any process has in use is left alone, and so is all outside of ``data_dir``.

    Args:
        data_dir: the folder whose prepared corpora they are.
        unwanted: which.
        dry_run: only say what would be removed.

    Raises:
        CorpusError: the store that is named is not one of ``data_dir``, or can't be removed.
    """
    root = data_dir / STORES_FOLDER
    stores = list_stores(data_dir)
    named = None
    if unwanted.store is not None:
        named = find_store(data_dir, unwanted.store).resolve()
        if named not in [store.folder.resolve() for store in stores if not store.folder.is_symlink()]:
            raise CorpusError(f"expected a prepared corpus in {str(root)!r}, got {str(unwanted.store)!r} outside of it")
    removals = []
    for store in stores:
        if why := _why(store, unwanted, named):
            try:
                removals.append(Removal(store, why, _remove(store, dry_run=dry_run)))
            except OSError as error:
                raise CorpusError(f"could not remove {str(store.folder)!r}: {error.strerror or error}") from None
    return removals


def _why(store: KeptStore, unwanted: Unwanted, named: Path | None) -> str:
    """The first reason for which a store is not wanted, or nothing."""
    reasons = {
        "named": named == store.folder.resolve(),
        DAMAGED: unwanted.damaged and (store.state == DAMAGED or (store.state == WHOLE and _is_damaged(store.folder))),
        OLDER: unwanted.older_format and store.state == OLDER,
        UNFINISHED: unwanted.unfinished and store.state in (UNFINISHED, IN_PROGRESS),
        ARCHIVE: unwanted.archives and store.state == ARCHIVE,
        "not used": unwanted.older_than_days is not None
        and store.state != ARCHIVE
        and time.time() - max(store.made or 0.0, store.used or 0.0) > 86_400 * unwanted.older_than_days,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _is_damaged(folder: Path) -> bool:
    return bool(verify_store(folder))


def _remove(store: KeptStore, *, dry_run: bool) -> str:
    """Why a store is still there; nothing where it is gone, or would be."""
    folder = store.folder
    if folder.is_symlink():
        return "a link"
    if store.state in (UNFINISHED, IN_PROGRESS):
        if not is_abandoned(folder):
            return "in use"
        own = glob.escape(folder.name.removesuffix(".unfinished"))
        if not dry_run and folder not in remove_abandoned(folder.parent, own):
            return "in use"
        return ""
    file = ARCHIVE_MARKER if store.state == ARCHIVE else DESCRIPTION_NAME
    with contextlib.suppress(FileNotFoundError), unless_in_use(folder / file) as is_free:
        if not is_free:
            return "in use"
        if not dry_run:
            # Gone at once for whoever looks; what is left after a kill is removed as what others have left behind.
            gone = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.unfinished")
            folder.rename(gone)
            shutil.rmtree(gone)
    return ""


def _bytes_below(folder: Path) -> int:
    return sum(_files(folder))


def _files(folder: Path) -> Iterator[int]:
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                yield Path(parent, name).stat().st_size
            except OSError:  # removed meanwhile
                continue


def _time_of(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None
