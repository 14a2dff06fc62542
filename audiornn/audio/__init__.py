"""Audio files and arrays to int16 waveforms: the only place that decodes."""

from __future__ import annotations

from audiornn.audio.blocks import read_blocks
from audiornn.audio.faults import NOTABLE_OFFSET, Faults, find_faults, find_faults_of_each
from audiornn.audio.finding import AUDIO_SUFFIXES, UNREADABLE_SUFFIXES, find_audio, list_files
from audiornn.audio.reading import (
    DEFAULT_SAMPLE_RATE,
    AudioInfo,
    audio_duration,
    audio_info,
    is_silent,
    prepare_recording,
    read_audio,
    read_recording,
    resample,
)
from audiornn.audio.recording import Gaps, Recording, Waveform, from_int16, join_packets, to_int16
from audiornn.audio.steps import AudioConfig

__all__ = [
    "AUDIO_SUFFIXES",
    "DEFAULT_SAMPLE_RATE",
    "NOTABLE_OFFSET",
    "UNREADABLE_SUFFIXES",
    "AudioConfig",
    "AudioInfo",
    "Faults",
    "Gaps",
    "Recording",
    "Waveform",
    "audio_duration",
    "audio_info",
    "find_audio",
    "find_faults",
    "find_faults_of_each",
    "from_int16",
    "is_silent",
    "join_packets",
    "list_files",
    "prepare_recording",
    "read_audio",
    "read_blocks",
    "read_recording",
    "resample",
    "to_int16",
]
