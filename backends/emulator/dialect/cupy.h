// What the operations of ElementwiseKernel and ReductionKernel are written in beside CUDA C: CuPy's types of half precision,
// its raw arrays, and a walk over the elements of strided arrays.
#pragma once
#include <cuda_fp16.h>
#include <cuda_bf16.h>

// CuPy's halves compute in float: x * y is a float, and rounded when it is stored.
#define EMULATOR_CUPY_HALF(name, type)                                                        \
  struct name {                                                                               \
    type stored;                                                                              \
    name() = default;                                                                         \
    name(float value) : stored(value) {}                                                      \
    name(type value) : stored(value) {}                                                       \
    explicit name(double value) : stored(value) {}                                            \
    explicit name(bool value) : stored((float)value) {}                                       \
    explicit name(int value) : stored(value) {}                                               \
    explicit name(unsigned value) : stored(value) {}                                          \
    explicit name(long long value) : stored(value) {}                                         \
    explicit name(unsigned long long value) : stored(value) {}                                \
    operator float() const { return stored; }                                                 \
    template <typename T> name& operator=(const T& value) { return *this = (name)value; }     \
    template <typename T> name& operator+=(const T& value) { return *this = *this + value; }  \
    template <typename T> name& operator-=(const T& value) { return *this = *this - value; }  \
    template <typename T> name& operator*=(const T& value) { return *this = *this * value; }  \
    template <typename T> name& operator/=(const T& value) { return *this = *this / value; }  \
    name& operator=(const name&) = default;                                                   \
  };
EMULATOR_CUPY_HALF(float16, __half)
EMULATOR_CUPY_HALF(bfloat16, __nv_bfloat16)
#undef EMULATOR_CUPY_HALF

// An argument, as `_Array` of operation.py. The strides are in bytes.
struct EmulatorArray {
  char* data;
  int ndim;
  const long long *shape, *strides;
};

struct EmulatorIndexer {
  long long count;
  long long size() const { return count; }
};

// The first index that was outside of a raw array: which of the parameters, and the index.
static struct {
  int parameter;
  long long index;
} emulator_stray;

// A `raw` parameter: x[i] is the i-th element in C order, whatever the strides.
template <typename T>
struct EmulatorRaw {
  const EmulatorArray& array;
  int parameter;
  long long count;

  EmulatorRaw(const EmulatorArray& array, int parameter) : array(array), parameter(parameter), count(1) {
    for (int axis = 0; axis < array.ndim; axis++) count *= array.shape[axis];
  }
  long long size() const { return count; }
  const long long* shape() const { return array.shape; }
  const long long* strides() const { return array.strides; }
  T& operator[](long long i) const {
    if (i < 0 || i >= count) {
      if (emulator_stray.parameter < 0) emulator_stray = {parameter, i};
      static char nowhere[16];
      return *(T*)nowhere;
    }
    char* at = array.data;
    for (int axis = array.ndim; axis-- > 0; i /= array.shape[axis]) at += i % array.shape[axis] * array.strides[axis];
    return *(T*)at;
  }
};

// Goes through several arrays of one shape at once, in C order.
template <int arrays>
struct EmulatorWalk {
  int ndim;
  const long long* shape;
  char* at[arrays];
  const long long* strides[arrays];
  long long index[64] = {};

  void next() {
    for (int axis = ndim; axis-- > 0;) {
      index[axis]++;
      for (int k = 0; k < arrays; k++) at[k] += strides[k][axis];
      if (index[axis] < shape[axis]) return;
      for (int k = 0; k < arrays; k++) at[k] -= shape[axis] * strides[k][axis];
      index[axis] = 0;
    }
  }
};
