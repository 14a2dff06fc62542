"""``audiornn doctor``: what is in a corpus and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from audiornn.audio import DEFAULT_SAMPLE_RATE
from audiornn.corpora.corpus import Corpus

if TYPE_CHECKING:
    from audiornn.doctor import Diagnosis

_MOST_ROWS = 60
_MOST_SPEAKERS = 10


@dataclass(frozen=True, kw_only=True)
class DoctorCommand:
    """Settings of ``audiornn doctor``."""

    data: Corpus
    data_dir: str
    output: str
    sample_rate: int = DEFAULT_SAMPLE_RATE
    speakers_may_cross: bool = False
    num_workers: int | None = None


def run(command: DoctorCommand) -> int:
    """Examine the corpus, print and write what was found; 1 where something makes results false."""
    from audiornn.commands.console import print_lines, progress_bar
    from audiornn.doctor import examine, save_diagnosis
    from audiornn.doctor.saving import PAGE_NAME, check_folder

    folder = Path(command.output)
    check_folder(folder)
    with progress_bar("doctor") as progress:
        diagnosis = examine(
            command.data,
            data_dir=Path(command.data_dir),
            sample_rate=command.sample_rate,
            speakers_may_cross=command.speakers_may_cross,
            num_workers=command.num_workers,
            progress=progress,
        )
    written = save_diagnosis(diagnosis, folder)
    print_diagnosis(diagnosis)
    print_lines([f"page: {written[PAGE_NAME]}"])
    return 0 if diagnosis.is_sound else 1


def print_diagnosis(diagnosis: Diagnosis) -> None:
    """Counts per split, class and speaker, then every finding with an example and what to do."""
    from audiornn.commands.console import print_lines, print_table
    from audiornn.doctor.counting import class_rows, speaker_rows, split_rows
    from audiornn.doctor.findings import counted

    print_table(f"{diagnosis.name}, split: {diagnosis.split_rule}", split_rows(diagnosis.evidence))
    classes, speakers = class_rows(diagnosis.evidence), speaker_rows(diagnosis.evidence)
    print_table(_title("clips per class", len(classes), _MOST_ROWS), classes[:_MOST_ROWS])
    print_table(_title("clips per speaker", len(speakers), _MOST_SPEAKERS), speakers[:_MOST_SPEAKERS])
    found = [
        {
            "severity": finding.severity,
            "found": finding.what,
            "such as": finding.examples[0] if finding.examples else "",
            "remedy": finding.remedy,
        }
        for finding in diagnosis.findings
    ]
    print_table("what was found", found)
    told = [counted(count, severity) for severity, count in diagnosis.severities.items() if count]
    print_lines([", ".join(told) or "nothing was found"])


def _title(what: str, count: int, shown: int) -> str:
    return what if count <= shown else f"{what}, {shown} of {count:,}; doctor.json has all"
