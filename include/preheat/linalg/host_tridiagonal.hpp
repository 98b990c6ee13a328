// A symmetric matrix in the host's memory becomes tridiagonal by Householder reflectors, A = Q·T·Qᵀ, for
// host_eigen.hpp. A step applies the reflector before it and multiplies by its own in one pass over the matrix.
//
// Source: Golub and Van Loan, "Matrix Computations", 4th edition, section 8.3.1. The pass is written for
// vectors of four numbers, which the compiler splits where registers hold less.
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

using quad [[gnu::vector_size(4 * sizeof(double))]] = double;

// (By references: to hand over a vector wider than the registers would depend on the compiler's options.)
[[gnu::always_inline]] inline void load(quad& q, const double* from) {
  __builtin_memcpy(&q, from, sizeof q);
}
[[gnu::always_inline]] inline void store(const quad& q, double* to) {
  __builtin_memcpy(to, &q, sizeof q);
}

// C −= v·wᵀ + w·vᵀ and p += C·u, for rows and columns first, …, n − 1, multiples of four.
[[gnu::always_inline]] inline void update_by_fours(index_t n, index_t first, const double* v,
                                                   const double* w, const double* u, double* C,
                                                   index_t ld, double* p) {
  for (index_t j = first; j < n; j += 4) {
    for (index_t i = first; i < n; i += 4) {
      quad vi, wi, sum;
      load(vi, v + i);
      load(wi, w + i);
      load(sum, p + i);
      for (index_t l = j; l < j + 4; ++l) {
        quad c;
        load(c, C + i + l * ld);
        c = c - vi * w[l] - wi * v[l];
        store(c, C + i + l * ld);
        sum = sum + c * u[l];
      }
      store(sum, p + i);
    }
  }
}
#if defined(__x86_64__)
[[gnu::target("avx2,fma")]] inline void update_by_avx2(index_t n, index_t first, const double* v,
                                                       const double* w, const double* u, double* C,
                                                       index_t ld, double* p) {
  update_by_fours(n, first, v, w, u, C, ld, p);
}
#endif
inline void update_and_multiply(index_t n, index_t first, const double* v, const double* w,
                                const double* u, double* C, index_t ld, double* p) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return update_by_avx2(n, first, v, w, u, C, ld, p);
  }
#endif
  update_by_fours(n, first, v, w, u, C, ld, p);
}

// A is symmetric, n×n, both triangles given.
inline tridiagonal_form tridiagonal_of(const doubles& A, index_t n) {
  const auto length = std::size_t(n);
  tridiagonal_form t{doubles(length), doubles(length), doubles(length), doubles(length * length)};
  // Rows and columns of zeros make n a multiple of four; columns do not begin at one place of a cache.
  const index_t padded = (n + 3) / 4 * 4;
  const index_t ld = padded + 4;
  doubles C(std::size_t(padded * ld));
  for (index_t j = 0; j < n; ++j) {
    std::copy_n(A.data() + j * n, n, C.data() + j * ld);
  }
  doubles v(static_cast<std::size_t>(padded)), w(v), u(v), p(v);
  for (index_t k = 0; k < n; ++k) {
    // Column k as the reflectors before have made it: they are applied to the columns behind a step later.
    double* const column = C.data() + k * ld;
    for (index_t i = k; i < n; ++i) {
      column[i] -= v[std::size_t(i)] * w[std::size_t(k)] + w[std::size_t(i)] * v[std::size_t(k)];
    }
    t.diagonal[std::size_t(k)] = column[k];
    if (k + 1 == n) {
      break;
    }
    double square = 0;
    for (index_t i = k + 2; i < n; ++i) {
      square += column[i] * column[i];
    }
    const double x = column[k + 1];
    double tau = 0;
    double beta = x;
    std::fill(u.begin(), u.end(), 0.0);
    if (square > 0) {
      beta = -std::copysign(std::sqrt(x * x + square), x);
      tau = (beta - x) / beta;
      for (index_t i = k + 2; i < n; ++i) {
        u[std::size_t(i)] = column[i] / (x - beta);
      }
      u[std::size_t(k + 1)] = 1;
    }
    t.below[std::size_t(k)] = beta;
    t.tau[std::size_t(k)] = tau;
    std::copy_n(u.begin(), n, t.reflectors.begin() + k * n);
    std::fill(p.begin(), p.end(), 0.0);
    // From a multiple of four on: the rows and columns before k + 1 are not read any more.
    update_and_multiply(padded, (k + 1) / 4 * 4, v.data(), w.data(), u.data(), C.data(), ld,
                        p.data());
    // H·C·H = C − u·wᵀ − w·uᵀ with w = τ·p − (τ²/2)(pᵀu)·u
    double dot = 0;
    for (index_t i = k + 1; i < n; ++i) {
      dot += p[std::size_t(i)] * u[std::size_t(i)];
    }
    v = u;
    for (index_t i = 0; i < n; ++i) {
      w[std::size_t(i)] = i > k ? tau * (p[std::size_t(i)] - tau / 2 * dot * u[std::size_t(i)]) : 0;
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
