// The two 16-bit floating-point formats of stored weights, as bits, and their exact conversions.
//
//   format     sign  exponent  fraction  largest       smallest > 0
//   float16       1         5        10  65504         2^-24
//   bfloat16      1         8         7  about 3.4e38  2^-133
//
// Neither type computes: a value is widened with `to_float`, which is exact, worked on in fp32, and
// rounded back with `round_to`. IEEE 754-2019, section 3.4, for the formats; bfloat16 is the upper
// half of a binary32.
//
//   const preheat::safetensors::bfloat16 stored = preheat::safetensors::round_to<preheat::safetensors::bfloat16>(0.1F);
//   const float value = preheat::safetensors::to_float(stored);  // 0.10009765625
#pragma once
#include <algorithm>
#include <bit>
#include <concepts>
#include <cstdint>
#include <limits>

namespace preheat::safetensors {

// IEEE 754 binary16.
struct float16 {
  std::uint16_t bits = 0;
};

// The upper 16 bits of an IEEE 754 binary32.
struct bfloat16 {
  std::uint16_t bits = 0;
};

namespace detail {

static_assert(std::numeric_limits<float>::is_iec559 && std::numeric_limits<double>::is_iec559,
              "preheat reads and writes the bits of floating-point numbers as IEEE 754 lays them "
              "out; this platform has another format");

// How a format divides its bits: [sign | exponent | fraction], the exponent stored with a bias.
template <class T>
struct float_layout;
template <>
struct float_layout<float16> {
  static constexpr int exponent_bits = 5;
  static constexpr int fraction_bits = 10;
};
template <>
struct float_layout<bfloat16> {
  static constexpr int exponent_bits = 8;
  static constexpr int fraction_bits = 7;
};
template <>
struct float_layout<float> {
  using word = std::uint32_t;
  static constexpr int exponent_bits = 8;
  static constexpr int fraction_bits = 23;
};
template <>
struct float_layout<double> {
  using word = std::uint64_t;
  static constexpr int exponent_bits = 11;
  static constexpr int fraction_bits = 52;
};

// A word whose lowest `count` bits are set. Requires 0 <= count <= 63.
constexpr std::uint64_t low_bits(int count) {
  return (std::uint64_t{1} << count) - 1;
}

template <class T>
inline constexpr std::uint64_t exponent_mask = low_bits(float_layout<T>::exponent_bits);
template <class T>
inline constexpr std::uint64_t fraction_mask = low_bits(float_layout<T>::fraction_bits);
template <class T>
inline constexpr int exponent_bias = (1 << (float_layout<T>::exponent_bits - 1)) - 1;

// value / 2^shift, rounded to nearest, ties to even. Requires 1 <= shift <= 63.
constexpr std::uint64_t shift_right_to_even(std::uint64_t value, int shift) {
  const std::uint64_t quotient = value >> shift;
  const std::uint64_t remainder = value & low_bits(shift);
  const std::uint64_t half = std::uint64_t{1} << (shift - 1);
  const bool odd = (quotient & 1) != 0;
  const bool round_up = remainder > half || (remainder == half && odd);
  return round_up ? quotient + 1 : quotient;
}

}  // namespace detail

// The same number in fp32. Exact for every pattern: subnormals, infinities, and NaNs with their
// sign and payload. Cost: O(1).
constexpr float to_float(bfloat16 x) {
  return std::bit_cast<float>(std::uint32_t{x.bits} << 16);
}

// Without a branch, so that a loop over many is vectorized.
constexpr float to_float(float16 x) {
  const std::uint32_t magnitude = std::uint32_t{x.bits} & 0x7FFF;
  const std::uint32_t fields = magnitude << 13;  // exponent and fraction of a binary32
  const std::uint32_t rebias = magnitude < 0x7C00 ? 127 - 15 : 2 * (127 - 15);  // or infinity, NaN
  const std::uint32_t normal = fields + (rebias << 23);
  // Zero and the subnormals, fraction * 2^-24: 2^-14 in front of the fraction, and taken off again.
  const float subnormal = std::bit_cast<float>(fields + (std::uint32_t{127 - 14} << 23)) - 0x1p-14F;
  const std::uint32_t bits = magnitude < 0x400 ? std::bit_cast<std::uint32_t>(subnormal) : normal;
  return std::bit_cast<float>((std::uint32_t{x.bits} & 0x8000) << 16 | bits);
}

// x as a float16 or a bfloat16, rounded once, to nearest, ties to even. What rounds beyond the
// largest finite number becomes infinite; what rounds below the smallest becomes a zero of the same
// sign; a NaN stays a NaN with its sign and the upper bits of its payload. Cost: O(1).
template <class Narrow, std::floating_point Wide>
requires std::same_as<Narrow, float16> || std::same_as<Narrow, bfloat16>
constexpr Narrow round_to(Wide x) {
  using from = detail::float_layout<Wide>;
  using to = detail::float_layout<Narrow>;
  constexpr int dropped_bits = from::fraction_bits - to::fraction_bits;
  constexpr std::uint64_t infinity = detail::exponent_mask<Narrow> << to::fraction_bits;
  constexpr std::uint64_t quiet_nan = infinity | (std::uint64_t{1} << (to::fraction_bits - 1));

  const std::uint64_t bits = std::bit_cast<typename from::word>(x);
  const std::uint64_t negative = bits >> (from::exponent_bits + from::fraction_bits);
  const std::uint64_t exponent = (bits >> from::fraction_bits) & detail::exponent_mask<Wide>;
  const std::uint64_t fraction = bits & detail::fraction_mask<Wide>;

  std::uint64_t magnitude = 0;  // the result without its sign
  if (exponent == detail::exponent_mask<Wide>) {
    const std::uint64_t payload = fraction >> dropped_bits;
    const bool is_nan = fraction != 0;
    magnitude = infinity | payload;
    if (is_nan && payload == 0) {  // else the NaN would become an infinity
      magnitude = quiet_nan;
    }
  } else {
    // |x| = significand * 2^(power - from::fraction_bits), subnormal or not.
    const bool normal = exponent != 0;
    const std::uint64_t implicit_one = std::uint64_t{normal} << from::fraction_bits;
    const std::uint64_t significand = implicit_one | fraction;
    const int power = static_cast<int>(normal ? exponent : 1) - detail::exponent_bias<Wide>;

    // Below the smallest normal number of the narrow format, more bits have to go. Past
    // fraction_bits + 2 all of them are gone and the result is zero, so the shift can stop there.
    constexpr int smallest_power = 1 - detail::exponent_bias<Narrow>;
    const int narrow_power = std::max(power, smallest_power);
    const int shift = std::min(dropped_bits + (narrow_power - power), from::fraction_bits + 2);
    const std::uint64_t rounded = detail::shift_right_to_even(significand, shift);

    // A normal significand carries its leading one, which adds 1 to the exponent field below it;
    // so does the carry of a rounding up, which is what IEEE 754 asks for.
    const int field_below = narrow_power - smallest_power;
    magnitude = (static_cast<std::uint64_t>(field_below) << to::fraction_bits) + rounded;
    magnitude = std::min(magnitude, infinity);
  }
  return Narrow{static_cast<std::uint16_t>((negative << 15) | magnitude)};
}

}  // namespace preheat::safetensors
