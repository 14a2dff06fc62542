"""The state of a stream as bytes: arrays and a header in a ``.npz`` without pickles, checked when they come back."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn.errors import ModelError

Arrays = dict[str, NDArray[Any]]

_HEADER = "header"


def packed(header: Mapping[str, Any], arrays: Arrays) -> bytes:
    """Arrays by name and a header that JSON can hold, as bytes."""
    text = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{_HEADER: text}, **arrays)
    return buffer.getvalue()


def unpacked(saved: bytes) -> tuple[dict[str, Any], Arrays]:
    """Header and arrays of what `packed` gave.

    Raises:
        ModelError: it is something else.
    """
    try:
        with np.load(io.BytesIO(saved), allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in file.files}
        header = json.loads(bytes(arrays.pop(_HEADER)))
        header["format"]
    except Exception:  # zipfile, zlib and NumPy raise a dozen kinds, with advice for other files
        raise ModelError("expected the state of a stream, got other bytes, or only some of them") from None
    return header, arrays


def array_of(
    arrays: Mapping[str, NDArray[Any]], name: str, dtype: type[np.generic], num_axes: int, *, beside: float = 0.0
) -> NDArray[Any]:
    """One of the arrays of a state.

    Args:
        arrays: by their names.
        name: of the wanted one.
        dtype: what it must hold. Integers are counts and places, of which none is below 0.
        num_axes: how many it must have.
        beside: what can be there beside finite numbers: NaN for a missing sample, say.

    Raises:
        ModelError: it is not there, or is another one.
    """
    array = arrays.get(name)
    if array is None:
        raise ModelError(f"expected {name!r}, got none")
    if array.dtype != dtype or array.ndim != num_axes:
        raise ModelError(f"expected {name!r} as {np.dtype(dtype)}, {num_axes} axes, got {array.dtype}, {array.ndim}")
    if array.dtype.kind == "f":
        is_right = np.isfinite(array) | (array == beside) | (np.isnan(array) & math.isnan(beside))
    else:
        is_right = array >= 0
    if not is_right.all():
        raise ModelError(f"expected numbers that can be in {name!r}, got {array[~is_right].flat[0]:g}")
    return array
