// Products by Eigen's blocked matrix product, called as a function of pointers. The same product
// written as an expression, C += A * B, compiles eight times as long: for each way of transposing
// it has a second implementation for small matrices and two for vectors. These functions are
// internal to Eigen, and as they are here since 3.4.
//
// Cost: 2·m·n·k operations, packed copies of blocks of both operands. One thread.
#pragma once
#include <Eigen/Core>

#include "../core/shapes.hpp"
#include "vector_loops.hpp"

namespace preheat::eigen_products {

namespace detail {

template <class T>
using blocking = Eigen::internal::gemm_blocking_space<Eigen::ColMajor, T, T, Eigen::Dynamic,
                                                      Eigen::Dynamic, Eigen::Dynamic, 1, false>;

// c += alpha·op(a)·op(b) for one way of storing op(a) and op(b): row-major is transposed.
template <class T, int StorageOfA, int StorageOfB>
void add_product(T alpha, view<const T> a, view<const T> b, index_t depth, view<T> c) {
  using product =
      Eigen::internal::general_matrix_matrix_product<index_t, T, StorageOfA, false, T, StorageOfB,
                                                     false, Eigen::ColMajor, 1>;
  blocking<T> sizes(c.rows(), c.cols(), depth, 1, true);
  product::run(c.rows(), c.cols(), depth, a.data(), a.ld(), b.data(), b.ld(), c.data(), 1, c.ld(),
               alpha, sizes);
}

// The upper triangle of c += op(a)·op(a)ᵀ.
template <class T, int StorageOfA>
void add_gram(view<const T> a, index_t depth, view<T> c) {
  constexpr int turned = StorageOfA == Eigen::ColMajor ? Eigen::RowMajor : Eigen::ColMajor;
  using product = Eigen::internal::general_matrix_matrix_triangular_product<
      index_t, T, StorageOfA, false, T, turned, false, Eigen::ColMajor, 1, Eigen::Upper>;
  blocking<T> sizes(c.rows(), c.rows(), depth, 1, true);
  product::run(c.rows(), depth, a.data(), a.ld(), a.data(), a.ld(), c.data(), 1, c.ld(), T(1),
               sizes);
}

// y += alpha·op(m)·x; entries of y are `stride` apart, which is 1 unless m is transposed.
template <class T>
void add_vector_product(T alpha, transpose t, view<const T> m, const T* x, T* y, index_t stride) {
  for (index_t j = 0; j < m.cols(); ++j) {
    const T* const column = m.data() + j * m.ld();
    if (t == transpose::no) {
      vector_loops::add_multiple(m.rows(), alpha * x[j], column, y);
    } else {
      y[j * stride] += alpha * vector_loops::dot(m.rows(), column, x);
    }
  }
}

template <class T>
void scale(T beta, view<T> c) {
  for (index_t j = 0; beta != T(1) && j < c.cols(); ++j) {
    T* const column = c.data() + j * c.ld();
    for (index_t i = 0; i < c.rows(); ++i) {
      column[i] = beta == T(0) ? T(0) : beta * column[i];
    }
  }
}

}  // namespace detail

// c = alpha·op(a)·op(b) + beta·c; with beta = 0 whatever was in c does not count.
template <class T>
void gemm(T alpha, transpose ta, view<const T> a, transpose tb, view<const T> b, T beta,
          view<T> c) {
  using namespace detail;
  constexpr int columns = Eigen::ColMajor;
  constexpr int rows = Eigen::RowMajor;
  scale(beta, c);
  const index_t depth = cols_of(ta, a);
  if (c.empty() || depth == 0) {
    return;
  }
  // Vectors that have no gaps need no packing: c = op(a)·x, or cᵀ = op(b)ᵀ·x.
  if (c.cols() == 1 && (tb == transpose::no || b.ld() == 1)) {
    add_vector_product(alpha, ta, a, b.data(), c.data(), 1);
  } else if (c.rows() == 1 && (ta == transpose::yes || a.ld() == 1) &&
             (tb == transpose::no || c.ld() == 1)) {
    add_vector_product(alpha, tb == transpose::no ? transpose::yes : transpose::no, b, a.data(),
                       c.data(), c.ld());
  } else if (ta == transpose::no && tb == transpose::no) {
    add_product<T, columns, columns>(alpha, a, b, depth, c);
  } else if (ta == transpose::no) {
    add_product<T, columns, rows>(alpha, a, b, depth, c);
  } else if (tb == transpose::no) {
    add_product<T, rows, columns>(alpha, a, b, depth, c);
  } else {
    add_product<T, rows, rows>(alpha, a, b, depth, c);
  }
}

// c = a·aᵀ + beta·c or aᵀ·a + beta·c, both triangles; c is symmetric or ignored (beta = 0)
template <class T>
void gram(transpose t, view<const T> a, T beta, view<T> c) {
  detail::scale(beta, c);
  if (c.empty() || a.empty()) {
    return;
  }
  if (t == transpose::no) {
    detail::add_gram<T, Eigen::ColMajor>(a, a.cols(), c);
  } else {
    detail::add_gram<T, Eigen::RowMajor>(a, a.rows(), c);
  }
  vector_loops::mirror_upper(c);
}

}  // namespace preheat::eigen_products
