"""The planning half of cuDNN: from the description of a convolution to a plan that keeps to our rules. Needs no GPU.

A convolution is described to cuDNN as a graph of one operation. Its heuristics answer with a list of plans, the one that
they take for the fastest first; the first that passes our rules (digits, repeatability, memory) is built.
S. Chetlur et al., "cuDNN: efficient primitives for deep learning", 2014.

All arrays are channels-last: images (N, H, W, C), filters (O, KH, KW, C / groups). cuDNN is told of the same memory as
N, C, H, W with strides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..geometry import Pair

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
    """One convolution, as far as its plan depends on it: the key of a cache of plans.

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
    """One of the plans of a graph, by its number, and the bytes of scratch memory that it takes."""

    graph: Any
    number: int
    workspace: int


def build(cudnn: Any, problem: Problem, **device: Any) -> Plan:
    """The first plan of cuDNN's heuristics that keeps to the rules; `Unsupported` where there is none.

    ``device`` is ``handle=...`` of the current GPU, or ``device_property=...`` of one that need not be there.
    """
    refused = RuntimeError, cudnn.cudnnGraphNotSupportedError
    try:
        graph = describe(cudnn, problem, **device)
        graph.validate()
        graph.build_operation_graph()
        graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
        graph.deselect_numeric_notes([getattr(cudnn.numerical_note, note) for note in unwanted(problem)])
        graph.deselect_workspace_greater_than(problem.workspace_limit)
        candidates = graph.get_execution_plan_count()
    except refused as error:
        raise Unsupported(f"cuDNN {problem.version} has no plan for {problem}: {one_line(error)}") from error
    for number in range(candidates):
        try:
            graph.build_plan_at_index(number)
        except refused:  # it breaks a rule, or cannot be built for this GPU
            continue
        return Plan(graph, number, graph.get_workspace_size_plan_at_index(number))
    raise Unsupported(f"none of the {candidates} plans of cuDNN {problem.version} keeps to the rules for {problem}")


def unwanted(problem: Problem) -> list[str]:
    """The properties that a plan must not have, by their names in cudnn.numerical_note."""
    notes = ["REDUCED_PRECISION_REDUCTION"]  # half precision is added up in float32
    if problem.deterministic:
        notes.append("NONDETERMINISTIC")
    if problem.dtype == "float32":
        notes.append("DOWN_CONVERT_INPUTS")  # to half precision; TF32 is another matter
        if not problem.tf32:
            notes.append("TENSOR_CORE")
    return notes


def describe(cudnn: Any, problem: Problem, **device: Any) -> Any:
    """The graph: one convolution, computed in float32 where the arrays have half precision."""
    stored, computed = (getattr(cudnn.data_type, name) for name in TYPES[problem.dtype])
    graph = cudnn.pygraph(io_data_type=stored, intermediate_data_type=computed, compute_data_type=computed, **device)

    def tensor(uid: int, shape: Sequence[int]) -> Any:
        sizes, strides = channels_last_layout(shape)
        return graph.tensor(dim=sizes, stride=strides, data_type=stored, uid=uid)

    image, weight, out = problem.image, problem.weight, problem.out
    geometry = {"padding": [*problem.padding], "stride": [*problem.stride], "dilation": [*problem.dilation]}
    if problem.kind == "forward":
        result = graph.conv_fprop(image=tensor(FIRST, image), weight=tensor(SECOND, weight), **geometry)
        shape = out
    elif problem.kind == "input gradient":
        result = graph.conv_dgrad(loss=tensor(FIRST, out), filter=tensor(SECOND, weight), **geometry)
        shape = image
    else:
        result = graph.conv_wgrad(image=tensor(FIRST, image), loss=tensor(SECOND, out), **geometry)
        shape = weight
    # Said, since it does not follow: with stride 2, images of two sizes give results of one.
    sizes, strides = channels_last_layout(shape)
    result.set_output(True).set_data_type(stored).set_dim(sizes).set_stride(strides).set_uid(RESULT)
    return graph


def channels_last_layout(shape: Sequence[int]) -> tuple[list[int], list[int]]:
    """Sizes and strides, in elements and in the order N, C, H, W, of a contiguous (N, H, W, C) array."""
    n, height, width, channels = shape
    return [n, channels, height, width], [height * width * channels, 1, width * channels, channels]


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())
