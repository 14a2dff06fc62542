"""Writing an ONNX graph node by node."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

OPSET = 18
# The version of the file format that came with this opset: what reads the operators reads the file.
_IR_VERSION = 8

FLOAT, DOUBLE, INT32, INT64, BOOL = (
    TensorProto.FLOAT,
    TensorProto.DOUBLE,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.BOOL,
)

Value = str
"""A tensor of the graph, by its name."""
Operand = Value | NDArray[Any] | np.generic | float | list[int]
"""What a node reads: a tensor of the graph, or a constant. Python's numbers are float32 and int64; "" is left out."""
Size = int | Value
"""Extent of an axis: a number, or int64 ``(1,)``."""

START, END = np.iinfo(np.int64).min, np.iinfo(np.int64).max
"""Beyond the first and the last position of an axis."""


def to_array(tensor: Tensor) -> NDArray[np.float32]:
    """Weights or buffers of a module as a constant."""
    array: NDArray[np.float32] = tensor.detach().cpu().float().numpy()
    return array


class GraphBuilder:
    """Nodes are added by methods that return what they compute; a name says in which scopes a node was added."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._scopes: list[str] = []
        self._taken: dict[str, int] = {}
        self._known: dict[tuple[str, tuple[int, ...], bytes], Value] = {}

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Nodes inside are called ``name/...``."""
        self._scopes.append(name)
        try:
            yield
        finally:
            self._scopes.pop()

    def input(self, name: str, dtype: int, shape: Sequence[int | str]) -> Value:
        """An input of the graph; axes of any extent have names."""
        self._inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        self._taken[name] = 1
        return name

    def output(self, value: Value, name: str, dtype: int, shape: Sequence[int | str]) -> None:
        """Make a tensor an output of the graph, under a name of its own."""
        self._nodes.append(helper.make_node("Identity", [value], [name], name=self._unique(f"outputs/{name}")))
        self._outputs.append(helper.make_tensor_value_info(name, dtype, shape))

    def node(self, op_type: str, *operands: Operand, name: str | None = None, **attributes: Any) -> Value:
        """An operator with one output."""
        return self.nodes(op_type, *operands, outputs=1, name=name, **attributes)[0]

    def nodes(
        self, op_type: str, *operands: Operand, outputs: int, name: str | None = None, **attributes: Any
    ) -> list[Value]:
        """An operator with several outputs."""
        own = self._unique("/".join([*self._scopes, name or op_type.lower()]))
        inputs = [each if isinstance(each, str) else self.constant(each, f"{own}/constant") for each in operands]
        results = [own if outputs == 1 else f"{own}:{index}" for index in range(outputs)]
        self._nodes.append(helper.make_node(op_type, inputs, results, name=own, **attributes))
        return results

    def constant(self, value: NDArray[Any] | np.generic | float | list[int], name: str = "constant") -> Value:
        """A constant of the graph; equal ones are kept once."""
        array = np.ascontiguousarray(_as_array(value)).reshape(np.shape(value))
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = self._unique(name)
            self._constants.append(numpy_helper.from_array(array, self._known[key]))
        return self._known[key]

    def size(self, x: Value, axis: int) -> Value:
        """Extent of an axis, int64 ``(1,)``."""
        return self.node("Shape", x, start=axis, end=axis + 1)

    def reshape(self, x: Value, *sizes: Size, name: str | None = None) -> Value:
        """In another shape; 0 keeps the axis at that place, and one -1 takes what is left."""
        if all(isinstance(size, int) for size in sizes):
            return self.node("Reshape", x, [size for size in sizes if isinstance(size, int)], name=name)
        return self.node("Reshape", x, self.shape(*sizes), name=name)

    def shape(self, *sizes: Size) -> Value:
        """A shape of numbers and extents, int64 ``(axes,)``."""
        return self.node("Concat", *([size] if isinstance(size, int) else size for size in sizes), axis=0)

    def slice(self, x: Value, axis: int, start: Size, stop: Size, step: int = 1) -> Value:
        """Part of an axis, as Python's ``x[start:stop:step]``."""
        bounds = ([bound] if isinstance(bound, int) else bound for bound in (start, stop))
        return self.node("Slice", x, *bounds, [axis], [step])

    def concat(self, parts: Sequence[Value], axis: int, name: str | None = None) -> Value:
        """Side by side."""
        return parts[0] if len(parts) == 1 else self.node("Concat", *parts, axis=axis, name=name)

    def cast(self, x: Value, dtype: int) -> Value:
        """As another type."""
        return self.node("Cast", x, to=dtype)

    def positions(self, count: Value) -> Value:
        """int64 0, 1, ... ``(count,)``."""
        return self.node("Range", np.int64(0), self.node("Squeeze", count, [0]), np.int64(1))

    def affine(self, x: Value, weight: Tensor, bias: Tensor | None, name: str) -> Value:
        """``x @ weight.T + bias``, as `torch.nn.Linear`."""
        product = self.node("MatMul", x, to_array(weight).T, name=name)
        return product if bias is None else self.node("Add", product, to_array(bias), name=f"{name}_bias")

    def model(self) -> onnx.ModelProto:
        """All that was added."""
        graph = helper.make_graph(self._nodes, "audiornn", self._inputs, self._outputs, self._constants)
        opset = helper.make_opsetid("", OPSET)
        return helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION, producer_name="audiornn")

    def _unique(self, name: str) -> str:
        self._taken[name] = self._taken.get(name, 0) + 1
        return name if self._taken[name] == 1 else f"{name}_{self._taken[name]}"


def _as_array(value: NDArray[Any] | np.generic | float | list[int]) -> NDArray[Any]:
    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(value)
    return np.asarray(value, dtype=np.float32 if isinstance(value, float) else np.int64)
