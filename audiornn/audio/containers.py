"""Whether an audio file is whole: what its container declares against the bytes that are there.

libsndfile shortens a file that was cut off to what is left of it and says nothing, except for FLAC. A recording that
lost its end would then be trained on as if it were complete, so the declared sizes are read here first.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from audiornn.audio.mp3 import check_mp3, is_mp3
from audiornn.errors import AudioError

# Sizes that programs writing to a pipe leave in a RIFF or AU header, because they cannot go back: "until the end".
_STREAMED = 0x7FFF_F000
_OGG_PAGE_LIMIT = 65_307


@dataclass(frozen=True, slots=True)
class Pcm16Layout:
    """Where the samples of a plain 16-bit PCM WAV file lie: ``num_samples`` per channel, interleaved, little endian."""

    offset: int
    num_samples: int
    channels: int
    sample_rate: int


def check_whole(file: BinaryIO, path: str | os.PathLike[str]) -> Pcm16Layout | None:
    """Raise `AudioError` if an open file ends before its container says; formats not known here pass.

    Returns:
        the layout of a plain 16-bit PCM WAV file, which needs no decoder; None for anything else.
    """
    name = os.fspath(path)
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size == 0:
        raise AudioError(f"expected at least 1 sample of audio, got an empty file from {name!r}")
    magic = file.read(12)
    end, layout = None, None
    if magic[:4] in (b"RIFF", b"RF64", b"BW64") and magic[8:] == b"WAVE":
        end, layout = _wav(file, size)
    elif (find_end := _FIND_END.get(magic[:4])) is not None:
        end = find_end(file, size)
    elif is_mp3(magic, path):
        check_mp3(file, size, path)
    if end is not None and end > size:
        raise AudioError(f"expected {end} bytes as the header says, got {size} (truncated) from {name!r}")
    return layout


def _wav(file: BinaryIO, size: int) -> tuple[int | None, Pcm16Layout | None]:
    form, data_size = b"", None
    while len(header := file.read(8)) == 8:
        kind, length = struct.unpack("<4sI", header)
        start = file.tell()
        if kind == b"ds64" and len(sizes := file.read(16)) == 16:
            data_size = struct.unpack("<QQ", sizes)[1]
        elif kind == b"fmt ":
            form = file.read(16)
        elif kind == b"data":
            if length == 0xFFFF_FFFF and data_size is not None:
                length = data_size
            end = start + length
            if end > size and data_size is None and length >= _STREAMED:
                return None, None
            return end, _pcm16(form, start, length)
        file.seek(start + length + (length & 1))
    return None, None


def _pcm16(form: bytes, offset: int, length: int) -> Pcm16Layout | None:
    if len(form) < 16:
        return None
    tag, channels, sample_rate, _, block, bits = struct.unpack("<HHIIHH", form)
    if tag != 1 or bits != 16 or channels == 0 or block != 2 * channels or sample_rate == 0:
        return None
    return Pcm16Layout(offset, length // block, channels, sample_rate)


def _aiff_end(file: BinaryIO, _: int) -> int | None:
    file.seek(12)
    while len(header := file.read(8)) == 8:
        kind, length = struct.unpack(">4sI", header)
        if kind == b"SSND":
            return file.tell() + int(length)
        file.seek(length + (length & 1), os.SEEK_CUR)
    return None


def _au_end(file: BinaryIO, _: int) -> int | None:
    file.seek(4)
    header = file.read(8)
    if len(header) < 8:
        return None
    offset, length = struct.unpack(">II", header)
    return None if length >= _STREAMED else offset + length


def _caf_end(file: BinaryIO, size: int) -> int | None:
    file.seek(8)
    while len(header := file.read(12)) == 12:
        kind, length = struct.unpack(">4sq", header)
        if kind == b"data":
            return None if length < 0 else file.tell() + int(length)
        if length < 0:
            return None
        if (end := file.tell() + int(length)) > size:
            return end
        file.seek(end)
    # The sample data are the one chunk a whole file must have, and they usually come last.
    return size + 1


def _w64_end(file: BinaryIO, size: int) -> int | None:
    file.seek(40)
    while len(header := file.read(24)) == 24:
        start = file.tell() - 24
        length = struct.unpack("<Q", header[16:])[0]
        if header[:4] == b"data" or start + length > size:
            return start + int(length)
        if length < 24:
            return None
        file.seek(start + (length + 7) // 8 * 8)
    return None


def _ogg_end(file: BinaryIO, size: int) -> int | None:
    """End of the last page that begins in the file: a cut almost never falls between two pages."""
    start = max(0, size - 2 * _OGG_PAGE_LIMIT)
    file.seek(start)
    tail = file.read()
    page = tail.rfind(b"OggS")
    if page < 0:
        return None
    header = tail[page : page + 27]
    if len(header) < 27:
        return start + page + 27
    table = tail[page + 27 : page + 27 + header[26]]
    return start + page + 27 + header[26] + sum(table)


_FIND_END: dict[bytes, Callable[[BinaryIO, int], int | None]] = {
    b"FORM": _aiff_end,
    b".snd": _au_end,
    b"caff": _caf_end,
    b"riff": _w64_end,
    b"OggS": _ogg_end,
}
