"""Files that nothing can be made of, as small generators: name and bytes, by what they should have been."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Iterator

import numpy as np
import soundfile
from hostile import tar_bytes, tar_member, zip_bytes, zip_member
from signals import noise

Bad = tuple[str, bytes]

FOREIGN = {
    "nothing": b"",
    "a NUL": b"\0",
    "NULs": bytes(4_096),
    "text": b"this is no such file\n",
    "a page": b"<!doctype html><html><body>404 Not Found</body></html>",
    "a pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(64),
    "a program": b"\x7fELF\x02\x01\x01" + bytes(64),
    "a PDF": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "a pickle": pickle.dumps({"weights": [1, 2, 3]}),
    "0xff": b"\xff" * 512,
}
"""What is none of the files below."""


class Bomb:
    """What runs a command where a pickle is trusted."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


def cut(whole: bytes, parts: int) -> Iterator[Bad]:
    """A file that ends too soon."""
    for part in range(1, parts):
        yield f"cut at {part} of {parts}", whole[: len(whole) * part // parts]


def safetensors(whole: bytes) -> Iterator[Bad]:
    """Of weights of a model."""
    size = struct.unpack("<Q", whole[:8])[0]
    header, data = json.loads(whole[8 : 8 + size]), whole[8 + size :]
    name = next(each for each in header if each != "__metadata__")
    entry = header[name]

    def packed(document: object, content: bytes = data) -> bytes:
        text = document if isinstance(document, bytes) else json.dumps(document).encode()
        return struct.pack("<Q", len(text)) + text + content

    yield from FOREIGN.items()
    yield from cut(whole, 24)
    for number in (0, 1, 7, size - 1, size + 1, len(whole), 2**31, 2**32, 2**63 - 1, 2**64 - 1):
        yield f"header of {number} bytes", struct.pack("<Q", number) + whole[8:]
    for text in (b"", b"[]", b"{", b'"x"', b"null", b"{" * 5_000, b"[" * 100_000, b'{"a": 1}', b"\xff" * 50):
        yield f"header {text[:10]!r}", packed(text)
    for key, values in {
        "dtype": ("F31", "", None, 7, "BOOL", "F64", "I64", "BF16", "F8_E4M3"),
        "shape": ([], [-1], [2**62, 2**62], [2**40], ["1"], None, 5, [1] * 10_000, [[1]]),
        "data_offsets": ([], [0], [-8, 8], [8, 0], [0, 2**62], [2**62, 2**62 + 8], ["0", "8"], None, [0, 1], [4, 8]),
    }.items():
        for value in values:
            yield f"{key} {str(value)[:30]}", packed({**header, name: {**entry, key: value}})
    yield "one less", packed({each: value for each, value in header.items() if each != name})
    yield "one more", packed({**header, "another": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}})
    yield "none", packed({})
    yield "more behind it", whole + bytes(64)
    yield "one bit changed", whole[:-1] + bytes([whole[-1] ^ 1])
    yield "zeros", packed(header, bytes(len(data)))


def configs(whole: bytes) -> Iterator[Bad]:
    """Of ``config.json`` of a model."""
    document = json.loads(whole)
    yield from FOREIGN.items()
    yield from cut(whole, 16)
    yield "UTF-16", whole.decode().encode("utf-16")
    for text in ("[]", "null", "1", '"x"', "{}", "[" * 50_000, '{"format": ' * 2_000, "NaN", "-Infinity", "1" * 10_000):
        yield f"{text[:12]}", text.encode()
    for name in ("format", "format_version", "tasks", "features", "model", "weights_sha256"):
        yield f"no {name}", json.dumps({key: value for key, value in document.items() if key != name}).encode()
        yield f"{name} 7", json.dumps({**document, name: 7}).encode()
    yield "another version", json.dumps({**document, "format_version": 10**6}).encode()
    yield "a lone surrogate", json.dumps({**document, "weights_sha256": "\ud800"}).encode()


def onnx(whole: bytes) -> Iterator[Bad]:
    """Of a model as ONNX."""
    yield from FOREIGN.items()
    yield from cut(whole, 12)
    yield "another graph", whole[:200] + bytes(len(whole) - 200)


def recordings() -> Iterator[Bad]:
    """Of audio."""
    yield from FOREIGN.items()
    whole = {}
    for container, coding in (("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("AIFF", "PCM_16")):
        file = io.BytesIO()
        soundfile.write(file, noise(4_000, seed=1), 16_000, format=container, subtype=coding)
        whole[container] = file.getvalue()
    for container, content in whole.items():
        for size in (4, 12, 20, 30):
            yield f"{size} bytes of {container}", content[:size]
        yield f"{container} without its beginning", content[100:]
        yield f"{container} with zeros in its header", bytes(64) + content[64:]
    fields = ("format", "channels", "rate", "bytes per second", "bytes per frame", "bits")
    sound = dict(zip(fields, (1, 1, 16_000, 32_000, 2, 16), strict=True))
    for change in (
        {"channels": 0},
        {"rate": 0},
        {"bits": 0, "bytes per frame": 0},
        {"format": 0},
        {"format": 0xABCD},
        {"channels": 65_535},
    ):
        header = struct.pack("<HHIIHH", *{**sound, **change}.values())
        body = b"WAVEfmt " + struct.pack("<I", 16) + header + b"data" + struct.pack("<I", 8_000) + bytes(8_000)
        yield f"WAV of {change}", b"RIFF" + struct.pack("<I", len(body)) + body
    empty = b"WAVEfmt " + struct.pack("<I", 16) + struct.pack("<HHIIHH", *sound.values()) + b"data" + bytes(4)
    yield "WAV without a sample", b"RIFF" + struct.pack("<I", len(empty)) + empty
    file = io.BytesIO()
    soundfile.write(file, np.full(4_000, np.nan, np.float32), 16_000, format="WAV", subtype="FLOAT")
    yield "WAV of nothing but NaN", file.getvalue()


def manifests() -> Iterator[Bad]:
    """Of ``manifest.csv`` beside ``a.wav``, a second long."""
    yield from ((name, content) for name, content in FOREIGN.items() if name != "0xff")
    yield "a header alone", b"path,label\n"
    yield "no path", b"file,label\na.wav,x\n"
    yield "no header", b"a.wav,x\n"
    yield "two columns of one name", b"path,label,label\na.wav,x,y\n"
    yield "more cells than columns", b"path,label\na.wav,x,y,z\n"
    yield "fewer cells than columns", b"path,label,split\na.wav\n"
    yield "an open quotation", b'path,label\n"a.wav,x\n'
    yield "UTF-16", "path,label\na.wav,x\n".encode("utf-16-le")
    yield "no file", b"path,label\nb.wav,x\n"
    yield "a folder", b"path,label\n.,x\n"
    yield "an address", b"path,label\nhttps://example.org/a.wav,x\n"
    yield "a NUL in a path", b"path,label\na\0.wav,x\n"
    yield "a long path", b"path,label\n" + b"a" * 5_000 + b",x\n"
    yield "a path of nothing", b"path,label\n,x\n"
    yield "the same twice", b"path,label\na.wav,x\na.wav,x\n"
    yield "the same with two labels", b"path,label\na.wav,x\na.wav,y\n"
    for split in ("tset", "0", "TRAIN;", "train test"):
        yield f"split {split}", f"path,label,split\na.wav,x,{split}\n".encode()
    for start, end in (
        *(("-1", "0.5"), ("0.5", "0.2"), ("0.5", "0.5"), ("x", "1"), ("0", "x"), ("nan", "1"), ("0", "inf")),
        *(("1e400", "2"), ("0", "-1"), ("5", "6"), ("0", "1,5"), ("0x1", "1")),
    ):
        yield f"from {start} to {end}", f'path,label,start,end\na.wav,x,"{start}","{end}"\n'.encode()
    for gaps in ("x", "0.5", "[[1]]", "[[0.5, 0.2]]", "[[-1, 0.2]]", "{}", "[[0, NaN]]"):
        yield f"gaps {gaps}", f'path,label,gaps\na.wav,x,"{gaps}"\n'.encode()


def archives() -> Iterator[Bad]:
    """Of a zip archive of class folders."""
    file = io.BytesIO()
    soundfile.write(file, noise(4_000, seed=1), 16_000, format="WAV", subtype="PCM_16")
    clips = {f"{label}/{number}.wav": file.getvalue() for label in "ab" for number in range(3)}
    yield from FOREIGN.items()
    yield from cut(zip_bytes(clips), 8)
    for name in (
        "../x.wav",
        "/etc/x.wav",
        "a/../../x.wav",
        "C:/x.wav",
        "a\\..\\..\\x.wav",
        "a/\0.wav",
        "a/" + "b" * 300,
    ):
        yield f"{name[:12]!r} in it", zip_bytes([(zip_member(name), file.getvalue())])
    yield "a link in it", zip_bytes([(zip_member("a/x.wav", mode=0o120777), b"/etc/passwd")])
    yield "twice the same", zip_bytes([(zip_member("a/x.wav"), b"1"), (zip_member("a/x.wav"), b"2")])
    yield "a bomb", zip_bytes([(zip_member("a/x.wav"), bytes(300_000_000))])
    yield "no file in it", zip_bytes({})
    yield "a tar", tar_bytes([tar_member("../x.wav", b"x")])
    with zipfile.ZipFile(locked := io.BytesIO(), "w") as archive:
        archive.writestr("a/x.wav", b"x")
    content = bytearray(locked.getvalue())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    yield "a password on it", bytes(content)


def one_bit_changed(whole: bytes, number: int = 0) -> bytes:
    """A zip file with a bit of one of its largest parts changed; what lies between parts would be no damage."""
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        part = sorted(archive.infolist(), key=lambda info: info.file_size, reverse=True)[number]
    name, extra = struct.unpack("<HH", whole[part.header_offset + 26 : part.header_offset + 30])
    place = part.header_offset + 30 + name + extra + part.file_size // 2
    return whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :]


def checkpoints(whole: bytes, mark: str) -> Iterator[Bad]:
    """Of the last checkpoint of a run; ``mark`` is made by those that are programs."""
    yield from FOREIGN.items()
    yield from cut(whole, 6)
    bomb = pickle.dumps(Bomb(mark))
    for number in range(3):
        yield f"a bit changed in part {number}", one_bit_changed(whole, number)
    yield "a program", bomb
    yield "a program in a zip", zip_bytes({"archive/data.pkl": bomb, "archive/version": b"3\n"})
    yield "another document", zip_bytes({"archive/data.pkl": pickle.dumps([1], 2), "archive/version": b"3\n"})


def figures(whole: bytes) -> Iterator[Bad]:
    """Of ``metrics.json`` of an evaluation."""
    yield from FOREIGN.items()
    yield from cut(whole, 10)
    document = json.loads(whole)
    for name in ("task", "provenance"):
        for value in (None, [], {}, 7):
            yield f"{name} {value}", json.dumps({**document, name: value}).encode()


def answers(whole: bytes) -> Iterator[Bad]:
    """Of ``predictions.csv`` of an evaluation."""
    yield from FOREIGN.items()
    lines = whole.decode().splitlines()
    yield "a row less", "\n".join(lines[:-1]).encode()
    yield "a row twice", "\n".join([*lines, lines[-1]]).encode()
    yield "another id", "\n".join([*lines[:-1], "x" + lines[-1]]).encode()
    for number, value in enumerate(lines[0].split(",")):
        if value == "target" or value.startswith("probability of"):
            cells = lines[1].split(",")
            cells[number] = "nonsense"
            yield f"nonsense as {value}", "\n".join([lines[0], ",".join(cells), *lines[2:]]).encode()
    yield "no column of targets", "\n".join(lines).replace("target", "goal", 1).encode()
