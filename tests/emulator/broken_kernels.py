"""Kernels with one bug each, for test_emulator_bugs.py: the text, the launch, and what the error must say."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backends.emulator import memory


@dataclass(frozen=True)
class Case:
    """``says`` are parts of the error; "LINE" in them is the number of the line marked HERE, "OTHER" of the one marked OTHER."""

    name: str
    text: str
    says: tuple[str, ...]
    arguments: Any = field(default=lambda: (floats(64), memory.output(64, "float32"), np.int32(64)))
    grid: tuple[int, ...] = (1,)
    block: tuple[int, ...] = (64,)
    shared: int = 0

    @property
    def source(self) -> str:
        if "broken(" in self.text:
            return self.text
        return f'extern "C" __global__ void broken({PARAMETERS}) {{{self.text}}}\n'

    def expected(self) -> list[str]:
        lines = self.source.splitlines()
        marked = {"LINE": "// HERE", "OTHER": "// OTHER"}
        found = {name: next((i for i, line in enumerate(lines, 1) if mark in line), 0) for name, mark in marked.items()}
        return [re.sub("LINE|OTHER", lambda name: str(found[name[0]]), said) for said in self.says]


PARAMETERS = "const float* x, float* out, int n"


def floats(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.float32)


def given(x: Any = 64, out: Any = 64, n: int = 64) -> Any:
    """A function that makes the arguments of a kernel with the usual parameters; numbers are lengths."""
    return lambda: (floats(x), memory.output(out, "float32"), np.int32(n))


def nothing() -> Any:
    """Arguments of a kernel that looks at none of them."""
    return None, None, np.int32(0)


THREAD = "const int i = blockIdx.x * blockDim.x + threadIdx.x;"

# Bounds, alignment, constness
MEMORY = [
    Case("read behind the end", f"""{THREAD}
        out[i] = x[i + 1];  // HERE
    """, ("broken: out of bounds: read of 4 bytes", "argument x: element 64 of 64", "bug.cu:LINE",
          "block (0,0,0) thread (63,0,0)")),
    Case("read before the begin", f"""{THREAD}
        out[i] = x[i - 1];  // HERE
    """, ("out of bounds: read", "argument x: element -1 of 64", "bug.cu:LINE", "thread (0,0,0)")),
    Case("write behind the end", f"""{THREAD}
        out[i] = x[i < n ? i : 0];  // HERE
    """, ("out of bounds: write of 4 bytes", "argument out: element 64 of 64", "bug.cu:LINE",
          "block (1,0,0) thread (0,0,0)"), grid=(2,)),
    Case("vectors that overhang", """
        const float4 v = reinterpret_cast<const float4*>(x)[threadIdx.x];  // HERE
        reinterpret_cast<float4*>(out)[threadIdx.x] = v;
    """, ("out of bounds: read of", "argument x: element 6", "bug.cu:LINE", "thread (16,0,0)"), given(66, 68), block=(17,)),
    Case("misaligned vectors", """
        const float4 v = *reinterpret_cast<const float4*>(x + 1);  // HERE
        out[threadIdx.x] = v.x;
    """, ("misaligned: access", "argument x: element 1 of 64", "bug.cu:LINE"), block=(1,)),
    Case("null pointer", """
        out[threadIdx.x] = x[threadIdx.x];  // HERE
    """, ("null pointer: read of 4 bytes", "bug.cu:LINE",
          "thread (0,0,0)"), lambda: (None, memory.output(64, "float32"), np.int32(64))),
    Case("write to a const parameter", f"""{THREAD}
        const_cast<float*>(x)[i] = 0;  // HERE
        out[i] = 0;
    """, ("write to memory that the kernel declares const: write of 4 bytes", "argument x: element 0 of 64", "bug.cu:LINE")),
    Case("shared array too small", """
        __shared__ float tile[32];
        float* t = tile;
        t[threadIdx.x] = x[threadIdx.x];  // HERE
        __syncthreads();
        out[threadIdx.x] = t[threadIdx.x];
    """, ("out of bounds: ", "__shared__ tile", "bug.cu:LINE", "thread (32,0,0)")),
    Case("behind a shared array lies that of another kernel", """extern "C" __global__ void other(float* x) {
  __shared__ float first[64], second[64];
  first[threadIdx.x] = second[threadIdx.x] = x[threadIdx.x];
}
extern "C" __global__ void broken(const float* x, float* out, int n) {
  __shared__ float tile[64];
  float* t = tile;
  t[threadIdx.x + 64] = x[threadIdx.x];  // HERE
  out[threadIdx.x] = 0;
}
extern "C" __global__ void another(float* x) {
  __shared__ float third[64], fourth[64];
  third[threadIdx.x] = fourth[threadIdx.x] = x[threadIdx.x];
}
""", ("out of bounds: write of 4 bytes", "__shared__ tile: byte 256 of 256", "bug.cu:LINE", "thread (0,0,0)")),
    Case("index of a declared array", """
        __shared__ float tile[32];
        tile[threadIdx.x] = x[threadIdx.x];  // HERE
        __syncthreads();
        out[threadIdx.x] = tile[threadIdx.x];
    """, ("out of bounds: index outside of a declared array", "bug.cu:LINE", "thread (32,0,0)")),
    Case("dynamic shared memory too small", """
        extern __shared__ float tile[];
        tile[threadIdx.x] = x[threadIdx.x];  // HERE
        __syncthreads();
        out[threadIdx.x] = tile[threadIdx.x];
    """, ("out of bounds: write of 4 bytes", "dynamic shared memory: byte 252 of 252", "bug.cu:LINE",
          "thread (63,0,0)"), shared=252),
    Case("copy behind the end", """
        if (threadIdx.x == 0) memcpy(out, x, 4 * (n + 1));  // HERE
    """, ("out of bounds: read of 4 bytes", "argument x: element 64 of 64", "bug.cu:LINE"),
    ),
]  # fmt: skip

# Values that nobody has set
VALUES = [
    Case("tail never written", f"""{THREAD}
        if (i < n - 1) out[i] = x[i];
    """, ("argument out: element 63 was never written (1 of 64 elements were not)",)),
    Case("nothing written", "", ("argument out: element 0 was never written (64 of 64 elements were not)",)),
    Case("every other element", f"""{THREAD}
        if (i % 2 == 0) out[i] = x[i];
    """, ("argument out: element 1 was never written (32 of 64",)),
    Case("output read before it is written", f"""{THREAD}
        out[i] += x[i];  // HERE
    """, ("uninitialized: nobody has written what is read: read of 4 bytes", "argument out: element 0 of 64",
          "bug.cu:LINE", "thread (0,0,0)")),
    Case("output given as an input", f"""{THREAD}
        out[i] = x[i];  // HERE
    """, ("uninitialized", "argument x: element 0 of 64", "bug.cu:LINE"),
        lambda: (memory.output(64, "float32"), memory.output(64, "float32"), np.int32(64))),
    Case("shared memory read before it is written", """
        __shared__ float tile[64];
        if (threadIdx.x != 5) tile[threadIdx.x] = x[threadIdx.x];
        __syncthreads();
        out[threadIdx.x] = tile[threadIdx.x];  // HERE
    """, ("uninitialized", "__shared__ tile: byte 20 of 256", "bug.cu:LINE", "thread (5,0,0)")),
    Case("shared memory of the block before", """
        __shared__ float total;
        if (blockIdx.x == 0 && threadIdx.x == 0) total = 1;
        __syncthreads();
        out[blockIdx.x * blockDim.x + threadIdx.x] = total;  // HERE
    """, ("uninitialized", "__shared__ total", "bug.cu:LINE", "block (1,0,0) thread (0,0,0)"), given(64, 128), grid=(2,)),
    Case("atomic sum into an output", """
        atomicAdd(out, x[threadIdx.x]);  // HERE
    """, ("uninitialized", "atomic operation of 4 bytes", "argument out: element 0 of 1", "bug.cu:LINE"), given(64, 1)),
]  # fmt: skip

# Who comes first?
RACES = [
    Case("missing barrier", """
        __shared__ float tile[64];
        tile[threadIdx.x] = x[threadIdx.x];  // OTHER
        out[threadIdx.x] = tile[threadIdx.x / 2];  // HERE
    """, ("race within a block: read of what another thread wrote", "__shared__ tile: byte 0 of 256", "bug.cu:LINE",
          "block (0,0,0) thread (1,0,0)", "the other is block (0,0,0) thread (0,0,0) at bug.cu:OTHER")),
    Case("shared memory used again too early", """
        __shared__ float tile[64];
        for (int round = 0; round < 2; round++) {
          tile[threadIdx.x] = x[threadIdx.x];  // HERE
          __syncthreads();
          out[threadIdx.x] = tile[63 - threadIdx.x];  // OTHER
        }
    """, ("race within a block", "__shared__ tile", "at bug.cu:LINE", "at bug.cu:OTHER")),
    Case("tree without barriers", """
        __shared__ float sum[64];
        sum[threadIdx.x] = x[threadIdx.x];
        __syncthreads();
        for (int s = 32; s > 0; s /= 2)
          if (threadIdx.x < s) sum[threadIdx.x] += sum[threadIdx.x + s];  // HERE
        __syncthreads();
        out[threadIdx.x] = sum[0];
    """, ("race within a block", "__shared__ sum", "bug.cu:LINE")),
    Case("lanes without __syncwarp", """
        __shared__ float tile[32];
        tile[threadIdx.x] = x[threadIdx.x];
        out[threadIdx.x] = tile[threadIdx.x / 2];  // HERE
    """, ("race within a block", "__shared__ tile", "bug.cu:LINE", "thread (1,0,0)"), given(32, 32), block=(32,)),
    Case("__syncwarp of one half only", """
        __shared__ float tile[32];
        tile[threadIdx.x] = x[threadIdx.x];
        if (threadIdx.x < 16) __syncwarp(0x0000ffffu);
        else __syncwarp(0xffff0000u);
        out[threadIdx.x] = tile[threadIdx.x % 16];  // HERE
    """, ("race within a block", "__shared__ tile: byte 0", "bug.cu:LINE", "thread (16,0,0)"), given(32, 32), block=(32,)),
    Case("__syncwarp where warps meet", """
        __shared__ float tile[64];
        tile[threadIdx.x] = x[threadIdx.x];
        __syncwarp();
        out[threadIdx.x] = tile[threadIdx.x % 32];  // HERE
    """, ("race within a block", "__shared__ tile: byte 0", "bug.cu:LINE", "thread (32,0,0)")),
    Case("a shuffle is no fence", """
        __shared__ float tile[32];
        tile[threadIdx.x] = x[threadIdx.x];
        const float v = __shfl_xor_sync(0xffffffffu, x[threadIdx.x], 1);
        out[threadIdx.x] = v + tile[31 - threadIdx.x];  // HERE
    """, ("race within a block", "__shared__ tile", "bug.cu:LINE"), given(32, 32), block=(32,)),
    Case("several threads write one element", """
        out[threadIdx.x / 2] = x[threadIdx.x];  // HERE
    """, ("race within a block: write of what another thread wrote", "argument out: element 0 of 32", "bug.cu:LINE",
          "thread (1,0,0)", "the other is block (0,0,0) thread (0,0,0) at bug.cu:LINE"), given(64, 32)),
    Case("sum without atomics", """
        if (threadIdx.x == 0) out[0] += x[blockIdx.x];  // HERE
    """, ("race between blocks: read of what another block wrote", "argument out: element 0 of 1", "bug.cu:LINE",
          "block (1,0,0) thread (0,0,0)", "the other is block (0,0,0) thread (0,0,0) at bug.cu:LINE"),
        lambda: (floats(64), np.zeros(1, np.float32), np.int32(64)), grid=(2,)),
    Case("blocks overlap", """
        out[blockIdx.x * 63 + threadIdx.x] = x[threadIdx.x];  // HERE
    """, ("race between blocks: write of what another block wrote", "argument out: element 63 of 127", "bug.cu:LINE",
          "the other is block (0,0,0) thread (63,0,0)"), given(64, 127), grid=(2,)),
    Case("one block reads what another changes", """
        if (out[threadIdx.x] >= 0 && blockIdx.x == 2) out[threadIdx.x] = 0;  // HERE
    """, ("race between blocks: write of what another block read", "argument out: element 0 of 64", "bug.cu:LINE",
          "block (2,0,0)"),
        lambda: (floats(64), floats(64), np.int32(64)), grid=(3,)),
    Case("plain read of an atomic counter", """
        atomicAdd(out, 1.0f);  // HERE
        if (out[0] > 100) atomicAdd(out, 1.0f);  // OTHER
    """, ("race within a block: atomic operation of what another thread read", "argument out: element 0 of 1",
          "bug.cu:LINE", "at bug.cu:OTHER"), lambda: (floats(1), np.zeros(1, np.float32), np.int32(1))),
    Case("in place, of a neighbour", """
        out[threadIdx.x] = x[63 - threadIdx.x];  // HERE
    """, ("race within a block", "element", "bug.cu:LINE"), lambda: (lambda a: (a, a, np.int32(64)))(floats(64))),
]  # fmt: skip

# Barriers and warps
MEETINGS = [
    Case("barrier in a branch", """
        out[threadIdx.x] = x[threadIdx.x];
        if (threadIdx.x < 32) __syncthreads();  // HERE
    """, ("divergent barrier: 32 of the block's 64 threads wait, 32 have ended", "bug.cu:LINE", "block (0,0,0) thread (0,0,0)")),
    Case("early return before a barrier", """
        if (threadIdx.x >= n) return;
        __syncthreads();  // HERE
    """, ("divergent barrier: 60 of the block's 64 threads wait, 4 have ended",
          "bug.cu:LINE"), lambda: (None, None, np.int32(60))),
    Case("two barriers", """
        if (threadIdx.x % 2) __syncthreads();
        else __syncthreads();
    """, ("divergent barrier: the threads of a block wait at different ones", "bug.cu:"), nothing),
    Case("barrier and shuffle", """
        if (threadIdx.x < 8) __shfl_sync(0xffffffffu, 1, 0);  // HERE
        else __syncthreads();
    """, ("deadlock: 8 threads wait at a warp operation, 56 at a barrier, 0 have ended", "bug.cu:LINE", "thread (0,0,0)"),
        nothing),
    Case("shuffle from a lane that has left", """
        if (threadIdx.x >= 16) return;
        const float v = __shfl_xor_sync(0xffffffffu, 1.0f, 16);  // HERE
    """, ("bad shuffle: it reads from lane 16, which takes no part", "bug.cu:LINE", "thread (0,0,0)"), nothing, block=(32,)),
    Case("lane outside of its own mask", """
        __syncwarp(0x0000ffffu);  // HERE
    """, ("bad mask: it leaves out the lane that gives it", "bug.cu:LINE", "thread (16,0,0)"), nothing, block=(32,)),
    Case("different masks", """
        __syncwarp(threadIdx.x == 3 ? 0xffffffffu : 0xfffffffeu | (threadIdx.x == 0));  // HERE
    """, ("bad mask: lanes of one warp operation give different masks", "bug.cu:LINE"), nothing, block=(32,)),
    Case("different operations", """
        if (threadIdx.x % 2) __syncwarp();
        else __any_sync(0xffffffffu, 1);
    """, ("divergent warp operation: lanes of one mask wait at different ones", "bug.cu:"), nothing, block=(32,)),
    Case("mask of lanes that do not come", """
        if (threadIdx.x < 8) __ballot_sync(0xffu, 1);
        else if (threadIdx.x < 12) __ballot_sync(0xffff00u, 1);  // HERE
        else __syncthreads();
    """, ("deadlock: 4 threads wait at a warp operation", "bug.cu:LINE", "thread (8,0,0)"), nothing, block=(32,)),
]  # fmt: skip

# What C++ leaves undefined
UNDEFINED = [
    Case("overflow of an index", """
        const int i = (n << 16) * (int)(threadIdx.x + 1);  // HERE
        out[threadIdx.x] = (float)i;
    """, ("undefined: overflow of a signed product", "bug.cu:LINE", "thread (1,0,0)"), given(64, 64, 20000)),
    Case("overflow of a sum", """
        out[threadIdx.x] = (float)(n + (int)threadIdx.x);  // HERE
    """, ("undefined: overflow of a signed sum", "bug.cu:LINE", "thread (1,0,0)"), given(64, 64, 2**31 - 1)),
    Case("shift too far", """
        out[threadIdx.x] = (float)(1 << (int)threadIdx.x);  // HERE
    """, ("undefined: shift", "bug.cu:LINE", "thread (32,0,0)")),
    Case("division by zero", """
        out[threadIdx.x] = (float)(n / (int)threadIdx.x);  // HERE
    """, ("undefined: division by zero", "bug.cu:LINE", "thread (0,0,0)")),
    Case("in a function called from the kernel", """__device__ float half_of(const float* x, int i) {
  return x[i] / 2;  // HERE
}
extern "C" __global__ void broken(const float* x, float* out, int n) {
  out[threadIdx.x] = half_of(x, threadIdx.x + 1);  // OTHER
}
""", ("out of bounds", "argument x: element 64", "at bug.cu:LINE (called from bug.cu:OTHER)")),
]  # fmt: skip

CASES = [*MEMORY, *VALUES, *RACES, *MEETINGS, *UNDEFINED]
