"""Files from the net: fetched whole, checked before use, and unpacked with no trust in what is in them."""

from __future__ import annotations

from audiornn.downloads.archives import extract
from audiornn.downloads.members import Limits

__all__ = ["Limits", "extract"]
