// Numbers of 16 bits: storage, rounding to the nearest with ties to even, and arithmetic in float that is rounded once.
//
// The results are those of arithmetic in 16 bits: 24 bits of float are more than twice the 11 (or 8) of a half, and two more,
// so that rounding twice does no harm (S. Figueroa, 1995).
#pragma once

// A format with `fraction` bits behind the point and an exponent of 15 - fraction bits.
template <int fraction>
struct EmulatorFormat {
  static constexpr int exponent_bits = 15 - fraction, bias = (1 << (exponent_bits - 1)) - 1;
  static constexpr unsigned short infinity = ((1u << exponent_bits) - 1) << fraction, nan = 0x7fff;

  // double holds every float and every int exactly, so one function rounds them all, once.
  static unsigned short rounded(double value) {
    const unsigned long long bits = emulator_same_bits<unsigned long long>(value);
    const unsigned short sign = (unsigned short)(bits >> 48 & 0x8000u);
    if (value != value) return nan;
    int exponent = (int)(bits >> 52 & 0x7ff) - 1023;
    if (exponent > bias) return sign | infinity;
    if (exponent < -bias - fraction) return sign;  // less than half of the smallest number
    // The bits behind the point that are lost: more of them where the number is subnormal.
    const int lost = 52 - fraction + (exponent < 1 - bias ? 1 - bias - exponent : 0);
    const unsigned long long significand = (bits & 0xfffffffffffffull) | 0x10000000000000ull;
    const unsigned long long kept = significand >> lost, rest = significand & ((1ull << lost) - 1), tie = 1ull << (lost - 1);
    unsigned result = (unsigned)kept + (rest > tie || (rest == tie && (kept & 1)) ? 1 : 0);
    // The leading 1 is not stored; a carry out of the fraction rightly makes the next exponent, and at last infinity.
    if (exponent >= 1 - bias) result += (unsigned)(exponent + bias - 1) << fraction;
    return sign | (unsigned short)result;
  }

  static float value(unsigned short bits) {
    const int exponent = bits >> fraction & ((1 << exponent_bits) - 1);
    const unsigned kept = bits & ((1u << fraction) - 1);
    float magnitude;
    if (exponent == (1 << exponent_bits) - 1)
      magnitude = kept ? __builtin_nanf("") : __builtin_inff();
    else if (exponent == 0)
      magnitude = (float)__builtin_ldexp((double)kept, 1 - bias - fraction);
    else
      magnitude = emulator_same_bits<float>((unsigned)(exponent - bias + 127) << 23 | kept << (23 - fraction));
    return bits & 0x8000u ? -magnitude : magnitude;
  }
};

#define EMULATOR_HALF_PRECISION(type, fraction)                                                                   \
  struct alignas(2) type {                                                                                        \
    unsigned short bits;                                                                                          \
    type() = default; /* as in CUDA: memory that is not set is not set */                                         \
    type(float value) : bits(EmulatorFormat<fraction>::rounded(value)) {}                                         \
    type(double value) : bits(EmulatorFormat<fraction>::rounded(value)) {}                                        \
    type(int value) : bits(EmulatorFormat<fraction>::rounded(value)) {}                                           \
    type(unsigned value) : bits(EmulatorFormat<fraction>::rounded(value)) {}                                      \
    type(long value) : bits(EmulatorFormat<fraction>::rounded((double)value)) {}                                  \
    type(unsigned long value) : bits(EmulatorFormat<fraction>::rounded((double)value)) {}                         \
    type(long long value) : bits(EmulatorFormat<fraction>::rounded((double)value)) {}                             \
    type(unsigned long long value) : bits(EmulatorFormat<fraction>::rounded((double)value)) {}                    \
    operator float() const { return EmulatorFormat<fraction>::value(bits); }                                      \
    type operator-() const { type r; r.bits = bits ^ 0x8000u; return r; }                                         \
    type& operator+=(type other) { return *this = *this + other; }                                                \
    type& operator-=(type other) { return *this = *this - other; }                                                \
    type& operator*=(type other) { return *this = *this * other; }                                                \
    type& operator/=(type other) { return *this = *this / other; }                                                \
    friend type operator+(type a, type b) { return type((float)a + (float)b); }                                   \
    friend type operator-(type a, type b) { return type((float)a - (float)b); }                                   \
    friend type operator*(type a, type b) { return type((float)a * (float)b); }                                   \
    friend type operator/(type a, type b) { return type((float)a / (float)b); }                                   \
    friend bool operator==(type a, type b) { return (float)a == (float)b; }                                       \
    friend bool operator!=(type a, type b) { return (float)a != (float)b; }                                       \
    friend bool operator<(type a, type b) { return (float)a < (float)b; }                                         \
    friend bool operator>(type a, type b) { return (float)a > (float)b; }                                         \
    friend bool operator<=(type a, type b) { return (float)a <= (float)b; }                                       \
    friend bool operator>=(type a, type b) { return (float)a >= (float)b; }                                       \
  };                                                                                                              \
  struct alignas(4) type##2 { type x, y; };                                                                       \
  inline bool __hisnan(type x) { return (x.bits & 0x7fff) > EmulatorFormat<fraction>::infinity; }                 \
  inline type __hadd(type a, type b) { return a + b; }                                                            \
  inline type __hsub(type a, type b) { return a - b; }                                                            \
  inline type __hmul(type a, type b) { return a * b; }                                                            \
  inline type __hdiv(type a, type b) { return a / b; }                                                            \
  inline bool __hgt(type a, type b) { return a > b; }                                                             \
  inline bool __hlt(type a, type b) { return a < b; }
