// Upper triangular matrices without LAPACK: Cholesky factors and triangular systems, in blocks whose
// size leaves nearly all operations to products.
//
// Source: Golub and Van Loan, "Matrix Computations", 4th edition, sections 3.1.4 (block back
// substitution) and 4.2.5 to 4.2.7 (Cholesky by inner products, and in blocks).
#pragma once
#include <algorithm>
#include <cmath>

#include "eigen_products.hpp"

namespace preheat::triangular {

inline constexpr index_t block_size = 32;

// x = op(R)⁻¹·x for an upper triangular n×n matrix R, x n×k. A zero on the diagonal gives infinite or
// NaN entries. Cost: n²·k operations.
template <class T>
void solve_upper(transpose t, view<const T> R, view<T> x) {
  const index_t n = R.rows();
  const index_t blocks = (n + block_size - 1) / block_size;
  for (index_t step = 0; step < blocks; ++step) {
    const index_t first = (t == transpose::no ? blocks - 1 - step : step) * block_size;
    const index_t count = std::min(block_size, n - first);
    const T* const diagonal = R.data() + first * (1 + R.ld());
    for (index_t j = 0; j < x.cols(); ++j) {
      T* const column = x.data() + first + j * x.ld();
      for (index_t k = 0; k < count; ++k) {
        const index_t i = t == transpose::no ? count - 1 - k : k;
        const T* const r = diagonal + i * R.ld();
        if (t == transpose::no) {
          column[i] /= r[i];
          vector_loops::add_multiple(i, -column[i], r, column);
        } else {
          column[i] = (column[i] - vector_loops::dot(i, r, column)) / r[i];
        }
      }
    }
    const view<const T> solved = x.row_range(first, count);
    if (t == transpose::no) {
      eigen_products::gemm<T>(-1, transpose::no, R.block(0, first, first, count), transpose::no,
                              solved, 1, x.row_range(0, first));
    } else {
      const index_t next = first + count;
      eigen_products::gemm<T>(-1, transpose::yes, R.block(first, next, count, n - next),
                              transpose::no, solved, 1, x.row_range(next, n - next));
    }
  }
}

// g = Rᵀ·R becomes R, upper triangular with a positive diagonal, zeros below; only the upper triangle
// of g is read. Returns false, and g is undefined, if g is not positive definite or not finite.
// Cost: n³/3 operations.
template <class T>
bool cholesky(view<T> g) {
  const index_t n = g.rows();
  for (index_t first = 0; first < n; first += block_size) {
    const index_t count = std::min(block_size, n - first);
    T* const diagonal = g.data() + first * (1 + g.ld());
    for (index_t j = 0; j < count; ++j) {
      T* const column = diagonal + j * g.ld();
      for (index_t i = 0; i < j; ++i) {
        const T* const r = diagonal + i * g.ld();
        column[i] = (column[i] - vector_loops::dot(i, r, column)) / r[i];
      }
      const T square = column[j] - vector_loops::dot(j, column, column);
      if (!(square > 0)) {
        return false;
      }
      column[j] = std::sqrt(square);
    }
    // What is right of the block, and the rest of the matrix less its part.
    const index_t next = first + count;
    const view<T> right = g.block(first, next, count, n - next);
    solve_upper<T>(transpose::yes, g.block(first, first, count, count), right);
    for (index_t j = next; j < n; j += block_size) {
      const index_t columns = std::min(block_size, n - j);
      eigen_products::gemm<T>(-1, transpose::yes, right.col_range(0, j - next + columns),
                              transpose::no, right.col_range(j - next, columns), 1,
                              g.block(next, j, j - next + columns, columns));
    }
  }
  for (index_t j = 0; j < n; ++j) {
    std::fill_n(g.data() + j + 1 + j * g.ld(), n - j - 1, T(0));
  }
  return true;
}

}  // namespace preheat::triangular
