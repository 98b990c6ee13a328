// The elementwise kernels of the linear algebra, and small products that return a new matrix.
#pragma once
#include <cmath>

#include "../core/concepts.hpp"
#include "../core/shapes.hpp"

namespace preheat::linalg {

// x = a·y + b·x
template <class T>
struct axpby {
  T a, b;
  static constexpr bool any_value = true;
  static constexpr bool in_kernels = true;
  template <class V>
  constexpr void operator()(V& x, const V& y) const {
    x = a * y + b * x;
  }
};
// x = a·x
template <class T>
struct scale {
  T a;
  static constexpr bool any_value = true;
  static constexpr bool in_kernels = true;
  template <class V>
  constexpr void operator()(V& x) const {
    x = a * x;
  }
};
// x = x·y
template <class T>
struct multiply {
  static constexpr bool any_value = true;
  template <class V>
  constexpr void operator()(V& x, const V& y) const {
    x = x * y;
  }
};
// x = x + value on the diagonal of a matrix of so many rows, with its number as index
template <class T>
struct add_to_diagonal {
  T value;
  index_t rows;
  constexpr void operator()(index_t i, T& x) const { x += i % rows == i / rows ? value : T(0); }
};
// x = √(x / over), for singular values: x >= 0
template <class T>
struct root {
  T over;
  constexpr void operator()(T& x) const { x = std::sqrt(x / over); }
};

// s·op(a)·op(b)
template <backend Be>
mat<Be> product(Be& be, transpose ta, const_view_of<Be> a, transpose tb, const_view_of<Be> b,
                scalar_of<Be> s = 1) {
  mat<Be> C = be.zeros(rows_of(ta, a), cols_of(tb, b));
  be.gemm(s, ta, a, tb, b, 0, C);
  return C;
}

template <backend Be>
mat<Be> identity(Be& be, index_t n) {
  mat<Be> I = be.zeros(n, n);
  be.apply_indexed(add_to_diagonal<scalar_of<Be>>{1, n}, I);
  return I;
}

// a·aᵀ (transpose::no) or aᵀ·a (transpose::yes)
template <backend Be>
mat<Be> gram(Be& be, transpose t, const_view_of<Be> a) {
  const index_t n = rows_of(t, a);
  mat<Be> G = be.zeros(n, n);
  be.gram(t, a, G);
  return G;
}

template <backend Be>
mat<Be> transposed(Be& be, const_view_of<Be> a) {
  mat<Be> M = be.zeros(a.cols(), a.rows());
  be.copy(transpose::yes, a, M);
  return M;
}

// Throws invalid_argument if any entry of a is NaN or infinite; returns the largest magnitude.
template <backend Be>
double require_finite(Be& be, const_view_of<Be> a, const std::string& name) {
  const double largest = double(be.max_abs(a));
  if (!std::isfinite(largest)) {
    throw invalid_argument(name + " has a NaN or infinite entry");
  }
  return largest;
}

}  // namespace preheat::linalg
