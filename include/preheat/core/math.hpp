// erf and exp in a form that a compiler vectorizes inside an elementwise loop: no calls, no
// branches. For float, errors stay below 5e-7 relative (tests/core/unit_math.cpp measures them
// against long double); for double they are the standard library's.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>
#include <utility>

namespace preheat::math {

// x with |x| cut to `edge`; NaN stays NaN. In integer arithmetic, because GCC does not vectorize
// selections between floats (they might trap).
constexpr float clamp_magnitude(float x, float edge) {
  constexpr std::uint32_t sign_bit = 0x80000000U;
  constexpr std::int32_t infinity = 0x7F800000;
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  const std::int32_t magnitude = std::int32_t(bits & ~sign_bit);
  const std::int32_t limit = std::bit_cast<std::int32_t>(edge);
  const std::int32_t cut = magnitude > limit ? limit : magnitude;
  const std::int32_t kept = magnitude > infinity ? magnitude : cut;
  return std::bit_cast<float>(std::uint32_t(kept) | (bits & sign_bit));
}

// erf(x) = x·P(x²)/Q(x²) for |x| <= 3.92, beyond which it rounds to ±1. P/Q is a rational minimax
// fit [preheat] of relative error 2e-8. V is float or a packet of floats.
inline constexpr float erf_edge = 3.92F;
template <class V>
constexpr V erf_within(V z) {
  const V t = z * z;
  V p = 2.050064e-06F;
  p = p * t + 2.8488206e-04F;
  p = p * t + 3.76564594e-03F;
  p = p * t + 5.27488081e-02F;
  p = p * t + 1.90407327e-01F;
  p = p * t + 1.12837915F;
  V q = 3.80914389e-05F;
  q = q * t + 1.16254011e-03F;
  q = q * t + 1.49692756e-02F;
  q = q * t + 1.14109441e-01F;
  q = q * t + 5.02076841e-01F;
  q = q * t + 1.0F;
  return z * p / q;
}
constexpr float erf(float x) {
  return erf_within(clamp_magnitude(x, erf_edge));
}

// How a floating-point number is laid out, for the power of two in exp.
template <class T>
struct layout;
template <>
struct layout<float> {
  using integer = std::int32_t;
  static constexpr int mantissa = 23;
  static constexpr integer bias = 127;
  static constexpr float rounding = 12582912.0F;  // 1.5·2²³: adding it rounds to a whole number
  static constexpr float exp_edge = 87.0F;        // no underflow to zero, no overflow to infinity
  static constexpr float ln2_high = 0.693359375F;
  static constexpr float ln2_low = -2.12194440e-4F;
  static constexpr int taylor_degree = 7;
};
template <>
struct layout<double> {
  using integer = std::int64_t;
  static constexpr int mantissa = 52;
  static constexpr integer bias = 1023;
  static constexpr double rounding = 6755399441055744.0;  // 1.5·2⁵²
  static constexpr double exp_edge = 708.0;
  static constexpr double ln2_high = 0.693145751953125;
  static constexpr double ln2_low = 1.42860682030941723212e-6;
  static constexpr int taylor_degree = 13;
};
// What the bits of n + rounding have too much to be the biased exponent of 2ⁿ.
template <class T>
inline constexpr auto exponent_offset =
    std::bit_cast<typename layout<T>::integer>(layout<T>::rounding) - layout<T>::bias;

constexpr float power_of_two(float shifted) {
  const std::int32_t exponent = std::bit_cast<std::int32_t>(shifted) - exponent_offset<float>;
  return std::bit_cast<float>(std::uint32_t(exponent) << layout<float>::mantissa);
}

// 1/k!
template <class T>
constexpr T inverse_factorial(int k) {
  double product = 1;
  for (int i = 2; i <= k; ++i) {
    product *= i;
  }
  return T(1 / product);
}
template <class T, int K>
inline constexpr T inverse_factorial_of = inverse_factorial<T>(K);

// The Taylor polynomial of exp whose degree is the number of indices.
template <class T, class V, int... K>
constexpr V exp_polynomial(V r, std::integer_sequence<int, K...>) {
  constexpr int degree = int(sizeof...(K));
  V y = inverse_factorial_of<T, degree>;
  ((y = y * r + V(inverse_factorial_of<T, degree - 1 - K>)), ...);
  return y;
}

// exp(x) = 2ⁿ·exp(r), n = round(x/ln 2), |r| <= ½·ln 2; |x| <= exp_edge. V is float or a packet of T.
template <class T, class V>
constexpr V exp_within(V x) {
  using parts = layout<T>;
  const V shifted = x * V(T(1.44269504088896340736)) + V(parts::rounding);
  const V n = shifted - V(parts::rounding);
  const V r = (x - n * V(parts::ln2_high)) - n * V(parts::ln2_low);  // ln 2 in two parts
  return exp_polynomial<T>(r, std::make_integer_sequence<int, parts::taylor_degree>()) *
         power_of_two(shifted);
}
constexpr float exp(float x) {
  return exp_within<float>(clamp_magnitude(x, layout<float>::exp_edge));
}

// These functions are constexpr, and therefore templates, for device code: nvcc silently drops the
// body of a kernel that calls a non-constexpr host function.
template <class = void>
constexpr double erf(double x) {
  return std::erf(x);
}
template <class = void>
constexpr double exp(double x) {
  return std::exp(x);
}

// For kernels of any value type (cpu/packet.hpp), which call these without a namespace.
using std::sqrt;
// The larger value; NaN if either is NaN.
template <class T>
constexpr T max(T a, T b) {
  return a > b || a != a ? a : b;
}

}  // namespace preheat::math
