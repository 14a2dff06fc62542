"""The errors a user can cause. Anything else that is raised is a bug and keeps its traceback."""

from __future__ import annotations

import errno

# Of torch, Arrow, onnxruntime, the interpreter and the loader of shared libraries, which raise it as something else.
_NO_MEMORY = (
    "allocate memory",
    "out of memory",
    "bad_alloc",
    "bad allocation",
    "can't start new thread",
    "failed to map segment from shared object",
)


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


def lacks_memory(error: BaseException) -> bool:
    """Whether the machine had no memory left for what was asked."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return not isinstance(error, AudiornnError) and any(text in str(error).lower() for text in _NO_MEMORY)
