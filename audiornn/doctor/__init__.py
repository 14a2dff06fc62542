"""What is in a corpus and what is wrong with it, before a model is trained on it."""

from __future__ import annotations

from audiornn.doctor.diagnosis import Diagnosis, examine
from audiornn.doctor.evidence import Evidence
from audiornn.doctor.examining import Examined
from audiornn.doctor.findings import ERROR, NOTE, WARNING, Finding
from audiornn.doctor.saving import save_diagnosis

__all__ = ["ERROR", "NOTE", "WARNING", "Diagnosis", "Evidence", "Examined", "Finding", "examine", "save_diagnosis"]
