// Small symmetric matrices: the eigendecomposition, the damped pseudoinverse and Sylvester's
// equation, against their defining equations and against elimination.
#include <preheat/linalg/symmetric.hpp>

#include "support/backends.hpp"
#include "support/dense.hpp"
#include "support/spectrum.hpp"

using namespace conformance;
using namespace preheat;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

table rotation(index_t k, std::uint64_t seed) {
  return with_spectrum(k, k, std::vector<double>(std::size_t(k), 1), seed);
}
// Q·diag(λ)·Qᵀ
table symmetric(const table& Q, const std::vector<double>& lambda) {
  return Q * diagonal(lambda) * transposed(Q);
}

template <class Be>
eigh_result<mat<Be>> eigen(Be& be, const table& C) {
  return linalg::symmetric_eigen<Be>(be, matrix(be, C));
}
template <class Be>
table pinv(const table& C, double delta) {
  Be be;
  return read<Be>(be, linalg::damped_pinv(be, eigen(be, C), delta));
}
template <class Be>
table solution(const table& P, const table& Q, const table& C) {
  Be be;
  return read<Be>(be, linalg::solve_sylvester<Be>(be, eigen(be, P), eigen(be, Q), matrix(be, C)));
}

bool all_nan(const table& t) {
  return std::all_of(t.values.begin(), t.values.end(), [](double x) { return std::isnan(x); });
}

void check_penrose(const table& C, const table& inverse, double tol) {
  CHECK(gap(C * inverse * C, C) < tol);
  CHECK(gap(inverse * C * inverse, inverse) < tol);
  CHECK(gap(transposed(C * inverse), C * inverse) < tol);
  CHECK(gap(transposed(inverse * C), inverse * C) < tol);
}

}  // namespace

TEST_CASE_TEMPLATE("symmetric: the eigendecomposition gives the matrix back", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const table C = symmetric(rotation(5, 1), {4, 2, 1, 0.5, 0});
  const auto e = eigen(be, C);
  const table V = read<Be>(be, e.vectors);
  CHECK(orthonormality_gap(V) < tolerance<Be>(5));
  CHECK(gap(symmetric(V, read<Be>(be, e.values).values), C) < tolerance<Be>(5));
  table increasing(5, 1);
  increasing.values = {0, 0.5, 1, 2, 4};
  CHECK(gap(read<Be>(be, e.values), increasing) < tolerance<Be>(5));
}

TEST_CASE_TEMPLATE("symmetric: without damping the pseudoinverse obeys Penrose's four equations",
                   Be, PREHEAT_BACKENDS) {
  const double tol = tolerance<Be>(4 * 16);
  for (const std::vector<double>& lambda :
       {std::vector<double>{4, 2, 1, 0.5}, {4, 2, 0.25, 0}, {3, 0, 0, 0}, {3e-6, 0, 2e-6, 1e-6}}) {
    CAPTURE(lambda[0]);
    const double size = lambda[0];
    const table C = symmetric(rotation(4, 3), lambda);
    const table inverse = pinv<Be>(C, 0);
    check_penrose((1 / size) * C, size * inverse, tol);
    CHECK(gap(size * inverse, size * pseudoinverse(C)) < tol);
  }
}

TEST_CASE_TEMPLATE("symmetric: the pseudoinverse of zero is zero, and damped it is 1/δ", Be,
                   PREHEAT_BACKENDS) {
  const table zero(3, 3);
  CHECK(same(pinv<Be>(zero, 0), zero));
  CHECK(gap(0.01 * pinv<Be>(zero, 0.01), identity(3)) < tolerance<Be>(3));
  CHECK(gap(1e-8 * pinv<Be>(zero, 1e-8), identity(3)) < tolerance<Be>(3));
}

TEST_CASE_TEMPLATE("symmetric: damped, the pseudoinverse is the inverse of C + δI", Be,
                   PREHEAT_BACKENDS) {
  const double delta = 0.125;
  for (const std::vector<double>& lambda :
       {std::vector<double>{4, 2, 1, 0.5}, {4, 2, 0.25, 0}, {3, 0, 0, 0}}) {
    const table C = symmetric(rotation(4, 5), lambda);
    const table damped = C + delta * identity(4);
    CHECK(gap(pinv<Be>(C, delta), inverse(damped)) < tolerance<Be>(4) * conditioning(damped));
  }
}

// Diagonal matrices, whose eigenvalues are exact.
TEST_CASE_TEMPLATE("symmetric: what is at most r·ε of the largest eigenvalue counts as zero", Be,
                   PREHEAT_BACKENDS) {
  const double cutoff = 3 * epsilon<Be> * 8;
  const double kept = 1.5 * cutoff;
  const double dropped = 0.75 * cutoff;
  const table inverse = pinv<Be>(diagonal({kept, 8, dropped}), 0);
  CHECK(gap(diagonal({kept, 8, 1}) * inverse, diagonal({1, 1, 0})) < tolerance<Be>(1));

  // Damped, it is the eigenvalues of C + δI that are compared.
  const double delta = 0.75 * (3 * epsilon<Be> * 4);  // for a largest eigenvalue of 4
  const table damped = pinv<Be>(diagonal({0, 4, 2 * delta}), delta);
  CHECK(gap(diagonal({1, 4, 3 * delta}) * damped, diagonal({0, 1, 1})) < tolerance<Be>(1));
}

TEST_CASE_TEMPLATE("symmetric: Sylvester's equation holds and its solution is elimination's", Be,
                   PREHEAT_BACKENDS) {
  const table P = symmetric(rotation(4, 7), {3, 2, 1, 0.5});
  const table Q = symmetric(rotation(4, 9), {5, 1, 0.25, 0});  // one of the two may be singular
  const table C = random_table(4, 4, 11);
  const double tol = tolerance<Be>(4) * 16;
  for (const auto& [p, q] : {std::pair(P, Q), std::pair(Q, P), std::pair(P, P)}) {
    const table X = solution<Be>(p, q, C);
    CHECK(gap(p * X + X * q, C) < tol);
    CHECK(gap(X, sylvester(p, q, C)) < tol);
  }
}

TEST_CASE_TEMPLATE("symmetric: a singular Sylvester equation has its least-norm solution", Be,
                   PREHEAT_BACKENDS) {
  const table U = rotation(4, 13);
  const table V = rotation(4, 15);
  const table P = symmetric(U, {3, 1, 0, 0});
  const table Q = symmetric(V, {0, 2, 0, 1});
  const table left = U * diagonal({0, 0, 1, 1}) * transposed(U);   // on the null space of P
  const table right = V * diagonal({1, 0, 1, 0}) * transposed(V);  // and of Q
  const double tol = tolerance<Be>(4) * 8;

  // A right side that can be had: the residual is zero.
  const table some = random_table(4, 4, 17);
  const table C = P * some + some * Q;
  const table X = solution<Be>(P, Q, C);
  CHECK(gap(P * X + X * Q, C) < tol);
  CHECK(gap(X, some - left * some * right) < tol);

  // One that cannot: the residual is the part that no X reaches.
  const table D = random_table(4, 4, 19);
  const table Y = solution<Be>(P, Q, D);
  CHECK(gap(P * Y + Y * Q, D - left * D * right) < tol);
  CHECK(largest(left * Y * right) < tol);
  CHECK(gap(Y, sylvester(P, Q, D)) < tol);

  const table zero(4, 4);
  CHECK(same(solution<Be>(zero, zero, D), zero));
}

TEST_CASE_TEMPLATE("symmetric: a Sylvester divisor at most r·ε of the largest counts as zero", Be,
                   PREHEAT_BACKENDS) {
  const double cutoff = 2 * epsilon<Be> * 8;  // of two by two, whose largest sum is 3 + 5
  table ones(2, 2, 1);
  const auto small_entry = [&](double sum) {
    return solution<Be>(diagonal({3, 0.5 * sum}), diagonal({0.5 * sum, 5}), ones)(1, 0) * sum;
  };
  CHECK(std::abs(small_entry(1.5 * cutoff) - 1) < tolerance<Be>(1));
  CHECK(small_entry(0.75 * cutoff) == 0);
}

TEST_CASE_TEMPLATE("symmetric: what is not finite gives NaN and no exception", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const table good = symmetric(rotation(3, 21), {3, 2, 1});
  const table right = random_table(3, 3, 23);
  for (const double value : {not_a_number, infinity, -infinity}) {
    for (const bool everywhere : {false, true}) {
      table bad = good;
      bad(1, 1) = value;
      if (everywhere) {
        std::fill(bad.values.begin(), bad.values.end(), value);
      }
      CHECK(all_nan(read<Be>(be, eigen(be, bad).values)));
      CHECK(all_nan(read<Be>(be, eigen(be, bad).vectors)));
      CHECK(all_nan(pinv<Be>(bad, 0)));
      CHECK(all_nan(pinv<Be>(bad, 1e-8)));
      CHECK(all_nan(solution<Be>(bad, good, right)));
      CHECK(all_nan(solution<Be>(good, bad, right)));
    }
  }
  table lost = right;
  lost(0, 2) = not_a_number;
  CHECK(all_nan(solution<Be>(good, good, lost)));
}
