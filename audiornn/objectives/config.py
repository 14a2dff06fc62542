"""What the settings of every objective are."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from audiornn.effects.config import AugmentConfig
from audiornn.inputs import Inputs
from audiornn.manifest import Utterance
from audiornn.models.config import ModelConfig
from audiornn.objectives.checks import check_augment
from audiornn.objectives.objective import Objective
from audiornn.objectives.task import TaskObjective
from audiornn.targets import TargetSource, UtteranceSource, read_targets


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """Settings of an objective; also the schema of its option in the ``objective`` config group."""

    @abstractmethod
    def build(self, source: TargetSource, *, num_features: int = 1) -> Objective:
        """The objective for the targets of a corpus.

        Args:
            source: the corpus.
            num_features: values per frame of all that is heard.

        Raises:
            CorpusError: the corpus does not have them.
        """

    def check(
        self,
        utterances: Sequence[Utterance],
        *,
        model: ModelConfig,
        inputs: Inputs,
        augment: AugmentConfig | None = None,
        splits: Sequence[str] = (),
    ) -> None:
        """Raise what is wrong with the targets of a corpus or with the network for them, before it is prepared.

        Args:
            utterances: all of the corpus.
            model, inputs: what is to learn the targets.
            augment: how they are varied; None = not at all.
            splits: further ones that will be measured.
        """
        source = UtteranceSource(utterances)
        objective = self.build(source)
        objective.check_model(model, inputs)
        if augment is not None:
            check_augment(objective, augment, inputs)
        objective.read_targets(source)
        for split in splits:
            for spec in objective.specs:
                read_targets(spec, source, source.indices(split), complete=False)


@dataclass(frozen=True, kw_only=True)
class TaskConfig(ObjectiveConfig):
    """Settings of an objective that is one task."""

    @abstractmethod
    def task(self, source: TargetSource, name: str | None = None) -> TaskObjective:
        """The task for the targets of a corpus, under a name of its own or that of its column."""

    def build(self, source: TargetSource, *, num_features: int = 1) -> Objective:
        del num_features
        return Objective([self.task(source)])
