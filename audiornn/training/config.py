"""Settings of a training run, and whether they and a corpus go together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from audiornn.audio import AudioConfig
from audiornn.corpora.corpus import Corpus
from audiornn.effects.config import AugmentConfig
from audiornn.errors import ConfigError
from audiornn.features import FeaturesConfig
from audiornn.inputs import Inputs, parse_streams
from audiornn.manifest import Utterance
from audiornn.models.config import ModelConfig
from audiornn.objectives import MulticlassConfig, ObjectiveConfig
from audiornn.seeds import check_seed
from audiornn.store import Progress, Store, prepare
from audiornn.targets import UtteranceSource
from audiornn.training.data import LoaderConfig
from audiornn.training.distillation import check_hearing, find_teachers, lessons_of
from audiornn.training.initialising import check_source
from audiornn.training.optimization import OptimizerConfig, ScheduleConfig
from audiornn.training.trainer_config import TrainerConfig


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that shapes a trained model."""

    data: Corpus
    audio: AudioConfig = field(default_factory=AudioConfig)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    streams: dict[str, Any] = field(default_factory=dict)
    """What is heard beside the front end: a `StreamConfig`, or its settings, by name."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=MulticlassConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    loader: LoaderConfig = field(default_factory=LoaderConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    init: str | None = None
    """Model folder whose encoder and front end statistics the network starts from; None = random weights."""
    freeze: int = 0
    """Parts of the encoder that are not trained: 0 = none, N = the stem and the first N layers, -1 = all."""
    encoder_learning_rate: float = 1.0
    """Factor of the learning rate for the encoder."""
    teacher: Any = None
    """Model or run folder, or name on the hub, or a list of them, whose probabilities are learned beside the targets;
    None = targets only. See `audiornn.training.distillation`."""
    teacher_weight: float = 0.5
    """Share of the teacher in the loss, in (0, 1]; the rest is the targets'."""
    teacher_temperature: float = 2.0
    """What the outputs of both are divided by before they are compared: above 1, what is unlikely counts for more."""
    seed: int = 0
    """Initial weights, batch order, augmentation and dropout follow from it."""
    strict: bool = False
    """Stop at the first file that can't be used, instead of leaving it out."""
    tensorboard: bool = True
    """Write TensorBoard files beside ``metrics.csv``."""

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if not 0 < self.encoder_learning_rate < math.inf:
            raise ConfigError(f"encoder_learning_rate must be above 0, got {self.encoder_learning_rate}")
        object.__setattr__(self, "streams", parse_streams(self.streams))
        self.inputs  # noqa: B018  # whatever contradicts itself is refused now
        if self.freeze and self.init is None:
            raise ConfigError(
                f"freeze={self.freeze}: expected init=MODEL beside it; random weights are not worth keeping"
            )
        if self.optimizer.sam_rho and self.trainer.accumulate_batches > 1:
            raise ConfigError(
                "optimizer.sam_rho: expected trainer.accumulate_batches=1, since both passes of a step are over one "
                f"batch, got {self.trainer.accumulate_batches}; take a larger loader.batch_size"
            )
        if self.optimizer.sam_rho and self.trainer.precision == "16":
            raise ConfigError(
                "optimizer.sam_rho: expected trainer.precision 32 or bf16, whose gradients can't overflow, got 16"
            )
        if not 0 < self.teacher_weight <= 1:
            raise ConfigError(f"teacher_weight must be in (0, 1], got {self.teacher_weight}")
        if not 0 < self.teacher_temperature < math.inf:
            raise ConfigError(f"teacher_temperature must be above 0, got {self.teacher_temperature}")
        if not all(isinstance(each, str) and each for each in self.teachers):
            raise ConfigError(f"teacher: expected a model, or a list of models, got {self.teacher!r}")
        if self.teachers and self.augment.mixup and self.augment.mixup_of == "frames":
            raise ConfigError(
                "teacher: expected audio that it can hear as well, got augment.mixup_of=frames; take waveforms"
            )

    @property
    def inputs(self) -> Inputs:
        """What the network hears."""
        return Inputs(audio=self.audio, features=self.features, streams=self.streams)

    @property
    def teachers(self) -> list[str]:
        """The models that ``teacher`` names."""
        if self.teacher is None:
            return []
        return list(self.teacher) if isinstance(self.teacher, list | tuple) else [self.teacher]

    def prepare(
        self,
        data_dir: Path,
        *,
        splits: Sequence[str] = (),
        resume: bool = False,
        progress: Progress | None = None,
    ) -> Store:
        """The corpus as `train` wants it; returns at once when it has been prepared before.

        Args:
            data_dir: where corpora and prepared stores lie.
            splits: further splits whose targets will be asked for, to be checked now.
            resume: for a run that goes on, which needs the model of ``init`` no more.
            progress: called with (files done, files in all).

        Raises:
            CorpusError: the corpus can't be used, or lacks the objective's targets.
        """
        if self.init is not None and not resume:
            check_source(Path(self.init), self.inputs, self.model, self.freeze)
        check_hearing(find_teachers(self.teachers), self.inputs)
        return prepare(
            self.data,
            data_dir=data_dir,
            sample_rate=self.features.sample_rate,
            audio=self.audio,
            reads_audio=self.inputs.reads_audio,
            sequences=self.inputs.clocks,
            strict=self.strict,
            check=partial(self.check, splits=splits),
            progress=progress,
        )

    def check(self, rows: Sequence[Utterance], *, splits: Sequence[str] = ()) -> None:
        """Raise `CorpusError` when a corpus lacks the objective's targets. ``splits``: as for `prepare`."""
        self.objective.check(rows, model=self.model, inputs=self.inputs, augment=self.augment, splits=splits)
        if teachers := find_teachers(self.teachers):
            tasks = self.objective.build(UtteranceSource(rows)).specs
            for teacher in teachers:
                lessons_of(teacher, tasks)


def read_settings(path: Path) -> dict[str, Any]:
    """The settings of a `TrainConfig`, nested, of the file that the command line has kept of all of them.

    Raises:
        ConfigError: it can't be read.
    """
    try:
        return parse_settings(path.read_text("utf-8"), f"'{path}'")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"expected settings in '{path}', got: {error}") from error


def parse_settings(text: str, source: str) -> dict[str, Any]:
    """`read_settings` of what the file holds.

    Raises:
        ConfigError: it holds anything else; names ``source``.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError  # type: ignore[import-untyped]

    try:
        document = OmegaConf.to_container(OmegaConf.create(text))
    except (ValueError, YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"expected settings in {source}, got: {str(error).splitlines()[0]}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"expected settings in {source}, got a {type(document).__name__}")
    return {str(name): document[name] for name in TrainConfig.__dataclass_fields__ if name in document}
