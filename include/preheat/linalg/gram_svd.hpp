// The Gram form of the truncated SVD of a product B·A held in factors (B is m×R, A is R×n): all
// that is as long as m or n is two Gram matrices and two thin products.
//
//   G_B = BᵀB,  G_A = AAᵀ = RᵀR (Cholesky),  K = R·G_B·Rᵀ = W·diag(σ²)·Wᵀ
//   U = B·(RᵀW/σ),  V = Aᵀ·(BᵀU)/σ = Aᵀ·(G_B·RᵀW/σ²)
//
// K has the eigenvalues of (BA)ᵀ(BA). Squares cost digits: G_B and G_A are known to ε·‖B‖² and
// ε·‖A‖², so σ errs by (ε/2)·‖A‖²‖B‖²/σ² of itself, and the vectors likewise. `gram_svd` works in
// the backend's own precision, for σ not far below ‖A‖‖B‖, and restores the orthonormality of U and
// V where squaring may have cost digits. `wide_gram_svd` has Gram matrices and core in double: it
// resolves every singular value above float rounding, whatever the conditioning of the factors, and
// orthonormalizes U and V once more. Both return nullopt when they cannot bound their error.
//
// Cost: (m + n)·R² operations for the Gram matrices, O(R³) for the core, 2·(m + n)·R·r for U and V,
// and up to 3·(m + n)·r² where orthonormality is in doubt.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "orthogonal.hpp"
#include "symmetric.hpp"

namespace preheat::linalg::detail {

// How far squaring may magnify rounding: ‖A‖²‖B‖² <= magnification·σ² in the backend's precision.
inline constexpr double magnification = 128;
// Up to here the orthonormality of U and V is not in doubt: the defect grows in proportion, and was
// measured to be at most 1.5·ε·‖A‖²‖B‖²/σ².
inline constexpr double harmless_magnification = 16;
// As the first, for T with Gram matrices and core in double.
template <class T>
inline constexpr double wide_magnification =
    magnification* double(std::numeric_limits<T>::epsilon()) /
    std::numeric_limits<double>::epsilon();

// An SVD of which the first `significant` triplets are more than rounding; the other vectors mean nothing.
template <class Be>
struct live_svd {
  svd_result<mat<Be>> d;
  index_t significant;
};

// How many columns count, and a bound of ‖A‖²‖B‖²/σ² for these.
struct gram_weight {
  index_t significant = 0;
  double magnified = 0;
};

// U = B·left and V = Aᵀ·right, R×r each; sigma has r numbers in decreasing order. From column
// `significant` on, all is zero.
template <class Be>
struct gram_core {
  mat<Be> left;
  mat<Be> right;
  std::vector<scalar_of<Be>> sigma;
  gram_weight weight;
};

// The largest absolute sum of a column, an upper bound of the norm; NaN if any entry is.
template <backend Be>
[[gnu::cold]] double one_norm(Be& be, const mat<Be>& G) {
  const auto g = be.download(G);
  double largest = 0;
  for (index_t j = 0; j < G.cols(); ++j) {
    double sum = 0;
    for (index_t i = 0; i < G.rows(); ++i) {
      sum += std::abs(double(g[i + j * G.rows()]));
    }
    largest = sum > largest || std::isnan(sum) ? sum : largest;
  }
  return largest;
}

// Whether products of three numbers like this one neither underflow nor overflow.
template <class T>
bool products_in_range(double norm) {
  return std::cbrt(double(std::numeric_limits<T>::min())) <= norm &&
         norm <= std::cbrt(double(std::numeric_limits<T>::max()));
}

// σ² become σ, and inverse 1/σ. Singular values up to `negligible`·σ₁ count as zero, with 0 for 1/σ; below 0,
// none do. Nothing if a σ that counts has ‖A‖²‖B‖² > worst·σ²; `norms` is that product.
template <class T>
[[gnu::cold]] std::optional<gram_weight> weigh_squares(std::vector<T>& sigma,
                                                       std::vector<T>& inverse, double norms,
                                                       double worst, double negligible) {
  gram_weight weight;
  inverse.assign(sigma.size(), T(0));
  for (std::size_t j = 0; j < sigma.size(); ++j) {
    const T square = std::max(sigma[j], T(0));
    sigma[j] = std::sqrt(square);
    if (double(sigma[j]) > negligible * double(sigma[0])) {
      if (!(double(square) * worst >= norms)) {
        return std::nullopt;
      }
      weight.magnified = norms / double(square);
      inverse[j] = 1 / sigma[j];
      ++weight.significant;
    }
  }
  return weight;
}

// Nothing if AAᵀ is not positive definite, or if a σ that counts has ‖A‖²‖B‖² > worst·σ².
template <backend Be>
[[gnu::cold]] std::optional<gram_core<Be>> solve_gram_core(Be& be, const mat<Be>& G_B, mat<Be> G_A,
                                                           index_t r, double worst,
                                                           double negligible) {
  using T = scalar_of<Be>;
  const double norm_B = one_norm(be, G_B);
  const double norm_A = one_norm(be, G_A);
  if (!products_in_range<T>(norm_B) || !products_in_range<T>(norm_A) || !be.cholesky(G_A)) {
    return std::nullopt;
  }
  const mat<Be> RG = product(be, transpose::no, G_A, transpose::no, G_B);
  const mat<Be> K = product(be, transpose::no, RG, transpose::yes, G_A);
  const eigh_result<mat<Be>> e = largest_eigenpairs<Be>(be, K, r);

  const index_t R = G_B.rows();
  gram_core<Be> core{be.zeros(R, r), be.zeros(R, r), be.download(e.values), {}};
  std::vector<T> inverse;
  const auto weight = weigh_squares(core.sigma, inverse, norm_B * norm_A, worst, negligible);
  if (!weight) {
    return std::nullopt;
  }
  core.weight = *weight;
  mat<Be> reciprocal = be.zeros(r, 1);
  be.upload(inverse, reciprocal);
  be.gemm(1, transpose::yes, G_A, transpose::no, e.vectors, 0, core.left);
  be.scale_cols(reciprocal, core.left);
  be.gemm(1, transpose::no, G_B, transpose::no, core.left, 0, core.right);
  be.scale_cols(reciprocal, core.right);
  return core;
}

template <backend Be>
[[gnu::cold]] std::optional<live_svd<Be>> gram_svd(Be& be, const_view_of<Be> B, const_view_of<Be> A,
                                                   index_t r) {
  if (B.cols() > B.rows() || B.cols() > A.cols()) {
    return std::nullopt;
  }
  auto core = solve_gram_core<Be>(be, gram(be, transpose::yes, B), gram(be, transpose::no, A), r,
                                  magnification, -1);
  if (!core) {
    return std::nullopt;
  }
  mat<Be> U = product<Be>(be, transpose::no, B, transpose::no, core->left);
  mat<Be> V = product<Be>(be, transpose::yes, A, transpose::no, core->right);
  if (core->weight.magnified > harmless_magnification &&
      !(restore_orthonormality(be, U) && restore_orthonormality(be, V))) {
    return std::nullopt;
  }
  mat<Be> S = be.zeros(r, 1);
  be.upload(core->sigma, S);
  return live_svd<Be>{{std::move(U), std::move(S), std::move(V)}, r};
}

// The backend of twice the precision; one that says which (on a device: in the same stream) gives it.
template <mixed_precision_backend Be>
typename Be::higher_precision in_higher_precision([[maybe_unused]] Be& be) {
  if constexpr (requires { be.in_higher_precision(); }) {
    return be.in_higher_precision();
  } else {
    return typename Be::higher_precision{};
  }
}

template <mixed_precision_backend Be>
[[gnu::cold]] std::optional<live_svd<Be>> wide_gram_svd(Be& be, const_view_of<Be> B,
                                                        const_view_of<Be> A, index_t r) {
  using higher_precision = typename Be::higher_precision;
  constexpr double epsilon = std::numeric_limits<scalar_of<Be>>::epsilon();
  constexpr double higher_epsilon = std::numeric_limits<scalar_of<higher_precision>>::epsilon();
  const index_t R = B.cols();
  higher_precision core_backend = in_higher_precision(be);
  mat<higher_precision> G_B = core_backend.zeros(R, R);
  mat<higher_precision> G_A = core_backend.zeros(R, R);
  be.gram(transpose::yes, B, view(G_B));
  be.gram(transpose::no, A, view(G_A));
  // As much as rounding may have taken from a singular G_A, so that Cholesky goes through.
  std::vector<scalar_of<higher_precision>> entries = core_backend.download(G_A);
  double largest = 0;
  for (const double entry : entries) {
    largest = std::max(largest, std::abs(entry));
  }
  const double shift = double(R) * higher_epsilon * largest;
  for (index_t i = 0; i < R; ++i) {
    entries[i + i * R] += shift;
  }
  core_backend.upload(entries, G_A);

  const auto core = solve_gram_core<higher_precision>(
      core_backend, G_B, std::move(G_A), r, wide_magnification<scalar_of<Be>>, double(R) * epsilon);
  if (!core) {
    return std::nullopt;
  }
  const auto side = [&](transpose t, const_view_of<Be> factor,
                        const mat<higher_precision>& coefficients) {
    const mat<Be> C = narrowed(be, core_backend.download(coefficients), R, r);
    return unique_q<Be>(be, be.qr(product<Be>(be, t, factor, transpose::no, C)));
  };
  return live_svd<Be>{{side(transpose::no, B, core->left), narrowed(be, core->sigma, r, 1),
                       side(transpose::yes, A, core->right)},
                      core->weight.significant};
}

}  // namespace preheat::linalg::detail
