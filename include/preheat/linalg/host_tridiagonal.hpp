// A symmetric matrix in the host's memory becomes tridiagonal by Householder reflectors, A = Q·T·Qᵀ, for
// host_eigen.hpp. A step applies the reflector before it and multiplies by its own in one pass over the matrix.
//
// Source: Golub and Van Loan, "Matrix Computations", 4th edition, section 8.3.1. Plain loops that any
// compiler turns into SIMD instructions, none of which sums into one number.
// Cost: 2·n³ operations for T, 2·n²·k for Q·Z.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "../core/types.hpp"

namespace preheat::linalg::detail {

using doubles = std::vector<double>;

inline std::size_t at(index_t i, index_t j, index_t n) {
  return std::size_t(i + j * n);
}

// T of A = Q·T·Qᵀ, and the reflectors H_k = I − τ_k·v_k·v_kᵀ whose product is Q: v_k is zero up to row k.
struct tridiagonal_form {
  doubles diagonal, below, tau, reflectors;
};

// C −= v·wᵀ + w·vᵀ for the columns from `first` on, and p = C·u: four columns in a pass. v, w and u are zero
// before row `first`.
inline void update_and_multiply(index_t n, index_t first, const double* __restrict v,
                                const double* __restrict w, const double* __restrict u,
                                double* __restrict C, double* __restrict p) {
  index_t j = first;
  for (; j + 4 <= n; j += 4) {
    double* __restrict c0 = C + j * n;
    double* __restrict c1 = c0 + n;
    double* __restrict c2 = c1 + n;
    double* __restrict c3 = c2 + n;
    const double v0 = v[j], v1 = v[j + 1], v2 = v[j + 2], v3 = v[j + 3];
    const double w0 = w[j], w1 = w[j + 1], w2 = w[j + 2], w3 = w[j + 3];
    const double u0 = u[j], u1 = u[j + 1], u2 = u[j + 2], u3 = u[j + 3];
    for (index_t i = first; i < n; ++i) {
      const double vi = v[i], wi = w[i];
      const double a0 = c0[i] - vi * w0 - wi * v0;
      const double a1 = c1[i] - vi * w1 - wi * v1;
      const double a2 = c2[i] - vi * w2 - wi * v2;
      const double a3 = c3[i] - vi * w3 - wi * v3;
      c0[i] = a0;
      c1[i] = a1;
      c2[i] = a2;
      c3[i] = a3;
      p[i] += a0 * u0 + a1 * u1 + a2 * u2 + a3 * u3;
    }
  }
  for (; j < n; ++j) {
    double* __restrict c = C + j * n;
    for (index_t i = first; i < n; ++i) {
      c[i] -= v[i] * w[j] + w[i] * v[j];
      p[i] += c[i] * u[j];
    }
  }
}

// A is symmetric, both triangles given.
inline tridiagonal_form tridiagonal_of(doubles A, index_t n) {
  const auto length = std::size_t(n);
  tridiagonal_form t{doubles(length), doubles(length), doubles(length), doubles(length * length)};
  doubles v(length), w(length), p(length);
  for (index_t k = 0; k < n; ++k) {
    // Column k as the reflectors before have made it: they are applied to the columns behind a step later.
    double* const column = A.data() + k * n;
    for (index_t i = k; i < n; ++i) {
      column[i] -= v[std::size_t(i)] * w[std::size_t(k)] + w[std::size_t(i)] * v[std::size_t(k)];
    }
    t.diagonal[std::size_t(k)] = column[k];
    if (k + 1 == n) {
      break;
    }
    double* const u = t.reflectors.data() + k * n;
    double square = 0;
    for (index_t i = k + 2; i < n; ++i) {
      square += column[i] * column[i];
    }
    const double x = column[k + 1];
    double tau = 0;
    double beta = x;
    if (square > 0) {
      beta = -std::copysign(std::sqrt(x * x + square), x);
      tau = (beta - x) / beta;
      for (index_t i = k + 2; i < n; ++i) {
        u[i] = column[i] / (x - beta);
      }
      u[k + 1] = 1;
    }
    t.below[std::size_t(k)] = beta;
    t.tau[std::size_t(k)] = tau;
    std::fill(p.begin(), p.end(), 0.0);
    update_and_multiply(n, k + 1, v.data(), w.data(), u, A.data(), p.data());
    // H·C·H = C − u·wᵀ − w·uᵀ with w = τ·p − (τ²/2)(pᵀu)·u
    double dot = 0;
    for (index_t i = k + 1; i < n; ++i) {
      dot += p[std::size_t(i)] * u[i];
    }
    for (index_t i = 0; i < n; ++i) {
      v[std::size_t(i)] = u[i];
      w[std::size_t(i)] = i > k ? tau * (p[std::size_t(i)] - tau / 2 * dot * u[i]) : 0;
    }
  }
  return t;
}

// Z becomes Q·Z. The k numbers of a row side by side: every loop is over them.
inline doubles turned_back(const tridiagonal_form& t, const doubles& Z, index_t n, index_t k) {
  doubles rows(std::size_t(n * k)), part(static_cast<std::size_t>(k)), result(rows.size());
  for (index_t l = 0; l < k; ++l) {
    for (index_t i = 0; i < n; ++i) {
      rows[at(l, i, k)] = Z[at(i, l, n)];
    }
  }
  for (index_t j = n - 1; j-- > 0;) {
    const double* const v = t.reflectors.data() + j * n;
    std::fill(part.begin(), part.end(), 0.0);
    double* const __restrict sum = part.data();
    for (index_t i = j + 1; i < n; ++i) {
      const double* const __restrict row = rows.data() + i * k;
      for (index_t l = 0; l < k; ++l) {
        sum[l] += v[i] * row[l];
      }
    }
    for (index_t i = j + 1; i < n; ++i) {
      double* const __restrict row = rows.data() + i * k;
      const double factor = t.tau[std::size_t(j)] * v[i];
      for (index_t l = 0; l < k; ++l) {
        row[l] -= factor * sum[l];
      }
    }
  }
  for (index_t l = 0; l < k; ++l) {
    for (index_t i = 0; i < n; ++i) {
      result[at(i, l, n)] = rows[at(l, i, k)];
    }
  }
  return result;
}

}  // namespace preheat::linalg::detail
