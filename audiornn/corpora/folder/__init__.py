"""One's own recordings, in whatever shape they lie about."""

from __future__ import annotations

from audiornn.corpora.folder.corpus import FolderCorpus

__all__ = ["FolderCorpus"]
