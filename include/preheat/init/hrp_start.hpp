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

// The start from the triplets of B·A. The side is right or left.
template <backend Be>
[[gnu::cold]] factors<Be> start_of_triplets(Be& be, svd_result<mat<Be>> d, singular_side side,
                                            const row_norm_rule& row_norm) {
  using T = scalar_of<Be>;
  const index_t rank = d.S.rows();
  const index_t out = d.U.rows();
  const index_t in = d.V.rows();
  const bool left = side == singular_side::left;
  mat<Be>& directions = left ? d.U : d.V;
  if (left) {  // factored_svd has made those of V so
    linalg::fix_signs(be, d.V, d.U);
  }
  be.apply(linalg::scale<T>{T(row_norm(rank, directions.rows()))}, directions);
  if (left) {
    return {be.zeros(rank, in), std::move(directions)};
  }
  return {linalg::transposed(be, directions), be.zeros(out, rank)};
}

template <class Be>
struct hrp_start_result {
  factors<Be> f;              // A r×n, B m×r; one of them is zero
  std::vector<double> sigma;  // the r largest singular values of B·A
};

// A and B are the preheated factors, of rank R. The side is right or left.
template <backend Be>
[[gnu::cold]] hrp_start_result<Be> hrp_start(Be& be, const_view_of<Be> B, const_view_of<Be> A,
                                             index_t rank, singular_side side,
                                             const row_norm_rule& row_norm, const generator& gen) {
  require(side != singular_side::automatic, "hrp_start: the side is right or left");
  require(B.cols() >= rank, "preheating rank >= rank", B.cols(), rank);
  svd_result<mat<Be>> d = linalg::factored_svd(be, B, A, rank, gen);
  const std::vector<scalar_of<Be>> sigma = be.download(d.S);
  return {start_of_triplets(be, std::move(d), side, row_norm), {sigma.begin(), sigma.end()}};
}

}  // namespace preheat::init
