// Where the factors start: distributions and norms, PiSSA's laws.
#include <preheat/init/gaussian.hpp>
#include <preheat/init/kaiming.hpp>
#include <preheat/init/orthogonal.hpp>
#include <preheat/init/pissa.hpp>

#include "support/backends.hpp"
#include "support/spectrum.hpp"

using namespace conformance;
using namespace preheat;

namespace {

template <class Be>
target_layer<Be> target_layer_of(const mat<Be>& W, index_t rank,
                                 singular_side side = singular_side::automatic,
                                 std::uint64_t seed = 1) {
  return {.W = W, .rank = rank, .scaling = scalar_of<Be>(2), .side = side, .gen = generator(seed)};
}

// The squared norms of the rows.
std::vector<double> row_squares(const table& a) {
  const table squares = a * transposed(a);
  std::vector<double> norms;
  for (index_t i = 0; i < a.rows; ++i) {
    norms.push_back(squares(i, i));
  }
  return norms;
}
double mean(const std::vector<double>& v) {
  double sum = 0;
  for (const double x : v) {
    sum += x / double(v.size());
  }
  return sum;
}

// Directions on the asked side, zeros on the other; all norms equal to row_norm when that is given.
template <class Be, class Init>
void check_sides(const Init& plain, Init scaled) {
  Be be;
  const mat<Be> W = matrix(be, random_table(8, 11, 120));
  const factors<Be> right = plain(be, target_layer_of<Be>(W, 3));
  CHECK(right.A.rows() == 3);
  CHECK(right.A.cols() == 11);
  CHECK(largest(read<Be>(be, right.A)) > 0);
  CHECK(same(read<Be>(be, right.B), table(8, 3)));
  const factors<Be> frozen_a = plain(be, target_layer_of<Be>(W, 3, singular_side::right));
  CHECK(same(read<Be>(be, frozen_a.A), read<Be>(be, right.A)));
  const factors<Be> left = plain(be, target_layer_of<Be>(W, 3, singular_side::left));
  CHECK(same(read<Be>(be, left.A), table(3, 11)));
  CHECK(left.B.rows() == 8);
  CHECK(left.B.cols() == 3);
  CHECK(largest(read<Be>(be, left.B)) > 0);
  // Another stream, another draw.
  const factors<Be> other = plain(be, target_layer_of<Be>(W, 3, singular_side::automatic, 2));
  CHECK_FALSE(same(read<Be>(be, other.A), read<Be>(be, right.A)));

  scaled.row_norm = 2.5;
  CHECK(scaled.expected_row_norm(3, 11) == 2.5);
  for (const double square : row_squares(read<Be>(be, scaled(be, target_layer_of<Be>(W, 3)).A))) {
    CHECK(square == doctest::Approx(6.25).epsilon(tolerance<Be>(11)));
  }
  const factors<Be> scaled_left = scaled(be, target_layer_of<Be>(W, 3, singular_side::left));
  for (const double square : row_squares(transposed(read<Be>(be, scaled_left.B)))) {
    CHECK(square == doctest::Approx(6.25).epsilon(tolerance<Be>(11)));
  }
}

}  // namespace

TEST_CASE_TEMPLATE("init: directions go to the side that the adapter can use", Be,
                   PREHEAT_BACKENDS) {
  check_sides<Be>(init::kaiming{}, init::kaiming{});
  check_sides<Be>(init::gaussian{}, init::gaussian{});
  check_sides<Be>(init::orthogonal{}, init::orthogonal{});
}

TEST_CASE_TEMPLATE("init: kaiming and gaussian and orthogonal draw from their laws", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const mat<Be> W = be.zeros(50, 400);
  const table k = read<Be>(be, init::kaiming{}(be, target_layer_of<Be>(W, 50)).A);
  CHECK(largest(k) <= 0.05 * (1 + epsilon<Be>));  // 1/√400
  CHECK(largest(k) > 0.0499);
  CHECK(mean(row_squares(k)) == doctest::Approx(1.0 / 3).epsilon(0.04));
  CHECK(init::kaiming{}.expected_row_norm(50, 400) == doctest::Approx(std::sqrt(1.0 / 3)));

  const table g = read<Be>(be, init::gaussian{}(be, target_layer_of<Be>(W, 50)).A);
  CHECK(square_norm(g) / 20000 == doctest::Approx(1.0 / 2500).epsilon(0.05));  // σ = 1/r
  CHECK(init::gaussian{}.expected_row_norm(50, 400) == doctest::Approx(20.0 / 50));
  const table g3 = read<Be>(be, init::gaussian{.sigma = 3}(be, target_layer_of<Be>(W, 50)).A);
  CHECK(square_norm(g3) / 20000 == doctest::Approx(9).epsilon(0.05));
  CHECK(init::gaussian{.sigma = 3}.expected_row_norm(50, 400) == doctest::Approx(60));

  const table o = read<Be>(be, init::orthogonal{}(be, target_layer_of<Be>(W, 50)).A);
  CHECK(orthonormality_gap(transposed(o)) < tolerance<Be>(400));
  const table left =
      read<Be>(be, init::orthogonal{}(be, target_layer_of<Be>(W, 50, singular_side::left)).B);
  CHECK(orthonormality_gap(left) < tolerance<Be>(50));
}

// A = √(S/s)·Vᵀ, B = U·√(S/s): s·B·A is the best approximation of rank r, and the residual holds
// the tail of the spectrum.
TEST_CASE_TEMPLATE("init: pissa splits off the principal part", Be, PREHEAT_BACKENDS) {
  Be be;
  const double s = 2;
  for (const auto& [m, n] : {std::pair<index_t, index_t>{14, 10}, {10, 14}}) {
    const std::vector<double> sigma = geometric(10, 0.7);
    const table w = with_spectrum(m, n, sigma, 121);
    const mat<Be> W = matrix(be, w);
    for (const index_t r : {1, 4, 10}) {
      const factors<Be> f = init::pissa{}(be, target_layer_of<Be>(W, r));
      const table a = read<Be>(be, f.A);
      const table b = read<Be>(be, f.B);
      const table product = s * b * a;
      const double head = tail(sigma, 0) - tail(sigma, r);
      CHECK(std::abs(square_norm(product) - head) < tolerance<Be>(4));
      CHECK(std::abs(square_norm(w - product) - tail(sigma, r)) < tolerance<Be>(4));
      // The singular values are shared evenly: A·Aᵀ = Bᵀ·B = S/s.
      std::vector<double> even(sigma.begin(), sigma.begin() + r);
      for (double& x : even) {
        x /= s;
      }
      CHECK(gap(a * transposed(a), diagonal(even)) < tolerance<Be>(4));
      CHECK(gap(transposed(b) * b, diagonal(even)) < tolerance<Be>(4));
    }
    // The spectrum of the residual is the tail.
    const factors<Be> f = init::pissa{}(be, target_layer_of<Be>(W, 4));
    const table residual = w - s * read<Be>(be, f.B) * read<Be>(be, f.A);
    const table rest = read<Be>(be, be.svd(matrix(be, residual)).S);
    for (std::size_t i = 0; i < 6; ++i) {
      CHECK(std::abs(rest.values[i] - sigma[i + 4]) < tolerance<Be>(1));
    }
  }
}

TEST_CASE_TEMPLATE("init: randomized pissa is nearly pissa and exact from a full sketch", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const std::vector<double> sigma = geometric(20, 0.7);
  const mat<Be> W = matrix(be, with_spectrum(30, 20, sigma, 122));
  const table w = read<Be>(be, W);
  const factors<Be> f = init::pissa_randomized{}(be, target_layer_of<Be>(W, 4));
  const table rest = w - 2.0 * read<Be>(be, f.B) * read<Be>(be, f.A);
  CHECK(square_norm(rest) < 1.1 * tail(sigma, 4));
  const factors<Be> krylov = init::pissa_krylov{}(be, target_layer_of<Be>(W, 4));
  const table nearest = w - 2.0 * read<Be>(be, krylov.B) * read<Be>(be, krylov.A);
  CHECK(std::abs(square_norm(nearest) - tail(sigma, 4)) < tolerance<Be>(4));
  const mat<Be> omega = matrix(be, identity(20));
  const factors<Be> full = init::pissa_randomized{}(be, target_layer_of<Be>(W, 4), omega);
  const table exact = w - 2.0 * read<Be>(be, full.B) * read<Be>(be, full.A);
  CHECK(std::abs(square_norm(exact) - tail(sigma, 4)) < tolerance<Be>(4));
}
