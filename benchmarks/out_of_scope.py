"""Answers to what a model was not made for: `python benchmarks/out_of_scope.py MODEL DATA_DIR` writes the `.md` file.

MODEL is one of `experiment=sc8u`, DATA_DIR the folder that `speech_commands_v0.02` lies in, and where they are there
`free-spoken-digit-dataset` and the demo corpus. Reject thresholds are chosen on the validation split and the
background recordings of the training split; the model folder stays as it is.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from audiornn.audio import read_audio  # noqa: E402
from audiornn.corpora.same import SameCorpus, corpus_of  # noqa: E402
from audiornn.evaluation.recalibrating import RejectRule, recalibrate, replaced  # noqa: E402
from audiornn.inference import load  # noqa: E402
from audiornn.labels import UNKNOWN  # noqa: E402
from audiornn.predictions import predictions_of  # noqa: E402
from audiornn.store import Store, prepare  # noqa: E402
from audiornn.tasks import TaskSpec  # noqa: E402
from audiornn.workers import available_cores  # noqa: E402

COUNT = 300
RULES = {
    "nothing rejected": None,
    "`keep_right` 0.95": RejectRule(rule="keep_right", share=0.95),
    "`accept_wrong` 0.2": RejectRule(rule="accept_wrong", share=0.2),
    "`accept_wrong` 0.05": RejectRule(rule="accept_wrong", share=0.05),
}


def coloured(rng: np.random.Generator, power: float, size: int) -> np.ndarray:
    """Noise whose power falls with the frequency to the ``power``."""
    spectrum = np.fft.rfft(rng.standard_normal(size)) / np.arange(1, size // 2 + 2) ** (power / 2)
    waveform = np.fft.irfft(spectrum, size)
    return (0.1 * waveform / waveform.std()).astype(np.float32)


def music(rng: np.random.Generator, rate: int) -> np.ndarray:
    """One second of chords: three notes with falling overtones, a new chord each quarter."""
    chords = []
    for _ in range(4):
        time = np.arange(rate // 4) / rate
        root = 110 * 2 ** (rng.integers(0, 24) / 12)
        notes = [root * 2 ** (step / 12) for step in (0, rng.integers(3, 5), 7)]
        partials = [np.sin(2 * np.pi * k * note * time) / k for note in notes for k in range(1, 6)]
        chords.append(np.sum(partials, axis=0) * np.exp(-3 * time))
    waveform = np.concatenate(chords)
    return (0.3 * waveform / np.abs(waveform).max()).astype(np.float32)


def pieces(paths: Sequence[Path], rate: int) -> list[np.ndarray]:
    waveforms = [read_audio(path, sample_rate=rate) for path in paths]
    return [waveform[start : start + rate] for waveform in waveforms for start in range(0, len(waveform) - rate, rate)]


def sounds(data_dir: Path, store: Store, rate: int) -> dict[str, list[np.ndarray]]:
    rng = np.random.default_rng(0)

    def some(paths: Sequence[Path]) -> list[np.ndarray]:
        chosen = [paths[index] for index in rng.permutation(len(paths))[:COUNT]]
        return [read_audio(path, sample_rate=rate) for path in chosen]

    corpus = data_dir / "speech_commands_v0.02"
    trained = {Path(store.paths[row]).name for row in store.indices("noise").tolist()}
    found = {
        "white noise": [coloured(rng, 0, rate) for _ in range(COUNT)],
        "pink noise": [coloured(rng, 1, rate) for _ in range(COUNT)],
        "brown noise": [coloured(rng, 2, rate) for _ in range(COUNT)],
        "chords": [music(rng, rate) for _ in range(COUNT)],
        "digital silence": [np.zeros(rate, np.float32)],
        "background recordings kept from training": pieces(
            [path for path in sorted((corpus / "_background_noise_").glob("*.wav")) if path.name not in trained], rate
        ),
    }
    tested = [corpus / line for line in (corpus / "testing_list.txt").read_text().split()]
    wanted = [path for path in tested if path.parent.name in store.labels]
    found["test words, played backwards"] = [each[::-1].copy() for each in some(wanted)]
    found["other words of the test split"] = some([path for path in tested if path.parent.name not in store.labels])
    if (data_dir / "free-spoken-digit-dataset").is_dir():
        found["digits of FSDD"] = some(sorted((data_dir / "free-spoken-digit-dataset").rglob("*.wav")))
    spoken = [path for path in sorted((data_dir / "demo").rglob("*.wav")) if path.parent.name not in store.labels]
    if spoken := [
        path for path in spoken if path.parent.name.isalpha() and path.parent.name not in ("noise", "silence")
    ]:
        found["other words of the demo corpus"] = some(spoken)
    return found


def answers(task: TaskSpec, logits: np.ndarray) -> list[str]:
    predictions = predictions_of([task], {task.name: task.scores(logits)}, [1.0] * len(logits))
    return [each.label for each in predictions]  # type: ignore[union-attr]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "benchmarks" / "out_of_scope.md")
    arguments = parser.parse_args()
    classifier = load(arguments.model, device="cpu")
    corpus = corpus_of(SameCorpus(), classifier.spec.training, arguments.model)
    store = prepare(corpus, data_dir=arguments.data_dir, sample_rate=classifier.sample_rate)
    heard = sounds(arguments.data_dir, store, classifier.sample_rate)
    test = store.indices("test").tolist()
    known = [row for row in test if store.column("label")[row] != UNKNOWN]
    clips = [store.audio(row) for row in known]
    targets = [store.column("label")[row] for row in known]
    logits = {name: classifier.run(waveforms).logits for name, waveforms in heard.items()}
    of_known = classifier.run(clips).logits
    columns: dict[str, dict[str, str]] = {}
    for name, rule in RULES.items():
        found = recalibrate(classifier, store, "validation", reject=rule)
        (task,) = replaced(classifier.tasks, found)
        cells = {}
        for sound, values in logits.items():
            cells[sound] = f"{100 * np.mean([label != UNKNOWN for label in answers(task, values)]):.1f}"
        given = answers(task, of_known)
        right = np.mean([label == target for label, target in zip(given, targets, strict=True)])
        cells["*test words, answered right*"] = f"{100 * right:.1f}"
        cells["*temperature*"] = f"{task.temperature:g}"
        columns[name] = cells
    arguments.output.write_text(render(columns, {name: len(each) for name, each in heard.items()}), encoding="utf-8")
    print(arguments.output.read_text(encoding="utf-8"))


def render(columns: dict[str, dict[str, str]], counts: dict[str, int]) -> str:
    names = list(columns)
    rows = [
        f"| {sound} | {counts.get(sound, '')} | " + " | ".join(columns[name][sound] for name in names) + " |"
        for sound in columns[names[0]]
    ]
    machine = f"{platform.machine()}, {available_cores()} cores, Python {platform.python_version()}"
    head = f"| | clips | {' | '.join(names)} |\n|---|---:|{'---:|' * len(names)}"
    return (
        f"""# Sounds that are none of a model's words

Written by `python benchmarks/out_of_scope.py`; not to be edited.

Per cent of the clips for which the answer is a word instead of `unknown`, without reject thresholds and with those that
`audiornn calibrate` chooses; and per cent of the corpus's own test words that are answered right.

{machine}, numpy {version("numpy")}, torch {version("torch")}

{head}
"""
        + "\n".join(rows)
        + "\n"
    )


if __name__ == "__main__":
    main()
