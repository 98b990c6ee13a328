// The truncated SVD of a dense matrix: exact, or randomized with power iterations.
//
// Randomized range finder (Halko, Martinsson, Tropp, "Finding structure with randomness", SIAM
// Review 53, 2011): Q = qr(M·Ω); `power_iterations` times Q = qr(Mᵀ·Q), Q = qr(M·Q); then the SVD
// of the small Qᵀ·M. M is W if it has at least as many rows as columns, else Wᵀ, so Ω is min(m,
// n)×k. With oversampling 0 this is torch.svd_lowrank(W, q = r, niter = power_iterations).
#pragma once
#include <algorithm>

#include "orthogonal.hpp"

namespace preheat::linalg {

struct randomized_options {
  index_t oversampling = 8;
  index_t power_iterations = 4;
};

// The first r triplets of a longer decomposition.
template <backend Be>
svd_result<mat<Be>> leading_triplets(Be& be, const svd_result<mat<Be>>& d, index_t r) {
  return {clone<Be>(be, view(d.U).col_range(0, r)), clone<Be>(be, view(d.S).row_range(0, r)),
          clone<Be>(be, view(d.V).col_range(0, r))};
}

namespace detail {
inline void require_rank(index_t r, index_t m, index_t n) {
  require(1 <= r && r <= std::min(m, n), "1 <= rank <= min(out, in)", r, std::min(m, n));
}
}  // namespace detail

// The first r singular triplets of W, exactly. Cost: O(m·n·min(m, n)). Errors: rank out of range,
// NaN.
template <backend Be>
svd_result<mat<Be>> truncated_svd(Be& be, const_view_of<Be> W, index_t r) {
  detail::require_rank(r, W.rows(), W.cols());
  require_finite(be, W, "truncated_svd: W");
  svd_result<mat<Be>> d = leading_triplets<Be>(be, be.svd(W), r);
  fix_signs(be, d.U, d.V);
  return d;
}

// The same, approximately, from a given test matrix Ω (min(m, n)×k, k >= r).
// Cost: 2·(power_iterations + 1) products with W of k columns, and as many QRs.
template <backend Be>
svd_result<mat<Be>> randomized_svd(Be& be, const_view_of<Be> W, index_t r, const_view_of<Be> omega,
                                   index_t power_iterations) {
  detail::require_rank(r, W.rows(), W.cols());
  require(r <= omega.cols(), "rank <= columns of the test matrix", r, omega.cols());
  require(power_iterations >= 0, "power iterations >= 0", power_iterations, 0);
  require_finite(be, W, "randomized_svd: W");
  const bool tall = W.rows() >= W.cols();
  const transpose forward = tall ? transpose::no : transpose::yes;   // M   = forward(W)
  const transpose backward = tall ? transpose::yes : transpose::no;  // Mᵀ  = backward(W)
  require(omega.rows() == std::min(W.rows(), W.cols()), "rows of the test matrix = min(out, in)",
          omega.rows(), std::min(W.rows(), W.cols()));

  mat<Be> Q = be.qr(product(be, forward, W, transpose::no, omega)).Q;
  for (index_t i = 0; i < power_iterations; ++i) {
    const mat<Be> P = be.qr(product<Be>(be, backward, W, transpose::no, Q)).Q;
    Q = be.qr(product<Be>(be, forward, W, transpose::no, P)).Q;
  }
  // M ≈ Q·(Qᵀ·M): the SVD of the tall Mᵀ·Q = V·S·Uᵀ, small side k.
  const qr_result<mat<Be>> f = be.qr(product<Be>(be, backward, W, transpose::no, Q));
  svd_result<mat<Be>> core = leading_triplets<Be>(be, be.svd(f.R), r);
  mat<Be> left = product<Be>(be, transpose::no, Q, transpose::no, core.V);
  mat<Be> right = product<Be>(be, transpose::no, f.Q, transpose::no, core.U);
  svd_result<mat<Be>> d =
      tall ? svd_result<mat<Be>>{std::move(left), std::move(core.S), std::move(right)}
           : svd_result<mat<Be>>{std::move(right), std::move(core.S), std::move(left)};
  fix_signs(be, d.U, d.V);
  return d;
}

// The same with a Gaussian test matrix of min(r + oversampling, min(m, n)) columns.
template <backend Be, random_generator G>
svd_result<mat<Be>> randomized_svd(Be& be, const_view_of<Be> W, index_t r,
                                   const randomized_options& options, const G& gen) {
  detail::require_rank(r, W.rows(), W.cols());
  const index_t small = std::min(W.rows(), W.cols());
  require(options.oversampling >= 0, "oversampling >= 0", options.oversampling, 0);
  const index_t k = std::min(r + options.oversampling, small);
  const mat<Be> omega = normal(be, small, k, 1, gen.fork(purpose::sketch));
  return randomized_svd<Be>(be, W, r, omega, options.power_iterations);
}

}  // namespace preheat::linalg
