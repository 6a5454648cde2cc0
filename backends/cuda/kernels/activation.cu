// Activation functions over dense memory: read once, written once, so bound by the memory's speed alone.
#include "common.cuh"
#include "map.cuh"
#include "activation_functions.cuh"

extern "C" __global__ void __launch_bounds__(256, 4)
relu_forward(const scalar* __restrict__ x, scalar* __restrict__ out, i64 count) {
  map(x, out, count, [](accumulator v) { return relu(v); });
}

extern "C" __global__ void __launch_bounds__(256, 4)
relu_backward(const scalar* __restrict__ out, const scalar* __restrict__ dout, scalar* __restrict__ dx, i64 count) {
  map(out, dout, dx, count, [](accumulator y, accumulator d) { return relu_slope(y, d); });
}

extern "C" __global__ void __launch_bounds__(256, 4)
leaky_relu_forward(const scalar* __restrict__ x, scalar* __restrict__ out, accumulator slope, i64 count) {
  map(x, out, count, [=](accumulator v) { return leaky_relu(v, slope); });
}

extern "C" __global__ void __launch_bounds__(256, 4)
leaky_relu_backward(const scalar* __restrict__ x, const scalar* __restrict__ dout, scalar* __restrict__ dx,
                    accumulator slope, i64 count) {
  map(x, dout, dx, count, [=](accumulator v, accumulator d) { return leaky_relu_slope(v, d, slope); });
}

extern "C" __global__ void __launch_bounds__(256, 4)
elu_forward(const scalar* __restrict__ x, scalar* __restrict__ out, accumulator alpha, i64 count) {
  map(x, out, count, [=](accumulator v) { return elu(v, alpha); });
}

extern "C" __global__ void __launch_bounds__(256, 4)
elu_backward(const scalar* __restrict__ x, const scalar* __restrict__ dout, scalar* __restrict__ dx,
             accumulator alpha, i64 count) {
  map(x, dout, dx, count, [=](accumulator v, accumulator d) { return elu_slope(v, d, alpha); });
}

extern "C" __global__ void __launch_bounds__(256, 4)
sigmoid_forward(const scalar* __restrict__ x, scalar* __restrict__ out, i64 count) {
  map(x, out, count, [](accumulator v) { return sigmoid(v); });
}

extern "C" __global__ void __launch_bounds__(256, 4)
sigmoid_backward(const scalar* __restrict__ out, const scalar* __restrict__ dout, scalar* __restrict__ dx, i64 count) {
  map(out, dout, dx, count, [](accumulator y, accumulator d) { return sigmoid_slope(y, d); });
}

extern "C" __global__ void __launch_bounds__(256, 4)
tanh_forward(const scalar* __restrict__ x, scalar* __restrict__ out, i64 count) {
  map(x, out, count, [](accumulator v) { return tanh(v); });
}

extern "C" __global__ void __launch_bounds__(256, 4)
tanh_backward(const scalar* __restrict__ out, const scalar* __restrict__ dout, scalar* __restrict__ dx, i64 count) {
  map(out, dout, dx, count, [](accumulator y, accumulator d) { return tanh_slope(y, d); });
}

extern "C" __global__ void __launch_bounds__(256, 4)
softplus_forward(const scalar* __restrict__ x, scalar* __restrict__ out, accumulator beta, accumulator threshold,
                 i64 count) {
  map(x, out, count, [=](accumulator v) { return softplus(v, beta, threshold); });
}

extern "C" __global__ void __launch_bounds__(256, 4)
softplus_backward(const scalar* __restrict__ x, const scalar* __restrict__ dout, scalar* __restrict__ dx,
                  accumulator beta, accumulator threshold, i64 count) {
  map(x, dout, dx, count, [=](accumulator v, accumulator d) { return softplus_slope(v, d, beta, threshold); });
}
