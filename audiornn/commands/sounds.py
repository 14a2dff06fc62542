"""Where live audio comes from: standard input and the microphone, until they end or Ctrl-C."""

from __future__ import annotations

import os
import queue
import signal
import sys
from collections.abc import Iterator
from types import FrameType, ModuleType, TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn.errors import AudioError, ConfigError

_READ_BYTES = 1 << 16
_OTHERWISE = "or input=- for raw samples on standard input"
_HEADERS = {b"RIFF": "a WAV file", b"fLaC": "a FLAC file", b"OggS": "an Ogg file", b"RF64": "a WAV file"}


class Ending:
    """Ctrl-C as an end of the input: it breaks the wait for audio, and nothing that is being computed."""

    def __init__(self) -> None:
        self.asked = False
        self.waiting = False

    def __enter__(self) -> Ending:
        self._before = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self.asked or self.waiting:  # asked twice: at once
            self.asked = True
            raise KeyboardInterrupt
        self.asked = True


def pcm_chunks(dtype: str, channels: int, ending: Ending) -> Iterator[NDArray[Any]]:
    """Raw interleaved samples of standard input as they come, ``(channels, samples)``.

    Raises:
        AudioError: it begins like a sound file.
    """
    frame_bytes = np.dtype(dtype).itemsize * channels
    pending = b""
    is_first = True
    while data := _read(ending):
        pending += data
        if is_first and len(pending) >= 4:
            is_first = False
            if kind := _HEADERS.get(pending[:4]):
                raise AudioError(f"expected raw samples on standard input, got {kind}; add `-t raw` (arecord, sox)")
        whole = len(pending) // frame_bytes * frame_bytes
        if whole:
            # In the machine's own order of bytes, as the reader of arrays expects.
            samples = np.frombuffer(pending[:whole], dtype=dtype).astype(np.dtype(dtype).newbyteorder("="))
            pending = pending[whole:]
            yield samples.reshape(-1, channels).T
    if pending:
        sys.stderr.write(f"audiornn: the input ended within a frame of {frame_bytes} bytes, which is left out\n")


def _read(ending: Ending) -> bytes:
    """What there is, at least a byte; nothing at the end."""
    try:
        ending.waiting = True
        return b"" if ending.asked else os.read(sys.stdin.fileno(), _READ_BYTES)
    except KeyboardInterrupt:
        return b""
    finally:
        ending.waiting = False


def import_sounddevice() -> ModuleType:
    """The package, which is an extra.

    Raises:
        ConfigError: it is not there, or can't work here.
    """
    try:
        import sounddevice
    except ImportError as error:
        raise ConfigError(
            f"expected sounddevice for the microphone, got: {error}; pip install 'audiornn[microphone]', {_OTHERWISE}"
        ) from None
    except Exception as error:  # OSError without the library PortAudio; where that can't start, an error of its own
        raise ConfigError(
            f"expected the library PortAudio for the microphone, got: {_one_line(error)}; install it (apt install "
            f"libportaudio2), {_OTHERWISE}"
        ) from None
    return sounddevice  # type: ignore[no-any-return]


def microphone_chunks(sample_rate: int, channels: int, device: Any, ending: Ending) -> Iterator[NDArray[Any]]:
    """What a microphone records, ``(channels, samples)`` float32, until Ctrl-C.

    Raises:
        ConfigError: sounddevice is not there, or has no such microphone.
    """
    sounddevice = import_sounddevice()
    waiting: queue.SimpleQueue[NDArray[np.float32] | None] = queue.SimpleQueue()
    lost = 0

    def on_chunk(samples: NDArray[np.float32], count: int, times: Any, status: Any) -> None:
        nonlocal lost
        del count, times
        lost += bool(status)
        waiting.put(samples.T.copy())

    settings = {"samplerate": sample_rate, "channels": channels, "device": device, "dtype": "float32"}
    try:
        # Without the second callback a microphone that is pulled out would be waited for.
        with sounddevice.InputStream(**settings, callback=on_chunk, finished_callback=lambda: waiting.put(None)):
            while (chunk := _next(waiting, ending)) is not None:
                yield chunk
    except (sounddevice.PortAudioError, ValueError) as error:
        raise ConfigError(
            f"expected a microphone at {sample_rate} Hz, got: {_one_line(error)}; microphone= one of "
            f"{_microphones(sounddevice)}"
        ) from error
    if not ending.asked:
        sys.stderr.write("audiornn: the microphone stopped\n")
    if lost:
        sys.stderr.write(f"audiornn: the microphone lost samples {lost} times\n")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _microphones(sounddevice: ModuleType) -> str:
    """Those that there are, by number and name."""
    try:
        devices = list(enumerate(sounddevice.query_devices()))
    except sounddevice.PortAudioError:
        devices = []
    found = [f"{number} ({device['name']})" for number, device in devices if device["max_input_channels"] > 0]
    return ", ".join(found) or "those there are, which are none"


def _next(waiting: queue.SimpleQueue[NDArray[np.float32] | None], ending: Ending) -> NDArray[np.float32] | None:
    try:
        ending.waiting = True
        return None if ending.asked else waiting.get()
    except KeyboardInterrupt:
        return None
    finally:
        ending.waiting = False
