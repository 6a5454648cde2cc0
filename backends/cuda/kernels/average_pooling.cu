// Average pooling, by windows of one size or by cells that cover the plane (adaptive).
#include "common.cuh"
#include "windows.cuh"

__device__ __forceinline__ int at_least(int a, int b) { return a > b ? a : b; }
__device__ __forceinline__ int at_most(int a, int b) { return a < b ? a : b; }

// By what the sum of a window is divided: `divisor` where it is not 0, else the number of its elements. Padding counts as
// elements on request, an overhang at the end never.
__device__ __forceinline__ accumulator divisor_of(const Windows& w, int row, int column, int count_padding, i64 divisor) {
  if (divisor != 0) return (accumulator)divisor;
  int top = row * w.stride_y, left = column * w.stride_x, bottom, right;
  if (count_padding) {
    bottom = at_most(top + w.kernel_height, w.height + 2 * w.padding_y);
    right = at_most(left + w.kernel_width, w.width + 2 * w.padding_x);
  } else {
    bottom = at_most(top - w.padding_y + w.kernel_height, w.height);
    right = at_most(left - w.padding_x + w.kernel_width, w.width);
    top = at_least(top - w.padding_y, 0);
    left = at_least(left - w.padding_x, 0);
  }
  return (accumulator)(bottom - top) * (accumulator)(right - left);
}

// The sum of the rectangle [top, bottom) x [left, right) of a plane, row by row, over the divisor. `plane` points to
// the first of WIDTH channels.
template <int WIDTH>
__device__ __forceinline__ Several<scalar, WIDTH> mean(
    const scalar* __restrict__ plane, int width, int channels, int top, int bottom, int left, int right,
    accumulator divisor) {
  accumulator sum[WIDTH] = {};
  for (int y = top; y < bottom; y++) {
    for (int x = left; x < right; x++) {
      const Several<scalar, WIDTH> values = load<WIDTH>(plane + ((i64)y * width + x) * channels);
#pragma unroll
      for (int k = 0; k < WIDTH; k++) sum[k] += (accumulator)values.at[k];
    }
  }
  Several<scalar, WIDTH> result;
#pragma unroll
  for (int k = 0; k < WIDTH; k++) result.at[k] = (scalar)(sum[k] / divisor);
  return result;
}

template <int WIDTH>
__device__ __forceinline__ void average(
    const scalar* __restrict__ x, scalar* __restrict__ out, const Windows& w, int count_padding, i64 divisor) {
  const int packs = w.channels / WIDTH;
  const i64 count = w.images * w.out_height * w.out_width * packs;
  for (i64 i = thread_index(); i < count; i += thread_count()) {
    i64 image = i;
    const int channel = split(image, packs) * WIDTH;
    const int column = split(image, w.out_width);
    const int row = split(image, w.out_height);
    const int top = row * w.stride_y - w.padding_y, left = column * w.stride_x - w.padding_x;
    const scalar* plane = x + image * w.height * w.width * w.channels + channel;
    store(out + i * WIDTH,
          mean<WIDTH>(plane, w.width, w.channels, at_least(top, 0), at_most(top + w.kernel_height, w.height),
                      at_least(left, 0), at_most(left + w.kernel_width, w.width),
                      divisor_of(w, row, column, count_padding, divisor)));
  }
}

template <int WIDTH>
__device__ __forceinline__ void share_out(
    const scalar* __restrict__ dout, scalar* __restrict__ dx, const Windows& w, int count_padding, i64 divisor) {
  gather<WIDTH>(dx, w, [&](accumulator* sum, const Sight& at) {
    const Several<scalar, WIDTH> gradient = load<WIDTH>(dout + at.window * w.channels + at.channel);
    const accumulator among = divisor_of(w, at.row, at.column, count_padding, divisor);
#pragma unroll
    for (int k = 0; k < WIDTH; k++) sum[k] += (accumulator)gradient.at[k] / among;
  });
}

// A thread makes the mean of one window in a pack of channels. dilation is 1.
extern "C" __global__ void __launch_bounds__(256, 4)
average_pool_forward(const scalar* __restrict__ x, scalar* __restrict__ out,
                     i64 images, int channels, int height, int width, int out_height, int out_width,
                     int kernel_height, int kernel_width, int stride_y, int stride_x, int padding_y, int padding_x,
                     int dilation_y, int dilation_x, int count_padding, i64 divisor) {
  const Windows w{images, channels, height, width, out_height, out_width, kernel_height, kernel_width,
                  stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x};
  if (channels % PACK == 0 && is_aligned(x) && is_aligned(out))
    average<PACK>(x, out, w, count_padding, divisor);
  else
    average<1>(x, out, w, count_padding, divisor);
}

// dx of an element: its share of the windows that have it.
extern "C" __global__ void __launch_bounds__(256, 4)
average_pool_backward(const scalar* __restrict__ dout, scalar* __restrict__ dx,
                      i64 images, int channels, int height, int width, int out_height, int out_width,
                      int kernel_height, int kernel_width, int stride_y, int stride_x, int padding_y, int padding_x,
                      int dilation_y, int dilation_x, int count_padding, i64 divisor) {
  const Windows w{images, channels, height, width, out_height, out_width, kernel_height, kernel_width,
                  stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x};
  if (channels % PACK == 0 && is_aligned(dout) && is_aligned(dx))
    share_out<PACK>(dout, dx, w, count_padding, divisor);
  else
    share_out<1>(dout, dx, w, count_padding, divisor);
}

// Adaptive pooling: cell i of n along an axis of `size` elements is [begin_of(i), end_of(i)). Neighbours overlap where the
// division leaves a rest. The cells that have element y are, by the same formulas, those in
// [begin_of(y, size, n), end_of(y, size, n)).
__device__ __forceinline__ int begin_of(int i, int n, int size) { return i * size / n; }
__device__ __forceinline__ int end_of(int i, int n, int size) { return ((i + 1) * size + n - 1) / n; }

template <int WIDTH>
__device__ __forceinline__ void average_cells(
    const scalar* __restrict__ x, scalar* __restrict__ out, i64 images, int channels, int height, int width,
    int out_height, int out_width) {
  const int packs = channels / WIDTH;
  const i64 count = images * out_height * out_width * packs;
  for (i64 i = thread_index(); i < count; i += thread_count()) {
    i64 image = i;
    const int channel = split(image, packs) * WIDTH;
    const int column = split(image, out_width);
    const int row = split(image, out_height);
    const int top = begin_of(row, out_height, height), bottom = end_of(row, out_height, height);
    const int left = begin_of(column, out_width, width), right = end_of(column, out_width, width);
    store(out + i * WIDTH, mean<WIDTH>(x + image * height * width * channels + channel, width, channels, top, bottom,
                                       left, right, (accumulator)(bottom - top) * (accumulator)(right - left)));
  }
}

template <int WIDTH>
__device__ __forceinline__ void share_out_cells(
    const scalar* __restrict__ dout, scalar* __restrict__ dx, i64 images, int channels, int height, int width,
    int out_height, int out_width) {
  const int packs = channels / WIDTH;
  const i64 count = images * height * width * packs;
  for (i64 i = thread_index(); i < count; i += thread_count()) {
    i64 image = i;
    const int channel = split(image, packs) * WIDTH;
    const int x = split(image, width);
    const int y = split(image, height);
    const int last_row = end_of(y, height, out_height), last_column = end_of(x, width, out_width);
    accumulator sum[WIDTH] = {};
    for (int row = begin_of(y, height, out_height); row < last_row; row++) {
      const int rows = end_of(row, out_height, height) - begin_of(row, out_height, height);
      for (int column = begin_of(x, width, out_width); column < last_column; column++) {
        const int columns = end_of(column, out_width, width) - begin_of(column, out_width, width);
        const Several<scalar, WIDTH> gradient =
            load<WIDTH>(dout + ((image * out_height + row) * out_width + column) * channels + channel);
#pragma unroll
        for (int k = 0; k < WIDTH; k++) sum[k] += (accumulator)gradient.at[k] / ((accumulator)rows * (accumulator)columns);
      }
    }
    Several<scalar, WIDTH> result;
#pragma unroll
    for (int k = 0; k < WIDTH; k++) result.at[k] = (scalar)sum[k];
    store(dx + i * WIDTH, result);
  }
}

// A thread makes the mean of one cell in a pack of channels.
extern "C" __global__ void __launch_bounds__(256, 4)
adaptive_average_pool_forward(const scalar* __restrict__ x, scalar* __restrict__ out, i64 images, int channels,
                              int height, int width, int out_height, int out_width) {
  if (channels % PACK == 0 && is_aligned(x) && is_aligned(out))
    average_cells<PACK>(x, out, images, channels, height, width, out_height, out_width);
  else
    average_cells<1>(x, out, images, channels, height, width, out_height, out_width);
}

// The same for large cells of planes (channels-first memory), where threads side by side would read far apart: a warp makes
// the mean of one cell, its lanes take consecutive elements.
extern "C" __global__ void __launch_bounds__(256, 4)
adaptive_average_pool_forward_by_warp(const scalar* __restrict__ x, scalar* __restrict__ out, i64 planes,
                                      int height, int width, int out_height, int out_width) {
  const i64 count = planes * out_height * out_width, warps = thread_count() / WARP;
  for (i64 i = thread_index() / WARP; i < count; i += warps) {
    i64 plane = i;
    const int column = split(plane, out_width);
    const int row = split(plane, out_height);
    const int top = begin_of(row, out_height, height), rows = end_of(row, out_height, height) - top;
    const int left = begin_of(column, out_width, width), columns = end_of(column, out_width, width) - left;
    const scalar* corner = x + (plane * height + top) * width + left;
    accumulator sum = 0;
    for (int e = threadIdx.x % WARP; e < rows * columns; e += WARP) {
      const int y = e / columns;
      sum += (accumulator)corner[(i64)y * width + (e - y * columns)];
    }
    sum = warp_sum(sum);
    if (threadIdx.x % WARP == 0) out[i] = (scalar)(sum / ((accumulator)rows * (accumulator)columns));
  }
}

// dx of an element: its share of the cells that have it.
extern "C" __global__ void __launch_bounds__(256, 2)
adaptive_average_pool_backward(const scalar* __restrict__ dout, scalar* __restrict__ dx, i64 images, int channels,
                               int height, int width, int out_height, int out_width) {
  if (channels % PACK == 0 && is_aligned(dout) && is_aligned(dx))
    share_out_cells<PACK>(dout, dx, images, channels, height, width, out_height, out_width);
  else
    share_out_cells<1>(dout, dx, images, channels, height, width, out_height, out_width);
}
