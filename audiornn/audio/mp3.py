"""Walk the frames of an MP3 stream, which has no container to declare its length."""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

from audiornn.errors import AudioError

# Kilobits per second by bit-rate index 1 to 14; keys are (is MPEG-1, layer).
_BIT_RATES = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SAMPLE_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_SEARCH_BYTES = 2048
_RELEASE_BYTES = 1 << 24


@dataclass(frozen=True, slots=True)
class _Frame:
    size: int
    bit_rate: int


def is_mp3(magic: bytes, path: str | os.PathLike[str]) -> bool:
    """True where libsndfile would hand the file to its MP3 decoder: by first bytes, or else by the name's ending."""
    if magic[:3] == b"ID3" or (len(magic) > 1 and magic[0] == 0xFF and magic[1] & 0xE0 == 0xE0):
        return True
    return os.fspath(path).lower().endswith(".mp3") and magic[:4] not in (b"fLaC", b"RIFX")


def check_mp3(file: BinaryIO, size: int, path: str | os.PathLike[str]) -> None:
    """Raise `AudioError` for a stream that is cut off, that is no MP3, or whose length libsndfile would get wrong.

    Without a Xing, Info or VBRI header libsndfile takes the length from the first frame's bit rate and stops there:
    at a variable bit rate it may return half of the recording.
    """
    name = os.fspath(path)
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        position = _first_frame(data, size)
        if position is None:
            raise AudioError(f"expected audio, got a file with no MP3 frame in it from {name!r}")
        declared = _declared_frames(data[position : position + 256])
        num_frames, bit_rates, released = 0, set(), 0
        while (frame := _parse(data[position : position + 4])) is not None:
            position += frame.size
            # Else a long file would count as memory of this process; Windows has no such call.
            if position - released > _RELEASE_BYTES and hasattr(data, "madvise"):
                data.madvise(mmap.MADV_DONTNEED, 0, min(position, size) // mmap.PAGESIZE * mmap.PAGESIZE)
                released = position
            num_frames += 1
            bit_rates.add(frame.bit_rate)
    # The frame that carries the header is not counted by it.
    if position > size or (declared is not None and num_frames - 1 < declared):
        raise AudioError(f"expected a last MP3 frame that is whole, got {size} bytes (truncated) from {name!r}")
    if declared is None and len(bit_rates) > 1:
        raise AudioError(
            f"expected a length header in an MP3 of variable bit rate, got none from {name!r}; encode it again"
        )


def _first_frame(data: mmap.mmap, size: int) -> int | None:
    """Where the first frame starts that another one follows, or that fills the file."""
    start = 0
    while data[start : start + 3] == b"ID3" and start + 10 <= size:
        digits = data[start + 6 : start + 10]
        start += 10 + sum((digit & 0x7F) << shift for digit, shift in zip(digits, (21, 14, 7, 0), strict=True))
    for position in range(start, min(start + _SEARCH_BYTES, size - 4)):
        if data[position] == 0xFF and (frame := _parse(data[position : position + 4])) is not None:
            following = position + frame.size
            if following >= size - 4 or _parse(data[following : following + 4]) is not None:
                return position
    return None


def _parse(header: bytes) -> _Frame | None:
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bit_rate_index, rate_index, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer == 4 or bit_rate_index in (0, 15) or rate_index == 3:
        return None
    bit_rate = _BIT_RATES[version == 3, layer][bit_rate_index - 1] * 1000
    sample_rate = _SAMPLE_RATES[version][rate_index]
    if layer == 1:
        return _Frame((12 * bit_rate // sample_rate + padding) * 4, bit_rate)
    slots = 72 if layer == 3 and version != 3 else 144
    return _Frame(slots * bit_rate // sample_rate + padding, bit_rate)


def _declared_frames(frame: bytes) -> int | None:
    """Frame count of a Xing, Info or VBRI header, which lies in the first frame."""
    for mark in (b"Xing", b"Info"):
        at = frame.find(mark)
        if at >= 0 and len(frame) >= at + 12 and frame[at + 7] & 1:
            return int(struct.unpack(">I", frame[at + 8 : at + 12])[0])
    at = frame.find(b"VBRI")
    if at >= 0 and len(frame) >= at + 18:
        return int(struct.unpack(">I", frame[at + 14 : at + 18])[0])
    return None
