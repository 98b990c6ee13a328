// What the laws of backends (tests/core/backend.cpp) do not say: options, the verdicts of
// cuSOLVER, errors.
#include <doctest/doctest.h>

#include <cmath>
#include <preheat/cuda/backend.hpp>
#include <preheat/linalg/factored_svd.hpp>
#include <vector>

#include "double/control.hpp"
#include "support/spectrum.hpp"
#include "support/table.hpp"

using namespace conformance;
using namespace preheat;

namespace {
std::shared_ptr<const cuda_context> context_with(const cuda_options& options) {
  return std::make_shared<cuda_context>(options);
}
}  // namespace

TEST_CASE_TEMPLATE("cuda: the description names type and version", T, float, double) {
  CHECK(cuda<T>().describe().find(sizeof(T) == 4 ? "cuda<float>, CUDA 1" : "cuda<double>, CUDA") ==
        0);
  CHECK(cuda<T>(context_with({.tf32 = true})).describe().find(", TF32") != std::string::npos);
}

TEST_CASE("cuda: TF32 is a choice, and floats are exact without it") {
  const table a = random_table(20, 30, 1);
  const table b = random_table(30, 10, 2);
  const auto error_with = [&](const cuda_options& options) {
    cuda<float> be(context_with(options));
    auto C = be.zeros(20, 10);
    be.gemm(1, transpose::no, matrix(be, a), transpose::no, matrix(be, b), 0, C);
    return gap(read<cuda<float>>(be, C), a * b);
  };
  CHECK(error_with({}) < 1e-5);
  CHECK(error_with({.tf32 = true}) > 1e-4);
  CHECK(error_with({.tf32 = true}) < 5e-2);
}

TEST_CASE("cuda: cuBLAS gets its workspace, of the size asked for") {
  cuda<float> be;
  CHECK(cuda_double::cublas_workspace() == std::size_t(32) << 20U);
  cuda<float> small(context_with({.cublas_workspace = 4096}));
  CHECK(cuda_double::cublas_workspace() == 4096);
}

TEST_CASE(
    "cuda: Jacobi's rotations give the same SVD, and QR iterations take over where they fail") {
  using Be = cuda<double>;
  Be be(context_with({.svd = cuda_svd::gesvdj}));
  Be reference;
  for (const auto& [m, n] : {std::pair<index_t, index_t>{9, 4}, {4, 9}, {70, 66}}) {
    const table a = random_table(m, n, 3);
    const index_t k = std::min(m, n);
    const table want = read<Be>(reference, reference.svd(matrix(reference, a)).S);
    for (const int info : {0, int(k) + 1}) {
      const long before = cuda_double::calls("cusolverDn<t>gesvd");
      cuda_double::fail_info_of("cusolverDn<t>gesvdj", info);
      const auto d = be.svd(matrix(be, a));
      cuda_double::fail_info_of("cusolverDn<t>gesvdj", 0);
      CHECK(cuda_double::calls("cusolverDn<t>gesvd") == before + (info == 0 ? 0 : 1));
      CHECK(gap(read<Be>(be, d.S), want) < 1e-12);
      CHECK(gap(read<Be>(be, d.U) * diagonal(want.values) * transposed(read<Be>(be, d.V)), a) <
            1e-12);
    }
  }
}

TEST_CASE("cuda: every verdict of cuSOLVER is read") {
  using Be = cuda<float>;
  Be be;
  auto M = matrix(be, random_table(5, 5, 4));
  const auto with_info = [&](const std::string& name, int info, auto f) {
    cuda_double::fail_info_of("cusolverDn<t>" + name, info);
    std::string text;
    try {
      f();
    } catch (const cuda_error& e) {
      text = e.what();
      CHECK(e.code == info);
    }
    cuda_double::fail_info_of("cusolverDn<t>" + name, 0);
    return text.find("cusolverDn<t>" + name) != std::string::npos;
  };
  for (const int info : {-3, 2}) {
    CHECK(with_info("geqrf", info, [&] { be.qr(M); }));
    CHECK(with_info("orgqr", info, [&] { be.qr(M); }));
    CHECK(with_info("gesvd", info, [&] { be.svd(M); }));
    CHECK(with_info("syevd", info, [&] { be.eigh(M); }));
    CHECK(with_info("syevdx", info, [&] { be.eigh_largest(M, 2); }));
  }
  CHECK(with_info("potrf", -3, [&] { be.cholesky(M); }));
  Be jacobi(context_with({.svd = cuda_svd::gesvdj}));
  auto N = matrix(jacobi, random_table(5, 5, 4));
  CHECK(with_info("gesvdj", -3, [&] { jacobi.svd(N); }));
}

TEST_CASE("cuda: a wrong label is named") {
  using Be = cuda<float>;
  Be be;
  auto Z = matrix(be, random_table(3, 2, 5));
  auto d = be.zeros(3, 2);
  for (const double label : {-1.0, 3.0, 0.5, 1e30}) {
    table labels(1, 2, 1);
    labels(0, 1) = label;
    CHECK_THROWS_AS(be.softmax_cross_entropy(Z, matrix(be, labels), d), invalid_argument);
  }
  Z = matrix(be, table(3, 2, std::nan("")));
  CHECK(std::isnan(be.softmax_cross_entropy(Z, matrix(be, table(1, 2, 1)), d)));
}

TEST_CASE("cuda: reductions of many terms") {
  using Be = cuda<double>;
  Be be;
  for (const index_t n : {index_t(127), index_t(128), index_t(129), index_t(128 * 128 + 1)}) {
    auto M = be.zeros(n, 1);
    be.fill(2, M);
    CHECK(be.dot(M, M) == 4 * double(n));
    be.fill(-9, view<double>(M).row_range(n - 1, 1));
    CHECK(be.max_abs(M) == 9);
  }
}

TEST_CASE("cuda: a sum of no terms is zero") {
  using Be = cuda<float>;
  Be be;
  auto C = matrix(be, table(3, 3, std::nan("")));
  be.gram(transpose::no, be.zeros(3, 0), C);
  CHECK(same(read<Be>(be, C), table(3, 3)));
  C = matrix(be, table(3, 3, std::nan("")));
  be.gemm(1, transpose::no, be.zeros(3, 0), transpose::no, be.zeros(0, 3), 0, C);
  CHECK(same(read<Be>(be, C), table(3, 3)));
}

// Squares in float would give the smallest singular value to some percent only.
TEST_CASE("cuda: the factored SVD in double is in the same context") {
  using Be = cuda<float>;
  Be be;
  CHECK(be.in_higher_precision().context() == be.context());
  const std::vector<double> sigma{1, 1e-1, 1e-2, 1e-3};
  const auto B = matrix(be, with_spectrum(40, 4, sigma, 6));
  const auto A = matrix(be, with_spectrum(4, 30, {1, 1, 1, 1}, 8));
  const long contexts = cuda_double::calls("cublasCreate");
  const long factors = cuda_double::calls("cusolverDn<t>potrf");
  const auto d =
      linalg::factored_svd<Be>(be, B, A, 4, generator(1), linalg::factored_form::wide_gram);
  CHECK(cuda_double::calls("cublasCreate") == contexts);
  CHECK(cuda_double::calls("cusolverDn<t>potrf") == factors + 1);
  const table S = read<Be>(be, d.S);
  for (index_t i = 0; i < 4; ++i) {
    CHECK(S(i, 0) == doctest::Approx(sigma[i]).epsilon(1e-3));
  }
}

TEST_CASE("cuda: shapes that do not fit") {
  using Be = cuda<float>;
  Be be;
  auto A = be.zeros(3, 2);
  auto B = be.zeros(2, 3);
  auto S = be.zeros(3, 3);
  std::vector<float> host(5);
  CHECK_THROWS_AS(be.upload(host, A), invalid_argument);
  CHECK_THROWS_AS(be.copy(transpose::no, A, B), invalid_argument);
  CHECK_THROWS_AS(be.copy(transpose::yes, A, S), invalid_argument);
  CHECK_THROWS_AS(be.apply(kernel_archetype<float>{}, A, B), invalid_argument);
  CHECK_THROWS_AS(be.gemm(1, transpose::no, A, transpose::no, A, 0, S), invalid_argument);
  CHECK_THROWS_AS(be.gemm(1, transpose::no, A, transpose::no, B, 0, A), invalid_argument);
  CHECK_THROWS_AS(be.gram(transpose::no, A, A), invalid_argument);
  CHECK_THROWS_AS(be.cholesky(A), invalid_argument);
  CHECK_THROWS_AS(be.solve_upper(transpose::no, S, B), invalid_argument);
  CHECK_THROWS_AS(be.eigh(A), invalid_argument);
  CHECK_THROWS_AS(be.eigh_largest(A, 1), invalid_argument);
  CHECK_THROWS_AS(be.eigh_largest(S, 0), invalid_argument);
  CHECK_THROWS_AS(be.eigh_largest(S, 4), invalid_argument);
  CHECK_THROWS_AS(be.gram(transpose::no, A, view<double>(be.in_higher_precision().zeros(2, 2))),
                  invalid_argument);
  CHECK_THROWS_AS(be.svd(be.zeros(0, 3)), invalid_argument);
  CHECK_THROWS_AS(be.dot(A, B), invalid_argument);
}
