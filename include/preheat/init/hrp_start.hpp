// The step of HRP from a preheated product to a low-rank start (arXiv 2502.07739), for init::hrp and
// for adapters in files:
//
//   B·A = U·S·Vᵀ (B m×R, A R×n: factored, never formed)
//   side right: A = c·Vᵀ[:r], B = 0        side left: B = c·U[:, :r], A = 0
//
// Signs: the largest entry of every direction is positive. Errors: r < 1, or above R, m or n; a NaN or
// infinite entry. Cost: O((m + n)·R² + R³).
#pragma once
#include <utility>
#include <vector>

#include "../linalg/factored_svd.hpp"
#include "one_sided.hpp"

namespace preheat::init {

template <class Be>
struct hrp_start_result {
  factors<Be> f;              // A r×n, B m×r; one of them is zero
  std::vector<double> sigma;  // the r largest singular values of B·A
};

// A and B are the preheated factors, of rank R. The side is right or left.
template <backend Be>
hrp_start_result<Be> hrp_start(Be& be, const_view_of<Be> B, const_view_of<Be> A, index_t rank,
                               singular_side side, const row_norm_rule& row_norm,
                               const generator& gen) {
  using T = scalar_of<Be>;
  require(side != singular_side::automatic, "hrp_start: the side is right or left");
  require(B.cols() >= rank, "preheating rank >= rank", B.cols(), rank);
  svd_result<mat<Be>> d = linalg::factored_svd(be, B, A, rank, gen);
  const bool left = side == singular_side::left;
  mat<Be>& directions = left ? d.U : d.V;
  if (left) {  // factored_svd has made those of V so
    linalg::fix_signs(be, d.V, d.U);
  }
  const std::vector<T> sigma = be.download(d.S);
  be.apply(linalg::scale<T>{T(row_norm(rank, directions.rows()))}, directions);
  hrp_start_result<Be> result{{}, {sigma.begin(), sigma.end()}};
  if (left) {
    result.f = {be.zeros(rank, A.cols()), std::move(directions)};
  } else {
    result.f = {linalg::transposed(be, directions), be.zeros(B.rows(), rank)};
  }
  return result;
}

}  // namespace preheat::init
