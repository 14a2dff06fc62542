"""When the frames of a sequence are."""

from __future__ import annotations

import math
from typing import NamedTuple


class Clock(NamedTuple):
    """Frames at a steady rate.

    >>> Clock(0.5, 10.0).end(20), Clock(0.5, 10.0).frames_until(1.0)
    (2.5, 5)
    """

    first_seconds: float
    """Moment of the first frame."""
    frame_rate: float
    """Frames per second."""

    def end(self, num_frames: int) -> float:
        """The moment of the frame that would come next; 0 without any frame."""
        return self.first_seconds + num_frames / self.frame_rate if num_frames else 0.0

    def frames_until(self, seconds: float) -> int:
        """How many frames are before a moment."""
        return max(0, math.ceil(round((seconds - self.first_seconds) * self.frame_rate, 6)))
