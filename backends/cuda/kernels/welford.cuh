// Count, mean and sum of squared deviations of growing sets of numbers, for several channels at once.
//
// E[x^2] - E[x]^2 would lose all digits where the mean is much larger than the deviation. B. Welford, 1962; T. Chan,
// G. Golub and R. LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
//
// All numbers of a channel are taken less one of them, its pivot: a mean that is small itself is rounded little, whereas
// one of 10,000 in float is known to 0.001 only, which would go into the deviations.
#pragma once
#include "channels.cuh"

template <int CHANNELS>
struct Moments {
  static constexpr int WORDS = 1 + 2 * CHANNELS;
  accumulator count = 0, mean[CHANNELS] = {}, squares[CHANNELS] = {};

  template <typename F>
  __device__ __forceinline__ void each(F f) {
    f(count);
#pragma unroll
    for (int c = 0; c < CHANNELS; c++) f(mean[c]);
#pragma unroll
    for (int c = 0; c < CHANNELS; c++) f(squares[c]);
  }

  // The numbers of DEPTH packs, of which the first is not empty, with one division for all of them. Deviations are
  // taken from the mean so far, or from the first number: then what is subtracted from the squares always leaves a good
  // part of them, and the sum is never negative.
  template <typename Walk, int DEPTH>
  __device__ __forceinline__ void add(const Pack (&packs)[DEPTH], const Place (&places)[DEPTH],
                                      const ByChannel<CHANNELS>& pivot) {
    accumulator more = 0, sum[CHANNELS] = {}, sum_of_squares[CHANNELS] = {};
    if (count == 0) {
#pragma unroll
      for (int c = 0; c < CHANNELS; c++) mean[c] = (accumulator)packs[0].at[c] - pivot.at[c];
    }
#pragma unroll
    for (int u = 0; u < DEPTH; u++) {
      more += Walk::elements(places[u].valid);
#pragma unroll
      for (int k = 0; k < PACK; k++) {
        const int c = k % CHANNELS;
        const accumulator value = (accumulator)packs[u].at[k] - pivot.at[c];
        const accumulator deviation = k < places[u].valid ? value - mean[c] : accumulator(0);
        sum[c] += deviation;
        sum_of_squares[c] += deviation * deviation;
      }
    }
    count += more;
    const accumulator share = accumulator(1) / count;
#pragma unroll
    for (int c = 0; c < CHANNELS; c++) {
      const accumulator step = sum[c] * share;
      mean[c] += step;
      squares[c] += sum_of_squares[c] - sum[c] * step;
    }
  }

  __device__ __forceinline__ void add(const Moments& other) {
    const accumulator total = count + other.count;
    if (total == 0) return;
    const accumulator share = other.count / total;
#pragma unroll
    for (int c = 0; c < CHANNELS; c++) {
      const accumulator distance = other.mean[c] - mean[c];
      mean[c] += distance * share;
      squares[c] += other.squares[c] + distance * (distance * (count * share));
    }
    count = total;
  }
};
