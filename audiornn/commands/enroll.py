"""``audiornn enroll``: new words for a trained model, from a handful of clips each."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiornn.commands.console import print_lines, print_table, progress_bar
from audiornn.commands.running import EngineOptions
from audiornn.errors import AudioError, ConfigError, CorpusError
from audiornn.inference.batching import check_batch_size

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from audiornn.inference import Classifier
    from audiornn.inference.enrolment import EnrolledWords
    from audiornn.manifest import Utterance
    from audiornn.sequences import Signals

    Embeddings = NDArray[np.float32]

_FAILURES_TOLD = 10


@dataclass(frozen=True, kw_only=True)
class EnrollCommand(EngineOptions):
    """Settings of ``audiornn enroll``."""

    input: str
    data: Any = None
    model_path: str
    runs_dir: str
    data_dir: str
    output: str | None = None
    others: Any = None
    split: str = "validation"
    false_accepts: float = 0.01
    batch_size: int = 64

    def __post_init__(self) -> None:
        if not 0 <= self.false_accepts <= 1:
            raise ConfigError(f"false_accepts must be from 0 to 1, got {self.false_accepts}")
        check_batch_size(self.batch_size)


def run(command: EnrollCommand) -> int:
    """Embed the clips, choose thresholds, write the words, print a table of them; 1 when another sound failed."""
    import numpy as np

    from audiornn.commands.inputs import expand_inputs
    from audiornn.files.atomic import check_writable
    from audiornn.hub import find_folder
    from audiornn.inference.enrolment import ENROLLED_FILE, check_enrollable, check_words, enroll_words
    from audiornn.spec import read_spec

    rows = _listed(Path(command.input))
    sounds = [] if command.others is None else expand_inputs(command.others)
    folder = find_folder(command.model_path, Path(command.runs_dir), to_write=command.output is None)
    spec = read_spec(folder)
    task = check_enrollable(spec.tasks)
    words = sorted({row.label for row in rows})
    check_words(words)
    if known := set(words) & {*task.labels, task.unknown}:
        raise ConfigError(f"expected words that the model does not know, got {min(known)!r} in '{command.input}'")
    output = Path(command.output) if command.output else folder / ENROLLED_FILE
    check_writable(output)

    from audiornn.inference.loading import load_folder  # torch: after everything that can be refused without it

    classifier = load_folder(folder, spec, device=command.device, engine=command.engine)
    embedded = _embeddings(classifier, rows, command.batch_size)
    clips = {
        word: np.stack([vector for row, vector in zip(rows, embedded, strict=True) if row.label == word])
        for word in words
    }
    of_sounds, failures = _of_sounds(classifier, sounds, command.batch_size)
    others = [of_sounds]
    if command.data is not None:
        others.append(_of_corpus(command, classifier, folder, words))
    rest = np.concatenate(others)
    enrolled = enroll_words(
        clips,
        weights_sha256=classifier.spec.weights_sha256,
        others=rest if len(rest) else None,
        false_accepts=command.false_accepts,
    )
    enrolled.save(output)
    _print(enrolled, clips, len(rest), output)
    return 1 if failures else 0


def _listed(path: Path) -> list[Utterance]:
    """Clips with their words: a folder per word, or a manifest."""
    from audiornn.audio import find_audio
    from audiornn.manifest import MANIFEST_SUFFIXES, Utterance, read_manifest

    if path.suffix.lower() in MANIFEST_SUFFIXES and not path.is_dir():
        rows = [row for row in read_manifest(path) if row.label]
        if not rows:
            raise CorpusError(f"expected rows with a label in '{path}', got none")
        return rows
    rows = []
    for file in find_audio(path):
        word, *below = Path(file).relative_to(path).parts
        if not below:
            raise AudioError(f"expected a folder for each word in '{path}', got the file '{word}' beside them")
        rows.append(Utterance(utterance_id=file, path=file, label=word))
    return rows


def _embeddings(classifier: Classifier, rows: Sequence[Utterance], batch_size: int) -> Embeddings:
    """Of the clips of words, all of which are needed.

    Raises:
        AudioError: some can't be used, or have nothing to hear.
    """
    signals, failures = [], []
    for row in rows:
        try:
            signals.append(_signals(classifier, row))
        except AudioError as error:
            failures.append(str(error))
    if failures:
        raise AudioError(f"{failures[0]}; {len(failures)} of {len(rows)} clips of words can't be used")
    return _embedded(classifier, signals, batch_size)


def _signals(classifier: Classifier, row: Utterance) -> Signals:
    import numpy as np

    from audiornn.audio import is_silent, read_recording

    if row.start_seconds or row.end_seconds is not None or row.gaps:
        rate = classifier.sample_rate
        recording = read_recording(
            row.path,
            sample_rate=rate,
            start_seconds=row.start_seconds,
            end_seconds=row.end_seconds,
            gaps=row.gaps,
        )
        signals = classifier.reader.prepare(recording.waveform, rate)
    else:
        signals = classifier.reader.read(row.path)
    if not signals.sequences and is_silent(signals.waveform[~np.isnan(signals.waveform)]):
        raise AudioError(f"expected a word to be heard, got digital silence from {row.path!r}")
    return signals


def _of_sounds(classifier: Classifier, paths: Sequence[str], batch_size: int) -> tuple[Embeddings, int]:
    """Embeddings of files, and how many can't be used; these are told on standard error."""
    import numpy as np

    found = [np.zeros((0, classifier.embedding_size), dtype=np.float32)]
    failures = 0
    with progress_bar("others") as progress:
        for number, result in enumerate(classifier.predict_files(paths, batch_size=batch_size), start=1):
            if result.embedding is None:
                failures += 1
                if failures <= _FAILURES_TOLD:
                    sys.stderr.write(f"audiornn: {result.error}\n")
            else:
                found.append(result.embedding[None])
            progress(number, len(paths))
    if failures:
        sys.stderr.write(f"audiornn: {failures} of {len(paths)} files of others= can't be used\n")
    if paths and failures == len(paths):
        raise AudioError(f"expected at least one readable file of others=, got none out of {len(paths)}")
    return np.concatenate(found), failures


def _embedded(classifier: Classifier, signals: Sequence[Signals], batch_size: int) -> Embeddings:
    return classifier.run(signals, batch_size=batch_size).embeddings


def _of_corpus(command: EnrollCommand, classifier: Classifier, folder: Path, words: Sequence[str]) -> Embeddings:
    """Embeddings of a split of a corpus, but for clips of the words."""
    import numpy as np

    from audiornn.commands.stores import store_for
    from audiornn.manifest import check_split

    check_split(command.split)
    store, _ = store_for(classifier, command.data, Path(command.data_dir), folder)
    columns = [store.column(name) for name in ("label", "word") if name in store.column_names]
    rows = [row for row in store.indices(command.split).tolist() if not any(cells[row] in words for cells in columns)]
    if not rows:
        raise CorpusError(f"expected clips of other words in the {command.split} split of '{store.folder}', found none")
    found = []
    with progress_bar("enroll") as progress:
        for start in range(0, len(rows), 1024):
            signals = [store.signals(row) for row in rows[start : start + 1024]]
            found.append(_embedded(classifier, signals, command.batch_size))
            progress(start + len(signals), len(rows))
    return np.concatenate(found)


def _print(enrolled: EnrolledWords, clips: Mapping[str, Embeddings], num_others: int, output: Path) -> None:
    from audiornn.inference.enrolment import MIN_OTHERS, recognised_when_left_out

    found = recognised_when_left_out(enrolled, clips)
    rows = [
        {
            "word": word,
            "clips": count,
            "least similarity": round(threshold, 3),
            "found when left out %": "" if share is None else f"{100 * share:.0f}",
        }
        for word, count, threshold, share in zip(
            enrolled.words, enrolled.num_clips, enrolled.thresholds.tolist(), found.values(), strict=True
        )
    ]
    print_table(f"{len(enrolled.words)} words against {num_others:,} other clips", rows)
    if num_others < MIN_OTHERS:
        print_lines(
            [f"thresholds are rough: with others=... or data=same, of {MIN_OTHERS} clips or more, they are not"]
        )
    print_lines([f"words: {output}"])
