"""``audiornn download`` and ``download=true``, with a server that has archives of miniatures in the official layout."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest
from commandline import assert_refused, run, succeed
from hostile import zip_bytes
from miniatures import archive_of
from serving import Server, serving

from audiornn.cli.help import conf_dir, verb_help
from audiornn.commands.console import print_published, published_lines
from audiornn.corpora import CORPORA
from audiornn.corpora.arabic_speech_commands import ArabicSpeechCommands
from audiornn.corpora.audio_mnist import AudioMnist
from audiornn.corpora.corpus import Corpus
from audiornn.corpora.esc50 import Esc50
from audiornn.corpora.fluent_speech_commands import FluentSpeechCommands
from audiornn.corpora.folder import FolderCorpus
from audiornn.corpora.fsdd import Fsdd
from audiornn.corpora.public import Copy, PublicCorpus
from audiornn.corpora.ravdess import Ravdess
from audiornn.corpora.speech_commands import SpeechCommands
from audiornn.corpora.urban_sound8k import UrbanSound8k
from audiornn.errors import CorpusError
from audiornn.store import prepare

"""The top folder of the archive that makes a folder, where it has one."""


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def offer(corpus: PublicCorpus, minis: Path, server: Server) -> PublicCorpus:
    """Serve its miniature; returns the corpus with the digests of these archives."""
    copies = []
    for copy in corpus.copies():
        name, content = archive_of(copy, minis)
        server.add(f"/{name}", content)
        (archive,) = copy.archives
        known = {"num_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "md5": None}
        source = replace(archive.source, **(known if archive.source.is_checked else {}))
        copies.append(replace(copy, archives=(replace(archive, source=source),)))

    class Miniature(type(corpus)):  # type: ignore[misc]
        def copies(self) -> tuple[Copy, ...]:
            return tuple(copies)

    return Miniature(**{field.name: getattr(corpus, field.name) for field in fields(corpus)})


def part_of(folder: Path, pattern: str) -> bytes:
    """An archive of the right layout that lacks most of the corpus."""
    return zip_bytes({f"top/{path.relative_to(folder)}": path.read_bytes() for path in folder.glob(pattern)})


ALL = (
    ArabicSpeechCommands(),
    AudioMnist(),
    Esc50(),
    FluentSpeechCommands(),
    Fsdd(),
    Ravdess(channel="both"),
    SpeechCommands(),
    UrbanSound8k(),
)


@pytest.mark.parametrize("corpus", ALL, ids=lambda corpus: corpus.name)
def test_what_was_downloaded_is_the_corpus(corpus: PublicCorpus, minis: Path, server: Server, tmp_path: Path) -> None:
    offered = offer(corpus, minis, server)
    done = offered.download(tmp_path, mirror=server.url)
    assert all(each.is_new and each.installed is not None for each in done)
    rows, wanted = offered.utterances(tmp_path), corpus.utterances(minis)
    assert [row.utterance_id for row in rows] == [row.utterance_id for row in wanted]
    assert [(row.label, row.split, row.speaker) for row in rows] == [
        (row.label, row.split, row.speaker) for row in wanted
    ]
    assert not list((tmp_path / "downloads").glob("*.*"))
    requests = len(server.requests)
    assert [each.is_new for each in offered.download(tmp_path, mirror=server.url)] == [False] * len(done)
    assert len(server.requests) == requests


def test_a_wrong_archive_is_refused_by_its_digest(minis: Path, server: Server, tmp_path: Path) -> None:
    offered = offer(SpeechCommands(), minis, server)
    name = "/speech_commands_test_set_v0.02.tar.gz"
    server.add(name, server.files[name][:-1] + b"?")
    with pytest.raises(CorpusError, match=r"test_set_v0\.02\.tar\.gz, got sha256 .* where .* was expected"):
        offered.download(tmp_path, mirror=server.url)
    assert (tmp_path / "speech_commands_v0.02").is_dir()
    assert not (tmp_path / "speech_commands_test_set_v0.02").exists()
    with pytest.raises(CorpusError, match="2,428,923,189"):
        SpeechCommands().download(tmp_path / "real", mirror=server.url)


def test_a_copy_of_the_users_own_is_left_alone(minis: Path, server: Server, tmp_path: Path) -> None:
    shutil.copytree(minis / "ESC-50", tmp_path / "ESC-50-master")
    for corpus in (Esc50(), Esc50(path=str(tmp_path / "ESC-50-master"))):
        (done,) = corpus.download(tmp_path, mirror=server.url)
        assert (done.folder, done.installed) == (tmp_path / "ESC-50-master", None)
    assert not server.requests
    with pytest.raises(CorpusError, match=r"got nothing at '.*elsewhere'"):
        Esc50(path=str(tmp_path / "elsewhere")).download(tmp_path, mirror=server.url)


def test_an_archive_put_there_by_hand_is_taken_and_kept(minis: Path, server: Server, tmp_path: Path) -> None:
    corpus = offer(FluentSpeechCommands(), minis, server)
    with pytest.raises(CorpusError, match=r"see https://fluent\.ai.* put it at '(.*)'") as refusal:
        corpus.download(tmp_path)
    place = Path(str(refusal.value).split("'")[-2])
    with pytest.raises(
        CorpusError, match=r"get fluent_.* by hand \(see https://fluent\.ai.*, put it at '(.*)', and run"
    ) as told:
        corpus.utterances(tmp_path)
    assert str(place) in str(told.value)
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(server.files[f"/{place.name}"])
    corpus.download(tmp_path)
    assert corpus.utterances(tmp_path) and place.is_file()


@pytest.mark.parametrize("name", ["folder", "demo"])
def test_what_is_not_published_is_not_downloaded(name: str, tmp_path: Path) -> None:
    words = [f"data={name}", *(["data.path=clips"] if name == "folder" else [])]
    assert_refused("download", *words, cwd=tmp_path, says=[f"data={name}", "published"])
    if name == "folder":
        assert_refused("download", "data=folder", cwd=tmp_path, says="expected a published corpus to download")
    corpus: Corpus = FolderCorpus(path="clips")
    with pytest.raises(CorpusError, match="published corpus to download, got data=folder"):
        corpus.download(tmp_path)


def test_command_line_downloads_and_tells(minis: Path, server: Server, tmp_path: Path) -> None:
    name, content = archive_of(Fsdd().copies()[0], minis)
    server.add(f"/mirror/{name}", content)
    words = ("download", "data=fsdd", f"mirror={server.url}/mirror")
    printed = succeed(*words, "keep_archives=true", cwd=tmp_path)
    assert f"{name}: {len(content):,} bytes, 201 files, sha256 {hashlib.sha256(content).hexdigest()}, not" in printed
    assert f"corpus: {tmp_path / 'data' / 'free-spoken-digit-dataset'} (made)" in printed
    assert "listed: train 160, validation 20, test 20\n" in printed
    assert "expected counts differ: train 160 of 2,400, validation 20 of 300, test 20 of 300" in printed
    assert (tmp_path / "data" / "downloads" / name).is_file()
    assert "(was there)" in succeed(*words, cwd=tmp_path)
    done = run("download", "data=esc50", f"mirror={server.url}", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    refusal = done.stderr.splitlines()[-1]
    assert all(text in refusal for text in ("404", server.url, "put it at", "data/downloads/ESC-50-33c8ce9e"))
    assert_refused("download", cwd=tmp_path, says=["data=", "fsdd"])
    assert_refused("download", "fsdd", cwd=tmp_path, says="expected NAME=VALUE, got 'fsdd'; see")
    assert_refused("download", "data=2024", cwd=tmp_path, says="expected options of groups by their names")


def test_another_corpus_by_the_name_of_the_archive_can_be_got_rid_of(minis: Path, tmp_path: Path) -> None:
    (name, content), (_, other) = archive_of(Fsdd().copies()[0], minis), archive_of(Esc50().copies()[0], minis)
    mirror, data = tmp_path / "mirror", tmp_path / "data"
    by_hand = data / "downloads" / name
    for place in (mirror / name, by_hand):
        place.parent.mkdir(parents=True)
        place.write_bytes(other)
    words = ("data=fsdd", "mirror=mirror")
    wrong = "got an archive of something else, without 'recordings/*.wav' in it"
    assert_refused("download", *words, cwd=tmp_path, says=f"{wrong} at '{by_hand}'; remove it to have it fetched again")
    by_hand.unlink()
    assert wrong in run("download", *words, cwd=tmp_path).stderr
    assert not [path for path in data.rglob("*") if path.suffix != ".lock" and path != by_hand.parent]
    (mirror / name).write_bytes(content)
    by_hand.write_bytes(part_of(minis / "free-spoken-digit-dataset", "recordings/[0-8]_*.wav"))
    for _ in range(2):  # the folder is made, and then there
        refusal = run("download", *words, cwd=tmp_path).stderr.splitlines()[-1]
        assert refusal.endswith(f"remove '{data / 'free-spoken-digit-dataset'}' and '{by_hand}'")
    assert "downloaded anew, remove" in run("prepare", "data=fsdd", "download=true", cwd=tmp_path).stderr
    shutil.rmtree(data / "free-spoken-digit-dataset")
    by_hand.unlink()
    assert "listed: train 160" in succeed("download", *words, cwd=tmp_path)
    own = tmp_path / "own" / "fsdd"
    own.mkdir(parents=True)
    remedy = f"got none in '{own}'; to have it downloaded anew, move '{own}' away\n"
    assert remedy in run("download", *words, "data_dir=own", cwd=tmp_path).stderr
    assert run("download", *words, "data.path=own/fsdd", cwd=tmp_path).stderr.endswith(f"got none in '{own}'\n")


def test_prepare_downloads_when_asked(minis: Path, tmp_path: Path) -> None:
    name, content = archive_of(Fsdd().copies()[0], minis)
    words = ("prepare", "data=fsdd", "sample_rate=8000", "num_workers=0")
    assert_refused(*words, cwd=tmp_path, says="audiornn download data=fsdd")
    (tmp_path / "data" / "downloads").mkdir(parents=True)
    (tmp_path / "data" / "downloads" / name).write_bytes(content)
    printed = succeed(*words, "download=true", cwd=tmp_path)
    assert "(made)" in printed and "expected counts differ" in printed
    assert_refused("train", "data=folder", "data.path=x", "download=true", cwd=tmp_path, says="published corpus")


def test_prepare_and_train_take_the_settings_of_a_download(minis: Path, tmp_path: Path) -> None:
    name, content = archive_of(Fsdd().copies()[0], minis)
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / name).write_bytes(content)
    words = ("data=fsdd", "mirror=mirror")
    printed = succeed(
        "prepare", *words, "sample_rate=8000", "num_workers=0", "download=true", "keep_archives=true", cwd=tmp_path
    )
    assert "(made)" in printed and (tmp_path / "data" / "downloads" / name).read_bytes() == content
    assert_refused("prepare", *words, cwd=tmp_path, says="expected mirror with download=true only")
    assert_refused("train", "data=fsdd", "keep_archives=true", cwd=tmp_path, says="expected keep_archives with")
    (tmp_path / "empty").mkdir()
    train = run("train", "data=esc50", "download=true", "mirror=empty", cwd=tmp_path)
    assert train.returncode == 2 and f"No such file or directory from {Path('empty')}/ESC-50-" in train.stderr


def test_the_corpora_that_are_offered_are_those_that_are_published(tmp_path: Path) -> None:
    refusal = run("download", cwd=tmp_path).stderr
    offered = set(refusal.partition("one of ")[2].rpartition(", got")[0].split(", "))
    listed = {
        name for name in verb_help("download").partition("  data=\n")[2].split() if name in offered | set(CORPORA)
    }
    options = {path.stem for path in (conf_dir() / "data").glob("*.yaml")} - {"same"}
    assert (
        offered
        == listed
        == {name for name in options if name not in CORPORA or issubclass(CORPORA[name], PublicCorpus)}
    )
    assert "folder, fsdd, manifest, ravdess, speech" in run("prepare", "data=none", cwd=tmp_path).stderr
    assert ", same, " in run("evaluate", "data=none", "model=x", cwd=tmp_path).stderr


def test_published_counts_are_compared_with_what_is_listed(
    minis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(minis / "free-spoken-digit-dataset", tmp_path / "fsdd")
    (folder / "recordings" / "3_theo_12.wav").write_bytes(b"no audio")
    store = prepare(Fsdd(), data_dir=tmp_path, sample_rate=8000, num_workers=0)
    assert (len(store.indices("train")), store.num_rejected) == (159, 1)
    print_published(store, Fsdd(), tmp_path)
    print_published(store, Fsdd(protocol="speakers"), tmp_path)  # nothing is published of these
    assert capsys.readouterr().out == (
        "expected counts differ: train 160 of 2,400, validation 20 of 300, test 20 of 300\n"
    )
    counts = Fsdd().published_counts()
    assert published_lines(Fsdd(), counts) == ["expected counts: train 2,400, validation 300, test 300: the same"]
