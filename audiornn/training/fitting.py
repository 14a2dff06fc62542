"""What is fitted to a corpus beside the weights: statistics of features, temperatures, thresholds, baselines."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from audiornn.calibration import fit_temperature
from audiornn.evaluation import answer_logits
from audiornn.features import FeatureExtractor, FeatureStatistics
from audiornn.features.joining import SequenceInput
from audiornn.inference import Classifier
from audiornn.inference.torch_engine import TorchEngine
from audiornn.inputs import FRONT_END
from audiornn.models.classifier import RecurrentClassifier
from audiornn.objectives import Objective
from audiornn.objectives.next_frame import with_linear_prediction
from audiornn.padding import Frames, absent_frames
from audiornn.spec import ModelSpec
from audiornn.store import Store
from audiornn.store.computed import read_computed, write_computed
from audiornn.tasks import CALIBRATED, NEXT_FRAME, TaskSpec
from audiornn.training.data import Batch, LoaderConfig, StoreDataset, evaluation_loader

_PROBED = 16

Part = FeatureExtractor | SequenceInput


@torch.no_grad()
def set_statistics(network: RecurrentClassifier, store: Store, loader: LoaderConfig) -> None:
    """Give the front ends that want them the mean and the deviation of each feature over all training frames.

    They are kept beside the store, so that the next training of the same need not go through the corpus first.
    """
    parts: dict[str, Part] = {}
    for name, part in [(FRONT_END, network.features), *network.stream_inputs()]:
        wanted = part.normalise if isinstance(part, SequenceInput) else part.config.normalisation == "global"
        if wanted and part.num_features:
            parts[name] = part
    if not parts or not len(store.indices("train")):
        return
    network.eval()  # no dither
    key = _statistics_key(parts, store, loader)
    found: dict[str, dict[str, list[float]]] | None = read_computed(store.folder, key)
    if found is None:
        measured = {name: FeatureStatistics(part.num_features) for name, part in parts.items()}
        for batch in evaluation_loader(store, loader, {}, "train"):
            for name, part in parts.items():
                measured[name].update(_frames(name, part, batch))
        found = {name: {"mean": each.mean.tolist(), "std": each.std.tolist()} for name, each in measured.items()}
        write_computed(store.folder, key, found)
    network.train()
    for name, part in parts.items():
        mean, std = (torch.tensor(found[name][what], dtype=torch.float64) for what in ("mean", "std"))
        part.set_statistics(mean, std)


def _frames(name: str, part: Part, batch: Batch) -> Frames:
    heard = batch.sequences[name] if isinstance(part, SequenceInput) else (batch.waveforms, batch.lengths)
    return part.frames(*heard, normalise=False)


def _statistics_key(parts: Mapping[str, Part], store: Store, loader: LoaderConfig) -> dict[str, Any]:
    """All that statistics depend on: the rows, the front ends, and what these make of a few of the rows here.

    The last is for whatever has no name: another version of any library, other code, another processor.
    """
    rows = store.indices("train")
    few = rows[np.linspace(0, len(rows) - 1, min(len(rows), _PROBED), dtype=np.int64)]
    batch = StoreDataset(store, {}).collate(few.tolist())
    frames = {name: _frames(name, part, batch).values.numpy().tobytes() for name, part in parts.items()}
    return {
        "store": store.fingerprint,
        "rows": hashlib.blake2b(rows.tobytes(), digest_size=16).hexdigest(),
        "parts": {name: str(getattr(part, "config", part.num_features)) for name, part in parts.items()},
        "batch_size": loader.eval_batch_size,
        "probe": {name: hashlib.blake2b(each, digest_size=16).hexdigest() for name, each in frames.items()},
    }


def calibrated(
    spec: ModelSpec, objective: Objective, engine: TorchEngine, store: Store, loader: LoaderConfig
) -> ModelSpec:
    """The spec with what is chosen on the validation split, and baselines fitted to the training split, if any.

    Chosen are temperatures first, and then thresholds, of probabilities under these.
    """
    classifier = Classifier(engine, spec)
    tasks = [_with_baseline(task, engine, store, loader) for task in spec.tasks]
    if any(task.kind in CALIBRATED for task in tasks):
        rows = store.indices("validation")
        logits = answer_logits(classifier, store, rows, batch_size=loader.eval_batch_size)
        targets = {name: values[rows] for name, values in objective.read_targets(store).items()}
        tasks = [_with_temperature(task, logits, targets) for task in tasks]
        scores = {task.name: task.scores(logits[task.name]) for task in tasks if task.name in logits}
        chosen = objective.calibrated(scores, targets)
        tasks = [dataclasses.replace(task, thresholds=own.thresholds) for task, own in zip(tasks, chosen, strict=True)]
    return dataclasses.replace(spec, tasks=tasks)


def _with_temperature(
    task: TaskSpec, logits: Mapping[str, NDArray[np.float32]], targets: Mapping[str, NDArray[Any]]
) -> TaskSpec:
    if task.kind not in CALIBRATED:
        return task
    return dataclasses.replace(task, temperature=fit_temperature(task, logits[task.name], targets[task.name]))


def _with_baseline(task: TaskSpec, engine: TorchEngine, store: Store, loader: LoaderConfig) -> TaskSpec:
    if task.kind != NEXT_FRAME:
        return task

    def utterances() -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
        with torch.inference_mode():
            for batch in evaluation_loader(store, loader, {}, "train"):
                frames = engine.network.frames(*batch.heard(engine.device))
                absent = absent_frames(frames.lengths, frames.missing, frames.values.shape[1]).cpu().numpy()
                values = frames.values.cpu().numpy()
                for of_row, gaps, length in zip(values, absent, frames.lengths.tolist(), strict=True):
                    yield of_row[:length], gaps[:length]

    return with_linear_prediction(task, utterances())
