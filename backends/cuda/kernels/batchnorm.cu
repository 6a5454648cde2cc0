// Batch normalization forward: the statistics of a batch by Welford's method, and the normalization, alone and with ReLU.
//
// Each kernel is there for rows of channels and for planes (see channels.cuh). In training, x is read once for the
// statistics and once for y, which is written once. Sums go in two steps, within a part of a channel and over its parts,
// whose lengths follow from the shape alone, so a run repeats bit for bit.
#include "common.cuh"
#include "batchnorm.cuh"
#include "welford.cuh"

// Step 1 of the statistics: (count, mean, sum of squares) of each channel's part. partial is (3, channels, parts).
template <typename Walk, bool PACKED>
__device__ __forceinline__ void statistics(
    const scalar* __restrict__ x, accumulator* __restrict__ partial, i64 outer, i64 channels, i64 inner, i64 per_part) {
  constexpr int DEPTH = 4;  // packs on their way at once
  typedef Moments<Walk::CHANNELS> Own;
  __shared__ accumulator shared[Own::WORDS * MOST_THREADS / 2];
  Walk walk(outer, channels, inner, per_part);
  const ByChannel<Walk::CHANNELS> pivot(x, walk.channel, channels, inner);  // the first element of each channel
  Own own;
  while (walk.inside()) {
    Place places[DEPTH];
    Pack packs[DEPTH];
#pragma unroll
    for (int u = 0; u < DEPTH; u++) {
      places[u] = walk.next();
      packs[u] = load<PACKED>(x, places[u]);
    }
    own.template add<Walk>(packs, places, pivot);
  }
  combine_columns(own, shared);
  if (threadIdx.y != 0) return;
#pragma unroll
  for (int c = 0; c < Walk::CHANNELS; c++) {
    if (walk.channel + c >= channels) break;
    accumulator* part = partial + (walk.channel + c) * gridDim.y + blockIdx.y;
    const i64 apart = channels * gridDim.y;
    part[0] = own.count, part[apart] = own.mean[c], part[2 * apart] = own.squares[c];
  }
}

extern "C" __global__ void __launch_bounds__(256, 2)
batchnorm_statistics_rows(const scalar* __restrict__ x, accumulator* __restrict__ partial, i64 outer, i64 channels,
                          i64 inner, i64 per_part) {
  if (Rows::are_packs(channels, inner) && is_aligned(x))
    statistics<Rows, true>(x, partial, outer, channels, inner, per_part);
  else
    statistics<Rows, false>(x, partial, outer, channels, inner, per_part);
}

extern "C" __global__ void __launch_bounds__(256, 2)
batchnorm_statistics_planes(const scalar* __restrict__ x, accumulator* __restrict__ partial, i64 outer, i64 channels,
                            i64 inner, i64 per_part) {
  if (Planes::are_packs(channels, inner) && is_aligned(x))
    statistics<Planes, true>(x, partial, outer, channels, inner, per_part);
  else
    statistics<Planes, false>(x, partial, outer, channels, inner, per_part);
}

// Step 2: a warp puts together the parts of its channel, and finds the factors of the normalization. x is only for the
// pivots.
extern "C" __global__ void __launch_bounds__(256, 2)
batchnorm_statistics_of_parts(const scalar* __restrict__ x, const accumulator* __restrict__ partial,
                              const accumulator* __restrict__ weight, accumulator* __restrict__ mean,
                              accumulator* __restrict__ variance, accumulator* __restrict__ scale,
                              accumulator* __restrict__ factor, i64 channels, i64 inner, i64 parts, i64 count,
                              accumulator eps) {
  const i64 channel = (i64)blockIdx.x * SECOND_STEP_CHANNELS + threadIdx.y;
  if (channel >= channels) return;
  const accumulator* part = partial + channel * parts;
  const i64 apart = channels * parts;
  Moments<1> own;
  for (i64 p = threadIdx.x; p < parts; p += WARP) {
    Moments<1> other;
    other.count = part[p], other.mean[0] = part[apart + p], other.squares[0] = part[2 * apart + p];
    own.add(other);
  }
  combine_warp(own);
  if (threadIdx.x != 0) return;
  const accumulator spread = own.squares[0] / (accumulator)count, one_over = accumulator(1) / sqrt(spread + eps);
  mean[channel] = (accumulator)x[channel * inner] + own.mean[0];
  variance[channel] = spread;
  scale[channel] = one_over;
  factor[channel] = weight == nullptr ? one_over : one_over * weight[channel];
}

// The factors in evaluation, where the variance is given: a thread a channel.
extern "C" __global__ void __launch_bounds__(256, 4)
batchnorm_factors(const accumulator* __restrict__ variance, const accumulator* __restrict__ weight,
                  accumulator* __restrict__ scale, accumulator* __restrict__ factor, i64 channels, accumulator eps) {
  for (i64 channel = thread_index(); channel < channels; channel += thread_count()) {
    const accumulator one_over = accumulator(1) / sqrt(variance[channel] + eps);
    scale[channel] = one_over;
    factor[channel] = weight == nullptr ? one_over : one_over * weight[channel];
  }
}

// y, one read and one write. Without mean and bias they are 0.
template <typename Walk, bool PACKED>
__device__ __forceinline__ void normalize(
    const scalar* __restrict__ x, const accumulator* __restrict__ mean, const accumulator* __restrict__ factor,
    const accumulator* __restrict__ bias, scalar* __restrict__ y, i64 outer, i64 channels, i64 inner, i64 per_part,
    int with_relu) {
  constexpr int DEPTH = 4;
  Walk walk(outer, channels, inner, per_part);
  typedef ByChannel<Walk::CHANNELS> Values;
  const Values means(mean, walk.channel, channels), factors(factor, walk.channel, channels),
      biases(bias, walk.channel, channels);
  while (walk.inside()) {
    Place places[DEPTH];
    Pack packs[DEPTH];
#pragma unroll
    for (int u = 0; u < DEPTH; u++) {
      places[u] = walk.next();
      packs[u] = load<PACKED>(x, places[u]);
    }
#pragma unroll
    for (int u = 0; u < DEPTH; u++) {
#pragma unroll
      for (int k = 0; k < PACK; k++) {
        const int c = k % Walk::CHANNELS;
        const accumulator out = normalized((accumulator)packs[u].at[k] - means.at[c], factors.at[c], biases.at[c]);
        packs[u].at[k] = (scalar)(with_relu ? relu(out) : out);
      }
      store<PACKED>(y, places[u], packs[u]);
    }
  }
}

extern "C" __global__ void __launch_bounds__(256, 2)
batchnorm_normalize_rows(const scalar* __restrict__ x, const accumulator* __restrict__ mean,
                         const accumulator* __restrict__ factor, const accumulator* __restrict__ bias,
                         scalar* __restrict__ y, i64 outer, i64 channels, i64 inner, i64 per_part, int with_relu) {
  if (Rows::are_packs(channels, inner) && is_aligned(x) && is_aligned(y))
    normalize<Rows, true>(x, mean, factor, bias, y, outer, channels, inner, per_part, with_relu);
  else
    normalize<Rows, false>(x, mean, factor, bias, y, outer, channels, inner, per_part, with_relu);
}

extern "C" __global__ void __launch_bounds__(256, 2)
batchnorm_normalize_planes(const scalar* __restrict__ x, const accumulator* __restrict__ mean,
                           const accumulator* __restrict__ factor, const accumulator* __restrict__ bias,
                           scalar* __restrict__ y, i64 outer, i64 channels, i64 inner, i64 per_part, int with_relu) {
  if (Planes::are_packs(channels, inner) && is_aligned(x) && is_aligned(y))
    normalize<Planes, true>(x, mean, factor, bias, y, outer, channels, inner, per_part, with_relu);
  else
    normalize<Planes, false>(x, mean, factor, bias, y, outer, channels, inner, per_part, with_relu);
}
