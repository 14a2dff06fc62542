"""``audiornn download``: fetch a public corpus."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from audiornn.corpora.corpus import Corpus
from audiornn.manifest import NOISE, SPLITS


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
    fetch_corpus(command.data, data_dir, mirror=command.mirror, keep_archives=command.keep_archives)
    counts = Counter(row.split for row in command.data.utterances(data_dir))
    print_lines(
        [
            f"listed: {', '.join(f'{split} {counts[split]:,}' for split in (*SPLITS, NOISE) if counts[split])}",
            *published_lines(command.data, counts),
        ]
    )
    return 0


def fetch_corpus(corpus: Corpus, data_dir: Path, *, mirror: str | None = None, keep_archives: bool = False) -> None:
    """`Corpus.download` with progress, and a line on each archive and folder."""
    from audiornn.commands.console import print_lines, progress_bar

    progress = partial(progress_bar, in_bytes=True)
    for downloaded in corpus.download(data_dir, mirror=mirror, keep_archives=keep_archives, progress=progress):
        if downloaded.is_new and downloaded.installed is not None:
            pairs = zip(downloaded.copy.archives, downloaded.installed.archives, strict=True)
            print_lines(
                f"{put.file_name}: {put.num_bytes:,} bytes, {put.num_files:,} files, sha256 {put.sha256}, "
                f"{'as published' if archive.source.is_checked else 'not compared: none is published'}"
                for archive, put in pairs
            )
        what = "made" if downloaded.is_new else "was there" if downloaded.installed else "a copy of your own, as it is"
        print_lines([f"corpus: {downloaded.folder} ({what})"])
