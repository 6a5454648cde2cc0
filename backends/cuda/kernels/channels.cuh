// How the threads of a block go through the elements of their channels, in both orders of memory.
//
// Memory is (outer, channels, inner): inner = 1 for rows of channels and channels-last images, a plane's pixels for
// channels-first. Each channel's elements are divided into parts of equal length; a block has part blockIdx.y of its
// channels, and of its threads those with an equal threadIdx.x have the same channels.
#pragma once
#include "common.cuh"

constexpr int MOST_THREADS = 256;

// Where a thread's next pack starts, and how many of its elements there are: none beyond the end.
struct Place {
  i64 offset;
  int valid;
};

// A pack has one element of each of PACK neighbouring channels; a warp reads rows side by side.
struct Rows {
  static constexpr int CHANNELS = PACK;  // that one thread has
  i64 channel, item, end, offset, step;
  int width;

  __device__ __forceinline__ Rows(i64 outer, i64 channels, i64 inner, i64 per_part) {
    channel = ((i64)blockIdx.x * blockDim.x + threadIdx.x) * PACK;
    const i64 begin = blockIdx.y * per_part, left = channels - channel;
    end = left <= 0 ? 0 : begin + per_part < outer ? begin + per_part : outer;
    width = left < PACK ? (int)left : PACK;
    item = begin + threadIdx.y;
    offset = item * channels + channel;
    step = blockDim.y * channels;
  }

  __device__ __forceinline__ bool inside() const { return item < end; }

  __device__ __forceinline__ Place next() {
    const Place here = {offset, item < end ? width : 0};
    item += blockDim.y;
    offset += step;
    return here;
  }

  static __device__ __forceinline__ int elements(int valid) { return valid > 0; }  // of one channel in a pack

  static __device__ __forceinline__ bool are_packs(i64 channels, i64 inner) { return channels % PACK == 0; }
};

// A pack has neighbouring pixels of one channel, blockIdx.x. The last one of a plane may be shorter.
struct Planes {
  static constexpr int CHANNELS = 1;
  i64 channel, item, end, pixels, channels, packs, image, pack, image_step, pack_step;

  __device__ __forceinline__ Planes(i64 outer, i64 all_channels, i64 inner, i64 per_part) {
    channel = blockIdx.x, channels = all_channels, pixels = inner;
    packs = (inner + PACK - 1) / PACK;
    const i64 begin = blockIdx.y * per_part, items = outer * packs;
    end = begin + per_part < items ? begin + per_part : items;
    item = begin + threadIdx.y;
    // Divided once; from then on counted up.
    image = item / packs, pack = item - image * packs;
    image_step = blockDim.y / packs, pack_step = blockDim.y - image_step * packs;
  }

  __device__ __forceinline__ bool inside() const { return item < end; }

  __device__ __forceinline__ Place next() {
    const i64 left = pixels - pack * PACK;
    const Place here = {(image * channels + channel) * pixels + pack * PACK,
                        item >= end ? 0 : left < PACK ? (int)left : PACK};
    item += blockDim.y;
    image += image_step;
    pack += pack_step;
    if (pack >= packs) {
      pack -= packs;
      image++;
    }
    return here;
  }

  static __device__ __forceinline__ int elements(int valid) { return valid; }

  static __device__ __forceinline__ bool are_packs(i64 channels, i64 inner) { return inner % PACK == 0; }
};

// Elements that are not there read as 0. PACKED: all places are aligned, and whole.
template <bool PACKED>
__device__ __forceinline__ Pack load(const scalar* __restrict__ x, Place place) {
  Pack in;
  if (PACKED && place.valid) return *reinterpret_cast<const Pack*>(x + place.offset);
#pragma unroll
  for (int k = 0; k < PACK; k++) in.at[k] = !PACKED && k < place.valid ? x[place.offset + k] : (scalar)0.0f;
  return in;
}

template <bool PACKED>
__device__ __forceinline__ void store(scalar* __restrict__ out, Place place, const Pack& pack) {
  if (PACKED) {
    if (place.valid) *reinterpret_cast<Pack*>(out + place.offset) = pack;
  } else {
#pragma unroll
    for (int k = 0; k < PACK; k++)
      if (k < place.valid) out[place.offset + k] = pack.at[k];
  }
}

// A number for each of a thread's channels, the first of which is `channel`: values[channel * step], or 0 without values.
template <int CHANNELS>
struct ByChannel {
  accumulator at[CHANNELS];

  template <typename T>
  __device__ __forceinline__ ByChannel(const T* __restrict__ values, i64 channel, i64 channels, i64 step = 1) {
#pragma unroll
    for (int c = 0; c < CHANNELS; c++)
      at[c] = values != nullptr && channel + c < channels ? (accumulator)values[(channel + c) * step] : accumulator(0);
  }
};

// The threads of each column (of an equal threadIdx.x) put together what they have, as a tree: own.add(other) along
// threadIdx.y, whose number is a power of two. The thread with threadIdx.y = 0 has it all. T::each(f) calls f for each of its
// T::WORDS numbers; `shared` has T::WORDS * MOST_THREADS / 2.
template <typename T>
__device__ __forceinline__ void combine_columns(T& own, accumulator* shared) {
  const int thread = threadIdx.y * blockDim.x + threadIdx.x;
  for (int half = blockDim.y / 2; half > 0; half /= 2) {
    const int takers = half * blockDim.x;
    __syncthreads();  // those of the round before have read theirs
    if (thread >= takers && thread < 2 * takers) {
      accumulator* word = shared + thread - takers;
      own.each([&](accumulator& value) { *word = value, word += takers; });
    }
    __syncthreads();
    if (thread < takers) {
      T other;
      accumulator* word = shared + thread;
      other.each([&](accumulator& value) { value = *word, word += takers; });
      own.add(other);
    }
  }
}

// The same for the lanes of a full warp; lane 0 has it all.
template <typename T>
__device__ __forceinline__ void combine_warp(T& own) {
#pragma unroll
  for (int distance = WARP / 2; distance > 0; distance /= 2) {
    T other = own;
    other.each([&](accumulator& value) { value = __shfl_down_sync(ALL_LANES, value, distance); });
    own.add(other);
  }
}
