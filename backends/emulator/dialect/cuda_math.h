// Mathematics of CUDA C: the C library's functions, with CUDA's overloads for float and its intrinsics.
//
// The C library's results are at least as exact as CUDA's; they are not the same bits.
#pragma once

#define EMULATOR_FUNCTION_1(name)                                          \
  extern "C" double name(double) noexcept;                                 \
  extern "C" float name##f(float) noexcept;                                \
  inline float name(float x) { return __builtin_##name##f(x); }
#define EMULATOR_FUNCTION_2(name)                                          \
  extern "C" double name(double, double) noexcept;                         \
  extern "C" float name##f(float, float) noexcept;                         \
  inline float name(float x, float y) { return __builtin_##name##f(x, y); }
EMULATOR_FUNCTION_1(exp) EMULATOR_FUNCTION_1(exp2) EMULATOR_FUNCTION_1(expm1) EMULATOR_FUNCTION_1(log)
EMULATOR_FUNCTION_1(log2) EMULATOR_FUNCTION_1(log10) EMULATOR_FUNCTION_1(log1p) EMULATOR_FUNCTION_1(sqrt)
EMULATOR_FUNCTION_1(cbrt) EMULATOR_FUNCTION_1(sin) EMULATOR_FUNCTION_1(cos) EMULATOR_FUNCTION_1(tan)
EMULATOR_FUNCTION_1(asin) EMULATOR_FUNCTION_1(acos) EMULATOR_FUNCTION_1(atan) EMULATOR_FUNCTION_1(sinh)
EMULATOR_FUNCTION_1(cosh) EMULATOR_FUNCTION_1(tanh) EMULATOR_FUNCTION_1(erf) EMULATOR_FUNCTION_1(erfc)
EMULATOR_FUNCTION_1(fabs) EMULATOR_FUNCTION_1(floor) EMULATOR_FUNCTION_1(ceil) EMULATOR_FUNCTION_1(round)
EMULATOR_FUNCTION_1(trunc) EMULATOR_FUNCTION_1(rint) EMULATOR_FUNCTION_1(nearbyint)
EMULATOR_FUNCTION_2(pow) EMULATOR_FUNCTION_2(atan2) EMULATOR_FUNCTION_2(fmod) EMULATOR_FUNCTION_2(hypot)
EMULATOR_FUNCTION_2(fmax) EMULATOR_FUNCTION_2(fmin) EMULATOR_FUNCTION_2(copysign) EMULATOR_FUNCTION_2(nextafter)
#undef EMULATOR_FUNCTION_1
#undef EMULATOR_FUNCTION_2
extern "C" double fma(double, double, double) noexcept;
extern "C" float fmaf(float, float, float) noexcept;
inline float fma(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
extern "C" double ldexp(double, int) noexcept;
extern "C" float ldexpf(float, int) noexcept;
inline float ldexp(float x, int exponent) { return __builtin_ldexpf(x, exponent); }

extern "C" int abs(int) noexcept;
inline long long abs(long long x) { return __builtin_llabs(x); }
inline long long llabs(long long x) { return __builtin_llabs(x); }
inline float abs(float x) { return __builtin_fabsf(x); }
inline double abs(double x) { return __builtin_fabs(x); }
template <typename T> inline bool isnan(T x) { return __builtin_isnan(x); }
template <typename T> inline bool isinf(T x) { return __builtin_isinf(x); }
template <typename T> inline bool isfinite(T x) { return __builtin_isfinite(x); }
template <typename T> inline bool signbit(T x) { return __builtin_signbit(x); }

// Of two types CUDA compares in the one that C would choose; for float and double it drops a NaN, as fmin does.
template <typename T, typename U> inline auto min(T a, U b) -> decltype(true ? a : b) { return a < b ? a : b; }
template <typename T, typename U> inline auto max(T a, U b) -> decltype(true ? a : b) { return a > b ? a : b; }
inline float min(float a, float b) { return __builtin_fminf(a, b); }
inline float max(float a, float b) { return __builtin_fmaxf(a, b); }
inline double min(double a, double b) { return __builtin_fmin(a, b); }
inline double max(double a, double b) { return __builtin_fmax(a, b); }

inline float rsqrtf(float x) { return 1.0f / __builtin_sqrtf(x); }
inline float rsqrt(float x) { return 1.0f / __builtin_sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / __builtin_sqrt(x); }
inline float __expf(float x) { return __builtin_expf(x); }
inline float __logf(float x) { return __builtin_logf(x); }
inline float __powf(float x, float y) { return __builtin_powf(x, y); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __frsqrt_rn(float x) { return (float)(1.0 / __builtin_sqrt((double)x)); }
inline float __fsqrt_rn(float x) { return __builtin_sqrtf(x); }
inline float __fadd_rn(float x, float y) { return x + y; }  // the compiler contracts nothing: -ffp-contract=off
inline float __fsub_rn(float x, float y) { return x - y; }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fdiv_rn(float x, float y) { return x / y; }
inline float __fmaf_rn(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
inline double __dadd_rn(double x, double y) { return x + y; }
inline double __dmul_rn(double x, double y) { return x * y; }
inline double __fma_rn(double x, double y, double z) { return __builtin_fma(x, y, z); }
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }  // NaN gives 0

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned __umulhi(unsigned x, unsigned y) { return (unsigned)((unsigned long long)x * y >> 32); }
inline int __mulhi(int x, int y) { return (int)((long long)x * y >> 32); }
inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
  return (unsigned long long)((unsigned __int128)x * y >> 64);
}

template <typename To, typename From>
inline To emulator_same_bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "the same number of bits");
  To to;
  __builtin_memcpy(&to, &from, sizeof(To));
  return to;
}
inline int __float_as_int(float x) { return emulator_same_bits<int>(x); }
inline unsigned __float_as_uint(float x) { return emulator_same_bits<unsigned>(x); }
inline float __int_as_float(int x) { return emulator_same_bits<float>(x); }
inline float __uint_as_float(unsigned x) { return emulator_same_bits<float>(x); }
inline long long __double_as_longlong(double x) { return emulator_same_bits<long long>(x); }
inline double __longlong_as_double(long long x) { return emulator_same_bits<double>(x); }
