"""Speech from the espeak-ng library inside the package espeakng-loader (extra ``demo``), through ctypes."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiornn.errors import CorpusError

ESPEAK_SAMPLE_RATE = 22_050

ACCENTS = {
    "en": "en",
    "en-029": "en-029",
    "en-gb-scotland": "en-GB-scotland",
    "en-gb-x-gbclan": "en-GB-x-gbclan",
    "en-gb-x-gbcwmd": "en-GB-x-gbcwmd",
    "en-gb-x-rp": "en-GB-x-rp",
    "en-us": "en-US",
    "en-us-nyc": "en-US-nyc",
}
"""Languages of espeak-ng and their files. ``en`` is Great Britain; Shavian is left out, it reads another alphabet."""

_DATA_FILES = ("phondata", "phonindex", "phontab", "intonations", "en_dict")
_MAX_DATA_PATH = 140  # espeak-ng cuts its data path at 160 bytes without a word
_SYNCHRONOUS = 2
_UTF8 = 1
_RATE, _PITCH, _PITCH_RANGE = 1, 3, 4
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """How espeak-ng says something."""

    accent: str
    """A key of `ACCENTS`."""
    variant: str
    """The timbre: the name of a file in espeak-ng's ``voices/!v``."""
    pitch: int = 50
    """0 to 99; the variant decides what 50 is in Hz."""
    pitch_range: int = 50
    """0 (monotone) to 99."""
    words_per_minute: int = 175
    """80 to 450."""


@contextlib.contextmanager
def espeak_data(variants: Iterable[str]) -> Iterator[Path]:
    """Folder with what espeak-ng needs for English and ``variants``, at a short path; removed at the end.

    Loading a voice scans every voice file there is, so the small copy also makes `speak` several times faster.

    Raises:
        CorpusError: the extra is not installed, a variant does not exist, or temporary files have too long a path.
    """
    source = Path(_loader_path("get_data_path"))
    with tempfile.TemporaryDirectory(prefix="espeak-") as name:
        folder = Path(name)
        if len(os.fsencode(folder)) > _MAX_DATA_PATH:
            raise CorpusError(
                f"expected a folder for temporary files with a path under {_MAX_DATA_PATH} bytes, got '{folder}': "
                "set TMPDIR to a shorter one"
            )
        (folder / "lang").mkdir()
        (folder / "voices" / "!v").mkdir(parents=True)
        for file in _DATA_FILES:
            shutil.copyfile(source / file, folder / file)
        for accent, file in ACCENTS.items():
            shutil.copyfile(source / "lang" / "gmw" / file, folder / "lang" / accent)
        for variant in variants:
            if not (source / "voices" / "!v" / variant).is_file():
                raise CorpusError(f"expected a variant of espeak-ng, got {variant!r}")
            shutil.copyfile(source / "voices" / "!v" / variant, folder / "voices" / "!v" / variant)
        yield folder


def speak(text: str, delivery: Delivery, data: Path) -> NDArray[np.int16]:
    """Samples at `ESPEAK_SAMPLE_RATE`; the same bytes for the same arguments, whatever was spoken before.

    espeak-ng keeps the phase of its pitch flutter, its echo and more in static variables that no call resets, so the
    library is loaded afresh each time (2 ms; pinned by ``test_speak_does_not_depend_on_what_was_said_before``). The
    bytes are only repeatable for variants that take no noise from the C library's ``rand``: those with neither
    ``klatt`` nor ``breath`` in their file. One thread of a process at a time.

    Args:
        data: what `espeak_data` gives.

    Raises:
        CorpusError: the extra is not installed, or the accent or variant does not exist.
    """
    if not (data / "voices" / "!v" / delivery.variant).is_file():  # espeak-ng would ignore it
        raise CorpusError(f"expected a variant that espeak_data was asked for, got {delivery.variant!r}")
    chunks: list[NDArray[np.int16]] = []

    def receive(samples: ctypes._Pointer[ctypes.c_short], count: int, _events: int | None) -> int:
        if samples and count > 0:
            chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    with _fresh_library() as library:
        callback = _CALLBACK(receive)
        sample_rate = library.espeak_Initialize(_SYNCHRONOUS, 0, os.fsencode(data), 0)
        if sample_rate != ESPEAK_SAMPLE_RATE:
            raise CorpusError(
                f"expected espeak-ng to start at {ESPEAK_SAMPLE_RATE} Hz, got {sample_rate} from '{data}'"
            )
        library.espeak_SetSynthCallback(callback)
        if library.espeak_SetVoiceByName(f"{delivery.accent}+{delivery.variant}".encode()) != 0:
            raise CorpusError(f"expected an accent of espeak-ng, got {delivery.accent!r}")
        library.espeak_SetParameter(_RATE, delivery.words_per_minute, 0)
        library.espeak_SetParameter(_PITCH, delivery.pitch, 0)
        library.espeak_SetParameter(_PITCH_RANGE, delivery.pitch_range, 0)
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        encoded = text.encode()
        library.espeak_Synth(encoded, ctypes.c_size_t(len(encoded) + 1), 0, 0, 0, _UTF8, None, None)
    return np.concatenate([np.zeros(0, dtype=np.int16), *chunks])


@contextlib.contextmanager
def _fresh_library() -> Iterator[ctypes.CDLL]:
    path = _loader_path("get_library_path")
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        raise CorpusError(f"expected the library of espeak-ng to load, got {error} from '{path}'") from None
    try:
        yield library
    finally:
        library.espeak_Terminate()
        if sys.platform == "win32":
            ctypes.windll.kernel32.FreeLibrary(ctypes.c_void_p(library._handle))
        else:
            ctypes.CDLL(None).dlclose(ctypes.c_void_p(library._handle))


def _loader_path(getter: str) -> str:
    try:
        import espeakng_loader
    except ImportError:
        raise CorpusError(
            'expected the package espeakng-loader, which speaks the demo corpus, got none: pip install "audiornn[demo]"'
        ) from None
    return str(getattr(espeakng_loader, getter)())
