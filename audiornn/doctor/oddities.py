"""The clips that are most worth hearing."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import soundfile

from audiornn.audio import read_recording
from audiornn.doctor.diagnosis import Diagnosis
from audiornn.doctor.evidence import Evidence
from audiornn.errors import AudioError

MAX_ODDITIES = 20
PLAYED_SECONDS = 5.0
PLAYED_RATE = 16_000
"""A page holds 20 clips of 5 s at this rate in under 5 MB."""

# What can't be heard in one clip.
_NOT_HEARD = frozenset({"speakers across splits", "files with spaces", "files by case", "unlabelled"})


@dataclass(frozen=True, kw_only=True)
class Oddity:
    """A clip to be heard, and why."""

    index: int
    """Position of the clip."""
    why: str
    audio: str
    """WAV as a data URI: the first 5 s at 16 kHz at most."""


def find_oddities(diagnosis: Diagnosis) -> list[Oddity]:
    """The worst clips of every finding in turn, then those that are most unlike the rest."""
    evidence = diagnosis.evidence
    queues = [
        [(index, finding.kind) for index in finding.clips[:MAX_ODDITIES]]
        for finding in diagnosis.findings
        if finding.kind not in _NOT_HEARD
    ]
    order = [entry for turn in zip_longest(*queues) for entry in turn if entry is not None]
    order += [(index, why) for why, clips in _extremes(evidence) for index in clips]
    reasons: dict[int, list[str]] = {}
    for index, why in order:
        reasons.setdefault(index, []).append(why)
    sounds: dict[int, str] = {}
    for index in reasons:
        if len(sounds) == MAX_ODDITIES:
            break
        if evidence.clips[index].usable and (audio := _data_uri(evidence, index)):
            sounds[index] = audio
    return [
        Oddity(index=index, why=", ".join(dict.fromkeys(reasons[index])), audio=audio)
        for index, audio in sounds.items()
    ]


def _extremes(evidence: Evidence) -> list[tuple[str, Sequence[int]]]:
    used = np.array(evidence.used, dtype=np.int64)
    seconds = np.array([evidence.clips[index].seconds for index in used])
    levels = np.array([evidence.clips[index].level_db or 0.0 for index in used])
    count = min(2, -(-len(used) // 10))
    return [
        ("shortest", used[np.argsort(seconds, kind="stable")][:count].tolist()),
        ("longest", used[np.argsort(-seconds, kind="stable")][:count].tolist()),
        ("quietest", used[np.argsort(levels, kind="stable")][:count].tolist()),
        ("loudest", used[np.argsort(-levels, kind="stable")][:count].tolist()),
    ]


def _data_uri(evidence: Evidence, index: int) -> str:
    row, clip = evidence.rows[index], evidence.clips[index]
    rate = min(clip.sample_rate, PLAYED_RATE)
    whole = clip.seconds <= PLAYED_SECONDS
    try:
        recording = read_recording(
            row.path,
            sample_rate=rate,
            start_seconds=row.start_seconds,
            end_seconds=row.end_seconds if whole else row.start_seconds + PLAYED_SECONDS,
        )
    except AudioError:  # it has gone in the meantime
        return ""
    stream = io.BytesIO()
    soundfile.write(stream, recording.samples, rate, format="WAV", subtype="PCM_16")
    return f"data:audio/wav;base64,{base64.b64encode(stream.getvalue()).decode()}"
