// The shapes of operands, which every backend checks before it computes. Errors: invalid_argument
// with both numbers. The text of an error is built only when it is thrown, because a step must not
// allocate.
#pragma once
#include <string>

#include "types.hpp"

namespace preheat {

// The rows and columns of op(a).
template <class T>
index_t rows_of(transpose t, view<T> a) {
  return t == transpose::no ? a.rows() : a.cols();
}
template <class T>
index_t cols_of(transpose t, view<T> a) {
  return t == transpose::no ? a.cols() : a.rows();
}

namespace detail {
template <class = void>  // (core/error.hpp says why)
[[gnu::cold, gnu::noinline]] void require_same_sizes(const char* who, index_t rows,
                                                     index_t other_rows, index_t cols,
                                                     index_t other_cols) {
  require(rows == other_rows, std::string(who) + ": rows agree", rows, other_rows);
  require(cols == other_cols, std::string(who) + ": columns agree", cols, other_cols);
}
}  // namespace detail

template <class T, class U>
void require_same_shape(const char* who, view<T> a, view<U> b) {
  if (a.rows() != b.rows() || a.cols() != b.cols()) {
    detail::require_same_sizes(who, a.rows(), b.rows(), a.cols(), b.cols());
  }
}
// x = op(a)
template <class T>
void require_copy_shapes(transpose t, view<const T> a, view<T> x) {
  require(rows_of(t, a) == x.rows(), "copy: rows agree", rows_of(t, a), x.rows());
  require(cols_of(t, a) == x.cols(), "copy: columns agree", cols_of(t, a), x.cols());
}
// c = op(a)·op(b); c may have a higher precision than a and b.
template <class T, class U>
void require_product_shapes(transpose ta, view<const T> a, transpose tb, view<const T> b,
                            view<U> c) {
  require(cols_of(ta, a) == rows_of(tb, b), "gemm: inner dimensions agree", cols_of(ta, a),
          rows_of(tb, b));
  require(c.rows() == rows_of(ta, a), "gemm: rows of the result agree", c.rows(), rows_of(ta, a));
  require(c.cols() == cols_of(tb, b), "gemm: columns of the result agree", c.cols(),
          cols_of(tb, b));
}
// Layer normalization of the columns of x, with vectors γ (and β) over rows, r over columns, and
// another matrix of x's shape.
template <class T, class U, class V>
void require_layer_norm_shapes(const char* who, view<const T> gamma, view<U> x, view<V> other,
                               view<const T> r) {
  require_same_shape(who, x, other);
  if (gamma.rows() != x.rows() || r.rows() != x.cols() || x.rows() == 0) {
    require(gamma.rows() == x.rows(), std::string(who) + ": gamma and beta have one entry per row",
            gamma.rows(), x.rows());
    require(r.rows() == x.cols(), std::string(who) + ": one deviation per column", r.rows(),
            x.cols());
    require(x.rows() > 0, std::string(who) + ": a column has at least one entry", x.rows(), 1);
  }
}
// A softmax whose column j keeps the rows up to j + shift, above j + shift − window.
template <class T>
void require_causal_shape(const char* who, index_t shift, index_t window, view<T> x) {
  if (shift < 0 || window < 1 || x.cols() + shift > x.rows()) {
    require(shift >= 0, std::string(who) + ": shift >= 0", shift, 0);
    require(window >= 1, std::string(who) + ": window >= 1", window, 1);
    require(x.cols() + shift <= x.rows(), std::string(who) + ": columns + shift <= rows",
            x.cols() + shift, x.rows());
  }
}
// c = op(a)·op(a)ᵀ, whose size is returned; c may have a higher precision than a.
template <class T, class U>
index_t require_gram_shapes(transpose t, view<const T> a, view<U> c) {
  const index_t n = rows_of(t, a);
  require(c.rows() == n && c.cols() == n, "gram: the result is square", c.rows(), n);
  return n;
}

}  // namespace preheat
