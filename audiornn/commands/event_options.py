"""How answers become events, as the verbs that find them take it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, fields
from typing import Any

import yaml  # type: ignore[import-untyped]

from audiornn.detection import DetectionSettings
from audiornn.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class DetectionOptions:
    """All but the thresholds; None = what the model keeps."""

    window_seconds: float | None = None
    hop_seconds: float | None = None
    smoothing_windows: int | None = None
    minimum_seconds: float | None = None
    merge_seconds: float | None = None
    background: list[str] | None = None

    def over(self, kept: DetectionSettings | None) -> DetectionSettings:
        """What is given here over what the model keeps; another window has another hop."""
        names = [field.name for field in fields(DetectionOptions)]
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if self.window_seconds is not None:
            given.setdefault("hop_seconds", None)
        return dataclasses.replace(kept or DetectionSettings(), **given)


@dataclass(frozen=True, kw_only=True)
class EventOptions(DetectionOptions):
    """With the thresholds."""

    threshold: float | None = None
    thresholds: Any = None
    """By label, also as one text: Hydra reads no labels beyond ASCII."""

    def settings(self, kept: DetectionSettings | None) -> DetectionSettings:
        """What is given here over what the model keeps; one threshold for all labels replaces all that it keeps."""
        settings = self.over(kept)
        if self.threshold is not None:
            settings = dataclasses.replace(settings, threshold=self.threshold, thresholds={})
        if self.thresholds is not None:
            thresholds = {**settings.thresholds, **_by_label(self.thresholds)}
            settings = dataclasses.replace(settings, thresholds=thresholds)
        return settings


def _by_label(thresholds: Any) -> dict[str, float]:
    try:
        # Every scalar a text, as `yes` and `no` would be truth values else.
        given = yaml.load(thresholds, yaml.BaseLoader) if isinstance(thresholds, str) else thresholds
        return {str(label): float(value) for label, value in given.items()}
    except (yaml.YAMLError, AttributeError, TypeError, ValueError):
        raise ConfigError(
            f"thresholds: expected a number for each label, such as {{yes:0.9}}, got {thresholds!r}"
        ) from None
