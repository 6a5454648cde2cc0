// The check of labels alone, for losses without a kernel of their own.
#include "labels.cuh"

// One block reads all labels once, so that the first wrong row is the same in every run.
extern "C" __global__ void __launch_bounds__(1024)
check_labels(const i64* __restrict__ labels, i64* __restrict__ flag, i64 rows, i64 classes, int ignoring,
             i64 ignore_index) {
  __shared__ i64 shared[MOST_WARPS];
  i64 wrong = NO_ROW;
  for (i64 row = threadIdx.x; row < rows && wrong == NO_ROW; row += blockDim.x) {
    const i64 label = labels[row];
    if (!is_class(label, classes) && !(ignoring && label == ignore_index)) wrong = row;
  }
  wrong = block_first(wrong, shared);
  if (threadIdx.x == 0) leave_note(flag, wrong, labels, classes, ignoring, ignore_index);
}
