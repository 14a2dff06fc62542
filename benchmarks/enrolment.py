"""Words known after 1, 5 and 10 clips of each: `python benchmarks/enrolment.py MODEL SPEECH_COMMANDS FSDD`.

The model must never have heard the words. `python benchmarks/enrolment.py --without SPEECH_COMMANDS FOLDER` makes a
copy of the corpus by links without `left`, `stop` and the digits, neither as words nor as part of `unknown`; then

    audiornn train experiment=sc8u 'data.words=["yes","no",up,down,right,go]' data.path=FOLDER trainer.max_epochs=20

and the benchmark on its model writes the `.md` file beside this one.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from audiornn.inference import Classifier, load  # noqa: E402
from audiornn.inference.enrolment import EnrolledWords, enroll_words  # noqa: E402
from audiornn.predictions import FileResult  # noqa: E402
from audiornn.workers import available_cores  # noqa: E402

HELD_OUT = ("left", "stop")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LISTS = ("validation_list.txt", "testing_list.txt")
CLIPS = (1, 5, 10)
DRAWS = 20
FALSE_ACCEPTS = (0.01, 0.05)
MOST_CANDIDATES = 60
"""Clips of a word that those to enrol are drawn from."""


def make_corpus_without(source: Path, target: Path) -> None:
    left_out = {*HELD_OUT, *DIGITS}
    target.mkdir(parents=True)
    for entry in sorted(source.iterdir()):
        if entry.name not in (*left_out, *LISTS):
            (target / entry.name).symlink_to(entry.resolve())
    for name in LISTS:
        lines = (source / name).read_text().splitlines()
        kept = [line for line in lines if line.partition("/")[0] not in left_out]
        (target / name).write_text("\n".join(kept) + "\n")


class Answers:
    """What the model says of clips without any word enrolled, and their embeddings."""

    def __init__(self, classifier: Classifier, paths: Sequence[Path]) -> None:
        results: list[FileResult] = [result for result in classifier.predict_files(paths) if result.prediction]
        self.task = classifier.tasks[0]
        self.predictions: list[Any] = [result.prediction for result in results]
        self.embeddings = np.stack([result.embedding for result in results])

    def __len__(self) -> int:
        return len(self.predictions)


def labels_of(words: EnrolledWords, answers: Answers) -> list[str]:
    return [each.label for each in words.answers(answers.task, answers.predictions, answers.embeddings)]


def measure(
    classifier: Classifier,
    candidates: Mapping[str, Answers],
    queries: Mapping[str, Answers],
    others: np.ndarray,
    known: Mapping[str, Answers],
    unheard: Answers,
    num_clips: int,
    false_accepts: float,
) -> dict[str, np.ndarray]:
    """Shares over the draws."""
    found: dict[str, list[float]] = {}
    for draw in range(DRAWS):
        rng = np.random.default_rng([draw, num_clips])
        chosen = {
            word: each.embeddings[rng.choice(len(each), num_clips, replace=False)] for word, each in candidates.items()
        }
        words = enroll_words(
            chosen,
            weights_sha256=classifier.spec.weights_sha256,
            others=others,
            false_accepts=false_accepts,
        )

        told = {word: labels_of(words, each) for word, each in queries.items()}
        closed = {
            word: (words.similarities(each.embeddings).argmax(axis=1) == list(candidates).index(word)).mean()
            for word, each in queries.items()
        }
        of_known = {word: labels_of(words, each) for word, each in known.items()}
        row = {
            "the word": np.mean([np.mean([label == word for label in each]) for word, each in told.items()]),
            "another new one": np.mean(
                [np.mean([label in told and label != word for label in each]) for word, each in told.items()]
            ),
            "most similar of the new ones": np.mean(list(closed.values())),
            "known taken": np.mean([label in told for each in of_known.values() for label in each]),
            "known right": np.mean([label == word for word, each in of_known.items() for label in each]),
            "unheard taken": np.mean([label in told for label in labels_of(words, unheard)]),
        }
        for name, value in row.items():
            found.setdefault(name, []).append(float(value))
    return {name: np.array(values) for name, values in found.items()}


def text_of(values: np.ndarray) -> str:
    return f"{100 * values.mean():.1f} ± {100 * values.std(ddof=1):.1f}"


def listed(folder: Path, name: str) -> list[Path]:
    return [folder / line for line in (folder / name).read_text().split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--without", action="store_true")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "benchmarks" / "enrolment.md")
    arguments = parser.parse_args()
    if arguments.without:
        make_corpus_without(*arguments.paths)
        return
    model, corpus, digits = arguments.paths
    classifier = load(model, device="cpu")
    rng = np.random.default_rng(0)
    validation, test = (listed(corpus, name) for name in LISTS)
    held_back = {*validation, *test}
    left_out = {*HELD_OUT, *DIGITS}
    others = Answers(classifier, [path for path in validation if path.parent.name not in left_out])
    tested = [path for path in test if path.parent.name not in left_out]
    label_of = {path: path.parent.name if path.parent.name in classifier.labels else "unknown" for path in tested}
    known = {
        label: Answers(classifier, [path for path in tested if label_of[path] == label])
        for label in dict.fromkeys(label_of.values())
    }
    numbers = Answers(classifier, [path for path in test if path.parent.name in DIGITS])
    words_of_test = Answers(classifier, [path for path in test if path.parent.name in HELD_OUT])

    def some(paths: Sequence[Path]) -> list[Path]:
        return [paths[index] for index in rng.permutation(len(paths))[:MOST_CANDIDATES]]

    recordings = sorted((digits / "recordings").glob("*.wav"))
    by_digit = {digit: [path for path in recordings if path.name.startswith(f"{digit}_")] for digit in "0123456789"}
    is_test = {path: int(path.stem.split("_")[2]) < 5 for path in recordings}
    sets = {
        "`left` and `stop`, Speech Commands": (
            {
                word: Answers(
                    classifier, some([p for p in sorted((corpus / word).glob("*.wav")) if p not in held_back])
                )
                for word in HELD_OUT
            },
            {word: Answers(classifier, [path for path in test if path.parent.name == word]) for word in HELD_OUT},
            numbers,
        ),
        "ten digits, FSDD": (
            {
                digit: Answers(classifier, some([path for path in paths if not is_test[path]]))
                for digit, paths in by_digit.items()
            },
            {
                digit: Answers(classifier, [path for path in paths if is_test[path]])
                for digit, paths in by_digit.items()
            },
            words_of_test,
        ),
    }
    before = np.mean([each.label == word for word, answers in known.items() for each in answers.predictions])
    tables = []
    for title, (candidates, queries, unheard) in sets.items():
        rows = []
        for allowed in FALSE_ACCEPTS:
            for num_clips in CLIPS:
                found = measure(classifier, candidates, queries, others.embeddings, known, unheard, num_clips, allowed)
                print(title, allowed, num_clips, {name: text_of(each) for name, each in found.items()}, flush=True)
                cells = [f"{100 * allowed:g}", str(num_clips), *(text_of(each) for each in found.values())]
                rows.append("| " + " | ".join(cells) + " |")
        asked = sum(len(each) for each in queries.values())
        tables.append(
            f"## {title}\n\n{asked:,} clips asked, {len(unheard):,} of words that nobody has heard.\n\n{HEADER}\n"
            + "\n".join(rows)
        )
    size = sum(len(each) for each in known.values())
    arguments.output.write_text(render(classifier, tables, len(others), size, float(before)), encoding="utf-8")
    print(arguments.output.read_text(encoding="utf-8"))


HEADER = """\
| false_accepts % | clips per word | answered right | taken for another new word | nearest of the new words alone \
| known words taken for new ones | known words right | unheard words taken for new ones |
|---:|---:|---:|---:|---:|---:|---:|---:|"""


def render(classifier: Classifier, tables: Sequence[str], num_others: int, num_known: int, before: float) -> str:
    right = f"{100 * before:.1f}"
    labels = ", ".join(f"`{label}`" for label in classifier.labels)
    machine = f"{platform.machine()}, {available_cores()} cores, Python {platform.python_version()}"
    return (
        f"""# Words from a handful of clips

Written by `python benchmarks/enrolment.py`, whose first lines say how its model is made; not to be edited.

A model of {labels}
that has never heard the new words, not even as `unknown`. Thresholds are set on its {num_others:,} validation
clips, few of which are `unknown`. Per cent, mean and standard deviation over {DRAWS} draws of the enrolled
clips. The clips that are asked are the test splits'; {num_known:,} are of known words, of which {right} % are
right before anything is enrolled. Speakers of Speech Commands never cross, FSDD has six speakers in all.
The shrinkage of the covariance was chosen on draws of the same words.

{machine}, numpy {version("numpy")}, torch {version("torch")}

"""
        + "\n\n".join(tables)
        + "\n"
    )


if __name__ == "__main__":
    main()
