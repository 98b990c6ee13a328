// The truncated SVD of a product B·A that is held in factors: B is m×R, A is R×n, and the m×n
// product is never formed. Two forms:
//
//   qr    B = Q_b·R_b, Aᵀ = Q_a·R_a, SVD of the R×R core R_b·R_aᵀ = u·S·vᵀ; U = Q_b·u, V = Q_a·v.
//         Backward stable. Cost: two QRs and an R×R SVD.
//   gram  R_b, R_a are Cholesky factors of BᵀB and AAᵀ, the core's right vectors are eigenvectors of
//         coreᵀ·core, U = B·R_b⁻¹·u, V = Aᵀ·R_a⁻¹·v. Products only, several times faster, but it
//         squares condition numbers. A vector is lost to rounding when its σ is small against σ₁.
//
// `automatic` takes the Gram form and keeps its result when an estimate of the conditioning allows
// it, else falls back to QR: rank-deficient factors, zero factors (HRP's B starts at 0) and steep
// spectra are ordinary input. Each factor is first scaled by its largest entry, so that no square
// underflows or overflows.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "orthogonal.hpp"

namespace preheat::linalg {

enum class factored_form { automatic, qr, gram };

namespace detail {

// The ratio of the smallest to the largest diagonal entry of a triangular factor: a cheap upper
// bound of its reciprocal condition number.
template <backend Be>
double diagonal_ratio(Be& be, const mat<Be>& R) {
  const auto r = be.download(R);
  double smallest = std::numeric_limits<double>::infinity();
  double largest = 0;
  for (index_t i = 0; i < R.rows(); ++i) {
    const double d = std::abs(double(r[std::size_t(i + i * R.rows())]));
    smallest = std::min(smallest, d);
    largest = std::max(largest, d);
  }
  return largest > 0 ? smallest / largest : 0;
}

template <backend Be>
svd_result<mat<Be>> factored_svd_qr(Be& be, in<Be> B, in<Be> A, index_t r) {
  using T = scalar_of<Be>;
  const qr_result<mat<Be>> b = be.qr(B);
  const qr_result<mat<Be>> a = be.qr(transposed(be, A));
  const svd_result<mat<Be>> core = be.svd(product(be, op::none, b.R, op::trans, a.R));
  const view<const T> u = core.U;
  const view<const T> v = core.V;
  const view<const T> s = core.S;
  return {product(be, op::none, b.Q, op::none, u.col_range(0, r)), clone(be, s.row_range(0, r)),
          product(be, op::none, a.Q, op::none, v.col_range(0, r))};
}

// Nothing when the factors, or the r retained singular values, are too ill-conditioned for squares.
template <backend Be>
std::optional<svd_result<mat<Be>>> factored_svd_gram(Be& be, in<Be> B, in<Be> A, index_t r) {
  using T = scalar_of<Be>;
  const index_t R = B.cols();
  if (R > B.rows() || R > A.cols()) {
    return std::nullopt;
  }
  mat<Be> Rb = gram(be, op::trans, B);
  mat<Be> Ra = gram(be, op::none, A);
  if (!be.cholesky(Rb) || !be.cholesky(Ra)) {
    return std::nullopt;
  }
  // U and V lose orthogonality as ε·κ(factor)², singular values as ε·σ₁²/σ: grant both about 64·ε.
  constexpr double worst_factor = 1.0 / 8;
  constexpr double worst_value = 1.0 / 64;
  if (diagonal_ratio(be, Rb) < worst_factor || diagonal_ratio(be, Ra) < worst_factor) {
    return std::nullopt;
  }
  const mat<Be> core = product(be, op::none, Rb, op::trans, Ra);
  const eigh_result<mat<Be>> e = be.eigh(gram(be, op::trans, core));

  // The r largest, in decreasing order.
  const std::vector<T> values = be.download(e.values);
  std::vector<T> sigma(static_cast<std::size_t>(r));
  mat<Be> v = be.zeros(R, r);
  for (index_t j = 0; j < r; ++j) {
    sigma[std::size_t(j)] = std::sqrt(std::max(values[std::size_t(R - 1 - j)], T(0)));
    be.copy(op::none, view(e.vectors).col_range(R - 1 - j, 1), view(v).col_range(j, 1));
  }
  if (!(double(sigma.back()) > worst_value * double(sigma.front()))) {
    return std::nullopt;
  }
  mat<Be> S = be.zeros(r, 1);
  be.upload(sigma, S);
  // core·v = u·S. Dividing by S would leave u as far from orthogonal as ε·(σ₁/σ)²; its QR does not.
  mat<Be> u = unique_q<Be>(be, be.qr(product(be, op::none, core, op::none, v)));
  be.solve_upper(op::none, Rb, u);
  be.solve_upper(op::none, Ra, v);
  return svd_result<mat<Be>>{product(be, op::none, B, op::none, u), std::move(S),
                             product(be, op::trans, A, op::none, v)};
}

}  // namespace detail

// The first r singular triplets of B·A: U m×r, S r×1, V n×r. Singular values that are zero to
// working precision get random orthonormal vectors, so U and V always have orthonormal columns.
// Errors: invalid_argument for 1 > r, r > R, r > min(m, n), or a NaN or infinite entry.
// Cost: O((m + n)·R² + R³), memory O((m + n)·R).
template <backend Be, random_generator G>
svd_result<mat<Be>> factored_svd(Be& be, in<Be> B, in<Be> A, index_t r, const G& gen,
                                 factored_form form = factored_form::automatic) {
  using T = scalar_of<Be>;
  const index_t R = B.cols();
  require(R == A.rows(), "factored_svd: columns of B = rows of A", R, A.rows());
  require(1 <= r && r <= R, "factored_svd: 1 <= rank <= rank of the factors", r, R);
  const index_t largest_rank = std::min(B.rows(), A.cols());
  require(r <= largest_rank, "factored_svd: rank <= min(out, in)", r, largest_rank);

  const double scale_b = require_finite(be, B, "factored_svd: B");
  const double scale_a = require_finite(be, A, "factored_svd: A");
  if (scale_b == 0 || scale_a == 0) {
    mat<Be> U = be.zeros(B.rows(), r);
    mat<Be> V = be.zeros(A.cols(), r);
    complete_orthonormal(be, U, 0, gen.fork(purpose::completion, 0));
    complete_orthonormal(be, V, 0, gen.fork(purpose::completion, 1));
    return {std::move(U), be.zeros(r, 1), std::move(V)};
  }
  mat<Be> Bs = clone<Be>(be, B);
  mat<Be> As = clone<Be>(be, A);
  be.each(scale<T>{T(1 / scale_b)}, Bs);
  be.each(scale<T>{T(1 / scale_a)}, As);

  std::optional<svd_result<mat<Be>>> d;
  if (form != factored_form::qr) {
    d = detail::factored_svd_gram<Be>(be, Bs, As, r);
  }
  if (!d) {
    d = detail::factored_svd_qr<Be>(be, Bs, As, r);
  }

  std::vector<T> sigma = be.download(d->S);
  const T cut = sigma[0] * T(R) * std::numeric_limits<T>::epsilon();
  index_t live = 0;
  while (live < r && sigma[std::size_t(live)] > cut) {
    ++live;
  }
  complete_orthonormal(be, d->U, live, gen.fork(purpose::completion, 0));
  complete_orthonormal(be, d->V, live, gen.fork(purpose::completion, 1));
  fix_signs(be, d->U, d->V);
  for (T& s : sigma) {
    s = T(double(s) * scale_b * scale_a);
  }
  be.upload(sigma, d->S);
  return std::move(*d);
}

}  // namespace preheat::linalg
