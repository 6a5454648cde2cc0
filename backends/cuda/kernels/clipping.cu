// Sums of squares of many tensors, and changes of all their elements: what clipping gradients takes.
#include "common.cuh"
#include "chunks.cuh"

// The sum of the squares of a block's chunk, in float64 whatever the dtype: a network has more elements than float32 could
// add up. Each tensor is read once; a thread's elements and the threads of a block are added in a fixed order.
extern "C" __global__ void __launch_bounds__(256)
sum_of_squares(const i64* __restrict__ addresses, const i64* __restrict__ chunks, i64 tensors, double* __restrict__ sums) {
  __shared__ double shared[MOST_WARPS];
  const Chunk<1> chunk = chunk_of_block<1>(addresses, chunks, tensors);
  double sum = 0;
  for (i64 i = threadIdx.x; i < chunk.packs; i += blockDim.x) {
    const Pack pack = reinterpret_cast<const Pack*>(chunk.at[0])[i];
#pragma unroll
    for (int k = 0; k < PACK; k++) {
      const double v = (double)(accumulator)pack.at[k];
      sum += v * v;
    }
  }
  for (i64 i = chunk.packs * PACK + threadIdx.x; i < chunk.count; i += blockDim.x) {
    const double v = (double)(accumulator)chunk.at[0][i];
    sum += v * v;
  }
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// The sum of the chunks' sums, in one block: always the same thread adds the same chunks.
extern "C" __global__ void __launch_bounds__(1024)
sum_of_chunks(const double* __restrict__ sums, double* __restrict__ total, i64 count) {
  __shared__ double shared[MOST_WARPS];
  double sum = 0;
  for (i64 i = threadIdx.x; i < count; i += blockDim.x) sum += sums[i];
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) *total = sum;
}

// Every element times a number that is on the device: nobody waits for the norm that it follows from.
extern "C" __global__ void __launch_bounds__(256)
scale(const i64* __restrict__ addresses, const i64* __restrict__ chunks, i64 tensors, const double* __restrict__ factor) {
  const accumulator by = (accumulator)*factor;
  update<0, 1>(addresses, chunks, tensors, [=](accumulator* v) { v[0] *= by; });
}

// Comparisons with NaN are false: it stays.
extern "C" __global__ void __launch_bounds__(256)
clamp(const i64* __restrict__ addresses, const i64* __restrict__ chunks, i64 tensors, accumulator low, accumulator high) {
  update<0, 1>(addresses, chunks, tensors, [=](accumulator* v) {
    const accumulator raised = v[0] < low ? low : v[0];
    v[0] = raised > high ? high : raised;
  });
}
