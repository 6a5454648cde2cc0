// Max pooling. The winner of a window is the first of its largest elements, or its first NaN.
//
// Parameters of all kernels here: see Windows in windows.cuh.
#include "common.cuh"
#include "windows.cuh"

// How forward writes down who won. The number of the kernel's element takes a byte where the kernel has at most 255.
struct PlaceInKernel {
  typedef unsigned char type;
  static constexpr type NOBODY = 255;  // the window lies in the padding
  static __device__ __forceinline__ type of(const Windows& w, int u, int v, int, int) {
    return (type)(u * w.kernel_width + v);
  }
};

// What users call the index: where in its plane the element stands.
struct PositionInPlane {
  typedef i64 type;
  static constexpr type NOBODY = -1;
  static __device__ __forceinline__ type of(const Windows& w, int, int, int y, int x) {
    return (i64)y * w.width + x;
  }
};

template <int WIDTH, typename Winner>
__device__ __forceinline__ void find_winners(
    const scalar* __restrict__ x, scalar* __restrict__ out, typename Winner::type* __restrict__ winners,
    const Windows& w) {
  const int packs = w.channels / WIDTH;
  const i64 count = w.images * w.out_height * w.out_width * packs;
  for (i64 i = thread_index(); i < count; i += thread_count()) {
    i64 image = i;
    const int channel = split(image, packs) * WIDTH;
    const int left = split(image, w.out_width) * w.stride_x - w.padding_x;
    const int top = split(image, w.out_height) * w.stride_y - w.padding_y;
    accumulator best[WIDTH];
    Several<typename Winner::type, WIDTH> winner;
#pragma unroll
    for (int k = 0; k < WIDTH; k++) {
      best[k] = (accumulator)-__int_as_float(0x7f800000);  // -infinity
      winner.at[k] = Winner::NOBODY;
    }
    bool first = true;
    for (int u = 0; u < w.kernel_height; u++) {
      const int y = top + u * w.dilation_y;
      if (y < 0 || y >= w.height) continue;
      const scalar* row = x + (image * w.height + y) * w.width * w.channels + channel;
      for (int v = 0; v < w.kernel_width; v++) {
        const int column = left + v * w.dilation_x;
        if (column < 0 || column >= w.width) continue;
        const Several<scalar, WIDTH> values = load<WIDTH>(row + (i64)column * w.channels);
        const typename Winner::type place = Winner::of(w, u, v, y, column);
#pragma unroll
        for (int k = 0; k < WIDTH; k++) {
          const accumulator value = (accumulator)values.at[k];
          // !(value <= best) is true for a larger value and for NaN on either side; a NaN that came first stays.
          if (first || (!(value <= best[k]) && best[k] == best[k])) {
            best[k] = value;
            winner.at[k] = place;
          }
        }
        first = false;
      }
    }
    Several<scalar, WIDTH> result;
#pragma unroll
    for (int k = 0; k < WIDTH; k++) result.at[k] = (scalar)best[k];
    store(out + i * WIDTH, result);
    store(winners + i * WIDTH, winner);
  }
}

template <int WIDTH, typename Winner>
__device__ __forceinline__ void reward_winners(
    const scalar* __restrict__ dout, const typename Winner::type* __restrict__ winners, scalar* __restrict__ dx,
    const Windows& w) {
  gather<WIDTH>(dx, w, [&](accumulator* sum, const Sight& at) {
    const i64 index = at.window * w.channels + at.channel;
    const Several<scalar, WIDTH> gradient = load<WIDTH>(dout + index);
    const Several<typename Winner::type, WIDTH> winner = load<WIDTH>(winners + index);
    const typename Winner::type place = Winner::of(w, at.u, at.v, at.y, at.x);
#pragma unroll
    for (int k = 0; k < WIDTH; k++)
      if (winner.at[k] == place) sum[k] += (accumulator)gradient.at[k];
  });
}

// A thread makes one window's maximum in a pack of channels. Windows that overlap read an element again, from the cache.
extern "C" __global__ void __launch_bounds__(256, 4)
max_pool_forward(const scalar* __restrict__ x, scalar* __restrict__ out, unsigned char* __restrict__ winners,
                 i64 images, int channels, int height, int width, int out_height, int out_width,
                 int kernel_height, int kernel_width, int stride_y, int stride_x, int padding_y, int padding_x,
                 int dilation_y, int dilation_x) {
  const Windows w{images, channels, height, width, out_height, out_width, kernel_height, kernel_width,
                  stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x};
  if (channels % PACK == 0 && is_aligned(x) && is_aligned(out) && is_aligned(winners))
    find_winners<PACK, PlaceInKernel>(x, out, winners, w);
  else
    find_winners<1, PlaceInKernel>(x, out, winners, w);
}

// The same for kernels of any size, and for users who ask for the indices.
extern "C" __global__ void __launch_bounds__(256, 4)
max_pool_with_indices_forward(const scalar* __restrict__ x, scalar* __restrict__ out, i64* __restrict__ indices,
                              i64 images, int channels, int height, int width, int out_height, int out_width,
                              int kernel_height, int kernel_width, int stride_y, int stride_x,
                              int padding_y, int padding_x, int dilation_y, int dilation_x) {
  const Windows w{images, channels, height, width, out_height, out_width, kernel_height, kernel_width,
                  stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x};
  find_winners<1, PositionInPlane>(x, out, indices, w);
}

// dx of an element: the sum over the windows that it won. dout and winners are read once where windows do not overlap, dx
// is written once.
extern "C" __global__ void __launch_bounds__(256, 4)
max_pool_backward(const scalar* __restrict__ dout, const unsigned char* __restrict__ winners, scalar* __restrict__ dx,
                  i64 images, int channels, int height, int width, int out_height, int out_width,
                  int kernel_height, int kernel_width, int stride_y, int stride_x, int padding_y, int padding_x,
                  int dilation_y, int dilation_x) {
  const Windows w{images, channels, height, width, out_height, out_width, kernel_height, kernel_width,
                  stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x};
  if (channels % PACK == 0 && is_aligned(dout) && is_aligned(winners) && is_aligned(dx))
    reward_winners<PACK, PlaceInKernel>(dout, winners, dx, w);
  else
    reward_winners<1, PlaceInKernel>(dout, winners, dx, w);
}

extern "C" __global__ void __launch_bounds__(256, 4)
max_pool_with_indices_backward(const scalar* __restrict__ dout, const i64* __restrict__ indices,
                               scalar* __restrict__ dx,
                               i64 images, int channels, int height, int width, int out_height, int out_width,
                               int kernel_height, int kernel_width, int stride_y, int stride_x,
                               int padding_y, int padding_x, int dilation_y, int dilation_x) {
  const Windows w{images, channels, height, width, out_height, out_width, kernel_height, kernel_width,
                  stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x};
  reward_winners<1, PositionInPlane>(dout, indices, dx, w);
}
