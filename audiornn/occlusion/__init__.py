"""Which part of a clip an answer hangs on: parts are silenced, and the model is asked again."""

from __future__ import annotations

from audiornn.occlusion.measuring import Explanation, OcclusionConfig, explain

__all__ = ["Explanation", "OcclusionConfig", "explain"]
