// The truncated SVD of a product B·A that is held in factors: B is m×R, A is R×n, and the m×n
// product is never formed. Three forms:
//
//   gram       Gram matrices of the factors and a symmetric R×R eigenproblem (gram_svd.hpp).
//              Products only, but it squares condition numbers.
//   wide_gram  The same with Gram matrices and core in double, for a float backend that can: about
//              twice the time, and all singular values that float can tell from zero.
//   qr         B = Q_b·R_b, Aᵀ = Q_a·R_a, SVD of the R×R core R_b·R_aᵀ = u·S·vᵀ; U = Q_b·u,
//              V = Q_a·v. Backward stable; two QRs and an R×R SVD take several times longer.
//
// `automatic` tries them in this order and keeps the first result whose rounding it can bound. On a device that
// has the wide form it begins there: measured on an H100, Gram matrices of floats take cuBLAS ten times as
// long as those in double.
// Rank-deficient factors, zero factors (HRP's B starts at 0), steep spectra and extreme scales are
// ordinary input.
#pragma once
#include <algorithm>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "../core/communicator.hpp"
#include "device_gram_svd.hpp"

namespace preheat::linalg {

// A form that cannot be sure of its result, or that the backend lacks, gives way to qr.
enum class factored_form { automatic, gram, wide_gram, qr };

namespace detail {

// Scaled by their largest entries, so that nothing underflows or overflows.
template <backend Be>
[[gnu::cold]] live_svd<Be> qr_svd(Be& be, const_view_of<Be> B, const_view_of<Be> A, index_t r,
                                  double scale_b, double scale_a) {
  using T = scalar_of<Be>;
  mat<Be> scaled_B = clone<Be>(be, B);
  mat<Be> scaled_At = transposed<Be>(be, A);
  be.apply(scale<T>{T(1 / scale_b)}, scaled_B);
  be.apply(scale<T>{T(1 / scale_a)}, scaled_At);
  const qr_result<mat<Be>> b = be.qr(scaled_B);
  const qr_result<mat<Be>> a = be.qr(scaled_At);
  const svd_result<mat<Be>> core = be.svd(product(be, transpose::no, b.R, transpose::yes, a.R));
  const view<const T> u = core.U;
  const view<const T> v = core.V;
  std::vector<T> sigma = be.download(view<const T>(core.S).row_range(0, r));
  const T cut = sigma[0] * T(B.cols()) * std::numeric_limits<T>::epsilon();
  const auto significant =
      std::find_if(sigma.begin(), sigma.end(), [&](T s) { return !(s > cut); });
  const index_t count = significant - sigma.begin();
  for (T& s : sigma) {
    s = T(double(s) * scale_b * scale_a);
  }
  mat<Be> S = be.zeros(r, 1);
  be.upload(sigma, S);
  return {{product(be, transpose::no, b.Q, transpose::no, u.col_range(0, r)), std::move(S),
           product(be, transpose::no, a.Q, transpose::no, v.col_range(0, r))},
          count};
}

// Errors: shapes and a rank that do not fit.
template <class Be>
void require_factored_rank(const_view_of<Be> B, const_view_of<Be> A, index_t r) {
  const index_t R = B.cols();
  require(R == A.rows(), "factored_svd: columns of B = rows of A", R, A.rows());
  require(1 <= r && r <= R, "factored_svd: 1 <= rank <= rank of the factors", r, R);
  const index_t largest_rank = std::min(B.rows(), A.cols());
  require(r <= largest_rank, "factored_svd: rank <= min(out, in)", r, largest_rank);
}
// What no Gram form is sure of. Errors: a NaN or infinite entry.
template <backend Be>
[[gnu::cold]] live_svd<Be> careful_svd(Be& be, const_view_of<Be> B, const_view_of<Be> A,
                                       index_t r) {
  const double scale_b = require_finite(be, B, "factored_svd: B");
  const double scale_a = require_finite(be, A, "factored_svd: A");
  if (scale_b == 0 || scale_a == 0) {
    return {{be.zeros(B.rows(), r), be.zeros(r, 1), be.zeros(A.cols(), r)}, 0};
  }
  return qr_svd<Be>(be, B, A, r, scale_b, scale_a);
}
// The wide form, which on a device the host does not wait for.
template <mixed_precision_backend Be>
std::optional<live_svd<Be>> higher_precision_svd(Be& be, const_view_of<Be> B, const_view_of<Be> A,
                                                 index_t r) {
  if constexpr (wide_on_device<Be>) {
    return unwaited_gram_svd<Be>(be, B, A, r);
  } else {
    return wide_gram_svd<Be>(be, B, A, r);
  }
}
// With random vectors for those that mean nothing, and signs.
template <backend Be, random_generator G>
[[gnu::cold, gnu::noinline]] svd_result<mat<Be>> completed(Be& be, live_svd<Be> found,
                                                           const G& gen) {
  svd_result<mat<Be>>& d = found.d;
  complete_orthonormal(be, d.U, found.significant, gen.fork(purpose::completion, 0));
  complete_orthonormal(be, d.V, found.significant, gen.fork(purpose::completion, 1));
  fix_signs(be, d.U, d.V);
  return std::move(d);
}

}  // namespace detail

// The first r singular triplets of B·A: U m×r, S r×1, V n×r. Singular values that are zero to
// working precision get random orthonormal vectors, so U and V always have orthonormal columns.
// Errors: invalid_argument for 1 > r, r > R, r > min(m, n), or a NaN or infinite entry.
// Cost: O((m + n)·R² + R³), memory O((m + n)·r + R²), in the QR form O((m + n)·R).
template <backend Be, random_generator G>
[[gnu::cold]] svd_result<mat<Be>> factored_svd(Be& be, const_view_of<Be> B, const_view_of<Be> A,
                                               index_t r, const G& gen,
                                               factored_form form = factored_form::automatic) {
  detail::require_factored_rank<Be>(B, A, r);
  const bool automatic = form == factored_form::automatic;
  if (form == factored_form::gram || (automatic && !detail::wide_on_device<Be>)) {
    if (auto found = detail::gram_svd<Be>(be, B, A, r)) {
      return detail::completed(be, std::move(*found), gen);
    }
  }
  if constexpr (mixed_precision_backend<Be>) {
    if (automatic || form == factored_form::wide_gram) {
      if (auto found = detail::higher_precision_svd<Be>(be, B, A, r)) {
        return detail::completed(be, std::move(*found), gen);
      }
    }
  }
  return detail::completed(be, detail::careful_svd<Be>(be, B, A, r), gen);
}

}  // namespace preheat::linalg
