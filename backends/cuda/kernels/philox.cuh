// Philox4x32-10, bit for bit that of backends/philox.py: random words that are a function of seed, stream and position alone.
//
// J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
#pragma once
#include "common.cuh"

constexpr int WORDS = 4;  // in a block of random words

struct RandomWords {
  u32 at[WORDS];
};

// Block `block` of a stream: the words of its elements 4 * block to 4 * block + 3.
__device__ __forceinline__ RandomWords random_words(u64 seed, u64 stream, u64 block) {
  u32 word0 = (u32)block, word1 = (u32)(block >> 32), word2 = (u32)stream, word3 = (u32)(stream >> 32);
  u32 key0 = (u32)seed, key1 = (u32)(seed >> 32);
#pragma unroll
  for (int round = 0; round < 10; round++) {
    const u64 product0 = (u64)word0 * 0xD2511F53u, product1 = (u64)word2 * 0xCD9E8D57u;
    word0 = (u32)(product1 >> 32) ^ word1 ^ key0;
    word1 = (u32)product1;
    word2 = (u32)(product0 >> 32) ^ word3 ^ key1;
    word3 = (u32)product0;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return {{word0, word1, word2, word3}};
}
