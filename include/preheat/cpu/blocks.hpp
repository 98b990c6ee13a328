// How the CPU backend cuts an operation into blocks of its result, for its threads and for the
// BLAS. No number depends on another block, and the inner dimension of a product is never cut.
//
// A large product is cut for the threads alone: along the columns of the result, or along its rows
// where it is more than three times as tall as wide. Two threads on 768×512 are 9 % faster by
// columns, on 4096×256, where every block of columns would pack a large W again, 11 % by rows.
//
// A thin product with a long inner dimension, such as A·X (r×n times n×N), is cut by its shape,
// whatever the threads: OpenBLAS (0.3.21, AVX-512) multiplies without packing, and twice as fast,
// what has less than a million multiplications, or 3/4 of that where both operands are read along
// their columns. Elsewhere the cut costs nothing (OpenBLAS for AVX2, Eigen: within 5 %).
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
struct blocks {
  index_t length = 0;
  index_t step = 0;
  int count = 1;

  index_t first(int block) const { return block * step; }
  index_t size(int block) const { return (block + 1 < count ? step : length - first(block)); }
};

// Equal blocks for the threads: no more than have `least` of the work each.
inline blocks equal_blocks(index_t length, index_t work, index_t least, int threads, index_t unit) {
  const index_t count = std::clamp<index_t>(work / std::max<index_t>(least, 1), 1, threads);
  const index_t step = length / count / unit * unit;
  return step == 0 ? blocks{length, length, 1} : blocks{length, step, int(count)};
}

// The blocks of an m×n product whose inner dimension is k: along its columns, or along its rows.
struct product_blocks {
  bool along_columns;
  blocks cut;
};
inline product_blocks blocks_of_product(op ta, op tb, index_t m, index_t n, index_t k, int threads,
                                        const block_sizes& sizes) {
  constexpr index_t thin = 64;
  constexpr index_t without_packing = index_t(3) << 18;
  const bool along_columns = std::min(m, n) <= thin ? m <= n : m <= 3 * n;
  const index_t length = along_columns ? n : m;
  const index_t other = along_columns ? m : n;
  // Whether a block is a run of whole columns in memory, else it is a strip of all of them.
  const bool contiguous = along_columns ? tb == op::none : ta == op::trans;
  const index_t step = without_packing / std::max<index_t>(other * k, 1) / 8 * 8;
  if (other <= thin && step < length && step >= (contiguous ? 8 : 24)) {
    return {along_columns, {length, step, int((length + step - 1) / step)}};
  }
  return {along_columns,
          equal_blocks(length, m * n * k, sizes.multiplications, threads, sizes.unit)};
}

}  // namespace preheat
