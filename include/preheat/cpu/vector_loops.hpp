// Loops over contiguous numbers, of which the factorizations without LAPACK are made: inner products,
// norms, sums of multiples, plane rotations. In packets, because no compiler may reorder a sum.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "packet.hpp"

namespace preheat::vector_loops {

// xᵀy
template <class T>
[[gnu::noinline]] T dot(index_t n, const T* x, const T* y) {
  using numbers = packet<T, isa::here>;
  constexpr index_t size = numbers::size;
  numbers a(T(0));
  numbers b(T(0));
  numbers c(T(0));
  numbers d(T(0));
  index_t i = 0;
  for (; i + 4 * size <= n; i += 4 * size) {
    a += numbers::load(x + i) * numbers::load(y + i);
    b += numbers::load(x + i + size) * numbers::load(y + i + size);
    c += numbers::load(x + i + 2 * size) * numbers::load(y + i + 2 * size);
    d += numbers::load(x + i + 3 * size) * numbers::load(y + i + 3 * size);
  }
  for (; i + size <= n; i += size) {
    a += numbers::load(x + i) * numbers::load(y + i);
  }
  T lanes[size];
  ((a + b) + (c + d)).store(lanes);
  T sum = 0;
  for (const T lane : lanes) {
    sum += lane;
  }
  for (; i < n; ++i) {
    sum += x[i] * y[i];
  }
  return sum;
}

// y += s·x
template <class T>
void add_multiple(index_t n, T s, const T* x, T* y) {
  using numbers = packet<T, isa::here>;
  const numbers factor(s);
  index_t i = 0;
  for (; i + numbers::size <= n; i += numbers::size) {
    (numbers::load(y + i) + factor * numbers::load(x + i)).store(y + i);
  }
  for (; i < n; ++i) {
    y[i] += s * x[i];
  }
}

// (x, y) becomes (c·x + s·y, c·y − s·x).
template <class T>
[[gnu::noinline]] void rotate(index_t n, T c, T s, T* x, T* y) {
  using numbers = packet<T, isa::here>;
  const numbers cosine(c);
  const numbers sine(s);
  index_t i = 0;
  for (; i + numbers::size <= n; i += numbers::size) {
    const numbers a = numbers::load(x + i);
    const numbers b = numbers::load(y + i);
    (cosine * a + sine * b).store(x + i);
    (cosine * b - sine * a).store(y + i);
  }
  for (; i < n; ++i) {
    const T a = x[i];
    x[i] = c * a + s * y[i];
    y[i] = c * y[i] - s * a;
  }
}

// The largest magnitude; NaN where there is one.
template <class T>
[[gnu::noinline]] T largest(index_t n, const T* x) {
  T most = 0;
  for (index_t i = 0; i < n; ++i) {
    const T magnitude = std::abs(x[i]);
    most = magnitude > most || std::isnan(magnitude) ? magnitude : most;
  }
  return most;
}

// The exponent e of the largest magnitude m of a matrix, m < 2^e <= 2·m, so that a factorization can
// work on numbers below one; 0 for a zero matrix. Errors: library_error if an entry is not finite.
template <class T>
int binary_exponent(view<const T> a) {
  int exponent = std::numeric_limits<int>::min();
  for (index_t j = 0; j < a.cols(); ++j) {
    const T magnitude = largest(a.rows(), a.data() + j * a.ld());
    if (!std::isfinite(magnitude)) {
      throw library_error("a factorization met an entry that is NaN or infinite");
    }
    int of_column = 0;
    std::frexp(magnitude, &of_column);
    exponent = magnitude > 0 ? std::max(exponent, of_column) : exponent;
  }
  return exponent == std::numeric_limits<int>::min() ? 0 : exponent;
}

// ‖x‖, also where squares leave the range of T.
template <class T>
[[gnu::noinline]] T norm(index_t n, const T* x) {
  constexpr T epsilon = std::numeric_limits<T>::epsilon();
  const T squares = dot(n, x, x);
  if (std::numeric_limits<T>::min() / epsilon <= squares &&
      squares <= std::numeric_limits<T>::max()) {
    return std::sqrt(squares);
  }
  const T scale = largest(n, x);
  if (!(0 < scale && scale <= std::numeric_limits<T>::max())) {
    return scale;  // 0, infinite or NaN
  }
  T sum = 0;
  for (index_t i = 0; i < n; ++i) {
    sum += (x[i] / scale) * (x[i] / scale);
  }
  return scale * std::sqrt(sum);
}

// The positions of these numbers in increasing or decreasing order; equal ones stay in their order.
template <class T>
std::vector<index_t> order_of(const std::vector<T>& numbers, bool decreasing) {
  std::vector<index_t> order(numbers.size());
  std::iota(order.begin(), order.end(), index_t(0));
  std::sort(order.begin(), order.end(), [&](index_t i, index_t j) {
    const T a = numbers[decreasing ? j : i];
    const T b = numbers[decreasing ? i : j];
    return a != b ? a < b : i < j;
  });
  return order;
}

// A square matrix becomes symmetric: its upper triangle is copied to the lower one, in tiles that
// stay in cache.
template <class T>
void mirror_upper(view<T> c) {
  constexpr index_t tile = 32;
  const index_t n = c.rows();
  T* const data = c.data();
  for (index_t first = 0; first < n; first += tile) {
    for (index_t top = 0; top <= first; top += tile) {
      for (index_t j = first; j < std::min(first + tile, n); ++j) {
        for (index_t i = top; i < std::min(top + tile, j); ++i) {
          data[j + i * c.ld()] = data[i + j * c.ld()];
        }
      }
    }
  }
}

}  // namespace preheat::vector_loops
