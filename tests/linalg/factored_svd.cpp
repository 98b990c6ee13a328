// The SVD of a product held in factors: it equals the dense one, in every form, whatever the
// conditioning and the scale, and it never forms the product.
#include <preheat/linalg/factored_svd.hpp>

#include "support/backends.hpp"
#include "support/spectrum.hpp"

using namespace conformance;
using namespace preheat;
using linalg::factored_form;

namespace {

constexpr factored_form forms[] = {factored_form::automatic, factored_form::qr, factored_form::gram,
                                   factored_form::wide_gram};

template <class Be>
struct triplets {
  table u, s, v;
  triplets(Be& be, const table& b, const table& a, index_t r, factored_form form) {
    const auto d =
        linalg::factored_svd<Be>(be, matrix(be, b), matrix(be, a), r, generator(40), form);
    u = read<Be>(be, d.U);
    s = read<Be>(be, d.S);
    v = read<Be>(be, d.V);
  }
  table product() const { return u * diagonal(s.values) * transposed(v); }
};

// Shapes, orthonormal vectors, decreasing values, signs.
template <class Be>
void check_well_formed(const triplets<Be>& d, index_t m, index_t n, index_t r) {
  CHECK(d.u.rows == m);
  CHECK(d.u.cols == r);
  CHECK(d.s.rows == r);
  CHECK(d.v.rows == n);
  CHECK(d.v.cols == r);
  CHECK(orthonormality_gap(d.u) < tolerance<Be>(m));
  CHECK(orthonormality_gap(d.v) < tolerance<Be>(n));
  CHECK(d.s.values.back() >= 0);
  CHECK(std::is_sorted(d.s.values.rbegin(), d.s.values.rend()));
  for (index_t j = 0; j < r; ++j) {
    const table column = columns(d.v, j, 1);
    CHECK(*std::max_element(column.values.begin(), column.values.end()) == largest(column));
  }
}

// Factors whose product has singular values 4, 3.5, 3 … (all well separated, all well conditioned).
struct benign {
  table b, a;
  benign(index_t m, index_t n, index_t R) {
    std::vector<double> sigma;
    for (index_t i = 0; i < R; ++i) {
      sigma.push_back(2 - 0.25 * double(i));
    }
    const table left = with_spectrum(m, R, sigma, 41);
    b = left;
    a = with_spectrum(R, n, sigma, 43);
  }
};

// The dense SVD of b·a, truncated, by the backend.
template <class Be>
table dense_truncation(const table& b, const table& a, index_t r) {
  eigen_double reference;
  const auto d = reference.svd(matrix(reference, b * a));
  const table u = columns(read<eigen_double>(reference, d.U), 0, r);
  const table v = columns(read<eigen_double>(reference, d.V), 0, r);
  std::vector<double> s = read<eigen_double>(reference, d.S).values;
  s.resize(std::size_t(r));
  return u * diagonal(s) * transposed(v);
}

}  // namespace

TEST_CASE_TEMPLATE("factored_svd: equals the dense SVD in every form", Be, PREHEAT_BACKENDS) {
  Be be;
  struct {
    index_t m, n, R;
  } const sizes[] = {{23, 19, 5}, {9, 30, 4}, {30, 9, 4}, {6, 6, 6}, {7, 5, 1}};
  for (const auto& size : sizes) {
    const benign f(size.m, size.n, size.R);
    for (const factored_form form : forms) {
      for (const index_t r : {index_t(1), (size.R + 1) / 2, size.R}) {
        const triplets<Be> d(be, f.b, f.a, r, form);
        check_well_formed(d, size.m, size.n, r);
        CHECK(gap(d.product(), dense_truncation<Be>(f.b, f.a, r)) < 4 * tolerance<Be>(size.R));
      }
    }
  }
}

// R above min(m, n), and a rank up to min(m, n).
TEST_CASE_TEMPLATE("factored_svd: factors may be wider than the product", Be, PREHEAT_BACKENDS) {
  Be be;
  const table b = random_table(5, 9, 45);
  const table a = random_table(9, 6, 46);
  for (const factored_form form : forms) {
    const triplets<Be> d(be, b, a, 5, form);
    check_well_formed(d, 5, 6, 5);
    CHECK(gap(d.product(), b * a) < tolerance<Be>(9) * largest(b * a));
  }
}

TEST_CASE_TEMPLATE("factored_svd: missing ranks are completed at random", Be, PREHEAT_BACKENDS) {
  Be be;
  const table b = random_table(12, 2, 47) * random_table(2, 5, 48);  // rank 2 of 5
  const table a = random_table(5, 10, 49);
  for (const factored_form form : forms) {
    const triplets<Be> d(be, b, a, 4, form);
    check_well_formed(d, 12, 10, 4);
    CHECK(gap(d.product(), b * a) < tolerance<Be>(12) * largest(b * a));
    CHECK(d.s(2, 0) < tolerance<Be>(1) * d.s(0, 0));
    CHECK(d.s(1, 0) > 0.01 * d.s(0, 0));
  }
}

TEST_CASE_TEMPLATE("factored_svd: a zero factor gives zeros and random orthonormal vectors", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  for (const factored_form form : forms) {
    for (const bool zero_b : {true, false}) {
      const table b = zero_b ? table(12, 5) : random_table(12, 5, 50);
      const table a = zero_b ? random_table(5, 10, 51) : table(5, 10);
      const triplets<Be> d(be, b, a, 4, form);
      CHECK(orthonormality_gap(d.u) < tolerance<Be>(12));
      CHECK(orthonormality_gap(d.v) < tolerance<Be>(10));
      CHECK(largest(d.s) == 0);
    }
  }
}

TEST_CASE_TEMPLATE("factored_svd: one number", Be, PREHEAT_BACKENDS) {
  Be be;
  for (const factored_form form : forms) {
    const triplets<Be> d(be, table(1, 1, -2), table(1, 1, 3), 1, form);
    CHECK(d.s(0, 0) == doctest::Approx(6).epsilon(tolerance<Be>(1)));
    CHECK(d.u(0, 0) == doctest::Approx(-1).epsilon(tolerance<Be>(1)));
    CHECK(d.v(0, 0) == doctest::Approx(1).epsilon(tolerance<Be>(1)));
  }
}

// Vectors do not depend on the scale of the factors, even where squares, or the product itself,
// leave the range of a float.
TEST_CASE_TEMPLATE("factored_svd: factors of extreme scale", Be, PREHEAT_BACKENDS) {
  Be be;
  const benign f(11, 8, 3);
  const triplets<Be> plain(be, f.b, f.a, 3, factored_form::automatic);
  for (const factored_form form : forms) {
    for (const double scale_b : {1e-30, 1e30}) {
      for (const double scale_a : {1e-30, 1.0, 1e30}) {
        if (scale_a == scale_b && scale_b > 1) {
          continue;  // the singular values would overflow a float
        }
        const triplets<Be> d(be, scale_b * f.b, scale_a * f.a, 3, form);
        CHECK(gap(d.u, plain.u) < tolerance<Be>(11));
        CHECK(gap(d.v, plain.v) < tolerance<Be>(11));
        if (scale_a != scale_b) {
          for (index_t i = 0; i < 3; ++i) {
            CHECK(d.s(i, 0) ==
                  doctest::Approx(plain.s(i, 0) * scale_b * scale_a).epsilon(tolerance<Be>(1)));
          }
        }
      }
    }
  }
}

TEST_CASE_TEMPLATE("factored_svd: steep spectra keep their small singular values", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  // σ from 1 down to 300 ε: squares would lose the last one.
  const double least = 300 * epsilon<Be>;
  const table b = with_spectrum(20, 3, {1, std::sqrt(least), least}, 52);
  const table a = with_spectrum(3, 15, {1, 1, 1}, 54);
  const triplets<Be> d(be, b, a, 3, factored_form::automatic);
  check_well_formed(d, 20, 15, 3);
  CHECK(std::abs(d.s(1, 0) - std::sqrt(least)) < 64 * epsilon<Be>);
  CHECK(std::abs(d.s(2, 0) - least) < 64 * epsilon<Be>);
}

// Squares magnify rounding by ‖A‖²‖B‖²/σ², here from 1 to 100, on every side of what the Gram form
// leaves alone, mends, and leaves to another form: U and V are orthonormal to rounding, whatever
// form is taken.
TEST_CASE_TEMPLATE("factored_svd: squaring costs no orthonormality", Be, PREHEAT_BACKENDS) {
  Be be;
  for (const factored_form form : {factored_form::automatic, factored_form::gram}) {
    for (const double condition : {1.0, 1.5, 2.0, 2.5, 3.0, 3.2}) {
      CAPTURE(condition);
      const std::vector<double> sigma = geometric(6, std::pow(condition, -1.0 / 5));
      for (std::uint64_t seed = 66; seed < 86; seed += 4) {
        CAPTURE(seed);
        const table b = with_spectrum(33, 6, sigma, seed);
        const table a = with_spectrum(6, 21, sigma, seed + 2);
        const triplets<Be> d(be, b, a, 6, form);
        CHECK(orthonormality_gap(d.u) < 32 * epsilon<Be>);
        CHECK(orthonormality_gap(d.v) < 32 * epsilon<Be>);
        CHECK(gap(d.product(), b * a) < 64 * epsilon<Be>);
      }
    }
  }
}

// Which form ran is seen in the archetype's record.
TEST_CASE("factored_svd: automatic takes the Gram form when conditioning allows it") {
  archetype_double be;
  const benign f(23, 19, 4);
  const mat<archetype_double> B = matrix(be, f.b);
  const mat<archetype_double> A = matrix(be, f.a);
  be.forget();
  linalg::factored_svd<archetype_double>(be, B, A, 3, generator(1));
  CHECK(be.calls["cholesky"] == 1);
  CHECK(be.calls["eigh"] == 1);
  CHECK(be.calls["qr"] == 0);
  CHECK(be.calls["svd"] == 0);

  be.forget();
  linalg::factored_svd<archetype_double>(be, B, A, 3, generator(1), factored_form::qr);
  CHECK(be.calls["cholesky"] == 0);
  CHECK(be.calls["eigh"] == 0);
  CHECK(be.calls["qr"] == 2);
  CHECK(be.calls["svd"] == 1);
}

TEST_CASE("factored_svd: automatic falls back to QR when a wanted value is small") {
  archetype_double be;
  const table good = with_spectrum(4, 19, {1, 0.9, 0.8, 0.7}, 56);
  const table steep = with_spectrum(23, 4, {1, 0.5, 1e-3, 1e-6}, 57);
  const table wide = random_table(3, 5, 58);
  const auto falls_back = [&](const table& b, const table& a, index_t r) {
    const mat<archetype_double> B = matrix(be, b);
    const mat<archetype_double> A = matrix(be, a);
    be.forget();
    linalg::factored_svd<archetype_double>(be, B, A, r, generator(1));
    return be.calls["qr"] >= 2 && be.calls["svd"] == 1;
  };
  CHECK(falls_back(steep, good, 3));
  CHECK(falls_back(transposed(good), transposed(steep), 3));
  CHECK_FALSE(falls_back(steep, good, 2));  // the two that are wanted are large
  CHECK_FALSE(falls_back(transposed(good), transposed(steep), 2));
  CHECK(falls_back(wide, random_table(5, 4, 59), 2));
  CHECK_FALSE(falls_back(transposed(good), good, 4));

  // The product's second value is a hundredth of the first: squares are good enough for one vector
  // and not for two.
  table triangle(2, 2, 1);
  triangle(1, 0) = 0;
  triangle(1, 1) = 0.2;
  const table left = with_spectrum(23, 2, {1, 1}, 62) * triangle;
  const table right = transposed(with_spectrum(19, 2, {1, 1}, 64) * triangle);
  CHECK(falls_back(left, right, 2));
  CHECK_FALSE(falls_back(left, right, 1));
}

TEST_CASE("factored_svd: the product is never formed") {
  archetype_double be;
  const table b = random_table(23, 5, 60);
  const table a = random_table(5, 19, 61);
  const mat<archetype_double> B = matrix(be, b);
  const mat<archetype_double> A = matrix(be, a);
  const mat<archetype_double> zero = be.zeros(23, 5);
  be.forget();
  for (const factored_form form : forms) {
    linalg::factored_svd<archetype_double>(be, B, A, 3, generator(1), form);
    linalg::factored_svd<archetype_double>(be, zero, A, 3, generator(1), form);
  }
  CHECK_FALSE(be.made(23, 19));
  CHECK_FALSE(be.made(23, 23));
  CHECK_FALSE(be.made(19, 19));
}
