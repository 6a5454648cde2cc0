// Dropout, forward and backward alike: the mask is made anew from seed and stream, never stored.
//
// Element i, counted in the order of the shape, is kept where the upper 24 bits of its random word are at least `threshold`.
#include "common.cuh"
#include "philox.cuh"

// Bit k says whether element k of a block of random words is kept.
__device__ __forceinline__ u32 kept_of_block(u64 seed, u64 stream, u64 block, u32 threshold) {
  const RandomWords words = random_words(seed, stream, block);
  u32 kept = 0;
#pragma unroll
  for (int k = 0; k < WORDS; k++) kept |= (u32)((words.at[k] >> 8) >= threshold) << k;
  return kept;
}

// A product even where it is dropped: NaN and infinity times 0 stay NaN, so that failed training is not hidden.
__device__ __forceinline__ scalar dropped(scalar x, u32 kept, int k, accumulator scale) {
  return (scalar)((accumulator)x * ((kept >> k) & 1u ? scale : accumulator(0)));
}

// Memory in the order of the shape. A thread takes whole packs and whole blocks of random words at a time, so that no word is
// made twice: 4 elements, 8 of half precision. Read once, written once.
extern "C" __global__ void __launch_bounds__(256)
dropout(const scalar* __restrict__ x, scalar* __restrict__ out, accumulator scale, u32 threshold, u64 seed, u64 stream,
        const u64* __restrict__ stream_base, i64 count) {
  constexpr int TURN = PACK > WORDS ? PACK : WORDS;
  if (stream_base) stream += *stream_base;
  const bool aligned = is_aligned(x) && is_aligned(out);
  for (i64 first = thread_index() * TURN; first < count; first += thread_count() * TURN) {
    u32 kept = 0;
#pragma unroll
    for (int block = 0; block < TURN / WORDS; block++)
      kept |= kept_of_block(seed, stream, (u64)(first / WORDS + block), threshold) << (block * WORDS);
    if (aligned && first + TURN <= count) {
#pragma unroll
      for (int pack = 0; pack < TURN / PACK; pack++) {
        const Pack in = reinterpret_cast<const Pack*>(x + first)[pack];
        Pack result;
#pragma unroll
        for (int k = 0; k < PACK; k++) result.at[k] = dropped(in.at[k], kept, pack * PACK + k, scale);
        reinterpret_cast<Pack*>(out + first)[pack] = result;
      }
    } else {
      for (int k = 0; k < TURN && first + k < count; k++) out[first + k] = dropped(x[first + k], kept, k, scale);
    }
  }
}

// (images, pixels, channels) in memory, counted as (images, channels, pixels). A thread takes 4 pixels of one channel, whose
// numbers follow each other: they need one block of random words, or two where `pixels` is no multiple of 4. Neighbouring
// threads take neighbouring channels, which lie side by side. Read once, written once.
extern "C" __global__ void __launch_bounds__(256)
dropout_channels_last(const scalar* __restrict__ x, scalar* __restrict__ out, accumulator scale, u32 threshold, u64 seed,
                      u64 stream, const u64* __restrict__ stream_base, i64 images, i64 channels, i64 pixels) {
  if (stream_base) stream += *stream_base;
  const i64 turns = (pixels + WORDS - 1) / WORDS;
  for (i64 i = thread_index(); i < images * turns * channels; i += thread_count()) {
    const i64 row = i / channels, channel = i - row * channels;
    const i64 image = row / turns, pixel = (row - image * turns) * WORDS;
    const i64 number = (image * channels + channel) * pixels + pixel;
    const int offset = (int)number & (WORDS - 1);
    u32 kept = kept_of_block(seed, stream, (u64)(number / WORDS), threshold);
    if (offset) kept = (kept | kept_of_block(seed, stream, (u64)(number / WORDS + 1), threshold) << WORDS) >> offset;
    const i64 place = (image * pixels + pixel) * channels + channel;
#pragma unroll
    for (int k = 0; k < WORDS; k++)
      if (pixel + k < pixels) out[place + k * channels] = dropped(x[place + k * channels], kept, k, scale);
  }
}
