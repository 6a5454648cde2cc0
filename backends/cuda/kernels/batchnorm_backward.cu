// Batch normalization backward, alone and with ReLU.
//
// As in batchnorm.cu, each kernel is there for rows and for planes, and sums go in two steps. x and dout are read once for
// the sums and once for dx. ReLU costs no access to memory: its result is found again from x instead of being read.
#include "common.cuh"
#include "batchnorm.cuh"

// Of each channel: the sums of dy and of dy (x - mean).
template <int CHANNELS>
struct GradientSums {
  static constexpr int WORDS = 2 * CHANNELS;
  accumulator dy[CHANNELS] = {}, dy_centered[CHANNELS] = {};

  template <typename F>
  __device__ __forceinline__ void each(F f) {
#pragma unroll
    for (int c = 0; c < CHANNELS; c++) f(dy[c]);
#pragma unroll
    for (int c = 0; c < CHANNELS; c++) f(dy_centered[c]);
  }

  __device__ __forceinline__ void add(const GradientSums& other) {
#pragma unroll
    for (int c = 0; c < CHANNELS; c++) dy[c] += other.dy[c], dy_centered[c] += other.dy_centered[c];
  }
};

// Step 1 of backward: x and dout are read once. partial is (2, channels, parts).
template <typename Walk, bool PACKED>
__device__ __forceinline__ void gradient_sums(
    const scalar* __restrict__ x, const scalar* __restrict__ dout, const accumulator* __restrict__ mean,
    const accumulator* __restrict__ factor, const accumulator* __restrict__ bias, accumulator* __restrict__ partial,
    i64 outer, i64 channels, i64 inner, i64 per_part, int with_relu) {
  constexpr int DEPTH = 2;  // of each array
  typedef GradientSums<Walk::CHANNELS> Own;
  typedef ByChannel<Walk::CHANNELS> Values;
  __shared__ accumulator shared[Own::WORDS * MOST_THREADS / 2];
  Walk walk(outer, channels, inner, per_part);
  const Values means(mean, walk.channel, channels), factors(factor, walk.channel, channels),
      biases(bias, walk.channel, channels);
  Own own;
  while (walk.inside()) {
    Pack in[DEPTH], gradient[DEPTH];
#pragma unroll
    for (int u = 0; u < DEPTH; u++) {
      const Place place = walk.next();
      in[u] = load<PACKED>(x, place);
      gradient[u] = load<PACKED>(dout, place);
    }
#pragma unroll
    for (int u = 0; u < DEPTH; u++) {
#pragma unroll
      for (int k = 0; k < PACK; k++) {
        const int c = k % Walk::CHANNELS;
        const accumulator centered = (accumulator)in[u].at[k] - means.at[c];
        accumulator dy = (accumulator)gradient[u].at[k];  // 0 where nothing is
        if (with_relu) dy = through_relu(centered, factors.at[c], biases.at[c], dy);
        own.dy[c] += dy;
        own.dy_centered[c] += dy * centered;
      }
    }
  }
  combine_columns(own, shared);
  if (threadIdx.y != 0) return;
#pragma unroll
  for (int c = 0; c < Walk::CHANNELS; c++) {
    if (walk.channel + c >= channels) break;
    accumulator* part = partial + (walk.channel + c) * gridDim.y + blockIdx.y;
    part[0] = own.dy[c], part[channels * gridDim.y] = own.dy_centered[c];
  }
}

extern "C" __global__ void __launch_bounds__(256, 2)
batchnorm_gradient_sums_rows(const scalar* __restrict__ x, const scalar* __restrict__ dout,
                             const accumulator* __restrict__ mean, const accumulator* __restrict__ factor,
                             const accumulator* __restrict__ bias, accumulator* __restrict__ partial, i64 outer,
                             i64 channels, i64 inner, i64 per_part, int with_relu) {
  if (Rows::are_packs(channels, inner) && is_aligned(x) && is_aligned(dout))
    gradient_sums<Rows, true>(x, dout, mean, factor, bias, partial, outer, channels, inner, per_part, with_relu);
  else
    gradient_sums<Rows, false>(x, dout, mean, factor, bias, partial, outer, channels, inner, per_part, with_relu);
}

extern "C" __global__ void __launch_bounds__(256, 2)
batchnorm_gradient_sums_planes(const scalar* __restrict__ x, const scalar* __restrict__ dout,
                               const accumulator* __restrict__ mean, const accumulator* __restrict__ factor,
                               const accumulator* __restrict__ bias, accumulator* __restrict__ partial, i64 outer,
                               i64 channels, i64 inner, i64 per_part, int with_relu) {
  if (Planes::are_packs(channels, inner) && is_aligned(x) && is_aligned(dout))
    gradient_sums<Planes, true>(x, dout, mean, factor, bias, partial, outer, channels, inner, per_part, with_relu);
  else
    gradient_sums<Planes, false>(x, dout, mean, factor, bias, partial, outer, channels, inner, per_part, with_relu);
}

// Step 2, a warp a channel. With z = (x - mean) scale, dx = factor (dy - sum(dy) / count - z sum(dy z) / count), which is
// dy factor + (x - mean) slope + offset; slope and offset may be null.
extern "C" __global__ void __launch_bounds__(256, 2)
batchnorm_gradient_sums_of_parts(const accumulator* __restrict__ partial, const accumulator* __restrict__ scale,
                                 const accumulator* __restrict__ factor, accumulator* __restrict__ dweight,
                                 accumulator* __restrict__ dbias, accumulator* __restrict__ slope,
                                 accumulator* __restrict__ offset, i64 channels, i64 parts, i64 count) {
  const i64 channel = (i64)blockIdx.x * SECOND_STEP_CHANNELS + threadIdx.y;
  if (channel >= channels) return;
  const accumulator* part = partial + channel * parts;
  GradientSums<1> own;
  for (i64 p = threadIdx.x; p < parts; p += WARP)
    own.dy[0] += part[p], own.dy_centered[0] += part[channels * parts + p];
  combine_warp(own);
  if (threadIdx.x != 0) return;
  const accumulator sum_dy_z = own.dy_centered[0] * scale[channel];
  dweight[channel] = sum_dy_z;
  dbias[channel] = own.dy[0];
  if (slope == nullptr) return;
  slope[channel] = -factor[channel] * scale[channel] * (sum_dy_z / (accumulator)count);
  offset[channel] = -factor[channel] * (own.dy[0] / (accumulator)count);
}

// dx: x and dout are read once. Without slope and offset (null) the statistics are constants, as in evaluation.
template <typename Walk, bool PACKED>
__device__ __forceinline__ void input_gradient(
    const scalar* __restrict__ x, const scalar* __restrict__ dout, const accumulator* __restrict__ mean,
    const accumulator* __restrict__ factor, const accumulator* __restrict__ bias,
    const accumulator* __restrict__ slope, const accumulator* __restrict__ offset, scalar* __restrict__ dx, i64 outer,
    i64 channels, i64 inner, i64 per_part, int with_relu) {
  constexpr int DEPTH = 2;
  typedef ByChannel<Walk::CHANNELS> Values;
  Walk walk(outer, channels, inner, per_part);
  const Values means(mean, walk.channel, channels), factors(factor, walk.channel, channels),
      biases(bias, walk.channel, channels), slopes(slope, walk.channel, channels),
      offsets(offset, walk.channel, channels);
  while (walk.inside()) {
    Place places[DEPTH];
    Pack in[DEPTH], gradient[DEPTH];
#pragma unroll
    for (int u = 0; u < DEPTH; u++) {
      places[u] = walk.next();
      in[u] = load<PACKED>(x, places[u]);
      gradient[u] = load<PACKED>(dout, places[u]);
    }
#pragma unroll
    for (int u = 0; u < DEPTH; u++) {
#pragma unroll
      for (int k = 0; k < PACK; k++) {
        const int c = k % Walk::CHANNELS;
        const accumulator centered = (accumulator)in[u].at[k] - means.at[c];
        accumulator dy = (accumulator)gradient[u].at[k];
        if (with_relu) dy = through_relu(centered, factors.at[c], biases.at[c], dy);
        const accumulator by_statistics = slope == nullptr ? 0 : fma(centered, slopes.at[c], offsets.at[c]);
        gradient[u].at[k] = (scalar)fma(dy, factors.at[c], by_statistics);
      }
      store<PACKED>(dx, places[u], gradient[u]);
    }
  }
}

extern "C" __global__ void __launch_bounds__(256, 2)
batchnorm_input_gradient_rows(const scalar* __restrict__ x, const scalar* __restrict__ dout,
                              const accumulator* __restrict__ mean, const accumulator* __restrict__ factor,
                              const accumulator* __restrict__ bias, const accumulator* __restrict__ slope,
                              const accumulator* __restrict__ offset, scalar* __restrict__ dx, i64 outer, i64 channels,
                              i64 inner, i64 per_part, int with_relu) {
  if (Rows::are_packs(channels, inner) && is_aligned(x) && is_aligned(dout) && is_aligned(dx))
    input_gradient<Rows, true>(x, dout, mean, factor, bias, slope, offset, dx, outer, channels, inner, per_part, with_relu);
  else
    input_gradient<Rows, false>(x, dout, mean, factor, bias, slope, offset, dx, outer, channels, inner, per_part, with_relu);
}

extern "C" __global__ void __launch_bounds__(256, 2)
batchnorm_input_gradient_planes(const scalar* __restrict__ x, const scalar* __restrict__ dout,
                                const accumulator* __restrict__ mean, const accumulator* __restrict__ factor,
                                const accumulator* __restrict__ bias, const accumulator* __restrict__ slope,
                                const accumulator* __restrict__ offset, scalar* __restrict__ dx, i64 outer,
                                i64 channels, i64 inner, i64 per_part, int with_relu) {
  if (Planes::are_packs(channels, inner) && is_aligned(x) && is_aligned(dout) && is_aligned(dx))
    input_gradient<Planes, true>(x, dout, mean, factor, bias, slope, offset, dx, outer, channels, inner, per_part, with_relu);
  else
    input_gradient<Planes, false>(x, dout, mean, factor, bias, slope, offset, dx, outer, channels, inner, per_part, with_relu);
}
