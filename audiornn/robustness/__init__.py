"""How a model's answers suffer when clips are heard otherwise: in noise, quieter, in rooms, through codecs."""

from __future__ import annotations

from audiornn.robustness.conditions import Condition, ConditionsConfig, conditions_of
from audiornn.robustness.measuring import ConditionFigure, Measured, measure_conditions

__all__ = ["Condition", "ConditionFigure", "ConditionsConfig", "Measured", "conditions_of", "measure_conditions"]
