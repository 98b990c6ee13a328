// The k largest eigenvalues of a small symmetric matrix in the host's memory, and their vectors: for a
// backend whose matrices are on a device, where a problem of some hundred rows takes longer than here.
//
//   A = Q·T·Qᵀ     T tridiagonal, by Householder reflectors, which are applied and multiplied in one pass
//   λ              by bisection with the counts of Sturm's sequence, all at once
//   T·z = λ·z      by inverse iteration; vectors of neighbouring λ are made orthogonal to each other
//
// Source: Golub and Van Loan, "Matrix Computations", 4th edition, sections 8.3.1, 8.4.1 and 8.4.2; the
// groups of neighbours as in Dhillon, "Current inverse iteration software can fail", BIT 38, 1998, whose
// remedy, to look at the result, is taken too: a caller has another solver.
// Accuracy: λ to a few ε·‖A‖, vectors to 1e-12 orthonormal, residuals to 1e-12·‖A‖.
// Cost: 2·n³ + 4·n²·k operations, one thread.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "host_tridiagonal.hpp"

namespace preheat::linalg::detail {

// values_l in decreasing order; entry i of vector l is vectors[i + l·n].
struct host_eigenpairs {
  std::vector<double> values;
  std::vector<double> vectors;
};

// The k largest eigenvalues of T, whose norm is at most 1, in decreasing order.
inline doubles largest_of(const tridiagonal_form& t, index_t n, index_t k) {
  const auto count = std::size_t(k);
  doubles low(count, -3), high(count, 3), x(count), q(count), above(count);
  constexpr double tiny = 1e-290;
  for (int halving = 0; halving < 56; ++halving) {
    for (std::size_t l = 0; l < count; ++l) {
      x[l] = (low[l] + high[l]) / 2;
      q[l] = 1;
      above[l] = 0;
    }
    double square = 0;
    for (index_t i = 0; i < n; ++i) {
      const double d = t.diagonal[std::size_t(i)];
      for (std::size_t l = 0; l < count; ++l) {
        const double pivot = d - x[l] - square / q[l];
        q[l] = std::abs(pivot) < tiny ? -tiny : pivot;
        above[l] += q[l] > 0 ? 1.0 : 0.0;
      }
      square = t.below[std::size_t(i)] * t.below[std::size_t(i)];
    }
    for (std::size_t l = 0; l < count; ++l) {
      (above[l] > double(l) ? low[l] : high[l]) = x[l];
    }
  }
  for (std::size_t l = 0; l < count; ++l) {
    x[l] = (low[l] + high[l]) / 2;
  }
  return x;
}

// T − λ·I by elimination with row exchanges: upper triangle of three diagonals, and what each step took.
class shifted_factors {
 public:
  explicit shifted_factors(index_t n)
      : n_(n), d_(std::size_t(n)), e_(d_), f_(d_), m_(d_), swapped_(d_.size()) {}
  void factor(const tridiagonal_form& t, double lambda) {
    constexpr double least = std::numeric_limits<double>::epsilon();
    const auto last = std::size_t(n_ - 1);
    double d = t.diagonal[0] - lambda;
    double e = t.below[0];
    for (std::size_t i = 0; i < last; ++i) {
      const double below = t.below[i];
      const double next = t.diagonal[i + 1] - lambda;
      const double next_e = i + 1 < last ? t.below[i + 1] : 0;
      swapped_[i] = std::abs(d) < std::abs(below);
      if (swapped_[i]) {
        m_[i] = d / below;
        d_[i] = below;
        e_[i] = next;
        f_[i] = next_e;
        d = e - m_[i] * next;
        e = -m_[i] * next_e;
      } else {
        d_[i] = std::abs(d) < least ? std::copysign(least, d) : d;
        m_[i] = below / d_[i];
        e_[i] = e;
        f_[i] = 0;
        d = next - m_[i] * e;
        e = next_e;
      }
    }
    d_[last] = std::abs(d) < least ? std::copysign(least, d) : d;
  }
  void solve(double* z) const {
    const auto last = std::size_t(n_ - 1);
    for (std::size_t i = 0; i < last; ++i) {
      if (swapped_[i]) {
        std::swap(z[i], z[i + 1]);
      }
      z[i + 1] -= m_[i] * z[i];
    }
    z[last] /= d_[last];
    for (std::size_t i = last; i-- > 0;) {
      const double far = i + 2 <= last ? f_[i] * z[i + 2] : 0;
      z[i] = (z[i] - e_[i] * z[i + 1] - far) / d_[i];
    }
  }

 private:
  index_t n_;
  doubles d_, e_, f_, m_;
  std::vector<char> swapped_;
};

inline double product_of(const double* x, const double* y, index_t n) {
  double sum = 0;
  for (index_t i = 0; i < n; ++i) {
    sum += x[i] * y[i];
  }
  return sum;
}

// The eigenvectors of T for these λ, n×k.
inline doubles vectors_of(const tridiagonal_form& t, const doubles& lambda, index_t n) {
  const auto k = index_t(lambda.size());
  constexpr double neighbouring = 1e-3;
  doubles Z(std::size_t(n * k));
  shifted_factors shifted(n);
  std::uint64_t state = 1;
  index_t first = 0;  // of the group of neighbours
  for (index_t l = 0; l < k; ++l) {
    double* const z = Z.data() + l * n;
    if (l > 0 && lambda[std::size_t(l - 1)] - lambda[std::size_t(l)] > neighbouring) {
      first = l;
    }
    shifted.factor(t, lambda[std::size_t(l)]);
    for (index_t i = 0; i < n; ++i) {
      state = state * 6364136223846793005U + 1442695040888963407U;
      z[i] = double(state >> 11U) * 0x1p-53 - 0.5;
    }
    for (int again = 0; again < 3; ++again) {
      shifted.solve(z);
      double largest = 0;
      for (index_t i = 0; i < n; ++i) {
        largest = std::max(largest, std::abs(z[i]));
      }
      for (index_t i = 0; i < n; ++i) {
        z[i] /= largest;
      }
      for (index_t m = first; m < l; ++m) {
        const double* const other = Z.data() + m * n;
        const double part = product_of(other, z, n);
        for (index_t i = 0; i < n; ++i) {
          z[i] -= part * other[i];
        }
      }
      const double norm = std::sqrt(product_of(z, z, n));
      for (index_t i = 0; i < n; ++i) {
        z[i] /= norm;
      }
    }
  }
  return Z;
}

// Whether T·Z = Z·diag(λ) and ZᵀZ = I as well as is promised.
inline bool holds(const tridiagonal_form& t, const doubles& lambda, const doubles& Z, index_t n) {
  constexpr double tolerance = 1e-12;
  const auto k = index_t(lambda.size());
  for (index_t l = 0; l < k; ++l) {
    const double* const z = Z.data() + l * n;
    for (index_t i = 0; i < n; ++i) {
      const double left = i > 0 ? t.below[std::size_t(i - 1)] * z[i - 1] : 0;
      const double right = i + 1 < n ? t.below[std::size_t(i)] * z[i + 1] : 0;
      const double rest =
          left + (t.diagonal[std::size_t(i)] - lambda[std::size_t(l)]) * z[i] + right;
      if (!(std::abs(rest) <= tolerance)) {
        return false;
      }
    }
    for (index_t m = 0; m <= l; ++m) {
      const double wanted = l == m ? 1 : 0;
      if (!(std::abs(product_of(z, Z.data() + m * n, n) - wanted) <= tolerance)) {
        return false;
      }
    }
  }
  return true;
}

// Nothing if an entry is not finite, or if the result is not what is promised.
inline std::optional<host_eigenpairs> largest_eigenpairs_on_host(doubles A, index_t n, index_t k) {
  double norm = 0;  // the largest sum of a column: at least ‖A‖
  for (index_t j = 0; j < n; ++j) {
    double sum = 0;
    for (index_t i = 0; i < n; ++i) {
      sum += std::abs(A[at(i, j, n)]);
    }
    norm = sum <= norm ? norm : sum;
  }
  if (!std::isfinite(norm)) {
    return std::nullopt;
  }
  int exponent = 0;
  std::frexp(norm, &exponent);
  for (double& a : A) {
    a = std::ldexp(a, -exponent);
  }
  const tridiagonal_form t = tridiagonal_of(A, n);
  doubles lambda = largest_of(t, n, k);
  const doubles Z = vectors_of(t, lambda, n);
  if (!holds(t, lambda, Z, n)) {
    return std::nullopt;
  }
  for (double& value : lambda) {
    value = std::ldexp(value, exponent);
  }
  return host_eigenpairs{std::move(lambda), turned_back(t, Z, n, k)};
}

}  // namespace preheat::linalg::detail
