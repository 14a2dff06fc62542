"""Recordings of any length: a model's answers window by window, and the events in them. Imported without torch."""

from __future__ import annotations

from audiornn.recordings.detecting import detect_blocks, detect_events, scored_windows, settings_for
from audiornn.recordings.events import EventDetector, EventFinder, Moment, moments, smoothed
from audiornn.recordings.windows import Gate, WindowScores, windows, windows_of_blocks

__all__ = [
    "EventDetector",
    "EventFinder",
    "Gate",
    "Moment",
    "WindowScores",
    "detect_blocks",
    "detect_events",
    "moments",
    "scored_windows",
    "settings_for",
    "smoothed",
    "windows",
    "windows_of_blocks",
]
