"""Audio files and arrays to int16 waveforms: the only place that decodes."""

from __future__ import annotations

from audiornn.audio.reading import (
    AUDIO_SUFFIXES,
    DEFAULT_SAMPLE_RATE,
    UNREADABLE_SUFFIXES,
    audio_duration,
    audio_info,
    find_audio,
    from_int16,
    is_silent,
    list_files,
    prepare_waveform,
    read_audio,
    read_int16,
    resample,
    to_int16,
)

__all__ = [
    "AUDIO_SUFFIXES",
    "DEFAULT_SAMPLE_RATE",
    "UNREADABLE_SUFFIXES",
    "audio_duration",
    "audio_info",
    "find_audio",
    "from_int16",
    "is_silent",
    "list_files",
    "prepare_waveform",
    "read_audio",
    "read_int16",
    "resample",
    "to_int16",
]
