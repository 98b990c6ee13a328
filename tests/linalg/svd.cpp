// The truncated SVD of a dense matrix: Eckart and Young's law, exact, randomized and by a Krylov
// space.
#include <preheat/linalg/krylov_svd.hpp>
#include <preheat/linalg/truncated_svd.hpp>

#include "support/backends.hpp"
#include "support/spectrum.hpp"

using namespace conformance;
using namespace preheat;

namespace {

struct size_pair {
  index_t rows, cols;
};
constexpr size_pair orientations[] = {{20, 12}, {12, 20}, {13, 13}};

template <class Be>
struct triplets {
  table u, s, v;
  triplets(Be& be, const svd_result<mat<Be>>& d)
      : u(read<Be>(be, d.U)), s(read<Be>(be, d.S)), v(read<Be>(be, d.V)) {}
  table product() const { return u * diagonal(s.values) * transposed(v); }
};

template <class Be>
void check_triplets(const triplets<Be>& d, size_pair size, index_t r) {
  CHECK(d.u.rows == size.rows);
  CHECK(d.u.cols == r);
  CHECK(d.s.rows == r);
  CHECK(d.s.cols == 1);
  CHECK(d.v.rows == size.cols);
  CHECK(d.v.cols == r);
  CHECK(orthonormality_gap(d.u) < tolerance<Be>(20));
  CHECK(orthonormality_gap(d.v) < tolerance<Be>(20));
  CHECK(std::is_sorted(d.s.values.rbegin(), d.s.values.rend()));
  // The convention of signs: the largest entry of every right vector is positive.
  for (index_t j = 0; j < r; ++j) {
    const table column = columns(d.v, j, 1);
    CHECK(*std::max_element(column.values.begin(), column.values.end()) == largest(column));
  }
}

}  // namespace

// ‖W − W_r‖² = Σ_{i>r} σ_i², and no matrix of rank r is nearer.
TEST_CASE_TEMPLATE("truncated_svd: the error is the tail of the spectrum", Be, PREHEAT_BACKENDS) {
  Be be;
  for (const auto& size : orientations) {
    const std::vector<double> sigma = geometric(12, 0.7);
    const table w = with_spectrum(size.rows, size.cols, sigma, 30);
    for (const index_t r : {1, 4, 12}) {
      const triplets<Be> d(be, linalg::truncated_svd<Be>(be, matrix(be, w), r));
      check_triplets(d, size, r);
      for (index_t i = 0; i < r; ++i) {
        CHECK(std::abs(d.s(i, 0) - sigma[i]) < tolerance<Be>(1));
      }
      CHECK(std::abs(square_norm(w - d.product()) - tail(sigma, r)) < tolerance<Be>(4));
    }
  }
}

TEST_CASE_TEMPLATE("truncated_svd: zeros and repeated singular values are no exception", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const triplets<Be> zero(be, linalg::truncated_svd<Be>(be, be.zeros(6, 4), 2));
  check_triplets(zero, {6, 4}, 2);
  CHECK(largest(zero.s) == 0);
  const triplets<Be> one(be, linalg::truncated_svd<Be>(be, matrix(be, table(1, 1, -3)), 1));
  CHECK(one.v(0, 0) == doctest::Approx(1).epsilon(tolerance<Be>(1)));
  CHECK(one.u(0, 0) == doctest::Approx(-1).epsilon(tolerance<Be>(1)));
  CHECK(one.s(0, 0) == doctest::Approx(3).epsilon(tolerance<Be>(1)));
  const triplets<Be> equal(be, linalg::truncated_svd<Be>(be, matrix(be, identity(5)), 3));
  CHECK(gap(equal.s, table(3, 1, 1)) < tolerance<Be>(1));
}

TEST_CASE_TEMPLATE("randomized_svd: within a tenth of the best error on a decaying spectrum", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const std::vector<double> sigma = geometric(30, 0.8);
  for (const size_pair size : {size_pair{40, 30}, {30, 40}}) {
    const mat<Be> W = matrix(be, with_spectrum(size.rows, size.cols, sigma, 31));
    const table w = read<Be>(be, W);
    for (const std::uint64_t seed : {1U, 2U, 3U}) {
      const triplets<Be> d(be, linalg::randomized_svd<Be>(be, W, 4, {}, generator(seed)));
      check_triplets(d, size, 4);
      CHECK(square_norm(w - d.product()) < 1.1 * tail(sigma, 4));
      CHECK(square_norm(w - d.product()) > (1 - tolerance<Be>(40)) * tail(sigma, 4));
    }
    // Every power iteration helps: without them and without oversampling the error is larger.
    const triplets<Be> plain(
        be, linalg::randomized_svd<Be>(be, W, 4, {.oversampling = 0, .power_iterations = 0},
                                       generator(1)));
    const triplets<Be> powered(
        be, linalg::randomized_svd<Be>(be, W, 4, {.oversampling = 0, .power_iterations = 2},
                                       generator(1)));
    const triplets<Be> both(be, linalg::randomized_svd<Be>(be, W, 4, {}, generator(1)));
    CHECK(square_norm(w - powered.product()) < square_norm(w - plain.product()));
    CHECK(square_norm(w - both.product()) < square_norm(w - powered.product()));
  }
}

TEST_CASE_TEMPLATE("randomized_svd: exact when the rank is no more than the sketch", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const std::vector<double> sigma{3, 2, 1};
  for (const auto& size : orientations) {
    const table w = with_spectrum(size.rows, size.cols, sigma, 32);
    const triplets<Be> d(
        be, linalg::randomized_svd<Be>(be, matrix(be, w), 3,
                                       {.oversampling = 1, .power_iterations = 0}, generator(4)));
    check_triplets(d, size, 3);
    CHECK(gap(d.product(), w) < tolerance<Be>(20));
    for (index_t i = 0; i < 3; ++i) {
      CHECK(std::abs(d.s(i, 0) - sigma[i]) < tolerance<Be>(20));
    }
  }
  // The sketch is never wider than the matrix.
  const table w = with_spectrum(6, 4, {4, 3, 2, 1}, 33);
  const triplets<Be> all(be, linalg::randomized_svd<Be>(be, matrix(be, w), 4, {}, generator(5)));
  CHECK(gap(all.product(), w) < tolerance<Be>(20));
}

TEST_CASE_TEMPLATE("randomized_svd: a given test matrix and the seed decide the result", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const mat<Be> W = matrix(be, random_table(15, 11, 34));
  const linalg::randomized_options options{.oversampling = 2, .power_iterations = 1};
  const triplets<Be> a(be, linalg::randomized_svd<Be>(be, W, 3, options, generator(6)));
  const triplets<Be> b(be, linalg::randomized_svd<Be>(be, W, 3, options, generator(6)));
  const triplets<Be> c(be, linalg::randomized_svd<Be>(be, W, 3, options, generator(7)));
  CHECK(same(a.product(), b.product()));
  CHECK_FALSE(same(a.product(), c.product()));
  const mat<Be> omega = linalg::normal(be, 11, 5, 1, generator(6).fork(purpose::sketch));
  const triplets<Be> given(be, linalg::randomized_svd<Be>(be, W, 3, omega, 1));
  CHECK(same(a.product(), given.product()));
}

// ------------------------------------------------------------------------------------ block Krylov

TEST_CASE_TEMPLATE("krylov_svd: exact once the space is the whole, whatever the spectrum", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  for (const auto& size : orientations) {
    const std::vector<double> sigma = geometric(12, 0.7);
    const table w = with_spectrum(size.rows, size.cols, sigma, 37);
    for (const linalg::krylov_options options :
         {linalg::krylov_options{}, {.block = 3, .depth = 3}, {.block = 5, .depth = 2}}) {
      const triplets<Be> d(be, linalg::krylov_svd<Be>(be, matrix(be, w), 3, options, generator(1)));
      check_triplets(d, size, 3);
      for (index_t i = 0; i < 3; ++i) {
        const double error = std::abs(d.s(i, 0) - sigma[i]);
        CHECK(error < (options.depth == 6 ? tolerance<Be>(1) : 1e-3));
      }
    }
  }
}

// With the same number of products with W, the whole space holds more than its last block.
TEST_CASE_TEMPLATE("krylov_svd: nearer than power iteration at the same cost", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const table w = random_table(90, 70, 38);
  const mat<Be> W = matrix(be, w);
  for (const index_t depth : {1, 2, 3}) {
    const triplets<Be> krylov(
        be, linalg::krylov_svd<Be>(be, W, 4, {.block = 4, .depth = depth}, generator(2)));
    const triplets<Be> power(
        be, linalg::randomized_svd<Be>(be, W, 4, {.oversampling = 0, .power_iterations = depth},
                                       generator(2)));
    CHECK(square_norm(w - krylov.product()) < square_norm(w - power.product()));
  }
}

// A space that W cannot fill grows by random directions: rank 2 of 12, and nothing at all.
TEST_CASE_TEMPLATE("krylov_svd: a matrix of low rank, zero, or a single number", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  for (const auto& size : orientations) {
    const table w = with_spectrum(size.rows, size.cols, {2, 1}, 39);
    const triplets<Be> d(
        be, linalg::krylov_svd<Be>(be, matrix(be, w), 4, {.block = 4, .depth = 2}, generator(3)));
    check_triplets(d, size, 4);
    CHECK(gap(d.product(), w) < tolerance<Be>(20));
  }
  const triplets<Be> zero(be, linalg::krylov_svd<Be>(be, be.zeros(6, 4), 2, {}, generator(4)));
  check_triplets(zero, {6, 4}, 2);
  CHECK(largest(zero.s) == 0);
  const triplets<Be> one(
      be, linalg::krylov_svd<Be>(be, matrix(be, table(1, 1, -3)), 1, {}, generator(5)));
  CHECK(one.s(0, 0) == doctest::Approx(3).epsilon(tolerance<Be>(1)));
  CHECK(one.u(0, 0) * one.v(0, 0) == doctest::Approx(-1).epsilon(tolerance<Be>(1)));
}

TEST_CASE("krylov_svd: scales whose squares leave the range of a float") {
  cpu_float be;
  const table w = with_spectrum(20, 12, geometric(12, 0.7), 40);
  const triplets<cpu_float> plain(
      be, linalg::krylov_svd<cpu_float>(be, matrix(be, w), 3, {}, generator(6)));
  for (const double scale : {1e-36, 1e-20, 1e20, 2e37}) {
    const triplets<cpu_float> d(
        be, linalg::krylov_svd<cpu_float>(be, matrix(be, scale * w), 3, {}, generator(6)));
    check_triplets(d, {20, 12}, 3);
    CHECK(gap(d.u, plain.u) < tolerance<cpu_float>(20));
    CHECK(std::abs(d.s(2, 0) / scale - plain.s(2, 0)) < tolerance<cpu_float>(1));
  }
}

// 2·(depth + 1) products with W, none that forms WᵀW.
TEST_CASE("krylov_svd: the cost is that of the depth asked for") {
  archetype_double be;
  const mat<archetype_double> W = matrix(be, random_table(40, 30, 41));
  for (const index_t depth : {0, 1, 3}) {
    be.forget();
    linalg::krylov_svd<archetype_double>(be, W, 3, {.block = 4, .depth = depth}, generator(7));
    CHECK(be.calls["qr"] == 2 + depth);  // the first block, one per step, one for V
    CHECK(be.calls["svd"] == 0);
    CHECK_FALSE(be.made(30, 30));
    CHECK_FALSE(be.made(40, 30));
  }
}

// One QR for the sketch, two for every power iteration, one for the small core.
TEST_CASE("randomized_svd: the cost is that of the power iterations asked for") {
  archetype_double be;
  const mat<archetype_double> W = matrix(be, random_table(15, 11, 35));
  const mat<archetype_double> omega = matrix(be, random_table(11, 4, 36));
  for (const index_t iterations : {0, 1, 3}) {
    be.forget();
    linalg::randomized_svd<archetype_double>(be, W, 3, omega, iterations);
    CHECK(be.calls["qr"] == 2 + 2 * iterations);
    CHECK(be.calls["svd"] == 1);
    CHECK_FALSE(be.made(15, 11));
  }
}
