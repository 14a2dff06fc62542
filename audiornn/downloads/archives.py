"""Archives from strangers, unpacked so that nothing but plain files in one folder can come of it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

from audiornn.downloads.members import Limits, Member, read_members, refusal
from audiornn.errors import CorpusError
from audiornn.files.atomic import remedy_of
from audiornn.progress import Progress

_LONGEST_NAME_BYTES = 255
_LONGEST_PATH_BYTES = 1024
_CONTROL = re.compile(r"[\0-\x1f\x7f]")
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def extract(
    archive: Path,
    folder: Path,
    *,
    limits: Limits | None = None,
    progress: Progress | None = None,
    only: Callable[[str], bool] | None = None,
    strip: int = 0,
) -> int:
    """Unpack a zip or tar archive (plain, gzip, bzip2 or xz; the content decides) and return the number of files.

    One member that is not a plain file or folder with a plain name of its own refuses the whole archive: a path that is
    absolute, leads up or holds a backslash or control character, a link, a device, an encrypted file, a name that is
    there already (also by the rules of a file system that ignores case). So do damage, a checksum that does not fit,
    and `Limits`, which count the bytes as they come and not as headers announce them. Left out are ``__MACOSX``,
    ``._*`` and ``.DS_Store``. Mode, owner and times of members are not taken over: files are 0644, folders 0755, less
    the umask. The memory taken does not grow with the archive, but for a zip's list of members.

    Args:
        archive: the file.
        folder: an existing empty folder, which nobody else writes to.
        limits: by default those of `Limits`.
        progress: called with the packed bytes done and in all.
        only: whether to unpack the file of this path in the archive; the others are checked, too.
        strip: leading folders to take off every path; a file that is not below as many refuses the archive.

    Raises:
        CorpusError: the archive is refused or ``folder`` can't be written; nothing is left in it.
    """
    limits = limits or Limits()
    with _errors(archive, folder):
        if any(folder.iterdir()):
            raise refusal("an empty folder to unpack to", f"files in '{folder}'")
        try:
            return _unpack(archive, _Tree(folder, limits), limits, progress, only, strip)
        except BaseException:
            _remove_content(folder)
            raise


def inspect(archive: Path, *, limits: Limits | None = None, holds: Sequence[str] = (), strip: int = 0) -> str:
    """What is wrong with an archive that no digest vouches for, in words to follow "got"; empty for nothing.

    Refuses what `extract` does, short of what only unpacking shows: of a zip the directory is read, of a tar all.

    Args:
        archive: the file.
        limits: by default those of `Limits`.
        holds: patterns of paths, without the folders taken off; some file must fit each.
        strip: leading folders to take off every path.
    """
    with archive.open("rb") as file:
        if file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
            return "a web page"  # of a login, or of a hotel's network
    wanted = set(holds)
    try:
        with closing(_checked_members(archive, limits or Limits(), None)) as members:
            for member, parts in members:
                if member.kind == "file" and wanted:
                    path = "/".join(parts[strip:])
                    wanted -= {pattern for pattern in wanted if fnmatchcase(path, pattern)}
    except CorpusError as error:
        return f"no archive to be unpacked ({error})"
    missing = [pattern for pattern in holds if pattern in wanted]
    return f"an archive of something else, without {missing[0]!r} in it" if missing else ""


def _unpack(
    archive: Path,
    tree: _Tree,
    limits: Limits,
    progress: Progress | None,
    only: Callable[[str], bool] | None,
    strip: int,
) -> int:
    num_files = 0
    with closing(_checked_members(archive, limits, progress)) as members:
        for member, parts in members:
            if _is_clutter(parts):
                continue
            if member.kind == "folder":
                if only is None:
                    tree.add_folder(parts[strip:])
                continue
            if only is not None and not only("/".join(parts)):
                continue
            if len(parts) <= strip:
                raise refusal(f"files at least {strip} folders deep", repr(member.name))
            tree.add_file(parts[strip:], member)
            num_files += 1
    return num_files


def _checked_members(archive: Path, limits: Limits, progress: Progress | None) -> Generator[tuple[Member, list[str]]]:
    """Members with the parts of their paths; raises at the first that is not harmless."""
    with closing(read_members(archive, limits, progress)) as members:
        for number, member in enumerate(members, start=1):
            if number > limits.max_members:
                raise refusal(f"at most {limits.max_members:,} members", "more")
            parts = _safe_parts(member.name)
            if member.kind not in ("file", "folder"):
                raise refusal("plain files and folders", f"the {member.kind} {member.name!r}")
            if not 0 <= member.num_bytes <= limits.max_member_bytes:
                raise refusal(
                    f"members of 0 to {limits.max_member_bytes:,} bytes", f"{member.num_bytes:,} in {member.name!r}"
                )
            if member.kind == "file" and not parts:
                raise refusal("files with names", repr(member.name))
            yield member, parts


def _safe_parts(name: str) -> list[str]:
    """The parts of a member's path: none for the top folder itself.

    Raises:
        CorpusError: it would lead out of the folder, on any system, or can't be a name.
    """
    if name.startswith("/") or re.match("[A-Za-z]:", name):
        raise refusal("relative paths", repr(name))
    if "\\" in name or _CONTROL.search(name):
        raise refusal("names without backslashes and control characters", repr(name))
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise refusal("paths below one folder", repr(name))
    encoded = os.fsencode(name)
    if len(encoded) > _LONGEST_PATH_BYTES or max(map(len, encoded.split(b"/"))) > _LONGEST_NAME_BYTES:
        raise refusal(
            f"names to {_LONGEST_NAME_BYTES} and paths to {_LONGEST_PATH_BYTES:,} bytes",
            f"{len(encoded):,} bytes that start with {name[:40]!r}",
        )
    return parts


def _is_clutter(parts: list[str]) -> bool:
    """What macOS adds to folders and archives; it holds nothing of a corpus."""
    return bool(parts) and ("__MACOSX" in parts or parts[-1].startswith("._") or parts[-1] == ".DS_Store")


class _Tree:
    """The files and folders that are made; the file system itself tells which names are the same to it."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._root = os.fspath(folder)
        self._limits = limits
        self._folders = {self._root}

    def add_folder(self, parts: list[str]) -> str:
        path = "/".join((self._root, *parts))
        if path not in self._folders:
            self.add_folder(parts[:-1])
            if len(self._folders) > self._limits.max_members:
                raise refusal(f"at most {self._limits.max_members:,} folders", "more")
            try:
                os.mkdir(path, 0o755)  # noqa: PTH102 - a Path for each of 100,000 members takes its time
            except FileExistsError:
                raise _collision(parts) from None
            self._folders.add(path)
        return path

    def add_file(self, parts: list[str], member: Member) -> None:
        path = f"{self.add_folder(parts[:-1])}/{parts[-1]}"
        try:
            file = os.open(path, _NEW_FILE, 0o644)
        except FileExistsError:
            raise _collision(parts) from None
        try:
            written = 0
            for block in member.blocks():
                _write(file, block, path)
                written += len(block)
        finally:
            os.close(file)
        if written != member.num_bytes:
            raise refusal(f"{member.num_bytes:,} bytes in {member.name!r}", f"{written:,}")


def _write(file: int, block: bytes, path: str) -> None:
    try:
        written = os.write(file, block)
        while written < len(block):
            written += os.write(file, memoryview(block)[written:])
    except OSError as error:
        error.filename = path
        raise


def _collision(parts: list[str]) -> CorpusError:
    return refusal("a name for each member", f"{'/'.join(parts)!r} twice (or but for its case, or as file and folder)")


def _remove_content(folder: Path) -> None:
    for child in folder.iterdir():
        if child.is_dir():
            shutil.rmtree(child, ignore_errors=True)
        else:
            child.unlink(missing_ok=True)


@contextmanager
def _errors(archive: Path, folder: Path) -> Iterator[None]:
    """One line that names the archive."""
    try:
        yield
    except CorpusError as error:
        raise CorpusError(
            f"{error} from '{archive}'; nothing of it was unpacked; if downloaded, remove it to have that done again"
        ) from error
    except OSError as error:
        raise CorpusError(
            f"expected to unpack '{archive}' to '{folder}', got {error.strerror} at '{error.filename or archive}'; "
            f"nothing of it was unpacked; {remedy_of(error, 'set another data_dir')}"
        ) from error
