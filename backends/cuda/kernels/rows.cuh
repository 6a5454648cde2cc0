// Rows of scores, and how threads share one: short rows by a few lanes, in registers; long ones by a block.
#pragma once
#include "common.cuh"

// How many elements of a short row one lane holds, so that a short row has at most 256. More would take registers from
// very short rows, which need many warps at once to keep the memory busy.
constexpr int ITEMS = 8;
const accumulator LOWEST = -accumulator(1) / accumulator(0);  // NVRTC has no <math.h> with a name for infinity

// WIDTH neighbours that move in one instruction. A row is divided into pieces, 16 bytes each where all rows allow it.
template <int WIDTH>
struct __align__(WIDTH * sizeof(scalar)) Piece {
  scalar at[WIDTH];
};

template <int WIDTH>
__device__ __forceinline__ const Piece<WIDTH>* pieces_of(const scalar* row) {
  return reinterpret_cast<const Piece<WIDTH>*>(row);
}

template <int WIDTH>
__device__ __forceinline__ Piece<WIDTH>* pieces_of(scalar* row) {
  return reinterpret_cast<Piece<WIDTH>*>(row);
}

__device__ __forceinline__ bool rows_are_packs(i64 length, const void* a, const void* b, const void* c) {
  return length % PACK == 0 && is_aligned(a) && is_aligned(b) && is_aligned(c);
}

// The lanes that share a short row: a power of two, so that a warp holds whole groups. A block works at one row a group
// at a time, from row `first` on; a group beyond the last row works at the last one again, since all lanes must take
// part in a shuffle, and writes nothing.
struct Group {
  int lanes = 1, lane, number, count;

  __device__ __forceinline__ explicit Group(int pieces) {
    while (lanes < WARP && lanes < pieces) lanes *= 2;
    lane = threadIdx.x % lanes, number = threadIdx.x / lanes, count = blockDim.x / lanes;
  }

  __device__ __forceinline__ i64 first() const { return (i64)blockIdx.x * count; }
  __device__ __forceinline__ i64 stride() const { return (i64)gridDim.x * count; }
  __device__ __forceinline__ bool has_row(i64 first, i64 rows) const { return first + number < rows; }
  __device__ __forceinline__ i64 row(i64 first, i64 rows) const { return has_row(first, rows) ? first + number : rows - 1; }

  // f(item, piece) for each of this lane's pieces, whose elements are its items item, item + 1, ... The loop is unrolled,
  // so that an array of items is in registers.
  template <int WIDTH, typename F>
  __device__ __forceinline__ void each(int pieces, F f) const {
#pragma unroll
    for (int step = 0; step < ITEMS / WIDTH; step++) {
      if (step * lanes >= pieces) break;
      if (step * lanes + lane < pieces) f(step * WIDTH, step * lanes + lane);
    }
  }

  __device__ __forceinline__ accumulator sum(accumulator value) const {
    for (int distance = lanes / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(ALL_LANES, value, distance);
    return value;
  }

  __device__ __forceinline__ accumulator max(accumulator value) const {
    for (int distance = lanes / 2; distance > 0; distance /= 2)
      value = larger(value, __shfl_xor_sync(ALL_LANES, value, distance));
    return value;
  }
};

// The maximum of a row and the sum of exp(v - maximum) in one pass: what was added before is scaled down whenever a new
// maximum appears. M. Milakov and N. Gimelshein, "Online normalizer calculation for softmax", 2018.
struct Peak {
  accumulator largest = LOWEST, total = 0;

  __device__ __forceinline__ void add(accumulator v) {
    const accumulator e = v == largest ? accumulator(1) : exp(v > largest ? largest - v : v - largest);
    total = v > largest ? total * e + accumulator(1) : total + e;
    largest = v > largest ? v : largest;
  }

  // All threads of the block get the row's. A row whose maximum is infinite, or with a NaN in it, has a total of NaN.
  __device__ __forceinline__ void combine(accumulator* shared) {
    const accumulator own = largest;
    largest = block_max(largest, shared);
    total = block_sum(own == largest ? total : total * exp(own - largest), shared);
    total += largest - largest;
  }
};
