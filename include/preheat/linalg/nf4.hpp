// NF4, the 4-bit NormalFloat of QLoRA ("QLoRA: Efficient Finetuning of Quantized LLMs", arXiv
// 2305.14314), as a rounding: the result is the dequantized matrix, nothing is packed.
//
// W (m×n) is read row by row, as torch stores a weight and bitsandbytes flattens it, and cut into
// blocks of 64 entries; a block may end inside a row, and the last one may be short. In a block,
//
//   x ← c·level(x/c),   c = the block's largest |x|,   level(z) = the nearest of 16 levels.
//
// The levels are quantiles of N(0, 1) scaled to [−1, 1], with an exact zero, eight above it and
// seven below, as the paper's appendix lists them. A z halfway between two levels goes to the lower
// one, as in bitsandbytes. c is kept in the scalar of W; QLoRA's second quantization, of the c
// themselves, is not done. Rounding twice is rounding once, bitwise. A block of zeros is zero.
//
// It is done on the host, for any backend: W is downloaded and uploaded once. This is for starts.
// Errors: block < 1; NaN or infinity in W. Cost: O(m·n).
#pragma once
#include <algorithm>
#include <cmath>
#include <iterator>
#include <vector>

#include "elementwise.hpp"

namespace preheat::linalg {

inline constexpr double nf4_levels[] = {-1.0,
                                        -0.6961928009986877,
                                        -0.5250730514526367,
                                        -0.39491748809814453,
                                        -0.28444138169288635,
                                        -0.18477343022823334,
                                        -0.09105003625154495,
                                        0.0,
                                        0.07958029955625534,
                                        0.16093020141124725,
                                        0.24611230194568634,
                                        0.33791524171829224,
                                        0.44070982933044434,
                                        0.5626170039176941,
                                        0.7229568362236023,
                                        1.0};

// The level nearest to z.
constexpr double nf4_level(double z) {
  std::size_t k = 0;
  while (k + 1 < std::size(nf4_levels) && z > (nf4_levels[k] + nf4_levels[k + 1]) / 2) {
    ++k;
  }
  return nf4_levels[k];
}

// W rounded to NF4, m×n.
template <backend Be>
mat<Be> nf4_rounded(Be& be, const_view_of<Be> W, index_t block = 64) {
  using T = scalar_of<Be>;
  require(block >= 1, "nf4: entries of a block >= 1", block, 1);
  require_finite(be, W, "nf4: W");
  std::vector<T> host = be.download(W);  // column-major
  const auto entry = [&](index_t k) -> T& {
    const index_t i = k / W.cols();
    const index_t j = k % W.cols();
    return host[i + j * W.rows()];
  };
  for (index_t first = 0; first < W.size(); first += block) {
    const index_t end = std::min(first + block, W.size());
    T largest = 0;
    for (index_t k = first; k < end; ++k) {
      largest = std::max(largest, std::abs(entry(k)));
    }
    if (largest == 0) {
      continue;
    }
    for (index_t k = first; k < end; ++k) {
      entry(k) = T(nf4_level(double(entry(k) / largest))) * largest;
    }
  }
  mat<Be> rounded = be.zeros(W.rows(), W.cols());
  be.upload(host, rounded);
  return rounded;
}

}  // namespace preheat::linalg
