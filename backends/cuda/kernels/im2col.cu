// Convolution as a matrix product: the windows as rows of a matrix, and back.
//
// K. Chellapilla, S. Puri and P. Simard, "High performance convolutional neural networks for document processing", 2006.
// x is (images, height, width, channels), columns (groups, windows, kernel_height * kernel_width * channels / groups).
#include "common.cuh"
#include "windows.cuh"

constexpr int RUN = 8;  // windows that one thread takes one after another

template <int WIDTH>
__device__ __forceinline__ void unfold(
    const scalar* __restrict__ x, scalar* __restrict__ columns, const Windows& w, int groups) {
  const int channels = w.channels / groups, packs = channels / WIDTH, places = w.kernel_height * w.kernel_width;
  const i64 windows = w.images * w.out_height * w.out_width, runs = (windows + RUN - 1) / RUN;
  const i64 line = (i64)groups * places * packs;  // packs of all groups' rows of one window
  for (i64 i = (i64)blockIdx.y * blockDim.x + threadIdx.x; i < line; i += (i64)gridDim.y * blockDim.x) {
    i64 group = i;
    const int channel = split(group, packs) * WIDTH;
    const int v = split(group, w.kernel_width);
    const int u = split(group, w.kernel_height);
    const scalar* from = x + group * channels + channel;
    scalar* to = columns + (group * windows * places + u * w.kernel_width + v) * channels + channel;
    for (i64 run = (i64)blockIdx.x * blockDim.y + threadIdx.y; run < runs; run += (i64)gridDim.x * blockDim.y) {
      const i64 first = run * RUN, end = first + RUN < windows ? first + RUN : windows;
      i64 image = first;
      int column = split(image, w.out_width);
      int row = split(image, w.out_height);
      for (i64 window = first; window < end; window++) {
        const int y = row * w.stride_y - w.padding_y + u * w.dilation_y;
        const int z = column * w.stride_x - w.padding_x + v * w.dilation_x;
        Several<scalar, WIDTH> values;
        if (y >= 0 && y < w.height && z >= 0 && z < w.width) {
          values = load<WIDTH>(from + ((image * w.height + y) * w.width + z) * w.channels);
        } else {
#pragma unroll
          for (int k = 0; k < WIDTH; k++) values.at[k] = (scalar)accumulator(0);
        }
        store(to + window * places * channels, values);
        if (++column == w.out_width) {
          column = 0;
          if (++row == w.out_height) {
            row = 0;
            image++;
          }
        }
      }
    }
  }
}

template <int WIDTH>
__device__ __forceinline__ void fold(
    const scalar* __restrict__ columns, scalar* __restrict__ dx, const Windows& w, int groups) {
  const int channels = w.channels / groups, places = w.kernel_height * w.kernel_width;
  const i64 windows = w.images * w.out_height * w.out_width;
  gather<WIDTH>(dx, w, [&](accumulator* sum, const Sight& at) {
    const int group = groups == 1 ? 0 : at.channel / channels;
    const i64 element = (group * windows + at.window) * places + at.u * w.kernel_width + at.v;
    const Several<scalar, WIDTH> values = load<WIDTH>(columns + element * channels + at.channel - group * channels);
#pragma unroll
    for (int k = 0; k < WIDTH; k++) sum[k] += (accumulator)values.at[k];
  });
}

// threadIdx.x and blockIdx.y go along a row of columns, so that neighbours write side by side; threadIdx.y and blockIdx.x
// over runs of windows. A thread keeps its place in the kernel, and its window moves on by one: it divides once a run.
// Every element of columns is written once; x is read as often as windows overlap, mostly from the cache.
extern "C" __global__ void __launch_bounds__(256, 4)
im2col(const scalar* __restrict__ x, scalar* __restrict__ columns,
       i64 images, int channels, int height, int width, int out_height, int out_width,
       int kernel_height, int kernel_width, int stride_y, int stride_x, int padding_y, int padding_x,
       int dilation_y, int dilation_x, int groups) {
  const Windows w{images, channels, height, width, out_height, out_width, kernel_height, kernel_width,
                  stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x};
  if (channels / groups % PACK == 0 && is_aligned(x) && is_aligned(columns))
    unfold<PACK>(x, columns, w, groups);
  else
    unfold<1>(x, columns, w, groups);
}

// The transpose: dx of an element is the sum of its places in columns. Both are read or written once.
extern "C" __global__ void __launch_bounds__(256, 4)
col2im(const scalar* __restrict__ columns, scalar* __restrict__ dx,
       i64 images, int channels, int height, int width, int out_height, int out_width,
       int kernel_height, int kernel_width, int stride_y, int stride_x, int padding_y, int padding_x,
       int dilation_y, int dilation_x, int groups) {
  const Windows w{images, channels, height, width, out_height, out_width, kernel_height, kernel_width,
                  stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x};
  if (channels / groups % PACK == 0 && is_aligned(columns) && is_aligned(dx))
    fold<PACK>(columns, dx, w, groups);
  else
    fold<1>(columns, dx, w, groups);
}
