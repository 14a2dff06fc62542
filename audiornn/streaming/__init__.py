"""Audio as it comes: streams through a trained model, and the events in what it says."""

from __future__ import annotations

from audiornn.detection import Event
from audiornn.streaming.events import EventStream, detect_frames
from audiornn.streaming.streams import Stream, StreamBatch
from audiornn.streaming.updates import Moments, Update

__all__ = ["Event", "EventStream", "Moments", "Stream", "StreamBatch", "Update", "detect_frames"]
