// Equally large blocks of one matrix in two nested series, such as the heads of each of several sequences: what
// a backend may multiply in one call (nn/encoder_backend.hpp).
#pragma once
#include "types.hpp"

namespace preheat {

// Block (i, o), i < inner, o < outer, begins ⌊i/shared⌋·inner_rows rows below block (0, 0), and
// ⌊i/shared⌋·inner_cols + o·outer_cols columns to its right: `shared` consecutive ones are one block.
struct grid_steps {
  index_t inner, outer;  // how many blocks
  index_t inner_rows, inner_cols;
  index_t outer_cols;
  index_t shared = 1;

  // From the first entry of block (0, 0) to that of block (k mod inner, k / inner), with this leading dimension.
  constexpr index_t offset(index_t k, index_t ld) const {
    const index_t i = k % inner / shared;
    return i * inner_rows + (i * inner_cols + k / inner * outer_cols) * ld;
  }
};

template <class T>
struct block_grid {
  view<T> first;  // block (0, 0)
  grid_steps steps;

  index_t count() const { return steps.inner * steps.outer; }
};

// The blocks of `rows` × `cols` of a matrix, all of which must lie in it.
template <class T>
block_grid<T> grid_of(view<T> matrix, index_t rows, index_t cols, const grid_steps& s) {
  require(s.inner >= 1 && s.outer >= 1, "a grid has at least one block", s.inner, s.outer);
  require(s.shared >= 1, "blocks of a grid that are one >= 1", s.shared, 1);
  const index_t last = (s.inner - 1) / s.shared;
  (void)matrix.block(last * s.inner_rows, last * s.inner_cols + (s.outer - 1) * s.outer_cols, rows,
                     cols);
  return {matrix.block(0, 0, rows, cols), s};
}

}  // namespace preheat
