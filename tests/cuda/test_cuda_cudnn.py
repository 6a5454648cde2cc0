"""Convolution by cuDNN: on a stand-in for its frontend, and on a GPU where there is one."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda import cudnn_stand_in as stand_in
from cuda.kernel_cases import DTYPES, assert_close, rounded, wide

import backends
from backends import BackendError
from backends.cuda import cudnn as cudnn_module
from backends.cuda.cudnn import CudnnConvolution, Unsupported, connect, missing
from backends.cuda.options import Options, options

# image (N, H, W, C), filters (O, KH, KW, C / groups), stride, padding, dilation, groups
GEOMETRIES = {
    "3x3": ((2, 6, 5, 4), (3, 3, 3, 4), (1, 1), (1, 1), (1, 1), 1),
    "stride-cuts-a-row": ((1, 8, 7, 3), (2, 3, 2, 3), (2, 3), (0, 1), (1, 1), 1),
    "dilated": ((2, 7, 7, 2), (4, 2, 3, 2), (1, 2), (2, 1), (2, 2), 1),
    "grouped": ((2, 5, 5, 6), (4, 3, 3, 3), (1, 1), (1, 1), (1, 1), 2),
    "depthwise": ((1, 5, 4, 3), (6, 3, 3, 1), (2, 2), (1, 1), (1, 1), 3),
    "1x1": ((3, 1, 1, 5), (2, 1, 1, 5), (1, 1), (0, 0), (1, 1), 1),
}


@pytest.fixture(autouse=True)
def _options() -> Iterator[None]:
    """Float32 in all its digits; every switch is put back afterwards."""
    before = {field.name: getattr(options, field.name) for field in fields(Options)}
    options.allow_tf32_convolution = False
    yield
    for name, value in before.items():
        setattr(options, name, value)


@pytest.fixture
def cudnn(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = stand_in.make()
    monkeypatch.setitem(sys.modules, "cudnn", module)
    return module


@pytest.fixture
def convolution(cudnn: Any) -> CudnnConvolution:
    return CudnnConvolution(stand_in.StandInRuntime())


@pytest.fixture(params=["stand-in", "gpu"])
def either(request: pytest.FixtureRequest) -> CudnnConvolution:
    """On the stand-in; and once more on a real GPU."""
    if request.param == "stand-in":
        request.getfixturevalue("cudnn")
        return CudnnConvolution(stand_in.StandInRuntime())
    why = backends.missing_gpu() or missing()
    if why:
        pytest.skip(why)
    connected = connect(backends.get("cuda").runtime)
    assert connected is not None
    return connected


def arrays(geometry: Any, dtype: str = "float32") -> tuple[Any, Any, Any]:
    """x, weight and the gradient of the result, of small whole numbers and halves, which every dtype holds exactly."""
    image, weight, stride, padding, dilation, _ = geometry
    places = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(image[1:3], weight[1:3], stride, padding, dilation, strict=True)
    ]
    random = np.random.default_rng(0)
    shapes = image, weight, (image[0], *places, weight[0])
    x, weight, dout = (rounded(random.integers(-8, 9, shape) / 2, dtype) for shape in shapes)
    return x, weight, dout


def channels_first(array: Any) -> Any:
    """(N, H, W, C) as (N, C, H, W) in float64."""
    return np.moveaxis(wide(array), 3, 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_values(either: CudnnConvolution, geometry: Any, dtype: str) -> None:
    x, weight, dout = arrays(geometry, dtype)
    reference = backends.get("reference")
    expected, saved = reference.conv2d(channels_first(x), channels_first(weight), None, *geometry[2:])
    grads = reference.conv2d_backward(saved, channels_first(dout))
    give, take = either.runtime.xp.asarray, either.runtime.to_numpy
    out = either.forward(give(x), give(weight), *geometry[2:])
    dx = either.input_gradient(give(dout), give(weight), x.shape, *geometry[2:])
    dw = either.weight_gradient(give(x), give(dout), weight.shape, *geometry[2:])
    for actual, oracle in ((out, expected), (dx, grads[0]), (dw, grads[1])):
        assert actual.dtype == x.dtype
        terms = max(weight[0].size, dout[..., 0].size, weight[..., 0].size)
        assert_close(take(actual), np.moveaxis(oracle, 1, 3), terms)
    again = either.weight_gradient(give(x), give(dout), weight.shape, *geometry[2:])
    np.testing.assert_array_equal(wide(take(again)), wide(take(dw)))


def test_arguments_left_out_are_one_group_without_dilation(convolution: CudnnConvolution) -> None:
    geometry = GEOMETRIES["3x3"]
    x, weight, dout = map(stand_in.asarray, arrays(geometry))
    for short, full in (
        (convolution.forward(x, weight, *geometry[2:4]), convolution.forward(x, weight, *geometry[2:])),
        (convolution.input_gradient(dout, weight, x.shape, *geometry[2:4]),
         convolution.input_gradient(dout, weight, x.shape, *geometry[2:])),
        (convolution.weight_gradient(x, dout, weight.shape, *geometry[2:4]),
         convolution.weight_gradient(x, dout, weight.shape, *geometry[2:])),
    ):  # fmt: skip
        np.testing.assert_array_equal(short, full)


def forward(convolution: CudnnConvolution, name: str = "3x3", dtype: str = "float32") -> Any:
    geometry = GEOMETRIES[name]
    x, weight, _ = arrays(geometry, dtype)
    return convolution.forward(stand_in.asarray(x), stand_in.asarray(weight), *geometry[2:])


def test_a_plan_is_made_once(cudnn: Any, convolution: CudnnConvolution) -> None:
    for _ in range(3):
        forward(convolution)
    assert len(cudnn.graphs) == 1
    assert len(cudnn.executed) == 3


def test_what_a_plan_depends_on(cudnn: Any, convolution: CudnnConvolution) -> None:
    """Each of these makes another plan; afterwards all of them are kept."""
    x, weight, dout = map(stand_in.asarray, arrays(GEOMETRIES["3x3"]))

    def everything() -> Iterator[int]:
        def now(_: Any) -> int:
            return len(cudnn.graphs)

        yield now(convolution.forward(x, weight, (1, 1), (1, 1)))
        yield now(convolution.forward(x[:1], weight, (1, 1), (1, 1)))
        yield now(convolution.forward(x, weight[:2], (1, 1), (1, 1)))
        yield now(convolution.forward(x, weight, (2, 1), (1, 1)))
        yield now(convolution.forward(x, weight, (1, 1), (0, 1)))
        yield now(convolution.forward(x, weight, (1, 1), (2, 2), (2, 2)))
        yield now(convolution.forward(x.astype("f8"), weight.astype("f8"), (1, 1), (1, 1)))
        yield now(convolution.input_gradient(dout, weight, x.shape, (1, 1), (1, 1)))
        yield now(convolution.weight_gradient(x, dout, weight.shape, (1, 1), (1, 1)))
        for name, value in (("allow_tf32_convolution", True), ("deterministic", False), ("workspace_limit", 10)):
            before = getattr(options, name)
            setattr(options, name, value)
            yield now(forward(convolution))
            setattr(options, name, before)
        convolution.version += 1
        yield now(forward(convolution))
        convolution.version -= 1
        convolution.runtime.device = "cuda:1"
        yield now(forward(convolution))
        convolution.runtime.device = "cuda:0"

    assert list(everything()) == list(range(1, 15))
    assert set(everything()) == {14}


def chosen(cudnn: Any) -> tuple[set[str], int]:
    """Notes and workspace of the plan that was taken last."""
    return stand_in.PLANS[cudnn.graphs[-1].built]


def test_rules_for_plans(cudnn: Any, convolution: CudnnConvolution) -> None:
    forward(convolution)
    assert chosen(cudnn) == (set(), 4096)  # no tensor cores: TF32 is off
    options.allow_tf32_convolution = True
    forward(convolution)
    assert chosen(cudnn) == ({"TENSOR_CORE"}, 1 << 20)
    options.deterministic = False
    forward(convolution)
    assert chosen(cudnn) == ({"TENSOR_CORE", "NONDETERMINISTIC"}, 0)
    options.deterministic = True
    options.workspace_limit = 5000
    forward(convolution)
    assert chosen(cudnn) == (set(), 4096)
    options.workspace_limit = 0
    forward(convolution)
    assert chosen(cudnn) == (set(), 0)


def test_half_precision_is_added_up_in_float32_on_tensor_cores(cudnn: Any, convolution: CudnnConvolution) -> None:
    forward(convolution, dtype="float16")
    assert cudnn.graphs[-1].compute == "FLOAT"
    assert chosen(cudnn) == ({"TENSOR_CORE", "DOWN_CONVERT_INPUTS"}, 0)  # half it is already
    options.allow_tf32_convolution = True
    forward(convolution, dtype="float16")
    assert len(cudnn.graphs) == 1  # TF32 is float32's matter


def test_workspace_is_allocated(convolution: CudnnConvolution) -> None:
    forward(convolution)
    options.workspace_limit = 0
    forward(convolution)
    assert convolution.runtime.allocated == [4096, 0]


def test_the_current_stream_is_used(cudnn: Any, convolution: CudnnConvolution) -> None:
    forward(convolution)
    convolution.runtime.stream = 9
    forward(convolution)
    assert [stream for _, stream in cudnn.executed] == [stand_in.STREAM, 9]


def test_the_handle_is_made_on_its_gpu(convolution: CudnnConvolution) -> None:
    assert convolution.runtime.scopes == 1
    assert convolution.handle == stand_in.HANDLE


def test_views_that_are_not_aligned_are_copied(convolution: CudnnConvolution) -> None:
    geometry = GEOMETRIES["1x1"]
    x, weight, _ = map(stand_in.asarray, arrays(geometry))
    view = stand_in.asarray(np.concatenate([x[:1], x]))[1:]  # behind five numbers of four bytes
    assert view.data.ptr % 16
    expected = convolution.forward(x, weight, *geometry[2:])
    np.testing.assert_array_equal(convolution.forward(view, weight, *geometry[2:]), expected)


@pytest.mark.parametrize("error", [stand_in.NotSupported("no\nengine"), RuntimeError("no engine")])
def test_what_cudnn_refuses_is_asked_once(cudnn: Any, convolution: CudnnConvolution, error: Exception) -> None:
    cudnn.refuse = error
    for _ in range(2):
        with pytest.raises(
            Unsupported, match=r"cuDNN 91900 has no plan for the forward of .*\(2, 6, 5, 4\).*: no engine$"
        ):
            forward(convolution)
    assert len(cudnn.graphs) == 1
    cudnn.refuse = None
    forward(convolution, "1x1")  # another one is asked for


def test_no_plan_keeps_to_the_rules(cudnn: Any, convolution: CudnnConvolution, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stand_in, "PLANS", stand_in.PLANS[:5])
    with pytest.raises(Unsupported, match="none of the 5 plans of cuDNN 91900 keeps to the rules for the forward"):
        forward(convolution)
    assert cudnn.executed == []


def test_a_failing_launch_is_an_error_in_one_line(cudnn: Any, convolution: CudnnConvolution) -> None:
    cudnn.fail = RuntimeError("CUDNN_STATUS\nEXECUTION_FAILED")
    with pytest.raises(BackendError, match=r"^cuDNN 91900 failed in the forward.*: CUDNN_STATUS EXECUTION_FAILED$"):
        forward(convolution)
    cudnn.fail = None
    forward(convolution)


def test_left_to_others(cudnn: Any, convolution: CudnnConvolution) -> None:
    x, weight, dout = map(stand_in.asarray, arrays(GEOMETRIES["3x3"]))
    with pytest.raises(Unsupported, match="got float32 and float64"):
        convolution.forward(x, weight.astype("f8"), (1, 1), (1, 1))
    with pytest.raises(Unsupported, match="got int64 and int64"):
        convolution.forward(x.astype("i8"), weight.astype("i8"), (1, 1), (1, 1))
    with pytest.raises(Unsupported, match=r"an empty convolution: image \(0, 6, 5, 4\)"):
        convolution.forward(x[:0], weight, (1, 1), (1, 1))
    with pytest.raises(Unsupported, match="empty"):
        convolution.input_gradient(dout[:0], weight, (0, 6, 5, 4), (1, 1), (1, 1))
    options.use_cudnn = False
    with pytest.raises(Unsupported, match=r"backends\.cuda\.options\.use_cudnn is False"):
        forward(convolution)
    assert cudnn.graphs == []


def test_mistakes(convolution: CudnnConvolution) -> None:
    x, weight, _ = map(stand_in.asarray, arrays(GEOMETRIES["3x3"]))
    with pytest.raises(
        ValueError, match=r"forward: expected contiguous arrays, got strides .* for shape \(2, 6, 5, 2\)"
    ):
        convolution.forward(x[..., ::2], weight[..., :2].copy(), (1, 1), (1, 1))
    with pytest.raises(ValueError, match="forward: expected contiguous arrays"):
        convolution.forward(x[..., :2].copy(), weight[..., :2], (1, 1), (1, 1))
    with pytest.raises(ValueError, match=r"forward: expected filters of 4 / 2 channels, got \(3, 3, 3, 4\)"):
        convolution.forward(x, weight, (1, 1), (1, 1), (1, 1), 2)


# Whether there is a cuDNN


def test_missing(cudnn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing() is None

    def fail() -> int:
        raise RuntimeError("Unable to find symbol\ncudnnGetVersion")

    cudnn.backend_version = fail
    assert str(missing()).startswith("libcudnn is not found (Unable to find symbol cudnnGetVersion): pip install")
    monkeypatch.setitem(sys.modules, "cudnn", None)  # what Python keeps of a module that is not there
    assert str(missing()).startswith("nvidia-cudnn-frontend is not installed: pip install")

    def broken() -> Any:
        raise ImportError("libstdc++.so.6: version not found")

    monkeypatch.setattr(cudnn_module, "import_cudnn", broken)
    assert str(missing()).startswith("nvidia-cudnn-frontend does not load (libstdc++.so.6: version not found): pip")


def test_connect(cudnn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded_for: list[Any] = []
    monkeypatch.setattr(cudnn_module, "load_cuda_runtime", loaded_for.append)
    runtime = stand_in.StandInRuntime()
    assert isinstance(connect(runtime), CudnnConvolution)
    assert loaded_for == [runtime.xp]
    on_the_host = stand_in.StandInRuntime()
    on_the_host.xp = np
    assert connect(on_the_host) is None

    def fail() -> int:
        raise RuntimeError("cudnnHandle Create\nfailed")

    cudnn.create_handle = fail
    with pytest.warns(UserWarning, match="goes without cuDNN, which does not start: cudnnHandle Create failed"):
        assert connect(stand_in.StandInRuntime()) is None
    monkeypatch.setitem(sys.modules, "cudnn", None)
    assert connect(stand_in.StandInRuntime()) is None


def test_the_cuda_runtime_of_the_same_version_is_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(ctypes, "CDLL", loaded.append)
    monkeypatch.setattr(cudnn_module.sysconfig, "get_path", lambda _: str(tmp_path / "packages"))
    for place in ("toolkit/lib64", "packages/nvidia/cu13/lib", "packages/nvidia/cuda_runtime/lib"):
        folder = tmp_path / place
        folder.mkdir(parents=True)
        (folder / ("libcudart.so.12" if "cuda_runtime" in place else "libcudart.so.13")).touch()

    def find(toolkit: Path | None, version: int) -> str | None:
        found = cudnn_module.load_cuda_runtime(stand_in.StandInRuntime(toolkit, version).xp)
        return None if found is None else found.relative_to(tmp_path).as_posix()

    assert find(tmp_path / "toolkit", 13020) == "toolkit/lib64/libcudart.so.13"
    assert find(None, 13020) == "packages/nvidia/cu13/lib/libcudart.so.13"
    assert find(tmp_path / "toolkit", 12090) == "packages/nvidia/cuda_runtime/lib/libcudart.so.12"
    assert find(tmp_path / "toolkit", 11080) is None
    assert len(loaded) == 3


def test_options() -> None:
    assert Options() == Options(
        use_cudnn=True,
        deterministic=True,
        allow_tf32_convolution=True,
        allow_tf32_matmul=False,
        workspace_limit=1 << 30,
    )
    with pytest.raises(AttributeError, match="allow_tf32"):
        options.allow_tf32 = True
    assert backends.cuda.options is options
