// Orthonormal matrices: Haar-distributed draws, orthonormal completion, the sign convention.
//
// Haar draw: Q·diag(sign(diag R)) of the QR factorization of a Gaussian matrix is uniform on the
// Stiefel manifold (Mezzadri, "How to generate random matrices from the classical compact groups",
// Notices of the AMS 54, 2007); without the signs it is not.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "random_matrix.hpp"

namespace preheat::linalg {

// Q·diag(sign(diag R)): the Q of the one factorization whose R has a diagonal >= 0.
template <backend Be>
[[gnu::cold]] mat<Be> unique_q(Be& be, qr_result<mat<Be>> f) {
  using T = scalar_of<Be>;
  const index_t k = f.R.rows();
  const std::vector<T> R = be.download(f.R);
  std::vector<T> signs(static_cast<std::size_t>(k));
  for (index_t j = 0; j < k; ++j) {
    signs[j] = R[j + j * k] < 0 ? T(-1) : T(1);
  }
  mat<Be> d = be.zeros(k, 1);
  be.upload(signs, d);
  be.scale_cols(d, f.Q);
  return std::move(f.Q);
}

// m×k, k <= m, orthonormal columns, uniformly distributed. Throws if k > m. Cost: O(m·k²).
template <backend Be, random_generator G>
mat<Be> orthonormal(Be& be, index_t m, index_t k, const G& gen) {
  require(1 <= k && k <= m, "orthonormal columns: 1 <= columns <= rows", k, m);
  return unique_q<Be>(be, be.qr(normal(be, m, k, 1, gen)));
}

// The smallest magnitude on the diagonal of a triangular factor.
template <backend Be>
double smallest_diagonal(Be& be, const mat<Be>& R) {
  const auto entries = be.download(R);
  double smallest = std::numeric_limits<double>::infinity();
  for (index_t i = 0; i < R.rows(); ++i) {
    smallest = std::min(smallest, std::abs(double(entries[i + i * R.rows()])));
  }
  return smallest;
}

// Columns first.. of V become random, orthonormal to each other and to the columns before them,
// which must be orthonormal and stay as they are. Throws if V has more columns than rows.
template <backend Be, random_generator G>
[[gnu::cold]] void complete_orthonormal(Be& be, mat<Be>& V, index_t first, const G& gen) {
  require(V.cols() <= V.rows(), "orthonormal columns: columns <= rows", V.cols(), V.rows());
  const index_t missing = V.cols() - first;
  if (missing <= 0) {
    return;
  }
  be.copy(transpose::no, normal(be, V.rows(), missing, 1, gen), view(V).col_range(first, missing));
  const qr_result<mat<Be>> f = be.qr(V);
  be.copy(transpose::no, view(f.Q).col_range(first, missing), view(V).col_range(first, missing));
}

// X·R⁻¹, where XᵀX = RᵀR (Cholesky QR), for columns that are orthonormal but for a small defect;
// X stays as it is if the defect, the largest entry of XᵀX − I, is at most 16·ε. Afterwards the
// columns are orthonormal to rounding, and each has changed along the columns before it only.
// Returns false, and X is undefined, if XᵀX is not positive definite. Cost: m·k² operations for the
// defect, 2·m·k² for the product.
// Source: Stathopoulos and Wu, "A block orthogonalization procedure with constant synchronization
// requirements", SIAM J. Sci. Comput. 23, 2002.
template <backend Be>
[[gnu::cold]] bool restore_orthonormality(Be& be, mat<Be>& X) {
  using T = scalar_of<Be>;
  mat<Be> R = gram<Be>(be, transpose::yes, X);
  mat<Be> defect = clone<Be>(be, R);
  be.apply_indexed(add_to_diagonal<T>{-1, R.rows()}, defect);
  if (be.max_abs(defect) <= 16 * std::numeric_limits<T>::epsilon()) {
    return true;
  }
  if (!be.cholesky(R)) {
    return false;
  }
  mat<Be> inverse = identity(be, R.rows());
  be.solve_upper(transpose::no, R, inverse);
  X = product<Be>(be, transpose::no, X, transpose::no, inverse);
  return true;
}

// Makes singular vectors unique where they can be: in every column of V the entry of largest
// magnitude (the first of equals) becomes positive; the columns of U follow.
template <backend Be>
[[gnu::cold]] void fix_signs(Be& be, mat<Be>& U, mat<Be>& V) {
  using T = scalar_of<Be>;
  if constexpr (unwaited_backend<Be>) {
    mat<Be> d;
    be.resize(d, V.cols(), 1);
    be.signs_of_largest(V, d);
    be.scale_cols(d, U);
    be.scale_cols(d, V);
    return;
  }
  const std::vector<T> v = be.download(V);
  std::vector<T> signs(std::size_t(V.cols()), T(1));
  for (index_t j = 0; j < V.cols(); ++j) {
    T largest = 0;
    for (index_t i = 0; i < V.rows(); ++i) {
      const T entry = v[i + j * V.rows()];
      if (std::abs(entry) > std::abs(largest)) {
        largest = entry;
      }
    }
    signs[j] = largest < 0 ? T(-1) : T(1);
  }
  mat<Be> d = be.zeros(V.cols(), 1);
  be.upload(signs, d);
  be.scale_cols(d, U);
  be.scale_cols(d, V);
}

// The scale of the rows of A: each becomes `norm` long; a zero row stays zero. Cost: O(r·n).
template <backend Be>
[[gnu::cold]] void set_row_norms(Be& be, mat<Be>& A, double norm) {
  using T = scalar_of<Be>;
  mat<Be> squares = be.zeros(A.rows(), 1);
  be.add_row_dots(1, A, A, squares);
  std::vector<T> factor = be.download(squares);
  for (T& f : factor) {
    f = f > 0 ? T(norm / std::sqrt(double(f))) : T(0);
  }
  be.upload(factor, squares);
  be.scale_rows(squares, A);
}

}  // namespace preheat::linalg
