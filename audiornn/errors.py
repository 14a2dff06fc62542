"""The errors a user can cause. Anything else that is raised is a bug and keeps its traceback."""

from __future__ import annotations


class AudiornnError(Exception):
    """Root of every error the command line turns into one line and exit code 2."""


class AudioError(AudiornnError, ValueError):
    """Audio that can't be read or used: missing, not decodable, empty, not finite, wrong rate."""


class ConfigError(AudiornnError, ValueError):
    """A setting that is unknown, out of range, or impossible beside another one."""


class CorpusError(AudiornnError, ValueError):
    """A corpus, manifest or prepared store that is missing, incomplete or inconsistent."""


class ModelError(AudiornnError, ValueError):
    """A model folder that is missing, damaged, foreign, or does not fit what is asked of it."""
