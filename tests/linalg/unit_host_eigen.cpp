// The host's eigenpairs of small symmetric matrices (linalg/host_eigen.hpp), which a device's backend asks for.
#include <preheat/linalg/host_eigen.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "support/spectrum.hpp"
#include "support/table.hpp"

using namespace conformance;
using preheat::linalg::detail::host_eigenpairs;
using preheat::linalg::detail::largest_eigenpairs_on_host;

namespace {

// Q·diag(λ)·Qᵀ
table symmetric(const std::vector<double>& lambda, std::uint64_t seed) {
  const auto n = index_t(lambda.size());
  const table Q = with_spectrum(n, n, std::vector<double>(lambda.size(), 1), seed);
  const table A = Q * diagonal(lambda) * transposed(Q);
  return 0.5 * (A + transposed(A));
}

// The k largest of λ, given in decreasing order: values, A·v = λ·v, VᵀV = I, all relative to λ₁.
void check_pairs(const table& A, const std::vector<double>& lambda, index_t k) {
  CAPTURE(A.rows);
  CAPTURE(k);
  const auto e = largest_eigenpairs_on_host(A.values, A.rows, k);
  REQUIRE(e.has_value());
  const double scale = std::abs(lambda[0]);
  table V(A.rows, k);
  V.values = e->vectors;
  CHECK(orthonormality_gap(V) < 1e-12);
  for (index_t l = 0; l < k; ++l) {
    CHECK(std::abs(e->values[std::size_t(l)] - lambda[std::size_t(l)]) <= 1e-13 * scale);
  }
  CHECK(largest(A * V - V * diagonal(e->values)) <= 1e-12 * scale);
}

}  // namespace

TEST_CASE("host's eigenpairs: distinct, repeated, zero and negative eigenvalues of any size") {
  for (const index_t n : {1, 2, 3, 4, 5, 9, 40}) {
    for (const index_t k : {index_t(1), (n + 2) / 3, n}) {
      std::vector<double> distinct, repeated, low_rank, negative;
      for (index_t i = 0; i < n; ++i) {
        distinct.push_back(double(2 * n - i));
        repeated.push_back(double(3 - 3 * i / n));
        low_rank.push_back(i < 2 ? double(2 - i) : 0);
        negative.push_back(double(1 - i));
      }
      for (const auto* lambda : {&distinct, &repeated, &negative}) {
        check_pairs(symmetric(*lambda, std::uint64_t(n)), *lambda, k);
      }
      check_pairs(symmetric(low_rank, 3), low_rank, std::min<index_t>(k, 9));
      // Already diagonal, where nothing couples the rows.
      check_pairs(diagonal(repeated), repeated, k);
    }
  }
}

TEST_CASE("host's eigenpairs: scales that squares leave") {
  const std::vector<double> lambda{4, 3, 2, 1};
  const table A = symmetric(lambda, 5);
  for (const double scale : {1e-300, 1e-160, 1e160, 1e300}) {
    std::vector<double> scaled;
    for (const double x : lambda) {
      scaled.push_back(scale * x);
    }
    const auto e = largest_eigenpairs_on_host((scale * A).values, 4, 2);
    REQUIRE(e.has_value());
    CHECK(e->values[0] == doctest::Approx(scaled[0]).epsilon(1e-13));
    CHECK(e->values[1] == doctest::Approx(scaled[1]).epsilon(1e-13));
  }
}

TEST_CASE("host's eigenpairs: none of a matrix that is not finite") {
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    table A = symmetric({3, 2, 1}, 6);
    A(2, 1) = A(1, 2) = bad;
    CHECK(!largest_eigenpairs_on_host(A.values, 3, 1).has_value());
  }
}
