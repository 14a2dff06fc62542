"""``audiornn download``: fetch a public corpus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from audiornn.corpora.corpus import Corpus
from audiornn.errors import ConfigError, CorpusError
from audiornn.manifest import NOISE, SPLITS, Utterance

if TYPE_CHECKING:
    from audiornn.corpora.public import Downloaded


@dataclass(frozen=True, kw_only=True)
class DownloadCommand:
    """Settings of ``audiornn download``."""

    data: Corpus
    data_dir: str
    mirror: str | None = None
    keep_archives: bool = False


def run(command: DownloadCommand) -> int:
    """Fetch and unpack the corpus, list what is in it, and print both."""
    from audiornn.commands.console import print_lines, published_lines

    data_dir = Path(command.data_dir)
    rows = fetch_corpus(command.data, data_dir, mirror=command.mirror, keep_archives=command.keep_archives)
    counts = Counter(row.split for row in rows)
    print_lines(
        [
            f"listed: {', '.join(f'{split} {counts[split]:,}' for split in (*SPLITS, NOISE) if counts[split])}",
            *published_lines(command.data, counts),
        ]
    )
    return 0


def check_download(download: bool, *, mirror: str | None, keep_archives: bool) -> None:
    """Refuse settings of a download beside ``download=false``.

    Raises:
        ConfigError: they would do nothing.
    """
    if not download and (mirror is not None or keep_archives):
        name = "keep_archives" if mirror is None else "mirror"
        raise ConfigError(f"expected {name} with download=true only, got it without; give download=true")


def fetch_corpus(
    corpus: Corpus, data_dir: Path, *, mirror: str | None = None, keep_archives: bool = False
) -> list[Utterance]:
    """`Corpus.download` with progress, and a line on each archive and folder; returns what is in it.

    Raises:
        CorpusError: it could not be had, or what is there is not the corpus; says what to remove to try again.
    """
    from audiornn.commands.console import print_lines, progress_bar

    progress = partial(progress_bar, in_bytes=True)
    done = corpus.download(data_dir, mirror=mirror, keep_archives=keep_archives, progress=progress)
    for downloaded in done:
        if downloaded.is_new and downloaded.installed is not None:
            pairs = zip(downloaded.copy.archives, downloaded.installed.archives, strict=True)
            print_lines(
                f"{put.file_name}: {put.num_bytes:,} bytes, {put.num_files:,} files, sha256 {put.sha256}, "
                f"{'as published' if archive.source.is_checked else 'not compared: none is published'}"
                for archive, put in pairs
            )
        what = "made" if downloaded.is_new else "was there" if downloaded.installed else "a copy of your own, as it is"
        print_lines([f"corpus: {downloaded.folder} ({what})"])
    try:
        return corpus.utterances(data_dir)
    except CorpusError as error:
        remedy = _remedy(done, data_dir)
        raise CorpusError(f"{error}; to have it downloaded anew, {remedy}" if remedy else str(error)) from error


def _remedy(done: Sequence[Downloaded], data_dir: Path) -> str:
    """What has to go; an archive stays where it was put by hand, and may be another one by the right name."""
    from audiornn.corpora.public import DOWNLOADS

    own = [downloaded.folder for downloaded in done if downloaded.installed is None and downloaded.copy.path is None]
    ours = [downloaded for downloaded in done if downloaded.installed is not None]
    archives = [
        (data_dir / DOWNLOADS / archive.source.file_name).absolute()
        for downloaded in ours
        for archive in downloaded.copy.archives
    ]
    away = [*(downloaded.folder for downloaded in ours), *(path for path in archives if path.exists())]
    told = [("move {} away", own), ("remove {}", away)]
    return " and ".join(text.format(" and ".join(f"'{path}'" for path in paths)) for text, paths in told if paths)
