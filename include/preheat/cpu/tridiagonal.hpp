// A symmetric matrix becomes tridiagonal by Householder reflectors: A = Q·T·Qᵀ.
//
// Source: Golub and Van Loan, "Matrix Computations", 4th edition, section 8.3.1.
// Cost: (4/3)·n³ operations.
#pragma once
#include <algorithm>
#include <vector>

#include "householder.hpp"

namespace preheat::tridiagonal {

// Symmetric and tridiagonal: above[i] stands between diagonal[i] and diagonal[i + 1].
template <class T>
struct tridiagonal_matrix {
  std::vector<T> diagonal;
  std::vector<T> above;
};

// T of A = Q·T·Qᵀ. Only the lower triangle of A is read; below its first subdiagonal are then the
// reflectors whose product is Q, with tau.
template <class T>
tridiagonal_matrix<T> reduce(view<T> A, std::vector<T>& tau) {
  using namespace vector_loops;
  const index_t n = A.rows();
  tridiagonal_matrix<T> result{std::vector<T>(std::size_t(n)), std::vector<T>(std::size_t(n))};
  std::vector<T> v(std::size_t(n), T(1));
  std::vector<T> w(static_cast<std::size_t>(n));
  tau.assign(std::size_t(std::max<index_t>(n - 1, 0)), T(0));
  for (index_t k = 0; k + 1 < n; ++k) {
    T* const x = A.data() + k + 1 + k * A.ld();
    const index_t size = n - k - 1;
    const T t = householder::make_reflector(size, x);
    tau[k] = t;
    result.diagonal[k] = x[-1];
    result.above[k] = x[0];
    if (t == 0) {
      continue;
    }
    // H·C·H = C − v·wᵀ − w·vᵀ with w = p − (τ/2)(pᵀv)·v and p = τ·C·v, C the rest of A.
    T* const C = x + A.ld();
    std::copy_n(x + 1, size - 1, v.begin() + 1);
    std::fill_n(w.begin(), size, T(0));
    for (index_t j = 0; j < size; ++j) {
      const T* const column = C + j + j * A.ld();
      const index_t below = size - j - 1;
      w[j] += column[0] * v[j] + dot(below, column + 1, v.data() + j + 1);
      add_multiple(below, v[j], column + 1, w.data() + j + 1);
    }
    for (index_t j = 0; j < size; ++j) {
      w[j] *= t;
    }
    add_multiple(size, -t / 2 * dot(size, w.data(), v.data()), v.data(), w.data());
    for (index_t j = 0; j < size; ++j) {
      T* const column = C + j + j * A.ld();
      add_multiple(size - j, -v[j], w.data() + j, column);
      add_multiple(size - j, -w[j], v.data() + j, column);
    }
  }
  if (n > 0) {
    result.diagonal[n - 1] = A.data()[(n - 1) * (1 + A.ld())];
  }
  return result;
}

}  // namespace preheat::tridiagonal
