"""A network run by onnxruntime, from one file that holds the front end too. Needs no torch."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audiornn.errors import ConfigError, ModelError
from audiornn.inference.engines import ONNX, Answer, Attention, Floats, StreamingForm, pad_streams
from audiornn.places import is_file
from audiornn.sequences import Signals, pad_rows
from audiornn.spec import MAX_CONFIG_BYTES, ModelSpec, check_document, parse_spec
from audiornn.workers import available_cores

if TYPE_CHECKING:
    import onnxruntime

CONFIG_KEY = "audiornn"
"""Of the file's metadata: what ``config.json`` of a model folder holds."""
STREAMING_KEY = "audiornn_streaming"
"""Of the file's metadata: the weights of a model that can stream from its states, see `packed_weights`."""


class OnnxEngine:
    """`audiornn.inference.engines.Engine` of a session.

    It is pickled and copied with the bytes of the file, which are read then.

    Args:
        session: as `open_session` gives it.
        spec: what it was exported with.
        model: the file, or its bytes, that the session was made of.
    """

    name = ONNX

    def __init__(self, session: onnxruntime.InferenceSession, spec: ModelSpec, model: Path | bytes) -> None:
        self._session = session
        self._model = model
        self._sequences = spec.inputs.sequences
        self._reads_audio = spec.inputs.reads_audio
        shapes = {output.name: output.shape for output in session.get_outputs()}
        expected = {"logits", "probabilities", "embedding"}
        if not expected <= set(shapes):
            raise ModelError(f"expected outputs {', '.join(sorted(expected))}, got {', '.join(shapes)}")
        self._outputs = [name for name in ("logits", "embedding", *_FRAME_OUTPUTS) if name in shapes]
        self.embedding_size = int(shapes["embedding"][1])

    def __getstate__(self) -> dict[str, Any]:
        own = {name: value for name, value in vars(self).items() if name != "_session"}
        return own | {"_model": self._model if isinstance(self._model, bytes) else self._model.read_bytes()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._session = session_of(self._model)

    @property
    def description(self) -> str:
        """Library and device in words."""
        import onnxruntime

        return f"onnxruntime {onnxruntime.__version__} on cpu"

    def answer(self, signals: Sequence[Signals]) -> Answer:
        """Of one batch."""
        feed: dict[str, Any] = {}
        if self._reads_audio:
            feed["waveforms"], feed["lengths"] = pad_rows([each.waveform for each in signals])
        for name, (values, lengths) in pad_streams(signals, self._sequences).items():
            feed[name], feed[f"{name}_lengths"] = values, lengths
        found = dict(zip(self._outputs, self._session.run(self._outputs, feed), strict=True))
        return Answer(
            logits=found["logits"],
            embeddings=found["embedding"],
            **{field: found.get(name) for name, field in _FRAME_OUTPUTS.items()},
        )

    def attention(self, signals: Signals) -> Attention | None:
        """An exported graph does not tell."""
        del signals
        return None

    def streaming_form(self) -> StreamingForm:
        """The weights that the file's metadata hold, and NumPy's transform."""
        packed = self._session.get_modelmeta().custom_metadata_map.get(STREAMING_KEY)
        if packed is None:
            raise ConfigError(
                "expected an exported file with the weights that a stream from its states takes, got one without (an "
                "older one, or one of 8 bits); export the model again, load its folder with engine='torch', or give "
                "window_seconds"
            )
        return StreamingForm(_unpacked(packed), np.fft.rfft, f"numpy {np.__version__} on cpu")

    def callers(self, count: int | None = None) -> ThreadPoolExecutor:
        """Threads that may ask at once; those of the session are shared by all of them."""
        return ThreadPoolExecutor(count or available_cores())


def packed_weights(weights: Mapping[str, Floats]) -> str:
    """Arrays by name as text: base64 of what `numpy.savez` writes."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **weights)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _unpacked(text: str) -> dict[str, Floats]:
    try:
        with np.load(io.BytesIO(base64.b64decode(text, validate=True)), allow_pickle=False) as file:
            return {name: np.asarray(file[name], dtype=np.float32) for name in file.files}
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise ModelError(f"expected weights in the metadata of an exported file, got other text: {error}") from None


_FRAME_OUTPUTS = {
    "frame_logits": "frame_logits",
    "frame_lengths": "frame_lengths",
    "features": "features",
    "frame_missing": "missing",
}
"""Outputs of networks that say something of every frame, and what they are called in `Answer`."""


def session_of(model: Path | bytes, *, num_threads: int | None = None) -> onnxruntime.InferenceSession:
    """A graph, by its file or its bytes, ready to run. Raises what onnxruntime does."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads or available_cores()
    options.log_severity_level = 3  # errors come as exceptions
    # Threads that wait by spinning took a core from the decoders and from other callers: 3.2 ms of processor for a clip
    # of 1 s on two cores instead of 1.7.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def open_session(path: Path, *, num_threads: int | None = None) -> tuple[onnxruntime.InferenceSession, ModelSpec]:
    """A file that ``audiornn export`` has written.

    Args:
        path: of the file.
        num_threads: None = as many as there are cores.

    Raises:
        ConfigError: onnxruntime is not installed.
        ModelError: no such file, a damaged one, or one of another program.
    """
    if not is_file(path):
        raise ModelError(f"expected an ONNX file, found none at '{path}'")
    try:
        session = session_of(path, num_threads=num_threads)
    except ImportError:
        raise ConfigError(f"expected onnxruntime to run '{path}', found none; pip install onnxruntime") from None
    except Exception as error:  # its classes of errors share no base of their own
        reason = str(error).splitlines()[0]
        raise ModelError(f"expected an ONNX model in '{path}', got a damaged or foreign file: {reason}") from None
    text = session.get_modelmeta().custom_metadata_map.get(CONFIG_KEY, "")
    if not text or len(text) > MAX_CONFIG_BYTES:
        raise ModelError(f"expected a model that `audiornn export` wrote, got another ONNX file: '{path}'")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"expected JSON in the metadata of '{path}', got: {error}") from None
    check_document(document, str(path))
    return session, parse_spec(document, str(path))
