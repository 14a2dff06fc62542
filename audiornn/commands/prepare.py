"""``audiornn prepare``: decode a corpus into a store."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from audiornn.audio import DEFAULT_SAMPLE_RATE, AudioConfig
from audiornn.corpora.corpus import Corpus


@dataclass(frozen=True, kw_only=True)
class PrepareCommand:
    """Settings of ``audiornn prepare``."""

    data: Corpus
    data_dir: str
    audio: AudioConfig = field(default_factory=AudioConfig)
    sample_rate: int = DEFAULT_SAMPLE_RATE
    strict: bool = False
    num_workers: int | None = None


def run(command: PrepareCommand) -> int:
    """Prepare the corpus and print what is in it."""
    from audiornn.commands.console import print_lines, print_store, progress_bar
    from audiornn.store import prepare

    with progress_bar("prepare") as progress:
        store = prepare(
            command.data,
            data_dir=Path(command.data_dir),
            sample_rate=command.sample_rate,
            audio=command.audio,
            strict=command.strict,
            num_workers=command.num_workers,
            progress=progress,
        )
    print_store(store)
    print_lines([f"store: {store.folder}"])
    return 0
