"""Reading in blocks: the same bits as reading whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from signals import chirp, noise, write_wav
from test_audio import FORMATS, write

from audiornn.audio import Recording, read_blocks, read_recording
from audiornn.errors import AudioError

RATE = 16_000


def joined(parts: list[Recording]) -> tuple[np.ndarray, np.ndarray]:
    """Samples and, as a mask, what is missing."""
    assert all(part.samples.size for part in parts)
    return np.concatenate([part.samples for part in parts]), np.concatenate([part.missing for part in parts])


def assert_same_as_whole(path: Path, *, sample_rate: int = RATE, block_samples: int = 1000) -> None:
    whole = read_recording(path, sample_rate=sample_rate)
    samples, missing = joined(list(read_blocks(path, sample_rate=sample_rate, block_samples=block_samples)))
    np.testing.assert_array_equal(samples, whole.samples)
    np.testing.assert_array_equal(missing, whole.missing)


@pytest.mark.parametrize("kind", FORMATS)
def test_blocks_are_the_whole(kind, tmp_path):
    rate = 48_000 if kind == "opus" else 44_100
    speech = chirp(200, 6000, 0.7, sample_rate=rate) + noise(round(0.7 * rate), amplitude=0.05)
    path = write(tmp_path, kind, np.stack([speech, -0.5 * speech[::-1]], axis=1), rate)
    assert_same_as_whole(path)
    assert_same_as_whole(path, sample_rate=rate, block_samples=1153)


@pytest.mark.parametrize("rates", [(8000, 16_000), (44_100, 16_000), (11_025, 48_000), (96_000, 8000)])
@pytest.mark.parametrize("block_samples", [1, 97, 4096])
def test_blocks_are_the_whole_at_any_pair_of_rates(rates, block_samples, tmp_path):
    path = write_wav(tmp_path / "a.wav", noise(5000, seed=1), rates[0])
    assert_same_as_whole(path, sample_rate=rates[1], block_samples=block_samples)


@pytest.mark.parametrize("rate", [16_000, 22_050, 8000])
@pytest.mark.parametrize("block_samples", [64, 500, 501])
def test_missing_samples_are_those_of_the_whole(rate, block_samples, tmp_path):
    waveform = noise(6000, seed=2)
    for start, stop in ((0, 3), (490, 510), (1000, 1003), (2500, 4000), (5990, 6000)):
        waveform[start:stop] = np.nan
    path = write_wav(tmp_path / "a.wav", waveform, rate, subtype="FLOAT")
    assert_same_as_whole(path, block_samples=block_samples)


@pytest.mark.parametrize("content", ["empty", "nan", "too short", "text", "missing"])
def test_what_cannot_be_read_whole_is_refused_in_blocks_too(content, tmp_path):
    path = tmp_path / "a.wav"
    if content == "text":
        path.write_text("hello")
    elif content != "missing":
        waveform = {"empty": np.zeros(0), "nan": np.full(900, np.nan), "too short": np.zeros(1)}[content]
        write_wav(path, waveform.astype(np.float32), 48_000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"^expected .*a\.wav"):
        read_recording(path, sample_rate=RATE)
    with pytest.raises(AudioError, match=r"^expected .*a\.wav"):
        list(read_blocks(path, sample_rate=RATE))


def parts_until_error(path: Path, change: object = None, at: int = 1) -> tuple[np.ndarray, str]:
    """What came before an error, and what it said; ``change()`` is called after so many parts."""
    parts: list[Recording] = []
    try:
        for part in read_blocks(path, sample_rate=RATE, block_samples=1000):
            parts.append(part)
            if len(parts) == at and callable(change):
                change()
    except AudioError as error:
        return joined(parts)[0], str(error)
    raise AssertionError("expected an error")


@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_file_that_is_cut_while_it_is_read_gives_its_beginning_and_a_reason(rate, tmp_path):
    waveform = noise(400_000, seed=3)
    path = write_wav(tmp_path / "a.wav", waveform, rate)
    whole = read_recording(path, sample_rate=RATE).samples
    samples, reason = parts_until_error(path, lambda: os.truncate(path, 400_000))
    assert "cut off while it was read" in reason and "a.wav" in reason
    least = 190_000 * RATE // rate
    assert least < samples.size < len(whole)
    np.testing.assert_array_equal(samples[:least], whole[:least])


def test_file_that_grows_while_it_is_read_gives_what_it_held_and_a_reason(tmp_path):
    path = write_wav(tmp_path / "a.wav", noise(5000, seed=3))
    whole = read_recording(path, sample_rate=RATE).samples

    def grow() -> None:
        with path.open("ab") as file:
            file.write(bytes(1000))

    samples, reason = parts_until_error(path, grow)
    np.testing.assert_array_equal(samples, whole)
    assert "grew from 10044 to 11044 bytes" in reason and "read it again when it is finished" in reason


def test_infinite_sample_ends_the_reading_after_what_was_before(tmp_path):
    waveform = noise(5000, seed=3)
    waveform[3500] = np.inf
    samples, reason = parts_until_error(write_wav(tmp_path / "a.wav", waveform, subtype="FLOAT"))
    assert samples.size == 3000 and "infinity" in reason


def test_truncated_flac_gives_a_reason(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(50_000), RATE)
    os.truncate(path, path.stat().st_size // 2)
    samples, reason = parts_until_error(path)
    assert 0 < samples.size < 50_000 and reason


_WALK = """
import sys
from pathlib import Path
from audiornn.audio.containers import check_whole

def peak():
    # Not ru_maxrss, which begins at what the process of the tests has.
    return [int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith("VmHWM")][0]

before = peak()
with open(sys.argv[1], "rb") as file:
    check_whole(file, sys.argv[1])
print((peak() - before) / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted as Linux does")
def test_frames_of_a_long_mp3_are_walked_without_holding_it(tmp_path):
    """About an hour at 128 kbit/s: 417 bytes a frame at 44.1 kHz."""
    path = tmp_path / "a.mp3"
    path.write_bytes((b"\xff\xfb\x90\x64" + bytes(413)) * 150_000)
    done = subprocess.run([sys.executable, "-c", _WALK, str(path)], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 30
