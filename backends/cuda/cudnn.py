"""Convolution by NVIDIA's cuDNN, through the package nvidia-cudnn-frontend.

Plans are made once (`cudnn_plan.py`) and kept, so that from the second call on only the launch remains. All arrays are
contiguous and channels-last: images (N, H, W, C), filters (O, KH, KW, C / groups).
"""

from __future__ import annotations

import ctypes
import sysconfig
import threading
import warnings
from pathlib import Path
from typing import Any

from ..errors import BackendError
from ..geometry import Pair, output_size
from .cudnn_plan import FIRST, RESULT, SECOND, TYPES, Plan, Problem, Unsupported, build, one_line
from .options import options
from .runtime import Runtime

__all__ = ["CudnnConvolution", "Unsupported", "connect", "missing"]

INSTALL_HINT = "pip install 'gpunn[cudnn13]' (or 'gpunn[cudnn12]' with CuPy for CUDA 12)"
ALIGNMENT = 16  # bytes that cuDNN's kernels load at once
Shape = tuple[int, ...]


def import_cudnn() -> Any:
    """The module cudnn of nvidia-cudnn-frontend; ImportError where it is not installed. Nothing else imports it."""
    import cudnn

    return cudnn


def missing() -> str | None:
    """What stands in the way of using cuDNN, and what to do; None where nothing does."""
    try:
        import_cudnn().backend_version()
    except ImportError as error:
        why = "is not installed" if isinstance(error, ModuleNotFoundError) else f"does not load ({one_line(error)})"
        return f"nvidia-cudnn-frontend {why}: {INSTALL_HINT}"
    except RuntimeError as error:  # the frontend loads without the library, and fails when it first calls it
        return f"libcudnn is not found ({one_line(error)}): {INSTALL_HINT}"
    return None


def connect(runtime: Runtime) -> CudnnConvolution | None:
    """cuDNN on a GPU; None where the runtime is no GPU, where `missing` says what is missing, or, with a warning, where
    cuDNN does not start.
    """
    if not hasattr(runtime.xp, "cuda") or missing() is not None:
        return None
    load_cuda_runtime(runtime.xp)
    try:
        return CudnnConvolution(runtime)
    except RuntimeError as error:
        warnings.warn(f"convolution goes without cuDNN, which does not start: {one_line(error)}", stacklevel=2)
        return None


def load_cuda_runtime(cupy: Any) -> Path | None:
    """Load CuPy's version of libcudart, and return where it was found; None leaves the search to the system.

    The frontend asks the system for it by name, and the system does not look into pip's packages; but a library that is
    loaded already is found by its name, wherever it came from.
    """
    version = cupy.cuda.runtime.runtimeGetVersion() // 1000
    packages = Path(sysconfig.get_path("purelib")) / "nvidia"
    toolkit = cupy.cuda.get_cuda_path()
    folders = [packages / f"cu{version}" / "lib", packages / "cuda_runtime" / "lib"]
    if toolkit is not None:
        folders = [Path(toolkit) / "lib64", Path(toolkit) / "lib", *folders]
    for folder in folders:
        library = folder / f"libcudart.so.{version}"
        if library.is_file():
            ctypes.CDLL(str(library))
            return library
    return None


class CudnnConvolution:
    """The convolutions of one GPU. Each raises `Unsupported` for what cuDNN does not serve, before anything is computed."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.cudnn = import_cudnn()
        self.version = int(self.cudnn.backend_version())
        with runtime.scope():  # a handle belongs to the GPU that is current when it is made
            self.handle = self.cudnn.create_handle()
        self._plans: dict[Problem, Plan | str] = {}  # or why there is none
        self._lock = threading.Lock()  # one handle: its stream must stay what it is until the launch is queued

    def forward(
        self, x: Any, weight: Any, stride: Pair, padding: Pair, dilation: Pair = (1, 1), groups: int = 1
    ) -> Any:
        """x (N, H, W, C) and weight (O, KH, KW, C / groups): (N, OH, OW, O)."""
        places = output_size(x.shape[1:3], weight.shape[1:3], stride, padding, dilation)
        shape = (x.shape[0], *places, weight.shape[0])
        shapes = x.shape, weight.shape, shape
        return self._run("forward", x, weight, shape, shapes, stride, padding, dilation, groups)

    def input_gradient(
        self,
        dout: Any,
        weight: Any,
        shape: Shape,
        stride: Pair,
        padding: Pair,
        dilation: Pair = (1, 1),
        groups: int = 1,
    ) -> Any:
        """dout (N, OH, OW, O) and weight (O, KH, KW, C / groups): the gradient of the image of ``shape`` (N, H, W, C)."""
        shapes = shape, weight.shape, dout.shape
        return self._run("input gradient", dout, weight, shape, shapes, stride, padding, dilation, groups)

    def weight_gradient(
        self, x: Any, dout: Any, shape: Shape, stride: Pair, padding: Pair, dilation: Pair = (1, 1), groups: int = 1
    ) -> Any:
        """x (N, H, W, C) and dout (N, OH, OW, O): the gradient of the filters of ``shape`` (O, KH, KW, C / groups)."""
        shapes = x.shape, shape, dout.shape
        return self._run("weight gradient", x, dout, shape, shapes, stride, padding, dilation, groups)

    def _run(
        self,
        kind: str,
        first: Any,
        second: Any,
        shape: Shape,
        shapes: tuple[Shape, Shape, Shape],
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: int,
    ) -> Any:
        """The result, of ``shape``; ``shapes`` are those of image, filters and output."""
        _check(kind, first, second, shapes, groups)
        dtype = first.dtype.name
        tf32 = dtype == "float32" and options.allow_tf32_convolution
        rules = tf32, options.deterministic, options.workspace_limit
        problem = Problem(kind, *shapes, stride, padding, dilation, dtype, *rules, self.runtime.device, self.version)
        with self._lock:
            plan = self._plans.get(problem)
            if plan is None:
                plan = self._plans[problem] = self._plan(problem)
            if isinstance(plan, str):
                raise Unsupported(plan)
            first, second = _aligned(first), _aligned(second)
            out = self.runtime.output(shape, first.dtype)
            # It may go back to the pool before the GPU is done: the pool gives it to later work of this stream alone.
            workspace = self.runtime.xp.empty(plan.workspace, dtype="uint8")
            pointers = {FIRST: first.data.ptr, SECOND: second.data.ptr, RESULT: out.data.ptr}
            try:
                self.cudnn.set_stream(self.handle, self.runtime.xp.cuda.get_current_stream().ptr)
                plan.graph.execute_plan_at_index(pointers, workspace.data.ptr, plan.number, self.handle)
            except RuntimeError as error:
                raise BackendError(f"cuDNN {self.version} failed in {problem}: {one_line(error)}") from error
        return out

    def _plan(self, problem: Problem) -> Plan | str:
        try:
            return build(self.cudnn, problem, handle=self.handle)
        except Unsupported as why:
            return str(why)


def _check(kind: str, first: Any, second: Any, shapes: tuple[Shape, Shape, Shape], groups: int) -> None:
    """What needs no plan to be known. Raises `Unsupported` for another's work, ValueError for a mistake of the caller."""
    if not options.use_cudnn:
        raise Unsupported("cuDNN is switched off: backends.cuda.options.use_cudnn is False")
    if first.dtype != second.dtype or first.dtype.name not in TYPES:
        raise Unsupported(f"cuDNN serves two arrays of {', '.join(TYPES)}, got {first.dtype} and {second.dtype}")
    image, weight, _ = shapes
    if any(0 in shape for shape in shapes):
        raise Unsupported(f"an empty convolution: image {image}, filters {weight}")
    if weight[3] * groups != image[3]:
        raise ValueError(f"{kind}: expected filters of {image[3]} / {groups} channels, got {weight} for image {image}")
    for array in (first, second):
        if not array.flags.c_contiguous:
            raise ValueError(f"{kind}: expected contiguous arrays, got strides {array.strides} for shape {array.shape}")


def _aligned(array: Any) -> Any:
    """The array, or a copy where it is a view that starts between two packs of 16 bytes."""
    return array.copy() if array.data.ptr % ALIGNMENT else array
