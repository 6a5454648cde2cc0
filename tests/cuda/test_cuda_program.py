"""Sources, signatures and the checks of arguments: what stands between Python and a kernel."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from backends.cuda import layout, program
from backends.cuda.program import FOLDER, Kernel, Parameter


@pytest.mark.parametrize("file", program.files())
def test_every_kernel_is_read(file: str) -> None:
    """The parser finds as many kernels as the text has, and understands all of their parameters."""
    text = program.source(file)
    found = program.signatures(text)
    assert found
    assert len(found) == len(re.findall(r"__global__", text))
    known = {"scalar", "accumulator", *program.NAMED_DTYPES}
    for name, parameters in found.items():
        assert {parameter.type for parameter in parameters} <= known, name
        assert len({parameter.name for parameter in parameters}) == len(parameters), name


def test_headers_are_put_in_once() -> None:
    text = program.source("activation")
    assert '#include "' not in text
    assert text.count("__device__ __forceinline__ T warp_sum") == 1
    assert '#line 1 "common.cuh"' in text


def test_lines_keep_their_numbers() -> None:
    """A message about line n of a file is about line n of that file."""
    name, number, wanted = "", 0, {}
    for line in program.source("activation").splitlines():
        marker = re.match(r'#line (\d+) "(.*)"', line)
        if marker:
            number, name = int(marker[1]) - 1, marker[2]
            continue
        wanted[name, number] = line
        number += 1
    for (name, number), line in wanted.items():
        original = (FOLDER / name).read_text(encoding="utf-8").splitlines()[number]
        assert line == ("" if original == "#pragma once" or original.startswith('#include "') else original)


def test_a_signature() -> None:
    text = """extern "C" __global__ void __launch_bounds__(256)
    add(const scalar* __restrict__ x, accumulator *sums,
        const unsigned char* flags, i64 count, float rate) {"""
    assert program.signatures(text) == {
        "add": (
            Parameter("x", "scalar", True),
            Parameter("sums", "accumulator", True),
            Parameter("flags", "unsigned char", True),
            Parameter("count", "i64", False),
            Parameter("rate", "float", False),
        )
    }


class Launched:
    """Takes the place of a compiled kernel and keeps what it is given."""

    def __call__(self, grid: Any, block: Any, arguments: Any, shared_mem: int) -> None:
        self.arguments = arguments


def kernel(dtype: str = "float16") -> tuple[Kernel, Launched]:
    parameters = (Parameter("x", "scalar", True), Parameter("sums", "accumulator", True), Parameter("n", "i64", False))
    launched = Launched()
    return Kernel("add", launched, parameters, dtype), launched


def test_arguments_are_made_fit() -> None:
    checked, launched = kernel()
    x, sums = np.zeros(3, "float16"), np.zeros(3, "float32")
    checked((1,), (32,), (x, None, 3), 0)
    assert launched.arguments[0] is x
    assert launched.arguments[1] is None
    assert type(launched.arguments[2]) is np.int64
    checked((1,), (32,), (x, sums, 3), 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros(3, "float32"), None, 3), "add: expected 'x' of dtype float16, got float32"),
        ((np.zeros(3, "float16"), np.zeros(3, "float16"), 3), "add: expected 'sums' of dtype float32, got float16"),
        ((np.zeros(3, "float16"), None), "add: expected 3 arguments, got 2"),
        ((np.zeros(6, "float16")[::2], None, 3), r"add: expected 'x' in one piece of memory, got strides \(4,\)"),
    ],
)
def test_wrong_arguments(arguments: tuple[Any, ...], message: str) -> None:
    checked, _ = kernel()
    with pytest.raises((TypeError, ValueError), match=message):
        checked((1,), (32,), arguments, 0)


def test_dense() -> None:
    x = np.zeros((2, 3, 4), "float32")
    for dense in (x, x.transpose(2, 0, 1), x[:1], x[:, :, :0], x[0, 0, 0].reshape(()), np.zeros((1, 5))[:, ::1]):
        assert layout.is_dense(dense), dense.strides
    for loose in (x[:, ::2], x[..., 1:], np.broadcast_to(x[0], (5, 3, 4)), x[::-1]):
        assert not layout.is_dense(loose), loose.strides


def test_channels_last() -> None:
    x = np.zeros((2, 3, 4, 5), "float32")
    assert not layout.is_channels_last(x)
    last = layout.channels_first(np, layout.channels_last(np, x))
    assert last.shape == x.shape
    assert layout.is_channels_last(last)
    assert np.shares_memory(layout.channels_last(np, last), last)
    assert layout.is_channels_last(np.zeros((2, 3)))
    assert layout.is_channels_last(np.zeros((1, 1, 4, 5)))
