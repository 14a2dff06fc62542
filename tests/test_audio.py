from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray
from signals import chirp, noise, read_int16, silence, tone, write_wav

from audiornn.audio import (
    audio_duration,
    audio_info,
    find_audio,
    from_int16,
    is_silent,
    join_packets,
    prepare_recording,
    read_audio,
    read_blocks,
    read_recording,
    resample,
    to_int16,
)
from audiornn.errors import AudioError

FORMATS = {
    "wav": ("clip.wav", "WAV", "PCM_16"),
    "wavex": ("clip.wav", "WAVEX", "PCM_16"),
    "rf64": ("clip.wav", "RF64", "PCM_16"),
    "wav-8-bit": ("clip.wav", "WAV", "PCM_U8"),
    "wav-24-bit": ("clip.wav", "WAV", "PCM_24"),
    "wav-32-bit": ("clip.wav", "WAV", "PCM_32"),
    "wav-float": ("clip.wav", "WAV", "FLOAT"),
    "wav-double": ("clip.wav", "WAV", "DOUBLE"),
    "wav-ulaw": ("clip.wav", "WAV", "ULAW"),
    "flac": ("clip.flac", "FLAC", "PCM_16"),
    "flac-24-bit": ("clip.flac", "FLAC", "PCM_24"),
    "aiff": ("clip.aiff", "AIFF", "PCM_16"),
    "au": ("clip.au", "AU", "PCM_16"),
    "caf": ("clip.caf", "CAF", "PCM_16"),
    "w64": ("clip.w64", "W64", "PCM_16"),
    "ogg": ("clip.ogg", "OGG", "VORBIS"),
    "opus": ("clip.opus", "OGG", "OPUS"),
    "mp3": ("clip.mp3", "MP3", "MPEG_LAYER_III"),
}
LOSSY = {"ogg", "opus", "mp3", "wav-8-bit", "wav-ulaw"}


def write(folder: Path, kind: str, waveform: NDArray[np.float32], sample_rate: int = 16_000) -> Path:
    name, container, subtype = FORMATS[kind]
    soundfile.write(folder / name, waveform, sample_rate, format=container, subtype=subtype)
    return folder / name


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read(kind: str, tmp_path: Path) -> None:
    waveform = from_int16(to_int16(tone(440.0, 0.5)))
    read = read_audio(write(tmp_path, kind, waveform), sample_rate=16_000)
    assert read.dtype == np.float32
    assert read.shape == (8000,)
    if kind in LOSSY:
        assert np.abs(read - waveform)[800:-800].max() < 0.05
    else:
        np.testing.assert_array_equal(read, waveform)


def test_pcm16_comes_back_bit_for_bit_as_soundfile_reads_it(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "clip.wav", noise(16_000))
    expected, _ = soundfile.read(path, dtype="int16")
    np.testing.assert_array_equal(read_int16(path, sample_rate=16_000), expected)
    np.testing.assert_array_equal(read_audio(path, sample_rate=16_000), expected / np.float32(32_768))


@pytest.mark.parametrize("kind", ["wav", "wav-24-bit", "wav-float", "flac", "ogg"])
@pytest.mark.parametrize("sample_rate", [8000, 44_100, 48_000])
def test_other_rates_are_resampled_by_soxr(kind: str, sample_rate: int, tmp_path: Path) -> None:
    path = write(tmp_path, kind, tone(1000.0, 1.0, sample_rate=sample_rate), sample_rate)
    native, _ = soundfile.read(path, dtype="float32")
    expected = to_int16(soxr.resample(native, sample_rate, 16_000, quality="HQ"))
    read = read_int16(path, sample_rate=16_000)
    assert abs(read.size - 16_000) <= 1
    np.testing.assert_array_equal(read, expected)
    spectrum = np.abs(np.fft.rfft(read * np.hanning(read.size)))
    assert np.argmax(spectrum) == pytest.approx(1000, abs=2)


def test_resample_removes_what_is_above_half_the_rate() -> None:
    waveform = tone(6000.0, 1.0, sample_rate=48_000)
    inside, outside = resample(waveform, 48_000, 16_000), resample(waveform, 48_000, 8000)
    assert np.abs(inside[1000:-1000]).max() == pytest.approx(0.5, abs=0.01)
    assert np.abs(outside[1000:-1000]).max() < 1e-4


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = noise(1000, seed=1), noise(1000, seed=2)
    path = write_wav(tmp_path / "stereo.wav", np.stack([left, right], axis=1))
    stored, _ = soundfile.read(path, dtype="int16")
    expected = np.rint(stored.astype(np.float64).mean(axis=1))
    np.testing.assert_array_equal(read_int16(path, sample_rate=16_000), expected)


def test_int16_grid_is_closed() -> None:
    grid = np.arange(-32_768, 32_768).astype(np.int16)
    np.testing.assert_array_equal(to_int16(from_int16(grid)), grid)
    np.testing.assert_array_equal(
        to_int16(np.array([-2.0, 1.0, 0.5 / 32_768, 1.5 / 32_768], np.float32)), [-32_768, 32_767, 0, 2]
    )


@pytest.mark.parametrize("kind", ["wav-float", "flac-24-bit", "mp3"])
def test_arrays_take_the_same_path_as_files(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path, kind, np.stack([chirp(100, 3000), noise(16_000)], axis=1))
    with soundfile.SoundFile(path) as file:
        decoded = file.read(dtype="float32")
    np.testing.assert_array_equal(
        prepare_recording(decoded.T, 16_000, 8000).waveform, read_audio(path, sample_rate=8000)
    )


@pytest.mark.parametrize("order", ["C", "F"])
def test_many_channels_are_averaged_alike_however_they_lie_in_memory(order: str, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-0.9, 0.9, (48_000, 16)).astype(np.float32)
    path = write(tmp_path, "wav-float", samples)
    array = np.array(samples.T, order=order)
    np.testing.assert_array_equal(
        prepare_recording(array, 16_000, 16_000).samples, read_int16(path, sample_rate=16_000)
    )


def test_prepare_recording_scales_integers_by_their_range() -> None:
    expected = np.array([-1.0, 0.0, 0.5], np.float32)
    for dtype in (np.int16, np.int32):
        limit = -np.iinfo(dtype).min
        samples = np.array([-limit, 0, limit // 2], dtype)
        np.testing.assert_array_equal(prepare_recording(samples, 16_000, 16_000).waveform, expected)
    np.testing.assert_array_equal(prepare_recording(expected.astype(np.float64), 16_000, 16_000).waveform, expected)


@pytest.mark.parametrize("kind", ["i2", "i4", "f4", "f8"])
def test_samples_in_the_order_of_bytes_of_networks_are_the_same(kind: str) -> None:
    native = (0.5 * noise(100) * (2 ** (8 * int(kind[1]) - 1) if kind[0] == "i" else 1)).astype(kind)
    swapped = native.astype(f">{kind}")
    expected = prepare_recording(native, 16_000, 16_000)
    np.testing.assert_array_equal(prepare_recording(swapped, 16_000, 16_000).samples, expected.samples)
    if kind != "i4":
        np.testing.assert_array_equal(join_packets([swapped], 100), join_packets([native], 100))


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (np.ma.masked_array(np.zeros(3), [True, False, False]), "without a mask"),
        (np.zeros((2, 3, 4)), "samples.shape = (2, 3, 4)"),
        (np.zeros((16_000, 2)), "samples.shape = (16000, 2)"),
        (np.zeros(0), "got 0"),
        (np.array([np.nan, np.nan]), "all missing"),
        (np.array([0.1, -np.inf]), "infinity"),
        (np.array([3000.0, -1.0]), "peak of 3000"),
        (np.zeros(4, np.int64), "int64"),
        (np.zeros(4, np.uint8), "uint8"),
    ],
)
def test_prepare_recording_refuses(waveform: NDArray[np.float64], message: str) -> None:
    with pytest.raises(AudioError) as caught:
        prepare_recording(waveform, 16_000, 16_000)
    assert message in str(caught.value)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("kept", [0.9, 0.5, 0.1])
def test_truncated_files_are_refused(kind: str, kept: float, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, kind, noise(16_000))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(AudioError) as caught:
        read_audio(path, sample_rate=16_000)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", FORMATS)
def test_one_missing_byte_is_noticed(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path, kind, noise(16_000))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(AudioError):
        read_audio(path, sample_rate=16_000)


@pytest.mark.parametrize("size", [0xFFFF_FFFF, 0x7FFF_F000, 0x8000_0000])
def test_wav_from_a_pipe_is_read_to_its_end(size: int, tmp_path: Path) -> None:
    path = write(tmp_path, "wav", noise(1000))
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", size)
    path.write_bytes(content)
    assert read_audio(path, sample_rate=16_000).shape == (1000,)


def test_wav_with_other_chunks_around_the_samples_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, "wav", noise(1000))
    expected = read_int16(path, sample_rate=16_000)
    content = path.read_bytes()
    at = content.index(b"data")
    path.write_bytes(content[:at] + b"LIST\x05\0\0\0notes\0" + content[at:] + b"LIST\x04\0\0\0more")
    np.testing.assert_array_equal(read_int16(path, sample_rate=16_000), expected)


_W64 = bytes.fromhex("726966662e91cf11a5d628db04c10000") + struct.pack("<Q", 1000) + b"wave" + bytes(12)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.wav", b"", "empty file"),
        ("text.wav", b"not audio\n" * 100, "not recognised"),
        ("text.mp3", b"not audio\n" * 100, "no MP3 frame"),
        ("text.flac", b"not audio\n" * 100, "not recognised"),
        ("text.au", b"not audio\n" * 100, "no header"),
        ("text.vox", b"not audio\n" * 100, ""),
        ("film.m4a", b"\0\0\0\x20ftypM4A " + bytes(100), "convert it to FLAC"),
        ("zeros.wav", bytes(1000), "not recognised"),
        ("zeros.mp3", bytes(1000), "no MP3 frame"),
        ("header.wav", b"RIFF\x24\0\0\0WAVE", ""),
        ("magic.flac", b"fLaC", ""),
        ("magic.ogg", b"OggS", ""),
        ("magic.mp3", b"ID3\x04\0\0\0\0\x7f\x7f", "no MP3 frame"),
        ("sync.mp3", b"\xff\xfb\x90\x64" + bytes(range(256)) * 40, "no MP3 frame"),
        ("sizes.wav", b"RIFF\xff\0\0\0WAVEds64\x10\0\0\0" + bytes(9), ""),
        ("jump.w64", _W64 + b"abcd" + bytes(12) + b"\xff" * 8, "truncated"),
        ("jump.caf", b"caff\0\x01\0\0desc\x7f" + b"\xff" * 7, "truncated"),
    ],
)
def test_what_is_not_audio_is_refused_in_one_line(
    name: str, content: bytes, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AudioError) as caught:
        read_audio(tmp_path / name, sample_rate=16_000)
    assert message in str(caught.value)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no file"):
        read_audio(tmp_path / "nothing.wav", sample_rate=16_000)
    with pytest.raises(AudioError, match="a folder"):
        read_audio(tmp_path, sample_rate=16_000)
    with pytest.raises(AudioError, match="File name too long"):
        read_audio("a" * 300, sample_rate=16_000)


def test_header_without_samples_is_refused(tmp_path: Path) -> None:
    for kind in ("wav", "wav-float", "aiff"):
        with pytest.raises(AudioError, match="got 0"):
            read_audio(write(tmp_path, kind, silence(0)), sample_rate=16_000)


def test_infinite_samples_are_refused(tmp_path: Path) -> None:
    waveform = noise(1000)
    waveform[500] = np.inf
    with pytest.raises(AudioError, match="finite"):
        read_audio(write(tmp_path, "wav-float", waveform), sample_rate=16_000)


@pytest.mark.parametrize("rate", [1, 100, 2_000_000, float("nan"), 0, -16_000])
def test_rate_that_can_only_be_a_mistake_is_refused_and_not_resampled_for_hours(rate: float, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=f"got {rate} Hz to be resampled to 16000 Hz"):
        prepare_recording(tone(5.0, 1.0, sample_rate=100), rate, 16_000)  # type: ignore[arg-type]
    if rate >= 1:
        path = write(tmp_path, "wav", tone(5.0, 1.0, sample_rate=100), int(rate))
        with pytest.raises(AudioError, match=f"got {rate} Hz to be resampled to 16000 Hz"):
            read_audio(path, sample_rate=16_000)
        with pytest.raises(AudioError, match=f"got {rate} Hz to be resampled to 16000 Hz"):
            next(read_blocks(path, sample_rate=16_000))


def test_single_sample_is_read_and_too_short_to_resample(tmp_path: Path) -> None:
    path = write(tmp_path, "wav", np.array([0.5], np.float32))
    np.testing.assert_array_equal(read_audio(path, sample_rate=16_000), [0.5])
    path = write(tmp_path, "wav", np.array([0.5], np.float32), 48_000)
    with pytest.raises(AudioError, match="1 samples at 48000 Hz"):
        read_audio(path, sample_rate=16_000)


def test_content_decides_over_the_ending(tmp_path: Path) -> None:
    waveform = from_int16(to_int16(noise(1000)))
    for kind in ("wav", "flac", "aiff"):
        path = write(tmp_path, kind, waveform).rename(tmp_path / "clip.mp3")
        np.testing.assert_array_equal(read_audio(path, sample_rate=16_000), waveform)


@pytest.mark.parametrize("kind", ["wav", "wav-float", "flac", "aiff", "ogg", "mp3"])
def test_segment_is_a_slice_of_the_whole(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path, kind, noise(40_000))
    whole = read_int16(path, sample_rate=16_000)
    segment = read_int16(path, sample_rate=16_000, start_seconds=1.2, end_seconds=2.0)
    np.testing.assert_array_equal(segment, whole[19_200:32_000])
    rest = read_int16(path, sample_rate=16_000, start_seconds=1.2)
    np.testing.assert_array_equal(rest, whole[19_200:])


@pytest.mark.parametrize("kind", ["wav", "flac"])
@pytest.mark.parametrize(
    ("start", "end"),
    [(0.0, 1.1), (1.0, None), (0.5, 0.5), (0.6, 0.5), (-0.1, 0.5), (2.0, 3.0), (0.0, np.inf), (np.nan, None)],
)
def test_segment_outside_the_file_is_refused(kind: str, start: float, end: float | None, tmp_path: Path) -> None:
    path = write(tmp_path, kind, noise(16_000))
    with pytest.raises(AudioError, match="inside 0 to 1 s"):
        read_audio(path, sample_rate=16_000, start_seconds=start, end_seconds=end)


@pytest.mark.parametrize("kind", FORMATS)
def test_content_that_is_given_says_the_same_as_the_file(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path, kind, noise(8000))
    content = path.read_bytes()
    for how in ({}, {"start_seconds": 0.1, "end_seconds": 0.3}):
        from_file = read_recording(path, sample_rate=16_000, **how)
        np.testing.assert_array_equal(read_recording(path, sample_rate=16_000, content=content, **how)[0], from_file[0])


def test_plain_wav_whose_content_is_given_is_not_opened(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", noise(8000))
    content = path.read_bytes()
    expected = read_recording(path, sample_rate=16_000)
    path.unlink()
    np.testing.assert_array_equal(read_recording(path, sample_rate=16_000, content=content)[0], expected[0])
    with pytest.raises(AudioError, match="truncated"):
        read_recording(path, sample_rate=16_000, content=content[:-1])


def test_long_files_are_decoded_whole(tmp_path: Path) -> None:
    waveform = np.tile(noise(16_000), 150)
    path = write(tmp_path, "flac", waveform)
    np.testing.assert_array_equal(read_int16(path, sample_rate=16_000), soundfile.read(path, dtype="int16")[0])
    assert read_int16(path, sample_rate=16_000, start_seconds=10).size == waveform.size - 160_000


def test_flac_header_that_lies_about_its_length_costs_no_memory(tmp_path: Path) -> None:
    path = write(tmp_path, "flac", noise(16_000))
    content = bytearray(path.read_bytes())
    content[21] |= 0x0F
    content[22:26] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    with pytest.raises(AudioError):
        read_audio(path, sample_rate=16_000)
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)
    with pytest.raises(AudioError, match="length in the header"):
        read_audio(path, sample_rate=16_000)


def test_ogg_page_that_lies_about_its_length_costs_no_memory(tmp_path: Path) -> None:
    path = write(tmp_path, "ogg", noise(16_000))
    content = bytearray(path.read_bytes())
    last = content.rfind(b"OggS")
    content[last + 6 : last + 14] = (1 << 44).to_bytes(8, "little")
    content[last + 22 : last + 26] = bytes(4)
    content[last + 22 : last + 26] = ogg_checksum(content[last:]).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(AudioError, match="truncated"):
        read_audio(path, sample_rate=16_000)


def ogg_checksum(page: bytes) -> int:
    """CRC-32 of a page, as RFC 3533 has it."""
    checksum = 0
    for byte in page:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1 ^ (0x04C11DB7 if checksum >> 31 else 0)) & 0xFFFF_FFFF
    return checksum


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_mp3_without_a_length_header_is_whole_or_refused(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp3"
    waveform = np.concatenate([tone(300.0, 2.0), noise(32_000), silence(32_000)])
    soundfile.write(path, waveform, 16_000, bitrate_mode=mode, compression_level=0.5)
    whole = read_audio(path, sample_rate=16_000)
    assert whole.shape == waveform.shape
    content = path.read_bytes()
    second_frame = content.index(content[:2], 4)
    path.write_bytes(content[second_frame:])
    if mode == "VARIABLE":
        with pytest.raises(AudioError, match="variable bit rate"):
            read_audio(path, sample_rate=16_000)
    else:
        assert read_audio(path, sample_rate=16_000).size >= whole.size


def test_mp3_with_tags_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, "mp3", noise(16_000))
    expected = read_int16(path, sample_rate=16_000)
    tag = b"ID3\x04\0\0\0\0\x01\x00" + bytes(128)
    path.write_bytes(tag + path.read_bytes() + b"TAG" + bytes(125))
    np.testing.assert_array_equal(read_int16(path, sample_rate=16_000), expected)


def test_info_is_the_header(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "clip.wav", np.zeros((4410, 2), np.float32), 44_100, subtype="PCM_24")
    info = audio_info(path)
    assert (info.sample_rate, info.num_samples, info.channels, info.subtype) == (44_100, 4410, 2, "PCM_24")
    assert audio_duration(path) == info.duration_seconds == pytest.approx(0.1)


def test_silence_is_any_constant() -> None:
    assert is_silent(silence(10))
    assert is_silent(np.full(10, 0.25, np.float32))
    assert is_silent(np.zeros(0, np.float32))
    assert not is_silent(np.array([0, 0, 1], np.int16))
    assert not is_silent(np.append(np.zeros(1000, np.int16), np.int16(1))), "not the beginning alone"


@pytest.mark.skipif(os.name != "posix", reason="names of bytes")
@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3"])
def test_name_that_is_not_utf8_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"clip.{suffix}"
    soundfile.write(path, tone(440, 0.3), 16_000)
    odd = path.rename(tmp_path / os.fsdecode(b"\xff." + suffix.encode()))
    assert len(read_audio(odd, sample_rate=16_000)) >= 4800
    assert audio_info(odd).sample_rate == 16_000


def test_find_audio_is_sorted_and_recursive(tmp_path: Path) -> None:
    for name in ("b/x.WAV", "a.flac", "b/c/y.Mp3", ".hidden/z.wav", "b/.z.wav", "notes.txt", "a.ogg.txt", "ü ü/é.opus"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    (tmp_path / "linked").symlink_to(tmp_path / "b" / "c")
    found = [Path(path).relative_to(tmp_path).as_posix() for path in find_audio(tmp_path)]
    assert found == ["a.flac", "b/c/y.Mp3", "b/x.WAV", "linked/y.Mp3", "ü ü/é.opus"]
    with pytest.raises(AudioError, match="nothing at"):
        find_audio(tmp_path / "missing")


def test_import_is_cheap() -> None:
    code = (
        "import sys, audiornn.audio; print([m for m in ('torch', 'pyarrow', 'scipy', 'librosa') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
