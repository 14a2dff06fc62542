"""What is fitted to a corpus beside the weights: statistics of features, thresholds, baselines."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from audiornn.checkpoint import ModelSpec
from audiornn.data import LoaderConfig, evaluation_loader
from audiornn.evaluation import answer
from audiornn.features import FeatureExtractor, FeatureStatistics
from audiornn.features.joining import SequenceInput
from audiornn.inference import Classifier
from audiornn.inputs import FRONT_END
from audiornn.models.classifier import RecurrentClassifier
from audiornn.objectives import Objective
from audiornn.objectives.next_frame import with_linear_prediction
from audiornn.padding import absent_frames
from audiornn.store import Store
from audiornn.tasks import NEXT_FRAME, TaskSpec


@torch.no_grad()
def set_statistics(network: RecurrentClassifier, store: Store, loader: LoaderConfig) -> None:
    """Give the front ends that want them the mean and the deviation of each feature over all training frames."""
    parts: dict[str, tuple[FeatureExtractor | SequenceInput, FeatureStatistics]] = {}
    for name, part in [(FRONT_END, network.features), *network.stream_inputs()]:
        wanted = part.normalise if isinstance(part, SequenceInput) else part.config.normalisation == "global"
        if wanted and part.num_features:
            parts[name] = (part, FeatureStatistics(part.num_features))
    if not parts:
        return
    network.eval()  # no dither
    for batch in evaluation_loader(store, loader, {}, "train"):
        for name, (part, statistics) in parts.items():
            heard = batch.sequences[name] if isinstance(part, SequenceInput) else (batch.waveforms, batch.lengths)
            statistics.update(part.frames(*heard, normalise=False))
    network.train()
    for part, statistics in parts.values():
        part.set_statistics(statistics.mean, statistics.std)


def calibrated(
    spec: ModelSpec, objective: Objective, classifier: Classifier, store: Store, loader: LoaderConfig
) -> ModelSpec:
    """The spec with thresholds chosen on the validation split and baselines fitted to the training split, if any."""
    spec = dataclasses.replace(spec, tasks=[_with_baseline(task, classifier, store, loader) for task in spec.tasks])
    if not any(task.thresholds for task in spec.tasks):
        return spec
    rows = store.indices("validation")
    scores = answer(classifier, store, rows, batch_size=loader.eval_batch_size)
    targets = {name: values[rows] for name, values in objective.read_targets(store).items()}
    return dataclasses.replace(spec, tasks=objective.calibrated(scores, targets))


def _with_baseline(task: TaskSpec, classifier: Classifier, store: Store, loader: LoaderConfig) -> TaskSpec:
    if task.kind != NEXT_FRAME:
        return task

    def utterances() -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
        with torch.inference_mode():
            for batch in evaluation_loader(store, loader, {}, "train"):
                frames = classifier.network.frames(*batch.heard(classifier.device))
                absent = absent_frames(frames.lengths, frames.missing, frames.values.shape[1]).cpu().numpy()
                values = frames.values.cpu().numpy()
                for of_row, gaps, length in zip(values, absent, frames.lengths.tolist(), strict=True):
                    yield of_row[:length], gaps[:length]

    return with_linear_prediction(task, utterances())
