"""A file from the net or from a mirror, whole and checked, or not at all."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

from audiornn.downloads.part import Part, Version
from audiornn.downloads.source import Fetched, Source, without_login
from audiornn.downloads.transfer import Patience, UnavailableError, transfer
from audiornn.errors import CorpusError
from audiornn.files.atomic import remedy_of
from audiornn.progress import Progress

_logger = logging.getLogger(__name__)
_BLOCK_BYTES = 2**20


def fetch(
    source: Source,
    target: Path,
    *,
    mirror: str | None = None,
    patience: Patience | None = None,
    progress: Progress | None = None,
    check: Callable[[Path], str] | None = None,
    to_stay: bool = True,
) -> Fetched:
    """Have the file of ``source`` at ``target``, whose size and digest are compared before it gets that name.

    What has come lies in ``<target>.part``; the next call, after whatever ended this one, asks for the rest. Of several
    processes with the same target one works and the others wait. A file that is there already is only compared.

    Args:
        source: where from, and what is known of it.
        target: the file; missing parent folders are made.
        mirror: an address or a folder to take ``<mirror>/<file_name>`` from, and from nowhere else.
        patience: by default that of `Patience`.
        progress: called with the bytes done and in all; as long as their number is not known, with the first twice.
        check: says what is wrong with the file, in words to follow "got", where no digest does; empty for nothing.
        to_stay: false where `remove_fetched` is to remove it, in this process or another one.

    Raises:
        CorpusError: it could not be had, is not what it should be, or can't be written. What it says ends with where to
            put the file by hand.
    """
    target = target.absolute()
    mismatch = partial(_mismatch, source, check)
    with write_errors(target):
        lock_path = target.with_name(f"{target.name}.lock")
        # With a lock beside it another process is at it, or was killed.
        if not lock_path.exists() and (there := _find(source, target, mismatch)) is not None:
            return there
        target.parent.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(lock_path, target):
            there = _find(source, target, mismatch)
            if there is not None:
                return there
            found, part = _fetch(source, target, mirror, patience or Patience(), progress, mismatch)
            part.finish(to_stay=to_stay)
            return Fetched(path=target, num_bytes=found.num_bytes, sha256=found.sha256, md5=found.md5)


def _mismatch(source: Source, check: Callable[[Path], str] | None, found: Fetched) -> str:
    """What is wrong with a file, in words to follow "got"; empty when nothing is."""
    wrong = source.mismatch(found)
    return wrong or ("" if check is None or source.is_checked else check(found.path))


def _find(source: Source, target: Path, mismatch: Callable[[Fetched], str]) -> Fetched | None:
    """The file if it is there; a wrong one may be the user's, so it is not replaced."""
    if not target.exists():
        return None
    if target.is_dir():
        raise CorpusError(f"expected {source.file_name}, got a folder at '{target}'; move it away")
    Part(target).forget()
    found = source.measure(target)
    if wrong := mismatch(found):
        raise CorpusError(f"expected {source.file_name}, got {wrong} at '{target}'; remove it to have it fetched again")
    return found


def _fetch(
    source: Source,
    target: Path,
    mirror: str | None,
    patience: Patience,
    progress: Progress | None,
    mismatch: Callable[[Fetched], str],
) -> tuple[Fetched, Part]:
    """The whole file under the name of a part."""
    places = source.urls if mirror is None else (_on_mirror(mirror, source.file_name),)
    failures = []
    for place in places:
        _logger.info("fetching %s", without_login(place))
        part = Part(target)
        try:
            if (local := _local_path(place)) is None:
                transfer(place, part, source, patience, progress)
            else:
                _copy(local, part, progress)
            found = source.measure(part.path)
            if wrong := mismatch(found):
                part.discard()
                raise UnavailableError(wrong)
        except UnavailableError as error:
            failures.append(without_login(f"{error} from {place}"))
            continue
        return found, part
    page = f" (see {source.page})" if source.page else ""
    if not failures:
        raise CorpusError(
            f"expected to fetch {source.file_name}, got no address that a program may use; get it by hand{page}, "
            f"put it at '{target}', and try again"
        )
    raise CorpusError(
        f"expected to fetch {source.file_name}, got {'; '.join(failures)}; "
        f"try again, or get it by other means{page} and put it at '{target}'"
    )


def _on_mirror(mirror: str, file_name: str) -> str:
    if not mirror:
        raise CorpusError(f"expected an address or a folder as the mirror of {file_name}, got nothing")
    if "://" not in mirror:
        return str(Path(mirror, file_name))
    parts = urlsplit(mirror)  # what follows a question mark may be a token
    return parts._replace(path=f"{parts.path.rstrip('/')}/{quote(file_name)}").geturl()


def _local_path(place: str) -> Path | None:
    """The path of a ``file://`` address or plain path; None for an address on the net."""
    if place.startswith("file://"):
        return Path(url2pathname(urlsplit(place).path))
    return None if "://" in place else Path(place).expanduser().absolute()


def _copy(path: Path, part: Part, progress: Progress | None) -> None:
    try:
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise UnavailableError(error.strerror or str(error)) from error
    with file:
        num_bytes = os.fstat(file.fileno()).st_size
        part.begin(Version(url=str(path), num_bytes=num_bytes))
        done = 0
        with part.appending(num_bytes) as append:
            while block := file.read(_BLOCK_BYTES):
                append(block)
                done += len(block)
                if progress is not None:
                    progress(done, num_bytes)


@contextlib.contextmanager
def one_at_a_time(lock_path: Path, result: Path) -> Iterator[None]:
    """Waits until no other process is at the same work. The lock file is there only meanwhile.

    It is removed while the lock is held. A process that waits for the removed one is told by `filelock` (3.21 or later)
    when it gets it, and tries for the one that is there then.
    """
    import filelock

    lock = filelock.FileLock(lock_path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        _logger.info("waiting for another process that makes %s", result)
        lock.acquire()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            lock_path.unlink(missing_ok=True)
        lock.release()


@contextlib.contextmanager
def write_errors(target: Path) -> Iterator[None]:
    """Raises what the system says of writing as one line."""
    try:
        yield
    except OSError as error:
        what, place = error.strerror or error, Path(error.filename or target)
        if isinstance(error, PermissionError) and not os.path.lexists(place):
            place = place.parent  # the one that refuses
        remedy = remedy_of(error, "set another data_dir")
        raise CorpusError(f"expected to write '{target}', got {what} at '{place}'; {remedy}") from error
