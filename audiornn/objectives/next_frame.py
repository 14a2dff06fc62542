"""Next-frame prediction on unlabelled audio: autoregressive predictive coding (Chung et al., 2019)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiornn.errors import ConfigError
from audiornn.inputs import Inputs
from audiornn.models.classifier import ClassifierOutput
from audiornn.models.config import ModelConfig
from audiornn.objectives.config import ObjectiveConfig
from audiornn.objectives.objective import Objective
from audiornn.objectives.task import Outcome, TaskObjective
from audiornn.padding import absent_frames
from audiornn.targets import TargetSource
from audiornn.tasks import NEXT_FRAME, TaskSpec, lagged

_RIDGE = 1e-6
"""Added to the diagonal of the normal equations of a linear prediction, for features that never change."""


@dataclass(frozen=True, kw_only=True)
class NextFrameConfig(ObjectiveConfig):
    """Predict the frame some steps ahead from all frames so far, without any label; its encoder can start another."""

    steps_ahead: int = 3
    """How far after the last frame that is heard the predicted one is; 1 is the next."""
    baseline_order: int = 8
    """Frames that the linear prediction it is compared with looks back on."""

    def __post_init__(self) -> None:
        if self.steps_ahead < 1 or self.baseline_order < 1:
            raise ConfigError(
                f"steps_ahead and baseline_order must be at least 1, got {self.steps_ahead} and {self.baseline_order}"
            )

    def build(self, source: TargetSource, *, num_features: int = 1) -> Objective:
        del source  # no targets but the audio itself
        spec = TaskSpec(
            name="next_frame",
            kind=NEXT_FRAME,
            labels=[],
            columns=[],
            size=num_features,
            steps_ahead=self.steps_ahead,
            predictor=[[0.0] * (self.baseline_order + 1)] * num_features,
        )
        return Objective([NextFrameObjective(self, spec)])


class NextFrameObjective(TaskObjective):
    """Mean absolute difference between predicted and real frames, in the front end's normalised units.

    Args:
        config: how far ahead.
        spec: number of features, and how far ahead.
    """

    monitors = {"loss": "min"}  # noqa: RUF012

    def __init__(self, config: NextFrameConfig, spec: TaskSpec) -> None:
        super().__init__()
        self.spec = spec
        self._steps = config.steps_ahead

    def check_model(self, model: ModelConfig, inputs: Inputs) -> None:
        features = inputs.features
        if len(inputs.sizes) > 1:
            raise ConfigError("objective=next_frame: expected one input, got several; take streams=none")
        ahead = (self._steps - features.deltas * features.delta_window) * features.hop_length
        if inputs.reads_audio and (
            features.normalisation.startswith("utterance") or features.top_db is not None or ahead < features.win_length
        ):
            raise ConfigError(
                "objective=next_frame: expected frames that know nothing of the one that is predicted: normalisation "
                "global or none, no top_db, and steps_ahead frames, less the reach of differences, no shorter than a "
                f"window; got normalisation={features.normalisation}, top_db={features.top_db}, {ahead} samples for a "
                f"window of {features.win_length}"
            )
        encoder = model.encoder
        stem = encoder.stem
        if encoder.bidirectional or (stem.channels and (stem.kernel_frames > 1 or max([1, *stem.frame_strides]) > 1)):
            raise ConfigError(
                "objective=next_frame: expected an encoder that sees no later frame and keeps every one, got another; "
                "take model=predictor, or model.encoder.bidirectional=false and no convolutions over frames"
            )

    def select(self, outputs: Tensor, output: ClassifierOutput, targets: Tensor, *, complete: bool) -> Outcome:
        """Sums of each utterance: absolute error, that of copying the last frame, and values compared.

        A missing frame is neither foretold nor foretold from.

        Shape: outputs ``(batch, frames, features)`` -> ``(batch, 3)``; targets as they come.
        """
        del complete
        assert output.features is not None and output.frame_lengths is not None
        steps = self._steps
        outputs, features = outputs.float(), output.features.float()
        ahead, heard, predicted = features[:, steps:], features[:, :-steps], outputs[:, :-steps]
        padding = absent_frames(output.frame_lengths, output.frame_missing, features.shape[1])
        padding = (padding[:, steps:] | padding[:, :-steps])[:, :, None]
        errors = (predicted - ahead).abs().masked_fill(padding, 0.0).sum(dim=(1, 2))
        copied = (heard - ahead).abs().masked_fill(padding, 0.0).sum(dim=(1, 2))
        counts = (~padding).sum(dim=(1, 2)) * features.shape[2]
        return torch.stack([errors, copied, counts.to(errors.dtype)], dim=1), targets

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        del targets
        return outputs[:, 0].sum() / outputs[:, 2].sum().clamp(min=1)

    def mass(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        del targets, weights
        return outputs[:, 2].sum()

    def figures(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        del targets
        errors, copied, counts = outputs.double().sum(dim=0).tolist()
        return {"loss": errors / max(1, counts), "loss_of_copying": copied / max(1, counts)}


def with_linear_prediction(
    spec: TaskSpec, utterances: Iterable[tuple[NDArray[np.float32], NDArray[np.bool_]]]
) -> TaskSpec:
    """The spec with the linear prediction that fits training frames best, each feature from its own past.

    Args:
        spec: of next-frame prediction.
        utterances: features ``(frames, features)`` of each, and which frames are missing.
    """
    order = len(spec.predictor[0]) - 1
    products = np.zeros((spec.size, order + 1, order + 1))
    wanted = np.zeros((spec.size, order + 1))
    for features, missing in utterances:
        known = ~(missing[spec.steps_ahead :] | missing[: -spec.steps_ahead])
        for part, past, ahead in lagged(features, order, spec.steps_ahead):
            heard = past[known[part]]
            products += np.einsum("tfi,tfj->fij", heard, heard)
            wanted += np.einsum("tfi,tf->fi", heard, ahead[known[part]])
    products += _RIDGE * np.eye(order + 1)
    coefficients = np.linalg.solve(products, wanted[:, :, None])[:, :, 0]
    return dataclasses.replace(spec, predictor=coefficients.tolist())
