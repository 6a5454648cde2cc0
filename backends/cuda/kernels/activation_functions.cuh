// The activation functions and their derivatives, one element at a time. NaN stays NaN; nothing overflows.
// They are written once: activation.cu maps them over packed memory, the ElementwiseKernels over strided views.

// max(0, x); -0.0 gives 0
template <typename A> __device__ __forceinline__ A relu(A x) { return x <= A(0) ? A(0) : x; }
template <typename A> __device__ __forceinline__ A relu_slope(A out, A dout) { return out <= A(0) ? A(0) : dout; }

template <typename A> __device__ __forceinline__ A leaky_relu(A x, A slope) { return x <= A(0) ? slope * x : x; }
template <typename A> __device__ __forceinline__ A leaky_relu_slope(A x, A dout, A slope) {
  return x <= A(0) ? slope * dout : dout;
}

// D. Clevert, T. Unterthiner and S. Hochreiter, 2016. Of the results alone the slope cannot be told for every alpha.
template <typename A> __device__ __forceinline__ A elu(A x, A alpha) { return x <= A(0) ? alpha * expm1(x) : x; }
template <typename A> __device__ __forceinline__ A elu_slope(A x, A dout, A alpha) {
  return x <= A(0) ? dout * (alpha * exp(x)) : dout;
}

// 1 / (1 + exp(-x)) by exp(-|x|), which is at most 1
template <typename A> __device__ __forceinline__ A sigmoid(A x) {
  const A small = exp(x < A(0) ? x : -x);
  return (x >= A(0) ? A(1) : small) / (A(1) + small);
}
template <typename A> __device__ __forceinline__ A sigmoid_slope(A out, A dout) { return dout * out * (A(1) - out); }

template <typename A> __device__ __forceinline__ A tanh_slope(A out, A dout) { return dout * (A(1) - out * out); }

// log(1 + exp(beta x)) / beta, and x itself beyond the threshold. C. Dugas et al., 2001.
template <typename A> __device__ __forceinline__ A softplus(A x, A beta, A threshold) {
  const A scaled = beta * x, magnitude = scaled < A(0) ? -scaled : scaled;
  const A smooth = ((scaled < A(0) ? A(0) : scaled) + log1p(exp(-magnitude))) / beta;
  return scaled > threshold ? x : smooth;
}
template <typename A> __device__ __forceinline__ A softplus_slope(A x, A dout, A beta, A threshold) {
  return beta * x > threshold ? dout : dout * sigmoid(beta * x);
}
