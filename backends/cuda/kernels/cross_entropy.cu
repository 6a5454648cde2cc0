// Softmax-cross-entropy: the loss of each row and its gradient in one pass over the scores, then one small block that adds
// up the losses.
//
// The gradient is stored before the division by the sum of weights, which is not known until all rows are done: backward
// multiplies by the gradient of the loss anyway, and divides in the same go. It also keeps float16 from underflow.
#include "common.cuh"
#include "map.cuh"
#include "rows.cuh"
#include "targets.cuh"

// What one thread has seen of its rows.
struct Tally {
  accumulator loss = 0, weight = 0;
  i64 wrong = NO_ROW;

  template <typename Row>
  __device__ __forceinline__ void add(const Row& target, accumulator row_loss, i64 row) {
    loss += row_loss;
    weight += target.weight;
    if (target.wrong && row < wrong) wrong = row;
  }
};

// share log(total) - score: the loss of a row with sum_c t_c = share, sum_c exp(x_c - max) = total and
// sum_c t_c (x_c - max) = score. A row without targets loses nothing, whatever its scores are.
__device__ __forceinline__ accumulator row_loss(accumulator share, accumulator total, accumulator score) {
  return (share == 0 ? accumulator(0) : share * log(total)) - score;
}

template <int WIDTH, typename Targets>
__device__ __forceinline__ void short_rows(
    const scalar* logits, const Targets& targets, scalar* gradient, scalar* losses, i64 rows, i64 classes, Tally& tally) {
  const int pieces = classes / WIDTH;
  const Group group(pieces);
  for (i64 first = group.first(); first < rows; first += group.stride()) {
    const i64 row = group.row(first, rows);
    const Piece<WIDTH>* from = pieces_of<WIDTH>(logits + row * classes);
    const typename Targets::Row target = targets.row(row);
    accumulator value[ITEMS], largest = LOWEST, total = 0, share = 0, score = 0;
    group.each<WIDTH>(pieces, [&](int item, int piece) {
      const Piece<WIDTH> in = from[piece];
#pragma unroll
      for (int k = 0; k < WIDTH; k++) value[item + k] = (accumulator)in.at[k];
    });
    group.each<WIDTH>(pieces, [&](int item, int) {
#pragma unroll
      for (int k = 0; k < WIDTH; k++) largest = larger(largest, value[item + k]);
    });
    largest = group.max(largest);
    group.each<WIDTH>(pieces, [&](int item, int piece) {
#pragma unroll
      for (int k = 0; k < WIDTH; k++) {
        const accumulator shifted = value[item + k] - largest, t = target((i64)piece * WIDTH + k);
        value[item + k] = exp(shifted);
        total += value[item + k];
        share += t;
        if (t != 0) score += t * shifted;  // 0 times minus infinity would be NaN
      }
    });
    total = group.sum(total), share = group.sum(share), score = group.sum(score);
    if (!group.has_row(first, rows)) continue;
    const accumulator factor = share / total;
    Piece<WIDTH>* to = pieces_of<WIDTH>(gradient + row * classes);
    group.each<WIDTH>(pieces, [&](int item, int piece) {
      Piece<WIDTH> result;
#pragma unroll
      for (int k = 0; k < WIDTH; k++)
        result.at[k] = (scalar)(value[item + k] * factor - target((i64)piece * WIDTH + k));
      to[piece] = result;
    });
    if (group.lane == 0) {
      const accumulator loss = row_loss(share, total, score);
      tally.add(target, loss, row);
      if (losses) losses[row] = (scalar)loss;
    }
  }
}

template <int WIDTH, typename Targets>
__device__ __forceinline__ void long_rows(const scalar* logits, const Targets& targets, scalar* gradient, scalar* losses,
                                          i64 rows, i64 classes, Tally& tally, Piece<WIDTH>* kept, accumulator* shared) {
  const i64 pieces = classes / WIDTH;
  for (i64 row = blockIdx.x; row < rows; row += gridDim.x) {
    const Piece<WIDTH>* from = pieces_of<WIDTH>(logits + row * classes);
    Piece<WIDTH>* to = pieces_of<WIDTH>(gradient + row * classes);
    const typename Targets::Row target = targets.row(row);
    Peak peak;
    accumulator share = 0, score = 0;
#pragma unroll 1
    for (i64 p = threadIdx.x; p < pieces; p += blockDim.x) {
      const Piece<WIDTH> in = from[p];
      if (kept) kept[p] = in;
#pragma unroll
      for (int k = 0; k < WIDTH; k++) {
        peak.add((accumulator)in.at[k]);
        share += target(p * WIDTH + k);
      }
    }
    peak.combine(shared);
    share = block_sum(share, shared);
    const accumulator factor = share / peak.total;
    const Piece<WIDTH>* again = kept ? kept : from;
#pragma unroll 1
    for (i64 p = threadIdx.x; p < pieces; p += blockDim.x) {
      const Piece<WIDTH> in = again[p];
      Piece<WIDTH> result;
#pragma unroll
      for (int k = 0; k < WIDTH; k++) {
        const accumulator shifted = (accumulator)in.at[k] - peak.largest, t = target(p * WIDTH + k);
        if (t != 0) score += t * shifted;
        result.at[k] = (scalar)(exp(shifted) * factor - t);
      }
      to[p] = result;
    }
    score = block_sum(score, shared);
    if (threadIdx.x == 0) {
      const accumulator loss = row_loss(share, peak.total, score);
      tally.add(target, loss, row);
      if (losses) losses[row] = (scalar)loss;
    }
  }
}

// A block's tally to its place in sums (2, blocks) and first_wrong (blocks).
__device__ __forceinline__ void store(const Tally& tally, accumulator* sums, i64* first_wrong, accumulator* shared) {
  __shared__ i64 shared_rows[MOST_WARPS];
  const accumulator loss = block_sum(tally.loss, shared), weight = block_sum(tally.weight, shared);
  const i64 wrong = first_wrong ? block_first(tally.wrong, shared_rows) : NO_ROW;
  if (threadIdx.x == 0) {
    sums[blockIdx.x] = loss, sums[gridDim.x + blockIdx.x] = weight;
    if (first_wrong) first_wrong[blockIdx.x] = wrong;
  }
}

template <typename Targets>
__device__ __forceinline__ void all_short(const scalar* logits, const Targets& targets, scalar* gradient, scalar* losses,
                                          accumulator* sums, i64* first_wrong, i64 rows, i64 classes) {
  __shared__ accumulator shared[MOST_WARPS];
  Tally tally;
  if (rows_are_packs(classes, logits, gradient, gradient))
    short_rows<PACK>(logits, targets, gradient, losses, rows, classes, tally);
  else short_rows<1>(logits, targets, gradient, losses, rows, classes, tally);
  store(tally, sums, first_wrong, shared);
}

template <typename Targets>
__device__ __forceinline__ void all_long(const scalar* logits, const Targets& targets, scalar* gradient, scalar* losses,
                                         accumulator* sums, i64* first_wrong, i64 rows, i64 classes, int keep) {
  extern __shared__ Pack memory[];
  __shared__ accumulator shared[MOST_WARPS];
  scalar* kept = keep ? memory->at : nullptr;
  Tally tally;
  if (rows_are_packs(classes, logits, gradient, gradient))
    long_rows<PACK>(logits, targets, gradient, losses, rows, classes, tally, pieces_of<PACK>(kept), shared);
  else long_rows<1>(logits, targets, gradient, losses, rows, classes, tally, pieces_of<1>(kept), shared);
  store(tally, sums, first_wrong, shared);
}

// Short and long rows as in softmax.cu: a few lanes or a block for each, the scores read once, the gradient written once.
// `losses` is null unless each row's is wanted.
extern "C" __global__ void __launch_bounds__(128, 1)
cross_entropy_short(const scalar* __restrict__ logits, const i64* __restrict__ labels,
                    const accumulator* __restrict__ weight, scalar* __restrict__ gradient, scalar* __restrict__ losses,
                    accumulator* __restrict__ sums, i64* __restrict__ first_wrong, i64 rows, i64 classes,
                    i64 ignore_index, accumulator smoothing) {
  const LabelTargets targets{labels, weight, classes, ignore_index, smoothing};
  all_short(logits, targets, gradient, losses, sums, first_wrong, rows, classes);
}

extern "C" __global__ void __launch_bounds__(512, 1)
cross_entropy_long(const scalar* __restrict__ logits, const i64* __restrict__ labels,
                   const accumulator* __restrict__ weight, scalar* __restrict__ gradient, scalar* __restrict__ losses,
                   accumulator* __restrict__ sums, i64* __restrict__ first_wrong, i64 rows, i64 classes,
                   i64 ignore_index, accumulator smoothing, int keep) {
  const LabelTargets targets{labels, weight, classes, ignore_index, smoothing};
  all_long(logits, targets, gradient, losses, sums, first_wrong, rows, classes, keep);
}

// The same for targets that are distributions, (rows, classes). They are read twice, the second time from the cache.
extern "C" __global__ void __launch_bounds__(128, 1)
soft_cross_entropy_short(const scalar* __restrict__ logits, const scalar* __restrict__ distributions,
                         const accumulator* __restrict__ weight, scalar* __restrict__ gradient,
                         scalar* __restrict__ losses, accumulator* __restrict__ sums, i64 rows, i64 classes,
                         accumulator smoothing) {
  const DistributionTargets targets{distributions, weight, classes, smoothing};
  all_short(logits, targets, gradient, losses, sums, nullptr, rows, classes);
}

extern "C" __global__ void __launch_bounds__(512, 1)
soft_cross_entropy_long(const scalar* __restrict__ logits, const scalar* __restrict__ distributions,
                        const accumulator* __restrict__ weight, scalar* __restrict__ gradient,
                        scalar* __restrict__ losses, accumulator* __restrict__ sums, i64 rows, i64 classes,
                        accumulator smoothing, int keep) {
  const DistributionTargets targets{distributions, weight, classes, smoothing};
  all_long(logits, targets, gradient, losses, sums, nullptr, rows, classes, keep);
}

// One block adds up the tallies of `blocks` others, in a fixed order. The mean divides by the sum of weights, which is
// kept for backward; it is 0 / 0, NaN, where every row is ignored. first_wrong and flag are null for distributions, loss
// and divisor where each row's loss is wanted, and the divisor for the sum.
extern "C" __global__ void __launch_bounds__(256)
cross_entropy_finish(const accumulator* __restrict__ sums, const i64* __restrict__ first_wrong,
                     const i64* __restrict__ labels, scalar* __restrict__ loss, accumulator* __restrict__ divisor,
                     i64* __restrict__ flag, i64 blocks, i64 classes, i64 ignore_index) {
  __shared__ accumulator shared[MOST_WARPS];
  __shared__ i64 shared_rows[MOST_WARPS];
  accumulator total = 0, weight = 0;
  i64 wrong = NO_ROW;
  for (i64 i = threadIdx.x; i < blocks; i += blockDim.x) {
    total += sums[i], weight += sums[blocks + i];
    if (first_wrong && first_wrong[i] < wrong) wrong = first_wrong[i];
  }
  total = block_sum(total, shared), weight = block_sum(weight, shared);
  if (first_wrong) wrong = block_first(wrong, shared_rows);
  if (threadIdx.x != 0) return;
  if (flag) leave_note(flag, wrong, labels, classes, 1, ignore_index);
  if (divisor) divisor[0] = weight;
  if (loss) loss[0] = (scalar)(divisor ? total / weight : total);
}

// dx = gradient * dout / divisor, the last two in memory on the device; the divisor is null for the sum. Where it is 0
// the gradient is too, as no row counted.
extern "C" __global__ void __launch_bounds__(256)
cross_entropy_scale(const scalar* __restrict__ gradient, const scalar* __restrict__ dout,
                    const accumulator* __restrict__ divisor, scalar* __restrict__ dx, i64 count) {
  const accumulator weight = divisor ? divisor[0] : accumulator(1);
  const accumulator factor = weight == 0 ? (accumulator)dout[0] : (accumulator)dout[0] / weight;
  map(gradient, dx, count, [=](accumulator g) { return g * factor; });
}
