// What a row of scores should have been: the targets t_c of a weighted cross-entropy -sum_c t_c log p_c.
#pragma once
#include "labels.cuh"

// One class a row, a share `smoothing` of it spread evenly over all: t_c = w_y (1 - e) [c = y] + w_c e / C. All t_c are 0
// in a row whose label is ignored; a wrong label counts as an ignored one.
struct LabelTargets {
  const i64* labels;
  const accumulator* weight;  // of each class, or null for ones
  i64 classes, ignore_index;
  accumulator smoothing;

  struct Row {
    i64 label;  // -1 where no class counts
    accumulator weight, on_label, on_each;
    const accumulator* weights;
    bool wrong;

    __device__ __forceinline__ accumulator operator()(i64 c) const {
      const accumulator t = c == label ? on_label : accumulator(0);
      return on_each == 0 ? t : t + (weights ? on_each * weights[c] : on_each);
    }
  };

  __device__ __forceinline__ Row row(i64 index) const {
    const i64 label = labels[index];
    const bool known = is_class(label, classes), counts = known && label != ignore_index;
    Row row;
    row.label = counts ? label : -1;
    row.weight = !counts ? accumulator(0) : weight ? weight[label] : accumulator(1);
    row.on_label = row.weight * (1 - smoothing);
    row.on_each = counts ? smoothing / (accumulator)classes : accumulator(0);
    row.weights = weight;
    row.wrong = !known && label != ignore_index;
    return row;
  }
};

// A distribution a row: t_c = w_c (q_c (1 - e) + e / C).
struct DistributionTargets {
  const scalar* targets;
  const accumulator* weight;
  i64 classes;
  accumulator smoothing;

  struct Row {
    const scalar* targets;
    const accumulator* weights;
    accumulator kept, on_each, weight;
    bool wrong;

    __device__ __forceinline__ accumulator operator()(i64 c) const {
      const accumulator t = (accumulator)targets[c] * kept + on_each;
      return weights ? t * weights[c] : t;
    }
  };

  __device__ __forceinline__ Row row(i64 index) const {
    return {targets + index * classes, weight, 1 - smoothing, smoothing / (accumulator)classes, 1, false};
  }
};
