// The Gram form of the truncated SVD of a product B·A held in factors (B is m×R, A is R×n): all
// that is as long as m or n is two Gram matrices and two thin products.
//
//   G_B = BᵀB,  G_A = AAᵀ = RᵀR (Cholesky),  K = R·G_B·Rᵀ = W·diag(σ²)·Wᵀ
//   U = B·(RᵀW/σ),  V = Aᵀ·(BᵀU)/σ = Aᵀ·(G_B·RᵀW/σ²)
//
// K has the eigenvalues of (BA)ᵀ(BA). Squares cost digits: G_B and G_A are known to ε·‖B‖² and
// ε·‖A‖², so σ errs by (ε/2)·‖A‖²‖B‖²/σ² of itself, and the vectors likewise. `gram_svd` works in
// the backend's own precision, for σ not far below ‖A‖‖B‖; `wide_gram_svd` has Gram matrices and
// core in double, which grants every σ that float can tell from zero, whatever the conditioning of
// the factors, and orthonormalizes U and V once more. Both return nothing where they are not sure.
//
// Cost: (m + n)·R² operations for the Gram matrices, O(R³) for the core, 2·(m + n)·R·r for U and V.
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

// An SVD of which the first `live` triplets are more than rounding; the other vectors mean nothing.
template <class Be>
struct live_svd {
  svd_result<mat<Be>> d;
  index_t live;
};

// U = B·left and V = Aᵀ·right, R×r each; sigma has r numbers in decreasing order. From column
// `live` on, all is zero.
template <class Be>
struct gram_core {
  mat<Be> left;
  mat<Be> right;
  std::vector<scalar_of<Be>> sigma;
  index_t live;
};

// The largest absolute sum of a column, an upper bound of the norm; NaN if any entry is.
template <backend Be>
double one_norm(Be& be, const mat<Be>& G) {
  const auto g = be.download(G);
  double largest = 0;
  for (index_t j = 0; j < G.cols(); ++j) {
    double sum = 0;
    for (index_t i = 0; i < G.rows(); ++i) {
      sum += std::abs(double(g[std::size_t(i + j * G.rows())]));
    }
    largest = sum > largest || std::isnan(sum) ? sum : largest;
  }
  return largest;
}

// Singular values up to `negligible`·σ₁ count as zero; below 0, none do. Nothing if AAᵀ is not
// positive definite, or if a σ that counts has ‖A‖²‖B‖² > worst·σ².
template <backend Be>
std::optional<gram_core<Be>> solve_gram_core(Be& be, const mat<Be>& G_B, mat<Be> G_A, index_t r,
                                             double worst, double negligible) {
  using T = scalar_of<Be>;
  const double norm_B = one_norm(be, G_B);
  const double norm_A = one_norm(be, G_A);
  // The products of three of these numbers neither underflow nor overflow.
  const double least = std::cbrt(double(std::numeric_limits<T>::min()));
  const double most = std::cbrt(double(std::numeric_limits<T>::max()));
  const auto within = [&](double norm) { return least <= norm && norm <= most; };
  if (!within(norm_B) || !within(norm_A) || !be.cholesky(G_A)) {
    return std::nullopt;
  }
  const mat<Be> RG = product(be, op::none, G_A, op::none, G_B);
  const mat<Be> K = product(be, op::none, RG, op::trans, G_A);
  const eigh_result<mat<Be>> e = largest_eigenpairs<Be>(be, K, r);

  const index_t R = G_B.rows();
  gram_core<Be> core{be.zeros(R, r), be.zeros(R, r), be.download(e.values), 0};
  std::vector<T> inverse(std::size_t(r), T(0));
  for (std::size_t j = 0; j < inverse.size(); ++j) {
    const T square = std::max(core.sigma[j], T(0));
    const T sigma = std::sqrt(square);
    core.sigma[j] = sigma;
    if (double(sigma) > negligible * double(core.sigma[0])) {
      if (!(double(square) * worst >= norm_B * norm_A)) {
        return std::nullopt;
      }
      inverse[j] = 1 / sigma;
      ++core.live;
    }
  }
  mat<Be> reciprocal = be.zeros(r, 1);
  be.upload(inverse, reciprocal);
  be.gemm(1, op::trans, G_A, op::none, e.vectors, 0, core.left);
  be.scale_cols(reciprocal, core.left);
  be.gemm(1, op::none, G_B, op::none, core.left, 0, core.right);
  be.scale_cols(reciprocal, core.right);
  return core;
}

template <backend Be>
std::optional<live_svd<Be>> gram_svd(Be& be, in<Be> B, in<Be> A, index_t r) {
  if (B.cols() > B.rows() || B.cols() > A.cols()) {
    return std::nullopt;
  }
  auto core =
      solve_gram_core<Be>(be, gram(be, op::trans, B), gram(be, op::none, A), r, magnification, -1);
  if (!core) {
    return std::nullopt;
  }
  mat<Be> S = be.zeros(r, 1);
  be.upload(core->sigma, S);
  return live_svd<Be>{{product<Be>(be, op::none, B, op::none, core->left), std::move(S),
                       product<Be>(be, op::trans, A, op::none, core->right)},
                      r};
}

// Numbers of another precision, in the backend's own.
template <backend Be, class Number>
mat<Be> narrowed(Be& be, const std::vector<Number>& numbers, index_t rows, index_t cols) {
  mat<Be> M = be.zeros(rows, cols);
  be.upload(std::vector<scalar_of<Be>>(numbers.begin(), numbers.end()), M);
  return M;
}

// The backend of twice the precision; one that says which (on a device: in the same stream) gives it.
template <widening_backend Be>
typename Be::wide widened([[maybe_unused]] Be& be) {
  if constexpr (requires { be.widened(); }) {
    return be.widened();
  } else {
    return typename Be::wide{};
  }
}

template <widening_backend Be>
std::optional<live_svd<Be>> wide_gram_svd(Be& be, in<Be> B, in<Be> A, index_t r) {
  using wide = typename Be::wide;
  constexpr double epsilon = std::numeric_limits<scalar_of<Be>>::epsilon();
  constexpr double wide_epsilon = std::numeric_limits<scalar_of<wide>>::epsilon();
  const index_t R = B.cols();
  wide core_backend = widened(be);
  mat<wide> G_B = core_backend.zeros(R, R);
  mat<wide> G_A = core_backend.zeros(R, R);
  be.gram(op::trans, B, view(G_B));
  be.gram(op::none, A, view(G_A));
  // As much as rounding may have taken from a singular G_A, so that Cholesky goes through.
  const double shift = double(R) * wide_epsilon * double(core_backend.max_abs(G_A));
  core_backend.each_indexed(add_to_diagonal<scalar_of<wide>>{shift, R}, G_A);

  const auto core =
      solve_gram_core<wide>(core_backend, G_B, std::move(G_A), r,
                            magnification * epsilon / wide_epsilon, double(R) * epsilon);
  if (!core) {
    return std::nullopt;
  }
  const auto side = [&](op t, in<Be> factor, const mat<wide>& coefficients) {
    const mat<Be> C = narrowed(be, core_backend.download(coefficients), R, r);
    return unique_q<Be>(be, be.qr(product<Be>(be, t, factor, op::none, C)));
  };
  return live_svd<Be>{{side(op::none, B, core->left), narrowed(be, core->sigma, r, 1),
                       side(op::trans, A, core->right)},
                      core->live};
}

}  // namespace preheat::linalg::detail
