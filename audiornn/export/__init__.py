"""A network as one ONNX graph: waveforms in, logits, probabilities and embeddings out. Needs torch and onnx."""

from __future__ import annotations

from audiornn.export.network import FRONT_END, build_graph
from audiornn.export.writing import Agreement, Exported, export_model

__all__ = ["FRONT_END", "Agreement", "Exported", "build_graph", "export_model"]
