"""Words that a trained model learns from a handful of clips each, without training.

A word is a prototype: the mean direction of its clips' embeddings (Snell, Swersky, Zemel, Prototypical Networks for
Few-shot Learning, 2017). Where there are enough clips of other words, embeddings are first centred and scaled by their
covariance, so that what tells the model's own words apart does not drown the rest. A clip that is more similar to a
word than its threshold is that word; every other clip gets the model's own answer.

One rule holds for what is told: the answer is the most probable one, and the model's reject thresholds look at the
probability that is told. What the words have of it is taken from the model's own classes, so an answer that is nearly a
word may become ``unknown``. A word that stays below its threshold has less than the model's own answer.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn.errors import ConfigError, ModelError
from audiornn.files.atomic import write_text
from audiornn.files.escaping import escape_controls
from audiornn.predictions import Prediction, predictions_of
from audiornn.tasks import BINARY, MULTICLASS, TaskSpec

Floats = NDArray[np.float64]

ENROLLED_FILE = "enrolled.json"
"""Beside a model's weights, unless it is put elsewhere."""
MIN_OTHERS = 100
"""With fewer embeddings of other words, their mean and covariance are not used."""
_FORMAT, _FORMAT_VERSION = "audiornn-enrolled-words", 1
_MAX_BYTES = 1 << 30
"""Of a file that is read: 56 MB are the words of a model with embeddings of 2,048 values."""
_SHRINKAGE = 0.1
"""Added to the variance along every direction, in mean variances: directions that hardly vary are mostly noise."""
_MEDIAN_PROBABILITY = 0.01
"""Of a word, for the median of the other clips."""
_HEARD = 0.5
"""Probability of a word against everything else at its threshold."""
_DIGITS = 6
_SMALLEST = 1e-30
_ROUNDING = 1e-6
"""Of similarities. A threshold lies above the similarity of a clip that is kept out, and below that of a clip with
itself: more clips could not ask for more."""
_JUST_BELOW = 1 - 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class EnrolledWords:
    """Words, and how to tell them by the embeddings of one model. Made by `enroll_words`."""

    weights_sha256: str
    """Of the model: embeddings of another one mean something else."""
    words: tuple[str, ...]
    num_clips: tuple[int, ...]
    """Per word, that it was made of."""
    centre: Floats
    """``(embedding_size,)``, subtracted from embeddings."""
    projection: Floats | None
    """``(embedding_size, embedding_size)``, applied after; None = none."""
    prototypes: Floats
    """``(words, embedding_size)`` of length 1."""
    thresholds: Floats
    """``(words,)``: least similarities."""
    slopes: Floats
    """``(words,)``: log-odds of a word per unit of similarity above its threshold."""

    def __post_init__(self) -> None:
        count, size = self.prototypes.shape
        arrays = [self.centre, self.prototypes, self.thresholds, self.slopes]
        shapes = [(size,), (count, size), (count,), (count,)]
        if self.projection is not None:
            arrays, shapes = [*arrays, self.projection], [*shapes, (size, size)]
        if count < 1 or len(set(self.words)) != count or len(self.num_clips) != count or not all(self.words):
            raise ModelError(f"expected distinct words with a prototype each, got {list(self.words)}")
        if [array.shape for array in arrays] != shapes or not all(np.isfinite(array).all() for array in arrays):
            raise ModelError("expected finite prototypes, thresholds and slopes that fit each other, got others")

    def similarities(self, embeddings: NDArray[Any]) -> Floats:
        """Cosines with every prototype. Shape: ``(clips, embedding_size)`` -> ``(clips, words)``."""
        return _directions(embeddings, self.centre, self.projection) @ self.prototypes.T

    def probabilities(self, embeddings: NDArray[Any]) -> Floats:
        """Of each word against everything else: one half at its threshold. Not calibrated.

        Shape: ``(clips, embedding_size)`` -> ``(clips, words)``.
        """
        log_odds = self.slopes * (self.similarities(embeddings) - self.thresholds)
        return np.asarray(np.exp(-np.logaddexp(0, -log_odds)))

    def scores(self, task: TaskSpec, own: NDArray[np.float32], embeddings: NDArray[Any]) -> NDArray[np.float32]:
        """The model's own probabilities as `answers` tells them, and beside them `probabilities`.

        Shape: ``(clips, labels)``, ``(clips, embedding_size)`` -> ``(clips, labels + words)``; a row's sum is not 1.
        """
        shares = self.probabilities(embeddings)
        kept, _ = _divided(own[np.arange(len(own)), task.decide(own)], shares)
        return np.concatenate([own * kept[:, None], shares], axis=1).astype(np.float32)

    def predictions_of(
        self, own: TaskSpec, scores: NDArray[np.float32], durations: Sequence[float]
    ) -> list[Prediction]:
        """What `scores`, or means of them, mean: the predictions that `answers` gives."""
        shares = scores[:, len(own.labels) :].astype(np.float64)
        rest = scores[:, : len(own.labels)].astype(np.float64)
        rest = (rest / np.maximum(rest.sum(axis=1, keepdims=True), _SMALLEST)).astype(np.float32)
        return self._answers(own, predictions_of([own], {own.name: rest}, durations), shares)

    def answers(self, task: TaskSpec, predictions: Sequence[Any], embeddings: NDArray[Any]) -> list[Prediction]:
        """A model's own predictions, with the enrolled words among the probabilities, and as label where one is heard.

        What the words have of the probability is taken from the model's own classes, in their proportions. A word is
        the answer from its threshold on. Otherwise every word has less than the model's own answer, which is rejected
        where what is left of its probability is below its threshold in ``task.reject``.

        Args:
            task: of the model, with its reject thresholds.
            predictions: of that task.
            embeddings: ``(clips, embedding_size)`` of the same clips.
        """
        return self._answers(task, predictions, self.probabilities(embeddings))

    def _answers(self, task: TaskSpec, predictions: Sequence[Any], shares: Floats) -> list[Prediction]:
        own = np.array([each.probabilities[each.rejected or each.label] for each in predictions])
        kept, of_words = _divided(own, shares)
        rows = zip(predictions, shares.tolist(), kept.tolist(), of_words.tolist(), strict=True)
        return [self._answer(task, *row) for row in rows]

    def _answer(
        self, task: TaskSpec, own: Prediction, shares: list[float], kept: float, of_words: list[float]
    ) -> Prediction:
        probabilities = {label: value * kept for label, value in own.probabilities.items()}
        probabilities |= dict(zip(self.words, of_words, strict=True))
        best = max(range(len(shares)), key=shares.__getitem__)
        label = self.words[best] if shares[best] >= _HEARD else own.rejected or own.label
        least = task.reject[task.labels.index(label)] if task.reject and label in task.labels else 0.0
        is_rejected = np.float32(probabilities[label]) < np.float32(least)
        return dataclasses.replace(
            own,
            label=task.unknown if is_rejected else label,
            probability=probabilities[label],
            probabilities=probabilities,
            rejected=label if is_rejected else "",
        )

    def task(self, own: TaskSpec) -> TaskSpec:
        """The model's task with the words among its labels, for the names of columns.

        Raises:
            ModelError: a word is a label already.
        """
        if known := set(self.words) & {*own.labels, own.unknown}:
            raise ModelError(f"expected words that the model does not know, got {min(known)!r}")
        return TaskSpec(
            name=own.name,
            kind=MULTICLASS,
            labels=[*own.labels, *self.words],
            columns=own.columns,
            reject=[*own.reject, *([0.0] * len(self.words))] if own.reject else [],
            unknown=own.unknown,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write them as JSON, whole or not at all.

        Raises:
            ConfigError: the file can't be written.
        """
        write_text(Path(path), self.as_json() + "\n")

    def as_json(self) -> str:
        """All about them, as one line."""
        document = {
            "format": _FORMAT,
            "format_version": _FORMAT_VERSION,
            "weights_sha256": self.weights_sha256,
            "words": list(self.words),
            "num_clips": list(self.num_clips),
            **{name: _listed(getattr(self, name)) for name in ("thresholds", "slopes", "prototypes", "centre")},
            "projection": None if self.projection is None else _listed(self.projection),
        }
        return json.dumps(document, ensure_ascii=False)


def read_enrolled(path: str | os.PathLike[str]) -> EnrolledWords:
    """Read what `EnrolledWords.save` wrote; runs no code from the file.

    Raises:
        ModelError: no such file, or a damaged or foreign one.
    """
    file = Path(path)
    try:
        num_bytes = file.stat().st_size
        document = json.loads(file.read_text("utf-8")) if num_bytes <= _MAX_BYTES else None
    except OSError as error:
        raise ModelError(f"expected a file of `audiornn enroll` at '{path}', got: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"expected JSON in '{path}', got: {error}") from error
    if num_bytes > _MAX_BYTES:
        raise ModelError(f"expected at most {_MAX_BYTES:,} bytes, got {num_bytes:,} in '{path}'")
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise ModelError(f"expected a file that `audiornn enroll` wrote, got another one: '{path}'")
    if document.get("format_version") != _FORMAT_VERSION:
        raise ModelError(f"expected version {_FORMAT_VERSION}, got {document.get('format_version')!r} in '{path}'")
    try:
        projection = document["projection"]
        arrays = {name: np.array(document[name], dtype=np.float64) for name in ("centre", "thresholds", "slopes")}
        return EnrolledWords(
            weights_sha256=str(document["weights_sha256"]),
            words=tuple(str(word) for word in document["words"]),
            num_clips=tuple(int(count) for count in document["num_clips"]),
            prototypes=np.array(document["prototypes"], dtype=np.float64).reshape(len(document["words"]), -1),
            projection=None if projection is None else np.array(projection, dtype=np.float64),
            **arrays,
        )
    except (KeyError, TypeError, ValueError, ModelError) as error:
        raise ModelError(f"expected enrolled words in '{path}', got: {error}") from error


def enroll_words(
    clips: Mapping[str, NDArray[Any]],
    *,
    weights_sha256: str,
    others: NDArray[Any] | None = None,
    false_accepts: float = 0.01,
) -> EnrolledWords:
    """Words from the embeddings of a few clips of each.

    Thresholds are the lowest at which at most the share ``false_accepts`` of ``others`` is taken for any of the words,
    as many of them by each word. Without others it is the clips of the other words that a word must not be taken for.
    A threshold always stays below the similarity of a clip with itself, so that a word from a single clip is heard in
    that clip, even where ``others`` has the very same.

    Args:
        clips: by word, ``(clips, embedding_size)``.
        weights_sha256: of the model, ``Classifier.spec.weights_sha256``.
        others: embeddings of other words and sounds, the more the better: `MIN_OTHERS` at least. Without them there
            must be two words, and thresholds are rough.
        false_accepts: from 0 to 1.

    Raises:
        ConfigError: nothing to tell the words from, a share out of range, or a word with control characters.
    """
    if not 0 <= false_accepts <= 1:
        raise ConfigError(f"false_accepts must be from 0 to 1, got {false_accepts}")
    named = {word: np.asarray(values, dtype=np.float64) for word, values in clips.items()}
    if not named or not all(values.ndim == 2 and len(values) for values in named.values()):
        raise ConfigError("expected at least one word with at least one clip, got none")
    check_words(named)
    size = next(iter(named.values())).shape[1]
    rest = np.zeros((0, size)) if others is None else np.asarray(others, dtype=np.float64).reshape(-1, size)
    if len(named) == 1 and not len(rest):
        raise ConfigError(
            f"expected something to tell {next(iter(named))!r} from, got nothing; name a folder of other words as "
            "others=..., or a corpus as data=..., such as data=same"
        )
    centre, projection = _scaling(rest)
    directions = {word: _directions(values, centre, projection) for word, values in named.items()}
    prototypes = np.stack([_unit(values.mean(axis=0, keepdims=True))[0] for values in directions.values()])
    if len(rest):
        foreign, owner = _directions(rest, centre, projection), np.full(len(rest), -1)
    else:
        foreign = np.concatenate(list(directions.values()))
        owner = np.repeat(np.arange(len(named)), [len(values) for values in named.values()])
    thresholds, medians = _thresholds(foreign @ prototypes.T, owner, false_accepts)
    log_odds = math.log(1 / _MEDIAN_PROBABILITY - 1)
    return EnrolledWords(
        weights_sha256=weights_sha256,
        words=tuple(named),
        num_clips=tuple(len(values) for values in named.values()),
        centre=centre,
        projection=projection,
        prototypes=prototypes,
        thresholds=thresholds,
        slopes=log_odds / np.maximum(thresholds - medians, 1e-2),
    )


def recognised_when_left_out(words: EnrolledWords, clips: Mapping[str, NDArray[Any]]) -> dict[str, float | None]:
    """Share of a word's own clips that reach its threshold with a prototype of the others; None for a single clip."""
    shares: dict[str, float | None] = {}
    for word, threshold in zip(words.words, words.thresholds.tolist(), strict=True):
        directions = _directions(clips[word], words.centre, words.projection)
        without = _unit(directions.sum(axis=0) - directions)
        hits = (directions * without).sum(axis=1) >= threshold
        shares[word] = float(hits.mean()) if len(directions) > 1 else None
    return shares


def _scaling(others: Floats) -> tuple[Floats, Floats | None]:
    """Centre, and the inverse square root of the shrunken covariance."""
    size = others.shape[1]
    if len(others) < MIN_OTHERS or not np.ptp(others, axis=0).any():
        return np.zeros(size), None
    centre = others.mean(axis=0)
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(others.T)))
    variances = values.clip(0) / values.clip(0).mean() + _SHRINKAGE
    return centre, (vectors / np.sqrt(variances)) @ vectors.T


def _directions(embeddings: NDArray[Any], centre: Floats, projection: Floats | None) -> Floats:
    values = np.asarray(embeddings, dtype=np.float64) - centre
    return _unit(values if projection is None else values @ projection)


def _unit(values: Floats) -> Floats:
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12))


def _thresholds(similarities: Floats, owner: NDArray[np.int64], false_accepts: float) -> tuple[Floats, Floats]:
    """Thresholds of words, and the median similarity of other clips to each.

    Args:
        similarities: of all clips to each word, ``(clips, words)``.
        owner: the word of each clip, -1 for none.
        false_accepts: share of the clips that may be taken for a word that they are not.
    """
    num_words = similarities.shape[1]
    foreign = owner[:, None] != np.arange(num_words)
    # How many other clips are more similar to the word than this one: what its threshold would have to let in.
    ranks = np.full(similarities.shape, len(similarities))
    ordered = []
    for word in range(num_words):
        rows = np.flatnonzero(foreign[:, word])
        order = rows[np.argsort(-similarities[rows, word], kind="stable")]
        ranks[order, word] = np.arange(len(order))
        ordered.append(similarities[order, word])
    allowed = math.floor(false_accepts * len(similarities) + 1e-9)
    best_ranks = np.sort(ranks.min(axis=1))
    let_in = int(best_ranks[allowed]) if allowed < len(best_ranks) else len(similarities)
    thresholds = [each[let_in] + _ROUNDING if let_in < len(each) else -1.0 for each in ordered]
    return np.minimum(thresholds, 1 - _ROUNDING), np.array([np.median(each) for each in ordered])


def _divided(own: NDArray[Any], shares: Floats) -> tuple[Floats, Floats]:
    """What the model's own classes keep of their probabilities, and those of the words; together they add up to 1.

    Shape: ``own`` of the model's own answers ``(clips,)``, ``(clips, words)`` -> ``(clips,)``, ``(clips, words)``.
    """
    kept = np.prod(1 - shares, axis=1)
    of_words = shares * ((1 - kept) / np.maximum(shares.sum(axis=1), 1e-12))[:, None]
    most, all_words = of_words.max(axis=1), 1 - kept
    # Solves scale * most = own * (1 - scale * all_words): every word has less than the model's own answer.
    scale = _JUST_BELOW * own / np.maximum(most + own * all_words, _SMALLEST)
    scale = np.where(shares.max(axis=1) >= _HEARD, 1.0, np.minimum(scale, 1.0))
    return kept + (1 - scale) * all_words, of_words * scale[:, None]


def check_words(words: Iterable[str]) -> None:
    """Refuse words that would break the lines of a table.

    Raises:
        ConfigError: one has a line break or another control character.
    """
    for word in words:
        if escape_controls(word) != word:
            raise ConfigError(f"expected words without line breaks and control characters, got {word!r}")


def _listed(values: Floats) -> Any:
    return np.round(values, _DIGITS + 3).tolist()


def check_enrollable(tasks: Sequence[TaskSpec]) -> TaskSpec:
    """The task that words can be added to.

    Raises:
        ModelError: the model does not answer with one label.
    """
    if len(tasks) != 1 or tasks[0].kind not in (MULTICLASS, BINARY):
        kinds = ", ".join(task.kind for task in tasks)
        raise ModelError(f"expected a model that answers with one label per clip, for enrolled words, got {kinds}")
    return tasks[0]
