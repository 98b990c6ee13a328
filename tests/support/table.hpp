// Matrices of the host, in double and with plain loops: what the library's results are compared
// with.
#pragma once
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <preheat/core/concepts.hpp>
#include <vector>

namespace conformance {

using preheat::index_t;

struct table {
  index_t rows = 0;
  index_t cols = 0;
  std::vector<double> values;  // column-major

  table() = default;
  table(index_t m, index_t n, double value = 0)
      : rows(m), cols(n), values(std::size_t(m * n), value) {}
  double& operator()(index_t i, index_t j) { return values[i + j * rows]; }
  double operator()(index_t i, index_t j) const { return values[i + j * rows]; }
};

// A matrix of a backend as a table, and back.
template <preheat::backend Be>
table read(Be& be, preheat::const_view_of<Be> a) {
  table t(a.rows(), a.cols());
  const auto host = be.download(a);
  std::copy(host.begin(), host.end(), t.values.begin());
  return t;
}
template <preheat::backend Be>
void write(Be& be, const table& t, preheat::view_of<Be> x) {
  const std::vector<typename Be::scalar> host(t.values.begin(), t.values.end());
  be.upload(host, x);
}
template <preheat::backend Be>
preheat::mat<Be> matrix(Be& be, const table& t) {
  preheat::mat<Be> M = be.zeros(t.rows, t.cols);
  write(be, t, M);
  return M;
}

inline table identity(index_t n) {
  table t(n, n);
  for (index_t i = 0; i < n; ++i) {
    t(i, i) = 1;
  }
  return t;
}
inline table transposed(const table& a) {
  table t(a.cols, a.rows);
  for (index_t j = 0; j < a.cols; ++j) {
    for (index_t i = 0; i < a.rows; ++i) {
      t(j, i) = a(i, j);
    }
  }
  return t;
}
// By pointers, since without optimization each (i, j) is two calls.
inline table operator*(const table& a, const table& b) {
  preheat::require(a.cols == b.rows, "table product", a.cols, b.rows);
  table t(a.rows, b.cols);
  const index_t rows = a.rows;
  for (index_t j = 0; j < b.cols; ++j) {
    double* to = t.values.data() + j * rows;
    for (index_t k = 0; k < a.cols; ++k) {
      const double* column = a.values.data() + k * rows;
      const double factor = b(k, j);
      for (index_t i = 0; i < rows; ++i) {
        to[i] += column[i] * factor;
      }
    }
  }
  return t;
}
inline table operator*(double s, table a) {
  for (double& x : a.values) {
    x *= s;
  }
  return a;
}
inline table operator+(table a, const table& b) {
  preheat::require(a.rows == b.rows && a.cols == b.cols, "table sum: shapes agree");
  for (std::size_t i = 0; i < a.values.size(); ++i) {
    a.values[i] += b.values[i];
  }
  return a;
}
inline table operator-(const table& a, const table& b) {
  return a + -1.0 * b;
}
inline table columns(const table& a, index_t first, index_t count) {
  table t(a.rows, count);
  std::copy_n(a.values.begin() + first * a.rows, count * a.rows, t.values.begin());
  return t;
}
inline table diagonal(const std::vector<double>& d) {
  table t(index_t(d.size()), index_t(d.size()));
  for (std::size_t i = 0; i < d.size(); ++i) {
    t(index_t(i), index_t(i)) = d[i];
  }
  return t;
}

// Σ a_ij·b_ij, the squared Frobenius norm, and the largest magnitude (NaN counts as infinite).
inline double dot(const table& a, const table& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.values.size(); ++i) {
    sum += a.values[i] * b.values[i];
  }
  return sum;
}
inline double square_norm(const table& a) {
  return dot(a, a);
}
inline double largest(const table& a) {
  double most = 0;
  for (const double x : a.values) {
    most = std::isnan(x) ? std::numeric_limits<double>::infinity() : std::max(most, std::abs(x));
  }
  return most;
}
// The largest difference of two entries; infinite if the shapes differ.
inline double gap(const table& a, const table& b) {
  if (a.rows != b.rows || a.cols != b.cols) {
    return std::numeric_limits<double>::infinity();
  }
  return largest(a - b);
}
inline bool same(const table& a, const table& b) {
  return a.rows == b.rows && a.cols == b.cols && a.values == b.values;
}
// How far the columns are from orthonormal.
inline double orthonormality_gap(const table& q) {
  return gap(transposed(q) * q, identity(q.cols));
}

// A table of numbers without pattern, N(0, 1).
inline table random_table(index_t m, index_t n, std::uint64_t seed) {
  table t(m, n);
  preheat::generator gen(seed);
  for (double& x : t.values) {
    x = gen.normal();
  }
  return t;
}

}  // namespace conformance
