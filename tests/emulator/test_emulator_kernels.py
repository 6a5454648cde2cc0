"""Correct kernels compute what they should, in both modes and in any order of threads, and none of them is called a bug."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from backends.emulator import memory
from backends.emulator.module import Module

KERNELS = r"""
#include <cuda_fp16.h>
#include <cuda_bf16.h>
typedef long long i64;

// through a tile of shared memory, a block of 32 x 8 threads
extern "C" __global__ void __launch_bounds__(256)
transpose(const float* __restrict__ x, float* __restrict__ out, int rows, int columns) {
  __shared__ float tile[32][33];
  const int column = blockIdx.x * 32 + threadIdx.x, first = blockIdx.y * 32;
  for (int j = threadIdx.y; j < 32; j += blockDim.y)
    if (column < columns && first + j < rows) tile[j][threadIdx.x] = x[(i64)(first + j) * columns + column];
  __syncthreads();
  const int row = first + threadIdx.x;
  for (int j = threadIdx.y; j < 32; j += blockDim.y)
    if (row < rows && blockIdx.x * 32 + j < columns) out[(i64)(blockIdx.x * 32 + j) * rows + row] = tile[threadIdx.x][j];
}

// prefix sums of each warp; shared memory is ordered by __syncwarp alone
extern "C" __global__ void scan(const int* x, int* out) {
  __shared__ int sums[128];
  const int t = threadIdx.x, lane = t & 31, i = blockIdx.x * blockDim.x + t;
  sums[t] = x[i];
  __syncwarp();
  for (int distance = 1; distance < 32; distance *= 2) {
    const int before = lane >= distance ? sums[t - distance] : 0;
    __syncwarp();
    sums[t] += before;
    __syncwarp();
  }
  out[i] = sums[t];
}

// the two halves of a warp go their own ways, each ordered by its own mask
extern "C" __global__ void reverse_halves(const int* x, int* out) {
  __shared__ int tile[32];
  const int t = threadIdx.x;
  const unsigned mask = t < 16 ? 0x0000ffffu : 0xffff0000u;
  for (int round = 0; round < (t < 16 ? 1 : 3); round++) {
    tile[t] = x[t] + round;
    __syncwarp(mask);
    out[t] = tile[t ^ 15];
    __syncwarp(mask);
  }
}

extern "C" __global__ void histogram(const int* __restrict__ labels, int* __restrict__ counts, int n, int classes) {
  extern __shared__ int own[];
  for (int j = threadIdx.x; j < classes; j += blockDim.x) own[j] = 0;
  __syncthreads();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) atomicAdd(&own[labels[i]], 1);
  __syncthreads();
  for (int j = threadIdx.x; j < classes; j += blockDim.x)
    if (own[j]) atomicAdd(&counts[j], own[j]);
}

extern "C" __global__ void max_pool(const float* __restrict__ x, float* __restrict__ out, unsigned char* __restrict__ winner,
                                    int n, int width) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
    const int row = i / (width / 2), column = i % (width / 2);
    float best = -__int_as_float(0x7f800000);
    unsigned char place = 0;
    for (int k = 0; k < 4; k++) {
      const float v = x[(2 * row + k / 2) * width + 2 * column + k % 2];
      if (v > best) best = v, place = (unsigned char)k;
    }
    out[i] = best;
    winner[i] = place;
  }
}

// a template, with an array of its type in shared memory; more than one round of barriers
template <typename T> __device__ void relu(const T* x, T* out, i64 n) {
  __shared__ T tile[64];
  for (i64 first = (i64)blockIdx.x * blockDim.x; first < n; first += (i64)gridDim.x * blockDim.x) {
    const i64 i = first + threadIdx.x;
    if (i < n) tile[threadIdx.x] = x[i];
    __syncthreads();
    if (i < n) out[i] = (float)tile[threadIdx.x] > 0.0f ? tile[threadIdx.x] : (T)0.0f;
    __syncthreads();
  }
}
extern "C" __global__ void relu_float16(const __half* x, __half* out, i64 n) { relu(x, out, n); }
extern "C" __global__ void relu_bfloat16(const __nv_bfloat16* x, __nv_bfloat16* out, i64 n) { relu(x, out, n); }
extern "C" __global__ void relu_float32(const float* x, float* out, i64 n) { relu(x, out, n); }

extern "C" __global__ void add_vectors(const float4* a, const float* b, float4* out, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const float4 left = __ldg(a + i), right = reinterpret_cast<const float4*>(b)[i];
  out[i] = make_float4(left.x + right.x, left.y + right.y, left.z + right.z, left.w + right.w);
}

// every thread of a block of three dimensions writes its number
extern "C" __global__ void numbers(int* out) {
  const int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  out[block * blockDim.x * blockDim.y * blockDim.z + thread] = 1000 * block + thread;
}

// the operations of a warp; the last one has fewer lanes
extern "C" __global__ void warp_operations(int* out, int threads) {
  const int t = threadIdx.x, lane = t % 32, lanes = threads - t / 32 * 32 < 32 ? threads - t / 32 * 32 : 32;
  const unsigned mask = lanes == 32 ? 0xffffffffu : (1u << lanes) - 1;
  int* mine = out + t * 8;
  mine[0] = __shfl_sync(mask, t, 3);
  mine[1] = __shfl_up_sync(mask, t, 2);
  mine[2] = __shfl_down_sync(mask, t, lane + 1 < lanes ? 1 : 0);
  mine[3] = __shfl_xor_sync(mask, t, 1, 4);
  mine[4] = (int)__ballot_sync(mask, lane % 3 == 0);
  mine[5] = __any_sync(mask, lane == 5);
  mine[6] = __all_sync(mask, lane < 14);
  mine[7] = __shfl_sync(mask, (double)t, 1) == t - lane + 1;
}

extern "C" __global__ void votes_of_a_block(const int* x, int* out) {
  const int t = threadIdx.x;
  const int count = __syncthreads_count(x[t] > 2), any = __syncthreads_or(x[t] == 7), all = __syncthreads_and(x[t] < 7);
  if (t == 0) out[0] = count, out[1] = any, out[2] = all;
}

__device__ int launches = 0;
__constant__ int TABLE[4] = {3, 1, 4, 1};
extern "C" __global__ void variables(int* out) {
  if (threadIdx.x == 0) atomicAdd(&launches, 1);
  __syncthreads();
  out[threadIdx.x] = TABLE[threadIdx.x % 4];
}

extern "C" __global__ void atomics(int* cells, unsigned* bits, unsigned long long* large) {
  const int t = threadIdx.x;
  atomicMax(&cells[0], t);
  atomicMin(&cells[1], t);
  atomicSub(&cells[2], t);
  atomicOr(&bits[0], 1u << t);
  atomicAnd(&bits[1], ~(1u << t));
  atomicXor(&bits[2], 1u << t);
  atomicAdd(large, 1ull << 33);
  for (int seen = cells[3] * 0 - 1, now = 0; seen != now;) {  // a lock-free sum
    now = atomicAdd(&cells[4], 0);
    seen = atomicCAS(&cells[4], now, now + t);
  }
}

extern "C" __global__ void copies(const int* x, int* out) {
  int local[8];
  memcpy(local, x + threadIdx.x * 8, sizeof(local));
  for (int i = 0; i < 4; i++) {
    const int kept = local[i];
    local[i] = local[7 - i];
    local[7 - i] = kept;
  }
  memcpy(out + threadIdx.x * 8, local, sizeof(local));
}

// rows of different arrays, through a table of pointers
extern "C" __global__ void scale_many(const i64* tensors, const float* const* factors, i64 n) {
  float* x = reinterpret_cast<float*>(tensors[blockIdx.y]);
  for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (i64)gridDim.x * blockDim.x)
    x[i] *= factors[blockIdx.y][0];
}

extern "C" __global__ void exchange_first(int* out) {
  __shared__ int last;
  atomicExch(&last, (int)threadIdx.x);
  __syncthreads();
  out[threadIdx.x] = last >= 0 && last < (int)blockDim.x;
}
"""


@pytest.fixture(params=[(True, 0), (True, 1), (True, 2), (True, 9), (False, 0), (False, 1), (False, 3)], ids=str)
def run(request: pytest.FixtureRequest) -> Any:
    """run(kernel, grid, block, *arguments, shared=0)"""
    checked, order = request.param
    module = Module(KERNELS, "kernels.cu", checked=checked, order=order)

    def call(kernel: str, grid: Any, block: Any, *arguments: Any, shared: int = 0) -> None:
        module.get_function(kernel)(grid, block, arguments, shared_mem=shared)

    return call


def whole(*shape: int, most: int = 100) -> np.ndarray:
    return np.random.default_rng(0).integers(-most, most, shape).astype(np.int32)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (32, 32), (70, 45), (31, 33)])
def test_transpose(run: Any, rows: int, columns: int) -> None:
    x, out = whole(rows, columns).astype(np.float32), memory.output((columns, rows), "float32")
    run("transpose", (-(-columns // 32), -(-rows // 32)), (32, 8), x, out, np.int32(rows), np.int32(columns))
    np.testing.assert_array_equal(out, x.T)


def test_scan(run: Any) -> None:
    x, out = whole(3 * 128), memory.output(3 * 128, "int32")
    run("scan", (3,), (128,), x, out)
    np.testing.assert_array_equal(out.reshape(-1, 32), x.reshape(-1, 32).cumsum(1))


def test_halves_of_a_warp(run: Any) -> None:
    x, out = whole(32), memory.output(32, "int32")
    run("reverse_halves", (1,), (32,), x, out)
    np.testing.assert_array_equal(out, np.concatenate([x[15::-1], x[:15:-1] + 2]))


def test_histogram(run: Any) -> None:
    labels, counts = whole(5000) % 10, np.zeros(10, np.int32)
    run("histogram", (4,), (96,), labels, counts, np.int32(5000), np.int32(10), shared=40)
    np.testing.assert_array_equal(counts, np.bincount(labels, minlength=10))


def test_max_pool(run: Any) -> None:
    x = np.random.default_rng(0).permutation(24 * 24).astype(np.float32).reshape(24, 24)
    out, winner = memory.output((12, 12), "float32"), memory.output((12, 12), "uint8")
    run("max_pool", (2,), (64,), x, out, winner, np.int32(144), np.int32(24))
    windows = x.reshape(12, 2, 12, 2).transpose(0, 2, 1, 3).reshape(12, 12, 4)
    np.testing.assert_array_equal(out, windows.max(-1))
    np.testing.assert_array_equal(winner, windows.argmax(-1))


@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16, "float32"])
@pytest.mark.parametrize("size", [1, 63, 64, 1001])
def test_templates_and_half_precision(run: Any, dtype: Any, size: int) -> None:
    x = np.random.default_rng(0).normal(size=size).astype(dtype)
    out = memory.output_like(x)
    run(f"relu_{x.dtype.name}", (3,), (64,), x, out, size)
    np.testing.assert_array_equal(out, np.where(x > 0, x, np.zeros_like(x)))


def test_vectors_and_threads_that_return_early(run: Any) -> None:
    a, b = (np.arange(4 * 50, dtype=np.float32) + k for k in (0, 0.5))
    out = memory.output_like(a)
    run("add_vectors", (2,), (32,), a, b, out, np.int32(50))
    np.testing.assert_array_equal(out, a + b)


def test_three_dimensions(run: Any) -> None:
    out = memory.output((24, 30), "int32")
    run("numbers", (2, 3, 4), (5, 3, 2), out)
    np.testing.assert_array_equal(out, 1000 * np.arange(24)[:, None] + np.arange(30))


def test_warp_operations(run: Any) -> None:
    threads = 78
    out = memory.output((threads, 8), "int32")
    run("warp_operations", (1,), (threads,), out, np.int32(threads))
    t = np.arange(threads)
    lane, first = t % 32, t - t % 32
    lanes = np.minimum(threads - first, 32)
    ballots = np.array([sum(1 << k for k in range(n) if k % 3 == 0) for n in lanes], np.uint32).view(np.int32)
    expected = [first + 3, np.where(lane >= 2, t - 2, t), np.where(lane + 1 < lanes, t + 1, t), t ^ 1, ballots]
    expected += [np.ones(threads), lanes <= 14, np.ones(threads)]
    np.testing.assert_array_equal(out, np.stack(expected, axis=1).astype(np.int32))


def test_votes_of_a_block(run: Any) -> None:
    x, out = np.arange(40, dtype=np.int32) % 8, memory.output(3, "int32")
    run("votes_of_a_block", (1,), (40,), x, out)
    assert out.tolist() == [25, 1, 0]


def test_variables_of_the_file(run: Any) -> None:
    out = memory.output(64, "int32")
    run("variables", (1,), (64,), out)
    np.testing.assert_array_equal(out, np.tile([3, 1, 4, 1], 16))


def test_atomics(run: Any) -> None:
    cells, bits = np.array([-5, 99, 0, 0, 0], np.int32), np.array([0, 0xFFFFFFFF, 0], np.uint32)
    large = np.zeros(1, np.uint64)
    run("atomics", (1,), (32,), cells, bits, large)
    assert cells.tolist() == [31, 0, -496, 0, 496]
    assert bits.tolist() == [0xFFFFFFFF, 0, 0xFFFFFFFF]
    assert large[0] == 32 << 33


def test_copies(run: Any) -> None:
    x, out = whole(4, 8), memory.output((4, 8), "int32")
    run("copies", (1,), (4,), x, out)
    np.testing.assert_array_equal(out, x[:, ::-1])


def test_pointer_tables(run: Any) -> None:
    arrays, factors = [np.arange(5.0, dtype=np.float32) + k for k in range(3)], [np.float32([k]) for k in (2, 3, 4)]
    expected = [a * f for a, f in zip(arrays, factors, strict=True)]
    run("scale_many", (2, 3), (2,), memory.pointer_table(arrays), memory.pointer_table(factors), 5)
    for array, wanted in zip(arrays, expected, strict=True):
        np.testing.assert_array_equal(array, wanted)


def test_exchange_of_fresh_shared_memory(run: Any) -> None:
    out = memory.output(64, "int32")
    run("exchange_first", (1,), (64,), out)
    assert out.all()


def test_orders_differ_and_repeat() -> None:
    """The order is seen by a kernel whose result depends on it, and is the same in each run."""
    text = (
        'extern "C" __global__ void last(int* out) { atomicExch(out, (int)(blockIdx.x * blockDim.x + threadIdx.x)); }'
    )
    results = {}
    for order in (0, 1, 2, 3, 2):
        out = np.zeros(1, np.int32)
        Module(text, "last.cu", order=order).get_function("last")((50,), (64,), (out,))
        assert results.setdefault(order, out[0]) == out[0]
    assert (results[0], results[1]) == (50 * 64 - 1, 0)
    assert len(set(results.values())) == 4


def test_both_modes_compute_the_same() -> None:
    text = """extern "C" __global__ void f(const float* x, float* out) {
      float s = x[threadIdx.x];
      for (int k = 0; k < 20; k++) s = s * 1.7f + expf(-s * s) * tanh(s) - s / 3.0f;
      out[threadIdx.x] = s; }"""
    x = np.linspace(-3, 3, 256, dtype=np.float32)
    results = []
    for checked in (True, False):
        out = memory.output_like(x)
        Module(text, "f.cu", checked=checked).get_function("f")((1,), (256,), (x, out))
        results.append(out.tobytes())
    assert results[0] == results[1]
