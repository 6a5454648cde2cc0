// Many tensors in one launch. Each block takes one chunk of one tensor; two tables, made on the host, say which.
//
// The tensors stand in lists side by side (gradients, parameters, averages, ...): those at the same place of all lists have the
// same number of elements, and lie in memory in the same order.
//   addresses   (lists, tensors): where each tensor begins
//   chunks      (blocks, 3): the tensor, the chunk's first element, its number of elements
#pragma once
#include "common.cuh"

template <int LISTS>
struct Chunk {
  scalar* at[LISTS];
  i64 count;
  i64 packs;  // that many go by 16 bytes from the start: none where a tensor is not aligned
};

template <int LISTS>
__device__ __forceinline__ Chunk<LISTS> chunk_of_block(
    const i64* __restrict__ addresses, const i64* __restrict__ chunks, i64 tensors) {
  const i64* entry = chunks + 3 * (i64)blockIdx.x;
  const i64 tensor = entry[0], first = entry[1];
  Chunk<LISTS> chunk;
  chunk.count = entry[2];
  bool aligned = true;
#pragma unroll
  for (int list = 0; list < LISTS; list++) {
    chunk.at[list] = reinterpret_cast<scalar*>(addresses[list * tensors + tensor]) + first;
    aligned = aligned && is_aligned(chunk.at[list]);
  }
  chunk.packs = aligned ? chunk.count / PACK : 0;
  return chunk;
}

// Changes the tensors element by element. rule(v) is given one element of each list, v[0] to v[LISTS - 1], and may change all
// but the first READ, which are not written back. Each list is read once; those that change are written once.
template <int READ, int LISTS, typename Rule>
__device__ __forceinline__ void update(
    const i64* __restrict__ addresses, const i64* __restrict__ chunks, i64 tensors, Rule rule) {
  const Chunk<LISTS> chunk = chunk_of_block<LISTS>(addresses, chunks, tensors);
#pragma unroll 1
  for (i64 i = threadIdx.x; i < chunk.packs; i += blockDim.x) {
    Pack packs[LISTS];
#pragma unroll
    for (int list = 0; list < LISTS; list++) packs[list] = reinterpret_cast<const Pack*>(chunk.at[list])[i];
#pragma unroll
    for (int k = 0; k < PACK; k++) {
      accumulator v[LISTS];
#pragma unroll
      for (int list = 0; list < LISTS; list++) v[list] = (accumulator)packs[list].at[k];
      rule(v);
#pragma unroll
      for (int list = READ; list < LISTS; list++) packs[list].at[k] = (scalar)v[list];
    }
#pragma unroll
    for (int list = READ; list < LISTS; list++) reinterpret_cast<Pack*>(chunk.at[list])[i] = packs[list];
  }
#pragma unroll 1
  for (i64 i = chunk.packs * PACK + threadIdx.x; i < chunk.count; i += blockDim.x) {
    accumulator v[LISTS];
#pragma unroll
    for (int list = 0; list < LISTS; list++) v[list] = (accumulator)chunk.at[list][i];
    rule(v);
#pragma unroll
    for (int list = READ; list < LISTS; list++) chunk.at[list][i] = (scalar)v[list];
  }
}
