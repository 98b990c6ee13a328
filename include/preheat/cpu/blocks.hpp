// How the CPU backend cuts an operation into blocks of its result, for its threads and for the
// BLAS. No number depends on another block.
//
// A large product is cut for the threads alone: along the columns of the result, or along its rows
// where it is more than three times as tall as wide. Two threads on 768×512 are 9 % faster by
// columns, on 4096×256, where every block of columns would pack a large W again, 11 % by rows.
//
// A product with a thin result, such as A·X (r×n times n×N) or W·X with few columns, is cut by its
// shape, whatever the threads: OpenBLAS (0.3.21, AVX-512) does not pack what has less than a million
// multiplications, and so runs at up to twice the speed. Its inner dimension is cut too, because
// those kernels add it up in one go: their rounding errors would be those of longer sums. Elsewhere
// the cut costs nothing (OpenBLAS for AVX2, Eigen: within 5 %).
#pragma once
#include <algorithm>

#include "../core/types.hpp"

namespace preheat {

// What a block has at least, so that a thread is worth its while, and what its bounds are multiples
// of. A block of a product stays above the million at which OpenBLAS changes its kernels, and with
// them the last bits.
struct block_sizes {
  index_t multiplications = index_t(1) << 20;  // of a product
  index_t entries = index_t(1) << 15;          // of an elementwise operation
  index_t unit = 16;                           // a line of cache
};

// 0 … length − 1 in `count` blocks of `step`; the last one has the rest.
struct block_cut {
  index_t length = 0;
  index_t step = 0;
  int count = 1;

  index_t first(int block) const { return block * step; }
  index_t size(int block) const { return (block + 1 < count ? step : length - first(block)); }
};

// Equal blocks for the threads: no more than have `least` of the work each.
inline block_cut equal_blocks(index_t length, index_t work, index_t least, int threads,
                              index_t unit) {
  const index_t count = std::clamp<index_t>(work / std::max<index_t>(least, 1), 1, threads);
  const index_t step = length / count / unit * unit;
  return step == 0 ? block_cut{length, length, 1} : block_cut{length, step, int(count)};
}

// The blocks of an m×n product whose inner dimension is k: along its columns, or along its rows; and
// so many of the inner dimension in one product, the next ones added to it.
struct product_cut {
  bool along_columns;
  block_cut cut;
  index_t inner;
};
inline product_cut blocks_of_product(transpose ta, transpose tb, index_t m, index_t n, index_t k,
                                     int threads, const block_sizes& sizes) {
  constexpr index_t thin = 64;
  constexpr index_t not_packed = index_t(3) << 18;  // multiplications
  if (std::min(m, n) > thin || m * n * k <= not_packed) {
    const bool along_columns = m <= 3 * n;
    const index_t length = along_columns ? n : m;
    return {along_columns,
            equal_blocks(length, m * n * k, sizes.multiplications, threads, sizes.unit), k};
  }
  // Aᵀ·B has kernels of its own, which add up in many registers and are fastest on narrow blocks.
  const bool dots = ta == transpose::yes && tb == transpose::no;
  const index_t longest = dots ? 768 : 384;
  const index_t parts = (k + longest - 1) / longest;
  const index_t inner = (k + parts - 1) / parts;
  const index_t most = not_packed / (std::min(m, n) * inner) / 8 * 8;
  const index_t step = dots ? std::min<index_t>(most, 64) : most;
  const index_t length = std::max(m, n);
  return {m <= n, {length, step, int((length + step - 1) / step)}, inner};
}

}  // namespace preheat
