// Small dense linear algebra on tables, none of it by an eigendecomposition: elimination,
// projections by Gram and Schmidt, pseudoinverses and Sylvester's equation from these.
#pragma once
#include <utility>

#include "table.hpp"

namespace conformance {

// a⁻¹ by Gauss and Jordan, with row pivots.
inline table inverse(table a) {
  table x = identity(a.rows);
  for (index_t k = 0; k < a.rows; ++k) {
    index_t pivot = k;
    for (index_t i = k + 1; i < a.rows; ++i) {
      pivot = std::abs(a(i, k)) > std::abs(a(pivot, k)) ? i : pivot;
    }
    for (table* t : {&a, &x}) {
      for (index_t j = 0; j < a.cols; ++j) {
        std::swap((*t)(k, j), (*t)(pivot, j));
      }
    }
    for (index_t i = 0; i < a.rows; ++i) {
      const double times = i == k ? 0 : a(i, k) / a(k, k);
      for (index_t j = 0; j < a.cols; ++j) {
        a(i, j) -= times * a(k, j);
        x(i, j) -= times * x(k, j);
      }
    }
  }
  for (index_t i = 0; i < a.rows; ++i) {
    for (index_t j = 0; j < a.cols; ++j) {
      x(i, j) /= a(i, i);
    }
  }
  return x;
}

// The orthogonal projection on the span of the columns, by Gram and Schmidt, twice. A column of
// which only rounding is left adds nothing.
inline table projection(const table& a) {
  table onto(a.rows, a.rows);
  for (index_t j = 0; j < a.cols; ++j) {
    table q = columns(a, j, 1);
    const double length = std::sqrt(square_norm(q));
    q = q - onto * q;
    q = q - onto * q;
    const double left = std::sqrt(square_norm(q));
    if (left > 1e-10 * length) {
      onto = onto + (1 / (left * left)) * (q * transposed(q));
    }
  }
  return onto;
}

// The pseudoinverse of a symmetric matrix: with N the projection on its null space and c the size of
// its entries, (C + c·N)⁻¹ − N/c.
inline table pseudoinverse(const table& a) {
  const double c = largest(a);
  if (c == 0) {
    return a;
  }
  const table null = identity(a.rows) - projection(a);
  return inverse(a + c * null) - (1 / c) * null;
}

// The least-norm least-squares X of P·X + X·Q = C, P and Q symmetric, from the system of all its
// entries.
inline table sylvester(const table& p, const table& q, const table& c) {
  const index_t k = c.rows;
  table system(k * k, k * k);
  for (index_t i = 0; i < k; ++i) {
    for (index_t j = 0; j < k; ++j) {
      for (index_t l = 0; l < k; ++l) {
        system(i + j * k, l + j * k) += p(i, l);
        system(i + j * k, i + l * k) += q(l, j);
      }
    }
  }
  table right(k * k, 1);
  right.values = c.values;
  table x(k, k);
  x.values = (pseudoinverse(system) * right).values;
  return x;
}

// Σ λ_i · Σ 1/λ_i, at least the condition number of a positive definite matrix.
inline double conditioning(const table& c) {
  const table inverted = inverse(c);
  double sum = 0;
  double sum_of_inverses = 0;
  for (index_t i = 0; i < c.rows; ++i) {
    sum += c(i, i);
    sum_of_inverses += inverted(i, i);
  }
  return sum * sum_of_inverses;
}

}  // namespace conformance
