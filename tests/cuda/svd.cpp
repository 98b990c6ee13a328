// Factorizations that hardly wait: what an extraction and Krylov's method ask of the device, counted; many
// extractions at once; the host's eigenproblems; the sketches' random numbers.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <preheat/cuda/backend.hpp>
#include <preheat/linalg/factored_svds.hpp>
#include <preheat/linalg/krylov_svd.hpp>
#include <string>
#include <vector>

#include "double/control.hpp"
#include "support/spectrum.hpp"
#include "support/table.hpp"

using namespace conformance;
using namespace preheat;

namespace {

using Be = cuda<float>;

long waits() {
  return cuda_double::calls("cudaStreamSynchronize");
}
struct counted {
  long waits, calls;
};
template <class F>
counted count(F f) {
  const long waits_before = waits();
  const long calls_before = cuda_double::calls();
  f();
  return {waits() - waits_before, cuda_double::calls() - calls_before};
}
// U·diag(S)·Vᵀ
table put_together(Be& be, const svd_result<mat<Be>>& d) {
  return read<Be>(be, d.U) * diagonal(read<Be>(be, d.S).values) * transposed(read<Be>(be, d.V));
}
void check_orthonormal(Be& be, const svd_result<mat<Be>>& d) {
  CHECK(orthonormality_gap(read<Be>(be, d.U)) < 1e-6);
  CHECK(orthonormality_gap(read<Be>(be, d.V)) < 1e-6);
}

}  // namespace

TEST_CASE("svd on a device: an extraction waits once, and asks cuSOLVER for one Cholesky factor") {
  Be be;
  const auto solves = [] {
    return cuda_double::calls("cusolverDn<t>syevdx") + cuda_double::calls("cusolverDn<t>geqrf") +
           cuda_double::calls("cusolverDn<t>gesvd");
  };
  // Of the last, squaring costs digits that a float has: U and V are made orthonormal again.
  for (const double smallest : {0.5, 0.01, 1e-3}) {
    CAPTURE(smallest);
    const auto B = matrix(be, with_spectrum(70, 20, {4, 3, 2, 1, smallest}, 1));
    const auto A = matrix(be, with_spectrum(20, 60, std::vector<double>(20, 1), 2));
    svd_result<mat<Be>> d;
    const long factors = cuda_double::calls("cusolverDn<t>potrf");
    const long others = solves();
    const counted work = count([&] { d = linalg::factored_svd<Be>(be, B, A, 5, generator(3)); });
    const bool restored = smallest == 1e-3;
    MESSAGE("calls of an extraction: ", work.calls);
    CHECK(work.waits == (restored ? 5 : 1));
    CHECK((restored || work.calls <= 54));
    CHECK(cuda_double::calls("cusolverDn<t>potrf") == factors + (restored ? 3 : 1));
    CHECK(solves() == others);
    check_orthonormal(be, d);
    const table S = read<Be>(be, d.S);
    for (index_t i = 0; i < 4; ++i) {
      CHECK(S(i, 0) == doctest::Approx(4.0 - double(i)).epsilon(1e-6));
    }
    CHECK(S(4, 0) == doctest::Approx(smallest).epsilon(0.01));
  }
}

TEST_CASE("svd on a device: what the host does not solve, the device does") {
  Be be;
  // 3/4 of 40 eigenvalues are more than the host's solver is asked for.
  const auto B = matrix(be, random_table(60, 40, 1));
  const auto A = matrix(be, random_table(40, 50, 2));
  const long before = cuda_double::calls("cusolverDn<t>syevdx");
  const auto d = linalg::factored_svd<Be>(be, B, A, 30, generator(3));
  CHECK(cuda_double::calls("cusolverDn<t>syevdx") == before + 1);
  check_orthonormal(be, d);
  const auto few = linalg::factored_svd<Be>(be, B, A, 10, generator(3));
  CHECK(cuda_double::calls("cusolverDn<t>syevdx") == before + 1);
  const table S = read<Be>(be, d.S);
  const table T = read<Be>(be, few.S);
  for (index_t i = 0; i < 10; ++i) {
    CHECK(T(i, 0) == doctest::Approx(S(i, 0)).epsilon(1e-6));
  }
}

TEST_CASE(
    "svd on a device: many extractions are those of one after the other, with a wait for each") {
  Be be;
  std::vector<mat<Be>> B, A;
  std::vector<linalg::factored_problem<Be>> problems;
  const index_t count_of_layers = 67;  // more than are asked together
  for (index_t l = 0; l < count_of_layers; ++l) {
    const index_t R = 4 + l % 3;
    B.push_back(matrix(be, l == 5 ? table(12, R) : random_table(12, R, std::uint64_t(l))));
    A.push_back(matrix(be, random_table(R, 9 + l % 2, std::uint64_t(l) + 100)));
  }
  for (std::size_t l = 0; l < B.size(); ++l) {
    problems.push_back({B[l], A[l], 2, generator(l)});
  }
  std::vector<svd_result<mat<Be>>> all;
  const counted work = count([&] { all = linalg::factored_svds(be, problems); });
  REQUIRE(all.size() == B.size());
  CHECK(work.waits <= count_of_layers + 10);  // the zero factor is looked at, and completed
  for (std::size_t l = 0; l < B.size(); ++l) {
    const auto one = linalg::factored_svd<Be>(be, B[l], A[l], 2, generator(l));
    CHECK(same(put_together(be, all[l]), put_together(be, one)));
    CHECK(same(read<Be>(be, all[l].V), read<Be>(be, one.V)));
    check_orthonormal(be, all[l]);
  }
  // The eleventh is not finite: its name comes with the error, and nothing is asked of cuSOLVER for it.
  be.fill(std::numeric_limits<float>::quiet_NaN(), view<float>(B[10]).block(1, 1, 1, 1));
  CHECK_THROWS_AS(linalg::factored_svds(be, problems), invalid_argument);
  problems[3].r = 5;
  CHECK_THROWS_AS(linalg::factored_svds(be, problems), invalid_argument);
  CHECK(linalg::factored_svds(be, std::vector<linalg::factored_problem<Be>>{}).empty());
}

TEST_CASE("svd on a device: Krylov's method waits as often at any depth") {
  Be be;
  const auto W = matrix(be, with_spectrum(60, 50, {8, 7, 6, 5, 4, 3, 2, 1}, 5));
  svd_result<mat<Be>> d;
  const auto at_depth = [&](index_t depth) {
    return count(
        [&] { d = linalg::krylov_svd<Be>(be, W, 3, {.block = 3, .depth = depth}, generator(6)); });
  };
  const counted one = at_depth(1);
  const counted two = at_depth(2);
  CHECK(one.waits == 3);  // for the scale, for the basis, for the eigenproblem
  CHECK(two.waits == 3);
  MESSAGE("calls of a step of Krylov's method: ", two.calls - one.calls);
  CHECK(two.calls - one.calls <= 46);
  check_orthonormal(be, d);
  const table S = read<Be>(be, d.S);
  for (index_t i = 0; i < 3; ++i) {
    CHECK(S(i, 0) == doctest::Approx(8.0 - double(i)).epsilon(0.05));
  }
  // Of rank 2, whose space is full before three blocks are: the careful basis takes over.
  const auto low = matrix(be, with_spectrum(60, 50, {2, 1}, 7));
  const auto e = linalg::krylov_svd<Be>(be, low, 4, {.block = 4, .depth = 2}, generator(8));
  check_orthonormal(be, e);
  CHECK(gap(put_together(be, e), read<Be>(be, low)) < 1e-5);
}

TEST_CASE("cuda: Cholesky without a verdict, and the signs of the largest entries") {
  cuda<double> be;
  const table X = random_table(6, 9, 9);
  const table good = X * transposed(X);
  auto G = matrix(be, good);
  const long before = waits();
  be.cholesky_or_nan(G);
  CHECK(waits() == before);
  const table R = read<cuda<double>>(be, G);
  CHECK(gap(transposed(R) * R, good) < 1e-12);
  CHECK(R(5, 0) == 0);
  table bad = good;
  bad(3, 3) = -1;
  auto H = matrix(be, bad);
  be.cholesky_or_nan(H);
  CHECK(std::isnan(read<cuda<double>>(be, H)(0, 0)));
  CHECK_THROWS_AS(be.cholesky_or_nan(be.zeros(2, 3)), invalid_argument);

  table M(40, 4);
  M(7, 0) = -3;  // the first of equals
  M(30, 0) = 3;
  M(2, 1) = 5;
  M(1, 1) = -4.5;
  M(39, 2) = -1;  // column 3 is zero
  auto signs = be.zeros(4, 1);
  const long counted_before = waits();
  be.signs_of_largest(matrix(be, M), signs);
  CHECK(waits() == counted_before);
  CHECK(read<cuda<double>>(be, signs).values == std::vector<double>{-1, 1, -1, 1});
  CHECK_THROWS_AS(be.signs_of_largest(matrix(be, M), be.zeros(3, 1)), invalid_argument);
}

TEST_CASE("cuda: Gram matrices of few rows and of many, both triangles") {
  Be be;
  for (const index_t n : {3, 600}) {  // a product; syrk
    const table a = random_table(n, 5, 11);
    for (const transpose t : {transpose::no, transpose::yes}) {
      const table given = t == transpose::no ? a : transposed(a);
      auto G = matrix(be, table(n, n, std::nan("")));
      const long products = cuda_double::calls("cublas<t>syrk");
      be.gram(t, matrix(be, given), G);
      CHECK(cuda_double::calls("cublas<t>syrk") == products + (n == 600 ? 1 : 0));
      CHECK(gap(read<Be>(be, G), a * transposed(a)) < 1e-5);
    }
  }
}

TEST_CASE("cuda: normal numbers are drawn on the device, without a copy") {
  Be be;
  const generator gen(10);
  const long copies = cuda_double::calls("cudaMemcpyAsync");
  const long before = waits();
  const auto X = linalg::normal(be, 33, 5, 1.5, gen);
  CHECK(waits() == before);
  CHECK(cuda_double::calls("cudaMemcpyAsync") == copies);
  const table x = read<Be>(be, X);
  for (index_t k = 0; k < 33 * 5; ++k) {  // the double computes with the host's logarithm
    CHECK(float(x.values[std::size_t(k)]) ==
          float(1.5 * gen.normals(std::uint64_t(k / 2))[std::size_t(k % 2)]));
  }
}
