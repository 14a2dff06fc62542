"""Models from disk, and the engine that runs them."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

from audiornn.collector import collector_paused
from audiornn.errors import ConfigError, ModelError
from audiornn.hub import find_model
from audiornn.inference.classifier import Classifier
from audiornn.inference.engines import ENGINES, ONNX, TORCH
from audiornn.inference.onnx_engine import OnnxEngine, open_session
from audiornn.inference.reading import AudioPath
from audiornn.places import is_folder
from audiornn.runs import ONNX_FILE, ONNX_SUFFIX, RUNS
from audiornn.spec import ModelSpec, read_spec


def load(path: AudioPath, *, device: str | None = None, engine: str | None = None) -> Classifier:
    """Read a model folder, or a file that ``audiornn export`` has written.

    Args:
        path: a model folder, such as the ``model/`` that training left, or the run folder that it lies in; ``last`` =
            the newest finished run's below ``runs``; an ``.onnx`` file, which needs no torch; or ``owner/name`` of a
            model on the Hugging Face hub.
        device: ``cpu``, ``cuda``, ...; None = a GPU when there is one. onnxruntime runs on the CPU.
        engine: ``torch`` or ``onnx``; None = the faster one that is there: on the CPU onnxruntime for a folder in which
            ``audiornn export`` has left a file, else torch. A file of its own is always run by onnxruntime.

    Raises:
        ModelError: the model is missing, damaged or foreign.
        ConfigError: no such engine or device, or the engine is not installed.
    """
    if engine not in (None, *ENGINES):
        raise ConfigError(f"engine must be one of {', '.join(ENGINES)}, got {engine!r}")
    path = os.fspath(path)
    if path.endswith(ONNX_SUFFIX) and not is_folder(path):
        if engine == TORCH:
            raise ConfigError(f"expected a model folder for engine=torch, got the file '{path}'")
        return _from_file(Path(path), device)
    folder = find_model(path, Path(RUNS))
    return load_folder(folder, read_spec(folder), device=device, engine=engine)


def load_folder(folder: Path, spec: ModelSpec, *, device: str | None = None, engine: str | None = None) -> Classifier:
    """`load` of a model folder whose settings have been read."""
    exported = folder / ONNX_FILE
    if engine == ONNX and not exported.is_file():
        raise ModelError(
            f"expected {ONNX_FILE} in '{folder}' for engine=onnx, found none; audiornn export model={folder}"
        )
    if engine == ONNX or (engine is None and exported.is_file() and _is_cpu(device)):
        try:
            return _from_export(exported, spec, device, folder)
        except ModelError:
            if engine == ONNX:
                raise  # else the folder needs no exported file
    return _from_folder(folder, spec, device)


def _from_export(exported: Path, spec: ModelSpec, device: str | None, folder: Path) -> Classifier:
    """The exported file of a folder, whose thresholds may have been chosen anew since."""
    if _names_weights(exported, spec):
        classifier = _from_file(exported, device)
        if classifier.spec.weights_sha256 == spec.weights_sha256:
            return Classifier(classifier.engine, spec, source=folder)
    raise ModelError(f"'{exported}' was exported from other weights; audiornn export model={folder}")


def _is_cpu(device: str | None) -> bool:
    """Whether a device is the CPU. Torch is asked for a GPU, and imported, only where there is a driver of one."""
    if device is None:
        try:
            ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
            import torch
        except (OSError, ImportError):
            return True
        return not torch.cuda.is_available()
    return device == "cpu"


def _names_weights(exported: Path, spec: ModelSpec) -> bool:
    """Whether a file may have been exported from these weights, told without onnxruntime: their digest is in it."""
    try:
        with exported.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(spec.weights_sha256.encode()) >= 0
    except (OSError, ValueError):  # an empty file can't be mapped
        return True  # what is wrong with it is told when it is opened


def _from_file(path: Path, device: str | None) -> Classifier:
    if device not in (None, "cpu"):
        raise ConfigError(f"expected device=cpu for an ONNX file, got {device!r}")
    session, spec = open_session(path)
    try:
        return Classifier(OnnxEngine(session, spec, path), spec, source=path)
    except ModelError as error:
        raise ModelError(f"{error} in '{path}'") from None


def _from_folder(path: Path, spec: ModelSpec, device: str | None) -> Classifier:
    try:
        with collector_paused():  # walking over what torch's modules hold is up to a tenth of importing them
            from audiornn.checkpoint import load_network
            from audiornn.inference.torch_engine import TorchEngine
    except ImportError as error:
        raise ConfigError(
            f"expected torch to run the model in '{path}', found none ({error}); "
            "install it, or export the model to ONNX where it is"
        ) from None
    return Classifier(TorchEngine(load_network(path, spec), spec.inputs, device=device), spec, source=path)
