from __future__ import annotations

import contextlib
import hashlib
import json
import random
import re
import shutil
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hostile import tar_bytes, zip_bytes
from limits import read_only_folder, small_files
from serving import CERTIFICATE, Answer, Server, serving

import audiornn.downloads.transfer
from audiornn.downloads import Archive, Fetched, Patience, Source, fetch, install, read_installed
from audiornn.downloads.fetching import one_at_a_time
from audiornn.errors import CorpusError

CONTENT = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PATIENCE = Patience(connect_seconds=5, read_seconds=10, retries=3, backoff_seconds=0.001)


@pytest.fixture(autouse=True)
def without_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def server(running: Server) -> Server:
    running.reset()
    return running


def source_of(*urls: str, **known: Any) -> Source:
    return Source(file_name="clips.zip", urls=urls, **({"num_bytes": len(CONTENT), "sha256": SHA256} | known))


def get(source: Source, folder: Path, patience: Patience = PATIENCE, **options: Any) -> Fetched:
    return fetch(source, folder / source.file_name, patience=patience, **options)


def refused(source: Source, folder: Path, *says: str, **options: Any) -> None:
    """One line, with all that it says; no file of that name."""
    with pytest.raises(CorpusError) as caught:
        get(source, folder, **options)
    message = str(caught.value)
    assert "\n" not in message
    for text in says:
        assert text in message
    assert not (folder / source.file_name).exists()


def assert_whole(folder: Path) -> None:
    """The file, and nothing beside it."""
    assert (folder / "clips.zip").read_bytes() == CONTENT
    assert [path.name for path in folder.iterdir()] == ["clips.zip"]


def test_a_file_comes_whole_and_as_it_is(server: Server, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    source = source_of(server.add("/clips.zip", CONTENT))
    fetched = get(source, tmp_path / "a" / "b", progress=lambda *numbers: told.append(numbers))
    assert_whole(tmp_path / "a" / "b")
    assert fetched == Fetched(path=tmp_path / "a" / "b" / "clips.zip", num_bytes=300_000, sha256=SHA256)
    assert told == sorted(told) and told[-1] == (300_000, 300_000) and {total for _, total in told} == {300_000}
    assert [request.accept_encoding for request in server.requests] == ["identity"]


def test_a_cut_connection_is_taken_up_where_it_ended(server: Server, tmp_path: Path) -> None:
    source = source_of(server.add("/clips.zip", CONTENT, etag='"one"'))
    server.answers.append(Answer(cut_after=200_000))
    get(source, tmp_path)
    assert_whole(tmp_path)
    asked = [(request.range, request.if_range) for request in server.requests]
    assert asked == [(None, None), ("bytes=200000-", '"one"')]
    assert server.sent == 300_000


def test_a_connection_that_is_reset_is_taken_up_again(server: Server, tmp_path: Path) -> None:
    source = source_of(server.add("/clips.zip", CONTENT))
    server.answers.extend(Answer(cut_after=after, reset=True) for after in (250_000, 0))  # the system may lose some
    get(source, tmp_path)
    assert_whole(tmp_path)
    assert len(server.requests) == 3


def test_tries_are_counted_from_the_last_that_brought_something(server: Server, tmp_path: Path) -> None:
    source = source_of(server.add("/clips.zip", CONTENT))
    server.answers.extend(Answer(cut_after=20_000) for _ in range(14))
    get(source, tmp_path, Patience(retries=1, backoff_seconds=0.001))
    assert_whole(tmp_path)
    assert server.ranges == [None, *(f"bytes={20_000 * number}-" for number in range(1, 15))]


def test_the_tries_that_are_left_are_told(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = source_of(server.add("/clips.zip", CONTENT))
    server.answers.extend(Answer(status=503) for _ in range(4))
    with caplog.at_level("INFO", logger="audiornn"):
        refused(source, tmp_path, "(4 tries)")
    assert [line.rpartition(": ")[2] for line in caplog.messages if "tries left" in line] == ["3", "2", "1"]


def test_a_server_that_never_comes_further_is_given_up(server: Server, tmp_path: Path) -> None:
    source = source_of(server.add("/clips.zip", CONTENT))
    server.answers.extend(Answer(cut_after=20_000, ignores_range=True) for _ in range(50))
    refused(source, tmp_path, "(4 tries) from http://127.0.0.1")
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    "answer",
    [Answer(ignores_range=True), Answer(status=416), Answer(shift=7), Answer(headers={"Content-Range": None})],
    ids=["whole", "416", "other range", "no range told"],
)
def test_a_server_without_proper_ranges_gives_the_whole_again(server: Server, tmp_path: Path, answer: Answer) -> None:
    source = source_of(server.add("/clips.zip", CONTENT))
    server.answers.extend([Answer(cut_after=100_000), answer])
    get(source, tmp_path)
    assert_whole(tmp_path)
    assert server.ranges[:2] == [None, "bytes=100000-"]
    assert server.ranges[2:] == ([] if answer.ignores_range else [None])


@pytest.mark.parametrize("ignores_condition", [False, True])
def test_parts_of_two_versions_are_not_joined(server: Server, tmp_path: Path, ignores_condition: bool) -> None:
    url = server.add("/clips.zip", bytes(300_000), etag='"one"')
    server.answers.append(Answer(cut_after=100_000))
    source = Source(file_name="clips.zip", urls=(url,))  # no digest would notice
    refused(source, tmp_path, "100000 bytes read", patience=Patience(retries=0))
    server.add("/clips.zip", CONTENT, etag='"two"')
    server.answers.append(Answer(ignores_condition=ignores_condition))
    assert get(source, tmp_path).sha256 == SHA256
    assert_whole(tmp_path)
    assert (server.requests[1].range, server.requests[1].if_range) == ("bytes=100000-", '"one"')


@pytest.mark.parametrize(
    ("headers", "known", "resumes"),
    [
        ({"ETag": 'W/"a"'}, {}, "Sat, 21 Nov 2026 12:00:00 GMT"),
        ({"ETag": None, "Last-Modified": None}, {}, "without a condition"),
        ({"ETag": None, "Last-Modified": None}, {"sha256": None}, None),
        ({"ETag": 'W/"a"', "Last-Modified": None}, {"sha256": None}, None),
    ],
)
def test_the_rest_is_asked_for_where_it_is_sure_to_fit(
    server: Server, tmp_path: Path, headers: dict[str, Any], known: dict[str, Any], resumes: str | None
) -> None:
    source = source_of(server.add("/clips.zip", CONTENT), **known)
    server.answers.extend([Answer(cut_after=100_000, headers=headers), Answer(headers=headers)])
    get(source, tmp_path)
    assert_whole(tmp_path)
    assert server.ranges == [None, "bytes=100000-" if resumes else None]
    assert server.requests[1].if_range == (None if resumes == "without a condition" else resumes)


def test_a_killed_process_leaves_a_beginning_that_the_next_goes_on_with(server: Server, tmp_path: Path) -> None:
    url = server.add("/clips.zip", CONTENT)
    server.answers.append(Answer(hang_after=123_456))
    part = tmp_path / "clips.zip.part"
    with fetching(url, tmp_path) as process:
        wait_for(lambda: part.exists() and part.stat().st_size >= 2**16, process)
        process.kill()
    assert not (tmp_path / "clips.zip").exists()
    there = part.stat().st_size
    sent = server.sent
    get(source_of(url), tmp_path)
    assert_whole(tmp_path)
    assert server.ranges == [None, f"bytes={there}-"]
    assert server.sent - sent == 300_000 - there


def test_a_process_killed_before_the_last_step_asks_for_nothing_more(server: Server, tmp_path: Path) -> None:
    url = server.add("/clips.zip", CONTENT)
    note = {"url": url, "etag": '"x"', "last_modified": None, "num_bytes": 300_000}
    (tmp_path / "clips.zip.part").write_bytes(CONTENT)
    (tmp_path / "clips.zip.part.json").write_text(json.dumps(note))
    get(source_of(url), tmp_path)
    assert_whole(tmp_path)
    assert server.requests == []


@pytest.mark.parametrize(
    "note",
    [
        None,
        "{",
        "[]",
        "[" * 100_000,
        '{"url": "URL", "etag": 1}',
        '{"url": 1, "size": 2}',
        '{"url": "http://elsewhere/clips.zip"}',
    ],
)
def test_a_beginning_of_unknown_origin_is_not_gone_on_with(server: Server, tmp_path: Path, note: str | None) -> None:
    (tmp_path / "clips.zip.part").write_bytes(bytes(1000))
    if note is not None:
        (tmp_path / "clips.zip.part.json").write_text(note.replace("URL", f"{server.url}/clips.zip"))
    get(source_of(server.add("/clips.zip", CONTENT)), tmp_path)
    assert_whole(tmp_path)
    assert server.ranges == [None]


def test_two_processes_fetch_once(server: Server, tmp_path: Path) -> None:
    url = server.add("/clips.zip", CONTENT)
    server.answers.append(Answer(hang_after=100_000))
    with fetching(url, tmp_path) as process, ThreadPoolExecutor() as pool:
        wait_for((tmp_path / "clips.zip.part").exists, process)
        second = pool.submit(get, source_of(url), tmp_path)
        time.sleep(0.1)
        assert not second.done()
        server.release.set()
        assert second.result(timeout=30).sha256 == SHA256
        assert process.wait() == 0
    assert len(server.requests) == 1
    assert_whole(tmp_path)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path, status: int) -> None:
    source = source_of(server.add("/clips.zip", CONTENT))
    server.answers.extend(
        Answer(status=status, headers={"Retry-After": when}) for when in ("0", "soon", "Sat, 21 Nov 2020 12:00:00 GMT")
    )
    get(source, tmp_path)
    assert_whole(tmp_path)
    server.answers.extend(Answer(status=status) for _ in range(4))
    refused(source, tmp_path / "other", f"got HTTP {status}", "(4 tries)")


def test_a_server_that_names_a_time_is_left_alone_until_then(server: Server, tmp_path: Path) -> None:
    source = source_of(server.add("/clips.zip", CONTENT))
    server.answers.append(Answer(status=503, headers={"Retry-After": "1"}))
    start = time.monotonic()
    get(source, tmp_path)
    assert time.monotonic() - start >= 1
    server.answers.append(Answer(status=429, headers={"Retry-After": "3600"}))
    refused(source, tmp_path / "other", "to come again in 3,600 s")


def test_silence_past_the_time_out_is_a_cut(server: Server, tmp_path: Path) -> None:
    source = source_of(server.add("/clips.zip", CONTENT))
    server.answers.append(Answer(hang_after=2**16))
    get(source, tmp_path, Patience(read_seconds=0.3, retries=3, backoff_seconds=0.001))
    assert_whole(tmp_path)
    assert server.ranges[:2] == [None, f"bytes={2**16}-"]


@pytest.mark.parametrize("told", [299_995, 300_005])
def test_another_length_than_known_is_refused_before_the_body(server: Server, tmp_path: Path, told: int) -> None:
    source = source_of(server.add("/clips.zip", CONTENT))
    server.answers.append(Answer(headers={"Content-Length": str(told)}))
    refused(source, tmp_path, f"a file of {told:,} bytes where 300,000 were expected")
    assert not (tmp_path / "clips.zip.part").exists()


def test_less_than_the_told_length_is_a_cut(server: Server, tmp_path: Path) -> None:
    source = source_of(server.add("/clips.zip", CONTENT), num_bytes=None, sha256=None)
    server.answers.extend(Answer(headers={"Content-Length": "300005"}, ignores_range=True) for _ in range(4))
    refused(source, tmp_path, "(4 tries)")


def test_without_a_told_length_the_known_one_counts(server: Server, tmp_path: Path) -> None:
    source = source_of(server.add("/clips.zip", CONTENT))
    server.answers.append(Answer(headers={"Content-Length": None}, cut_after=100_000))
    get(source, tmp_path)
    assert_whole(tmp_path)
    assert server.ranges == [None, "bytes=100000-"]


@pytest.mark.parametrize("known", [{}, {"num_bytes": None}])
def test_a_body_without_end_is_stopped(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: dict[str, Any]
) -> None:
    monkeypatch.setattr(audiornn.downloads.transfer, "_MOST_BYTES", 300_000)
    source = source_of(server.add("/clips.zip", CONTENT), **known)
    server.answers.append(Answer(endless=True))
    refused(source, tmp_path, "more than the 300,000 bytes expected")
    assert not list(tmp_path.glob("*.part*"))


def test_a_redirect_is_followed_and_its_own_body_is_not_read(server: Server, tmp_path: Path) -> None:
    server.add("/clips.zip", CONTENT)
    server.answers.append(Answer(status=302, headers={"Location": "/clips.zip?download=1"}, endless=True))
    get(source_of(f"{server.url}/old"), tmp_path)
    assert_whole(tmp_path)
    assert [request.path for request in server.requests] == ["/old", "/clips.zip?download=1"]
    server.answers.extend(Answer(status=302, headers={"Location": "/round"}) for _ in range(50))
    refused(source_of(f"{server.url}/round"), tmp_path / "other", "redirects without end")


def test_https_is_not_led_down_to_http(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = server.add("/clips.zip", CONTENT)
    with serving(secure=True) as secure:
        source = source_of(secure.add("/clips.zip", CONTENT))
        refused(source, tmp_path, "CERTIFICATE_VERIFY_FAILED")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATE))
        secure.answers.append(Answer(status=302, headers={"Location": url}))
        refused(source, tmp_path, f"a redirect from https to '{url}'")
        secure.answers.append(Answer(status=302, headers={"Location": "/clips.zip"}))
        get(source, tmp_path)
        assert_whole(tmp_path)
    assert server.requests == []


@pytest.mark.parametrize("name", ["sha256", "md5"])
def test_wrong_bytes_leave_nothing(server: Server, tmp_path: Path, name: str) -> None:
    url = server.add("/clips.zip", bytes(300_000))
    expected, got = (hashlib.new(name, data).hexdigest() for data in (CONTENT, bytes(300_000)))
    refused(source_of(url, **({"sha256": None} | {name: expected})), tmp_path, expected, got, url)
    assert not list(tmp_path.glob("*.part*"))


def test_without_a_known_digest_that_of_what_came_is_told(server: Server, tmp_path: Path) -> None:
    source = Source(file_name="clips.zip", urls=(server.add("/clips.zip", CONTENT),))
    assert get(source, tmp_path) == get(source, tmp_path)
    assert (get(source, tmp_path).sha256, get(source, tmp_path).num_bytes) == (SHA256, 300_000)
    assert len(server.requests) == 1


def test_a_web_page_is_no_file(server: Server, tmp_path: Path) -> None:
    source = Source(file_name="clips.zip", urls=(server.add("/clips.zip", b"<html>Log in</html>"),))
    server.answers.append(Answer(headers={"Content-Type": "text/html; charset=utf-8"}))
    refused(source, tmp_path, f"got a web page from {source.urls[0]}")


def test_a_falsely_told_encoding_changes_no_byte(server: Server, tmp_path: Path) -> None:
    source = source_of(server.add("/clips.zip", CONTENT))
    server.answers.append(Answer(headers={"Content-Encoding": "gzip"}))
    get(source, tmp_path)
    assert_whole(tmp_path)


def test_a_right_file_is_not_fetched_and_a_wrong_one_not_replaced(server: Server, tmp_path: Path) -> None:
    source = source_of(server.add("/clips.zip", CONTENT))
    (tmp_path / "clips.zip").write_bytes(CONTENT)
    assert get(source, tmp_path).sha256 == SHA256
    (tmp_path / "clips.zip").write_bytes(CONTENT[:-1])
    with pytest.raises(CorpusError, match=r"got 299,999 bytes where 300,000 .* at '.*/clips.zip'; remove it"):
        get(source, tmp_path)
    assert (tmp_path / "clips.zip").stat().st_size == 299_999
    assert server.requests == []


def test_the_next_place_is_asked_when_one_fails(server: Server, tmp_path: Path) -> None:
    missing, wrong = f"{server.url}/missing", server.add("/wrong", bytes(300_000))
    get(source_of(missing, wrong, server.add("/clips.zip", CONTENT)), tmp_path)
    assert_whole(tmp_path)
    refused(source_of(missing, wrong), tmp_path / "other", f"got HTTP 404 Not Found from {missing}; sha256", wrong)


@pytest.mark.parametrize("mirror", ["{server}/mirror", "{server}/mirror/", "{folder}", "file://{folder}/"])
def test_a_mirror_takes_the_place_of_all_addresses(server: Server, tmp_path: Path, mirror: str) -> None:
    server.add("/mirror/some%20clips.zip", CONTENT)
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "some clips.zip").write_bytes(CONTENT)
    place = mirror.format(server=server.url, folder=tmp_path / "mirror")
    url = server.add("/clips.zip", CONTENT)
    told: list[tuple[int, int]] = []
    source = Source(file_name="some clips.zip", urls=(url,), sha256=SHA256)
    target = tmp_path / "there" / "clips.zip"
    fetch(source, target, mirror=place, progress=lambda *numbers: told.append(numbers))
    assert_whole(target.parent)
    assert told[-1] == (300_000, 300_000)
    assert [request.path for request in server.requests if request.path == "/clips.zip"] == []
    with pytest.raises(
        CorpusError, match=r"got (HTTP 404|No such file).* from .*mirror/other.zip; try again, or get it"
    ):
        fetch(Source(file_name="other.zip", urls=(url,)), tmp_path / "other.zip", mirror=place)


def test_the_login_of_a_mirror_is_used_and_neither_shown_nor_kept(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.add("/mirror/clips.zip", CONTENT)
    mirror = server.url.replace("://", "://me:secret@") + "/mirror/?token=1"
    server.answers.extend([Answer(cut_after=100_000), Answer(status=503)])
    with caplog.at_level("INFO", logger="audiornn"):
        refused(
            source_of(),
            tmp_path,
            f"from {server.url}/mirror/clips.zip?token=1",
            mirror=mirror,
            patience=Patience(retries=0),
        )
        assert b"secret" not in (tmp_path / "clips.zip.part.json").read_bytes()
        get(source_of(), tmp_path, mirror=mirror)
    assert_whole(tmp_path)
    assert server.ranges == [None, "bytes=100000-", "bytes=100000-"]
    assert {request.path for request in server.requests} == {"/mirror/clips.zip?token=1"}
    assert {request.authorization for request in server.requests} == {"Basic bWU6c2VjcmV0"}
    assert "secret" not in caplog.text


def test_a_mirror_that_is_none_and_a_folder_in_the_place_of_a_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"expected an address or a folder as the mirror of clips\.zip, got nothing"):
        get(source_of(), tmp_path, mirror="")
    refused(source_of(), tmp_path, "got an address that is neither http nor https from ftp://x/", mirror="ftp://x")
    (tmp_path / "clips.zip").mkdir()
    with pytest.raises(CorpusError, match=r"expected clips\.zip, got a folder at '.*clips\.zip'; move it away"):
        get(source_of(), tmp_path)


def test_no_network_names_the_address_and_the_place(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/clips.zip"
        source = source_of(url, page="https://example.org/clips")
        told = f"got Connection refused (4 tries) from {url}; try again, or get it by other means (see https://example.org/clips)"
        refused(source, tmp_path, told, f"put it at '{tmp_path / 'clips.zip'}'")
        taken.listen()
        patience = Patience(read_seconds=0.05, retries=1, backoff_seconds=0.001)
        refused(source, tmp_path, f"got no answer in time (2 tries) from {url}", patience=patience)
    url = "http://clips.invalid/clips.zip"
    refused(source_of(url), tmp_path, f"from {url}; try again, or get it", patience=Patience(retries=0))


def test_a_file_that_only_people_can_get_is_asked_for(tmp_path: Path) -> None:
    source = source_of(page="https://example.org/form")
    refused(source, tmp_path, "got no address that a program may use", "https://example.org/form", str(tmp_path))


@pytest.mark.parametrize("url", ["clips", "ftp://127.0.0.1/clips.zip", "http://", "http://[/clips.zip"])
def test_an_address_that_is_none_is_one_line(tmp_path: Path, url: str) -> None:
    refused(source_of(url), tmp_path, f"from {url}; try again, or get it")


def test_a_full_disk_is_one_line_and_the_rest_can_follow(server: Server, tmp_path: Path) -> None:
    source = source_of(server.add("/clips.zip", CONTENT))
    with small_files(100_000):
        refused(source, tmp_path, "got File too large at ", "clips.zip", "; free space, or set another data_dir")
    assert len(server.requests) == 1
    get(source, tmp_path)
    assert_whole(tmp_path)
    assert server.ranges == [None, "bytes=100000-"]


@pytest.mark.parametrize("lies_on", ["server", "mirror"])
def test_a_file_for_which_there_is_no_room_is_not_begun(
    lies_on: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = source_of(server.add("/clips.zip", CONTENT)), tmp_path / "target"
    (tmp_path / "clips.zip").write_bytes(CONTENT)
    mirror = str(tmp_path) if lies_on == "mirror" else None
    room = shutil.disk_usage(tmp_path)._replace(free=len(CONTENT) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: room)
    says = f"got {room.free:,} bytes of free space for {len(CONTENT):,} bytes to come at "
    refused(source, target, says, mirror=mirror)
    assert not list(target.glob("*.part")) and len(server.requests) == (lies_on == "server")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: room._replace(free=len(CONTENT)))
    get(source, target, mirror=mirror)
    assert_whole(target)


def test_a_folder_that_cant_be_written_is_one_line(server: Server, tmp_path: Path) -> None:
    source = source_of(server.add("/clips.zip", CONTENT))
    (tmp_path / "file").touch()
    refused(source, tmp_path / "file" / "folder", "expected to write", "Not a directory")
    with read_only_folder() as folder:
        remedy = f"got Permission denied at '{folder}'; allow it to be written, or set another data_dir"
        refused(source, folder, remedy)
        refused(source, folder / "new", remedy)
        with pytest.raises(CorpusError, match=re.escape(remedy)):
            install([Archive(source=source)], folder / "corpus", downloads=tmp_path)
    assert server.requests == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"file_name": "../clips.zip"},
        {"file_name": ""},
        {"sha256": "AB" * 32},
        {"md5": "ab"},
        {"num_bytes": 0},
    ],
)
def test_a_source_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected|at least"):
        Source(**({"file_name": "clips.zip"} | wrong))


CLIPS = {"clips-main/a/1.wav": b"one", "clips-main/b/2.wav": b"two", "clips-main/list.csv": b"path\n"}
TESTS = {"3.wav": b"three", "README.md": b"Tests"}


@pytest.fixture
def archives(server: Server) -> list[Archive]:
    return [archive_of(server, "clips.zip", CLIPS, strip=1), archive_of(server, "test.zip", TESTS, unpack_to="test")]


def archive_of(server: Server, name: str, files: dict[str, bytes], **options: Any) -> Archive:
    content = zip_bytes(files)
    url = server.add(f"/{name}", content)
    digest = hashlib.sha256(content).hexdigest()
    return Archive(source=Source(file_name=name, urls=(url,), sha256=digest), **options)


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_corpus_appears_whole_with_a_record_of_its_archives(
    server: Server, tmp_path: Path, archives: list[Archive]
) -> None:
    opened: list[str] = []

    @contextlib.contextmanager
    def progress(name: str) -> Iterator[Any]:
        opened.append(name)
        yield lambda done, total: None

    folder = tmp_path / "data" / "corpus"
    installed = install(archives, folder, downloads=tmp_path / "downloads", patience=PATIENCE, progress=progress)
    content = content_of(folder)
    marker = json.loads(content.pop(".audiornn-download.json"))
    assert content == {
        "a/1.wav": b"one",
        "b/2.wav": b"two",
        "list.csv": b"path\n",
        "test/3.wav": b"three",
        "test/README.md": b"Tests",
    }
    assert installed == read_installed(folder) and installed.num_files == 5
    recorded = [(one["file_name"], one["sha256"], one["num_files"]) for one in marker["archives"]]
    assert recorded == [("clips.zip", archives[0].source.sha256, 3), ("test.zip", archives[1].source.sha256, 2)]
    assert opened == ["fetching clips.zip", "fetching test.zip", "unpacking clips.zip", "unpacking test.zip"]
    assert [path.name for path in folder.parent.iterdir()] == ["corpus"]
    assert sorted(path.name for path in (tmp_path / "downloads").iterdir()) == ["clips.zip", "test.zip"]

    (tmp_path / "downloads" / "clips.zip").unlink()
    assert install(archives, folder, downloads=tmp_path / "downloads") == installed
    assert len(server.requests) == 2


def test_archives_go_when_they_are_not_to_be_kept(tmp_path: Path, archives: list[Archive]) -> None:
    install(archives, tmp_path / "corpus", downloads=tmp_path / "downloads", keep_archives=False)
    assert list((tmp_path / "downloads").iterdir()) == []


@pytest.mark.parametrize("moment", ["forget", "_unpack_all", "remove_fetched"])
def test_archives_that_a_killed_process_fetched_go_too(tmp_path: Path, server: Server, moment: str) -> None:
    archive = archive_of(server, "clips.zip", {"1.wav": b"x"})
    script = f"""
        import os
        from pathlib import Path
        from audiornn.downloads import Archive, Source, install, installing
        def die(*_, **options):
            os.kill(os.getpid(), 9)
        if {moment!r} == "forget":
            os.fsync = lambda file: setattr(Path, "unlink", die)
        else:
            setattr(installing, {moment!r}, die)
        source = Source(file_name="clips.zip", urls=({archive.source.urls[0]!r},))
        install([Archive(source=source)], Path("corpus"), downloads=Path("downloads"), keep_archives=False)
    """
    with running_script(script, tmp_path) as process:
        process.wait()
    downloads = tmp_path / "downloads"
    assert (downloads / "clips.zip").is_file()
    assert install([archive], tmp_path / "corpus", downloads=downloads, keep_archives=False).num_files == 1
    assert list(downloads.iterdir()) == [] and len(server.requests) == 1


def test_archive_put_there_by_hand_after_a_kill_stays(tmp_path: Path, server: Server) -> None:
    archive = archive_of(server, "clips.zip", {"1.wav": b"x"})
    target = tmp_path / "downloads" / "clips.zip"
    fetch(archive.source, target, to_stay=False)
    content = target.read_bytes()
    target.unlink()
    time.sleep(0.01)
    target.write_bytes(content)
    install([archive], tmp_path / "corpus", downloads=target.parent, keep_archives=False)
    assert [path.name for path in target.parent.iterdir()] == ["clips.zip"]


HALF_A_ZIP = zip_bytes(CLIPS)[:-40]
WRONG = {
    "a web page": (b"\n<!DOCTYPE html><title>Log in</title>", "got a web page"),
    "half a zip": (HALF_A_ZIP, "got no archive to be unpacked (expected a whole zip or tar archive, got BadZipFile"),
    "half a tar": (tar_bytes(CLIPS, "tar.gz")[:-9], "got no archive to be unpacked (expected a whole zip or tar"),
    "nothing": (b"", "got no archive to be unpacked"),
    "text": (b"File not found", "got no archive to be unpacked"),
    "something else": (zip_bytes({"t/a/1.mp3": b"x"}), "got an archive of something else, without 'a/*.wav' in it"),
    "a path that leads out": (zip_bytes({"../a/1.wav": b"x"}), "expected paths below one folder, got '../a/1.wav'"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_no_digest_tells_is_read_before_it_gets_its_name(wrong: str, server: Server, tmp_path: Path) -> None:
    content, says = WRONG[wrong]
    url = server.add("/clips.zip", zip_bytes(CLIPS))
    source = Source(file_name="clips.zip", urls=(url,), page="https://example.org/clips")
    archive = Archive(source=source, strip=1, holds=("a/*.wav", "list.csv"))
    downloads, corpus = tmp_path / "downloads", tmp_path / "corpus"
    server.answers.append(Answer(body=content))
    with pytest.raises(CorpusError) as refusal:
        install([archive], corpus, downloads=downloads, patience=PATIENCE)
    assert says in str(refusal.value) and f"from {url}; try again, or get it by other means" in str(refusal.value)
    assert not corpus.exists() and not list(downloads.glob("clips.zip*"))
    downloads.mkdir(exist_ok=True)
    (downloads / "clips.zip").write_bytes(content)
    with pytest.raises(CorpusError, match=r"at '.*clips\.zip'; remove it to have it fetched again") as refusal:
        install([archive], corpus, downloads=downloads, patience=PATIENCE)
    assert says in str(refusal.value) and not corpus.exists()
    (downloads / "clips.zip").unlink()
    assert install([archive], corpus, downloads=downloads, patience=PATIENCE).num_files == 3


def test_only_the_chosen_files_are_unpacked(server: Server, tmp_path: Path) -> None:
    archive = archive_of(server, "clips.zip", CLIPS, strip=1, only=lambda name: name.startswith("clips-main/a/"))
    assert install([archive], tmp_path / "corpus", downloads=tmp_path).num_files == 1
    assert {name for name in content_of(tmp_path / "corpus") if "audiornn" not in name} == {"a/1.wav"}


def test_a_folder_of_other_origin_is_left_alone(server: Server, tmp_path: Path, archives: list[Archive]) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "mine.wav").write_bytes(b"mine")
    (tmp_path / "file").write_bytes(b"mine")
    for place in (tmp_path / "corpus", tmp_path / "file"):
        with pytest.raises(CorpusError, match=r"got a folder without .* at '.*'; use it as it is, or move it away"):
            install(archives, place, downloads=tmp_path / "downloads")
    assert content_of(tmp_path) == {"corpus/mine.wav": b"mine", "file": b"mine"}
    assert server.requests == []


def test_a_folder_of_other_archives_is_left_alone(server: Server, tmp_path: Path, archives: list[Archive]) -> None:
    install(archives, tmp_path / "corpus", downloads=tmp_path / "downloads")
    before = content_of(tmp_path)
    for others in (archives[:1], [archives[0], archive_of(server, "test.zip", {"x": b""}, unpack_to="test")]):
        with pytest.raises(CorpusError, match=r"expected what .* holds, got what clips.zip, test.zip held at"):
            install(others, tmp_path / "corpus", downloads=tmp_path / "downloads")
    assert content_of(tmp_path) == before


def test_one_refused_archive_leaves_no_corpus(server: Server, tmp_path: Path, archives: list[Archive]) -> None:
    hostile = archive_of(server, "hostile.zip", {"../../escaped": b"!"}, unpack_to="more")
    with pytest.raises(CorpusError, match=r"got '../../escaped' from '.*hostile.zip'; nothing of it was unpacked"):
        install([*archives, hostile], tmp_path / "data" / "corpus", downloads=tmp_path / "downloads")
    assert list((tmp_path / "data").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "downloads"]


def test_an_archive_that_brings_a_record_of_its_own_is_refused(server: Server, tmp_path: Path) -> None:
    archive = archive_of(server, "clips.zip", {".audiornn-download.json": b'{"archives": []}'})
    with pytest.raises(CorpusError, match="File exists"):
        install([archive], tmp_path / "corpus", downloads=tmp_path / "downloads")
    assert not (tmp_path / "corpus").exists()


def test_a_killed_unpacking_leaves_nothing_and_needs_no_second_download(server: Server, tmp_path: Path) -> None:
    archive = archive_of(server, "clips.zip", {f"{number}.wav": b"x" for number in range(100)})
    script = f"""
        import sys, time
        from pathlib import Path
        from audiornn.downloads import Archive, Source, install
        def pause(name):
            if name == "70.wav":
                time.sleep(60)
            return True
        source = Source(file_name="clips.zip", urls=({archive.source.urls[0]!r},))
        install([Archive(source=source, only=pause)], Path("corpus"), downloads=Path("downloads"))
    """
    with running_script(script, tmp_path) as process:
        wait_for(lambda: any(tmp_path.glob("corpus.*.unfinished/69.wav")), process)
        process.kill()
    assert not (tmp_path / "corpus").exists()
    assert install([archive], tmp_path / "corpus", downloads=tmp_path / "downloads").num_files == 100
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus", "downloads"]
    assert len(server.requests) == 1


def test_two_at_once_install_once(server: Server, tmp_path: Path, archives: list[Archive]) -> None:
    opened: list[str] = []

    @contextlib.contextmanager
    def progress(name: str) -> Iterator[Any]:
        opened.append(name)
        yield lambda done, total: None

    def work(_: int) -> Any:
        return install(archives, tmp_path / "corpus", downloads=tmp_path / "downloads", progress=progress)

    with ThreadPoolExecutor() as pool:
        first, second = pool.map(work, range(2))
    assert first == second
    assert len(server.requests) == 2 and len(opened) == 4


def test_one_at_a_time_works_and_no_lock_file_stays(tmp_path: Path) -> None:
    inside = []

    def work(number: int) -> int:
        with contextlib.suppress(ZeroDivisionError), one_at_a_time(tmp_path / "lock", tmp_path / "result"):
            inside.append(number)
            assert (len(inside), len(list(tmp_path.iterdir()))) == (1, 1)
            time.sleep(0.002)
            inside.remove(number)
            1 / (number % 2)
        return number

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(40))) == list(range(40))
    assert list(tmp_path.iterdir()) == []


def fetching(url: str, folder: Path) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    script = f"""
        from pathlib import Path
        from audiornn.downloads import Source, fetch
        fetch(Source(file_name="clips.zip", urls=({url!r},), sha256={SHA256!r}), Path("clips.zip"))
    """
    return running_script(script, folder)


@contextlib.contextmanager
def running_script(script: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], cwd=folder) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Until it holds, while the process lives."""
    end = time.monotonic() + 60
    while not condition():
        assert process.poll() is None and time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
