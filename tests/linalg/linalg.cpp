// Random and orthonormal matrices: distributions, orthonormality, completion, signs, norms.
#include <preheat/linalg/orthogonal.hpp>

#include "support/backends.hpp"
#include "support/table.hpp"

using namespace conformance;
using namespace preheat;

namespace {

// A generator that a user wrote: SplitMix64 over the position. It meets the concept and no more.
struct splitmix {
  std::uint64_t key = 1;

  static std::uint64_t mix(std::uint64_t z) {
    z += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111eb;
    return z ^ (z >> 31U);
  }
  splitmix fork(purpose p, std::uint64_t i = 0) const {
    return {mix(key ^ mix(std::uint64_t(p) + mix(i)))};
  }
  std::array<double, 2> uniforms(std::uint64_t i) const {
    return {double(mix(key + 2 * i) >> 11U) * 0x1p-53,
            double(mix(key + 2 * i + 1) >> 11U) * 0x1p-53};
  }
  std::array<double, 2> normals(std::uint64_t i) const {
    const auto u = uniforms(i);
    const double radius = std::sqrt(-2 * std::log1p(-u[0]));
    return {radius * std::cos(6.283185307179586 * u[1]),
            radius * std::sin(6.283185307179586 * u[1])};
  }
};
static_assert(random_generator<splitmix>);

}  // namespace

TEST_CASE_TEMPLATE("random matrices: the same numbers on every backend up to rounding", Be,
                   PREHEAT_ALL_BACKENDS) {
  Be be;
  cpu_double reference;
  const generator gen(3);
  const table u = read<Be>(be, linalg::uniform(be, 7, 5, 0.25, gen));
  const table z = read<Be>(be, linalg::normal(be, 7, 5, 2, gen));
  const double rounding = epsilon<Be> * 8;
  CHECK(gap(u, read<cpu_double>(reference, linalg::uniform(reference, 7, 5, 0.25, gen))) <=
        0.25 * rounding);
  CHECK(gap(z, read<cpu_double>(reference, linalg::normal(reference, 7, 5, 2, gen))) <=
        2 * rounding);
  // Entries 2i and 2i + 1 come from position i, also when their number is odd.
  CHECK(u(0, 0) == doctest::Approx((2 * gen.uniforms(0)[0] - 1) * 0.25).epsilon(rounding));
  CHECK(u(6, 4) == doctest::Approx((2 * gen.uniforms(17)[0] - 1) * 0.25).epsilon(rounding));
  CHECK(z(2, 1) == doctest::Approx(2 * gen.normals(4)[1]).epsilon(rounding));
}

TEST_CASE_TEMPLATE("random matrices: bounds and moments", Be, PREHEAT_BACKENDS) {
  Be be;
  const index_t n = 40000;
  const table u = read<Be>(be, linalg::uniform(be, 200, 200, 0.5, generator(4)));
  CHECK(largest(u) <= 0.5);
  CHECK(largest(u) > 0.499);
  CHECK(std::abs(dot(u, table(200, 200, 1.0 / n))) < 5 * 0.5 / std::sqrt(3.0 * n));
  CHECK(std::abs(square_norm(u) / n - 1.0 / 12) < 5 * std::sqrt((1.0 / 80 - 1.0 / 144) / n));
  const table z = read<Be>(be, linalg::normal(be, 200, 200, 3, generator(5)));
  CHECK(std::abs(dot(z, table(200, 200, 1.0 / n))) < 5 * 3 / std::sqrt(double(n)));
  CHECK(std::abs(square_norm(z) / n - 9) < 5 * 9 * std::sqrt(2.0 / n));
}

TEST_CASE_TEMPLATE("orthonormal: columns are orthonormal", Be, PREHEAT_ALL_BACKENDS) {
  Be be;
  for (const index_t k : {1, 4, 30}) {
    const table q = read<Be>(be, linalg::orthonormal(be, 30, k, generator(6)));
    CHECK(q.rows == 30);
    CHECK(q.cols == k);
    CHECK(orthonormality_gap(q) < tolerance<Be>(30));
  }
}

// Uniform on the Stiefel manifold: the mean of the projector is (k/n)·I, and Q and −Q are equally
// likely, entry by entry. A QR factorization without the sign rule breaks the second law: its first
// row is always of one sign.
TEST_CASE_TEMPLATE("orthonormal: draws follow Haar's law", Be, PREHEAT_BACKENDS) {
  Be be;
  const index_t n = 5;
  const index_t k = 2;
  constexpr int draws = 4000;
  table projector(n, n);
  table mean(n, k);
  for (int i = 0; i < draws; ++i) {
    const table q = read<Be>(
        be, linalg::orthonormal(be, n, k, generator(7).fork(purpose::user, std::uint64_t(i))));
    projector = projector + (1.0 / draws) * (q * transposed(q));
    mean = mean + (1.0 / draws) * q;
  }
  // Standard deviations: an entry of Q 1/√n; of the projector at most √(2k(n − k)/(n²(n + 2))).
  const double entry = 5 / std::sqrt(double(n * draws));
  const double square = 5 * std::sqrt(2.0 * k * (n - k) / double(n * n * (n + 2)) / draws);
  CHECK(largest(mean) < entry);
  CHECK(gap(projector, (double(k) / double(n)) * identity(n)) < square);
}

TEST_CASE_TEMPLATE("orthonormal: any type that meets random_generator will do", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const table q = read<Be>(be, linalg::orthonormal(be, 12, 3, splitmix{5}));
  const table other = read<Be>(be, linalg::orthonormal(be, 12, 3, splitmix{6}));
  CHECK(orthonormality_gap(q) < tolerance<Be>(12));
  CHECK(gap(q, other) > 0.1);
}

TEST_CASE_TEMPLATE("complete_orthonormal: the first columns stay and the rest is orthonormal", Be,
                   PREHEAT_ALL_BACKENDS) {
  Be be;
  for (const index_t first : {0, 3, 5}) {
    mat<Be> V = linalg::orthonormal(be, 9, 5, generator(8));
    const table before = read<Be>(be, V);
    be.fill(9, view(V).col_range(first, 5 - first));
    linalg::complete_orthonormal(be, V, first, generator(9));
    const table after = read<Be>(be, V);
    CHECK(orthonormality_gap(after) < tolerance<Be>(9));
    CHECK(same(columns(after, 0, first), columns(before, 0, first)));
  }
  // A square matrix leaves one direction, up to its sign.
  mat<Be> V = linalg::orthonormal(be, 4, 4, generator(10));
  const table before = read<Be>(be, V);
  linalg::complete_orthonormal(be, V, 3, generator(11));
  const double along = dot(columns(before, 3, 1), columns(read<Be>(be, V), 3, 1));
  CHECK(std::abs(along) == doctest::Approx(1).epsilon(tolerance<Be>(4)));
}

TEST_CASE_TEMPLATE("fix_signs: the largest entry of every right vector becomes positive", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  table v(3, 4);
  v.values = {0.1, -0.9, 0.2, /**/ 0.5, 0.1, -0.2, /**/ -0.6, 0.6, 0.1, /**/ 0, 0, 0};
  const table u = random_table(5, 4, 12);
  mat<Be> V = matrix(be, v);
  mat<Be> U = matrix(be, u);
  const table product = read<Be>(be, U) * transposed(read<Be>(be, V));
  linalg::fix_signs(be, U, V);
  const table w = read<Be>(be, V);
  CHECK(w(1, 0) > 0);
  CHECK(w(0, 1) > 0);
  CHECK(w(0, 2) > 0);  // the first of equals
  CHECK(same(columns(w, 3, 1), table(3, 1)));
  CHECK(same(read<Be>(be, U) * transposed(w), product));
  CHECK(gap(columns(read<Be>(be, U), 3, 1), columns(u, 3, 1)) < epsilon<Be> * 4);
}

TEST_CASE_TEMPLATE("set_row_norms: directions stay and a zero row stays zero", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  table a = random_table(3, 8, 13);
  for (index_t j = 0; j < 8; ++j) {
    a(1, j) = 0;
  }
  mat<Be> A = matrix(be, a);
  linalg::set_row_norms(be, A, 2.5);
  const table b = read<Be>(be, A);
  const table squares = b * transposed(b);
  CHECK(squares(0, 0) == doctest::Approx(6.25).epsilon(tolerance<Be>(8)));
  CHECK(squares(1, 1) == 0);
  CHECK(squares(2, 2) == doctest::Approx(6.25).epsilon(tolerance<Be>(8)));
  const double cosine = (a * transposed(b))(0, 0) / 2.5 / std::sqrt((a * transposed(a))(0, 0));
  CHECK(cosine == doctest::Approx(1).epsilon(tolerance<Be>(8)));
}
