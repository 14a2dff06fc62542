"""What libsndfile can write, and at which rates."""

from __future__ import annotations

import soundfile

OPUS, MP3 = "OPUS", "MPEG_LAYER_III"
CODING_RATES: dict[str, tuple[int, ...]] = {
    OPUS: (8_000, 12_000, 16_000, 24_000, 48_000),
    MP3: (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
}
"""Hz, of codings that don't have all."""


def can_write(container: str, coding: str) -> bool:
    """Whether this installation can, by libsndfile's names such as ``OGG`` and ``VORBIS``."""
    return coding in soundfile.available_subtypes(container)


def coding_rate(coding: str, rate: int) -> int:
    """The next rate from this one up that a coding has; its highest where there is none.

    >>> coding_rate("OPUS", 11_025), coding_rate("ULAW", 11_025)
    (12000, 11025)
    """
    known = CODING_RATES.get(coding)
    return rate if known is None else next((each for each in known if each >= rate), known[-1])
