// erf and exp in a form that a compiler vectorizes inside an elementwise loop: no calls, no
// branches. For float, errors stay below 5e-7 relative (tests/unit/math.cpp measures them against
// long double); for double they are the standard library's.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>

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

// erf(x) = x·P(x²)/Q(x²) for |x| <= 3.92, beyond which it rounds to ±1. P and Q are a rational
// least-maximum fit of our own (relative error of the fit 2e-8). V is float or a packet of floats.
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

// exp(x) = 2ⁿ·exp(r), n = round(x/ln 2), |r| <= ½·ln 2, Taylor polynomial of degree 7. Arguments
// are cut to ±87: no underflow to zero, no overflow to infinity.
constexpr float exp(float x) {
  const float z = clamp_magnitude(x, 87.0F);
  constexpr float magic = 12582912.0F;  // 1.5·2²³: adding it rounds to a whole number
  const float shifted = z * 1.44269504F + magic;
  const float n = shifted - magic;
  const float r = (z - n * 0.693359375F) + n * 2.12194440e-4F;  // ln 2 in two parts
  float y = 1.0F / 5040;
  y = y * r + 1.0F / 720;
  y = y * r + 1.0F / 120;
  y = y * r + 1.0F / 24;
  y = y * r + 1.0F / 6;
  y = y * r + 0.5F;
  y = y * r + 1.0F;
  y = y * r + 1.0F;
  const std::uint32_t exponent =
      std::bit_cast<std::uint32_t>(shifted) - std::bit_cast<std::uint32_t>(magic) + 127U;
  return y * std::bit_cast<float>(exponent << 23U);
}

// constexpr, and so templates, because nvcc takes no other functions into device code: of a kernel
// that calls one it leaves nothing, without a word.
template <class = void>
constexpr double erf(double x) {
  return std::erf(x);
}
template <class = void>
constexpr double exp(double x) {
  return std::exp(x);
}

// For kernels of any value type (cpu/packet.hpp), which call them unqualified.
using std::sqrt;
// The larger; NaN where one of the two is.
template <class T>
constexpr T max(T a, T b) {
  return a > b || a != a ? a : b;
}

}  // namespace preheat::math
