// The kernels of the CUDA backend: functors of one index for launch(context, n, f).
#pragma once
#include <cmath>
#include <cstddef>
#include <limits>
#include <utility>

#include "../core/types.hpp"

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

// f(k, x[k], a[k], …)
template <class F, class... Ts>
struct elementwise {
  F f;
  windows<Ts...> operands;
  constexpr void operator()(index_t k) const { call(k, operands); }

 private:
  template <class... Seen>
  constexpr void call(index_t k, const windows<>&, Seen&... seen) const {
    f(k, seen...);
  }
  template <class U, class... Us, class... Seen>
  constexpr void call(index_t k, const windows<U, Us...>& left, Seen&... seen) const {
    call(k, left.others, seen..., left.first[k]);
  }
};
template <class F, class... Ts>
elementwise(F, windows<Ts...>) -> elementwise<F, Ts...>;
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
template <class X, class T>
struct convert {
  T factor;
  constexpr void operator()(X& x, const T& y) const { x = X(factor * y); }
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

// x_i += s·Σ_j a_ij and x_i += s·Σ_j a_ij·b_ij, one thread per row.
template <class T>
struct add_row_sums {
  T s;
  window<const T> a;
  index_t cols;
  T* x;
  constexpr void operator()(index_t i) const {
    T sum = 0;
    for (index_t j = 0; j < cols; ++j) {
      sum += a(i, j);
    }
    x[i] += s * sum;
  }
};
template <class T>
struct add_row_dots {
  T s;
  window<const T> a;
  window<const T> b;
  index_t cols;
  T* x;
  constexpr void operator()(index_t i) const {
    T sum = 0;
    for (index_t j = 0; j < cols; ++j) {
      sum += a(i, j) * b(i, j);
    }
    x[i] += s * sum;
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

// The loss of token j, −log softmax(z_j)[label_j], divided by the number of tokens, and its
// gradient. NaN if the label is not a class.
template <class T>
struct softmax_cross_entropy {
  window<const T> z;
  window<const T> labels;
  window<T> d;
  index_t tokens;
  T* losses;
  constexpr void operator()(index_t j) const {
    const index_t classes = z.rows;
    const T given = labels(0, j);
    const index_t label = given >= 0 && given < T(classes) ? index_t(given) : 0;
    T top = z(0, j);
    for (index_t i = 1; i < classes; ++i) {
      top = z(i, j) > top ? z(i, j) : top;
    }
    T sum = 0;
    for (index_t i = 0; i < classes; ++i) {
      d(i, j) = std::exp(z(i, j) - top);
      sum += d(i, j);
    }
    const T weight = T(1) / T(tokens);
    for (index_t i = 0; i < classes; ++i) {
      d(i, j) *= weight / sum;
    }
    d(label, j) -= weight;
    const bool valid = T(label) == given;
    losses[j] =
        valid ? weight * (std::log(sum) + top - z(label, j)) : std::numeric_limits<T>::quiet_NaN();
  }
};

}  // namespace preheat::cuda_kernels
