"""A module that answers to the name cudnn: it takes graphs of one convolution as nvidia-cudnn-frontend does, is as strict
about them, and computes with NumPy on the memory that the pointers and strides name.
"""

from __future__ import annotations

import contextlib
import ctypes
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from backends.cuda.runtime import Runtime

HANDLE, STREAM, VERSION = 77, 4711, 91900
DTYPES = {"FLOAT": "float32", "DOUBLE": "float64", "HALF": "float16", "BFLOAT16": "bfloat16"}
NOTES = ["TENSOR_CORE", "NONDETERMINISTIC", "DOWN_CONVERT_INPUTS", "REDUCED_PRECISION_REDUCTION"]
# The plans that the heuristics propose, the fastest first: their notes and bytes of workspace.
PLANS: list[tuple[set[str], int]] = [
    ({"TENSOR_CORE", "REDUCED_PRECISION_REDUCTION"}, 0),
    ({"TENSOR_CORE", "DOWN_CONVERT_INPUTS"}, 0),
    ({"TENSOR_CORE", "NONDETERMINISTIC"}, 0),
    ({"TENSOR_CORE"}, 1 << 20),
    ({"NONDETERMINISTIC"}, 0),
    (set(), 4096),
    (set(), 0),
]


class NotSupported(Exception):  # noqa: N818 (the frontend's name has no Error in the middle either)
    pass


class Array(np.ndarray):
    """NumPy's array with CuPy's way to say where it lies."""

    @property
    def data(self) -> Any:
        return types.SimpleNamespace(ptr=self.__array_interface__["data"][0] if self.size else 0)


def aligned(shape: Any, dtype: Any) -> Array:
    """Memory that begins at a multiple of 256 bytes, as CuPy's does, filled with garbage."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    memory = np.full(size + 256, 0xFF, np.uint8)
    start = -memory.__array_interface__["data"][0] % 256
    return memory[start : start + size].view(dtype).reshape(shape).view(Array)


def asarray(values: Any) -> Array:
    out = aligned(values.shape, values.dtype)
    out[...] = values
    return out


class StandInRuntime(Runtime):
    """What cudnn.py needs of a GPU. ``scopes`` counts how often it was made current."""

    def __init__(self, toolkit: Path | None = None, version: int = 13020) -> None:
        self.scopes = 0
        self.device = "cuda:0"
        self.stream = STREAM
        self.allocated: list[int] = []
        self.xp = types.SimpleNamespace(
            empty=self._empty,
            asarray=asarray,
            cuda=types.SimpleNamespace(
                get_current_stream=lambda: types.SimpleNamespace(ptr=self.stream),
                get_cuda_path=lambda: None if toolkit is None else str(toolkit),
                runtime=types.SimpleNamespace(runtimeGetVersion=lambda: version),
            ),
        )

    def _empty(self, size: Any, dtype: Any) -> Array:
        if dtype == "uint8":
            self.allocated.append(size)
        return aligned(size, dtype)

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        self.scopes += 1
        yield

    def to_numpy(self, array: Any) -> Any:
        return np.asarray(array).view(np.ndarray)


class Tensor:
    def __init__(self, dim: Any = None, stride: Any = None, data_type: str = "", uid: int = -1) -> None:
        self.dim, self.stride, self.data_type, self.uid, self.output = dim, stride, data_type, uid, False

    def set_output(self, value: bool) -> Tensor:
        self.output = value
        return self

    def set_data_type(self, value: str) -> Tensor:
        self.data_type = value
        return self

    def set_dim(self, value: list[int]) -> Tensor:
        self.dim = value
        return self

    def set_stride(self, value: list[int]) -> Tensor:
        self.stride = value
        return self

    def set_uid(self, value: int) -> Tensor:
        self.uid = value
        return self

    def at(self, pointer: int) -> np.ndarray:
        """The memory as an array (N, C, H, W) of the strides that were said."""
        dtype = np.dtype(DTYPES[self.data_type])
        last = sum((size - 1) * step for size, step in zip(self.dim, self.stride, strict=True))
        bytes_ = (ctypes.c_ubyte * ((last + 1) * dtype.itemsize)).from_address(pointer)
        flat = np.frombuffer(bytes_, np.uint8).view(dtype)
        return np.lib.stride_tricks.as_strided(flat, self.dim, [step * dtype.itemsize for step in self.stride])


def places(out: Any, weight: Any, padding: Any, stride: Any, dilation: Any, image: Any) -> Iterator[Any]:
    """Where output (i, j) meets image (y, x) through the kernel's (u, v), by the definition of a convolution."""
    for i, j, u, v in np.ndindex(out.dim[2], out.dim[3], weight.dim[2], weight.dim[3]):
        y = i * stride[0] - padding[0] + u * dilation[0]
        x = j * stride[1] - padding[1] + v * dilation[1]
        if 0 <= y < image.dim[2] and 0 <= x < image.dim[3]:
            yield i, j, u, v, y, x


class Graph:
    """`cudnn.pygraph` for one convolution."""

    def __init__(
        self, module: Any, io_data_type: str, intermediate_data_type: str, compute_data_type: str, **device: Any
    ):
        module.graphs.append(self)
        self.module, self.device, self.compute = module, device, compute_data_type
        self.intermediate, self.io = intermediate_data_type, io_data_type
        self.kind, self.steps, self.built = "", [], None
        self.deselected: set[str] = set()
        self.limit = 1 << 62

    def tensor(self, dim: list[int], stride: list[int], data_type: str, uid: int) -> Tensor:
        return Tensor(dim, stride, data_type, uid)

    def conv_fprop(self, image: Tensor, weight: Tensor, **geometry: Any) -> Tensor:
        return self._convolution("forward", (image, weight), geometry, image, weight, Tensor(), 2)

    def conv_dgrad(self, loss: Tensor, filter: Tensor, **geometry: Any) -> Tensor:
        return self._convolution("input gradient", (loss, filter), geometry, Tensor(), filter, loss, 0)

    def conv_wgrad(self, image: Tensor, loss: Tensor, **geometry: Any) -> Tensor:
        return self._convolution("weight gradient", (image, loss), geometry, image, Tensor(), loss, 1)

    def _convolution(self, kind: str, operands: Any, geometry: Any, *parts: Any) -> Tensor:
        *tensors, result = parts
        assert all(isinstance(value, list) and len(value) == 2 for value in geometry.values())
        self.kind, self.operands, self.geometry, self.tensors = kind, operands, geometry, tensors
        self.result: Tensor = tensors[result]
        return self.result

    def _step(self, name: str, *before: str) -> None:
        assert self.steps == [*before], f"{name} after {self.steps}"
        self.steps.append(name)

    def validate(self) -> None:
        self._step("validate")
        image, weight, out = self.tensors
        assert self.result.output
        assert len({tensor.uid for tensor in self.tensors}) == 3
        assert {tensor.data_type for tensor in self.tensors} == {self.io}
        assert self.intermediate == self.compute == ("DOUBLE" if self.io == "DOUBLE" else "FLOAT")
        for tensor in self.tensors:
            _, channels, height, width = tensor.dim
            assert tensor.stride == [height * width * channels, 1, width * channels, channels]
        assert image.dim[0] == out.dim[0]
        assert weight.dim[0] == out.dim[1]
        assert image.dim[1] % weight.dim[1] == 0
        padding, stride, dilation = (self.geometry[name] for name in ("padding", "stride", "dilation"))
        for axis in (0, 1):
            extent = dilation[axis] * (weight.dim[axis + 2] - 1) + 1
            assert out.dim[axis + 2] == (image.dim[axis + 2] + 2 * padding[axis] - extent) // stride[axis] + 1

    def build_operation_graph(self) -> None:
        self._step("graph", "validate")

    def create_execution_plans(self, modes: list[str]) -> None:
        self._step("plans", "validate", "graph")
        assert modes == ["A", "FALLBACK"]
        if self.module.refuse:
            raise self.module.refuse

    def get_execution_plan_count(self) -> int:
        return len(PLANS)

    def deselect_numeric_notes(self, notes: list[str]) -> None:
        assert "plans" in self.steps
        self.deselected |= set(notes)

    def deselect_workspace_greater_than(self, limit: int) -> None:
        assert "plans" in self.steps
        self.limit = limit

    def build_plan_at_index(self, index: int) -> None:
        notes, workspace = PLANS[index]
        if notes & self.deselected or workspace > self.limit:
            raise RuntimeError("Deselecting execution plan")
        self.built = index

    def get_workspace_size_plan_at_index(self, index: int) -> int:
        assert index == self.built
        return PLANS[index][1]

    def execute_plan_at_index(self, pointers: dict[int, int], workspace: int, index: int, handle: int) -> None:
        assert index == self.built
        assert handle == self.device["handle"] == HANDLE
        self.module.executed.append((self, self.module.stream))
        if self.module.fail:
            raise self.module.fail
        assert (workspace != 0) == (PLANS[index][1] > 0)
        assert not any(pointer % 16 for pointer in pointers.values()), "misaligned"
        wide = np.float64
        memory = {id(t): t.at(pointers[t.uid]) for t in self.tensors}
        image, weight, out = (np.array(memory[id(t)], wide) for t in self.tensors)
        result = {"forward": out, "input gradient": image, "weight gradient": weight}[self.kind]
        result[...] = 0
        per_group, filters = weight.shape[1], out.shape[1] // (image.shape[1] // weight.shape[1])
        for i, j, u, v, y, x in places(self.tensors[2], self.tensors[1], image=self.tensors[0], **self.geometry):
            for o in range(out.shape[1]):
                first = o // filters * per_group
                channels = slice(first, first + per_group)
                if self.kind == "forward":
                    out[:, o, i, j] += image[:, channels, y, x] @ weight[o, :, u, v]
                elif self.kind == "input gradient":
                    image[:, channels, y, x] += np.outer(out[:, o, i, j], weight[o, :, u, v])
                else:
                    weight[o, :, u, v] += out[:, o, i, j] @ image[:, channels, y, x]
        memory[id(self.result)][...] = result.astype(memory[id(self.result)].dtype)


def make() -> Any:
    """A new module ``cudnn``.

    ``graphs`` were made, ``executed`` pairs of graph and stream; ``refuse`` is raised by planning and ``fail`` by executing.
    """
    module = types.ModuleType("cudnn")

    def set_stream(handle: int, stream: int) -> None:
        assert handle == HANDLE
        module.stream = stream

    contents = {
        "graphs": [],
        "executed": [],
        "refuse": None,
        "fail": None,
        "stream": None,
        "backend_version": lambda: VERSION,
        "create_handle": lambda: HANDLE,
        "set_stream": set_stream,
        "pygraph": lambda **arguments: Graph(module, **arguments),
        "cudnnGraphNotSupportedError": NotSupported,
        "data_type": types.SimpleNamespace(**{name: name for name in DTYPES}),
        "heur_mode": types.SimpleNamespace(A="A", FALLBACK="FALLBACK"),
        "numerical_note": types.SimpleNamespace(**{name: name for name in NOTES}),
    }
    for name, value in contents.items():
        setattr(module, name, value)
    return module
