// An operand that is a block of a larger matrix, so that leading dimensions count, and it is seen
// when anything outside the block changes.
#pragma once
#include "table.hpp"

namespace conformance {

using preheat::mat;
using preheat::view_of;

// A block of a larger matrix of a backend: three more rows and two more columns around it, all 7.
template <class Be>
struct block_in_frame {
  static constexpr double frame = 7;
  mat<Be> whole;
  index_t rows, cols;

  block_in_frame(Be& be, const table& t)
      : whole(matrix(be, table(t.rows + 3, t.cols + 2, frame))), rows(t.rows), cols(t.cols) {
    write(be, t, block());
  }
  view_of<Be> block() { return view(whole).block(2, 1, rows, cols); }
  table read_block(Be& be) { return read<Be>(be, block()); }
  // Whether the frame is as it was.
  bool intact(Be& be) {
    const table t = read<Be>(be, whole);
    bool holds = true;
    for (index_t j = 0; j < t.cols; ++j) {
      for (index_t i = 0; i < t.rows; ++i) {
        const bool inside = i >= 2 && i < 2 + rows && j >= 1 && j < 1 + cols;
        holds = holds && (inside || t(i, j) == frame);
      }
    }
    return holds;
  }
};

}  // namespace conformance
