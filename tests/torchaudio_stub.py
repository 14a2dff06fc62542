"""torchaudio beside a torch it wasn't built for."""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any


def import_torchaudio() -> Any:
    """torchaudio, its compiled extension left out; the front ends are pure Python.

    PyPI's wheel is built for CUDA and doesn't import beside a CPU build of torch.

    Raises:
        ImportError: it isn't installed, or is another version with other internals.
    """
    if "torchaudio" in sys.modules:
        return sys.modules["torchaudio"]
    stub = types.ModuleType("torchaudio._extension")
    for flag in ("_IS_TORCHAUDIO_EXT_AVAILABLE", "_IS_ALIGN_AVAILABLE", "_IS_RIR_AVAILABLE"):
        setattr(stub, flag, False)
    for decorator in ("fail_if_no_align", "fail_if_no_rir"):
        setattr(stub, decorator, lambda function: function)
    for name in ("_check_cuda_version", "lazy_import_sox_ext"):
        setattr(stub, name, lambda: None)
    sys.modules["torchaudio._extension"] = stub
    try:
        return importlib.import_module("torchaudio")
    except (ImportError, OSError, AttributeError) as error:
        raise ImportError(f"torchaudio can't be imported: {error}") from error
