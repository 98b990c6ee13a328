// Factorizations where they are hard: graded and clustered spectra, dependent and zero columns, scales
// whose squares leave the range of a float, sizes on both sides of every block; the Eigen flavour
// against the BLAS.
#include "support/backends.hpp"
#include "support/block_in_frame.hpp"
#include "support/spectrum.hpp"

using namespace conformance;
using namespace preheat;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double scales[] = {1, 1e-30, 1e30};
constexpr index_t sizes_around_blocks[] = {1, 2, 31, 32, 33, 64, 65, 97};

// What rounding may do to matrices of that size, relative to the largest.
template <class Be>
double rounding(index_t size) {
  return 16 * epsilon<Be> * std::sqrt(double(size));
}

struct spectrum {
  const char* name;
  std::vector<double> values;  // decreasing, the first is 1
};
std::vector<spectrum> hard_spectra(index_t n) {
  const std::size_t count = std::size_t(n);
  std::vector<spectrum> all{{"graded", geometric(n, std::pow(1e-12, 1.0 / double(n)))},
                            {"equal", std::vector<double>(count, 1)},
                            {"two clusters", std::vector<double>(count, 1)},
                            {"rank one", std::vector<double>(count, 0)},
                            {"one small", std::vector<double>(count, 1)},
                            {"gaussian", std::vector<double>(count, 1)}};
  for (std::size_t i = 0; i < count; ++i) {
    all[2].values[i] = (i < count / 2 ? 1 : 0.25) * (1 - 1e-7 * double(i) / double(n));
    all[5].values[i] = 1 - double(i) / double(n);
  }
  all[3].values[0] = 1;
  all[4].values.back() = 1e-5;
  return all;
}

template <class Be>
void check_svd(const table& a, const std::vector<double>& sigma, double scale) {
  Be be;
  const index_t k = std::min(a.rows, a.cols);
  const mat<Be> A = matrix(be, scale * a);
  const table rounded = (1 / scale) * read<Be>(be, A);
  const auto d = be.svd(A);
  const table u = read<Be>(be, d.U);
  const table s = (1 / scale) * read<Be>(be, d.S);
  const table v = read<Be>(be, d.V);
  const double bound = rounding<Be>(std::max(a.rows, a.cols));
  CHECK(orthonormality_gap(u) < bound);
  CHECK(orthonormality_gap(v) < bound);
  CHECK(gap(u * diagonal(s.values) * transposed(v), rounded) <= bound);
  CHECK(std::is_sorted(s.values.rbegin(), s.values.rend()));
  CHECK(s.values.back() >= 0);
  for (index_t i = 0; i < k; ++i) {
    CHECK(std::abs(s(i, 0) - sigma[i]) <= bound);
  }
}

}  // namespace

TEST_CASE_TEMPLATE("factorizations: the SVD of hard spectra", Be, PREHEAT_ALL_BACKENDS) {
  for (const index_t n : {1, 2, 9, 40}) {
    for (const auto& [name, sigma] : hard_spectra(n)) {
      for (const double scale : scales) {
        const auto& case_name = name;  // a structured binding cannot be captured
        CAPTURE(case_name);
        CAPTURE(n);
        CAPTURE(scale);
        check_svd<Be>(with_spectrum(n, n, sigma, 71), sigma, scale);
        check_svd<Be>(with_spectrum(n + 3, n, sigma, 73), sigma, scale);
        check_svd<Be>(with_spectrum(n, 2 * n + 3, sigma, 75), sigma, scale);
      }
    }
    check_svd<Be>(table(n, n), std::vector<double>(std::size_t(n), 0), 1);
  }
}

// Rows, or columns, of very different size: the largest magnitudes lead.
TEST_CASE_TEMPLATE("factorizations: the SVD of a matrix of graded rows", Be, PREHEAT_ALL_BACKENDS) {
  Be be;
  const index_t n = 24;
  const table graded = diagonal(geometric(n, 0.2)) * random_table(n, n, 77);
  for (const table& a : {graded, transposed(graded)}) {
    const mat<Be> A = matrix(be, a);
    const table rounded = read<Be>(be, A);
    const auto d = be.svd(A);
    const table u = read<Be>(be, d.U);
    const table v = read<Be>(be, d.V);
    CHECK(orthonormality_gap(u) < rounding<Be>(n));
    CHECK(orthonormality_gap(v) < rounding<Be>(n));
    CHECK(gap(u * diagonal(read<Be>(be, d.S).values) * transposed(v), rounded) <=
          rounding<Be>(n) * std::sqrt(square_norm(a)));
  }
}

TEST_CASE_TEMPLATE("factorizations: eigenpairs of hard spectra", Be, PREHEAT_ALL_BACKENDS) {
  Be be;
  for (const index_t n : sizes_around_blocks) {
    const table q = with_spectrum(n, n, std::vector<double>(std::size_t(n), 1), 79);  // orthogonal
    for (auto [name, lambda] : hard_spectra(n)) {
      for (const bool signs : {false, true}) {
        for (std::size_t i = 1; signs && i < lambda.size(); i += 2) {
          lambda[i] = -lambda[i];
        }
        for (const double scale : scales) {
          const auto& case_name = name;  // a structured binding cannot be captured
          CAPTURE(case_name);
          CAPTURE(n);
          CAPTURE(scale);
          const table a = q * diagonal(lambda) * transposed(q);
          const mat<Be> A = matrix(be, 0.5 * scale * (a + transposed(a)));
          const table rounded = (1 / scale) * read<Be>(be, A);
          const auto e = be.eigh(A);
          const table d = (1 / scale) * read<Be>(be, e.values);
          const table v = read<Be>(be, e.vectors);
          CHECK(orthonormality_gap(v) < rounding<Be>(n));
          CHECK(gap(rounded * v, v * diagonal(d.values)) <= rounding<Be>(n));
          std::vector<double> increasing = lambda;
          std::sort(increasing.begin(), increasing.end());
          CHECK(std::is_sorted(d.values.begin(), d.values.end()));
          for (index_t i = 0; i < n; ++i) {
            CHECK(std::abs(d(i, 0) - increasing[i]) <= rounding<Be>(n));
          }
        }
      }
    }
  }
}

TEST_CASE_TEMPLATE("factorizations: QR around the size of a block, of graded and dependent columns",
                   Be, PREHEAT_ALL_BACKENDS) {
  Be be;
  for (const index_t n : sizes_around_blocks) {
    for (const index_t m : {n, 2 * n + 5, n / 2 + 1}) {
      CAPTURE(m);
      CAPTURE(n);
      table a = random_table(m, n, 81);
      for (index_t j = 0; j < n; ++j) {
        for (index_t i = 0; i < m; ++i) {
          a(i, j) *= j % 3 == 0 ? 1e-30 : j % 3 == 1 ? 1e30 : 1;
          a(i, j) = j % 7 == 5 ? 0 : j % 7 == 6 ? a(i, j % 3) : a(i, j);
        }
      }
      const mat<Be> A = matrix(be, a);
      const table rounded = read<Be>(be, A);
      const auto f = be.qr(A);
      const table q = read<Be>(be, f.Q);
      const table r = read<Be>(be, f.R);
      CHECK(orthonormality_gap(q) < rounding<Be>(m));
      const table product = q * r;
      for (index_t j = 0; j < n; ++j) {
        const table column = columns(rounded, j, 1);
        CHECK(gap(columns(product, j, 1), column) <=
              rounding<Be>(m) * std::sqrt(square_norm(column)));
        for (index_t i = j + 1; i < r.rows; ++i) {
          CHECK(r(i, j) == 0);
        }
      }
    }
  }
}

TEST_CASE_TEMPLATE("factorizations: Cholesky and triangular systems around the size of a block", Be,
                   PREHEAT_ALL_BACKENDS) {
  Be be;
  for (const index_t n : sizes_around_blocks) {
    CAPTURE(n);
    const table root = random_table(n, n, 83);
    const table g = transposed(root) * root + identity(n);
    block_in_frame<Be> R(be, g);
    const table rounded = R.read_block(be);
    REQUIRE(be.cholesky(R.block()));
    const table r = R.read_block(be);
    CHECK(R.intact(be));
    CHECK(gap(transposed(r) * r, rounded) <= rounding<Be>(n) * largest(g));
    for (index_t j = 0; j < n; ++j) {
      CHECK(r(j, j) > 0);
      for (index_t i = j + 1; i < n; ++i) {
        CHECK(r(i, j) == 0);
      }
    }
    for (const index_t columns_of_x : {0, 1, 5, 40}) {
      const table x = random_table(n, columns_of_x, 85);
      for (const transpose t : {transpose::no, transpose::yes}) {
        const table factor = t == transpose::no ? r : transposed(r);
        block_in_frame<Be> X(be, factor * x);
        be.solve_upper(t, R.block(), X.block());
        CHECK(gap(factor * X.read_block(be), factor * x) <=
              rounding<Be>(n) * (1 + largest(factor * x)) * double(n));
        CHECK(X.intact(be));
      }
    }

    table indefinite = rounded;
    indefinite(n - 1, n - 1) = -1;
    CHECK_FALSE(be.cholesky(matrix(be, indefinite)));
  }
}

TEST_CASE_TEMPLATE(
    "factorizations: the Eigen flavour finds exact eigenvalues and the same bits again", Be,
    eigen_float, eigen_double) {
  Be be;
  table lambda(40, 1);
  for (index_t i = 0; i < 40; ++i) {
    lambda(i, 0) = double((7 * i) % 40 - 11) * std::ldexp(1.0, int(i % 5));
  }
  const auto e = be.eigh(matrix(be, diagonal(lambda.values)));
  std::sort(lambda.values.begin(), lambda.values.end());
  CHECK(same(read<Be>(be, e.values), lambda));

  const mat<Be> A = matrix(be, random_table(50, 37, 87));
  const auto first = be.svd(A);
  const auto second = be.svd(A);
  CHECK(same(read<Be>(be, first.U), read<Be>(be, second.U)));
  CHECK(same(read<Be>(be, first.S), read<Be>(be, second.S)));
  CHECK(same(read<Be>(be, first.V), read<Be>(be, second.V)));
}

TEST_CASE_TEMPLATE("factorizations: the Eigen flavour refuses what is not finite", Be, eigen_float,
                   eigen_double) {
  Be be;
  for (const double value : {not_a_number, infinity, -infinity}) {
    table a = random_table(6, 6, 89);
    a = a + transposed(a);
    a(3, 2) = a(2, 3) = value;
    CHECK_THROWS_AS(be.eigh(matrix(be, a)), library_error);
    CHECK_THROWS_AS(be.svd(matrix(be, a)), library_error);
    CHECK_THROWS_AS(be.svd(matrix(be, table(1, 1, value))), library_error);
    CHECK_THROWS_AS(be.eigh(matrix(be, table(1, 1, value))), library_error);
    if (std::isnan(value)) {
      mat<Be> G = matrix(be, identity(40) + table(40, 40, value));
      CHECK_FALSE(be.cholesky(G));
    }
  }
}

#if defined(PREHEAT_SYSTEM_BLAS)
TEST_CASE("factorizations: the Eigen flavour agrees with the BLAS") {
  const auto check = [](auto blas, auto eigen) {
    using Blas = decltype(blas);
    using Own = decltype(eigen);
    for (const index_t n : {7, 40, 96}) {
      const table a = random_table(n + 5, n, 91);
      const double bound = rounding<Own>(n) * std::sqrt(square_norm(a));
      CHECK(gap(read<Blas>(blas, blas.svd(matrix(blas, a)).S),
                read<Own>(eigen, eigen.svd(matrix(eigen, a)).S)) <= bound);
      const auto f = blas.qr(matrix(blas, a));
      const auto g = eigen.qr(matrix(eigen, a));
      const table r = read<Blas>(blas, f.R);
      const table s = read<Own>(eigen, g.R);
      for (index_t j = 0; j < n; ++j) {
        const double sign = r(j, j) * s(j, j) < 0 ? -1 : 1;
        for (index_t i = 0; i < n; ++i) {
          CHECK(std::abs(r(j, i) - sign * s(j, i)) <= bound);
        }
      }
      const table symmetric = transposed(a) * a;
      const double size = std::sqrt(square_norm(symmetric));
      CHECK(gap(read<Blas>(blas, blas.eigh(matrix(blas, symmetric)).values),
                read<Own>(eigen, eigen.eigh(matrix(eigen, symmetric)).values)) <=
            rounding<Own>(n) * size);
    }
  };
  check(cpu_float(), eigen_float());
  check(cpu_double(), eigen_double());
}
#endif
