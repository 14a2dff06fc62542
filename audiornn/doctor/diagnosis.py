"""Examine a corpus: every clip once, then the whole."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from audiornn import __version__
from audiornn.audio import DEFAULT_SAMPLE_RATE
from audiornn.corpora.corpus import Corpus
from audiornn.doctor.counting import class_rows, speaker_rows, split_rows
from audiornn.doctor.duplicates import find_copies, find_near_copies
from audiornn.doctor.evidence import Evidence
from audiornn.doctor.examining import Examined, examine_clips, segment_of
from audiornn.doctor.findings import ERROR, SEVERITIES, Finding, find_all
from audiornn.doctor.fingerprint import FINGERPRINT_SIZE
from audiornn.errors import ConfigError, CorpusError
from audiornn.manifest import Utterance, check_utterances
from audiornn.progress import Progress
from audiornn.sequences import SEQUENCE_SUFFIX
from audiornn.workers import available_cores

CLIP_COLUMNS: dict[str, type] = {
    "utterance_id": str,
    "path": str,
    "start_seconds": float,
    "end_seconds": float,
    "split": str,
    "label": str,
    "speaker": str,
    "problem": str,
    "reason": str,
    "sample_rate": int,
    "channels": int,
    "encoding": str,
    "seconds": float,
    "peak": float,
    "level_db": float,
    "silent": bool,
    "silence_before": float,
    "silence_after": float,
    "clipped": int,
    "dc_offset": float,
    "clicks": int,
    "missing": int,
    "digest": str,
    "copies": int,
    "near_copies": int,
    "findings": str,
}
"""Of the table of clips. ``copies`` and ``near_copies`` number groups from 1; ``findings`` are kinds, separated by ;"""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What is in a corpus, and what is wrong with it."""

    name: str
    settings: dict[str, Any]
    """Of the corpus."""
    split_rule: str
    evidence: Evidence
    findings: list[Finding]
    """The most severe first."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing was found that makes a result false."""
        return all(finding.severity != ERROR for finding in self.findings)

    @property
    def severities(self) -> dict[str, int]:
        """Findings of each severity."""
        found = Counter(finding.severity for finding in self.findings)
        return {severity: found[severity] for severity in SEVERITIES}

    def document(self) -> dict[str, Any]:
        """Everything but the clips, as JSON holds it."""
        names = [row.utterance_id for row in self.evidence.rows]
        return {
            "corpus": {**self.settings, "name": self.name},
            "split_rule": self.split_rule,
            "sample_rate": self.evidence.sample_rate,
            "severities": self.severities,
            "findings": [
                {
                    "kind": finding.kind,
                    "severity": finding.severity,
                    "what": finding.what,
                    "count": finding.count,
                    "examples": list(finding.examples),
                    "remedy": finding.remedy,
                }
                for finding in self.findings
            ],
            "splits": split_rows(self.evidence),
            "classes": class_rows(self.evidence),
            "speakers": speaker_rows(self.evidence),
            "copies": [[names[index] for index in group] for group in self.evidence.copies],
            "near_copies": [[names[index] for index in group] for group in self.evidence.near_copies],
            "versions": {"audiornn": __version__, "libsndfile": soundfile.__libsndfile_version__},
        }

    def clip_rows(self) -> Iterator[dict[str, Any]]:
        """One row per clip, in the order of the corpus, with the cells of `CLIP_COLUMNS`."""
        kinds: dict[int, list[str]] = {}
        for finding in self.findings:
            for index in dict.fromkeys(finding.clips):
                kinds.setdefault(index, []).append(finding.kind)
        copies, near_copies = (
            {index: number for number, group in enumerate(groups, start=1) for index in group}
            for groups in (self.evidence.copies, self.evidence.near_copies)
        )
        for index, (row, clip) in enumerate(zip(self.evidence.rows, self.evidence.clips, strict=True)):
            yield {
                **_told(row),
                **_measured(clip),
                "copies": copies.get(index),
                "near_copies": near_copies.get(index),
                "findings": "; ".join(kinds.get(index, [])),
            }


def _told(row: Utterance) -> dict[str, Any]:
    return {
        "utterance_id": row.utterance_id,
        "path": row.path,
        "start_seconds": row.start_seconds,
        "end_seconds": row.end_seconds,
        "split": row.split,
        "label": row.label,
        "speaker": row.speaker,
    }


def _measured(clip: Examined) -> dict[str, Any]:
    if clip.problem:
        return {"problem": clip.problem, "reason": clip.reason}
    return {
        "sample_rate": clip.sample_rate,
        "channels": clip.channels,
        "encoding": clip.encoding,
        "seconds": round(clip.seconds, 6),
        "peak": round(clip.peak, 6),
        "level_db": None if clip.level_db is None else round(clip.level_db, 2),
        "silent": clip.silent,
        "silence_before": round(clip.silence_before, 4),
        "silence_after": round(clip.silence_after, 4),
        **clip.faults._asdict(),
        "dc_offset": round(clip.faults.dc_offset, 6),
        "digest": clip.digest,
    }


def examine(
    corpus: Corpus,
    *,
    data_dir: Path,
    sample_rate: int = DEFAULT_SAMPLE_RATE,
    speakers_may_cross: bool = False,
    num_workers: int | None = None,
    progress: Progress | None = None,
) -> Diagnosis:
    """Read every clip of a corpus and say what is wrong; nothing is written, but what the corpus makes of itself.

    Args:
        data_dir: the folder that corpora lie under.
        sample_rate: rate that is wanted, Hz; files below it are told of.
        speakers_may_cross: the splits are meant to share speakers, so that it is a note and no error.
        num_workers: processes; 0 reads in this one, which a file that kills its decoder ends; None is one per core.
        progress: called with the numbers of parts made, then of clips read, then of pairs compared, and in all.

    Raises:
        CorpusError: the corpus is missing, contradictory, or sequences alone.
    """
    if sample_rate < 1 or (num_workers is not None and num_workers < 0):
        raise ConfigError(
            f"sample_rate must be at least 1 and num_workers at least 0, got {sample_rate=} and {num_workers=}"
        )
    corpus.make(data_dir, progress=progress)
    rows, split_rule = corpus.utterances_and_rule(data_dir)
    check_utterances(rows, f"data={corpus.name}")
    if all(row.path.lower().endswith(SEQUENCE_SUFFIX) for row in rows):
        raise CorpusError(f"expected recordings to examine, got {SEQUENCE_SUFFIX} files alone from data={corpus.name}")
    evidence = _examine_rows(
        rows, sample_rate, available_cores() if num_workers is None else num_workers, progress=progress
    )
    return Diagnosis(
        name=corpus.name,
        settings=asdict(corpus),
        split_rule=split_rule,
        evidence=evidence,
        findings=find_all(evidence, speakers_may_cross=speakers_may_cross),
    )


def _examine_rows(
    rows: Sequence[Utterance], sample_rate: int, num_workers: int, *, progress: Progress | None
) -> Evidence:
    segments = [segment_of(row) for row in rows]
    clips: list[Examined] = []
    fingerprints = np.zeros((len(rows), FINGERPRINT_SIZE), dtype=np.float16)
    with contextlib.closing(examine_clips(segments, num_workers)) as chunks:
        for chunk in chunks:
            fingerprints[len(clips) : len(clips) + len(chunk.clips)] = chunk.fingerprints
            clips += chunk.clips
            if progress is not None:
                progress(len(clips), len(rows))
    near_copies = find_near_copies(segments, clips, fingerprints, num_workers=num_workers, progress=progress)
    return Evidence(rows=rows, clips=clips, sample_rate=sample_rate, copies=find_copies(clips), near_copies=near_copies)
