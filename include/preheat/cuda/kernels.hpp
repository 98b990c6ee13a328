// The kernels of the CUDA backend: functors of one index for launch(context, n, f), of an entry for elementwise.hpp,
// and of a group of threads and an index for launch_groups.
#pragma once
#include <cstddef>
#include <limits>
#include <type_traits>
#include <utility>

#include "../core/block_grid.hpp"

namespace preheat::cuda_kernels {

// The pointer, rows and leading dimension of a matrix, for use in a kernel.
template <class T>
struct window {
  T* data;
  index_t rows;
  index_t ld;
  constexpr T& operator()(index_t i, index_t j) const { return data[i + j * ld]; }
  // Entry k in column-major order.
  constexpr T& operator[](index_t k) const {
    return ld == rows ? data[k] : data[k % rows + k / rows * ld];
  }
};
template <class T>
constexpr window<T> window_of(view<T> v) {
  return {v.data(), v.rows(), v.ld()};
}

// The type in which kernels compute with entries of type X: its own, or float for a smaller one (bf16.hpp).
template <class X>
struct computed {
  using type = X;
};
template <class X>
using computed_in = typename computed<std::remove_const_t<X>>::type;

// Several windows of different types.
template <class... Ts>
struct windows {};
template <class T, class... Ts>
struct windows<T, Ts...> {
  window<T> first;
  windows<Ts...> others;
};
constexpr windows<> windows_of() {
  return {};
}
template <class T, class... Ts>
constexpr windows<T, Ts...> windows_of(view<T> first, view<Ts>... others) {
  return {window_of(first), windows_of(others...)};
}

template <class F>
struct without_index {
  F f;
  template <class... Ts>
  constexpr void operator()(index_t, Ts&... values) const {
    f(values...);
  }
};

template <class T>
struct fill {
  T value;
  constexpr void operator()(index_t, T& x) const { x = value; }
};
template <class T>
struct scale {
  T factor;
  constexpr void operator()(index_t, T& x) const { x *= factor; }
};
// x = factor·y, in x's type
template <class T>
struct convert {
  T factor;
  template <class X>
  constexpr void operator()(X& x, const T& y) const {
    x = X(factor * y);
  }
};

// x_ij *= d_i, x_ij *= d_j, x_ij += d_i
template <class T>
struct scale_rows {
  const T* d;
  index_t rows;
  constexpr void operator()(index_t k, T& x) const { x *= d[k % rows]; }
};
template <class T>
struct scale_cols {
  const T* d;
  index_t rows;
  constexpr void operator()(index_t k, T& x) const { x *= d[k / rows]; }
};
template <class T>
struct add_to_cols {
  const T* d;
  index_t rows;
  constexpr void operator()(index_t k, T& x) const { x += d[k % rows]; }
};

// x_i += s·Σ_j a_ij and x_i += s·Σ_j a_ij·b_ij, a group of threads for a row (launch_groups.hpp).
template <class T>
struct add_row_sums {
  T s;
  window<const T> a;
  index_t cols;
  T* x;
  template <class Group>
  constexpr void operator()(const Group& group, index_t i) const {
    T sum = 0;
    for (index_t j = group.rank(); j < cols; j += group.size()) {
      sum += a(i, j);
    }
    sum = group.sum(sum);
    if (group.rank() == 0) {
      x[i] += s * sum;
    }
  }
};
template <class T>
struct add_row_dots {
  T s;
  window<const T> a;
  window<const T> b;
  index_t cols;
  T* x;
  template <class Group>
  constexpr void operator()(const Group& group, index_t i) const {
    T sum = 0;
    for (index_t j = group.rank(); j < cols; j += group.size()) {
      sum += a(i, j) * b(i, j);
    }
    sum = group.sum(sum);
    if (group.rank() == 0) {
      x[i] += s * sum;
    }
  }
};

// Where the blocks of a·b = c begin, for a product of all of them.
template <class T>
struct block_starts {
  const T* a;
  const T* b;
  T* c;
  grid_steps a_steps, b_steps, c_steps;
  index_t a_ld, b_ld, c_ld;
  const T** left;
  const T** right;
  T** results;
  constexpr void operator()(index_t k) const {
    left[k] = a + a_steps.offset(k, a_ld);
    right[k] = b + b_steps.offset(k, b_ld);
    results[k] = c + c_steps.offset(k, c_ld);
  }
};

// A reduction of n terms to fewer partial results: thread p of P takes terms p, p + P, p + 2P, …
// The result does not depend on the order in which threads run. `next` combines partial results.
template <class Reduction>
struct reduce {
  Reduction reduction;
  index_t n;
  index_t partial_results;
  typename Reduction::value* x;
  constexpr void operator()(index_t p) const {
    typename Reduction::value sum = reduction.term(p);
    for (index_t k = p + partial_results; k < n; k += partial_results) {
      sum = Reduction::join(sum, reduction.term(k));
    }
    x[p] = sum;
  }
};
template <class T>
struct sum {
  using value = T;
  using next = sum;
  window<const T> a;
  constexpr T term(index_t k) const { return a[k]; }
  static constexpr T join(T x, T y) { return x + y; }
};
template <class T>
struct dot_product {
  using value = T;
  using next = sum<T>;
  window<const T> a;
  window<const T> b;
  constexpr T term(index_t k) const { return a[k] * b[k]; }
  static constexpr T join(T x, T y) { return x + y; }
};
// NaN counts as larger than any number.
template <class T>
struct largest_magnitude {
  using value = T;
  using next = largest_magnitude;
  window<const T> a;
  constexpr T term(index_t k) const { return a[k] < 0 ? -a[k] : a[k]; }
  static constexpr T join(T x, T y) { return x != x || x > y ? x : y; }
};

// x_i = the largest of a_0, …, a_i
template <class T>
struct running_maximum {
  const T* a;
  T* x;
  constexpr void operator()(index_t i) const {
    T most = a[0];
    for (index_t k = 1; k <= i; ++k) {
      most = a[k] > most ? a[k] : most;
    }
    x[i] = most;
  }
};

// Removes from a triangle what a factorization leaves there.
template <class T>
struct clear_below_diagonal {
  index_t rows;
  constexpr void operator()(index_t k, T& x) const {
    if (k % rows > k / rows) {
      x = T(0);
    }
  }
};
// Where a Cholesky factor is not finite on its diagonal, the info says that there is none. A NaN or an infinite
// entry above the diagonal makes a later one on it NaN.
template <class T>
struct refuse_factor_that_is_not_finite {
  window<const T> R;
  int* info;
  constexpr void operator()(index_t k) const {
    const T x = R(k, k);
    if (*info == 0 && x - x != 0) {
      *info = 1;
    }
  }
};
template <class T>
struct mirror_upper_triangle {
  window<T> x;
  constexpr void operator()(index_t k) const {
    const index_t i = k % x.rows;
    const index_t j = k / x.rows;
    if (i > j) {
      x(i, j) = x(j, i);
    }
  }
};

}  // namespace preheat::cuda_kernels
