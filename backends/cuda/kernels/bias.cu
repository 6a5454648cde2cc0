// A bias for each channel, alone and with ReLU, and the sums a channel that are its gradient.
//
// Memory is (outer, channels, inner): inner = 1 for rows and channels-last images, a plane's pixels for channels-first.
#include "common.cuh"
#include "activation_functions.cuh"

constexpr int ROWS = 8;  // rows of threads in a block of row sums, a warp each

// out[i] = f(x[i] + bias of its channel); out may be x. A pack is of one row of channels, or has one bias.
template <typename F>
__device__ __forceinline__ void with_bias(
    const scalar* x, const scalar* __restrict__ bias, scalar* out, i64 count, i64 channels, i64 inner, F f) {
  const bool fits = inner == 1 ? channels % PACK == 0 && is_aligned(bias) : inner % PACK == 0;
  const i64 packs = fits && is_aligned(x) && is_aligned(out) ? count / PACK : 0;
  for (i64 i = thread_index(); i < packs; i += thread_count()) {
    const i64 channel = (inner == 1 ? i * PACK : i * PACK / inner) % channels;
    const Pack in = reinterpret_cast<const Pack*>(x)[i];
    Pack added, result;
    if (inner == 1) {
      added = *reinterpret_cast<const Pack*>(bias + channel);
    } else {
      const scalar one = bias[channel];
#pragma unroll
      for (int k = 0; k < PACK; k++) added.at[k] = one;
    }
#pragma unroll
    for (int k = 0; k < PACK; k++) result.at[k] = (scalar)f((accumulator)in.at[k] + (accumulator)added.at[k]);
    reinterpret_cast<Pack*>(out)[i] = result;
  }
  for (i64 i = packs * PACK + thread_index(); i < count; i += thread_count())
    out[i] = (scalar)f((accumulator)x[i] + (accumulator)bias[i / inner % channels]);
}

// In place, on the product of a linear layer or a convolution: read once, written once.
extern "C" __global__ void __launch_bounds__(256, 4)
bias_forward(scalar* out, const scalar* __restrict__ bias, i64 count, i64 channels, i64 inner) {
  with_bias(out, bias, out, count, channels, inner, [](accumulator v) { return v; });
}

extern "C" __global__ void __launch_bounds__(256, 4)
bias_relu_forward(const scalar* __restrict__ x, const scalar* __restrict__ bias, scalar* __restrict__ out, i64 count,
                  i64 channels, i64 inner) {
  with_bias(x, bias, out, count, channels, inner, [](accumulator v) { return relu(v); });
}

// Sums over the rows of a (rows, columns) matrix. A block of 32 x ROWS threads has 32 columns (or packs of them) and one
// part of the rows: part blockIdx.y is rows_per_part rows. They go to line blockIdx.y of `partial`, or, where there is one
// part only, to `sums`; the other one is null. element(index) gives one value and is called once for each.
template <typename F>
__device__ __forceinline__ void add_rows(
    accumulator* __restrict__ partial, scalar* __restrict__ sums, i64 rows, i64 columns, i64 rows_per_part, F element) {
  __shared__ accumulator shared[ROWS][WARP];
  const i64 begin = blockIdx.y * rows_per_part, end = begin + rows_per_part < rows ? begin + rows_per_part : rows;
  for (i64 first = (i64)blockIdx.x * WARP; first < columns; first += (i64)gridDim.x * WARP) {
    const i64 column = first + threadIdx.x;
    accumulator sum = 0;
    if (column < columns)
      for (i64 row = begin + threadIdx.y; row < end; row += ROWS) sum += element(row * columns + column);
    __syncthreads();  // the sums of the columns before have been read
    shared[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < columns) {
      for (int row = 1; row < ROWS; row++) sum += shared[row][threadIdx.x];
      if (partial != nullptr) partial[blockIdx.y * columns + column] = sum;
      else sums[column] = (scalar)sum;
    }
  }
}

// The gradient of a bias: dout is read once.
extern "C" __global__ void __launch_bounds__(256, 4)
row_sums(const scalar* __restrict__ dout, accumulator* __restrict__ partial, scalar* __restrict__ sums, i64 rows,
         i64 columns, i64 rows_per_part) {
  add_rows(partial, sums, rows, columns, rows_per_part, [=](i64 i) { return (accumulator)dout[i]; });
}

// The second step, over the parts of the first.
extern "C" __global__ void __launch_bounds__(256, 4)
sums_of_parts(const accumulator* __restrict__ partial, scalar* __restrict__ sums, i64 parts, i64 columns) {
  add_rows(nullptr, sums, parts, columns, parts, [=](i64 i) { return partial[i]; });
}

// dx = dout where the result is not 0, and its sums a channel, from one reading: rows and channels-last images.
extern "C" __global__ void __launch_bounds__(256, 4)
bias_relu_backward(const scalar* __restrict__ out, const scalar* __restrict__ dout, scalar* __restrict__ dx,
                   accumulator* __restrict__ partial, scalar* __restrict__ sums, i64 rows, i64 columns,
                   i64 rows_per_part) {
  add_rows(partial, sums, rows, columns, rows_per_part, [=](i64 i) {
    const accumulator slope = relu_slope((accumulator)out[i], (accumulator)dout[i]);
    dx[i] = (scalar)slope;
    return slope;
  });
}

// The same for channels-first memory: a block has one channel (blockIdx.x) of images_per_part images (part blockIdx.y).
extern "C" __global__ void __launch_bounds__(256, 4)
bias_relu_backward_of_planes(const scalar* __restrict__ out, const scalar* __restrict__ dout, scalar* __restrict__ dx,
                             accumulator* __restrict__ partial, i64 images, i64 channels, i64 pixels,
                             i64 images_per_part) {
  __shared__ accumulator shared[MOST_WARPS];
  const i64 begin = blockIdx.y * images_per_part;
  const i64 mine = begin + images_per_part < images ? images_per_part : images - begin;
  for (i64 channel = blockIdx.x; channel < channels; channel += gridDim.x) {
    accumulator sum = 0;
    for (i64 e = threadIdx.x; e < mine * pixels; e += blockDim.x) {
      const i64 image = e / pixels;
      const i64 i = ((begin + image) * channels + channel) * pixels + (e - image * pixels);
      const accumulator slope = relu_slope((accumulator)out[i], (accumulator)dout[i]);
      dx[i] = (scalar)slope;
      sum += slope;
    }
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) partial[blockIdx.y * channels + channel] = sum;
  }
}
