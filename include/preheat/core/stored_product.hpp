// Products with a stored matrix (stored_matrix.hpp), panel by panel. W is m×n; panels of p rows are unpacked,
// p·n numbers at a time and never all of them:
//
//   Y = W·X     Y_p = W_p·X for the rows p of every panel
//   dX = Wᵀ·dY  dX = Σ_p W_pᵀ·dY_p
//
// by the backend's own product, so Y has the rounding of the dense product of a panel and dX also
// that of the sum over the panels. Cost over the dense product: m·n entries unpacked, and X packed by
// the BLAS once a panel.
#pragma once
#include <algorithm>

#include "backend.hpp"
#include "shapes.hpp"
#include "stored_matrix.hpp"

namespace preheat {

// Rows of a panel: as many as a megabyte or so holds, but enough that the product pays.
inline index_t panel_rows(const stored_matrix& W) {
  constexpr index_t entries = index_t(1) << 19;
  constexpr index_t fewest = 256;
  return std::min(W.rows(), std::max(fewest, entries / std::max<index_t>(W.cols(), 1)));
}

// f(first, panel) for all rows of W, panel by panel: column j of the panel is row first + j.
template <class Be, class F>
void for_each_panel(Be& be, const stored_matrix& W, mat<Be>& room, F f) {
  const index_t most = panel_rows(W);
  for (index_t first = 0; first < W.rows(); first += most) {
    const index_t count = std::min(most, W.rows() - first);
    be.resize(room, W.cols(), count);
    be.unpack_rows(W, first, room);
    f(first, const_view_of<Be>(room));
  }
}

// to = W, m×n.
template <class Be>
void unpack_panels(Be& be, const stored_matrix& W, mat<Be>& panel, view_of<Be> to) {
  for_each_panel(be, W, panel, [&](index_t first, const_view_of<Be> rows) {
    be.copy(transpose::yes, rows, to.row_range(first, rows.cols()));
  });
}

// c = alpha·op(W)·op(b) + beta·c
template <class Be>
void multiply_stored(Be& be, scalar_of<Be> alpha, transpose t, const stored_matrix& W, transpose tb,
                     const_view_of<Be> b, scalar_of<Be> beta, view_of<Be> c, mat<Be>& room) {
  const bool turned = t == transpose::yes;
  const index_t inner = turned ? W.rows() : W.cols();
  require(c.rows() == (turned ? W.cols() : W.rows()), "gemm: rows of c = rows of op(W)", c.rows(),
          turned ? W.cols() : W.rows());
  require(rows_of(tb, b) == inner, "gemm: rows of op(b) = columns of op(W)", rows_of(tb, b), inner);
  require(c.cols() == cols_of(tb, b), "gemm: columns of c = columns of op(b)", c.cols(),
          cols_of(tb, b));
  for_each_panel(be, W, room, [&](index_t first, const_view_of<Be> rows) {
    const index_t count = rows.cols();
    if (turned) {
      const const_view_of<Be> part =
          tb == transpose::no ? b.row_range(first, count) : b.col_range(first, count);
      be.gemm(alpha, transpose::no, rows, tb, part, first == 0 ? beta : scalar_of<Be>(1), c);
    } else {
      be.gemm(alpha, transpose::yes, rows, tb, b, beta, c.row_range(first, count));
    }
  });
}

}  // namespace preheat
