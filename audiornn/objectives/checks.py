"""Whether an objective and an augmentation go together."""

from __future__ import annotations

from audiornn.effects.config import AugmentConfig
from audiornn.errors import ConfigError
from audiornn.features.config import LOGMEL, MFCC
from audiornn.inputs import Inputs
from audiornn.labels import UNKNOWN
from audiornn.objectives.objective import Objective
from audiornn.tasks import FRAMES


def check_augment(objective: Objective, config: AugmentConfig, inputs: Inputs) -> None:
    """Raise `ConfigError` for an augmentation that changes what a task is about, or what else is heard."""
    follows = inputs.sequences or any(spec.kind == FRAMES for spec in objective.specs)
    if config.speed_percent and config.speed_keeps_length and inputs.reads_audio and follows:
        raise ConfigError(
            "augment.speed_keeps_length: expected false where intervals or sequences follow the audio, got true"
        )
    of_bands = inputs.features.kind in (MFCC, LOGMEL) and inputs.features.normalisation in ("none", "global")
    if config.filter_db and inputs.reads_audio and not of_bands:
        raise ConfigError(
            "augment.filter_db: expected features of mel bands with normalisation none or global, got "
            f"{inputs.features.kind} with {inputs.features.normalisation}; set augment.filter_db=0"
        )
    _check_alike(objective, config)
    if config.mixup:
        _check_mixup(objective, config, inputs)
    if config.unknown_probability and not objective.word_labels:
        raise ConfigError(
            f"augment.unknown_probability: expected classes with the label {UNKNOWN!r} among them, got none; set "
            "augment.unknown_probability=0"
        )
    if config.unknown_probability and (inputs.sequences or not inputs.reads_audio):
        raise ConfigError(
            "augment.unknown_probability: expected a network that hears audio alone, got sequences; set "
            "augment.unknown_probability=0"
        )


def _check_alike(objective: Objective, config: AugmentConfig) -> None:
    named = {label for group in config.unknown_alike for label in group}
    if config.unknown_probability and (strange := sorted(named - set(objective.word_labels))):
        raise ConfigError(f"augment.unknown_alike: expected labels of the corpus, got {strange[0]!r}")


def _check_mixup(objective: Objective, config: AugmentConfig, inputs: Inputs) -> None:
    for task in objective.each:
        if not task.can_be_mixed:
            raise ConfigError(
                f"augment.mixup: expected an objective of labels of utterances, got {task.spec.kind} of "
                f"{task.spec.name!r}; set augment.mixup=0"
            )
    if config.mixup_of == "waveforms" and (inputs.sequences or not inputs.reads_audio):
        raise ConfigError(
            "augment.mixup_of=waveforms: expected a network that hears audio alone, got sequences; "
            "take augment.mixup_of=frames"
        )
