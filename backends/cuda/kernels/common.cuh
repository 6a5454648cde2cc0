// What every kernel uses: the types of this compilation, 16-byte packs, and reductions whose order is fixed.
//
// A kernel is compiled once for each dtype, which program.py chooses by -D:
//   SCALAR       what lies in memory: float, double, __half or __nv_bfloat16
//   ACCUMULATOR  what is computed in: float, or double for double
#pragma once
#ifdef SCALAR_HEADER
#include SCALAR_HEADER  // cuda_fp16.h or cuda_bf16.h; the others need none, which halves their compile time
#endif

typedef long long i64;
typedef unsigned long long u64;
typedef unsigned int u32;
typedef SCALAR scalar;
typedef ACCUMULATOR accumulator;

constexpr int WARP = 32;
constexpr u32 ALL_LANES = 0xffffffffu;
constexpr int MOST_WARPS = 32;  // in a block of at most 1,024 threads
constexpr int PACK = 16 / sizeof(scalar);

// As many elements as one thread moves in one instruction.
struct __align__(16) Pack {
  scalar at[PACK];
};

__device__ __forceinline__ bool is_aligned(const void* pointer) { return ((u64)pointer & 15) == 0; }

// This thread's number in the grid, and how many there are: for (i64 i = thread_index(); i < n; i += thread_count())
__device__ __forceinline__ i64 thread_index() { return (i64)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ __forceinline__ i64 thread_count() { return (i64)gridDim.x * blockDim.x; }

// The larger of two, NaN if either is NaN. fmaxf would drop a NaN, and with it the sign that training has failed.
template <typename T>
__device__ __forceinline__ T larger(T a, T b) {
  return (a > b || a != a) ? a : b;
}

// All lanes of a full warp get the sum. Halving the distance makes a tree, the same in every run.
template <typename T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
  for (int distance = WARP / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(ALL_LANES, value, distance);
  return value;
}

template <typename T>
__device__ __forceinline__ T warp_max(T value) {
#pragma unroll
  for (int distance = WARP / 2; distance > 0; distance /= 2)
    value = larger(value, __shfl_xor_sync(ALL_LANES, value, distance));
  return value;
}

// All threads of the block get the sum. `shared` holds one value a warp; blockDim.x must be a multiple of 32.
template <typename T>
__device__ __forceinline__ T block_sum(T value, T* shared) {
  const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
  value = warp_sum(value);
  __syncthreads();  // an earlier reduction may still be reading `shared`
  if (lane == 0) shared[warp] = value;
  __syncthreads();
  return warp_sum(lane < warps ? shared[lane] : T(0));  // every warp adds the same numbers in the same order
}

template <typename T>
__device__ __forceinline__ T block_max(T value, T* shared) {
  const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
  value = warp_max(value);
  __syncthreads();
  if (lane == 0) shared[warp] = value;
  __syncthreads();
  return warp_max(shared[lane < warps ? lane : 0]);
}
