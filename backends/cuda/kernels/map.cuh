// Functions of one or two elements, mapped over dense memory with 16-byte loads and stores.
#pragma once
#include "common.cuh"

// out[i] = f(x[i]). A thread takes a pack at a time; the rest, and memory that is not aligned, goes one by one.
template <typename F>
__device__ __forceinline__ void map(const scalar* __restrict__ x, scalar* __restrict__ out, i64 count, F f) {
  const i64 packs = is_aligned(x) && is_aligned(out) ? count / PACK : 0;
  for (i64 i = thread_index(); i < packs; i += thread_count()) {
    const Pack in = reinterpret_cast<const Pack*>(x)[i];
    Pack result;
#pragma unroll
    for (int k = 0; k < PACK; k++) result.at[k] = (scalar)f((accumulator)in.at[k]);
    reinterpret_cast<Pack*>(out)[i] = result;
  }
  for (i64 i = packs * PACK + thread_index(); i < count; i += thread_count()) out[i] = (scalar)f((accumulator)x[i]);
}

// out[i] = f(a[i], b[i])
template <typename F>
__device__ __forceinline__ void map(
    const scalar* __restrict__ a, const scalar* __restrict__ b, scalar* __restrict__ out, i64 count, F f) {
  const i64 packs = is_aligned(a) && is_aligned(b) && is_aligned(out) ? count / PACK : 0;
  for (i64 i = thread_index(); i < packs; i += thread_count()) {
    const Pack left = reinterpret_cast<const Pack*>(a)[i], right = reinterpret_cast<const Pack*>(b)[i];
    Pack result;
#pragma unroll
    for (int k = 0; k < PACK; k++) result.at[k] = (scalar)f((accumulator)left.at[k], (accumulator)right.at[k]);
    reinterpret_cast<Pack*>(out)[i] = result;
  }
  for (i64 i = packs * PACK + thread_index(); i < count; i += thread_count())
    out[i] = (scalar)f((accumulator)a[i], (accumulator)b[i]);
}
