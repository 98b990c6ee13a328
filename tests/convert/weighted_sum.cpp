// Sums of adapters in factors: cat is the sum, linear is the sum of the factors, svd the best there is
// of its rank; and the norm and spectrum of a product that is never formed.
#include <preheat/convert/weighted_sum.hpp>
#include <preheat/linalg/factored_product.hpp>

#include "support/backends.hpp"
#include "support/spectrum.hpp"
#include "support/table.hpp"

using namespace conformance;
using namespace preheat;

namespace {

template <class Be>
plain_lora<Be> random_adapter(Be& be, index_t rank, std::uint64_t seed, double scaling) {
  return {
      .f = {matrix(be, random_table(rank, 9, seed)), matrix(be, random_table(7, rank, seed + 1))},
      .scaling = scaling,
      .rank = rank};
}
template <class Be>
table delta(Be& be, const plain_lora<Be>& x) {
  return x.scaling * (read<Be>(be, x.f.B) * read<Be>(be, x.f.A));
}
template <class Be>
std::vector<plain_lora<Be>> two_adapters(Be& be, index_t second_rank) {
  std::vector<plain_lora<Be>> both;
  both.push_back(random_adapter(be, 2, 1, 0.5));
  both.push_back(random_adapter(be, second_rank, 3, 3));
  both.front().layer = "query";
  return both;
}

}  // namespace

TEST_CASE_TEMPLATE("weighted_sum: cat is the sum, svd the best approximation of it", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const auto both = two_adapters(be, 3);
  const std::vector<double> weights = {0.7, -0.2};
  const table sum = 0.7 * delta(be, both[0]) + -0.2 * delta(be, both[1]);
  const auto cat = weighted_sum(be, both, weights, combination::cat);
  CHECK(cat.rank == 5);
  CHECK(cat.scaling == 1);
  CHECK(cat.error == 0);
  CHECK(cat.layer == "query");
  CHECK(gap(delta(be, cat), sum) < tolerance<Be>(5) * largest(sum));
  // The weights are on A.
  CHECK(same(columns(read<Be>(be, cat.f.B), 2, 3), read<Be>(be, both[1].f.B)));

  eigen_double exact;
  const table sigma = read<eigen_double>(exact, exact.svd(matrix(exact, sum)).S);
  double whole = 0;
  for (const double s : sigma.values) {
    whole += s * s;
  }
  for (index_t r = 1; r <= 5; ++r) {
    CAPTURE(r);
    const auto best = weighted_sum(be, both, weights, combination::svd, r);
    CHECK(best.rank == r);
    CHECK(best.scaling == 1);
    double lost = 0;
    for (index_t i = r; i < sigma.rows; ++i) {
      lost += sigma(i, 0) * sigma(i, 0);
    }
    CHECK(std::abs(best.error - std::sqrt(lost / whole)) < tolerance<Be>(16));
    CHECK(std::abs(std::sqrt(square_norm(delta(be, best) - sum)) - std::sqrt(lost)) <
          tolerance<Be>(16) * sigma(0, 0));
    const table A = read<Be>(be, best.f.A);  // Vᵀ
    CHECK(gap(A * transposed(A), identity(r)) < tolerance<Be>(9));
  }
}

TEST_CASE_TEMPLATE("weighted_sum: linear adds the factors under square roots of the weights", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const auto both = two_adapters(be, 2);
  const auto sum = weighted_sum(be, both, {2, -3}, combination::linear);
  CHECK(sum.rank == 2);
  const double third = std::sqrt(9.0);  // of 3·3, and the other weight is 2·0.5 = 1
  const table A = read<Be>(be, both[0].f.A) + -third * read<Be>(be, both[1].f.A);
  const table B = read<Be>(be, both[0].f.B) + third * read<Be>(be, both[1].f.B);
  CHECK(gap(read<Be>(be, sum.f.A), A) < tolerance<Be>(2));
  CHECK(gap(read<Be>(be, sum.f.B), B) < tolerance<Be>(2));
}

TEST_CASE("weighted_sum: errors") {
  cpu_double be;
  const auto both = two_adapters(be, 3);
  using enum combination;
  CHECK_THROWS_AS(weighted_sum(be, both, {1}, cat), invalid_argument);
  CHECK_THROWS_AS(weighted_sum(be, std::vector<plain_lora<cpu_double>>{}, {}, cat),
                  invalid_argument);
  CHECK_THROWS_AS(weighted_sum(be, both, {1, 1}, linear), invalid_argument);  // ranks 2 and 3
  CHECK_THROWS_AS(weighted_sum(be, both, {1, 1}, cat, 2), invalid_argument);
  CHECK_THROWS_AS(weighted_sum(be, both, {1, 1}, svd), invalid_argument);
  CHECK_THROWS_AS(weighted_sum(be, both, {1, 1}, svd, 6), invalid_argument);
  CHECK_THROWS_AS(weighted_sum(be, both, {1, std::nan("")}, cat), invalid_argument);
}

TEST_CASE_TEMPLATE("product norm and spectrum: of the product, also where its terms cancel", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  eigen_double exact;
  const auto check = [&](const table& b, const table& a, double tol) {
    const table product = b * a;
    const mat<Be> B = matrix(be, b);
    const mat<Be> A = matrix(be, a);
    const double expected = std::sqrt(square_norm(product));
    const double size = std::sqrt(square_norm(b) * square_norm(a));
    CHECK(std::abs(std::sqrt(linalg::squared_product_norm<Be>(be, B, A)) - expected) <= tol * size);
    const std::vector<double> sigma = linalg::product_spectrum<Be>(be, B, A);
    const table dense = read<eigen_double>(exact, exact.svd(matrix(exact, product)).S);
    REQUIRE(sigma.size() == std::size_t(std::min({a.rows, a.cols, b.rows})));
    for (std::size_t i = 0; i < sigma.size(); ++i) {
      CHECK(std::abs(sigma[i] - dense(index_t(i), 0)) <= tol * size);
    }
  };
  check(random_table(7, 3, 1), random_table(3, 9, 2), tolerance<Be>(9));
  check(random_table(2, 4, 3), random_table(4, 9, 4), tolerance<Be>(9));
  check(table(7, 3), random_table(3, 9, 5), 0);
  check(1e-9 * random_table(7, 3, 1), 1e-9 * random_table(3, 9, 2), tolerance<Be>(9));
  check(1e9 * random_table(7, 3, 1), 1e9 * random_table(3, 9, 2), tolerance<Be>(9));
  // [B, −B]·[A; A + 1e-4·D]
  const table b = random_table(7, 2, 6);
  const table a = random_table(2, 9, 7);
  const table moved = a + 1e-4 * random_table(2, 9, 8);
  table both_b(7, 4);
  table both_a(4, 9);
  for (index_t k = 0; k < 2; ++k) {
    for (index_t i = 0; i < 7; ++i) {
      both_b(i, k) = b(i, k);
      both_b(i, k + 2) = -b(i, k);
    }
    for (index_t j = 0; j < 9; ++j) {
      both_a(k, j) = a(k, j);
      both_a(k + 2, j) = moved(k, j);
    }
  }
  check(both_b, both_a, tolerance<Be>(9));
}

TEST_CASE("subspace overlap: 1 for the same subspace, 0 for orthogonal ones") {
  cpu_double be;
  const mat<cpu_double> unit = linalg::identity(be, 5);
  const const_view_of<cpu_double> first = view(unit).col_range(0, 2);
  const const_view_of<cpu_double> other = view(unit).col_range(1, 2);
  CHECK(linalg::subspace_overlap<cpu_double>(be, first, first, 2) == 1);
  CHECK(linalg::subspace_overlap<cpu_double>(be, first, other, 2) == 0.5);
  CHECK(linalg::subspace_overlap<cpu_double>(be, first, view(unit).col_range(2, 2), 2) == 0);
  CHECK_THROWS_AS(linalg::subspace_overlap<cpu_double>(be, first, first, 0), invalid_argument);
}
