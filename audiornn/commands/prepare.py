"""``audiornn prepare``: decode a corpus into a store."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audiornn.audio import DEFAULT_SAMPLE_RATE, AudioConfig
from audiornn.commands.download import check_download, fetch_corpus
from audiornn.corpora.corpus import Corpus


@dataclass(frozen=True, kw_only=True)
class PrepareCommand:
    """Settings of ``audiornn prepare``."""

    data: Corpus
    data_dir: str
    audio: AudioConfig = field(default_factory=AudioConfig)
    streams: dict[str, Any] = field(default_factory=dict)
    reads_audio: bool = True
    sample_rate: int = DEFAULT_SAMPLE_RATE
    strict: bool = False
    num_workers: int | None = None
    download: bool = False
    mirror: str | None = None
    keep_archives: bool = False

    def __post_init__(self) -> None:
        check_download(self.download, mirror=self.mirror, keep_archives=self.keep_archives)


def run(command: PrepareCommand) -> int:
    """Prepare the corpus and print what is in it; returns 1 where clips of it are left out."""
    from audiornn.commands.console import print_lines, print_store, progress_bar
    from audiornn.inputs import SEQUENCE, parse_streams
    from audiornn.store import prepare

    streams = parse_streams(command.streams)
    clocks = {name: stream.clock for name, stream in streams.items() if stream.kind == SEQUENCE}
    data_dir = Path(command.data_dir)
    if command.download:
        fetch_corpus(command.data, data_dir, mirror=command.mirror, keep_archives=command.keep_archives)
    with progress_bar("prepare") as progress:
        store = prepare(
            command.data,
            data_dir=data_dir,
            sample_rate=command.sample_rate,
            audio=command.audio,
            reads_audio=command.reads_audio,
            sequences=clocks,
            strict=command.strict,
            num_workers=command.num_workers,
            progress=progress,
        )
    print_store(store, command.data, data_dir)
    print_lines([f"store: {store.folder}"])
    return 1 if store.num_rejected else 0
