// Eigenvalues and eigenvectors of a symmetric matrix without LAPACK: A = Z·D·Zᵀ.
//
//   A = Q·T·Qᵀ        T tridiagonal, by Householder reflectors
//   T ← G·T·Gᵀ        implicit QR steps with Wilkinson's shift, until T is diagonal
//   Z = Q·G₁ᵀ·G₂ᵀ ⋯   the plane rotations of many steps at once, a few rows of Z after the other
//
// Source: Golub and Van Loan, "Matrix Computations", 4th edition, sections 8.3.1 to 8.3.5; the
// rotations as in Van Zee, van de Geijn and Quintana-Ortí, "Restructuring the tridiagonal and
// bidiagonal QR algorithms for performance", ACM TOMS 40, 2014.
//
// Accuracy: eigenvalues to a small multiple of ε·‖A‖, Z orthonormal to a small multiple of √n·ε.
// Cost: (4/3)·n³ operations for T, (4/3)·n³ for Q, about 5·n³ for the rotations; memory 3·n².
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "tridiagonal.hpp"

namespace preheat::implicit_qr {

using tridiagonal::tridiagonal_matrix;

// Rotations of neighbouring columns, in the order in which they are to be applied.
template <class T>
class rotations {
 public:
  // Of the columns `column` and column + 1, as vector_loops::rotate.
  void add(index_t column, T c, T s) { list_.push_back({column, c, s}); }
  bool many() const { return list_.size() >= (std::size_t(1) << 16); }

  // Applies them to the columns of Z, and clears the list. A few rows of Z at a time, which stay in cache.
  void apply(view<T> Z) {
    using numbers = packet<T, isa::here>;
    constexpr index_t size = numbers::size;
    constexpr index_t width = 8 * size;
    std::vector<T> rows(std::size_t(width * Z.cols()));
    for (index_t first = 0; first < Z.rows(); first += width) {
      const index_t count = std::min(width, Z.rows() - first);
      for (index_t j = 0; j < Z.cols(); ++j) {
        std::copy_n(Z.data() + first + j * Z.ld(), count, rows.data() + j * width);
      }
      for (const rotation& r : list_) {
        const numbers c(r.c);
        const numbers s(r.s);
        T* const x = rows.data() + r.column * width;
        T* const y = x + width;
        for (index_t i = 0; i < width; i += size) {
          const numbers a = numbers::load(x + i);
          const numbers b = numbers::load(y + i);
          (c * a + s * b).store(x + i);
          (c * b - s * a).store(y + i);
        }
      }
      for (index_t j = 0; j < Z.cols(); ++j) {
        std::copy_n(rows.data() + j * width, count, Z.data() + first + j * Z.ld());
      }
    }
    list_.clear();
  }

 private:
  struct rotation {
    index_t column;
    T c, s;
  };
  std::vector<rotation> list_;
};

// √(x² + z²), numbers of at most about one
template <class T>
T length(T x, T z) {
  const T squares = x * x + z * z;
  return squares > std::numeric_limits<T>::min() / std::numeric_limits<T>::epsilon()
             ? std::sqrt(squares)
             : std::hypot(x, z);  // squares may have vanished
}

// One implicit QR step on rows first to last of T, which no zero of `above` separates.
template <class T>
void step(tridiagonal_matrix<T>& t, index_t first, index_t last, rotations<T>& turned) {
  T* const d = t.diagonal.data();
  T* const e = t.above.data();
  const T half = (d[last - 1] - d[last]) / 2;
  const T corner = e[last - 1];
  const T shift = d[last] - corner * (corner / (half + std::copysign(length(half, corner), half)));
  T x = d[first] - shift;
  T z = e[first];
  for (index_t k = first; k < last; ++k) {
    const T r = length(x, z);
    const T c = r == 0 ? T(1) : x / r;
    const T s = r == 0 ? T(0) : z / r;
    if (k > first) {
      e[k - 1] = r;
    }
    // c·d₀ + s·e and so on: the two rows, then the two columns.
    const T upper = c * d[k] + s * e[k];
    const T upper_next = c * e[k] + s * d[k + 1];
    const T lower = c * e[k] - s * d[k];
    const T lower_next = c * d[k + 1] - s * e[k];
    d[k] = c * upper + s * upper_next;
    e[k] = c * upper_next - s * upper;
    d[k + 1] = c * lower_next - s * lower;
    if (k + 1 < last) {
      x = e[k];
      z = s * e[k + 1];
      e[k + 1] *= c;
    }
    turned.add(k, c, s);
  }
}

// A = Z·D·Zᵀ, eigenvalues in increasing order; only the lower triangle of A counts. Scaled by a power
// of two, so that nothing overflows on the way. Errors: library_error if an entry is not finite, or if
// 30 steps for each eigenvalue are not enough (never seen).
template <class T>
eigh_result<cpu_matrix<T>> eigh(view<const T> a) {
  constexpr T epsilon = std::numeric_limits<T>::epsilon();
  const index_t n = a.rows();
  const int exponent = vector_loops::binary_exponent(a);
  cpu_matrix<T> A(n, n);
  for (index_t j = 0; j < n; ++j) {
    for (index_t i = j; i < n; ++i) {
      A.data()[i + j * A.ld()] = std::ldexp(a.data()[i + j * a.ld()], -exponent);
    }
  }
  std::vector<T> tau;
  tridiagonal_matrix<T> t = tridiagonal::reduce<T>(A, tau);
  cpu_matrix<T> Z(n, n);
  std::fill_n(Z.data(), n * Z.ld(), T(0));
  Z.data()[0] = 1;
  householder::form_q<T>(view<T>(A).block(1, 0, n - 1, n - 1), tau,
                         view<T>(Z).block(1, 1, n - 1, n - 1));

  rotations<T> turned;
  index_t steps = 0;
  for (index_t last = n - 1; last > 0;) {
    const auto negligible = [&](index_t i) {
      const T* const d = t.diagonal.data() + i;
      return std::abs(t.above[i]) <=
             epsilon * (std::abs(d[0]) + std::abs(d[1])) + epsilon * epsilon;
    };
    if (negligible(last - 1)) {
      --last;
      continue;
    }
    index_t first = last - 1;
    while (first > 0 && !negligible(first - 1)) {
      --first;
    }
    if (++steps > 30 * n) {
      throw library_error("the symmetric eigenvalue iteration did not converge");
    }
    step(t, first, last, turned);
    if (turned.many()) {
      turned.apply(Z);
    }
  }
  turned.apply(Z);

  const std::vector<index_t> order = vector_loops::order_of(t.diagonal, false);
  eigh_result<cpu_matrix<T>> result{cpu_matrix<T>(n, 1), cpu_matrix<T>(n, n)};
  for (index_t j = 0; j < n; ++j) {
    const index_t from = order[j];
    result.values.data()[j] = std::ldexp(t.diagonal[from], exponent);
    std::copy_n(Z.data() + from * Z.ld(), n, result.vectors.data() + j * result.vectors.ld());
  }
  return result;
}

}  // namespace preheat::implicit_qr
