// An adapter on a residual base as a plain one on the original base, and a plain one at a lower
// rank: the outputs agree, and the recompression is the best there is, with the error that it says.
#include <preheat/convert/recompress.hpp>
#include <preheat/methods.hpp>
#include <preheat/nn/minibatches.hpp>
#include <preheat/train/fit.hpp>

#include "support/backends.hpp"
#include "support/spectrum.hpp"
#include "support/toy_task.hpp"

using namespace conformance;
using namespace preheat;

namespace {

// An init whose product is subtracted from W, and which is not made of W's singular vectors.
struct random_residual {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::residual;

  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s) const {
    return {linalg::normal(be, s.rank, s.W.cols(), 0.3, s.gen.fork(purpose::user, 0)),
            linalg::normal(be, s.W.rows(), s.rank, 0.3, s.gen.fork(purpose::user, 1))};
  }
};

template <class Be>
plain_lora<Be> made_of(Be& be, const table& b, const table& a, double scaling = 1) {
  return {{matrix(be, a), matrix(be, b)}, scaling, a.rows};
}
template <class Be>
table product_of(Be& be, const plain_lora<Be>& x) {
  return read<Be>(be, x.f.B) * read<Be>(be, x.f.A);
}

// Trains on a residual base, converts, and puts the plain adapters on the base that never moved.
template <class Be, class Method>
void check_conversion(Method m, const scaling_rule& rule) {
  learning_rate(m.optim) = 0.02;
  toy_task<Be> task;
  toy_task<Be> original;
  auto run =
      start_run(m, task.net, task.data, {.rank = 2, .steps = 12, .seed = 8, .scaling = rule});
  const auto start = factors_of(run);
  const auto report = run.run_to_end();
  const table trained = task.adapted_output(report);
  CHECK(gap(trained, original.base_output()) > 0.1);
  CHECK(report.base_changed);

  const auto plain = to_plain_lora(task.be, report, start);
  REQUIRE(plain.size() == report.layers.size());
  adapted<Be, adapter::lora> linear(original.net);
  for (std::size_t l = 0; l < plain.size(); ++l) {
    CHECK(plain[l].rank == 4);
    CHECK(plain[l].error == 0);
    CHECK(plain[l].retained_energy() == 1);
    CHECK(plain[l].scaling == report.layers[l].scaling);
    const double alpha = alpha_of(rule.kind, plain[l].scaling, plain[l].rank);
    CHECK(scaling_rule{rule.kind, alpha}(4, 2) ==
          doctest::Approx(report.layers[l].scaling).epsilon(1e-6));
    factors<Be> f{clone<Be>(task.be, plain[l].f.A), clone<Be>(task.be, plain[l].f.B)};
    linear.attach(
        index_t(l),
        adapter::lora{}.start(task.be, linear.base(index_t(l)), std::move(f), generator()),
        scalar_of<Be>(plain[l].scaling));
  }
  const table converted = read<Be>(task.be, original.net.forward(original.all.X, linear));
  CHECK(gap(converted, trained) < 8 * tolerance<Be>(15) * largest(trained));
}

}  // namespace

TEST_CASE_TEMPLATE("convert: the plain adapter on the original base gives the trained output", Be,
                   PREHEAT_BACKENDS) {
  check_conversion<Be>(pissa{}, {});
  check_conversion<Be>(pissa{}, scaling::over_sqrt_rank(3));
  check_conversion<Be>(method<random_residual>{}, scaling::constant(0.7));
  check_conversion<Be>(method<random_residual, adapter::gated<adapter::gate::open>>{}, {});
}

TEST_CASE("convert: the alpha of twice the rank") {
  using form = scaling_rule::form;
  CHECK(alpha_of(form::over_rank, 2.5, 6) == 15);
  CHECK(alpha_of(form::over_sqrt_rank, 2.5, 16) == 10);
  CHECK(alpha_of(form::constant, 2.5, 6) == 2.5);
  for (const double alpha : {1.0, 7.0}) {
    CHECK(alpha_of(form::over_rank, scaling::over_rank(alpha)(3, 3), 6) ==
          doctest::Approx(2 * alpha));
    CHECK(alpha_of(form::over_sqrt_rank, scaling::over_sqrt_rank(alpha)(3, 3), 6) ==
          doctest::Approx(std::sqrt(2.0) * alpha));
  }
}

// Ranks may have changed on the way: 2 trained, 3 at the start.
TEST_CASE_TEMPLATE("convert: a concatenation, bitwise, of factors of any two ranks", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const auto trained = made_of(be, random_table(7, 2, 1), random_table(2, 5, 2));
  const auto start = made_of(be, random_table(7, 3, 3), random_table(3, 5, 4));
  const auto both = to_plain_lora(be, trained.f, start.f, 0.25);
  CHECK(both.rank == 5);
  CHECK(both.scaling == 0.25);
  const table a = transposed(read<Be>(be, both.f.A));
  const table b = read<Be>(be, both.f.B);
  CHECK(same(columns(a, 0, 2), transposed(read<Be>(be, trained.f.A))));
  CHECK(same(columns(a, 2, 3), transposed(read<Be>(be, start.f.A))));
  CHECK(same(columns(b, 0, 2), read<Be>(be, trained.f.B)));
  CHECK(same(columns(b, 2, 3), -1.0 * read<Be>(be, start.f.B)));
}

// Against the dense SVD of the product, in double (Eckart and Young).
TEST_CASE_TEMPLATE("recompress: the best product of its rank, and its error", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  eigen_double exact;
  struct {
    index_t m, n, r;
  } const sizes[] = {{23, 19, 6}, {9, 30, 4}, {4, 7, 6}, {6, 4, 4}};
  for (const auto& size : sizes) {
    CAPTURE(size.m);
    const auto large =
        made_of(be, random_table(size.m, size.r, 10), random_table(size.r, size.n, 11), 3);
    const table whole = product_of(be, large);
    const auto dense = exact.svd(matrix(exact, whole));
    const table s = read<eigen_double>(exact, dense.S);
    const index_t most = std::min({size.m, size.n, size.r});
    double before = 2;
    for (index_t r = 1; r <= most; ++r) {
      CAPTURE(r);
      const auto small = recompress(be, large, r);
      CHECK(small.rank == r);
      CHECK(small.scaling == 3);
      CHECK(small.f.A.rows() == r);
      CHECK(small.f.B.cols() == r);
      const table left = columns(read<eigen_double>(exact, dense.U), 0, r);
      const table right = columns(read<eigen_double>(exact, dense.V), 0, r);
      const std::vector<double> kept(s.values.begin(), s.values.begin() + r);
      const table found = product_of(be, small);
      const double tol = 16 * tolerance<Be>(size.r) * s(0, 0);
      CHECK(gap(found, left * diagonal(kept) * transposed(right)) < tol);
      const double error = std::sqrt(square_norm(found - whole) / square_norm(whole));
      CHECK(std::abs(small.error - error) < 16 * tolerance<Be>(size.r));
      CHECK(small.retained_energy() ==
            doctest::Approx(square_norm(found) / square_norm(whole)).epsilon(1e-4));
      CHECK(small.error < before);
      before = small.error;
      // An even split: both factors carry the square roots of the singular values.
      const table a = read<Be>(be, small.f.A);
      const table b = read<Be>(be, small.f.B);
      CHECK(gap(a * transposed(a), diagonal(kept)) < tol);
      CHECK(gap(transposed(b) * b, diagonal(kept)) < tol);
    }
    CHECK(before < tolerance<Be>(size.r));
  }
}

TEST_CASE_TEMPLATE("recompress: loses nothing at the rank of the product", Be, PREHEAT_BACKENDS) {
  Be be;
  // A conversion of rank 2r whose product has rank r: the step away from the start shares A.
  const table a = random_table(3, 10, 20);
  const auto trained = made_of(be, random_table(12, 3, 21), a);
  const auto start = made_of(be, random_table(12, 3, 22), a);
  const auto both = to_plain_lora(be, trained.f, start.f, 1);
  const table whole = product_of(be, both);
  for (const index_t r : {3, 4, 6}) {
    const auto small = recompress(be, both, r);
    CHECK(small.error < tolerance<Be>(6));
    CHECK(gap(product_of(be, small), whole) < tolerance<Be>(12) * largest(whole));
  }
  CHECK(recompress(be, both, 2).error > 0.01);

  // Nothing trained, B = 0: nothing to lose, and no NaN.
  const auto zero = recompress(be, made_of(be, table(12, 4), random_table(4, 10, 23)), 2);
  CHECK(zero.error == 0);
  CHECK(zero.retained_energy() == 1);
  CHECK(largest(product_of(be, zero)) == 0);
}

TEST_CASE("recompress: the product is never formed") {
  archetype_double be;
  const auto large = made_of(be, random_table(23, 6, 30), random_table(6, 19, 31));
  be.forget();
  recompress(be, large, 3);
  CHECK_FALSE(be.made(23, 19));
  CHECK_FALSE(be.made(23, 23));
  CHECK_FALSE(be.made(19, 19));
}

TEST_CASE_TEMPLATE("convert: errors", Be, PREHEAT_BACKENDS) {
  Be be;
  const auto good = made_of(be, random_table(7, 4, 40), random_table(4, 5, 41));
  CHECK_THROWS_AS(recompress(be, good, 5), invalid_argument);
  CHECK_THROWS_AS(recompress(be, good, 0), invalid_argument);
  const auto wide = made_of(be, random_table(3, 4, 42), random_table(4, 5, 43));
  CHECK_THROWS_AS(recompress(be, wide, 4), invalid_argument);
  table broken = random_table(4, 5, 44);
  broken(1, 2) = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_AS(recompress(be, made_of(be, random_table(7, 4, 45), broken), 2), invalid_argument);

  CHECK_THROWS_AS(to_plain_lora(be, good.f, wide.f, 1), invalid_argument);
  const auto long_rows = made_of(be, random_table(7, 4, 46), random_table(4, 6, 47));
  CHECK_THROWS_AS(to_plain_lora(be, good.f, long_rows.f, 1), invalid_argument);
  const auto ragged = made_of(be, random_table(7, 3, 48), random_table(4, 5, 49));
  CHECK_THROWS_AS(to_plain_lora(be, good.f, ragged.f, 1), invalid_argument);
  factors<Be> cored{clone<Be>(be, good.f.A), clone<Be>(be, good.f.B), be.zeros(4, 4)};
  CHECK_THROWS_AS(to_plain_lora(be, cored, good.f, 1), invalid_argument);
  CHECK_THROWS_AS(to_plain_lora(be, good.f, cored, 1), invalid_argument);

  toy_task<Be> task;
  auto run = start_run(pissa{}, task.net, task.data, {.rank = 2, .steps = 1});
  const auto start = factors_of(run);
  auto report = run.run_to_end();
  CHECK_THROWS_AS(to_plain_lora(task.be, report, {}), invalid_argument);
  report.layers[1].attached = false;
  CHECK_THROWS_AS(to_plain_lora(task.be, report, start), invalid_argument);
}
