"""Seeds that every generator takes."""

from __future__ import annotations

from audiornn.errors import ConfigError


def check_seed(seed: int) -> None:
    """Raise `ConfigError` for a seed that one of them refuses: NumPy's those below 0, torch's those of 64 bits."""
    if not 0 <= seed < 1 << 63:
        raise ConfigError(f"seed must be at least 0 and below 2 ** 63, got {seed}")
