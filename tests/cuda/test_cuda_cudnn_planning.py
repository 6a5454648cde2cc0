"""cuDNN itself accepts our graphs and has plans that keep to our rules: asked without a GPU.

Needs nvidia-cudnn-frontend and a libcudnn (pip install 'gpunn[cudnn13]'), and is skipped without. cuDNN plans for a GPU that
is not there from a list of its properties; h200_properties.json is that of an NVIDIA H200 (compute capability 9.0), in the
words of cudnn.create_device_properties: sizes in bytes, clocks in kHz, "deviceVer" the capability times 100. cuDNN 9.19 plans
without a driver; 9.28 loads the driver's libcuda.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backends.cuda.cudnn import import_cudnn, missing
from backends.cuda.cudnn_plan import TYPES, Problem, Unsupported, build
from backends.geometry import output_size

H200 = json.loads((Path(__file__).parent / "h200_properties.json").read_text(encoding="utf-8"))
KINDS = ("forward", "input gradient", "weight gradient")
# image (N, H, W, C), filters (O, KH, KW, C / groups), stride, padding, dilation
GEOMETRIES: dict[str, Any] = {
    "vgg": ((32, 32, 32, 64), (128, 3, 3, 64), (1, 1), (1, 1), (1, 1)),
    "rgb": ((32, 32, 32, 3), (64, 3, 3, 3), (1, 1), (1, 1), (1, 1)),
    "alexnet-first": ((16, 224, 224, 3), (64, 11, 11, 3), (4, 4), (2, 2), (1, 1)),
    "lenet": ((128, 28, 28, 1), (6, 5, 5, 1), (1, 1), (2, 2), (1, 1)),
    "grouped": ((4, 27, 27, 64), (192, 5, 5, 32), (1, 1), (2, 2), (1, 1)),
    "odd": ((3, 7, 9, 5), (6, 3, 2, 5), (2, 1), (1, 0), (1, 2)),
    "1x1": ((8, 1, 1, 256), (10, 1, 1, 256), (1, 1), (0, 0), (1, 1)),
}


def properties(capability: int = 900) -> Any:
    why = missing()
    if why:
        pytest.skip(why)
    try:
        return import_cudnn().create_device_properties(json.dumps({**H200, "deviceVer": capability}))
    except RuntimeError as error:
        pytest.skip(
            f"this cuDNN plans only where there is an NVIDIA driver ({error}): nvidia-cudnn-cu13==9.19.* does not"
        )


def problem(
    kind: str, geometry: Any, dtype: str, tf32: bool = False, deterministic: bool = True, limit: int = 1 << 30
) -> Any:
    image, weight, stride, padding, dilation = geometry
    out = (image[0], *output_size(image[1:3], weight[1:3], stride, padding, dilation), weight[0])
    version = import_cudnn().backend_version()
    return Problem(
        kind, image, weight, out, stride, padding, dilation, dtype, tf32, deterministic, limit, "cuda:0", version
    )  # fmt: skip


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_there_is_a_plan(kind: str, dtype: str) -> None:
    device = properties()
    for geometry in GEOMETRIES.values():
        plan = build(import_cudnn(), problem(kind, geometry, dtype), device_property=device)
        assert 0 <= plan.workspace <= 1 << 30


def test_rules_change_the_plan() -> None:
    """Without tensor cores, other kernels serve; without memory, others again."""
    device = properties()

    def name(**rules: Any) -> str:
        plan = build(import_cudnn(), problem(KINDS[0], GEOMETRIES["vgg"], "float32", **rules), device_property=device)
        assert plan.workspace <= rules.get("limit", 1 << 30)
        return plan.graph.get_plan_name_at_index(plan.number)

    exact, tf32, without_workspace = name(), name(tf32=True), name(limit=0)
    assert len({exact, tf32, without_workspace}) == 3


def test_what_the_gpu_cannot_do_is_unsupported() -> None:
    """bfloat16 came with compute capability 8.0."""
    device = properties(750)
    with pytest.raises(Unsupported, match=r"has no plan for the forward of a convolution of image \(32, 32, 32, 64\)"):
        build(import_cudnn(), problem(KINDS[0], GEOMETRIES["vgg"], "bfloat16"), device_property=device)


def test_a_graph_that_is_wrong_is_unsupported() -> None:
    device = properties()
    right = problem(KINDS[0], GEOMETRIES["vgg"], "float32")
    with pytest.raises(Unsupported, match="has no plan for"):
        build(import_cudnn(), right._replace(out=(32, 32, 32, 127)), device_property=device)
