// The element types of files: every 16-bit pattern, every tie of rounding to 16 bits, and the
// conversions to integers, which are exact or refused.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <preheat/safetensors/dtype.hpp>
#include <preheat/safetensors/float16.hpp>

namespace {

namespace safetensors = preheat::safetensors;
using safetensors::dtype;

template <class Narrow>
float widened(std::uint32_t bits) {
  return safetensors::to_float(Narrow{static_cast<std::uint16_t>(bits)});
}

template <class Wide, class Narrow>
std::uint32_t narrowed(Wide value) {
  return safetensors::round_to<Narrow>(value).bits;
}

// How many of the 65536 patterns do not come back from float and from double.
template <class Narrow>
int patterns_that_do_not_return() {
  int wrong = 0;
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const float wide = widened<Narrow>(bits);
    wrong += narrowed<float, Narrow>(wide) != bits ? 1 : 0;
    // Turning a signalling NaN into a double makes it quiet, which is the processor's doing.
    if (!std::isnan(wide)) {
      wrong += narrowed<double, Narrow>(wide) != bits ? 1 : 0;
    }
  }
  return wrong;
}

// How many neighbours a < b of the format fail the law of rounding: their midpoint goes to the even
// one, what is just below it to a, what is just above it to b; and the same for negatives. The last
// pair is the largest finite number and the power of two that would follow it, that is, infinity.
template <class Wide, class Narrow>
int midpoints_rounded_wrongly(std::uint32_t infinity_bits, Wide beyond_largest) {
  constexpr Wide infinity = std::numeric_limits<Wide>::infinity();
  constexpr std::uint32_t sign = 0x8000;
  int wrong = 0;
  for (std::uint32_t below = 0; below < infinity_bits; ++below) {
    const std::uint32_t above = below + 1;
    const std::uint32_t even = below % 2 == 0 ? below : above;
    const Wide low = widened<Narrow>(below);
    const Wide high = above == infinity_bits ? beyond_largest : Wide{widened<Narrow>(above)};
    const Wide middle = low + (high - low) / 2;
    const Wide less = std::nextafter(middle, Wide{0});
    const Wide more = std::nextafter(middle, infinity);
    wrong += narrowed<Wide, Narrow>(middle) != even ? 1 : 0;
    wrong += narrowed<Wide, Narrow>(less) != below ? 1 : 0;
    wrong += narrowed<Wide, Narrow>(more) != above ? 1 : 0;
    wrong += narrowed<Wide, Narrow>(-middle) != (even | sign) ? 1 : 0;
    wrong += narrowed<Wide, Narrow>(-less) != (below | sign) ? 1 : 0;
    wrong += narrowed<Wide, Narrow>(-more) != (above | sign) ? 1 : 0;
  }
  return wrong;
}

}  // namespace

TEST_CASE("float16 widens to the value that IEEE 754 gives its pattern") {
  int wrong = 0;
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const int exponent = static_cast<int>((bits >> 10) & 0x1F);
    const int fraction = static_cast<int>(bits & 0x3FF);
    const bool negative = bits >= 0x8000;
    const float value = widened<safetensors::float16>(bits);
    wrong += std::signbit(value) != negative ? 1 : 0;
    if (exponent == 0x1F) {
      const bool right = fraction == 0 ? std::isinf(value) : std::isnan(value);
      wrong += right ? 0 : 1;
    } else {
      const int significand = exponent == 0 ? fraction : 1024 + fraction;
      const double expected = std::ldexp(significand, std::max(exponent, 1) - 25);
      wrong += std::abs(value) != expected ? 1 : 0;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("bfloat16 widens to the upper half of a float") {
  CHECK(widened<safetensors::bfloat16>(0x3F80) == 1.0F);
  CHECK(widened<safetensors::bfloat16>(0xC049) == -3.140625F);
  CHECK(widened<safetensors::bfloat16>(0x0001) == 0x1p-133F);
  CHECK(widened<safetensors::bfloat16>(0xFF80) == -std::numeric_limits<float>::infinity());
  CHECK(std::isnan(widened<safetensors::bfloat16>(0x7FC0)));
}

TEST_CASE("all 65536 patterns of the 16-bit formats come back from float and double") {
  CHECK(patterns_that_do_not_return<safetensors::float16>() == 0);
  CHECK(patterns_that_do_not_return<safetensors::bfloat16>() == 0);
}

TEST_CASE("rounding to the 16-bit formats is to nearest, ties to even, in one step") {
  CHECK(midpoints_rounded_wrongly<float, safetensors::float16>(0x7C00, 65536.0F) == 0);
  CHECK(midpoints_rounded_wrongly<double, safetensors::float16>(0x7C00, 65536.0) == 0);
  CHECK(midpoints_rounded_wrongly<double, safetensors::bfloat16>(0x7F80, 0x1p128) == 0);
}

TEST_CASE("rounding to the 16-bit formats at the edges") {
  using limits = std::numeric_limits<double>;
  CHECK(narrowed<double, safetensors::float16>(0.0) == 0x0000);
  CHECK(narrowed<double, safetensors::float16>(-0.0) == 0x8000);
  CHECK(narrowed<double, safetensors::float16>(limits::denorm_min()) == 0x0000);
  CHECK(narrowed<double, safetensors::float16>(-limits::denorm_min()) == 0x8000);
  CHECK(narrowed<double, safetensors::float16>(limits::max()) == 0x7C00);
  CHECK(narrowed<double, safetensors::float16>(-limits::infinity()) == 0xFC00);
  CHECK(narrowed<double, safetensors::float16>(limits::quiet_NaN()) == 0x7E00);
  CHECK(narrowed<float, safetensors::bfloat16>(std::numeric_limits<float>::denorm_min()) == 0x0000);
  CHECK(narrowed<float, safetensors::bfloat16>(std::numeric_limits<float>::max()) == 0x7F80);
  CHECK(narrowed<double, safetensors::bfloat16>(limits::min()) == 0x0000);
  CHECK(narrowed<double, safetensors::bfloat16>(limits::infinity()) == 0x7F80);
  // A NaN whose payload lies in the dropped bits does not become an infinity.
  const float nan_with_low_payload = std::bit_cast<float>(std::uint32_t{0xFF800001});
  CHECK(narrowed<float, safetensors::bfloat16>(nan_with_low_payload) == 0xFFC0);
  CHECK(narrowed<float, safetensors::float16>(nan_with_low_payload) == 0xFE00);
  // The tie that a way through float would create: just above halfway between 1 and its neighbour.
  const double above_halfway = 1.0 + 0x1p-11 + 0x1p-40;
  CHECK(narrowed<double, safetensors::float16>(above_halfway) == 0x3C01);
  // Conversions run at compile time too.
  static_assert(safetensors::round_to<safetensors::float16>(1.5F).bits == 0x3E00);
  static_assert(safetensors::to_float(safetensors::bfloat16{0x3FC0}) == 1.5F);
}

TEST_CASE("the table of dtypes is in the order of the enumeration") {
  for (std::size_t i = 0; i < safetensors::detail::dtype_table.size(); ++i) {
    const dtype type = static_cast<dtype>(i);
    CHECK(safetensors::detail::dtype_table[i].type == type);
    CHECK(safetensors::dtype_named(safetensors::name_of(type)) == type);
  }
  CHECK(safetensors::detail::dtype_table.back().type == dtype::U64);
  CHECK_FALSE(safetensors::dtype_named("F33").has_value());
  CHECK_FALSE(safetensors::dtype_named("").has_value());
}

TEST_CASE("an integer takes only numbers that it holds exactly") {
  CHECK(safetensors::representable<std::int8_t>(-128.0));
  CHECK(safetensors::representable<std::int8_t>(127.0F));
  CHECK_FALSE(safetensors::representable<std::int8_t>(128.0));
  CHECK_FALSE(safetensors::representable<std::int8_t>(0.5));
  CHECK_FALSE(safetensors::representable<std::int64_t>(std::numeric_limits<double>::quiet_NaN()));
  CHECK_FALSE(safetensors::representable<std::int64_t>(std::numeric_limits<float>::infinity()));
  CHECK(safetensors::representable<std::int64_t>(-0x1p63));
  CHECK_FALSE(safetensors::representable<std::int64_t>(0x1p63));
  CHECK(safetensors::representable<std::uint64_t>(0x1p63));
  CHECK_FALSE(safetensors::representable<std::uint64_t>(0x1p64));
  CHECK_FALSE(safetensors::representable<std::uint64_t>(-1.0F));
  CHECK(safetensors::representable<int>(safetensors::float16{0x3C00}));
  CHECK_FALSE(safetensors::representable<int>(safetensors::float16{0x3E00}));
  CHECK_FALSE(safetensors::representable<std::uint8_t>(std::int64_t{256}));
  CHECK_FALSE(safetensors::representable<std::uint32_t>(-1));
  CHECK(safetensors::representable<safetensors::boolean>(1));
  CHECK_FALSE(safetensors::representable<safetensors::boolean>(2));
}
