"""What is in an archive, one member after the other, with no trust in what its headers say.

`tarfile` and `zipfile` read the formats. What they would believe is kept from them: they see the archive through
readers that refuse headers of absurd sizes and ways back, and that count what is unpacked.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from audiornn.errors import CorpusError
from audiornn.progress import Progress

BLOCK_BYTES = 2**20
_GZIP_MAGIC, _BZIP2_MAGIC, _XZ_MAGIC = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")  # a first member, or the end of an archive without any
_TAR_HEADER_BYTES = 2**14  # a long name and extended attributes take a few thousand; some `tarfile` is slow with more
_TAR_GLOBAL_HEADERS = 100
_ZIP_UTF_8_FLAG = 0x800
_ZIP_DIRECTORY_BYTES = 2**26  # read whole by zipfile; some 600,000 members with names of 60 characters
_RATIO_FROM_BYTES = 2**24  # a few texts, or the headers of empty files, may well be packed tighter


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an archive may hold before it is refused. The defaults are far above any corpus of speech or sounds."""

    max_members: int = 1_000_000
    """Files and folders, those that are left out among them."""
    max_bytes: int = 2**36
    """Unpacked, in all."""
    max_member_bytes: int = 2**33
    max_ratio: float = 100.0
    """Unpacked over packed bytes. Recordings come to 1 or 2, rarely 10; a bomb to 1,000."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One entry of an archive."""

    name: str
    kind: str
    """``file``, ``folder``, or what else it is, in words."""
    num_bytes: int
    """As its header says."""
    blocks: Callable[[], Iterator[bytes]]
    """Its content, not more than ``num_bytes``; good until the next member is asked for."""


class _Meter:
    """Counts unpacked bytes against the limits, and tells the progress in packed ones."""

    def __init__(self, limits: Limits, packed_bytes: int, progress: Progress | None) -> None:
        self._limits = limits
        self._packed_bytes = packed_bytes
        self._progress = progress
        self._unpacked = 0
        self._told = -BLOCK_BYTES

    def count(self, unpacked: int, packed_so_far: int) -> None:
        """Note that many more bytes unpacked, from the first so many packed ones."""
        self._unpacked += unpacked
        if self._unpacked > self._limits.max_bytes:
            raise refusal(f"at most {self._limits.max_bytes:,} bytes in all", "more")
        if self._unpacked > max(_RATIO_FROM_BYTES, self._limits.max_ratio * packed_so_far):
            raise refusal(
                f"at most {self._limits.max_ratio:g} bytes for each packed one",
                f"{self._unpacked:,} from {packed_so_far:,} (an archive bomb?)",
            )
        if self._progress is not None and packed_so_far >= self._told + BLOCK_BYTES:
            self._told = packed_so_far
            self._progress(packed_so_far, self._packed_bytes)

    def finish(self) -> None:
        if self._progress is not None:
            self._progress(self._packed_bytes, self._packed_bytes)


def refusal(expected: str, got: str) -> CorpusError:
    """The error of an archive that must not be unpacked; `audiornn.downloads.archives.extract` adds which."""
    return CorpusError(f"expected {expected}, got {got}")


def read_members(archive: Path, limits: Limits, progress: Progress | None) -> Generator[Member]:
    """The members of a zip or tar archive, in its order; the first bytes say which, not the name.

    A tar archive has then been read to its last byte, so that the packer's checksum has been compared; of a zip, those
    of the members whose blocks were read.

    Raises:
        CorpusError: it is damaged, a limit is passed, or a trick is seen through.
        OSError: the file can't be read.
    """
    meter = _Meter(limits, archive.stat().st_size, progress)
    with _damage_refused(), _ArchiveFile(io.FileIO(archive)) as file:
        start = file.peek(8)
        if start.startswith(_ZIP_MAGIC):
            yield from _zip_members(file, archive.stat().st_size, meter)
        else:
            with _unpacked(file, start) as stream:
                yield from _tar_members(_TarStream(stream, file, meter))
    meter.finish()


@contextmanager
def _damage_refused() -> Iterator[None]:
    """One error for whatever the readers of the formats make of damage: EOFError, zlib.error, ValueError, ..."""
    try:
        yield
    except CorpusError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # those of gzip and bz2 have none
            raise
        said = " ".join(str(error).split())
        raise refusal("a whole zip or tar archive", f"{type(error).__name__}: {said}") from error


def _unpacked(file: IO[bytes], start: bytes) -> IO[bytes]:
    if start.startswith(_GZIP_MAGIC):
        return cast(IO[bytes], gzip.GzipFile(fileobj=file))
    if start.startswith(_BZIP2_MAGIC):
        return cast(IO[bytes], bz2.BZ2File(file))
    return cast(IO[bytes], lzma.LZMAFile(file)) if start.startswith(_XZ_MAGIC) else file


class _ArchiveFile(io.BufferedReader):
    """The file of an archive; refuses the one read by which `zipfile` would take a huge directory into memory."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _ZIP_DIRECTORY_BYTES:
            raise refusal(f"a directory of at most {_ZIP_DIRECTORY_BYTES:,} bytes", f"{size:,}")
        return super().read(size)


def _zip_members(file: IO[bytes], packed_bytes: int, meter: _Meter) -> Iterator[Member]:
    with zipfile.ZipFile(file) as archive:
        packed = 0
        for info in archive.infolist():
            packed += info.compress_size
            if packed > packed_bytes:
                raise refusal("members one after the other", f"some that overlap, such as {info.orig_filename!r}")
            yield Member(
                name=_zip_name(info),
                kind=_zip_kind(info),
                num_bytes=info.file_size,
                blocks=partial(_zip_blocks, archive, info, packed, meter),
            )


def _zip_name(info: zipfile.ZipInfo) -> str:
    """The name that was meant: macOS writes UTF-8 without the flag for it, which `zipfile` takes for code page 437."""
    name = info.orig_filename  # `filename` hides what follows a NUL
    if info.flag_bits & _ZIP_UTF_8_FLAG:
        return name
    try:
        return name.encode("cp437").decode("utf-8")
    except UnicodeError:
        return name


def _zip_kind(info: zipfile.ZipInfo) -> str:
    mode = info.external_attr >> 16
    if stat.S_ISLNK(mode):
        return "symbolic link"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "special file"
    if info.is_dir():
        return "folder"
    if info.flag_bits & 0x1:
        return "encrypted file"
    # The others would unpack a block into as much memory as they like.
    return (
        "file" if info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) else "file packed by a rare method"
    )


def _zip_blocks(archive: zipfile.ZipFile, info: zipfile.ZipInfo, packed: int, meter: _Meter) -> Iterator[bytes]:
    with _damage_refused(), archive.open(info) as data:
        while block := data.read(BLOCK_BYTES):
            meter.count(len(block), packed)
            yield block


class _TarStream:
    """The unpacked bytes of a tar archive, forward only: no size that lies leads `tarfile` around in a circle."""

    def __init__(self, stream: IO[bytes], file: IO[bytes], meter: _Meter) -> None:
        self._stream = stream
        self._file = file
        self._meter = meter
        self._position = 0
        self.last_header = b""

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        while self._position < position and self.take(position - self._position):
            pass

    def read(self, size: int) -> bytes:
        """For `tarfile`, which reads only headers with it."""
        if not 0 <= size <= _TAR_HEADER_BYTES:
            raise refusal(f"headers of at most {_TAR_HEADER_BYTES:,} bytes", f"{size:,}")
        self.last_header = self.take(size)
        return self.last_header

    def take(self, size: int) -> bytes:
        """Up to ``size`` bytes, and at most a block; none at the end."""
        data = self._stream.read(min(size, BLOCK_BYTES))
        self._position += len(data)
        self._meter.count(len(data), self._file.tell())
        return data

    def blocks(self, size: int) -> Iterator[bytes]:
        with _damage_refused():
            while size > 0 and (block := self.take(size)):
                size -= len(block)
                yield block


def _tar_members(stream: _TarStream) -> Iterator[Member]:
    archive = tarfile.TarFile(fileobj=cast(Any, stream), mode="r", encoding="utf-8")
    while (info := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined]  # or it keeps them all
        if len(archive.pax_headers) > _TAR_GLOBAL_HEADERS:
            raise refusal(f"at most {_TAR_GLOBAL_HEADERS} headers for all members", "more")
        yield Member(
            name=info.name,
            kind=_tar_kind(info),
            num_bytes=info.size,
            blocks=partial(stream.blocks, info.size),
        )
    # `tarfile` takes a damaged header, or none at all, for the end. The end is a block of zeros.
    if len(stream.last_header) != tarfile.BLOCKSIZE or any(stream.last_header):
        raise refusal("a whole archive", "one that ends early")
    while stream.take(BLOCK_BYTES):  # the packers' checksum comes last
        pass


def _tar_kind(info: tarfile.TarInfo) -> str:
    if info.isdir():
        return "folder"
    if info.isreg() and not info.issparse():
        return "file"
    return "symbolic link" if info.issym() else "hard link" if info.islnk() else "special file"
