// Inits that start from the weight alone, or from a draw of both factors: MiLoRA, OLoRA, MiCA,
// KaSA, PEFT's orthogonal. Each splits off what its equation says; the output at step 0 is the
// base's (or that of the base it replaces); degenerate weights and wrong ranks.
#include <limits>
#include <preheat/adapter/asymmetric.hpp>
#include <preheat/adapter/gated.hpp>
#include <preheat/init/kasa.hpp>
#include <preheat/init/mica.hpp>
#include <preheat/init/milora.hpp>
#include <preheat/init/olora.hpp>
#include <preheat/init/peft_orthogonal.hpp>
#include <preheat/nn/minibatches.hpp>
#include <preheat/train/fit.hpp>

#include "support/backends.hpp"
#include "support/spectrum.hpp"
#include "support/toy_task.hpp"

using namespace conformance;
using namespace preheat;

namespace {

constexpr double s = 2;
const std::vector<std::pair<index_t, index_t>> shapes{{14, 10}, {10, 14}};
const std::vector<double> sigma = geometric(10, 0.7);

template <class Be>
target_layer<Be> target_layer_of(const mat<Be>& W, index_t rank,
                                 singular_side side = singular_side::automatic,
                                 std::uint64_t seed = 1) {
  return {.W = W, .rank = rank, .scaling = scalar_of<Be>(s), .side = side, .gen = generator(seed)};
}

template <class Be>
table product_of(Be& be, const factors<Be>& f) {
  return read<Be>(be, f.B) * read<Be>(be, f.A);
}

// Whether a table has these singular values, the first of them, and then zeros.
template <class Be>
void check_spectrum(Be& be, const table& a, const std::vector<double>& values, index_t first) {
  const table found = read<Be>(be, be.svd(matrix(be, a)).S);
  for (index_t i = 0; i < found.rows; ++i) {
    const double expected = i < first ? values[i] : 0;
    CHECK(std::abs(found(i, 0) - expected) < tolerance<Be>(1));
  }
}

// The factors of a result, whether W is replaced or not.
template <class Be>
const factors<Be>& factors_of(const factors<Be>& f) {
  return f;
}
template <class Be>
const factors<Be>& factors_of(const replacement<Be>& answer) {
  return answer.f;
}

// Weights that an init must live with, and ranks that it must refuse.
template <class Be, class Init>
void check_edges(const Init& init, index_t most) {
  Be be;
  table row_less = random_table(8, 6, 510);
  for (index_t j = 0; j < 6; ++j) {
    row_less(3, j) = 0;
  }
  for (const table& w : {table(8, 6), row_less, transposed(row_less)}) {
    const mat<Be> W = matrix(be, w);
    const auto answer = init(be, target_layer_of<Be>(W, 2));
    CHECK(std::isfinite(largest(read<Be>(be, factors_of<Be>(answer).A))));
    CHECK(std::isfinite(largest(read<Be>(be, factors_of<Be>(answer).B))));
  }
  const mat<Be> W = matrix(be, row_less);
  CHECK_NOTHROW(init(be, target_layer_of<Be>(W, most)));
  CHECK_THROWS_AS(init(be, target_layer_of<Be>(W, most + 1)), invalid_argument);
  CHECK_THROWS_AS(init(be, target_layer_of<Be>(W, 7)), invalid_argument);
  CHECK_THROWS_AS(init(be, target_layer_of<Be>(W, 0)), invalid_argument);
  if constexpr (!std::same_as<Init, init::peft_orthogonal>) {  // the others read W
    row_less(1, 1) = std::numeric_limits<double>::quiet_NaN();
    const mat<Be> bad = matrix(be, row_less);
    CHECK_THROWS_AS(init(be, target_layer_of<Be>(bad, 2)), invalid_argument);
  }
}

// Before the first step: the output, the base, and the merged base.
template <class Be, class Method>
void check_start(const Method& m) {
  toy_task<Be> untouched;
  const table before = untouched.base_output();
  toy_task<Be> p;
  auto run = start_run(m, p.net, p.data, {.rank = 4, .steps = 1, .seed = 5});
  const double tol = tolerance<Be>(13) * largest(before);
  CHECK(gap(before, read<Be>(p.be, p.net.forward(p.all.X, run.adapters))) < tol);
  CHECK(p.weights_are_those_of(untouched) == Method::leaves_base);
  merge(p.net, run.finish());
  CHECK(gap(p.base_output(), before) < tol);
}

}  // namespace

TEST_CASE_TEMPLATE("milora: splits off the minor part and shares it evenly", Be, PREHEAT_BACKENDS) {
  Be be;
  for (const auto& [m, n] : shapes) {
    const table w = with_spectrum(m, n, sigma, 500);
    const mat<Be> W = matrix(be, w);
    for (const index_t r : {1, 4, 10}) {
      const factors<Be> f = init::milora{}(be, target_layer_of<Be>(W, r));
      const table product = s * product_of<Be>(be, f);
      CHECK(std::abs(square_norm(product) - tail(sigma, 10 - r)) < tolerance<Be>(4));
      check_spectrum(be, w - product, sigma, 10 - r);
      std::vector<double> even(sigma.end() - r, sigma.end());
      for (double& x : even) {
        x /= s;
      }
      const table a = read<Be>(be, f.A);
      const table b = read<Be>(be, f.B);
      CHECK(gap(a * transposed(a), diagonal(even)) < tolerance<Be>(4));
      CHECK(gap(transposed(b) * b, diagonal(even)) < tolerance<Be>(4));
    }
  }
  check_edges<Be>(init::milora{}, 6);
}

// B·A is W projected on the span of its first r columns, whatever the signs of the QR.
TEST_CASE_TEMPLATE("olora: B is orthonormal, A is B'W and the first columns are W's", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  for (const auto& [m, n] : shapes) {
    const table w = random_table(m, n, 501);
    const mat<Be> W = matrix(be, w);
    for (const index_t r : {1, 4, 10}) {
      const factors<Be> f = init::olora{}(be, target_layer_of<Be>(W, r));
      const table a = read<Be>(be, f.A);
      const table b = read<Be>(be, f.B);
      CHECK(orthonormality_gap(b) < tolerance<Be>(4));
      CHECK(gap(a, transposed(b) * w) < tolerance<Be>(14));
      CHECK(gap(columns(b * a, 0, r), columns(w, 0, r)) < tolerance<Be>(14));
    }
  }
  check_edges<Be>(init::olora{}, 6);
}

TEST_CASE_TEMPLATE("mica: A is zero and B spans what W does least with", Be, PREHEAT_BACKENDS) {
  Be be;
  for (const auto& [m, n] : shapes) {
    const table w = with_spectrum(m, n, sigma, 502);
    const mat<Be> W = matrix(be, w);
    for (const index_t r : {1, 4, 10}) {
      const factors<Be> f = init::mica{}(be, target_layer_of<Be>(W, r, singular_side::left));
      CHECK(same(read<Be>(be, f.A), table(r, n)));
      const table b = read<Be>(be, f.B);
      CHECK(orthonormality_gap(b) < tolerance<Be>(4));
      // Bᵀ·W·Wᵀ·B is diagonal and holds the last r squares, in decreasing order.
      std::vector<double> last(sigma.end() - r, sigma.end());
      for (double& x : last) {
        x *= x;
      }
      const table seen = transposed(b) * w;
      CHECK(gap(seen * transposed(seen), diagonal(last)) < tolerance<Be>(4));
    }
    CHECK_THROWS_AS(init::mica{}(be, target_layer_of<Be>(W, 2, singular_side::right)),
                    invalid_argument);
  }
  check_edges<Be>(init::mica{}, 6);
}

TEST_CASE_TEMPLATE("kasa: the least components leave W, and the factors start as lora's", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  for (const auto& [m, n] : shapes) {
    const table w = with_spectrum(m, n, sigma, 503);
    const mat<Be> W = matrix(be, w);
    for (const index_t r : {1, 4, 9}) {
      const replacement<Be> answer = init::kasa{}(be, target_layer_of<Be>(W, r));
      const table base = read<Be>(be, answer.W);
      check_spectrum(be, base, sigma, 10 - r);
      CHECK(std::abs(square_norm(w - base) - tail(sigma, 10 - r)) < tolerance<Be>(4));
      const table a = read<Be>(be, answer.f.A);
      CHECK(largest(a) <= (1 + epsilon<Be>) / std::sqrt(double(n)));
      CHECK(largest(a) > 0.5 / std::sqrt(double(n)));
      CHECK(same(read<Be>(be, answer.f.B), table(m, r)));
      CHECK(answer.f.A.rows() == r);
    }
  }
  check_edges<Be>(init::kasa{}, 5);  // one component must stay
}

TEST_CASE_TEMPLATE("peft_orthogonal: two factors of half the rank whose product is zero", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const mat<Be> W = be.zeros(200, 300);
  const factors<Be> f = init::peft_orthogonal{}(be, target_layer_of<Be>(W, 10));
  const table a = read<Be>(be, f.A);
  const table b = read<Be>(be, f.B);
  CHECK(a.rows == 10);
  CHECK(a.cols == 300);
  CHECK(b.rows == 200);
  CHECK(b.cols == 10);
  CHECK(largest(b * a) < tolerance<Be>(1));
  // N(0, 1)/10 on an orthonormal half: an entry has variance 1/200.
  CHECK(square_norm(a) / 3000 == doctest::Approx(1.0 / 200).epsilon(0.15));
  CHECK(square_norm(b) / 2000 == doctest::Approx(1.0 / 200).epsilon(0.15));
  for (const mat<Be>* factor : {&f.A, &f.B}) {
    const table values = read<Be>(be, be.svd(*factor).S);
    CHECK(values(4, 0) > 0.5);  // √n/10 is the size of the others
    CHECK(values(5, 0) < tolerance<Be>(10));
  }
  const factors<Be> other =
      init::peft_orthogonal{}(be, target_layer_of<Be>(W, 10, singular_side::automatic, 2));
  CHECK_FALSE(same(read<Be>(be, other.A), a));
  const factors<Be> large = init::peft_orthogonal{.size = 0.2}(be, target_layer_of<Be>(W, 10));
  CHECK(gap(read<Be>(be, large.A), 2.0 * a) < tolerance<Be>(1));

  CHECK_THROWS_AS(init::peft_orthogonal{}(be, target_layer_of<Be>(W, 3)), invalid_argument);
  CHECK_THROWS_AS(init::peft_orthogonal{.size = 0}(be, target_layer_of<Be>(W, 4)),
                  invalid_argument);
  check_edges<Be>(init::peft_orthogonal{}, 6);
}

TEST_CASE_TEMPLATE("weight inits: the output at step 0 is the base's", Be, conformance::cpu_float,
                   conformance::archetype_double) {
  check_start<Be>(method<init::milora>{});
  check_start<Be>(method<init::olora>{});
  check_start<Be>(method<init::peft_orthogonal>{});
}

TEST_CASE_TEMPLATE("mica: starts at the base, and training moves A alone", Be,
                   conformance::cpu_float, conformance::archetype_double) {
  const method<adapter::asymmetric<parameter_role::A>, init::mica> m{.optim = {.lr = 1e-2}};
  check_start<Be>(m);
  toy_task<Be> p;
  const double before = p.base_loss();
  const table b = read<Be>(p.be, init::mica{}(p.be, target_layer_of<Be>(p.net.layers()[1].W, 4)).B);
  const auto report = fit(m, p.net, p.data, {.rank = 4, .steps = 60});
  CHECK(same(read<Be>(p.be, report.layers[1].parameters.B), b));
  CHECK(report.trainable_parameters == 4 * (10 + 15 + 12));
  auto linear = attach(p.net, report);
  CHECK(double(p.net.loss(p.all, linear)) < 0.9 * before);
}

// The start is the base without its least components, and the gates train with the factors.
TEST_CASE_TEMPLATE("kasa: starts at its base and learns", Be, conformance::cpu_float,
                   conformance::archetype_double) {
  using kasa = method<adapter::gated<>, init::kasa>;
  CHECK_FALSE(kasa::leaves_base);
  toy_task<Be> cut;
  for (auto& l : cut.net.layers()) {
    const replacement<Be> answer = init::kasa{}(cut.be, target_layer_of<Be>(l.W, 4));
    cut.be.copy(transpose::no, answer.W, l.W);
  }
  toy_task<Be> p;
  const kasa m{.optim = {.lr = 1e-2}};
  auto run = start_run(m, p.net, p.data, {.rank = 4, .steps = 60});
  CHECK(p.weights_are_those_of(cut));
  CHECK(gap(read<Be>(p.be, p.net.forward(p.all.X, run.adapters)), cut.base_output()) <
        tolerance<Be>(13));
  const table gates = read<Be>(p.be, run.adapters.layers()[0].parameters.g);
  const auto report = run.run_to_end();
  CHECK(report.base_changed);
  CHECK(report.trainable_parameters == 4 * (10 + 15 + 15 + 12 + 12 + 5 + 3));
  CHECK_FALSE(same(read<Be>(p.be, report.layers[0].parameters.g), gates));
  auto linear = attach(p.net, report);
  CHECK(double(p.net.loss(p.all, linear)) < 0.9 * cut.base_loss());
}
