"""`audiornn listen`: raw samples in, events out while they come."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from commandline import assert_refused, succeed
from signals import chirp, noise, tone
from test_streaming import FRAME_TASK, TASK, classifier_of

import audiornn
from audiornn.checkpoint import save_model
from audiornn.detection import DetectionSettings, Event
from audiornn.inference import Classifier
from audiornn.recordings import detect_events
from audiornn.streaming import EventStream, Stream, detect_frames
from audiornn.tasks import TaskSpec

RATE = 16_000
SETTINGS = ["window_seconds=0.4", "hop_seconds=0.1", "threshold=0.4"]
DETECTION = DetectionSettings(window_seconds=0.4, hop_seconds=0.1, threshold=0.4)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    classifier = undecided(TASK)
    folder = tmp_path_factory.mktemp("listen") / "model"
    save_model(folder, classifier.engine.network, classifier.spec)
    return folder


def undecided(*tasks: TaskSpec) -> Classifier:
    """A random network, to which no label is likelier than another over all of `sound`."""
    classifier = classifier_of(seed=4, tasks=tasks)
    heard = sound().astype(np.float32) / 32_768
    logits = classifier.run([heard[start : start + 6_400] for start in range(0, len(heard), 1_600)]).logits
    head = classifier.engine.network.head.linear
    with torch.no_grad():
        head.bias -= torch.from_numpy(logits.mean(axis=0))
        head.weight *= 20
        head.bias *= 20
    return classifier


def sound(seconds: float = 2.5) -> np.ndarray:
    """int16, ever another sound."""
    parts = [tone(300, 0.5), noise(8_000, amplitude=0.3), chirp(300, 6_000, 0.5), noise(8_000, amplitude=0.001)]
    waveform = np.concatenate(parts * 3)[: round(seconds * RATE)]
    return np.rint(waveform * 20_000).astype(np.int16)


def begun_of(model: Path, waveform: np.ndarray, **settings: int) -> list[Event]:
    """What the library finds, in one piece."""
    events = EventStream(audiornn.load(model, device="cpu"), DETECTION, **settings)
    events.push(waveform)
    begun = events.begun()
    events.finish()
    return begun + events.begun()


def start(model: Path, *words: str, cwd: Path) -> subprocess.Popen[bytes]:
    # The folder of the command comes first on the path, and may hold a stand-in for a package.
    command = [sys.executable, "-m", "audiornn", "listen", "input=-", f"model={model}", *SETTINGS, *words]
    return subprocess.Popen(
        command,
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def until_listening(process: subprocess.Popen[bytes]) -> None:
    assert process.stderr is not None
    assert process.stderr.readline().startswith(b"listening at ")


def paced(
    process: subprocess.Popen[bytes], data: bytes, *, piece: int = 1_001, seconds: float = 2.0
) -> threading.Thread:
    """Write odd pieces as a recorder would, in the background."""

    def write() -> None:
        assert process.stdin is not None
        pieces = [data[at : at + piece] for at in range(0, len(data), piece)]
        for each in pieces:
            process.stdin.write(each)
            process.stdin.flush()
            time.sleep(seconds / len(pieces))
        process.stdin.close()

    thread = threading.Thread(target=write)
    thread.start()
    return thread


def rows_of(events: list[Event], *, are_over: bool = False) -> list[dict[str, object]]:
    return [
        {
            "start_seconds": round(event.start_seconds, 4),
            "end_seconds": round(event.end_seconds, 4) if are_over else None,
            "label": event.label,
            "probability": pytest.approx(event.probability, abs=2e-4),
        }
        for event in events
    ]


def test_events_come_while_the_input_still_runs_and_are_those_of_the_library(model, tmp_path):
    with start(model, "format=jsonl", f"output={tmp_path / 'events.jsonl'}", cwd=tmp_path) as process:
        until_listening(process)
        writer = paced(process, sound().tobytes())
        first = process.stdout.readline()
        assert writer.is_alive(), "the first event came only with the end of the input"
        told = first + process.stdout.read()
        writer.join()
        assert process.wait(60) == 0
        wanted = begun_of(model, sound())
        assert len(wanted) >= 3
        assert [json.loads(line) for line in told.splitlines()] == rows_of(wanted)
        assert (tmp_path / "events.jsonl").read_bytes() == told
        assert process.stderr.read() == b"%d events\n" % len(wanted)


@pytest.mark.slow
def test_ctrl_c_is_an_ordinary_end(model, tmp_path):
    with start(model, cwd=tmp_path) as process:
        until_listening(process)
        process.stdin.write(sound().tobytes())
        process.stdin.flush()
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(60) == 0
        assert first.split()[1:3] in ([b"s", label.encode()] for label in TASK.labels)
        assert process.stderr.read().startswith(b"%d event" % (1 + len(rest.splitlines())))


@pytest.mark.slow
def test_floats_channels_and_another_rate_are_heard(model, tmp_path):
    wave = sound().astype(np.float32) / 32_768
    stereo = np.repeat(np.stack([wave, wave], axis=1), 2, axis=0)  # crudely at twice the rate
    process = start(model, "encoding=f32le", "channels=2", "sample_rate=32000", "format=jsonl", cwd=tmp_path)
    told, complaints = process.communicate(stereo.astype("<f4").tobytes() + b"\0\0\0")
    assert process.returncode == 0, complaints
    wanted = begun_of(model, stereo.T, sample_rate=32_000)
    assert [json.loads(line) for line in told.splitlines()] == rows_of(wanted)
    assert b"the input ended within a frame of 8 bytes, which is left out" in complaints


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "words", "says"),
    [
        (b"", [], b"expected audio from '-', got none"),
        (b"RIFF$\0\0\0WAVEfmt ", [], b"got a WAV file; add `-t raw`"),
        (np.full(100, 1e30, "<f4").tobytes(), ["encoding=f32le"], b"is it encoding=f32le channels=1?"),
    ],
)
def test_what_is_no_audio_is_one_line(model, tmp_path, data, words, says):
    process = start(model, *words, cwd=tmp_path)
    told, complaints = process.communicate(data)
    assert process.returncode == 2 and told == b""
    *_, last = complaints.splitlines()
    assert says in last and last.startswith(b"audiornn: AudioError: ") and complaints.count(b"\n") == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["input=talk.wav"], "input must be microphone or -"),
        ([], "expected sounddevice for the microphone"),
        (["encoding=mp3"], "encoding must be one of s16le, f32le"),
        (["channels=0"], "channels must be at least 1"),
        (["microphone=1.5"], "microphone must be a name or a number, got 1.5"),
        (["tell=never"], "tell must be start or end"),
        (["format=xml"], "format must be text or jsonl"),
        (["output=events.csv"], "output must end in .jsonl"),
        (["input=-", "model=nowhere"], "nowhere"),
    ],
)
def test_impossible_settings_are_refused(tmp_path, words, says):
    if not words and importlib.util.find_spec("sounddevice"):
        pytest.skip("there is a sounddevice")
    assert_refused("listen", *words, cwd=tmp_path, says=says)


def test_closed_standard_input_is_one_line(tmp_path):
    """`audiornn listen input=- <&-`"""
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m audiornn listen input=- <&-"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("audiornn: ConfigError: expected raw samples on standard input, got a closed one")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [["format=jsonl"], pytest.param(["background=[a]"], marks=pytest.mark.slow)])
def test_reader_that_goes_ends_it_quietly(model, tmp_path, words):
    """`audiornn listen ... | head -1`, composed with Hydra and without."""
    with start(model, *words, cwd=tmp_path) as process:
        until_listening(process)
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):  # it may end before it has heard all
            process.stdin.write(sound().tobytes())
            process.stdin.close()
        assert process.wait(60) == 141
        assert process.stderr.read() == b""


@pytest.mark.slow
def test_input_that_stalls_is_waited_for(model, tmp_path):
    with start(model, "format=jsonl", cwd=tmp_path) as process:
        until_listening(process)
        data = sound().tobytes()
        for part in (data[:20_001], data[20_001:60_000], data[60_000:]):
            process.stdin.write(part)
            process.stdin.flush()
            time.sleep(1)
            assert process.poll() is None
        process.stdin.close()
        told = process.stdout.read()
        assert process.wait(60) == 0
    assert [json.loads(line) for line in told.splitlines()] == rows_of(begun_of(model, sound()))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["threshold=2"], "expected a threshold from 0 to 1"),
        (["background=[dog]"], "expected labels of the model, got 'dog'"),
        (["window_seconds=1e-9"], "expected a window of at least a frame of 0.025 s and a hop of at least 1 sample"),
        (["window_seconds=1e9"], "expected window_seconds of at most 3600"),
        (["sample_rate=100"], "expected sample rates that differ by a factor of 100 at most"),
        (["hop_seconds=2"], "expected hop_seconds of at most window_seconds"),
    ],
)
def test_settings_must_fit_the_model(model, tmp_path, words, says):
    assert_refused("listen", "input=-", f"model={model}", *words, cwd=tmp_path, says=says)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "says"),
    [
        ("raise ImportError('No module named sounddevice')", "pip install 'audiornn[microphone]', or input=-"),
        ("raise OSError('PortAudio library not found')", "got: PortAudio library not found; install it (apt install"),
        (
            "raise RuntimeError('Error initializing PortAudio:\\nno host')",
            "got: Error initializing PortAudio: no host;",
        ),
    ],
)
def test_microphone_without_package_or_library_is_one_line(model, tmp_path, module, says):
    (tmp_path / "sounddevice.py").write_text(module + "\n")
    process = subprocess.run(
        [sys.executable, "-m", "audiornn", "listen", f"model={model}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 2 and process.stderr.count("\n") == 1
    assert says in process.stderr


SOUNDDEVICE = '''
"""As much of sounddevice as is used, with a file for a microphone."""
import threading
import numpy as np

class PortAudioError(Exception):
    pass

class InputStream:
    def __init__(self, *, samplerate, channels, device, dtype, callback, finished_callback):
        if device == "none":
            raise ValueError("Multiple input devices found for 'none':\\n[0] a\\n[1] b")
        self.finished = finished_callback if device == "pulled out" else lambda: None
        assert (samplerate, channels, dtype) == (16_000, 1, "float32")
        self.thread = threading.Thread(target=self.record, args=(callback,), daemon=True)

    def record(self, callback):
        samples = np.fromfile("sound.raw", dtype="<i2").astype(np.float32)[:, None] / 32_768
        for start in range(0, len(samples), 1_600):
            callback(samples[start : start + 1_600], 1_600, None, None)
        self.finished()

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *rest):
        pass

def query_devices():
    inputs = {"built in": 2, "speaker": 0, "headset": 1}
    return [{"name": name, "max_input_channels": count} for name, count in inputs.items()]
'''


@pytest.mark.slow
def test_microphone_is_heard_until_ctrl_c(model, tmp_path):
    (tmp_path / "sounddevice.py").write_text(SOUNDDEVICE)
    sound().tofile(tmp_path / "sound.raw")
    wanted = rows_of(begun_of(model, sound())[:3])
    with start(model, "input=microphone", "format=jsonl", cwd=tmp_path) as process:
        told = [json.loads(process.stdout.readline()) for _ in wanted]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert told == wanted
    with start(model, "input=microphone", "microphone=none", cwd=tmp_path) as process:
        assert process.wait(60) == 2
        told = process.stderr.read().splitlines()[-1]
        assert b"expected a microphone at 16000 Hz, got: Multiple input devices found for 'none': [0] a [1] b" in told
        assert told.endswith(b"microphone= one of 0 (built in), 2 (headset)")
    with start(model, "input=microphone", "microphone=pulled out", cwd=tmp_path) as process:
        assert process.wait(60) == 0 and len(process.stdout.read().splitlines()) >= len(wanted)
        assert b"audiornn: the microphone stopped\n" in process.stderr.read()


# Events


def cut(waveform: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for at in range(0, len(waveform), size):
        yield waveform[at : at + size]


def events_in(stream: EventStream, waveform: np.ndarray, size: int) -> list[Event]:
    return [event for chunk in cut(waveform, size) for event in stream.push(chunk)] + stream.finish()


def with_gaps() -> np.ndarray:
    """Two windows and more are missing in it, and its last one."""
    waveform = sound(3.3).astype(np.float32) / 32_768
    waveform[12_000:26_000] = np.nan
    waveform[-8_000:] = np.nan
    return waveform


@pytest.mark.parametrize("size", [1_001, 70_000])
@pytest.mark.parametrize(
    ("waveform", "rate"),
    [
        (sound(2.5), RATE),
        (sound(2.53), RATE),
        (sound(0.3), RATE),
        (sound(0.41), RATE),
        (with_gaps(), RATE),
        (sound(2.9), 22_050),
    ],
    ids=["whole hops", "a rest", "less than a window", "two windows", "gaps", "another rate"],
)
@pytest.mark.parametrize("settings", [{}, {"smoothing_windows": 1, "minimum_seconds": 0.0, "merge_seconds": 0.2}])
def test_stream_has_the_events_of_the_file(model, tmp_path, waveform, rate, size, settings):
    classifier = audiornn.load(model, device="cpu")
    settings = dataclasses.replace(DETECTION, **settings)
    path = tmp_path / "a.wav"
    soundfile.write(path, waveform, rate, subtype="PCM_16" if waveform.dtype == np.int16 else "FLOAT")
    of_file = list(detect_events(classifier, path, settings))
    of_stream = events_in(EventStream(classifier, settings, sample_rate=rate), waveform, size)
    assert len(of_stream) == len(of_file) >= (1 if len(waveform) < 7_000 else 2)
    for mine, other in zip(of_stream, of_file, strict=True):
        assert mine.label == other.label
        times = [other.start_seconds, other.end_seconds, other.probability]
        assert [mine.start_seconds, mine.end_seconds, mine.probability] == pytest.approx(times, abs=1e-4)


def test_windows_are_those_of_the_file_beside_a_label_per_frame(tmp_path):
    classifier = undecided(TASK, FRAME_TASK)
    settings = dataclasses.replace(DETECTION, hop_seconds=0.033)  # between two frames
    waveform = sound()[: 2 * RATE + 123]
    path = tmp_path / "a.wav"
    soundfile.write(path, waveform, RATE, subtype="PCM_16")
    of_file = list(detect_events(classifier, path, settings))
    of_stream = events_in(EventStream(classifier, settings), waveform, 777)
    assert len(of_stream) == len(of_file) >= 2
    for mine, other in zip(of_stream, of_file, strict=True):
        times = [other.start_seconds, other.end_seconds, other.probability]
        assert mine.label == other.label
        assert [mine.start_seconds, mine.end_seconds, mine.probability] == pytest.approx(times, abs=1e-4)
    assert "where" in Stream(classifier, window_seconds=0.4, hop_seconds=0.033).push(waveform).moments


@pytest.mark.parametrize("size", [160, 100_000])
def test_event_is_certain_in_time(model, size):
    events = EventStream(audiornn.load(model, device="cpu"), DETECTION)
    waveform = np.concatenate([sound(2.5), np.zeros(RATE, dtype=np.int16)])
    begun, over = [], []
    for number, chunk in enumerate(cut(waveform, size), start=1):
        over += events.push(chunk)
        begun += [(number * size / RATE, event) for event in events.begun()]
    over += events.finish()
    begun += [(len(waveform) / RATE, event) for event in events.begun()]
    assert sorted((e.label, e.start_seconds) for _, e in begun) == sorted((e.label, e.start_seconds) for e in over)
    # Windows of 0.4 s every 0.1 s; one more for the average, two that must agree.
    assert events.delay_seconds == pytest.approx(0.25 + 0.3)
    if size == 160:
        assert all(told <= event.start_seconds + 0.1 + events.delay_seconds for told, event in begun)


@pytest.mark.parametrize("from_states", [False, True])
def test_chunk_after_the_end_begins_another_stream(from_states):
    events = EventStream(classifier_of(seed=4), DETECTION, from_states=from_states)
    first = events_in(events, sound(2.5), 777)
    assert first and events_in(events, sound(2.5), 777) == first
    assert len(events.begun()) == 2 * len(first) and events.begun() == []


def test_events_of_a_label_per_frame_are_its_stretches_of_frames():
    classifier = classifier_of(seed=4, tasks=(FRAME_TASK,))
    settings = DetectionSettings(smoothing_windows=1, minimum_seconds=0.0, threshold=0.5)
    found = events_in(EventStream(classifier, settings), sound(1.5), 777)
    moments = Stream(classifier).push(sound(1.5)).moments["where"]
    best = np.where(moments.scores[:, 1:].max(axis=1) >= 0.5, moments.scores[:, 1:].argmax(axis=1) + 1, 0)
    starts = [0, *(np.flatnonzero(np.diff(best)) + 1).tolist()]
    stretches = [(moments.times[at] - 0.005, FRAME_TASK.labels[best[at]]) for at in starts if best[at]]
    assert len(stretches) >= 2
    assert [(round(event.start_seconds, 3), event.label) for event in found] == [
        (round(max(0.0, start), 3), label) for start, label in stretches
    ]
    assert EventStream(classifier).settings.minimum_seconds == 0.1


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("window", [{}, {"window_seconds": 0.5, "hop_seconds": 0.1}])
def test_files_have_the_events_of_a_label_per_frame_too(tmp_path, bidirectional, window):
    classifier = classifier_of(seed=4, tasks=(FRAME_TASK,), bidirectional=bidirectional)
    settings = DetectionSettings(**window, minimum_seconds=0.02)
    path = tmp_path / "a.wav"
    soundfile.write(path, with_gaps(), RATE, subtype="FLOAT")
    of_file = list(detect_frames(classifier, path, settings))
    events = EventStream(classifier, settings, from_states=False if window else None)
    of_stream = events_in(events, with_gaps(), 1_001)
    assert [event.label for event in of_stream] == [event.label for event in of_file] and len(of_file) >= 2
    for mine, other in zip(of_stream, of_file, strict=True):
        times = [other.start_seconds, other.end_seconds, other.probability]
        assert [mine.start_seconds, mine.end_seconds, mine.probability] == pytest.approx(times, abs=1e-4)


def test_detect_writes_the_events_of_a_label_per_frame(tmp_path):
    classifier = classifier_of(seed=4, tasks=(FRAME_TASK,))
    save_model(tmp_path / "model", classifier.engine.network, classifier.spec)
    soundfile.write(tmp_path / "a.wav", sound(), RATE, subtype="PCM_16")
    words = ("detect", "model=model", "device=cpu", "input=a.wav", "minimum_seconds=0.02")
    succeed(*words, "output=a.csv", cwd=tmp_path)
    found = list(detect_frames(classifier, tmp_path / "a.wav", DetectionSettings(minimum_seconds=0.02)))
    told = (tmp_path / "a.csv").read_text().splitlines()
    assert len(told) == len(found) + 1 >= 3
    assert_refused(*words, "output=b.csv", "voice_only=true", cwd=tmp_path, says="voice_only: expected a model that")


@pytest.mark.slow
def test_told_when_over_is_what_detect_says(model, tmp_path):
    soundfile.write(tmp_path / "a.wav", sound(), RATE, subtype="PCM_16")
    process = start(model, "format=jsonl", "tell=end", cwd=tmp_path)
    told, _ = process.communicate(sound().tobytes())
    rows = [json.loads(line) for line in told.splitlines()]
    wanted = audiornn.load(model, device="cpu").detect(tmp_path / "a.wav", DETECTION)
    assert rows == rows_of(wanted, are_over=True) and len(rows) >= 3
