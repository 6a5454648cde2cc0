// Sliding windows over images that lie in memory as (images, height, width, channels).
//
// Planes of channels-first memory are the same thing with one channel, each plane an image of its own. So one text serves
// both orders, and in both consecutive threads take consecutive elements of what they write.
//
// The kernels over windows are compiled for 4 blocks of 256 threads a multiprocessor, which leaves 64 registers a thread.
// Left to itself the compiler aims at more threads, and keeps what they need in memory.
#pragma once
#include "common.cuh"

// Windows of kernel_height x kernel_width elements that stand dilation apart, every stride elements of the padded image.
// Places within an image are int, which the host sees to; whatever counts elements of memory is i64.
struct Windows {
  i64 images;
  int channels, height, width, out_height, out_width, kernel_height, kernel_width;
  int stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x;
};

// Neighbouring channels that one thread moves in one instruction: a PACK of them, or 1 where their number has a rest.
template <typename T, int WIDTH>
struct alignas(sizeof(T) * WIDTH < 16 ? sizeof(T) * WIDTH : 16) Several {
  T at[WIDTH];
};

template <int WIDTH, typename T>
__device__ __forceinline__ Several<T, WIDTH> load(const T* memory) {
  return *reinterpret_cast<const Several<T, WIDTH>*>(memory);
}

template <int WIDTH, typename T>
__device__ __forceinline__ void store(T* memory, const Several<T, WIDTH>& values) {
  *reinterpret_cast<Several<T, WIDTH>*>(memory) = values;
}

// Splits the number of an element into its place along the last axis, of `length`, and the number of what lies before it.
__device__ __forceinline__ int split(i64& number, int length) {
  if (length == 1) return 0;  // the one channel of a plane
  const i64 before = number / length;
  const int place = (int)(number - before * length);
  number = before;
  return place;
}

// Which element of the kernel stands `offset` from the window's first; -1 where dilation leaves a gap there.
__device__ __forceinline__ int kernel_place(int offset, int dilation) {
  if (dilation == 1) return offset;
  const int place = offset / dilation;
  return place * dilation == offset ? place : -1;
}

// An element of the image in one of the windows that have it.
struct Sight {
  i64 window;       // number of the window in (images, out_height, out_width)
  int row, column;  // the window's place
  int u, v;         // which element of the kernel it is there
  int y, x;         // where it stands in the image
  int channel;      // the first of WIDTH
};

// dx = the sum over all windows that have the element, which add(sum, sight) adds to one after another: the gradient as a
// gather. Each dx is written once, by one thread, in a fixed order; no atomics, and nothing to set to zero beforehand.
//
// A thread takes a cell: the stride_y x stride_x elements of the padded image at which the same windows begin or have begun.
// So it divides once a cell, and not once for each element to find its windows: going back by one window is going
// forward by one stride in the kernel.
template <int WIDTH, typename F>
__device__ __forceinline__ void gather(scalar* __restrict__ dx, const Windows& w, F add) {
  const int rows = (w.height + w.padding_y - 1) / w.stride_y + 1, columns = (w.width + w.padding_x - 1) / w.stride_x + 1;
  const int packs = w.channels / WIDTH;
  const i64 cells = w.images * rows * columns * packs;
  const int extent_y = w.dilation_y * (w.kernel_height - 1) + 1, extent_x = w.dilation_x * (w.kernel_width - 1) + 1;
  for (i64 i = thread_index(); i < cells; i += thread_count()) {
    i64 image = i;
    Sight at;
    at.channel = split(image, packs) * WIDTH;
    const int cell_x = split(image, columns);
    const int cell_y = split(image, rows);
    for (int from_y = 0; from_y < w.stride_y; from_y++) {
      at.y = cell_y * w.stride_y + from_y - w.padding_y;
      if (at.y < 0 || at.y >= w.height) continue;
      for (int from_x = 0; from_x < w.stride_x; from_x++) {
        at.x = cell_x * w.stride_x + from_x - w.padding_x;
        if (at.x < 0 || at.x >= w.width) continue;
        accumulator sum[WIDTH] = {};
        at.row = cell_y;
        for (int offset_y = from_y; offset_y < extent_y && at.row >= 0; offset_y += w.stride_y, at.row--) {
          at.u = kernel_place(offset_y, w.dilation_y);
          if (at.row >= w.out_height || at.u < 0) continue;
          at.column = cell_x;
          for (int offset_x = from_x; offset_x < extent_x && at.column >= 0; offset_x += w.stride_x, at.column--) {
            at.v = kernel_place(offset_x, w.dilation_x);
            if (at.column >= w.out_width || at.v < 0) continue;
            at.window = (image * w.out_height + at.row) * w.out_width + at.column;
            add(sum, at);
          }
        }
        Several<scalar, WIDTH> result;
#pragma unroll
        for (int k = 0; k < WIDTH; k++) result.at[k] = (scalar)sum[k];
        store(dx + ((image * w.height + at.y) * w.width + at.x) * w.channels + at.channel, result);
      }
    }
  }
}
