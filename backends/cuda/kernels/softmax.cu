// Softmax and log-softmax along rows in one piece of memory, forward and backward. `logarithm` says which of the two: it
// is the same for all threads, and costs nothing beside the memory.
#include "common.cuh"
#include "rows.cuh"

template <int WIDTH>
__device__ __forceinline__ void forward_short(const scalar* x, scalar* out, i64 rows, i64 length, int logarithm) {
  const int pieces = length / WIDTH;
  const Group group(pieces);
  for (i64 first = group.first(); first < rows; first += group.stride()) {
    const i64 row = group.row(first, rows);
    const Piece<WIDTH>* from = pieces_of<WIDTH>(x + row * length);
    accumulator value[ITEMS], largest = LOWEST, total = 0;
    group.each<WIDTH>(pieces, [&](int item, int piece) {
      const Piece<WIDTH> in = from[piece];
#pragma unroll
      for (int k = 0; k < WIDTH; k++) value[item + k] = (accumulator)in.at[k];
    });
    group.each<WIDTH>(pieces, [&](int item, int) {
#pragma unroll
      for (int k = 0; k < WIDTH; k++) largest = larger(largest, value[item + k]);
    });
    largest = group.max(largest);
    group.each<WIDTH>(pieces, [&](int item, int) {
#pragma unroll
      for (int k = 0; k < WIDTH; k++) {
        const accumulator shifted = value[item + k] - largest, e = exp(shifted);
        value[item + k] = logarithm ? shifted : e;
        total += e;
      }
    });
    total = group.sum(total);
    const accumulator factor = logarithm ? 1 : 1 / total, offset = logarithm ? -log(total) : 0;
    if (group.has_row(first, rows)) {
      Piece<WIDTH>* to = pieces_of<WIDTH>(out + row * length);
      group.each<WIDTH>(pieces, [&](int item, int piece) {
        Piece<WIDTH> result;
#pragma unroll
        for (int k = 0; k < WIDTH; k++) result.at[k] = (scalar)(value[item + k] * factor + offset);
        to[piece] = result;
      });
    }
  }
}

template <int WIDTH>
__device__ __forceinline__ void forward_long(const scalar* x, scalar* out, i64 rows, i64 length, int logarithm,
                                             Piece<WIDTH>* kept, accumulator* shared) {
  const i64 pieces = length / WIDTH;
  for (i64 row = blockIdx.x; row < rows; row += gridDim.x) {
    const Piece<WIDTH>* from = pieces_of<WIDTH>(x + row * length);
    Piece<WIDTH>* to = pieces_of<WIDTH>(out + row * length);
    Peak peak;
#pragma unroll 1
    for (i64 p = threadIdx.x; p < pieces; p += blockDim.x) {
      const Piece<WIDTH> in = from[p];
      if (kept) kept[p] = in;
#pragma unroll
      for (int k = 0; k < WIDTH; k++) peak.add((accumulator)in.at[k]);
    }
    peak.combine(shared);
    const accumulator factor = logarithm ? 1 : 1 / peak.total, offset = logarithm ? -log(peak.total) : 0;
    const Piece<WIDTH>* again = kept ? kept : from;
#pragma unroll 1
    for (i64 p = threadIdx.x; p < pieces; p += blockDim.x) {
      const Piece<WIDTH> in = again[p];
      Piece<WIDTH> result;
#pragma unroll
      for (int k = 0; k < WIDTH; k++) {
        const accumulator shifted = (accumulator)in.at[k] - peak.largest;
        result.at[k] = (scalar)((logarithm ? shifted : exp(shifted)) * factor + offset);
      }
      to[p] = result;
    }
  }
}

// dx = y (d - sum y d) for the softmax, dx = d - exp(y) sum d for its logarithm: what an element adds to the sum, and its
// gradient once the sum is known.
__device__ __forceinline__ accumulator summand(accumulator y, accumulator d, int logarithm) {
  return logarithm ? d : y * d;
}

__device__ __forceinline__ accumulator slope(accumulator y, accumulator d, accumulator sum, int logarithm) {
  return logarithm ? d - exp(y) * sum : y * (d - sum);
}

template <int WIDTH>
__device__ __forceinline__ void backward_short(
    const scalar* out, const scalar* dout, scalar* dx, i64 rows, i64 length, int logarithm) {
  const int pieces = length / WIDTH;
  const Group group(pieces);
  for (i64 first = group.first(); first < rows; first += group.stride()) {
    const i64 row = group.row(first, rows);
    const Piece<WIDTH>* from = pieces_of<WIDTH>(out + row * length);
    const Piece<WIDTH>* gradient = pieces_of<WIDTH>(dout + row * length);
    Piece<WIDTH> y[ITEMS / WIDTH], d[ITEMS / WIDTH];
    accumulator sum = 0;
    group.each<WIDTH>(pieces, [&](int item, int piece) {
      y[item / WIDTH] = from[piece];
      d[item / WIDTH] = gradient[piece];
    });
    group.each<WIDTH>(pieces, [&](int item, int) {
#pragma unroll
      for (int k = 0; k < WIDTH; k++)
        sum += summand((accumulator)y[item / WIDTH].at[k], (accumulator)d[item / WIDTH].at[k], logarithm);
    });
    sum = group.sum(sum);
    if (group.has_row(first, rows)) {
      Piece<WIDTH>* to = pieces_of<WIDTH>(dx + row * length);
      group.each<WIDTH>(pieces, [&](int item, int piece) {
        Piece<WIDTH> result;
#pragma unroll
        for (int k = 0; k < WIDTH; k++)
          result.at[k] =
              (scalar)slope((accumulator)y[item / WIDTH].at[k], (accumulator)d[item / WIDTH].at[k], sum, logarithm);
        to[piece] = result;
      });
    }
  }
}

template <int WIDTH>
__device__ __forceinline__ void backward_long(const scalar* out, const scalar* dout, scalar* dx, i64 rows, i64 length,
                                              int logarithm, Piece<WIDTH>* kept, accumulator* shared) {
  const i64 pieces = length / WIDTH;
  for (i64 row = blockIdx.x; row < rows; row += gridDim.x) {
    const Piece<WIDTH>* from = pieces_of<WIDTH>(out + row * length);
    const Piece<WIDTH>* gradient = pieces_of<WIDTH>(dout + row * length);
    Piece<WIDTH>* to = pieces_of<WIDTH>(dx + row * length);
    accumulator sum = 0;
#pragma unroll 1
    for (i64 p = threadIdx.x; p < pieces; p += blockDim.x) {
      const Piece<WIDTH> y = from[p], d = gradient[p];
      if (kept) kept[p] = y, kept[pieces + p] = d;
#pragma unroll
      for (int k = 0; k < WIDTH; k++) sum += summand((accumulator)y.at[k], (accumulator)d.at[k], logarithm);
    }
    sum = block_sum(sum, shared);
    const Piece<WIDTH>*from_again = kept ? kept : from, *gradient_again = kept ? kept + pieces : gradient;
#pragma unroll 1
    for (i64 p = threadIdx.x; p < pieces; p += blockDim.x) {
      const Piece<WIDTH> y = from_again[p], d = gradient_again[p];
      Piece<WIDTH> result;
#pragma unroll
      for (int k = 0; k < WIDTH; k++)
        result.at[k] = (scalar)slope((accumulator)y.at[k], (accumulator)d.at[k], sum, logarithm);
      to[p] = result;
    }
  }
}

// A few lanes hold a short row in registers: it is read once and written once. Very short rows, as of ten classes, leave
// a warp room for several.
extern "C" __global__ void __launch_bounds__(128, 1)
softmax_forward_short(const scalar* __restrict__ x, scalar* __restrict__ out, i64 rows, i64 length, int logarithm) {
  if (rows_are_packs(length, x, out, out)) forward_short<PACK>(x, out, rows, length, logarithm);
  else forward_short<1>(x, out, rows, length, logarithm);
}

extern "C" __global__ void __launch_bounds__(128, 1)
softmax_backward_short(const scalar* __restrict__ out, const scalar* __restrict__ dout, scalar* __restrict__ dx,
                       i64 rows, i64 length, int logarithm) {
  if (rows_are_packs(length, out, dout, dx)) backward_short<PACK>(out, dout, dx, rows, length, logarithm);
  else backward_short<1>(out, dout, dx, rows, length, logarithm);
}

// A block takes one long row at a time. If `keep` is set, its threads keep what they have read in the launch's shared
// memory; a row too long for that is read twice. No thread looks at what another one keeps, so that needs no barrier.
extern "C" __global__ void __launch_bounds__(512, 1)
softmax_forward_long(const scalar* __restrict__ x, scalar* __restrict__ out, i64 rows, i64 length, int logarithm,
                     int keep) {
  extern __shared__ Pack memory[];
  __shared__ accumulator shared[MOST_WARPS];
  scalar* kept = keep ? memory->at : nullptr;
  if (rows_are_packs(length, x, out, out))
    forward_long<PACK>(x, out, rows, length, logarithm, pieces_of<PACK>(kept), shared);
  else forward_long<1>(x, out, rows, length, logarithm, pieces_of<1>(kept), shared);
}

extern "C" __global__ void __launch_bounds__(512, 1)
softmax_backward_long(const scalar* __restrict__ out, const scalar* __restrict__ dout, scalar* __restrict__ dx,
                      i64 rows, i64 length, int logarithm, int keep) {
  extern __shared__ Pack memory[];
  __shared__ accumulator shared[MOST_WARPS];
  scalar* kept = keep ? memory->at : nullptr;
  if (rows_are_packs(length, out, dout, dx))
    backward_long<PACK>(out, dout, dx, rows, length, logarithm, pieces_of<PACK>(kept), shared);
  else backward_long<1>(out, dout, dx, rows, length, logarithm, pieces_of<1>(kept), shared);
}
