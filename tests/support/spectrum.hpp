// Matrices of known singular values.
#pragma once
#include <vector>

#include "table.hpp"

namespace conformance {

// m×n with the given singular values, min(m, n) of them or fewer, and random singular vectors.
inline table with_spectrum(index_t m, index_t n, const std::vector<double>& sigma,
                           std::uint64_t seed) {
  // Gram and Schmidt, twice, on random columns.
  const auto orthonormal = [](table q) {
    for (index_t j = 0; j < q.cols; ++j) {
      for (int pass = 0; pass < 2; ++pass) {
        for (index_t k = 0; k < j; ++k) {
          const double along = dot(columns(q, k, 1), columns(q, j, 1));
          for (index_t i = 0; i < q.rows; ++i) {
            q(i, j) -= along * q(i, k);
          }
        }
      }
      const double norm = std::sqrt(square_norm(columns(q, j, 1)));
      for (index_t i = 0; i < q.rows; ++i) {
        q(i, j) /= norm;
      }
    }
    return q;
  };
  const index_t k = index_t(sigma.size());
  return orthonormal(random_table(m, k, seed)) * diagonal(sigma) *
         transposed(orthonormal(random_table(n, k, seed + 1)));
}

// 1, q, q², …
inline std::vector<double> geometric(index_t count, double q) {
  std::vector<double> sigma;
  double value = 1;
  for (index_t i = 0; i < count; ++i) {
    sigma.push_back(value);
    value *= q;
  }
  return sigma;
}

// Σ_{i ≥ first} σ_i²
inline double tail(const std::vector<double>& sigma, index_t first) {
  double sum = 0;
  for (std::size_t i = std::size_t(first); i < sigma.size(); ++i) {
    sum += sigma[i] * sigma[i];
  }
  return sum;
}

}  // namespace conformance
