// What forward and backward of batch normalization share.
//
// y = (x - mean) * factor + bias, with factor = weight / sqrt(variance + eps). What is of channels is in the accumulator's type.
//
// All kernels allow for two blocks on a multiprocessor, whose loads are enough to keep the memory busy. Left to itself the
// compiler would rather spill than have only three.
#pragma once
#include "activation_functions.cuh"
#include "channels.cuh"

constexpr int SECOND_STEP_CHANNELS = 8;  // of a block of the second steps, each a warp's

__device__ __forceinline__ accumulator normalized(accumulator centered, accumulator factor, accumulator bias) {
  return fma(centered, factor, bias);
}

// dy where ReLU let it through. What it cut off is told by y as it lay in memory, found again bit for bit.
__device__ __forceinline__ accumulator through_relu(
    accumulator centered, accumulator factor, accumulator bias, accumulator dy) {
  return relu_slope((accumulator)(scalar)normalized(centered, factor, bias), dy);
}
