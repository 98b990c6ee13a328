// HRP, High-Rank Preheating: what it makes of preheated factors, on which side, at which size, and
// what it costs.
#include <preheat/methods.hpp>
#include <preheat/nn/minibatches.hpp>
#include <preheat/train/fit.hpp>

#include "support/backends.hpp"
#include "support/spectrum.hpp"
#include "support/toy_task.hpp"

using namespace conformance;
using namespace preheat;

namespace {

using warm_train_a = method<adapter::asymmetric<parameter_role::A>, init::orthogonal, optim::sgd>;
using warm_train_b = method<adapter::asymmetric<parameter_role::B>, init::orthogonal, optim::sgd>;
using warm_classic = method<adapter::lora, init::kaiming, optim::sgd>;

// A site of 12×9 and preheated factors of rank 5 whose product has well separated values.
template <class Be>
struct preheated {
  Be be;
  mat<Be> W = matrix(be, random_table(12, 9, 130));
  table b = with_spectrum(12, 5, {3, 2.5, 2, 1.5, 1}, 131);
  table a = with_spectrum(5, 9, {1, 1, 1, 1, 1}, 133);
  factors<Be> calibration{matrix(be, a), matrix(be, b)};

  target_layer<Be> where(index_t rank, singular_side side = singular_side::automatic) {
    return {.W = W, .rank = rank, .side = side, .gen = generator(3)};
  }
};

// The orthogonal projector on the span of the columns of q, which are orthogonal and c long.
table projector(const table& q, double c = 1) {
  return (1 / (c * c)) * (q * transposed(q));
}

}  // namespace

// A0·A0ᵀ = I and B0 = 0, or B0ᵀB0 = I and A0 = 0, and the span is that of the main singular
// vectors.
TEST_CASE_TEMPLATE("hrp: the start holds the main singular vectors of the preheated product", Be,
                   PREHEAT_BACKENDS) {
  preheated<Be> p;
  const index_t r = 3;
  const auto d = p.be.svd(matrix(p.be, p.b * p.a));
  const table u = columns(read<Be>(p.be, d.U), 0, r);
  const table v = columns(read<Be>(p.be, d.V), 0, r);
  const double tol = 4 * tolerance<Be>(12);

  init::hrp<> hrp;
  hrp.side = singular_side::right;
  const factors<Be> right = hrp(p.be, p.where(r), p.calibration);
  const table a0 = read<Be>(p.be, right.A);
  CHECK(orthonormality_gap(transposed(a0)) < tolerance<Be>(12));
  CHECK(gap(projector(transposed(a0)), projector(v)) < tol);
  CHECK(same(read<Be>(p.be, right.B), table(12, r)));
  // Rows are singular vectors one by one, in order, with the sign convention.
  for (index_t k = 0; k < r; ++k) {
    const table row = columns(transposed(a0), k, 1);
    CHECK(std::abs(dot(row, columns(v, k, 1))) == doctest::Approx(1).epsilon(tol));
    CHECK(*std::max_element(row.values.begin(), row.values.end()) == largest(row));
  }

  hrp.side = singular_side::left;
  const factors<Be> left = hrp(p.be, p.where(r), p.calibration);
  const table b0 = read<Be>(p.be, left.B);
  CHECK(orthonormality_gap(b0) < tolerance<Be>(12));
  CHECK(gap(projector(b0), projector(u)) < tol);
  CHECK(same(read<Be>(p.be, left.A), table(r, 9)));
}

TEST_CASE_TEMPLATE("hrp: a product of too small a rank is completed", Be, PREHEAT_BACKENDS) {
  preheated<Be> p;
  p.calibration.B = p.be.zeros(12, 5);
  const factors<Be> f = init::hrp<>{}(p.be, p.where(4), p.calibration);
  CHECK(orthonormality_gap(transposed(read<Be>(p.be, f.A))) < tolerance<Be>(12));
}

namespace {

enum class got { right, left };

template <class Be, class Preheat>
got automatic_side(preheated<Be>& p, singular_side usable) {
  const factors<Be> f = init::hrp<Preheat>{}(p.be, p.where(2, usable), p.calibration);
  const bool right = largest(read<Be>(p.be, f.B)) == 0;
  CHECK((largest(read<Be>(p.be, f.A)) == 0) != right);
  return right ? got::right : got::left;
}

}  // namespace

TEST_CASE_TEMPLATE("hrp: the automatic side is the trained factor's unless the adapter decides", Be,
                   PREHEAT_BACKENDS) {
  preheated<Be> p;
  CHECK(automatic_side<Be, warm_train_a>(p, singular_side::automatic) == got::right);
  CHECK(automatic_side<Be, warm_train_b>(p, singular_side::automatic) == got::left);
  CHECK(automatic_side<Be, warm_classic>(p, singular_side::automatic) == got::right);
  CHECK(automatic_side<Be, warm_train_a>(p, singular_side::left) == got::left);
  CHECK(automatic_side<Be, warm_train_b>(p, singular_side::right) == got::right);
  CHECK(automatic_side<Be, warm_classic>(p, singular_side::left) == got::left);

  // A side that the main adapter cannot use is refused.
  init::hrp<> hrp;
  hrp.side = singular_side::left;
  CHECK_THROWS_AS(hrp(p.be, p.where(2, singular_side::right), p.calibration), invalid_argument);
  hrp.side = singular_side::right;
  CHECK_THROWS_AS(hrp(p.be, p.where(2, singular_side::left), p.calibration), invalid_argument);
  CHECK_NOTHROW(hrp(p.be, p.where(2, singular_side::right), p.calibration));
}

// Direction and size are two things.
TEST_CASE_TEMPLATE("hrp: row_norm is a number or another init's norm", Be, PREHEAT_BACKENDS) {
  preheated<Be> p;
  const auto norm_of = [&](const init::hrp<>& hrp, bool left) {
    const factors<Be> f = hrp(p.be, p.where(3), p.calibration);
    const table q = left ? read<Be>(p.be, f.B) : transposed(read<Be>(p.be, f.A));
    const double c = std::sqrt(square_norm(q) / 3);
    CHECK(gap(transposed(q) * q, (c * c) * identity(3)) < tolerance<Be>(12) * c * c);
    return c;
  };
  const double tol = tolerance<Be>(1);
  CHECK(norm_of({}, false) == doctest::Approx(1).epsilon(tol));
  CHECK(norm_of({.row_norm = 0.25}, false) == doctest::Approx(0.25).epsilon(tol));
  CHECK(norm_of({.row_norm = init::gaussian{}}, false) == doctest::Approx(3.0 / 3).epsilon(tol));
  CHECK(norm_of({.row_norm = init::gaussian{.sigma = 0.5}}, false) ==
        doctest::Approx(0.5 * 3).epsilon(tol));
  CHECK(norm_of({.side = singular_side::left, .row_norm = init::gaussian{.sigma = 0.5}}, true) ==
        doctest::Approx(0.5 * std::sqrt(12.0)).epsilon(tol));
  CHECK(norm_of({.row_norm = init::kaiming{}}, false) ==
        doctest::Approx(std::sqrt(1.0 / 3)).epsilon(tol));
  CHECK(norm_of({.row_norm = init::orthogonal{.row_norm = 3}}, false) ==
        doctest::Approx(3).epsilon(tol));
}

namespace {

// A run whose main rate is 0 ends at its start.
template <class Be, class Method>
void check_run(Method m) {
  toy_task<Be> p;
  toy_task<Be> untouched;
  learning_rate(m.optim) = 0;
  m.init.lr = 0.05;
  m.init.rank = 4;
  m.init.steps = 3;
  const auto report = fit(m, p.net, p.data, {.rank = 2, .steps = 4, .seed = 6});
  CHECK(report.steps == 1);
  CHECK(report.calibration_steps == 3);
  CHECK(report.losses.size() == 1);
  CHECK(p.weights_are_those_of(untouched));
  CHECK_FALSE(report.base_changed);
  CHECK(same(p.adapted_output(report), untouched.base_output()));
  for (const auto& l : report.layers) {
    const table a = read<Be>(p.be, l.parameters.A);
    const table b = read<Be>(p.be, l.parameters.B);
    CHECK(l.rank == 2);
    CHECK(l.scaling == 2);
    const bool right = largest(b) == 0;
    CHECK((right ? largest(b) : largest(a)) == 0);
    CHECK(orthonormality_gap(right ? transposed(a) : b) < tolerance<Be>(15));
  }
}

}  // namespace

TEST_CASE_TEMPLATE("hrp: a run starts with orthonormal directions and W is bitwise untouched", Be,
                   conformance::cpu_float, conformance::archetype_double) {
  check_run<Be>(hrp<>{});
  check_run<Be>(method<init::hrp<warm_train_b>, adapter::asymmetric<parameter_role::A>>{});
}

TEST_CASE("hrp: preheating steps are 1.3 percent of all and at least 1") {
  CHECK(init::hrp<>{}.calibration_steps(200) == 3);
  CHECK(init::hrp<>{}.calibration_steps(1000) == 13);
  CHECK(init::hrp<>{}.calibration_steps(10) == 1);
  CHECK(init::hrp<>{.steps = 7}.calibration_steps(200) == 7);
  CHECK(init::hrp<>{.fraction = 0.1}.calibration_steps(200) == 20);
}
