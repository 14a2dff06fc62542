"""Files from the net: fetched whole, checked before use, and unpacked with no trust in what is in them."""

from __future__ import annotations

from audiornn.downloads.archives import extract
from audiornn.downloads.fetching import fetch
from audiornn.downloads.installing import Archive, Installed, install, read_installed
from audiornn.downloads.members import Limits
from audiornn.downloads.source import Fetched, Source
from audiornn.downloads.transfer import Patience

__all__ = [
    "Archive",
    "Fetched",
    "Installed",
    "Limits",
    "Patience",
    "Source",
    "extract",
    "fetch",
    "install",
    "read_installed",
]
