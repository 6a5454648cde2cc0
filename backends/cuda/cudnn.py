"""Convolution by NVIDIA's cuDNN, through the package nvidia-cudnn-frontend.

A convolution is described to cuDNN as a graph of one operation. Its heuristics answer with a list of plans, the one that
they take for the fastest first; the first that passes our rules (digits, repeatability, memory) is built and kept, so that
from the second call on only the launch remains. S. Chetlur et al., "cuDNN: efficient primitives for deep learning", 2014.

All arrays are channels-last: images (N, H, W, C), filters (O, KH, KW, C / groups). cuDNN is told of the same memory as
N, C, H, W with strides.
"""

from __future__ import annotations

import ctypes
import sysconfig
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import BackendError
from ..geometry import Pair, output_size
from .options import options
from .runtime import Runtime

INSTALL_HINT = "pip install 'gpunn[cudnn13]' (or 'gpunn[cudnn12]' with CuPy for CUDA 12)"
ALIGNMENT = 16  # bytes that cuDNN's kernels load at once
# What lies in memory and what is computed in: names of cudnn.data_type.
TYPES = {
    "float32": ("FLOAT", "FLOAT"),
    "float64": ("DOUBLE", "DOUBLE"),
    "float16": ("HALF", "FLOAT"),
    "bfloat16": ("BFLOAT16", "FLOAT"),
}
FIRST, SECOND, RESULT = 1, 2, 3  # by which a plan knows its arrays


class Unsupported(Exception):  # noqa: N818 (not an error: the caller takes another way)
    """cuDNN does not serve this convolution; the message says why."""


class Problem(NamedTuple):
    """One convolution, as far as its plan depends on it: the key of the cache.

    Attributes:
        kind: "forward", "input gradient" or "weight gradient".
        image, weight, out: shapes (N, H, W, C), (O, KH, KW, C / groups), (N, OH, OW, O).
        tf32, deterministic, workspace_limit: as in `Options`; tf32 is False where dtype is not float32.
        device, version: the GPU's name and cuDNN's version; a plan is good for no other.

    The groups follow from the channels of image and weight.
    """

    kind: str
    image: tuple[int, ...]
    weight: tuple[int, ...]
    out: tuple[int, ...]
    stride: Pair
    padding: Pair
    dilation: Pair
    dtype: str
    tf32: bool
    deterministic: bool
    workspace_limit: int
    device: str
    version: int

    def __str__(self) -> str:
        return (
            f"the {self.kind} of a convolution of image {self.image} with filters {self.weight}, stride {self.stride}, "
            f"padding {self.padding}, dilation {self.dilation}, {self.dtype}"
        )


class Plan(NamedTuple):
    """Number ``index`` of the plans of a graph, and the bytes of scratch memory that it takes."""

    graph: Any
    index: int
    workspace: int


def import_cudnn() -> Any:
    """The module cudnn of nvidia-cudnn-frontend; ImportError where it is not installed. Nothing else imports it."""
    import cudnn

    return cudnn


def missing() -> str | None:
    """What stands in the way of using cuDNN, and what to do; None where nothing does."""
    try:
        import_cudnn().backend_version()
    except ImportError as error:
        why = "is not installed" if isinstance(error, ModuleNotFoundError) else f"does not load ({_one_line(error)})"
        return f"nvidia-cudnn-frontend {why}: {INSTALL_HINT}"
    except RuntimeError as error:  # the frontend loads without the library, and fails at its first use
        return f"libcudnn is not found ({_one_line(error)}): {INSTALL_HINT}"
    return None


def connect(runtime: Runtime) -> CudnnConvolution | None:
    """cuDNN on a GPU; None where the runtime is not a GPU, or `missing` says what is missing."""
    if not hasattr(runtime.xp, "cuda") or missing() is not None:
        return None
    load_cuda_runtime(runtime.xp)
    return CudnnConvolution(runtime)


def load_cuda_runtime(cupy: Any) -> Path | None:
    """Load CuPy's version of libcudart, and return where it was found; None leaves the search to the system.

    The frontend asks the system for it by name, and the system does not look into pip's packages; a library that is
    loaded already is found by its name wherever it came from.
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
    """The convolutions of one GPU. Each raises `Unsupported` for what it does not serve, before anything is computed."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.cudnn = import_cudnn()
        self.version = int(self.cudnn.backend_version())
        self._plans: dict[Problem, Plan | str] = {}  # or why there is none
        self._handle: int | None = None
        self._lock = threading.Lock()  # one handle: its stream must stay what it is until the launch is queued

    def forward(
        self, x: Any, weight: Any, stride: Pair, padding: Pair, dilation: Pair = (1, 1), groups: int = 1
    ) -> Any:
        """x (N, H, W, C) and weight (O, KH, KW, C / groups), both contiguous: (N, OH, OW, O)."""
        places = output_size(x.shape[1:3], weight.shape[1:3], stride, padding, dilation)
        shape = (x.shape[0], *places, weight.shape[0])
        problem = self._problem("forward", x.shape, weight.shape, shape, stride, padding, dilation, groups, x, weight)
        return self._run(problem, x, weight, shape)

    def input_gradient(
        self,
        dout: Any,
        weight: Any,
        shape: tuple[int, ...],
        stride: Pair,
        padding: Pair,
        dilation: Pair = (1, 1),
        groups: int = 1,
    ) -> Any:
        """dout (N, OH, OW, O) and weight (O, KH, KW, C / groups), both contiguous: the gradient of x, ``shape`` (N, H, W, C)."""
        problem = self._problem(
            "input gradient", shape, weight.shape, dout.shape, stride, padding, dilation, groups, dout, weight
        )
        return self._run(problem, dout, weight, shape)

    def weight_gradient(
        self,
        x: Any,
        dout: Any,
        shape: tuple[int, ...],
        stride: Pair,
        padding: Pair,
        dilation: Pair = (1, 1),
        groups: int = 1,
    ) -> Any:
        """x (N, H, W, C) and dout (N, OH, OW, O), both contiguous: the gradient of the filters, ``shape`` (O, KH, KW, C / groups)."""
        problem = self._problem(
            "weight gradient", x.shape, shape, dout.shape, stride, padding, dilation, groups, x, dout
        )
        return self._run(problem, x, dout, shape)

    def _problem(
        self,
        kind: str,
        image: tuple[int, ...],
        weight: tuple[int, ...],
        out: tuple[int, ...],
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: int,
        *operands: Any,
    ) -> Problem:
        """The key of the plan, after the checks that need no plan."""
        if not options.use_cudnn:
            raise Unsupported("cuDNN is switched off: backends.cuda.options.use_cudnn is False")
        dtype = operands[0].dtype.name
        if dtype not in TYPES or any(array.dtype.name != dtype for array in operands):
            given = " and ".join(array.dtype.name for array in operands)
            raise Unsupported(f"dtypes {given}; cuDNN serves one of {', '.join(TYPES)}")
        if 0 in (*image, *weight, *out):
            raise Unsupported(f"nothing to compute: image {image}, weight {weight}")
        for array in operands:
            if not array.flags.c_contiguous:
                raise ValueError(
                    f"{kind}: expected contiguous arrays, got strides {array.strides} for shape {array.shape}"
                )
        if weight[3] * groups != image[3]:
            raise ValueError(f"{kind}: expected {image[3]} channels / {groups} groups, got weight {weight}")
        return Problem(
            kind, image, weight, out, stride, padding, dilation, dtype,
            dtype == "float32" and options.allow_tf32_convolution, options.deterministic, options.workspace_limit,
            self.runtime.device, self.version,
        )  # fmt: skip

    def _run(self, problem: Problem, first: Any, second: Any, shape: tuple[int, ...]) -> Any:
        with self._lock:
            plan = self._plans.get(problem)
            if plan is None:
                plan = self._plans[problem] = self._plan(problem)
            if isinstance(plan, str):
                raise Unsupported(plan)
            first, second = self._aligned(first), self._aligned(second)
            out = self.runtime.output(shape, first.dtype)
            # It may go back to the pool before the GPU is done: the pool gives it to later work of this stream alone.
            workspace = self.runtime.xp.empty(plan.workspace, dtype="uint8")
            pointers = {FIRST: first.data.ptr, SECOND: second.data.ptr, RESULT: out.data.ptr}
            try:
                self.cudnn.set_stream(self._handle, self.runtime.xp.cuda.get_current_stream().ptr)
                plan.graph.execute_plan_at_index(pointers, workspace.data.ptr, plan.index, self._handle)
            except RuntimeError as error:
                raise BackendError(f"cuDNN {self.version} failed in {problem}: {_one_line(error)}") from error
        return out

    def _plan(self, problem: Problem) -> Plan | str:
        with self.runtime.scope():  # a handle belongs to the GPU that is current when it is made
            try:
                if self._handle is None:
                    self._handle = self.cudnn.create_handle()
                return build(self.cudnn, problem, handle=self._handle)
            except Unsupported as why:
                return str(why)

    def _aligned(self, array: Any) -> Any:
        """The array, or a copy where it is a view that starts between two packs of 16 bytes."""
        return array.copy() if array.data.ptr % ALIGNMENT else array


def build(cudnn: Any, problem: Problem, **device: Any) -> Plan:
    """The first plan of cuDNN's heuristics that keeps to the rules; `Unsupported` where there is none.

    ``device`` is ``handle=...`` of the current GPU, or ``device_property=...`` of one that need not be there.
    """
    try:
        graph = describe(cudnn, problem, **device)
        graph.validate()
        graph.build_operation_graph()
        graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
        graph.deselect_numeric_notes([getattr(cudnn.numerical_note, note) for note in unwanted(problem)])
        graph.deselect_workspace_greater_than(problem.workspace_limit)
        candidates = graph.get_execution_plan_count()
    except (RuntimeError, cudnn.cudnnGraphNotSupportedError) as error:
        raise Unsupported(f"cuDNN {problem.version} has no plan for {problem}: {_one_line(error)}") from error
    for index in range(candidates):
        try:
            graph.build_plan_at_index(index)
        except (RuntimeError, cudnn.cudnnGraphNotSupportedError):
            continue  # against the rules, or not to be built on this GPU
        return Plan(graph, index, graph.get_workspace_size_plan_at_index(index))
    raise Unsupported(f"none of the {candidates} plans of cuDNN {problem.version} serves {problem}")


def unwanted(problem: Problem) -> list[str]:
    """The properties that a plan must not have, by their names in cudnn.numerical_note."""
    notes = ["REDUCED_PRECISION_REDUCTION"]  # half precision is added up in float32
    if problem.deterministic:
        notes.append("NONDETERMINISTIC")
    if problem.dtype == "float32":
        notes.append("DOWN_CONVERT_INPUTS")  # to half precision; TF32 is a tensor core's, and no conversion
        if not problem.tf32:
            notes.append("TENSOR_CORE")
    return notes


def describe(cudnn: Any, problem: Problem, **device: Any) -> Any:
    """The graph: one convolution, computed in float32 where the arrays have half precision."""
    stored, computed = (getattr(cudnn.data_type, name) for name in TYPES[problem.dtype])
    graph = cudnn.pygraph(io_data_type=stored, intermediate_data_type=computed, compute_data_type=computed, **device)

    def tensor(uid: int, shape: tuple[int, ...]) -> Any:
        sizes, strides = channels_last_layout(shape)
        return graph.tensor(dim=sizes, stride=strides, data_type=stored, uid=uid)

    geometry = {"padding": [*problem.padding], "stride": [*problem.stride], "dilation": [*problem.dilation]}
    if problem.kind == "forward":
        out = graph.conv_fprop(image=tensor(FIRST, problem.image), weight=tensor(SECOND, problem.weight), **geometry)
        shape = problem.out
    elif problem.kind == "input gradient":
        out = graph.conv_dgrad(loss=tensor(FIRST, problem.out), filter=tensor(SECOND, problem.weight), **geometry)
        shape = problem.image
    else:
        out = graph.conv_wgrad(image=tensor(FIRST, problem.image), loss=tensor(SECOND, problem.out), **geometry)
        shape = problem.weight
    sizes, strides = channels_last_layout(shape)
    # A gradient's shape does not follow from those of its operands: several sizes of image give one size of result.
    out.set_output(True).set_data_type(stored).set_dim(sizes).set_stride(strides).set_uid(RESULT)
    return graph


def channels_last_layout(shape: Sequence[int]) -> tuple[list[int], list[int]]:
    """Sizes and strides, in elements and in the order N, C, H, W, of a contiguous (N, H, W, C) array."""
    n, height, width, channels = shape
    return [n, channels, height, width], [height * width * channels, 1, width * channels, channels]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
