// What forward and backward of batch normalization share.
//
// y = (x - mean) * factor + bias, with factor = weight / sqrt(variance + eps). What is of channels is in the accumulator's type.
#pragma once
#include "channels.cuh"

constexpr int SECOND_STEP_CHANNELS = 8;  // of a block of the second steps, each a warp's

// Backward must find it again bit for bit, to know what ReLU cut off: it is rounded as it lay in memory.
__device__ __forceinline__ accumulator normalized(accumulator centered, accumulator factor, accumulator bias) {
  return (accumulator)(scalar)fma(centered, factor, bias);
}
