"""Files and arrays as the signals that a network hears."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audiornn.audio import Recording, find_audio, prepare_recording, read_recording
from audiornn.errors import AudioError
from audiornn.inputs import Inputs
from audiornn.sequences import (
    FrameArray,
    Signals,
    check_sequence,
    find_sequences,
    read_sequence,
    seconds_of,
    sequence_files,
)

AudioPath = str | os.PathLike[str]
AudioInput = AudioPath | NDArray[np.generic] | Mapping[str, NDArray[np.generic]]
"""A file, an array ``(samples,)`` or ``(channels, samples)``, or arrays by the names of what is heard."""
FileState = tuple[int, ...]
"""See `SignalReader.state_of`."""
_NO_FILE = (-1, -1)


class Heard(NamedTuple):
    """`Signals` in half the bytes, for waiting and for the way from another process."""

    recording: Recording | None
    """None for a model without audio."""
    seconds: float
    sequences: Mapping[str, FrameArray]

    @property
    def signals(self) -> Signals:
        """What the network is given."""
        waveform = np.zeros(0, dtype=np.float32) if self.recording is None else self.recording.waveform
        return Signals(waveform, self.seconds, self.sequences)


class Read(NamedTuple):
    """A file, or why there is nothing of it."""

    path: str
    heard: Heard | str
    """What was read, or the reason why not."""
    state: FileState | None


@dataclass(frozen=True)
class SignalReader:
    """Reads what a model hears. It can be sent to another process.

    The same steps for files and arrays: mean over channels, resampling, rounding to 16 bits, ``audio.steps``.
    """

    inputs: Inputs

    @cached_property
    def sample_rate(self) -> int:
        """Rate that audio is resampled to, Hz."""
        return self.inputs.features.sample_rate

    def find_files(self, folder: AudioPath) -> list[str]:
        """Files below a folder that the model can hear, sorted: audio, or for a model without it sequences.

        Raises:
            AudioError: no such folder, or no such file in it.
        """
        inputs = self.inputs
        return find_audio(folder) if inputs.reads_audio else find_sequences(folder, inputs.companions)

    def read(self, path: AudioPath) -> Signals:
        """A file, and the sequences that belong to it.

        Raises:
            AudioError: it can't be used.
        """
        return self.hear(path).signals

    def hear(self, path: AudioPath) -> Heard:
        """`read` as it is sent to another process."""
        inputs = self.inputs
        files = sequence_files(os.fspath(path), inputs.sequences, reads_audio=inputs.reads_audio)
        sequences = {name: read_sequence(file) for name, file in files.items() if file}
        if inputs.reads_audio:
            return self._heard(read_recording(path, sample_rate=self.sample_rate), sequences)
        if not sequences:
            raise AudioError(f"expected a .npy file of {', '.join(files)}, got {os.fspath(path)!r}")
        return self._heard(None, sequences)

    def state_of(self, path: str) -> FileState | None:
        """Bytes and time of the last change in nanoseconds of a file and of each of its sequences; None = no file."""
        own = _file_state(path)
        if own is None or not self.inputs.sequences:
            return own
        files = sequence_files(path, self.inputs.sequences, reads_audio=self.inputs.reads_audio)
        states = (_file_state(file) or _NO_FILE for file in files.values() if file != path)
        return own + tuple(number for state in states for number in state)

    def prepare(self, audio: AudioInput, sample_rate: int | None) -> Signals:
        """A file, or arrays of the given rate.

        Raises:
            AudioError: it can't be used, or there is an array without its rate.
        """
        if isinstance(audio, str | os.PathLike):
            return self.read(audio)
        if isinstance(audio, int | float | np.number):
            raise AudioError(
                "expected a path or an array, got a single number; several samples go together as numpy.array(samples)"
            )
        if audio is None or isinstance(audio, bytes | bytearray) or hasattr(audio, "read"):
            raise AudioError(
                f"expected a path or an array, got {type(audio).__name__}; soundfile.read gives the samples of a file"
            )
        if sample_rate is not None and not isinstance(sample_rate, Real):
            raise AudioError(f"expected sample_rate as a number of Hz, got {sample_rate!r}")
        if not isinstance(audio, Mapping):
            # An array alone is what the model hears first.
            audio = {"audio" if self.inputs.reads_audio else next(iter(self.inputs.sequences)): audio}
        known = (["audio"] if self.inputs.reads_audio else []) + list(self.inputs.sequences)
        if not audio or not set(audio) <= set(known):
            raise AudioError(f"expected arrays out of {', '.join(known)}, got {', '.join(map(str, audio)) or 'none'}")
        sequences = {name: check_sequence(values) for name, values in audio.items() if name != "audio"}
        if not self.inputs.reads_audio and sample_rate is not None:
            raise AudioError(
                f"expected no sample_rate beside {', '.join(known)}, whose rate the model knows, got {sample_rate}"
            )
        if "audio" not in audio:
            return self._heard(None, sequences).signals
        if sample_rate is None:
            raise AudioError(
                f"expected sample_rate=... beside an array of samples, got none; "
                f"the model works at {self.sample_rate} Hz"
            )
        return self._heard(prepare_recording(audio["audio"], sample_rate, self.sample_rate), sequences).signals

    def _heard(self, recording: Recording | None, sequences: Mapping[str, FrameArray]) -> Heard:
        inputs = self.inputs
        for name, values in sequences.items():
            size = inputs.sequences[name].num_features
            if values.shape[1] != size:
                raise AudioError(f"expected {size} features in {name!r}, got {values.shape[1]}")
        if recording is None:
            size = round(seconds_of(sequences, inputs.clocks) * self.sample_rate)
            return Heard(None, size / self.sample_rate, sequences)
        recording = inputs.audio.apply(recording, self.sample_rate)
        return Heard(recording, len(recording.samples) / self.sample_rate, sequences)


def read_files(reader: SignalReader, paths: Sequence[str]) -> list[Read]:
    """Read files one by one; whatever is wrong with one is its reason.

    Raises:
        MemoryError: too little for all of several, which may be enough for each.
    """
    return [_read_file(reader, path, alone=len(paths) == 1) for path in paths]


def _read_file(reader: SignalReader, path: str, *, alone: bool) -> Read:
    state = reader.state_of(path)
    try:
        heard = reader.hear(path)
        if reader.state_of(path) != state:
            raise AudioError(f"expected a file at rest, got one that changed while it was read: {path!r}")
    except AudioError as error:
        return Read(path, str(error), state)
    except MemoryError:
        if not alone:
            raise
        return Read(path, f"expected memory to read {path!r}, found too little", state)
    except Exception as error:  # of a decoder, which is no reason to lose the other files
        return Read(path, f"expected audio that decodes, got {type(error).__name__}: {error} from {path!r}", state)
    return Read(path, heard, state)


def _file_state(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - called for every clip
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns
