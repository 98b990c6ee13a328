// The signed 8-bit dynamic data type of "8-Bit Optimizers via Block-wise Quantization" (Dettmers et al.,
// arXiv 2110.02861), in which QLoRA keeps the scales of its blocks: 256 numbers in [−1, 1].
//
// A number has an exponent e of 0 … 6 and 2^e fractions: 10^(e−6)·(the midpoints of 2^e equal parts of
// [0.1, 1]), and its negative. With 0 and 1 these are 256, in increasing order here.
//
// Between neighbours around z the gap is at most |z|/4 for 10^−6 < |z| < 0.1 roughly, and 0.9/64 at the
// top, so that |code(z) − z| <= 0.0071 for |z| <= 1.
#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace preheat::storage {

namespace detail {
constexpr std::array<float, 256> make_dynamic_code() {
  std::array<double, 256> code{};
  std::size_t count = 0;
  double decade = 1e-6;
  for (int e = 0; e < 7; ++e, decade *= 10) {
    const int fractions = 1 << e;
    for (int k = 0; k < fractions; ++k) {
      const double x = decade * (0.1 + 0.9 * (k + 0.5) / fractions);
      code[count++] = x;
      code[count++] = -x;
    }
  }
  code[count++] = 0;
  code[count++] = 1;
  std::sort(code.begin(), code.end());
  std::array<float, 256> result{};
  std::transform(code.begin(), code.end(), result.begin(), [](double x) { return float(x); });
  return result;
}
}  // namespace detail

inline constexpr std::array<float, 256> dynamic_code = detail::make_dynamic_code();

// The place of the number nearest to z; the lower one of two equally near.
constexpr std::uint8_t nearest_dynamic_code(float z) {
  const auto above = std::lower_bound(dynamic_code.begin(), dynamic_code.end(), z);
  if (above == dynamic_code.begin()) {
    return 0;
  }
  if (above == dynamic_code.end()) {
    return 255;
  }
  const std::size_t k = std::size_t(above - dynamic_code.begin());
  return std::uint8_t(dynamic_code[k] - z < z - dynamic_code[k - 1] ? k : k - 1);
}

}  // namespace preheat::storage
