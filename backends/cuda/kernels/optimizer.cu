// One step of an optimizer for many parameters at once: backends/reference/optimizer.py has the rules in plain array code.
//
// The lists are: gradients (only read), parameters, and what the optimizer keeps of each, in the order that a kernel's comment
// gives. `rates` holds what changes from step to step, in memory so that a recorded launch follows it. `share` is 1 - decay,
// computed in float64: in float32, 1 - 0.999 is wrong in its fifth digit.
//
// The kernels wait for memory, not for arithmetic, and two blocks on an SM ask for enough of it. Told so, the compiler does
// not save registers by spilling some, as it does in float64, whose roots and quotients take many.
#include "common.cuh"
#include "chunks.cuh"

constexpr int GRADIENT = 0, PARAMETER = 1, STATE = 2;

// The gradient to descend, with that of the L2 penalty. Without a penalty an infinite parameter must not make it NaN.
__device__ __forceinline__ accumulator descent(const accumulator* v, accumulator weight_decay, int maximize) {
  const accumulator gradient = maximize ? -v[GRADIENT] : v[GRADIENT];
  return weight_decay != accumulator(0) ? gradient + weight_decay * v[PARAMETER] : gradient;
}

// rates: learning rate
extern "C" __global__ void __launch_bounds__(256, 2)
sgd(const i64* __restrict__ addresses, const i64* __restrict__ chunks, i64 tensors, const double* __restrict__ rates,
    accumulator weight_decay, int maximize) {
  const accumulator rate = (accumulator)rates[0];
  update<1, 2>(addresses, chunks, tensors, [=](accumulator* v) {
    v[PARAMETER] -= rate * descent(v, weight_decay, maximize);
  });
}

// rates: learning rate. State: momentum buffers, which begin as the gradient itself; share: 1 - dampening
extern "C" __global__ void __launch_bounds__(256, 2)
sgd_momentum(const i64* __restrict__ addresses, const i64* __restrict__ chunks, i64 tensors,
             const double* __restrict__ rates, accumulator momentum, accumulator share, accumulator weight_decay,
             int nesterov, int maximize, int first_step) {
  const accumulator rate = (accumulator)rates[0];
  update<1, 3>(addresses, chunks, tensors, [=](accumulator* v) {
    const accumulator gradient = descent(v, weight_decay, maximize);
    accumulator& buffer = v[STATE];
    buffer = first_step ? gradient : momentum * buffer + share * gradient;
    v[PARAMETER] -= rate * (nesterov ? gradient + momentum * buffer : buffer);
  });
}

// rates: learning rate after its decay. State: sums of squared gradients
extern "C" __global__ void __launch_bounds__(256, 2)
adagrad(const i64* __restrict__ addresses, const i64* __restrict__ chunks, i64 tensors, const double* __restrict__ rates,
        accumulator eps, accumulator weight_decay, int maximize) {
  const accumulator rate = (accumulator)rates[0];
  update<1, 3>(addresses, chunks, tensors, [=](accumulator* v) {
    const accumulator gradient = descent(v, weight_decay, maximize);
    accumulator& sum = v[STATE];
    sum += gradient * gradient;
    v[PARAMETER] -= rate * (gradient / (sqrt(sum) + eps));
  });
}

template <bool CENTERED, bool MOMENTUM>
__device__ __forceinline__ void rmsprop_step(
    const i64* __restrict__ addresses, const i64* __restrict__ chunks, i64 tensors, const double* __restrict__ rates,
    accumulator alpha, accumulator share, accumulator eps, accumulator weight_decay, accumulator momentum, int maximize) {
  const accumulator rate = (accumulator)rates[0];
  update<1, 3 + CENTERED + MOMENTUM>(addresses, chunks, tensors, [=](accumulator* v) {
    const accumulator gradient = descent(v, weight_decay, maximize);
    accumulator& square_average = v[STATE];
    square_average = alpha * square_average + share * (gradient * gradient);
    accumulator variance = square_average;
    if constexpr (CENTERED) {
      accumulator& average = v[STATE + 1];
      average = alpha * average + share * gradient;
      // Under a gradient that hardly changes, rounding can push this below zero.
      variance = larger(square_average - average * average, accumulator(0));
    }
    accumulator change = gradient / (sqrt(variance) + eps);
    if constexpr (MOMENTUM) {
      accumulator& buffer = v[STATE + 1 + CENTERED];
      buffer = momentum * buffer + change;
      change = buffer;
    }
    v[PARAMETER] -= rate * change;
  });
}

// rates: learning rate. State: averages of squared gradients
extern "C" __global__ void __launch_bounds__(256, 2)
rmsprop(const i64* __restrict__ addresses, const i64* __restrict__ chunks, i64 tensors, const double* __restrict__ rates,
        accumulator alpha, accumulator share, accumulator eps, accumulator weight_decay, accumulator momentum,
        int maximize) {
  rmsprop_step<false, false>(
      addresses, chunks, tensors, rates, alpha, share, eps, weight_decay, momentum, maximize);
}

// State: averages of squared gradients, momentum buffers
extern "C" __global__ void __launch_bounds__(256, 2)
rmsprop_momentum(const i64* __restrict__ addresses, const i64* __restrict__ chunks, i64 tensors,
                 const double* __restrict__ rates, accumulator alpha, accumulator share, accumulator eps,
                 accumulator weight_decay, accumulator momentum, int maximize) {
  rmsprop_step<false, true>(
      addresses, chunks, tensors, rates, alpha, share, eps, weight_decay, momentum, maximize);
}

// State: averages of squared gradients, averages of gradients
extern "C" __global__ void __launch_bounds__(256, 2)
rmsprop_centered(const i64* __restrict__ addresses, const i64* __restrict__ chunks, i64 tensors,
                 const double* __restrict__ rates, accumulator alpha, accumulator share, accumulator eps,
                 accumulator weight_decay, accumulator momentum, int maximize) {
  rmsprop_step<true, false>(
      addresses, chunks, tensors, rates, alpha, share, eps, weight_decay, momentum, maximize);
}

// State: averages of squared gradients, averages of gradients, momentum buffers
extern "C" __global__ void __launch_bounds__(256, 2)
rmsprop_centered_momentum(const i64* __restrict__ addresses, const i64* __restrict__ chunks, i64 tensors,
                          const double* __restrict__ rates, accumulator alpha, accumulator share, accumulator eps,
                          accumulator weight_decay, accumulator momentum, int maximize) {
  rmsprop_step<true, true>(
      addresses, chunks, tensors, rates, alpha, share, eps, weight_decay, momentum, maximize);
}

template <bool AMSGRAD>
__device__ __forceinline__ void adam_step(
    const i64* __restrict__ addresses, const i64* __restrict__ chunks, i64 tensors, const double* __restrict__ rates,
    accumulator beta1, accumulator share1, accumulator beta2, accumulator share2, accumulator eps,
    accumulator weight_decay, int maximize) {
  const accumulator step_size = (accumulator)rates[0], correction = (accumulator)rates[1];
  const accumulator shrinkage = (accumulator)rates[2];
  update<1, 4 + AMSGRAD>(addresses, chunks, tensors, [=](accumulator* v) {
    const accumulator gradient = descent(v, weight_decay, maximize);
    accumulator &average = v[STATE], &square_average = v[STATE + 1];
    average = beta1 * average + share1 * gradient;
    square_average = beta2 * square_average + share2 * (gradient * gradient);
    accumulator square = square_average;
    if constexpr (AMSGRAD) square = v[STATE + 2] = larger(v[STATE + 2], square_average);
    v[PARAMETER] = v[PARAMETER] * shrinkage - step_size * (average / (sqrt(square) * correction + eps));
  });
}

// rates: step size lr / (1 - beta1^t); correction 1 / sqrt(1 - beta2^t); what decoupled weight decay leaves of a parameter.
// State: averages of gradients, averages of squared gradients
extern "C" __global__ void __launch_bounds__(256, 2)
adam(const i64* __restrict__ addresses, const i64* __restrict__ chunks, i64 tensors, const double* __restrict__ rates,
     accumulator beta1, accumulator share1, accumulator beta2, accumulator share2, accumulator eps,
     accumulator weight_decay, int maximize) {
  adam_step<false>(
      addresses, chunks, tensors, rates, beta1, share1, beta2, share2, eps, weight_decay, maximize);
}

// State: averages of gradients, averages of squared gradients, the largest of these so far
extern "C" __global__ void __launch_bounds__(256, 2)
adam_amsgrad(const i64* __restrict__ addresses, const i64* __restrict__ chunks, i64 tensors,
             const double* __restrict__ rates, accumulator beta1, accumulator share1, accumulator beta2,
             accumulator share2, accumulator eps, accumulator weight_decay, int maximize) {
  adam_step<true>(
      addresses, chunks, tensors, rates, beta1, share1, beta2, share2, eps, weight_decay, maximize);
}
