"""Modules and launches: CuPy's calling convention, and what each wrong call says."""

from __future__ import annotations

import gc
import threading
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from backends.emulator import memory
from backends.emulator.error import EmulatorError
from backends.emulator.module import Module

KERNELS = """
typedef long long i64;
extern "C" __global__ void scale(const float* __restrict__ x,  // the input, a comment with (brackets), and commas
                                 float* __restrict__ out, float factor, i64 count) {
  for (i64 i = threadIdx.x; i < count; i += blockDim.x) out[i] = factor * x[i];
}
extern "C" __global__ void values(double* out, bool b, int i, unsigned u, i64 l, unsigned long long m, float f, double d,
                                  short s) {
  out[0] = b, out[1] = i, out[2] = u, out[3] = l, out[4] = m, out[5] = f, out[6] = d, out[7] = s;
}
extern "C" __global__ void pointers(const int* a, const void* b, unsigned char* c, const i64* d) {
  c[0] = (a == nullptr) + 2 * (b == nullptr) + 4 * (d == nullptr);
}
extern "C" __global__ void __launch_bounds__(4 * (8 + 8)) bounded(int* out) { out[threadIdx.x] = FACTOR; }
extern "C" __launch_bounds__(32, 2) __global__ void bounded_in_front(int* out) { out[threadIdx.x] = 1; }
extern "C" __global__ void nothing() {}
extern "C" __global__ void add(const float* a, const float* b, float* out, int n) {
  for (int i = threadIdx.x; i < n; i += blockDim.x) out[i] = a[i] + b[i];
}
"""


@pytest.fixture(params=[True, False], ids=["checked", "fast"])
def module(request: pytest.FixtureRequest) -> Module:
    return Module(KERNELS, "calls.cu", ("--std=c++17", "-DFACTOR=7", "-use_fast_math"), checked=request.param)


def scaled(module: Module, x: Any, out: Any) -> Any:
    module.get_function("scale")((1,), (32,), (x, out, np.float32(2), x.size))
    return out


def test_values_of_every_type(module: Module) -> None:
    out = memory.output(8, "float64")
    values = (True, np.int32(-3), np.uint32(4), -5, np.uint64(6), np.float32(0.5), 0.1, np.int16(-8))
    module.get_function("values")((1,), (1,), (out, *values))
    assert out.tolist() == [1, -3, 4, -5, 6, 0.5, 0.1, -8]


def test_null_pointers_and_any_array_for_void(module: Module) -> None:
    out = memory.output(1, "uint8")
    for b in (None, np.zeros(3, "complex64"), np.zeros(2, bool)):
        module.get_function("pointers")((1,), (1,), (None, b, out, np.zeros(1, np.int64)))
        assert out[0] == 1 + 2 * (b is None)


def test_options_and_grids_of_numbers(module: Module) -> None:
    out = memory.output(64, "int32")
    module.get_function("bounded")((1, 1), (64, 1), (out,))
    assert (out == 7).all()
    module.get_function("nothing")((np.int64(2),), (1, 1, 1), ())


def test_memory_in_any_order_of_the_axes(module: Module) -> None:
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1)
    out = memory.output_like(x)
    assert out.strides == x.strides
    np.testing.assert_array_equal(scaled(module, x, out), 2 * x)
    channels_last = memory.output((2, 3, 4), "float32").transpose(0, 2, 1)
    assert scaled(module, np.zeros((2, 4, 3), np.float32), channels_last).max() == 0


def test_headers(tmp_path: Any) -> None:
    (tmp_path / "inner.cuh").write_text("#define VALUE 3\n")
    (tmp_path / "outer.cuh").write_text('#pragma once\n#include "inner.cuh"\n')
    text = '#include "outer.cuh"\nextern "C" __global__ void f(int* out) { out[0] = VALUE; }'
    for value in (3, 4):  # a changed header is compiled anew
        (tmp_path / "inner.cuh").write_text(f"#define VALUE {value}\n")
        out = memory.output(1, "int32")
        Module(text, "headers.cu", include_folders=[tmp_path]).get_function("f")((1,), (1,), (out,))
        assert out[0] == value


X, OUT = np.zeros(8, np.float32), np.zeros(8, np.float32)
WRONG = {
    "count": ((X, OUT, np.float32(1)), "scale: expected 4 arguments, got 3"),
    "array dtype": (
        (X.astype("float64"), OUT, np.float32(1), 8),
        "scale: argument x: expected an array of float32, got an array of float64",
    ),
    "int for float": ((X.view("int32"), OUT, np.float32(1), 8), "x: expected an array of float32, got an array of int32"),
    "half for float": (
        (X, np.zeros(16, ml_dtypes.bfloat16), np.float32(1), 8),
        "argument out: expected an array of float32, got an array of bfloat16",
    ),
    "Python float": ((X, OUT, 1.0, 8), "factor: expected float32, got float64 (of a Python float); pass np.float32(...)"),
    "narrow integer": ((X, OUT, np.float32(1), np.int32(8)), "argument count: expected int64, got int32; pass np.int64(...)"),
    "bool": ((X, OUT, np.float32(1), True), "argument count: expected int64, got bool (of a Python bool)"),
    "array for a value": ((X, OUT, X, 8), "argument factor: expected a number of type float32, got an array of float32"),
    "None for a value": ((X, OUT, np.float32(1), None), "argument count: expected a number of type int64, got a NoneType"),
    "number for an array": ((1.5, OUT, np.float32(1), 8), "argument x: expected an array or None, got a float"),
    "list for an array": (([1.0], OUT, np.float32(1), 8), "argument x: expected an array or None, got a list"),
    "gaps": (
        (np.zeros(16, np.float32)[::2], OUT, np.float32(1), 8),
        "argument x: expected an array in one piece of memory, got strides (8,) for shape (8,); make it contiguous first",
    ),
    "backwards": ((X, OUT[::-1], np.float32(1), 8), "argument out: expected an array in one piece of memory, got strides (-4,)"),
    "spread": ((np.broadcast_to(X[:1], 8), OUT, np.float32(1), 8), "argument x: expected an array in one piece of memory"),
    "unaligned": (
        (np.zeros(33, np.uint8)[1:].view("float32"), OUT, np.float32(1), 8),
        "argument x: expected memory aligned to 4 bytes",
    ),
    "large number": ((X, OUT, np.float32(1), 2**63), "count: expected int64, got 9223372036854775808, which no int64 holds"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_wrong_arguments(module: Module, what: str) -> None:
    arguments, says = WRONG[what]
    with pytest.raises(EmulatorError) as caught:
        module.get_function("scale")((1,), (32,), arguments)
    assert says in str(caught.value)
    assert str(caught.value).startswith("scale: ")


SHAPES = {
    "threads": ("nothing", (1,), (1025,), 0, "expected at most 1024 threads in a block"),
    "threads along z": ("nothing", (1,), (1, 1, 65), 0, "64 of them along z; got (1,1,65)"),
    "launch bounds": ("bounded", (1,), (65,), 0, "at most 64 threads in a block, as its __launch_bounds__ says; got 65"),
    "launch bounds in front": ("bounded_in_front", (1,), (33,), 0, "expected at most 32 threads"),
    "blocks": ("nothing", (1, 65536), (1,), 0, "expected a grid of at most (2147483647, 65535, 65535) blocks, got (1,65536,1)"),
    "no block": ("nothing", (0,), (1,), 0, "expected grid to be one to three positive integers, got (0,)"),
    "floats": ("nothing", (1,), (32.0,), 0, "expected block to be one to three positive integers, got (32.0,)"),
    "shared memory": ("nothing", (1,), (1,), 49153, "expected shared_mem of 0 to 49152 bytes, got 49153"),
}  # fmt: skip


@pytest.mark.parametrize("what", SHAPES)
def test_wrong_shapes_of_launches(module: Module, what: str) -> None:
    kernel, grid, block, shared, says = SHAPES[what]
    arguments = (np.zeros(65, np.int32),) if kernel.startswith("bounded") else ()
    with pytest.raises(EmulatorError) as caught:
        module.get_function(kernel)(grid, block, arguments, shared_mem=shared)
    assert says in str(caught.value)


def test_no_such_kernel(module: Module) -> None:
    with pytest.raises(EmulatorError, match=r"calls\.cu has no kernel 'missing': it has scale, values, pointers"):
        module.get_function("missing")


def test_text_that_does_not_compile() -> None:
    with pytest.raises(EmulatorError, match=r"wrong\.cu cannot be compiled: wrong\.cu:2:\d+: error: ") as caught:
        Module('extern "C" __global__ void f() {\n  int i = nowhere;\n}', "wrong.cu")
    assert "\n" not in str(caught.value)
    assert "nowhere" in caught.value.__notes__[0]


def test_order_and_mode_are_attributes() -> None:
    module = Module('extern "C" __global__ void f(int* out) { atomicExch(out, (int)threadIdx.x); }', "order.cu")
    assert (module.checked, module.order) == (True, 0)
    out = np.zeros(1, np.int32)
    for order, last in ((0, 31), (1, 0), (0, 31)):
        module.order = order
        module.get_function("f")((1,), (32,), (out,))
        assert out[0] == last


def test_outputs_are_fresh_until_they_are_written(module: Module) -> None:
    out = memory.output(8, "float32")
    assert np.isnan(out).all()
    assert memory.is_unwritten(out)
    assert memory.is_unwritten(out[2:5])
    scaled(module, X, out)
    assert not memory.is_unwritten(out)
    scaled(module, out, memory.output_like(out))  # it may be read now


def test_a_view_of_an_output_is_written_by_itself() -> None:
    module = Module(KERNELS, "calls.cu", ("-DFACTOR=7",))
    out = memory.output((4, 8), "float32")
    scaled(module, X, out[1])
    assert not memory.is_unwritten(out[1])
    assert memory.is_unwritten(out[2:])
    with pytest.raises(EmulatorError, match="argument x: element 0 of 8"):
        scaled(module, out[3], OUT)
    for row in (0, 2, 3):
        scaled(module, X, out[row])
    assert scaled(module, out, memory.output_like(out)).max() == 0


def test_the_host_may_fill_an_output(module: Module) -> None:
    out = memory.output(8, "float32")
    out[...] = 1
    assert scaled(module, out, memory.output_like(out)).max() == 2


def test_memory_that_is_used_again_is_not_unwritten(module: Module) -> None:
    """What is known of an array goes with it, also where the next one lies at its address."""
    before = set(memory._known)
    for _ in range(100):
        address = memory.address(memory.output(1000, "float32"))
        gc.collect()
        other = np.full(1000, 0xFF, np.uint8).repeat(4).view(np.float32)
        assert not memory.is_unwritten(other)
        if memory.address(other) == address:
            break
    assert set(memory._known) <= before


def test_a_pointer_table_keeps_its_arrays() -> None:
    table = memory.pointer_table([np.arange(5.0), np.arange(3.0)])
    gc.collect()
    assert table.dtype == np.int64
    assert [a.size for a in memory.arrays_of_table(table[:1])] == [5, 3]
    assert memory.arrays_of_table(np.zeros(2, np.int64)) == ()
    with pytest.raises(EmulatorError, match="expected array 1 of a pointer_table in one piece of memory, got strides"):
        memory.pointer_table([np.zeros(3), np.zeros(8)[::2]])


TABLES = """
extern "C" __global__ void fill(const long long* table, int which, int index) {
  ((float*)table[which])[index + threadIdx.x] = 1;  // HERE
}
extern "C" __global__ void read_only(const float* const* table, float* out) {
  out[threadIdx.x] = table[0][threadIdx.x];
  const_cast<float*>(table[1])[threadIdx.x] = 0;
}
extern "C" __global__ void wrong_table(float** table) { table[0] = nullptr; }
"""


def test_errors_in_tables_of_pointers() -> None:
    module = Module(TABLES, "tables.cu")
    fill = module.get_function("fill")
    arrays = [memory.output(4, "float32"), np.zeros(6, np.float32), memory.output(4, "float32")]
    table = memory.pointer_table(arrays)
    with pytest.raises(
        EmulatorError, match=r"argument table\[1\]: element 6 of 6, at tables\.cu:3, .* thread \(3,0,0\)"
    ):
        fill((1,), (4,), (table, np.int32(1), np.int32(3)))
    with pytest.raises(EmulatorError, match=r"argument table\[2\]: element 0 was never written"):
        fill((1,), (4,), (table, np.int32(0), np.int32(0)))
    with pytest.raises(EmulatorError, match=r"argument table: element 3 of 3, at tables\.cu:3"):
        fill((1,), (4,), (table, np.int32(3), np.int32(0)))
    with pytest.raises(EmulatorError, match=r"declares const: write of 4 bytes; argument table\[1\]: element 0 of 6"):
        inputs = memory.pointer_table([arrays[1], arrays[1].copy()])
        module.get_function("read_only")((1,), (1,), (inputs, memory.output(1, "float32")))
    with pytest.raises(EmulatorError, match="argument table: expected a pointer_table"):
        module.get_function("read_only")((1,), (1,), (arrays[1], memory.output(1, "float32")))
    with pytest.raises(EmulatorError, match="argument table: element 0 of 3"):
        module.get_function("wrong_table")((1,), (1,), (table,))


def test_arrays_that_overlap() -> None:
    """The same memory as input and output is one piece of it, and writing to it is allowed."""
    module = Module(KERNELS, "calls.cu", ("-DFACTOR=7",))
    x = np.arange(8, dtype=np.float32)
    module.get_function("add")((1,), (8,), (x, x, x, np.int32(8)))
    np.testing.assert_array_equal(x, 2.0 * np.arange(8))
    with pytest.raises(EmulatorError, match="race within a block"):
        module.get_function("add")((1,), (4,), (x[1:5], x[:4], x[:4], np.int32(4)))


def test_read_only_arrays() -> None:
    module = Module(KERNELS, "calls.cu", ("-DFACTOR=7",))
    out = np.zeros(8, np.float32)
    out.flags.writeable = False
    with pytest.raises(EmulatorError, match="write to memory"):
        scaled(module, X, out)


def test_empty_arrays(module: Module) -> None:
    assert scaled(module, np.zeros(0, np.float32), memory.output(0, "float32")).size == 0


def test_launches_from_several_threads(module: Module) -> None:
    results = {}

    def work(number: int) -> None:
        x = np.full(500, number, np.float32)
        results[number] = all((scaled(module, x, memory.output_like(x)) == 2 * number).all() for _ in range(20))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == dict.fromkeys(range(4), True)
