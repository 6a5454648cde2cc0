"""A module that answers to the name cupy and computes with NumPy: for what the CUDA backend does on the host.

Its arrays refuse to become NumPy's by themselves, as CuPy's do: who forgets `asnumpy` is told. Its kernels are run by the
emulator, in fast mode.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest

from backends import emulator
from backends.cuda.program import signatures

FROM_THE_HOST = {"array", "asarray"}  # these alone take NumPy's arrays


class ndarray(np.ndarray):  # noqa: N801 (CuPy's name)
    """NumPy's array under CuPy's rules; also elements and sums are arrays, of shape ()."""

    __module__ = "cupy"

    @property
    def device(self) -> Any:  # type: ignore[override]
        return types.SimpleNamespace(id=0)

    @property
    def data(self) -> Any:  # type: ignore[override]
        return types.SimpleNamespace(ptr=self.ctypes.data, device_id=0)

    def get(self) -> np.ndarray:
        return np.array(self.view(np.ndarray))

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        _refuse_the_hosts((*inputs, *options.get("out", ())))
        result = getattr(ufunc, method)(*_plain(inputs), **{name: _plain(value) for name, value in options.items()})
        return options["out"][0] if "out" in options else _own(result)

    def __getitem__(self, index: Any) -> Any:
        return _own(super().__getitem__(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        _refuse_the_hosts((value,))
        super().__setitem__(index, value)

    def argmax(self, *arguments: Any, **options: Any) -> Any:
        return _own(self.view(np.ndarray).argmax(*arguments, **options))

    def any(self, *arguments: Any, **options: Any) -> Any:
        return _own(self.view(np.ndarray).any(*arguments, **options))


def _refuse_the_hosts(values: tuple[Any, ...]) -> None:
    for value in values:
        if isinstance(value, np.ndarray) and not isinstance(value, ndarray) and value.ndim:
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")


def _own(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return np.array(value.view(np.ndarray) if isinstance(value, np.ndarray) else value, copy=None).view(ndarray)
    return tuple(_own(v) for v in value) if isinstance(value, tuple) else value


def _plain(value: Any) -> Any:
    if isinstance(value, ndarray):
        return value.view(np.ndarray)
    return type(value)(_plain(v) for v in value) if isinstance(value, (tuple, list)) else value


def _forward(name: str, function: Any) -> Any:
    def call(*arguments: Any, **options: Any) -> Any:
        if name not in FROM_THE_HOST:
            _refuse_the_hosts((*arguments, *options.values()))
        return _own(function(*(_plain(a) for a in arguments), **{k: _plain(v) for k, v in options.items()}))

    return call


class Device:
    """Counts how often it was made current."""

    used: list[int] = []  # noqa: RUF012 (one list for all, read by the tests)

    def __init__(self, index: int) -> None:
        self.index = index

    def use(self) -> None:
        Device.used.append(self.index)

    def __enter__(self) -> Device:
        self.use()
        return self

    def __exit__(self, *_: Any) -> None:
        pass


def _on_numpy(kernel: Any) -> Any:
    """A kernel of the emulator that takes the arrays of this module."""

    def call(*arguments: Any, **options: Any) -> Any:
        plain = [_plain(a) for a in arguments]
        result = kernel(*plain, **{name: _plain(value) for name, value in options.items()})
        return _own(result)

    return call


def _need_emulator() -> None:
    if emulator.missing():
        pytest.skip(str(emulator.missing()))


class RawModule:
    def __init__(self, streams: Streams, code: str, options: tuple[str, ...] = (), backend: str = "nvcc") -> None:
        _need_emulator()
        from backends.emulator.module import Module

        assert backend == "nvrtc"
        self._streams = streams
        self._module = Module(code, "kernels.cu", options, checked=False)
        self._signatures = signatures(code)

    def get_function(self, name: str) -> Any:
        """While a graph is being captured the kernel does not run: what it reads is uploaded when the capture is over."""
        run = _on_numpy(self._module.get_function(name))
        pointers = [parameter.pointer for parameter in self._signatures[name]]

        def launch(grid: Any, block: Any, arguments: Any, shared_mem: int = 0) -> None:
            assert all(argument is not None for argument in arguments), "CuPy does not take None for a pointer"
            passed = tuple(None if p and _is_null(a) else a for p, a in zip(pointers, arguments, strict=True))
            if not self._streams.capturing:
                run(grid, block, passed, shared_mem=shared_mem)

        return launch


def _is_null(argument: Any) -> bool:
    """A pointer to nothing is a number of eight bytes, all zero."""
    return isinstance(argument, np.uint64) and argument == 0


def _generated(kind: str) -> Any:
    def make_kernel(*arguments: Any, **options: Any) -> Any:
        _need_emulator()
        from backends.emulator import elementwise

        return _on_numpy(getattr(elementwise, kind)(*arguments, **options))

    return make_kernel


class Streams:
    """What a module has of streams and graphs. Computation is NumPy's and happens at once; `log` says what was asked for."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.memory = "everybody's"
        self.capturing = False

    def Stream(self, non_blocking: bool = False) -> Any:
        return _Stream(self, non_blocking)

    def MemoryPool(self) -> Any:
        return types.SimpleNamespace(malloc="the pool's")

    @contextmanager
    def using_allocator(self, allocator: Any) -> Iterator[None]:
        before, self.memory = self.memory, allocator
        self.log.append(f"memory is {self.memory}")
        yield
        self.memory = before
        self.log.append(f"memory is {self.memory}")

    def no_copies_within(self, convert: Any) -> Any:
        """``convert``, which must not bring numbers of the host to the device while a graph is being captured."""

        def call(values: Any, *arguments: Any, **options: Any) -> Any:
            if self.capturing and not isinstance(values, ndarray) and np.ndim(values) > 0:
                raise RuntimeError("a copy from the host's memory within a captured graph")
            return convert(values, *arguments, **options)

        return call


class _ComputeTypes:
    """CuPy's switch of how products of a dtype are computed; NumPy's are as they are."""

    COMPUTE_TYPE_FP32, COMPUTE_TYPE_TF32 = 4, 7

    def __init__(self) -> None:
        self.chosen: dict[str, int] = {}

    def set_compute_type(self, dtype: str, compute_type: int) -> None:
        self.chosen[dtype] = compute_type


class _Stream:
    def __init__(self, streams: Streams, non_blocking: bool) -> None:
        self.streams, self.non_blocking = streams, non_blocking

    def __enter__(self) -> None:
        self.streams.log.append("enter the stream")

    def __exit__(self, *_: Any) -> None:
        self.streams.log.append("leave the stream")

    def begin_capture(self) -> None:
        assert self.non_blocking, "the default stream would wait for it"
        self.streams.capturing = True
        self.streams.log.append("begin")

    def end_capture(self) -> Any:
        self.streams.capturing = False
        self.streams.log.append("end")
        return types.SimpleNamespace(launch=lambda: self.streams.log.append("launch"))


def make(driver: Any = 13000, devices: Any = 1) -> Any:
    """A new module ``cupy``. ``driver`` and ``devices`` are what its runtime returns; an exception is raised instead."""

    def answer(value: Any) -> Any:
        def respond() -> Any:
            if isinstance(value, Exception):
                raise value
            return value

        return respond

    synchronized: list[bool] = []
    streams = Streams()
    stream = types.SimpleNamespace(synchronize=lambda: synchronized.append(True))
    cupy = types.ModuleType("cupy")
    linalg = types.ModuleType("cupy.linalg")
    for source, target in ((np, cupy), (np.linalg, linalg)):
        for name in dir(source):
            value = getattr(source, name)
            is_function = callable(value) and not isinstance(value, type)
            if not name.startswith("_"):
                setattr(target, name, _forward(name, value) if is_function else value)
    extras: dict[str, Any] = {
        "ndarray": ndarray,
        "errstate": np.errstate,
        "linalg": linalg,
        "asnumpy": lambda array: array.get(),
        "get_default_memory_pool": lambda: types.SimpleNamespace(used_bytes=lambda: 4096, malloc="the default pool's"),
        "RawModule": partial(RawModule, streams),
        "ElementwiseKernel": _generated("ElementwiseKernel"),
        "ReductionKernel": _generated("ReductionKernel"),
        "cuda": types.SimpleNamespace(
            Device=Device,
            get_cuda_path=lambda: None,
            get_current_stream=lambda: stream,
            Stream=streams.Stream,
            MemoryPool=streams.MemoryPool,
            using_allocator=streams.using_allocator,
            runtime=types.SimpleNamespace(driverGetVersion=answer(driver), getDeviceCount=answer(devices)),
        ),
        "_core": types.SimpleNamespace(_routines_linalg=_ComputeTypes()),
        "synchronized": synchronized,
        "streams": streams,
    }
    for name, value in extras.items():
        setattr(cupy, name, value)
    for name in ("asarray", "array"):
        setattr(cupy, name, streams.no_copies_within(getattr(cupy, name)))
    # While a graph is being captured kernels leave their outputs as they are: not at random.
    for name in ("empty", "empty_like"):
        setattr(cupy, name, getattr(cupy, name.replace("empty", "zeros")))
    return cupy
