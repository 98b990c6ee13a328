// The norm and the spectrum of a product B·A that is held in its factors (B m×r, A r×n). The m×n
// product is never formed.
//
//   ‖B·A‖_F² = Σ_ij (Bᵀ·B)_ij·(A·Aᵀ)_ij
//
// Where these terms cancel, as in B·A − B₀·A₀ after little training, the sum would be their rounding;
// the norm then comes from the singular values. Cost: O((m + n)·r² + r³).
#pragma once
#include <algorithm>
#include <vector>

#include "factored_svd.hpp"

namespace preheat::linalg {

// The min(r, m, n) largest singular values of B·A, decreasing: all that can be other than zero.
// Errors: a NaN or infinite entry.
template <backend Be>
std::vector<double> product_spectrum(Be& be, const_view_of<Be> B, const_view_of<Be> A) {
  const index_t most = std::min({B.cols(), B.rows(), A.cols()});
  const svd_result<mat<Be>> d = factored_svd<Be>(be, B, A, most, generator(0));
  const std::vector<scalar_of<Be>> sigma = be.download(d.S);
  return {sigma.begin(), sigma.end()};
}

namespace detail {

// What to divide entries of this size by, so that sums of their squares stay in the range of float.
inline double divisor_for_squares(double largest) {
  constexpr double smallest_safe = 1e-8;
  constexpr double largest_safe = 1e8;
  return smallest_safe <= largest && largest <= largest_safe ? 1 : largest;
}

// The Gram matrix of M/divisor.
template <backend Be>
mat<Be> scaled_gram(Be& be, transpose t, const_view_of<Be> M, double divisor) {
  if (divisor == 1) {
    return gram<Be>(be, t, M);
  }
  mat<Be> scaled = clone<Be>(be, M);
  be.apply(scale<scalar_of<Be>>{scalar_of<Be>(1 / divisor)}, scaled);
  return gram<Be>(be, t, scaled);
}

}  // namespace detail

// ‖B·A‖_F². Errors: a NaN or infinite entry.
template <backend Be>
double squared_product_norm(Be& be, const_view_of<Be> B, const_view_of<Be> A) {
  const double largest_a = require_finite(be, A, "squared_product_norm: A");
  const double largest_b = require_finite(be, B, "squared_product_norm: B");
  if (largest_a == 0 || largest_b == 0) {
    return 0;
  }
  const double scale_a = detail::divisor_for_squares(largest_a);
  const double scale_b = detail::divisor_for_squares(largest_b);
  const mat<Be> GA = detail::scaled_gram(be, transpose::no, A, scale_a);
  const mat<Be> GB = detail::scaled_gram(be, transpose::yes, B, scale_b);
  const double square = double(be.dot(GA, GB));
  const mat<Be> unit = identity(be, A.rows());
  const double bound = double(be.dot(GA, unit)) * double(be.dot(GB, unit));  // ‖A‖²·‖B‖²
  constexpr double least_share = 1e-3;  // below it, the terms cancel
  if (square >= least_share * bound) {
    return square * scale_a * scale_a * scale_b * scale_b;
  }
  double sum = 0;
  for (const double sigma : product_spectrum(be, B, A)) {
    sum += sigma * sigma;
  }
  return sum;
}

// ‖U₁ᵀ·U₂‖_F²/k for the first k columns of two matrices of orthonormal columns (Hu et al., arXiv
// 2106.09685, section 7.2): 1 for equal subspaces, k/rows for random ones. Errors: k < 1.
template <backend Be>
double subspace_overlap(Be& be, const_view_of<Be> first, const_view_of<Be> second, index_t k) {
  require(k >= 1, "subspace_overlap: columns >= 1", k, 1);
  const mat<Be> M =
      product<Be>(be, transpose::yes, first.col_range(0, k), transpose::no, second.col_range(0, k));
  return double(be.dot(M, M)) / double(k);
}

}  // namespace preheat::linalg
