// The thin SVD without LAPACK, by Jacobi's method on columns (Hestenes): A·V = X, and rotations of
// pairs of columns of X and V make the columns of X orthogonal. Then X = U·S.
//
//   A = Q·R           first, if A is at least twice as tall as wide: the SVD of R gives that of A
//   AᵀA = E·D·Eᵀ      X = A·E, V = E: orthogonal but for what squaring has lost
//   X ← X·J, V ← V·J  J a plane rotation for every pair of columns that are not orthogonal
//   X = U·R           QR: R is diagonal to rounding, S its diagonal, and U is orthonormal also where
//                     columns of X are zero
//
// Source: Golub and Van Loan, "Matrix Computations", 4th edition, section 8.6.3; Drmač and Veselić,
// "New fast and accurate Jacobi SVD algorithm", SIAM J. Matrix Anal. Appl. 29, 2008, for the sweeps
// after a first orthogonalization.
//
// Accuracy: singular values to a small multiple of √n·ε·σ₁, U and V orthonormal to √n·ε.
// Cost: m·n² operations a sweep for the inner products and 6·(m + n) for each rotation, a few sweeps;
// about 8·m·n² + 10·n³ for the rest.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "implicit_qr.hpp"

namespace preheat::jacobi {

// One sweep over the pairs of columns of X; V follows. Returns the number of rotations. A pair counts
// as orthogonal if its angle is right to rounding, or if what is left of it is rounding of X.
template <class T>
index_t sweep(view<T> X, view<T> V, view<T> G) {
  using namespace vector_loops;
  constexpr T epsilon = std::numeric_limits<T>::epsilon();
  const index_t m = X.rows();
  const index_t n = X.cols();
  eigen_products::gram<T>(transpose::yes, X, 0, G);
  T most = 0;
  for (index_t j = 0; j < n; ++j) {
    most = std::max(most, G.data()[j + j * G.ld()]);
  }
  const T angle = 4 * epsilon * std::sqrt(T(n));
  const T rounding = epsilon * std::sqrt(most);
  const auto orthogonal = [&](T inner, T left, T right) {
    const T larger = std::sqrt(std::max(left, right));
    const T smaller = std::sqrt(std::min(left, right));
    return std::abs(inner) <= larger * std::max(angle * smaller, rounding);
  };
  index_t rotated = 0;
  for (index_t j = 1; j < n; ++j) {
    for (index_t i = 0; i < j; ++i) {
      const T* const g = G.data() + j * G.ld();
      if (orthogonal(g[i], G.data()[i + i * G.ld()], g[j])) {
        continue;
      }
      T* const x = X.data() + i * X.ld();
      T* const y = X.data() + j * X.ld();
      const T left = dot(m, x, x);
      const T right = dot(m, y, y);
      const T inner = dot(m, x, y);
      if (orthogonal(inner, left, right)) {
        continue;
      }
      const T ratio = (left - right) / (2 * inner);
      const T tangent = std::copysign(1 / (std::abs(ratio) + std::hypot(T(1), ratio)), ratio);
      const T cosine = 1 / std::hypot(T(1), tangent);
      rotate(m, cosine, cosine * tangent, x, y);
      rotate(n, cosine, cosine * tangent, V.data() + i * V.ld(), V.data() + j * V.ld());
      ++rotated;
    }
  }
  return rotated;
}

// The columns of M in that order.
template <class T>
cpu_matrix<T> ordered(const cpu_matrix<T>& M, const std::vector<index_t>& order) {
  cpu_matrix<T> result(M.rows(), M.cols());
  for (index_t j = 0; j < M.cols(); ++j) {
    std::copy_n(M.data() + order[j] * M.ld(), M.rows(), result.data() + j * result.ld());
  }
  return result;
}

// a·2^exponent, transposed if t says so
template <class T>
cpu_matrix<T> scaled(transpose t, view<const T> a, int exponent) {
  cpu_matrix<T> X(rows_of(t, a), cols_of(t, a));
  for (index_t j = 0; j < a.cols(); ++j) {
    for (index_t i = 0; i < a.rows(); ++i) {
      const T entry = std::ldexp(a.data()[i + j * a.ld()], exponent);
      (t == transpose::no ? X.data()[i + j * X.ld()] : X.data()[j + i * X.ld()]) = entry;
    }
  }
  return X;
}

// A = U·S·Vᵀ, m×n: U m×k, S k×1 in decreasing order, V n×k, k = min(m, n). Scaled by a power of two, so
// that squares neither overflow nor vanish. Errors: library_error if an entry is not finite, or if 60
// sweeps are not enough (never seen).
template <class T>
svd_result<cpu_matrix<T>> svd(view<const T> a) {
  if (a.rows() >= 2 * a.cols()) {
    const qr_result<cpu_matrix<T>> f = householder::qr(a);
    svd_result<cpu_matrix<T>> core = svd<T>(f.R);
    cpu_matrix<T> U(a.rows(), a.cols());
    eigen_products::gemm<T>(1, transpose::no, f.Q, transpose::no, core.U, 0, U);
    return {std::move(U), std::move(core.S), std::move(core.V)};
  }
  const transpose t = a.rows() < a.cols() ? transpose::yes : transpose::no;
  const index_t m = rows_of(t, a);
  const index_t n = cols_of(t, a);
  const int exponent = vector_loops::binary_exponent(a);
  cpu_matrix<T> V(n, n);
  cpu_matrix<T> X(m, n);
  cpu_matrix<T> G(n, n);
  {
    const cpu_matrix<T> A = scaled(t, a, -exponent);
    eigen_products::gram<T>(transpose::yes, A, 0, G);
    const cpu_matrix<T> increasing = implicit_qr::eigh<T>(G).vectors;
    std::vector<index_t> reversed(static_cast<std::size_t>(n));
    std::iota(reversed.rbegin(), reversed.rend(), index_t(0));
    V = ordered(increasing, reversed);
    eigen_products::gemm<T>(1, transpose::no, A, transpose::no, V, 0, X);
  }
  int sweeps = 0;
  while (sweep<T>(X, V, G) > 0) {
    if (++sweeps == 60) {
      throw library_error("Jacobi's method for singular values did not converge");
    }
  }

  std::vector<T> norms(static_cast<std::size_t>(n));
  for (index_t j = 0; j < n; ++j) {
    norms[j] = vector_loops::norm(m, X.data() + j * X.ld());
  }
  const std::vector<index_t> order = vector_loops::order_of(norms, true);
  V = ordered(V, order);
  qr_result<cpu_matrix<T>> f = householder::qr<T>(ordered(X, order));
  cpu_matrix<T> S(n, 1);
  for (index_t j = 0; j < n; ++j) {
    S.data()[j] = std::ldexp(norms[std::size_t(order[j])], exponent);
    if (f.R.data()[j + j * f.R.ld()] < 0) {
      T* const u = f.Q.data() + j * f.Q.ld();
      std::transform(u, u + m, u, [](T entry) { return -entry; });
    }
  }
  return t == transpose::no ? svd_result<cpu_matrix<T>>{std::move(f.Q), std::move(S), std::move(V)}
                            : svd_result<cpu_matrix<T>>{std::move(V), std::move(S), std::move(f.Q)};
}

}  // namespace preheat::jacobi
