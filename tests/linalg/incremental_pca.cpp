// Incremental PCA against the scatter matrix of all tokens, which plain loops make: exact at full
// rank whatever the batches, the best part of what it keeps below; signs, ratios, agreement, and
// inputs with little or nothing to find.
#include <preheat/linalg/incremental_pca.hpp>

#include "support/backends.hpp"
#include "support/spectrum.hpp"

using namespace conformance;
using namespace preheat;
using preheat::linalg::incremental_pca;

namespace {

table mean_of(const table& X) {
  table mean(X.rows, 1);
  for (index_t j = 0; j < X.cols; ++j) {
    mean = mean + (1.0 / double(X.cols)) * columns(X, j, 1);
  }
  return mean;
}
// Σ_j (x_j − mean)·(x_j − mean)ᵀ
table scatter_of(const table& X) {
  const table mean = mean_of(X);
  table scatter(X.rows, X.rows);
  for (index_t j = 0; j < X.cols; ++j) {
    const table x = columns(X, j, 1) - mean;
    scatter = scatter + x * transposed(x);
  }
  return scatter;
}
double trace(const table& a) {
  return dot(a, identity(a.rows));
}

// The columns of X, in batches of these sizes.
template <class Be>
void add(Be& be, incremental_pca<Be>& pca, const table& X, const std::vector<index_t>& sizes) {
  index_t first = 0;
  for (const index_t size : sizes) {
    pca.add(be, matrix(be, columns(X, first, size)));
    first += size;
  }
  REQUIRE(first == X.cols);
}

// V·diag(σ²)·Vᵀ
template <class Be>
table explained(Be& be, const incremental_pca<Be>& pca) {
  const table V = read<Be>(be, pca.components());
  std::vector<double> squares;
  for (const auto s : pca.singular_values()) {
    squares.push_back(double(s) * double(s));
  }
  return V * diagonal(squares) * transposed(V);
}

// What holds for every result: orthonormal columns, decreasing values, signs.
template <class Be>
void check_form(Be& be, const incremental_pca<Be>& pca) {
  const table V = read<Be>(be, pca.components());
  REQUIRE(V.cols == pca.found());
  REQUIRE(index_t(pca.singular_values().size()) == V.cols);
  CHECK(orthonormality_gap(V) < tolerance<Be>(V.rows));
  for (index_t j = 0; j < V.cols; ++j) {
    CHECK((j == 0 || pca.singular_values()[j] <= pca.singular_values()[j - 1]));
    double most = 0;
    for (index_t i = 0; i < V.rows; ++i) {
      most = std::abs(V(i, j)) > std::abs(most) ? V(i, j) : most;
    }
    CHECK(most > 0);
  }
}

}  // namespace

TEST_CASE_TEMPLATE("incremental pca: at full rank it is the SVD of all centred tokens", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const index_t n = 6;
  table X = random_table(n, 40, 700);
  for (index_t j = 0; j < X.cols; ++j) {
    for (index_t i = 0; i < n; ++i) {
      X(i, j) = X(i, j) * double(i + 1) + 3 * double(i);  // a mean, and a spectrum
    }
  }
  const table scatter = scatter_of(X);
  for (const std::vector<index_t>& sizes :
       {std::vector<index_t>{40}, {20, 20}, {7, 13, 1, 19}, std::vector<index_t>(40, 1), {1, 39}}) {
    incremental_pca<Be> pca(n);
    add(be, pca, X, sizes);
    check_form(be, pca);
    CHECK(pca.tokens() == 40);
    CHECK(pca.found() == n);
    CHECK(gap(read<Be>(be, pca.mean()), mean_of(X)) < tolerance<Be>(20));
    CHECK(gap(explained(be, pca), scatter) < tolerance<Be>(40) * largest(scatter) / 40);
    CHECK(pca.total() == doctest::Approx(trace(scatter)).epsilon(tolerance<Be>(6)));
    double sum = 0;
    for (const double ratio : pca.explained_ratios()) {
      sum += ratio;
    }
    CHECK(sum == doctest::Approx(1).epsilon(tolerance<Be>(6)));
  }
}

TEST_CASE_TEMPLATE("incremental pca: components of one batch are its main ones", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  // Centred tokens of known singular values, on either side of a mean.
  const std::vector<double> sigma = geometric(5, 0.6);
  const table half = with_spectrum(8, 9, sigma, 710);
  table X(8, 18);
  for (index_t j = 0; j < 9; ++j) {
    for (index_t i = 0; i < 8; ++i) {
      X(i, 2 * j) = 2 + half(i, j);
      X(i, 2 * j + 1) = 2 - half(i, j);
    }
  }
  incremental_pca<Be> pca(3);
  pca.add(be, matrix(be, X));
  check_form(be, pca);
  REQUIRE(pca.found() == 3);
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(std::abs(double(pca.singular_values()[i]) - std::sqrt(2.0) * sigma[i]) <
          tolerance<Be>(4));
    CHECK(std::abs(pca.explained_ratios()[i] - sigma[i] * sigma[i] / tail(sigma, 0)) <
          tolerance<Be>(4));
  }
  const table V = read<Be>(be, pca.components());
  CHECK(std::abs(dot(V, scatter_of(X) * V) - 2 * (tail(sigma, 0) - tail(sigma, 3))) <
        tolerance<Be>(8));
}

// The law of one step below full rank: the best k-part of what was kept, the batch and the shift of
// the mean.
TEST_CASE_TEMPLATE("incremental pca: a step keeps the main part of what it knows", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const index_t n = 7;
  const table X = random_table(n, 30, 720);
  incremental_pca<Be> pca(3);
  add(be, pca, columns(X, 0, 12), {5, 7});
  for (index_t first = 12; first < 30; first += 6) {
    const table batch = columns(X, first, 6) + 1.5 * table(n, 6, 1);
    const table mean = read<Be>(be, pca.mean());
    const table shift = mean_of(batch) - mean;
    const double weight = double(first) * 6 / double(first + 6);
    const table known =
        explained(be, pca) + scatter_of(batch) + weight * (shift * transposed(shift));
    const double total = pca.total();
    const table old = read<Be>(be, pca.components());
    pca.add(be, matrix(be, batch));
    check_form(be, pca);
    REQUIRE(pca.found() == 3);

    const table V = read<Be>(be, pca.components());
    CHECK(gap(known * V, explained(be, pca) * V) < tolerance<Be>(60));  // eigenvectors of `known`
    const table values = read<Be>(be, be.eigh(matrix(be, known)).values);
    for (index_t i = 0; i < 3; ++i) {  // the largest ones
      const double s = double(pca.singular_values()[i]);
      CHECK(std::abs(s * s - values(n - 1 - i, 0)) < tolerance<Be>(60));
      CHECK(pca.agreement()[i] ==
            doctest::Approx(std::abs(dot(columns(old, i, 1), columns(V, i, 1))))
                .epsilon(tolerance<Be>(4)));
    }
    const double gained = trace(scatter_of(batch)) + weight * square_norm(shift);
    CHECK(pca.total() - total == doctest::Approx(gained).epsilon(tolerance<Be>(4)));
    CHECK(gap(read<Be>(be, pca.mean()), mean + (6.0 / double(first + 6)) * shift) <
          tolerance<Be>(1));
  }
}

// As when PEFT repeats a batch until nothing changes.
TEST_CASE_TEMPLATE("incremental pca: the same batch again turns nothing", Be, PREHEAT_BACKENDS) {
  Be be;
  const mat<Be> X = matrix(be, with_spectrum(9, 20, geometric(6, 0.5), 730));
  incremental_pca<Be> once(4);
  once.add(be, X);
  CHECK(once.agreement() == std::vector<double>(4, 0));
  incremental_pca<Be> twice(4);
  twice.add(be, X);
  twice.add(be, X);
  CHECK(gap(read<Be>(be, twice.components()), read<Be>(be, once.components())) < tolerance<Be>(40));
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(twice.agreement()[i] == doctest::Approx(1).epsilon(tolerance<Be>(4)));
    CHECK(double(twice.singular_values()[i]) ==
          doctest::Approx(std::sqrt(2.0) * double(once.singular_values()[i]))
              .epsilon(tolerance<Be>(4)));
    CHECK(twice.explained_ratios()[i] ==
          doctest::Approx(once.explained_ratios()[i]).epsilon(tolerance<Be>(4)));
  }
}

TEST_CASE_TEMPLATE("incremental pca: few tokens have few components", Be, PREHEAT_BACKENDS) {
  Be be;
  const table X = random_table(9, 6, 740);
  incremental_pca<Be> pca(4);
  CHECK(pca.found() == 0);
  CHECK(pca.tokens() == 0);
  const index_t expected[] = {0, 1, 2, 3, 4, 4};  // t tokens, less their mean, span t − 1
  for (index_t j = 0; j < 6; ++j) {
    pca.add(be, matrix(be, columns(X, j, 1)));
    CHECK(pca.found() == expected[j]);
    check_form(be, pca);
    pca.add(be, be.zeros(9, 0));  // an empty batch is none
    CHECK(pca.tokens() == j + 1);
    CHECK(pca.found() == expected[j]);
    if (j < 5) {
      const table scatter = scatter_of(columns(X, 0, j + 1));
      CHECK(gap(explained(be, pca), scatter) < tolerance<Be>(9));
    }
  }
}

TEST_CASE_TEMPLATE("incremental pca: constant tokens have no components", Be, PREHEAT_BACKENDS) {
  Be be;
  const index_t n = 5;
  const double third = double(scalar_of<Be>(1) / scalar_of<Be>(3));
  for (const double value : {0.0, third, -1e4 * third}) {
    incremental_pca<Be> pca(3);
    for (const index_t count : {1, 77, 300}) {
      table X(n, count, value);
      pca.add(be, matrix(be, X));
      CHECK(pca.found() == 0);
      CHECK(pca.explained_ratios().empty());
      CHECK(pca.agreement().empty());
      CHECK(gap(read<Be>(be, pca.mean()), table(n, 1, value)) <=
            tolerance<Be>(1) * std::abs(value));
    }
    // One token that is elsewhere is one component.
    table other(n, 1, value);
    other(2, 0) += 1 + std::abs(value);
    pca.add(be, matrix(be, other));
    REQUIRE(pca.found() == 1);
    table axis(n, 1);
    axis(2, 0) = 1;
    CHECK(gap(read<Be>(be, pca.components()), axis) < tolerance<Be>(20));
    CHECK(pca.explained_ratios()[0] == doctest::Approx(1).epsilon(tolerance<Be>(20)));
  }
}

TEST_CASE("incremental pca: misuse is refused in words") {
  using Be = cpu_double;
  Be be;
  CHECK_THROWS_WITH_AS(incremental_pca<Be>(0), "preheat: incremental_pca: components >= 1 (0, 1)",
                       invalid_argument);
  incremental_pca<Be> pca(2);
  pca.add(be, matrix(be, random_table(4, 5, 750)));
  CHECK_THROWS_WITH_AS(
      pca.add(be, matrix(be, random_table(3, 5, 751))),
      "preheat: incremental_pca: features of a batch = features of the first (3, 4)",
      invalid_argument);
  table bad = random_table(4, 5, 752);
  bad(1, 1) = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_WITH_AS(pca.add(be, matrix(be, bad)),
                       "preheat: incremental_pca: a batch has a NaN or infinite entry",
                       invalid_argument);
}
