"""What strangers' files go through: readers, whole files to tamper with, and atheris to do it by what code they reach.

``python tests/fuzzing.py recordings --seconds 3600`` has libFuzzer look for an hour for bytes that make a reader raise
what is none of its own errors, hang, or take memory (``pip install atheris``, Linux). `test_fuzz.py` does so with
hypothesis, without knowing which code is reached.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch
from hostile import tar_bytes, zip_bytes
from signals import noise
from toy import TINY_FEATURES, TINY_MODEL, write_corpus

from audiornn.audio import read_audio
from audiornn.audio.blocks import read_blocks
from audiornn.checkpoint import build_model, load_model, read_training_checkpoint, save_model
from audiornn.corpora.folder import FolderCorpus
from audiornn.corpora.folder.label_tracks import read_label_track
from audiornn.downloads import Limits, extract
from audiornn.errors import AudiornnError
from audiornn.export import export_model
from audiornn.files.parts import Item, Part
from audiornn.inference.onnx_engine import CONFIG_KEY, open_session
from audiornn.manifest.reading import read_manifest
from audiornn.sequences import read_sequence
from audiornn.spec import ModelSpec, read_spec
from audiornn.store import Store, prepare
from audiornn.store.keeping import verify_store
from audiornn.targets import parse_intervals
from audiornn.tasks import multiclass_task


class Target(NamedTuple):
    """What is tampered with, and who reads it."""

    examples: tuple[tuple[str, bytes], ...]
    """Names and contents of whole files."""
    read: Callable[[Path], object]
    """Of a file that lies in a folder with nothing in it but what earlier calls have left."""


def answer(read: Callable[[], object]) -> str:
    """What a reader says where it refuses; other errors are none of its own."""
    try:
        read()
    except AudiornnError as error:
        return str(error)
    return "read"


def make_targets(folder: Path) -> dict[str, Target]:
    """By name; ``folder`` is for what they are made from."""
    return {**_texts(), **_sounds(), **_models(folder), **_stores(folder), **_work(folder)}


def _texts() -> dict[str, Target]:
    manifest = b'path,label,start,end,gaps,split\na.wav,yes,0.1,0.5,"[[0.2, 0.3]]",train\n"b, c.wav",no,,,,test\n'
    lines = b'{"path": "a.wav", "label": "x", "start": 0, "more": [1, {"a": null}]}\n{"path": "b.wav", "label": "y"}\n'
    track = b"0.5\t1.25\tyes\n\\\t100.0\t4000.0\n1,5\t2.0\tno\n3\t3\tpoint\n"
    return {
        "manifests": Target((("m.csv", manifest),), read_manifest),
        "lines": Target((("m.jsonl", lines),), read_manifest),
        "label tracks": Target((("a.txt", track),), lambda path: read_label_track(str(path))),
        "intervals": Target((("a.txt", b'[[0.5, 1.0, "yes"], [2, 3.5, "no"]]'),), _parsed),
    }


def _parsed(path: Path) -> None:
    try:
        parse_intervals(path.read_bytes().decode("utf-8", "replace"))
    except ValueError as error:  # as it promises
        raise AudiornnError(str(error)) from error


def _sounds() -> dict[str, Target]:
    codings = (
        *(("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("WAV", "MS_ADPCM"), ("FLAC", "PCM_16")),
        *(("OGG", "VORBIS"), ("AIFF", "PCM_16"), ("MP3", "MPEG_LAYER_III"), ("AU", "ULAW")),
        *(("W64", "PCM_16"), ("CAF", "ALAC_16"), ("RF64", "PCM_16"), ("OGG", "OPUS")),
    )
    clips = {"a/x.wav": bytes(100), "b/long name \xc3\xa4.txt": b"hello" * 50, "c": b""}
    packed = (zip_bytes(clips), *(tar_bytes(clips, kind) for kind in ("tar", "tar.gz")))
    sequences = []
    for values in (np.arange(12, dtype=np.float32).reshape(4, 3), np.arange(5), np.full((2, 2), np.nan, np.float64)):
        file = io.BytesIO()
        np.save(file, values)
        sequences.append(("a.npy", file.getvalue()))
    return {
        "recordings": Target(tuple(("a.wav", _sound(*each)) for each in codings), _heard),
        "archives": Target(tuple(("a.zip", content) for content in packed), _unpacked),
        "sequences": Target(tuple(sequences), read_sequence),
    }


def _sound(container: str, coding: str, rate: int = 8_000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, noise(1_500, seed=1), rate, format=container, subtype=coding)
    return file.getvalue()


def _heard(path: Path) -> None:
    """Both ways of reading, which are to agree on how much there is."""
    whole = read_audio(str(path), sample_rate=8_000)
    assert whole.ndim == 1 and whole.dtype == np.float32 and len(whole) < 10_000_000
    blocks = sum(len(block.waveform) for block in read_blocks(str(path), sample_rate=8_000))
    assert blocks == len(whole)


def _unpacked(path: Path) -> None:
    folder = path.parent / "unpacked"
    folder.mkdir()
    try:
        extract(path, folder, limits=Limits(max_bytes=10_000_000, max_members=100))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _models(folder: Path) -> dict[str, Target]:
    spec = ModelSpec(features=TINY_FEATURES, model=TINY_MODEL, tasks=[multiclass_task(["a", "b"])])
    save_model(folder / "model", build_model(spec), spec)
    files = {name: (folder / "model" / name).read_bytes() for name in ("config.json", "model.safetensors")}
    settings, weights = files.items()
    return {
        "settings": Target((settings,), _among(files, lambda path: read_spec(path.parent))),
        "weights": Target((weights,), _among(files, lambda path: load_model(path.parent))),
        "ONNX metadata": _onnx_metadata(folder / "model"),
    }


def _onnx_metadata(model: Path) -> Target:
    import onnx

    export_model(model)
    graph = onnx.load(model / "model.onnx")
    (settings,) = (each.value for each in graph.metadata_props if each.key == CONFIG_KEY)

    def read(path: Path) -> None:
        text = path.read_bytes().decode("utf-8", "replace")
        for each in graph.metadata_props:
            if each.key == CONFIG_KEY:
                each.value = text
        changed = path.with_name("changed.onnx")
        changed.write_bytes(graph.SerializeToString())
        open_session(changed, num_threads=1)

    return Target((("metadata.json", settings.encode()),), read)


def _stores(folder: Path) -> dict[str, Target]:
    write_corpus(folder / "clips", clips=4)
    (folder / "clips" / "high" / "broken.wav").write_bytes(b"RIFF")
    store = prepare(FolderCorpus(path=str(folder / "clips")), data_dir=folder, sample_rate=8_000, num_workers=0)
    files = {path.name: path.read_bytes() for path in store.folder.iterdir() if path.is_file()}

    def read(path: Path) -> None:
        found = Store.open(path.parent)
        for row in range(len(found)):
            found.signals(row)
            found.utterance(row)
        assert found.rejected is not None
        verify_store(path.parent)

    return {"stores": Target(tuple(files.items()), _among(files, read))}


def _work(folder: Path) -> dict[str, Target]:
    """What a verb leaves when it is stopped: a checkpoint of a training, rows of a folder."""
    network = torch.nn.Linear(3, 2)
    content = {"state_dict": {f"network.{name}": value for name, value in network.state_dict().items()}, "epoch": 2}
    torch.save({**content, "history": [{"epoch": 1.0}], "identity": {"seed": 0}}, folder / "last.ckpt")
    rows = [Item(f"{number}.wav", (number, 2), 5, True, ()) for number in range(4)]

    def open_part(path: Path) -> Part:
        return Part(path.parent / "o.csv", {"verb": "predict"}, state_of=lambda _: None, head=b"head\n")

    with open_part(folder / "o.csv") as part:
        part.append(rows[:2], b"row 1row 2")
        part.append(rows[2:], b"row 3row 4")
    files = {path.name: path.read_bytes() for path in folder.glob("o.csv.part*")}

    def go_on(path: Path) -> None:
        with open_part(path) as part:
            part.content()
            assert part.num_done == len(part.found) <= len(rows)

    return {
        "checkpoints": Target((("last.ckpt", (folder / "last.ckpt").read_bytes()),), read_training_checkpoint),
        "journals": Target(tuple(files.items()), _among(files, go_on)),
    }


def _among(files: Mapping[str, bytes], read: Callable[[Path], object]) -> Callable[[Path], object]:
    """``read``, with the other files of a folder as they should be."""

    def read_among(path: Path) -> object:
        for name, content in files.items():
            if name != path.name:
                (path.parent / name).write_bytes(content)
        return read(path)

    return read_among


def main() -> None:
    """Have libFuzzer tamper with the files of one target."""
    import atheris

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "made").mkdir()
        targets = make_targets(folder / "made")
        parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("target", choices=targets)
        parser.add_argument("--seconds", type=int, default=3_600)
        parser.add_argument("--keep", type=Path, help="folder for what is found, to go on from; else it is forgotten")
        chosen = parser.parse_args()
        target = targets[chosen.target]
        names = sorted({name for name, _ in target.examples})
        place, kept = folder / "place", (chosen.keep or folder / "kept").resolve()
        corpus = kept / chosen.target
        place.mkdir()
        corpus.mkdir(parents=True, exist_ok=True)
        for number, (name, content) in enumerate(target.examples):
            (corpus / f"given-{number}").write_bytes(bytes([names.index(name)]) + content)

        def attack(content: bytes) -> None:
            """The first byte says which of the files it is."""
            path = place / names[(content[0] if content else 0) % len(names)]
            path.write_bytes(content[1:])
            said = answer(lambda: target.read(path))
            assert said.strip() and len(said) < 5_000

        limits = [
            f"-artifact_prefix={kept}/{chosen.target}-",
            f"-max_total_time={chosen.seconds}",
            "-timeout=20",
            "-rss_limit_mb=4096",
            "-print_final_stats=1",
        ]
        atheris.instrument_all()
        atheris.Setup([sys.argv[0], *limits, "-max_len=65536", str(corpus)], attack)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
