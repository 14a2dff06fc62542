from __future__ import annotations

import contextlib
import os
import random
import stat
import struct
import tarfile
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hostile import PACKERS, tar_bytes, tar_member, zip_bytes, zip_member
from limits import small_files

import audiornn.downloads.members
from audiornn.downloads import Limits, extract
from audiornn.errors import CorpusError

CLIPS = {
    "corpus/yes/1.wav": random.Random(1).randbytes(4_000),
    "corpus/yes/2.wav": random.Random(2).randbytes(512),
    "corpus/zoom in/ä.wav": b"",
    "corpus/list.csv": b"path\n" * 10,
}
PACKED = {"zip": zip_bytes(CLIPS), **{name: tar_bytes(CLIPS, name) for name in PACKERS}}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty folder, some way below the one that tests look at."""
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    return folder


def unpack(content: bytes, place: Path, **options: Any) -> int:
    archive = place.parent.parent / "archive"
    archive.write_bytes(content)
    return extract(archive, place, **options)


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_refused(content: bytes, place: Path, *says: str, **options: Any) -> None:
    """One line that says all this and names the archive; nothing is there that was not before."""
    with pytest.raises(CorpusError) as caught:
        unpack(content, place, **options)
    message = str(caught.value)
    assert "\n" not in message and str(place.parent.parent / "archive") in message
    for text in says:
        assert text in message
    assert sorted(path.relative_to(place.parent.parent).as_posix() for path in place.parent.parent.rglob("*")) == [
        "a",
        "a/b",
        "archive",
    ]


@pytest.mark.parametrize("packed", PACKED)
def test_every_format_unpacks_to_the_same_files(place: Path, packed: str) -> None:
    told: list[tuple[int, int]] = []
    size = len(PACKED[packed])
    assert unpack(PACKED[packed], place, progress=lambda *numbers: told.append(numbers)) == 4
    assert content_of(place) == CLIPS
    assert told == sorted(told) and told[-1] == (size, size)


def test_modes_and_owners_are_not_taken_over(place: Path) -> None:
    before = os.umask(0o022)
    try:
        loud = {"mode": 0o6777, "uid": 1234, "gid": 1234}
        unpack(tar_bytes([tar_member("d", type=tarfile.DIRTYPE, **loud), tar_member("d/f", b"x", **loud)]), place)
        (place / "z").mkdir()
        mode = stat.S_IFREG | 0o6777
        unpack(
            zip_bytes([(zip_member("d/", mode=stat.S_IFDIR | 0o777), b""), (zip_member("f", mode=mode), b"")]),
            place / "z",
        )
    finally:
        os.umask(before)
    found = {path.name: path.stat() for path in (place / "d", place / "d" / "f", place / "z" / "d", place / "z" / "f")}
    assert {name: stat.S_IMODE(one.st_mode) for name, one in found.items()} == {"d": 0o755, "f": 0o644}
    assert {one.st_uid for one in found.values()} == {os.getuid()}


def test_clutter_is_left_out_and_top_folders_come_off(place: Path) -> None:
    clutter = {"corpus/.DS_Store": b"", "__MACOSX/corpus/yes/._1.wav": b"", "corpus/yes/._1.wav": b""}
    assert unpack(tar_bytes(clutter | CLIPS), place, strip=1) == 4
    assert content_of(place) == {name.removeprefix("corpus/"): content for name, content in CLIPS.items()}
    assert sorted(path.name for path in place.rglob("*") if path.is_dir()) == ["yes", "zoom in"]


@pytest.mark.parametrize("encoding", ["utf-8", "cp437"])
def test_names_in_a_zip_are_as_they_were_meant_without_a_flag_for_it(place: Path, encoding: str) -> None:
    name = "Grüße".encode(encoding)
    stand_in = "x" * len(name)
    content = zip_bytes({f"{stand_in}/1.wav": b""})
    assert content.count(stand_in.encode()) == 2
    unpack(content.replace(stand_in.encode(), name), place)
    assert list(content_of(place)) == ["Grüße/1.wav"]


def test_only_the_chosen_files_are_there(place: Path) -> None:
    assert unpack(PACKED["tar.gz"], place, only=lambda name: name == "corpus/list.csv") == 1
    assert [path.name for path in place.rglob("*")] == ["corpus", "list.csv"]


def test_a_fault_of_the_caller_is_not_taken_for_damage(place: Path) -> None:
    for packed in PACKED.values():
        with pytest.raises(ZeroDivisionError):
            unpack(packed, place, only=lambda name: 1 / 0)


def test_a_dotted_archive_has_its_folders(place: Path) -> None:
    folders = [tar_member(name, type=tarfile.DIRTYPE) for name in ("./", "./yes/", "./empty/")]
    assert unpack(tar_bytes([*folders, tar_member("./yes//1.wav", b"x")]), place) == 1
    assert content_of(place) == {"yes/1.wav": b"x"} and (place / "empty").is_dir()


NAMES = {
    "../evil": "'../evil'",
    "a/../../../evil": "'a/../../../evil'",
    "a/..": "'a/..'",
    "/tmp/evil": "'/tmp/evil'",
    "//host/evil": "'//host/evil'",
    "C:evil": "'C:evil'",
    "C:/evil": "'C:/evil'",
    "..\\evil": "evil'",
    "\\\\host\\evil": "evil'",
    "a\nb": r"'a\nb'",
    "a\x7fb": r"'a\x7fb'",
    "n" * 256: "256 bytes that start with 'nnnn",
    "d/" * 600 + "f": "1,201 bytes that start with 'd/d/",
    "__MACOSX/../../evil": "'__MACOSX/../../evil'",
    ".": "files with names, got '.'",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("packed", ["tar", "zip"])
def test_a_name_that_leads_astray_refuses_the_archive(place: Path, packed: str, name: str) -> None:
    members = {"before.wav": b"x", "deep/er/before.wav": b"x", name: b"evil", "after.wav": b"x"}
    assert_refused(tar_bytes(members) if packed == "tar" else zip_bytes(members), place, NAMES[name])


def test_a_nul_in_a_name_refuses_the_archive(place: Path) -> None:
    assert_refused(zip_bytes({"a.wav\0.exe": b"x"}), place, r"'a.wav\x00.exe'")
    header = tar_member("x", b"x")[0]
    long = tar_member("././@LongLink", b"a.wav\0.exe\0", type=tarfile.GNUTYPE_LONGNAME)
    unpack(tar_bytes([long, (header, b"x")]), place)
    assert content_of(place) == {"a.wav": b"x"}, "tar ends a name there"


@pytest.mark.parametrize(
    "names",
    [("a.wav", "a.wav"), ("a.wav", "./a.wav"), ("a", "a/b.wav"), ("a/b.wav", "a"), ("a/b/c.wav", "a//b")],
)
@pytest.mark.parametrize("packed", ["tar", "zip"])
def test_two_members_at_one_place_refuse_the_archive(place: Path, packed: str, names: tuple[str, str]) -> None:
    in_tar, in_zip = [tar_member(name, b"x") for name in names], [(zip_member(name), b"x") for name in names]
    content = tar_bytes(in_tar) if packed == "tar" else zip_bytes(in_zip)
    assert_refused(content, place, "expected a name for each member")


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ({"type": tarfile.SYMTYPE, "linkname": "/etc"}, "the symbolic link 'x'"),
        ({"type": tarfile.LNKTYPE, "linkname": "a.wav"}, "the hard link 'x'"),
        ({"type": tarfile.FIFOTYPE}, "the special file 'x'"),
        ({"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}, "the special file 'x'"),
        ({"type": tarfile.BLKTYPE}, "the special file 'x'"),
        ({"type": b"Z"}, "plain files and folders"),
        ({"type": tarfile.GNUTYPE_SPARSE}, "the special file 'x'"),
    ],
)
def test_a_tar_member_that_is_no_file_refuses_the_archive(place: Path, header: dict[str, Any], says: str) -> None:
    members = [tar_member("a.wav", b"x"), tar_member("x", **header), tar_member("x/evil", b"x")]
    assert_refused(tar_bytes(members), place, says)


@pytest.mark.parametrize(
    ("member", "says"),
    [
        (zip_member("x", mode=stat.S_IFLNK | 0o777), "the symbolic link 'x'"),
        (zip_member("x", mode=stat.S_IFIFO), "the special file 'x'"),
        (zip_member("x", method=zipfile.ZIP_BZIP2), "the file packed by a rare method 'x'"),
    ],
)
def test_a_zip_member_that_is_no_file_refuses_the_archive(place: Path, member: zipfile.ZipInfo, says: str) -> None:
    assert_refused(zip_bytes([(zip_member("a.wav"), b"x"), (member, b"/etc/passwd")]), place, says)


def test_an_encrypted_zip_is_refused(place: Path) -> None:
    content = bytearray(zip_bytes({"secret.wav": b"x" * 100}))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    assert_refused(bytes(content), place, "the encrypted file 'secret.wav'")


@pytest.mark.parametrize("packed", ["tar.gz", "zip"])
@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"max_members": 3}, "at most 3 members"),
        ({"max_bytes": 4_500}, "at most 4,500 bytes in all"),
        ({"max_member_bytes": 3_999}, "members of 0 to 3,999 bytes, got 4,000 in 'corpus/yes/1.wav'"),
    ],
)
def test_more_than_the_limits_is_refused(place: Path, packed: str, limits: dict[str, Any], says: str) -> None:
    assert_refused(PACKED[packed], place, says, limits=Limits(**limits))


def test_folders_count_as_well(place: Path) -> None:
    assert_refused(tar_bytes([tar_member("d/" * 40 + "f")]), place, "at most 20 folders", limits=Limits(max_members=20))


@pytest.mark.parametrize("packed", ["tar.gz", "tar.bz2", "tar.xz", "zip"])
def test_a_bomb_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch, packed: str) -> None:
    monkeypatch.setattr(audiornn.downloads.members, "_RATIO_FROM_BYTES", 1_000_000)
    members = {"bomb.wav": bytes(2_000_000)}
    bomb = zip_bytes(members) if packed == "zip" else tar_bytes(members, packed)
    assert_refused(bomb, place, "at most 100 bytes for each packed one", "an archive bomb?")


def test_what_is_not_unpacked_counts_in_a_tar(place: Path) -> None:
    bomb = tar_bytes({"._bomb": bytes(9_000_000), "left out": bytes(9_000_000)}, "tar.gz")
    assert_refused(bomb, place, "an archive bomb?", only=lambda name: name != "left out")


def test_members_that_share_their_bytes_are_refused(place: Path) -> None:
    content = zip_bytes({"1.wav": random.Random(0).randbytes(10_000), "2.wav": random.Random(1).randbytes(10_000)})
    directory = content.index(b"PK\x01\x02")
    second = content.index(b"PK\x01\x02", directory + 1)
    end = content.index(b"PK\x05\x06")
    entry = content[directory:second]
    copies = b"".join(entry.replace(b"1.wav", b"%d.wav" % number) for number in range(3, 9))
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 8, 8, end - directory + len(copies), directory, 0)
    assert_refused(content[:end] + copies + tail, place, "got some that overlap, such as ")


@pytest.mark.parametrize("told", [99, 101, 2**31])
def test_a_size_that_lies_is_refused(place: Path, told: int) -> None:
    content = bytearray(zip_bytes({"lie.wav": bytes(100)}))
    at = content.index(b"PK\x01\x02") + 24
    content[at : at + 4] = struct.pack("<L", told)
    assert_refused(bytes(content), place)


def test_wrong_checksums_are_refused(place: Path) -> None:
    stored = bytearray(zip_bytes([(zip_member("a.wav", method=zipfile.ZIP_STORED), b"abcdefgh" * 10)]))
    stored[stored.index(b"abcdefgh")] ^= 1
    assert_refused(bytes(stored), place, "Bad CRC-32 for file 'a.wav'")
    gzipped = bytearray(PACKED["tar.gz"])
    gzipped[-8] ^= 1
    assert_refused(bytes(gzipped), place, "CRC check failed")


@pytest.mark.parametrize("packed", PACKED)
def test_an_archive_that_ends_early_is_refused_wherever_it_ends(place: Path, packed: str) -> None:
    content = PACKED[packed]
    if packed == "tar":
        content = content[: len(content.rstrip(b"\0")) // 512 * 512 + 1024]  # to its end mark: padding may be missing
    for length in {*range(0, len(content), len(content) // 20), *range(0, len(content), 512), len(content) - 1}:
        assert_refused(content[:length], place)


@pytest.mark.parametrize("packed", PACKED)
def test_damage_is_refused_or_does_no_harm(place: Path, packed: str) -> None:
    draws = random.Random(0)
    for number in range(30):
        content = bytearray(PACKED[packed])
        for _ in range(draws.choice((1, 1, 3))):
            at = draws.choice((draws.randrange(len(content)), draws.randrange(512), -1 - draws.randrange(512)))
            content[at] = draws.choice((0, 255, content[at] ^ (1 << draws.randrange(8))))
        folder = place / str(number)
        folder.mkdir()
        with contextlib.suppress(CorpusError):
            unpack(bytes(content), folder)
            for path in folder.rglob("*"):
                assert stat.S_IFMT(path.lstat().st_mode) in (stat.S_IFREG, stat.S_IFDIR)
            continue
        folder.rmdir()  # it is empty
    assert [path.name for path in place.parent.parent.iterdir()] == ["a"]
    assert all(path.name.isdecimal() for path in place.iterdir())


@pytest.mark.parametrize("size", [-512, -1024, 2**40])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE])
def test_an_absurd_size_takes_neither_memory_nor_time(place: Path, kind: bytes, size: int) -> None:
    absurd = tar_member("._x", b"y" * 600, type=kind, size=size)
    content = tar_bytes([tar_member("a.wav", bytes(2048)), absurd], "tar.gz")
    says = "expected members of 0 to " if kind == tarfile.REGTYPE else "expected headers of at most 16,384 bytes"
    tracemalloc.start()
    assert_refused(content, place, says)
    assert tracemalloc.get_traced_memory()[1] < 4_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("at", [0, 100, 124, 148, 156])
def test_a_damaged_header_is_not_taken_for_the_end(place: Path, at: int) -> None:
    content = bytearray(tar_bytes({"1.wav": b"one", "2.wav": b"two", "3.wav": b"three"}))
    content[1024 + at] ^= 1
    assert_refused(bytes(content), place, "got one that ends early")


def test_headers_without_end_are_refused(place: Path) -> None:
    def header(number: int) -> bytes:
        record = f"comment{number}=x\n"
        return f"{len(record) + 3} {record}".encode()

    members = []
    for number in range(200):
        members += [tar_member("x", header(100 + number), type=tarfile.XGLTYPE), tar_member(f"{number}.wav", b"x")]
    assert_refused(tar_bytes(members), place, "at most 100 headers for all members")
    chain = [tar_member("././@LongLink", b"x\0", type=tarfile.GNUTYPE_LONGNAME) for _ in range(3000)]
    assert_refused(tar_bytes(chain), place)


def test_a_huge_zip_directory_is_not_read(place: Path) -> None:
    archive = place.parent.parent / "archive"
    with archive.open("wb") as file:
        file.write(b"PK\x03\x04")
        file.seek(2**27)
        file.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 2**27 - 4, 4, 0))
    tracemalloc.start()
    with pytest.raises(CorpusError, match="expected a directory of at most 67,108,864 bytes"):
        extract(archive, place)
    assert tracemalloc.get_traced_memory()[1] < 4_000_000
    tracemalloc.stop()


def test_memory_does_not_grow_with_a_tar(place: Path) -> None:
    def peak(members: list[tuple[tarfile.TarInfo, bytes]], folder: str) -> int:
        (place / folder).mkdir()
        content = tar_bytes(members, "tar.gz")
        archive = place.parent.parent / "archive"
        archive.write_bytes(content)
        tracemalloc.start()
        extract(archive, place / folder)
        taken = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return taken

    large = random.Random(0).randbytes(6_000_000)
    assert peak([tar_member("large.wav", large)], "one") < 4_000_000
    few, many = (peak([tar_member(f"{n}.wav", b"x") for n in range(count)], str(count)) for count in (100, 1000))
    assert many < few + 50_000


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"PK\x03\x04", b"RIFF" * 200, b"<html></html>", b"\x1f\x8b\x08", b"BZh9"]
)
def test_what_is_no_archive_is_refused(place: Path, content: bytes) -> None:
    assert_refused(content, place, "expected a whole zip or tar archive", "remove it to have that done again")


def test_a_file_above_the_top_folder_is_refused(place: Path) -> None:
    assert_refused(
        zip_bytes({"corpus/a.wav": b"", "stray.txt": b""}), place, "at least 1 folders deep, got 'stray.txt'", strip=1
    )


def test_a_full_disk_is_one_line_and_leaves_nothing(place: Path) -> None:
    archive = place.parent.parent / "archive"
    archive.write_bytes(PACKED["tar.gz"])
    with (
        small_files(1_000),
        pytest.raises(CorpusError, match=r"got File too large at '.*1.wav'; nothing of it was unpacked"),
    ):
        extract(archive, place)
    assert list(place.iterdir()) == []


def test_what_is_there_is_not_touched(place: Path) -> None:
    (place / "mine.wav").write_bytes(b"mine")
    with pytest.raises(CorpusError, match="expected an empty folder to unpack to"):
        unpack(PACKED["zip"], place)
    assert content_of(place) == {"mine.wav": b"mine"}
