"""Public corpora in miniature: the layout, names and tables of each, with a few short clips of noise."""

from __future__ import annotations

import csv
import io
import itertools
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

import soundfile
from signals import noise

from audiornn.corpora.public import Copy
from audiornn.corpora.speech_commands import TEN_WORDS, WORDS
from audiornn.splits import split_by_hash


def write_clips(folder: Path, names: Iterable[str], *, sample_rate: int = 16_000, num_samples: int = 400) -> None:
    """Clips of noise that are all different, in less time than it takes to encode each."""
    file = io.BytesIO()
    soundfile.write(file, noise(num_samples), sample_rate, format="WAV", subtype="PCM_16")
    content = file.getvalue()
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content[:-2] + (number % 2**15).to_bytes(2, "little"))


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


@cache
def speakers_of(split: str, count: int) -> tuple[str, ...]:
    """Names of speakers whom the rule of Speech Commands puts into a split."""
    names = (f"{number:08x}" for number in itertools.count())
    return tuple(itertools.islice((name for name in names if split_by_hash(name) == split), count))


def write_speech_commands(data_dir: Path, version: str = "v0.02") -> None:
    """Of every word 3 clips for training, 1 for validation and 1 for the test; six noise files; the test set."""
    folder, test_set = data_dir / f"speech_commands_{version}", data_dir / f"speech_commands_test_set_{version}"
    shares = {"train": 3, "validation": 1, "test": 1}
    names = {
        split: [f"{word}/{speaker}_nohash_0.wav" for word in WORDS[version] for speaker in speakers_of(split, count)]
        for split, count in shares.items()
    }
    write_clips(folder, itertools.chain.from_iterable(names.values()))
    for split, list_name in (("validation", "validation_list.txt"), ("test", "testing_list.txt")):
        (folder / list_name).write_text("".join(f"{name}\n" for name in names[split]))
    noises = ("doing_the_dishes", "dude_miaowing", "exercise_bike", "pink_noise", "running_tap", "white_noise")
    write_clips(folder / "_background_noise_", [f"{name}.wav" for name in noises], num_samples=6 * 16_000)
    for name in ("README.md", "LICENSE", "_background_noise_/README.md"):
        (folder / name).write_text("text\n")
    write_clips(test_set, [name for name in names["test"] if name.split("/")[0] in TEN_WORDS])
    others = [name.replace("/", "_") for name in names["test"] if name.split("/")[0] not in TEN_WORDS]
    write_clips(test_set / "_unknown_", [f"{name}.wav" for name in others[:2]])
    write_clips(test_set / "_silence_", ["2.wav", "1024.wav"])
    (test_set / "LICENSE").write_text("text\n")


def write_fsdd(data_dir: Path) -> None:
    """2 of 6 speakers, 10 of 50 recordings."""
    indices = (0, 5, *range(10, 18))
    write_clips(
        data_dir / "free-spoken-digit-dataset" / "recordings",
        [f"{digit}_{name}_{index}.wav" for digit in range(10) for name in ("george", "theo") for index in indices],
        sample_rate=8000,
    )
    (data_dir / "free-spoken-digit-dataset" / "README.md").write_text("text\n")


AUDIO_MNIST_WOMEN = (12, 26, 28, 36, 43, 47, 52, 56, 57, 58, 59, 60)


def write_audio_mnist(data_dir: Path) -> None:
    """1 of 500 recordings of each speaker; the table has the gaps and oddities of the published ones."""
    data = data_dir / "AudioMNIST" / "data"
    names = [f"{speaker:02d}/{speaker % 10}_{speaker:02d}_0.wav" for speaker in range(1, 61)]
    write_clips(data, names, sample_rate=48_000, num_samples=1200)
    speakers = {
        f"{speaker:02d}": {
            "accent": "German",
            "age": {1: 30, 45: "1234"}.get(speaker, "25"),
            "gender": "female" if speaker in AUDIO_MNIST_WOMEN else "male",
            "native speaker": "no",
            "origin": "Europe, Germany, Würzburg",
            "recordingdate": "17-06-22-11-04-28",
            "recordingroom": "Kino",
        }
        for speaker in range(1, 61)
        if speaker not in (17, 22, 34)
    }
    (data / "audioMNIST_meta.txt").write_text(json.dumps(speakers), encoding="utf-8")
    (data / "36" / "notes.txt").write_text("text\n")


def write_esc50(data_dir: Path) -> None:
    """1 of 8 clips of every class in every fold."""
    folder = data_dir / "ESC-50"
    rows = [
        (f"{fold}-{1000 * fold + target}-A-{target}.wav", fold, target, f"class_{target}", target < 10, "7", "A")
        for fold in range(1, 6)
        for target in range(50)
    ]
    write_table(
        folder / "meta/esc50.csv", ["filename", "fold", "target", "category", "esc10", "src_file", "take"], rows
    )
    write_clips(folder / "audio", [str(row[0]) for row in rows], sample_rate=44_100, num_samples=1100)


URBAN_CLASSES = (
    *("air_conditioner", "car_horn", "children_playing", "dog_bark", "drilling"),
    *("engine_idling", "gun_shot", "jackhammer", "siren", "street_music"),
)


def write_urban_sound8k(data_dir: Path) -> None:
    """A clip of every class in every fold, at several rates."""
    folder = data_dir / "UrbanSound8K"
    rows = [
        (f"{fold}0{number}-{number}-0-0.wav", f"{fold}0{number}", 0.0, 0.317551, 1, fold, number, name)
        for fold in range(1, 11)
        for number, name in enumerate(URBAN_CLASSES)
    ]
    header = ["slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class"]
    write_table(folder / "metadata/UrbanSound8K.csv", header, rows)
    for rate, part in ((44_100, rows[::2]), (8000, rows[1::2])):
        write_clips(
            folder / "audio", [f"fold{row[5]}/{row[0]}" for row in part], sample_rate=rate, num_samples=rate // 40
        )


def write_ravdess(data_dir: Path) -> None:
    """The first statement and the first repetition: a quarter of all."""
    for channel, folder, emotions in (("01", "Speech", 8), ("02", "Song", 6)):
        names = [
            f"Actor_{actor:02d}/03-{channel}-{emotion:02d}-{intensity:02d}-01-01-{actor:02d}.wav"
            for actor in range(1, 25)
            for emotion in range(1, emotions + 1)
            for intensity in (1, 2)
            if (emotion, intensity) != (1, 2) and (channel, actor) != ("02", 18)
        ]
        write_clips(data_dir / f"Audio_{folder}_Actors_01-24", names, sample_rate=48_000, num_samples=1200)


def write_arabic_speech_commands(data_dir: Path) -> None:
    """5 of 30 contributors, 1 of 10 rounds; keywords with a space in their names."""
    from audiornn.corpora.arabic_speech_commands import ArabicSpeechCommands

    folder = data_dir / "arabic-speech-commands-dataset"
    for table, contributors in (("train.csv", (1, 5, 6)), ("val.csv", (2,)), ("test.csv", (3,))):
        rows = [
            (f"dataset/{keyword}/{contributor:08d}_NO_01.wav", keyword)
            for keyword in ArabicSpeechCommands().expected_values()["label"]
            for contributor in contributors
        ]
        write_table(folder / table, ["file", "class"], rows)
        write_clips(folder, [name for name, _ in rows])
    write_clips(folder / "background_noise", ["boiler.wav", "washing_machine.wav"])


def write_fluent_speech_commands(data_dir: Path) -> None:
    """One speaker and each intent once in every split."""
    from audiornn.corpora.fluent_speech_commands import FluentSpeechCommands

    folder = data_dir / "fluent_speech_commands_dataset"
    header = ["", "path", "speakerId", "transcription", "action", "object", "location"]
    for split, speaker in (("train", "4BrX8aDqK2cLZRYl"), ("valid", "2BqVo8kVB2Skwgyb"), ("test", "4BrX8aDqK2cLZRYm")):
        rows = [
            (number, f"wavs/speakers/{speaker}/{number:08d}-452c.wav", speaker, 'Lights, "please"', *intent.split("_"))
            for number, intent in enumerate(FluentSpeechCommands().expected_values()["label"])
        ]
        write_table(folder / f"data/{split}_data.csv", header, rows)
        write_clips(folder, [str(row[1]) for row in rows])


_TOPS = {
    "AudioMNIST": "AudioMNIST-master/",
    "ESC-50": "ESC-50-33c8ce9eb2cf0b1c2f8bcf322eb349b6be34dbb6/",
    "UrbanSound8K": "UrbanSound8K/",
    "arabic-speech-commands-dataset": "arabic-speech-commands-dataset-master/",
    "fluent_speech_commands_dataset": "fluent_speech_commands_dataset/",
    "free-spoken-digit-dataset": "free-spoken-digit-dataset-1.0.10/",
    "speech_commands_v0.02": "./",
    "speech_commands_test_set_v0.02": "./",
}
"""Of the archive of a corpus, the folder that all is in."""


MINIATURES: dict[str, Callable[[Path], None]] = {
    "arabic_speech_commands": write_arabic_speech_commands,
    "audio_mnist": write_audio_mnist,
    "esc50": write_esc50,
    "fluent_speech_commands": write_fluent_speech_commands,
    "fsdd": write_fsdd,
    "ravdess": write_ravdess,
    "speech_commands": write_speech_commands,
    "urban_sound8k": write_urban_sound8k,
}
"""Writers by the name of the corpus; each makes its folders in a data folder."""


def pack(folder: Path, *, kind: str, top: str = "") -> bytes:
    """The files of a folder as the bytes of an archive, ``zip`` or ``tar.gz``, below the folder ``top`` in it."""
    file = io.BytesIO()
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    if kind == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            for name in names:
                archive.write(folder / name, f"{top}{name}")
    else:
        with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive:
            for name in names:
                archive.add(folder / name, f"{top}{name}")
    return file.getvalue()


def archive_of(copy: Copy, minis: Path) -> tuple[str, bytes]:
    """Name and bytes of an archive that holds the miniature of a copy."""
    name = copy.archives[0].source.file_name
    folder = copy.folders[0]
    return name, pack(minis / folder, kind=name.partition(".")[2][-6:].removeprefix("."), top=_TOPS.get(folder, ""))
