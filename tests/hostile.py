"""Archives, honest and otherwise."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "tar.gz": lambda data: gzip.compress(data, 1, mtime=0),
    "tar.bz2": bz2.compress,
    "tar.xz": lambda data: lzma.compress(data, preset=0),
}


def tar_member(name: str, content: bytes = b"", **header: object) -> tuple[tarfile.TarInfo, bytes]:
    """A member with these fields of its header; its size is that of the content unless ``size`` is among them."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in header.items():
        setattr(info, field, value)
    return info, content


def tar_bytes(members: Sequence[tuple[tarfile.TarInfo, bytes]] | Mapping[str, bytes], packed: str = "tar") -> bytes:
    """A tar archive of members in order, or of plain files."""
    if isinstance(members, Mapping):
        members = [tar_member(name, content) for name, content in members.items()]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for info, content in members:
            buffer.write(info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))
            buffer.write(content + bytes(-len(content) % tarfile.BLOCKSIZE))
        archive.offset = buffer.tell()
    return PACKERS[packed](buffer.getvalue())


def zip_member(name: str, *, mode: int = stat.S_IFREG | 0o644, method: int = zipfile.ZIP_DEFLATED) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("x")
    info.filename = name  # as it is, a NUL among the rest
    info.external_attr = mode << 16
    info.compress_type = method
    return info


def zip_bytes(members: Sequence[tuple[zipfile.ZipInfo, bytes]] | Mapping[str, bytes]) -> bytes:
    """A zip archive of members in order, or of plain files."""
    if isinstance(members, Mapping):
        members = [(zip_member(name), content) for name, content in members.items()]
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as archive:
        warnings.simplefilter("ignore")  # of two members with one name
        for info, content in members:
            archive.writestr(info, content)
    return buffer.getvalue()
