"""CuPy itself, where it is installed: what the CUDA backend asks of it is there, and its compiler takes our kernels.

Needs no GPU. Without one CuPy neither launches kernels nor makes arrays, so this is as far as it goes.
"""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

cupy = pytest.importorskip("cupy")
pytest.importorskip("ml_dtypes")

from backends.cuda import program  # noqa: E402
from backends.cuda.cuda_backend import CudaBackend  # noqa: E402
from backends.cuda.runtime import CupyRuntime  # noqa: E402

ROOT = Path(__file__).parents[2]
DTYPES = list(program.TYPES)
OF_THE_HOST = ("backends/cpu/", "backends/emulator/")  # their xp is numpy
# `CudaBackend.scope` takes the place of Backend's, the only one that asks for it.
NOT_ON_A_GPU = {"errstate"}


# What is asked for is there


def names_in(tree: ast.AST) -> Iterator[str]:
    """Each dotted name that begins at ``xp``, without it: "cuda.Stream". An alias (``cuda = self.xp.cuda``) counts too."""
    for scope in ast.walk(tree):
        if not isinstance(scope, (ast.FunctionDef, ast.Module)):
            continue
        aliases: dict[str, str] = {}
        for statement in ast.walk(scope):
            if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
                target, value = statement.targets[0], statement.value
                pairs = [(target, value)]
                if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                    pairs = list(zip(target.elts, value.elts, strict=True))
                for name, given in pairs:
                    path = path_of(given, aliases)
                    if isinstance(name, ast.Name) and path is not None:
                        aliases[name.id] = path
        for expression in ast.walk(scope):
            path = path_of(expression, aliases) if isinstance(expression, ast.Attribute) else None
            if path:
                yield path


def path_of(expression: ast.expr, aliases: dict[str, str]) -> str | None:
    """ "cuda.Stream" of ``self.xp.cuda.Stream``, "" of ``xp`` itself; None of what does not begin there."""
    if isinstance(expression, ast.Name):
        return "" if expression.id == "xp" else aliases.get(expression.id)
    if not isinstance(expression, ast.Attribute):
        return None
    if expression.attr == "xp":
        return ""
    before = path_of(expression.value, aliases)
    return None if before is None else f"{before}.{expression.attr}".lstrip(".")


@functools.cache
def names_used() -> dict[str, str]:
    """Every name of the array module that the code uses, and a file that does."""
    found = {}
    for path in [*ROOT.glob("backends/**/*.py"), *ROOT.glob("gpunn/**/*.py")]:
        file = path.relative_to(ROOT).as_posix()
        if not file.startswith(OF_THE_HOST):
            found.update(dict.fromkeys(names_in(ast.parse(path.read_text(encoding="utf-8"))), file))
    return found


def test_the_search_finds_names() -> None:
    text = """def f(self):
        xp, cuda = self.xp, self.xp.cuda
        blas = cuda.cublas
        xp.add.at(cuda.Stream, blas.gemmEx, self.x.y)
    """
    assert set(names_in(ast.parse(text))) == {
        "add", "add.at", "cuda", "cuda.Stream", "cuda.cublas", "cuda.cublas.gemmEx",
    }  # fmt: skip
    assert {"RawModule", "cuda.MemoryPool", "add.at", "linalg.inv"} <= names_used().keys()


def test_cupy_has_every_name_that_the_code_uses() -> None:
    missing = []
    for name, file in names_used().items():
        value = cupy
        for part in name.split("."):
            value = getattr(value, part, None)
        # What an object has that a function returns is not looked for: such a path ends at the function.
        if value is None and name not in NOT_ON_A_GPU:
            missing.append(f"cupy.{name} ({file})")
    assert not missing, "\n".join(sorted(missing))
    for comparison in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"):  # asked for by name
        assert hasattr(cupy, comparison)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("argmax", {"axis", "keepdims"}),
        ("clip", {"out"}),
        ("einsum", {"optimize"}),
        ("empty_like", {"order"}),
        ("max", {"axis", "keepdims"}),
        ("pad", {"mode", "constant_values"}),
        ("sum", {"axis", "dtype", "keepdims"}),
        ("take_along_axis", {"axis"}),
    ],
)
def test_functions_take_the_arguments_that_they_are_given(function: str, arguments: set[str]) -> None:
    parameters = inspect.signature(getattr(cupy, function)).parameters
    assert arguments <= parameters.keys() or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def test_an_array_like_another_has_its_order_in_memory() -> None:
    assert inspect.signature(cupy.empty_like).parameters["order"].default == "K"


# Arrays as CuPy describes them: `Kernel` and layout.py read shapes, strides and flags


def array(shape: tuple[int, ...], dtype: Any = "float32") -> Any:
    """An array of CuPy over memory that is not there."""
    memory = cupy.cuda.UnownedMemory(1 << 40, max(1, int(np.prod(shape)) * np.dtype(dtype).itemsize), None, 0)
    return cupy.ndarray(shape, dtype, cupy.cuda.MemoryPointer(memory, 0))


def test_a_kernels_arguments() -> None:
    from backends.cuda.layout import channels_first, channels_last, is_channels_last

    launched: list[Any] = []
    parameters = (program.Parameter("x", "scalar", True), program.Parameter("n", "i64", False))
    dtype = np.dtype("bfloat16")
    kernel = program.Kernel("k", lambda grid, block, given, shared_mem: launched.append(given), parameters, dtype)
    memory = array((2, 4, 5, 3), dtype)
    view = channels_first(cupy, memory)
    assert is_channels_last(view)
    assert channels_last(cupy, view).data.ptr == memory.data.ptr
    for x in (memory, view, array((), dtype), array((3, 0), dtype)):
        kernel((1,), (1,), (x, 7), 0)
        assert launched[-1][0] is x
    with pytest.raises(ValueError, match="expected 'x' in one piece of memory"):
        kernel((1,), (1,), (view[:, :2], 7), 0)
    with pytest.raises(TypeError, match="expected 'x' of dtype bfloat16, got float16"):
        kernel((1,), (1,), (array((3,), "float16"), 7), 0)


# The compiler takes what it is given


def compile_as_cupy_does(source: str, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The machine code for the H200. CuPy asks the GPU for its architecture; here it is told."""
    from cupy.cuda import compiler

    monkeypatch.setattr(compiler, "_get_arch_for_options_for_nvrtc", lambda arch=None: (f"-arch=sm_{arch}", "cubin"))
    assembled = cupy._core.core.assemble_cupy_compiler_options(options)
    code, _ = compiler.compile_using_nvrtc(source, (*assembled, "-ftz=true"), arch="90")
    return code


# Half of the pairs: every file in two dtypes.
@pytest.mark.parametrize(
    ("file", "dtype"),
    [(file, dtype) for i, file in enumerate(program.files()) for k, dtype in enumerate(DTYPES) if (i + k) % 2 == 0],
)
def test_cupy_compiles_the_kernels(file: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the very options that RawModule is given: the headers of half precision are found without further help."""
    modules: list[dict[str, Any]] = []
    monkeypatch.setattr(cupy, "RawModule", lambda **given: modules.append(given))
    source = program.source(file)
    CupyRuntime(0).module(source, f"{file}.cu", program.options(dtype))
    (given,) = modules
    code = compile_as_cupy_does(given["code"], given["options"], monkeypatch)
    assert all(name.encode() in code for name in program.signatures(source))


def generated(kernel: Any, dtype: str, contiguous: bool) -> str:
    """The source that CuPy makes of an ElementwiseKernel or a ReductionKernel for T = ``dtype`` and A its accumulator.

    It is made by CuPy's own functions, which need no GPU.
    """
    from cupy._core import _carray, _kernel, _reduction, _scalar

    letters = {"T": np.dtype(dtype), "A": program.accumulator(np.dtype(dtype))}
    inputs = [letters.get(p.ctype, None if p.dtype is not None else letters["T"]) for p in kernel.in_params]
    outputs = [letters.get(p.ctype, np.dtype(p.dtype or letters["T"])) for p in kernel.out_params]
    in_types, out_types, types = _kernel._decide_params_type(
        kernel.in_params, kernel.out_params, tuple(t and t.type for t in inputs), tuple(t.type for t in outputs)
    )
    arrays, indices, numbers = 1, 2, 3  # kinds of arguments
    ndim = 1 if contiguous else 3

    def argument(kind: int, type_: type, dtype: Any, dimensions: int) -> Any:
        return _kernel._ArgInfo(kind, type_, None if dtype is None else np.dtype(dtype), dimensions, contiguous, True)

    arguments = [
        argument(arrays, cupy.ndarray, chosen, ndim)
        if given is not None
        else argument(numbers, _scalar.CScalar, chosen, 0)
        for given, chosen in zip([*inputs, *outputs], [*in_types, *out_types], strict=True)
    ]
    if not isinstance(kernel, cupy.ReductionKernel):
        arguments.append(argument(indices, _carray.Indexer, None, ndim))
        return _kernel._get_elementwise_kernel_code(
            tuple(arguments), types, kernel.params, kernel.operation, kernel.name, kernel.preamble, **kernel.kwargs
        )
    arguments += [argument(indices, _carray.Indexer, None, ndim)] * 2
    arguments.append(argument(numbers, _scalar.CScalar, "int32", 0))
    return _reduction._ReductionKernel_get_cached_function_code(
        kernel.nin, kernel.nout, kernel._params, tuple(arguments), _kernel._TypeMap((*types._pairs, ("IndexT", np.int32))),
        kernel.name, 512, kernel.reduce_type, kernel.identity, kernel.map_expr, kernel.reduce_expr, kernel.post_map_expr,
        kernel.preamble, kernel.options,
    )  # fmt: skip


def elementwise_and_reduction_kernels() -> dict[str, Any]:
    """All that the backend makes."""
    backend = CudaBackend(CupyRuntime(0))
    found = {
        "prelu": backend._prelu_forward,
        "prelu backward": backend._prelu_backward,
        "prelu weight": backend._prelu_weight_gradient,
        "sum of powers": backend._sum_of_powers,
        "largest": backend._largest,
    }
    constants = {"relu": 0, "leaky_relu": 1, "elu": 1, "sigmoid": 0, "tanh": 0, "softplus": 2}
    for function, count in constants.items():
        found[function] = backend._strided(function, "x", count)
        found[f"{function} backward"] = backend._strided(f"{function}_slope", "x dout", count)
    return found


@pytest.mark.parametrize("dtype", DTYPES)
def test_cupy_compiles_its_own_kernels_with_our_text(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = "".join(f"#include <{name}>\n" for name in cupy._core.core._cupy_header_list)
    for name, kernel in elementwise_and_reduction_kernels().items():
        for contiguous in (True, False):
            source = headers + generated(kernel, dtype, contiguous)
            assert kernel.name.encode() in compile_as_cupy_does(source, (), monkeypatch), name
