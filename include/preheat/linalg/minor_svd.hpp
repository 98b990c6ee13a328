// The end of the spectrum: the last r singular triplets of a dense matrix, those of its least
// singular values. Unlike the first ones they are no target for a sketch: the SVD is whole.
#pragma once
#include <algorithm>
#include <utility>

#include "truncated_svd.hpp"

namespace preheat::linalg {

// The last r singular triplets of W (m×n) among its min(m, n), in decreasing order: U m×r, S r×1,
// V n×r. Columns of U and V are orthonormal also where singular values are zero.
// Cost: O(m·n·min(m, n)). Errors: rank out of range; NaN.
template <backend Be>
svd_result<mat<Be>> minor_svd(Be& be, const_view_of<Be> W, index_t r) {
  detail::require_rank(r, W.rows(), W.cols());
  require_finite(be, W, "minor_svd: W");
  const index_t before = std::min(W.rows(), W.cols()) - r;
  const svd_result<mat<Be>> all = be.svd(W);
  svd_result<mat<Be>> last{clone<Be>(be, const_view_of<Be>(all.U).col_range(before, r)),
                           clone<Be>(be, const_view_of<Be>(all.S).row_range(before, r)),
                           clone<Be>(be, const_view_of<Be>(all.V).col_range(before, r))};
  fix_signs(be, last.U, last.V);
  return last;
}

}  // namespace preheat::linalg
