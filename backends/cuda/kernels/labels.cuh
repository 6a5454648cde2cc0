// Labels out of range. A kernel never reads at such a label; it leaves a note on the device, which the host reads with
// the loss and makes an error of: `flag` is {row, label, classes, whether a label is ignored, which}, row -1 for nothing.
#pragma once
#include "common.cuh"

constexpr i64 NO_ROW = 0x7fffffffffffffff;

__device__ __forceinline__ bool is_class(i64 label, i64 classes) { return 0 <= label && label < classes; }

// All threads of the block get the smallest of their rows.
__device__ __forceinline__ i64 block_first(i64 row, i64* shared) { return -block_max(-row, shared); }

// For one thread of the grid. Only the first error since the host last looked is kept.
__device__ __forceinline__ void leave_note(
    i64* flag, i64 row, const i64* labels, i64 classes, int ignoring, i64 ignore_index) {
  if (row == NO_ROW || flag[0] >= 0) return;
  flag[0] = row, flag[1] = labels[row], flag[2] = classes, flag[3] = ignoring, flag[4] = ignore_index;
}
