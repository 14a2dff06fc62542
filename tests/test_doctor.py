"""What the doctor finds, each fault planted in a corpus that is sound without it."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commandline import assert_refused, run
from numpy.typing import NDArray
from signals import chirp, noise, tone, write_wav
from test_report import HOSTILE, Page

from audiornn.corpora.folder import FolderCorpus
from audiornn.corpora.manifest_file import ManifestCorpus
from audiornn.doctor import Diagnosis, Evidence, Examined, Finding, examine, save_diagnosis
from audiornn.doctor.alignment import LEAST_COHERENCE, compute_coherence
from audiornn.doctor.duplicates import find_overlaps
from audiornn.doctor.examining import examine_clips
from audiornn.doctor.findings import find_all
from audiornn.doctor.fingerprint import FINGERPRINT_RATE, compute_fingerprint, find_candidates
from audiornn.doctor.names import find_in_names, spelling_key
from audiornn.doctor.page import render_diagnosis
from audiornn.manifest import Utterance, write_manifest
from audiornn.store.decoding import Segment

RATE = 16_000
SIZES = {"train": 12, "validation": 6, "test": 6}


def spoken(seed: int, seconds: float = 0.5) -> NDArray[np.float32]:
    """Something like a word: syllables of gliding harmonics and hiss, different for every seed."""
    rng = np.random.default_rng(seed)
    parts = []
    for length in rng.dirichlet([5, 5, 5]) * seconds:
        size = round(length * RATE)
        pitch = 2 * np.pi * np.cumsum(np.linspace(*rng.uniform(90, 300, 2), size)) / RATE
        voice = sum(np.sin(k * pitch + rng.uniform(0, 6)) * rng.uniform(0.05, 1) / k for k in range(1, 12))
        hiss = rng.standard_normal(size) * rng.uniform(0.02, 0.3)
        parts.append((voice + hiss) * np.hanning(size) * rng.uniform(0.3, 1))
    joined = np.pad(np.concatenate(parts), (0, 3))[: round(seconds * RATE)]
    return (0.5 * joined / np.abs(joined).max() + 1e-4 * rng.standard_normal(joined.size)).astype(np.float32)


def sound_corpus(folder: Path) -> list[Utterance]:
    """Three classes in three splits, with speakers of their own."""
    rows = []
    for split, size in SIZES.items():
        for label in ("left", "right", "stop"):
            for number in range(size):
                name = f"{label}/{split}_{number}.wav"
                write_wav(folder / name, spoken(len(rows)))
                rows.append(
                    Utterance(
                        utterance_id=name,
                        path=str(folder / name),
                        label=label,
                        split=split,
                        speaker=f"{split}-{number % 3}",
                    )
                )
    return rows


def corpus_of(rows: list[Utterance], folder: Path) -> ManifestCorpus:
    write_manifest(folder / "manifest.csv", rows)
    return ManifestCorpus(path=str(folder / "manifest.csv"))


def examine_rows(rows: list[Utterance], folder: Path, **settings) -> Diagnosis:
    return examine(corpus_of(rows, folder), data_dir=folder, **{"num_workers": 0, **settings})


def by_kind(diagnosis: Diagnosis) -> dict[str, Finding]:
    assert len({finding.kind for finding in diagnosis.findings}) == len(diagnosis.findings)
    return {finding.kind: finding for finding in diagnosis.findings}


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> tuple[Path, list[Utterance]]:
    folder = tmp_path_factory.mktemp("sound")
    return folder, sound_corpus(folder)


def plant(folder: Path, rows: list[Utterance]) -> list[Utterance]:
    """Every fault, in files beside the sound ones."""

    def add(name: str, waveform=None, rate: int = RATE, **fields) -> Path:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if waveform is not None:
            soundfile.write(path, waveform, rate)
        fields = {"label": "left", "split": "train", "speaker": "train-0", **fields}
        rows.append(Utterance(utterance_id=name, path=str(path), **fields))
        return path

    def samples(name: str) -> NDArray[np.float32]:
        return soundfile.read(folder / name, dtype="float32")[0]

    add("unreadable.wav").write_bytes(b"this is not audio" * 10)
    add("empty.wav", np.zeros(0))
    add("no_bytes.wav").write_bytes(b"")
    cut = add("truncated.wav", spoken(1000))
    cut.write_bytes(cut.read_bytes()[:4_000])
    add("gone.wav")
    add("silent.wav", np.zeros(RATE // 2))
    add("quiet.wav", spoken(1001) * 2e-3, speaker="Train 0")
    add("clipped.wav", np.clip(spoken(1002) * 6, -1, 1))
    topped = spoken(1030)
    topped[3_000:3_004] = topped.max() * 1.2
    add("topped.wav", topped)
    gappy = spoken(1031)
    gappy[2_000:2_100] = np.nan
    write_wav(add("gappy.wav"), gappy, subtype="FLOAT")
    add("offset.wav", spoken(1003) * 0.5 + 0.2)
    clicks = spoken(1004)
    clicks[4_000] += 0.4
    add("clicks.wav", clicks)
    add("short.wav", spoken(1005, 0.11))
    add("long.wav", spoken(1006, 2.5))
    add("low_rate.wav", spoken(1007)[::2], 8_000)
    add("stereo.wav", np.stack([spoken(1008), spoken(1009)], axis=1))
    copied = folder / "copy_in_test.flac"
    soundfile.write(copied, *soundfile.read(folder / "left/train_0.wav", dtype="int16"))
    add("copy_in_test.flac", split="test", speaker="test-0")
    add("copy_in_train.wav", samples("left/train_1.wav"))
    add("copy_as_right.wav", samples("left/train_2.wav"), label="right")
    late = np.concatenate([np.zeros(801), 0.4 * samples("stop/train_3.wav")])
    add("near_copy.ogg", late, split="test", speaker="test-1", label="stop")
    add("near_as_stop.wav", 0.5 * samples("right/train_4.wav"), label="stop")
    add("two_sides.wav", spoken(1010), split="test", speaker="train-1")
    add("Left/case.wav", spoken(1011), label="Left")
    add("lefft/slip.wav", spoken(1012), label="lefft ")
    add("train/level.wav", spoken(1013), label="train")
    add("a.wav/file.wav", spoken(1014), label="a.wav")
    add("spaced .wav", spoken(1015))
    add("STOP/train_0.wav", spoken(1016), label="stop")
    add("unlabelled.wav", spoken(1017), label="")
    write_wav(folder / "whole.wav", np.concatenate([spoken(1018 + number) for number in range(6)]))
    for number, (start, end, split) in enumerate([(0, 0.6, "train"), (0.5, 1.1, "test"), (1.2, 1.7, "validation")]):
        row = rows[-1]
        segment = replace(row, utterance_id=f"whole.wav#{number}", path=str(folder / "whole.wav"), label="stop")
        rows.append(replace(segment, start_seconds=start, end_seconds=end, split=split, speaker=""))
    write_wav(folder / "parts.wav", np.concatenate([spoken(1040 + number) for number in range(4)]))
    for number, (start, end, split) in enumerate([(0, 0.6, "train"), (1.2, 1.7, "test")]):
        segment = replace(rows[-1], utterance_id=f"parts.wav#{number}", path=str(folder / "parts.wav"), split=split)
        rows.append(replace(segment, start_seconds=start, end_seconds=end))
    return rows


@pytest.fixture(scope="module")
def ill(tmp_path_factory) -> tuple[Path, Diagnosis]:
    folder = tmp_path_factory.mktemp("ill")
    rows = plant(folder, sound_corpus(folder))
    # A label with a space at its end comes from a folder's name; a manifest's cells are stripped.
    (folder / "manifest.csv").touch()

    class Listed(ManifestCorpus):
        def utterances_and_rule(self, data_dir: Path) -> tuple[list[Utterance], str]:
            return rows, "as planted"

    return folder, examine(Listed(path="planted"), data_dir=folder, num_workers=0)


# Kind, severity, count, and what is in its examples.
PLANTED = [
    ("copies across splits", "error", 1, "left/train_0.wav (train) = copy_in_test.flac (test)"),
    ("near copies across splits", "error", 1, "stop/train_3.wav (train) ≈ near_copy.ogg (test)"),
    ("copies with other labels", "error", 1, "left/train_2.wav (left) = copy_as_right.wav (right)"),
    ("near copies with other labels", "error", 1, "right/train_4.wav (right) ≈ near_as_stop.wav (stop)"),
    ("overlaps across splits", "error", 1, "whole.wav#0 (train) overlaps whole.wav#1 (test)"),
    ("speakers across splits", "error", 1, "train-1: 12 train, 1 test"),
    ("missing classes", "error", 4, "'Left': none in test, 1 in train"),
    ("missing from validation", "warning", 4, "'Left': none in validation, 1 in train"),
    ("recordings across splits", "warning", 1, "parts.wav#0 (train) and parts.wav#1 (test)"),
    ("near copies within a split", "note", 1, "right/train_4.wav (train) ≈ near_as_stop.wav (train)"),
    ("copies within a split", "warning", 2, "left/train_1.wav (train) = copy_in_train.wav (train)"),
    ("imbalance", "warning", 4, "'Left': 1 of "),
    ("unlabelled", "warning", 1, "unlabelled.wav"),
    ("missing", "warning", 1, "gone.wav: "),
    ("empty", "warning", 2, "empty.wav: expected at least 1 sample"),
    ("truncated", "warning", 1, "truncated.wav: "),
    ("unreadable", "warning", 1, "unreadable.wav: "),
    ("silent", "warning", 1, "silent.wav"),
    ("quiet", "warning", 1, "quiet.wav: "),
    ("clipped", "warning", 1, "clipped.wav: "),
    ("offset", "warning", 1, "offset.wav: +0.2"),
    ("slightly clipped", "note", 1, "topped.wav: 4 samples"),
    ("missing samples", "note", 1, "gappy.wav: 100"),
    ("speakers spelt differently", "warning", 1, "'train-0' ("),
    ("clicks", "note", 1, "clicks.wav: "),
    ("short", "warning", 1, "short.wav: 0.11 s"),
    ("long", "warning", 1, "long.wav: 2.5 s"),
    ("odd rate", "warning", 1, "low_rate.wav: 8,000 Hz"),
    ("low rate", "warning", 1, "low_rate.wav: 8,000 Hz"),
    ("channels", "note", 1, "stereo.wav: 2 channels"),
    ("labels spelt differently", "warning", 1, "'left' ("),
    ("labels misspelt", "warning", 1, "'lefft ' (1) and 'left' ("),
    ("labels with spaces", "warning", 1, "'lefft ' (1)"),
    ("labels like splits", "warning", 1, "'train' (1)"),
    ("labels like files", "warning", 1, "'a.wav' (1)"),
    ("files with spaces", "note", 1, "'spaced .wav'"),
    ("files by case", "note", 1, "stop/train_0.wav and STOP/train_0.wav"),
]


@pytest.mark.parametrize(("kind", "severity", "count", "example"), PLANTED, ids=[kind for kind, *_ in PLANTED])
def test_planted_fault_is_found(ill, kind, severity, count, example):
    finding = by_kind(ill[1])[kind]
    assert (finding.severity, finding.count) == (severity, count)
    assert any(told.startswith(example) for told in finding.examples), finding.examples


def test_nothing_but_what_was_planted_is_found(ill):
    assert set(by_kind(ill[1])) == {kind for kind, *_ in PLANTED}
    assert [finding.severity for finding in ill[1].findings] == sorted(
        (finding.severity for finding in ill[1].findings), key=("error", "warning", "note").index
    )


def test_sound_corpus_is_sound_and_counted(sound):
    folder, rows = sound
    diagnosis = examine_rows(rows, folder)
    assert diagnosis.findings == [] and diagnosis.is_sound
    document = diagnosis.document()
    counts = [
        [row[name] for name in ("split", "clips", "left out", "classes", "speakers")] for row in document["splits"]
    ]
    assert counts == [["train", 36, 0, 3, 3], ["validation", 18, 0, 3, 3], ["test", 18, 0, 3, 3]]
    assert [(row["class"], row["train"], row["validation"], row["test"]) for row in document["classes"]] == [
        (label, 12, 6, 6) for label in ("left", "right", "stop")
    ]
    assert document["classes"][0]["minutes"] == pytest.approx(24 * 0.5 / 60)
    assert len(document["speakers"]) == 9 and document["speakers"][0]["speaker"] == "train-0"


def test_number_of_workers_changes_nothing(ill, sound):
    folder, rows = sound
    rows = [*rows, replace(rows[0], utterance_id="again.wav", split="test", speaker="test-0")]
    rows += [replace(rows[0], utterance_id="gone.wav", path=str(folder / "gone.wav"))]
    alone, several = (examine_rows(rows, folder, num_workers=workers) for workers in (0, 2))
    assert alone.document() == several.document()
    assert list(alone.clip_rows()) == list(several.clip_rows())
    assert by_kind(alone).keys() == {"copies across splits", "missing"}


def test_file_that_kills_its_decoder_is_a_row_with_a_reason(sound, monkeypatch):
    killer = (
        "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer)\n"
        "import os, audiornn.doctor.examining as e\n"
        "read = e.read_recording\n"
        "e.read_recording = lambda path, **how: os._exit(9) if 'stop/test_1.' in path else read(path, **how)\n"
        "import audiornn.workers; audiornn.workers.serve()"
    )
    monkeypatch.setattr("audiornn.workers._START", killer)
    folder, rows = sound
    diagnosis = examine_rows(rows, folder, num_workers=1)
    (finding,) = diagnosis.findings
    assert finding.kind == "unreadable" and finding.count == 1
    assert finding.examples[0].startswith("stop/test_1.wav: expected audio that decodes, got a decoder that crashed")


def test_speakers_may_be_meant_to_cross(sound):
    folder, rows = sound
    rows = [replace(row, speaker="ann") for row in rows]
    crossing = examine_rows(rows, folder)
    assert by_kind(crossing).keys() == {"speakers across splits"} and not crossing.is_sound
    assert "speakers_may_cross=true" in crossing.findings[0].remedy
    meant = Diagnosis(**{**vars(crossing), "findings": find_all(crossing.evidence, speakers_may_cross=True)})
    assert meant.findings[0].severity == "note" and meant.is_sound


def test_class_whose_clips_in_a_split_are_all_unusable_is_missing(sound):
    rows = sound[1]
    clips = [Examined(seconds=0.5, sample_rate=RATE, channels=1, level_db=-20.0, digest=row.path) for row in rows]
    unusable = [
        Examined(problem="truncated") if (row.split, row.label) == ("test", "stop") else clip
        for row, clip in zip(rows, clips, strict=True)
    ]
    assert find_all(Evidence(rows=rows, clips=clips, sample_rate=RATE)) == []
    findings = {finding.kind: finding for finding in find_all(Evidence(rows=rows, clips=unusable, sample_rate=RATE))}
    assert findings["missing classes"].examples == ("'stop': none in test, 12 in train, 6 in validation",)


def test_class_or_corpus_without_a_usable_clip_is_an_error(sound):
    rows = sound[1]
    clips = [Examined(seconds=0.5, sample_rate=RATE, channels=1, level_db=-20.0, digest=row.path) for row in rows]
    lost = [
        Examined(problem="unreadable") if row.label == "stop" else clip for row, clip in zip(rows, clips, strict=True)
    ]
    (error,) = (
        found for found in find_all(Evidence(rows=rows, clips=lost, sample_rate=RATE)) if found.severity == "error"
    )
    assert (error.kind, error.examples) == ("missing classes", ("'stop': no clip that can be read",))
    lost = [Examined(problem="missing") for _ in rows]
    (error,) = (
        found for found in find_all(Evidence(rows=rows, clips=lost, sample_rate=RATE)) if found.severity == "error"
    )
    assert (error.kind, error.what) == (
        "missing splits",
        "there is no clip that can be read for train and validation and test",
    )


def test_splits_without_clips_and_classes_with_few_are_told(sound):
    rows = sound[1]
    clips = [Examined(seconds=0.5, sample_rate=RATE, channels=1, level_db=-20.0, digest=row.path) for row in rows]
    evidence = Evidence(rows=[replace(row, split="train") for row in rows], clips=clips, sample_rate=RATE)
    (finding,) = find_all(evidence)
    assert (finding.kind, finding.severity) == ("missing splits", "warning")
    assert finding.what.endswith("for validation and test")
    kept = [number for number, row in enumerate(rows) if "stop/test_" not in row.path or "test_0" in row.path]
    evidence = Evidence(rows=[rows[n] for n in kept], clips=[clips[n] for n in kept], sample_rate=RATE)
    (finding,) = find_all(evidence)
    assert (finding.kind, finding.examples) == ("few clips", ("'stop': 1 in test",))


def test_overlaps_are_between_sides_and_noise_is_heard_in_training(sound):
    times = {"train": (0, 5), "noise": (4, 9), "validation": (8, 10), "test": (10, 12)}
    rows = [
        replace(sound[1][0], utterance_id=split, split=split, label="", start_seconds=start, end_seconds=end)
        for split, (start, end) in times.items()
    ]
    clips = [Examined(seconds=1.0, sample_rate=RATE, channels=1, level_db=-20.0, digest=row.split) for row in rows]
    findings = {finding.kind: finding for finding in find_all(Evidence(rows=rows, clips=clips, sample_rate=RATE))}
    assert findings["overlaps across splits"].examples == ("noise (noise) overlaps validation (validation)",)
    segments = [Segment("a.wav", start, end) for start, end in [(0, 9), (1, 2), (3, 4), (8, None)]]
    assert find_overlaps(segments, ["train", "train", "test", "test"]) == [(0, 2), (0, 3)]
    assert find_overlaps(segments, ["train"] * 4) == []


def test_lists_of_labels_count_for_each_and_numbers_are_no_classes(sound):
    rows = sound[1]
    clips = [Examined(seconds=0.5, sample_rate=RATE, channels=1, level_db=-20.0, digest=row.path) for row in rows]
    several = [replace(row, label=json.dumps([row.label, "loud"])) for row in rows]
    evidence = Evidence(rows=several, clips=clips, sample_rate=RATE)
    assert evidence.classes == ["left", "loud", "right", "stop"]
    assert (
        evidence.class_counts["loud"] == {split: 3 * size for split, size in SIZES.items()} and find_all(evidence) == []
    )
    numbers = [replace(row, label=f"{number / 7:.3f}") for number, row in enumerate(rows)]
    evidence = Evidence(rows=numbers, clips=clips, sample_rate=RATE)
    assert evidence.classes == [] and find_all(evidence) == []


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("left", "Left ", True),
        ("left turn", "left_turns", True),
        ("caf\u00e9", "cafe\u0301", True),
        ("glass", "glas", False),
        ("up", "ups", False),
        ("c", "c#", False),
        ("yes", "no", False),
    ],
)
def test_spellings_that_are_one(one, other, alike):
    assert (spelling_key(one, plural_s=True) == spelling_key(other, plural_s=True)) == alike


def lossy(waveform: NDArray[np.float32], kind: str, subtype: str | None = None) -> NDArray[np.float32]:
    stream = io.BytesIO()
    soundfile.write(stream, waveform, FINGERPRINT_RATE, format=kind, subtype=subtype)
    stream.seek(0)
    return soundfile.read(stream, dtype="float32")[0]


COPIES = {
    "quieter": lambda clip, rng: 0.1 * clip,
    "upside down": lambda clip, rng: -clip,
    "100 ms later": lambda clip, rng: np.concatenate([np.zeros(800, np.float32), clip]),
    "half a sample later": lambda clip, rng: np.fft.irfft(
        np.fft.rfft(clip) * np.exp(-1j * np.pi * np.arange(len(clip) // 2 + 1) / len(clip)), len(clip)
    ).astype(np.float32),
    "noise at 30 dB": lambda clip, rng: (
        clip + rng.standard_normal(clip.size, np.float32) * np.float32(np.std(clip) * 10**-1.5)
    ),
    "mp3": lambda clip, rng: lossy(clip, "MP3"),
    "ogg": lambda clip, rng: lossy(clip, "OGG", "VORBIS"),
}


@pytest.mark.parametrize("kind", COPIES)
def test_copies_are_candidates_and_coherent(kind, rng):
    clips = [spoken(seed, 0.8)[::2][: 6_400 // 2 * 2] for seed in range(40)]
    copies = [COPIES[kind](clip, rng) for clip in clips[:10]]
    pairs = find_candidates(np.stack([compute_fingerprint(clip) for clip in [*clips, *copies]]))
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert {(number, 40 + number) for number in range(10)} <= found
    coherences = [compute_coherence(clip, copy) for clip, copy in zip(clips, copies, strict=False)]
    assert min(coherences) > LEAST_COHERENCE


def test_different_clips_are_no_copies():
    tones = [tone(frequency, 0.4, sample_rate=FINGERPRINT_RATE) for frequency in np.linspace(200, 3_000, 10)]
    tones += [tone(440, 0.5, sample_rate=FINGERPRINT_RATE, amplitude=level) for level in (0.1, 0.3)]
    chirps = [chirp(200 + 40 * number, 2_000, 0.4, sample_rate=FINGERPRINT_RATE) for number in range(8)]
    hisses = [noise(3_200, seed=seed) for seed in range(8)]
    words = [spoken(seed)[::2] for seed in range(14)]
    clips = [*tones, *chirps, *hisses, *words]
    alike = [
        (one, other)
        for one in range(len(clips))
        for other in range(one)
        if compute_coherence(clips[one], clips[other]) >= LEAST_COHERENCE
    ]
    assert alike == []


def test_clips_with_nothing_to_go_by_have_no_fingerprint():
    assert not compute_fingerprint(np.zeros(8_000, np.float32)).any()
    assert not compute_fingerprint(noise(700)).any()
    assert len(find_candidates(np.zeros((5, 320), np.float16)).first) == 0


@pytest.fixture(scope="module")
def written(ill, tmp_path_factory) -> dict[str, Path]:
    return save_diagnosis(ill[1], tmp_path_factory.mktemp("out") / "doctor")


@pytest.mark.parametrize(("rate", "num_samples"), [(50, 3_000), (1_000_000, 3_000), (48_000, 2)])
def test_clip_that_has_no_fingerprint_is_read_as_prepare_reads_it(rate, num_samples, tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(num_samples), rate, subtype="PCM_16")
    (chunk,) = examine_clips([Segment(str(tmp_path / "a.wav"), 0.0, None)], 0)
    assert chunk.clips[0].usable and chunk.clips[0].seconds == num_samples / rate and not chunk.fingerprints.any()


def test_level_beside_a_large_offset_is_that_of_the_difference(tmp_path):
    samples = np.full(20_000_000, 32_767, dtype=np.int16)
    samples[5] -= 1
    soundfile.write(tmp_path / "a.wav", samples, 1_000_000, subtype="PCM_16")
    (chunk,) = examine_clips([Segment(str(tmp_path / "a.wav"), 0.0, None)], 0)
    assert chunk.clips[0].level_db == pytest.approx(10 * np.log10(1 / samples.size) - 20 * np.log10(32_768), abs=1e-6)


def test_page_tells_every_finding_and_plays_clips(ill, written):
    text = written["doctor.html"].read_text("utf-8")
    page = Page(text)
    told = " ".join(page.texts)
    for finding in ill[1].findings:
        assert finding.what in told and finding.remedy in told
        for example in finding.examples:
            assert example in told
    players = [attributes["src"] for tag, attributes in page.elements if tag == "audio"]
    assert 10 <= len(players) <= 20
    for source in players:
        wav = base64.b64decode(source.removeprefix("data:audio/wav;base64,"))
        assert 0 < soundfile.info(io.BytesIO(wav)).duration <= 5
    assert text.count("<svg") == 4
    assert len(text) < 5_000_000


def test_page_asks_for_nothing_and_runs_nothing(written):
    page = Page(written["doctor.html"].read_text("utf-8"))
    policy = next(found["content"] for tag, found in page.elements if tag == "meta" and found.get("http-equiv"))
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; script-src 'none'"
    for tag, attributes in page.elements:
        assert tag not in ("script", "link", "iframe", "img", "object", "embed", "base", "form")
        assert attributes.get("src", "data:audio/wav;").startswith("data:audio/wav;")
        assert (attributes.get("href") or attributes.get("xlink:href") or "#").startswith("#")


def names_found(counts: dict[str, int]) -> dict[str, str]:
    """First example of each finding about the labels of clips."""
    rows = [
        Utterance(utterance_id=f"{position}-{number}.wav", path="", label=label, split="train")
        for position, (label, count) in enumerate(counts.items())
        for number in range(count)
    ]
    evidence = Evidence(rows=rows, clips=[Examined(seconds=0.5)] * len(rows), sample_rate=RATE)
    return {finding.kind: finding.examples[0] for finding in find_in_names(evidence)}


@pytest.mark.parametrize("odd", ["Up", "UP", "up ", " up", "u\u200bp", "\ufeffup", "u\u00adp", "\uff55p", "u p", "u-p"])
def test_short_labels_are_one_by_case_space_and_unicode_form(odd):
    found = names_found({"up": 3, odd: 3, "no": 3, "on": 3, "go": 3})
    assert found["labels spelt differently"] == f"{min('up', odd)!r} (3) and {max('up', odd)!r} (3)"
    assert set(found) <= {"labels spelt differently", "labels with spaces"}


def test_composed_and_decomposed_letters_are_one_label():
    assert "labels spelt differently" in names_found({"né": 3, "ne\u0301": 3})
    assert names_found({"né": 40, "ne": 1}) == {}, "two words"


def test_letter_typed_twice_is_a_slip_at_any_length_and_other_changes_of_short_words_are_none():
    slip = names_found({"on": 40, "onn": 1, "no": 40, "go": 1, "of": 40, "two": 40, "too": 1})
    assert slip == {"labels misspelt": "'onn' (1) and 'on' (40)"}
    assert names_found({"on": 40, "onn": 20}) == {}, "two classes"
    assert names_found({"7": 40, "77": 1}) == {}, "two numbers"


def test_label_of_two_alphabets_is_told():
    assert names_found({"no": 3, "n\u043e": 3})["labels of two alphabets"] == "'n\u043e' (3)"
    assert names_found({"no": 3, "\u043d\u043e": 3, "no \u043d\u0435": 3}) == {}


def test_names_from_strangers_stay_text(sound):
    rows = sound[1]
    hostile = [name for name in HOSTILE if "\udcff" not in name]
    strange = [
        replace(
            row, utterance_id=f"{hostile[number % len(hostile)]}{number}", label=hostile[number % 2], speaker=hostile[0]
        )
        for number, row in enumerate(rows)
    ]
    clips = [Examined(seconds=0.5, sample_rate=RATE, channels=1, level_db=-20.0, digest="same") for _ in rows]
    evidence = Evidence(rows=strange, clips=clips, sample_rate=RATE, copies=[list(range(len(rows)))])
    diagnosis = Diagnosis(
        name=hostile[1], settings={}, split_rule=hostile[2], evidence=evidence, findings=find_all(evidence)
    )
    page = Page(render_diagnosis(diagnosis))
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "img"} and [tag for tag, _ in page.elements].count("style") == 1
    assert not [name for _, found in page.elements for name in found if name.startswith("on")]
    told = " ".join(page.texts)
    for name in hostile:
        assert name in told


def test_files_hold_what_was_found(ill, written):
    diagnosis = ill[1]
    assert {path.name for path in written["doctor.json"].parent.iterdir()} == set(written)
    assert json.loads(written["doctor.json"].read_text("utf-8")) == diagnosis.document()
    with written["clips.csv"].open(encoding="utf-8", newline="") as file:
        rows = {row["utterance_id"]: row for row in csv.DictReader(file)}
    assert len(rows) == len(diagnosis.evidence.rows)
    assert rows["truncated.wav"]["problem"] == "truncated" and "truncated" in rows["truncated.wav"]["reason"]
    assert rows["copy_in_test.flac"]["digest"] == rows["left/train_0.wav"]["digest"]
    assert rows["copy_in_test.flac"]["copies"] == rows["left/train_0.wav"]["copies"] != ""
    assert rows["near_copy.ogg"]["near_copies"] == rows["stop/train_3.wav"]["near_copies"] != ""
    assert rows["low_rate.wav"]["findings"] == "odd rate; low rate"
    assert float(rows["offset.wav"]["dc_offset"]) == pytest.approx(0.2, abs=0.01)
    assert 0.09 < float(rows["near_copy.ogg"]["silence_before"]) < 0.12


def test_command_tells_and_exits_by_what_it_found(sound, tmp_path):
    folder, rows = sound
    corpus_of(rows, folder)
    words = ("doctor", "data=manifest", f"data.path={folder / 'manifest.csv'}", "num_workers=0")
    done = run(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "nothing was found" in done.stdout and "clips per class" in done.stdout
    assert {path.name for path in (tmp_path / "doctor" / "manifest").iterdir()} == {
        "doctor.html", "clips.csv", "doctor.json",
    }  # fmt: skip
    write_manifest(folder / "leaky.csv", [*rows, replace(rows[0], utterance_id="b", split="test", speaker="test-0")])
    done = run(*words[:2], f"data.path={folder / 'leaky.csv'}", "output=out", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert re.search(r"error.*1 group of clips with the same samples", done.stdout)
    assert json.loads((tmp_path / "out" / "doctor.json").read_text())["severities"]["error"] == 1


def test_refusals(sound, tmp_path):
    folder = sound[0]
    for number in range(10):
        for label in "ab":
            path = tmp_path / "moves" / label / f"{number}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, np.zeros((3, 2), np.float32))
    moves = ("doctor", "data=folder", f"data.path={tmp_path / 'moves'}")
    assert_refused(*moves, "data.files=sequences", cwd=tmp_path, says="expected recordings to examine, got .npy files")
    assert_refused("doctor", "data=folder", "data.path=nowhere", cwd=tmp_path, says="expected a corpus folder")
    (tmp_path / "taken").touch()
    assert_refused("doctor", "output=taken", cwd=tmp_path, says="not a directory")
    assert not (tmp_path / "doctor").exists()
    with pytest.raises(ValueError, match="num_workers at least 0"):
        examine(FolderCorpus(path=str(folder)), data_dir=tmp_path, num_workers=-1)
