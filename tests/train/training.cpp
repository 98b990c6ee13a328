// The laws of `fit`: determinism, targets, budget, accumulation, dropout, clipping, evaluation,
// ends.
#include <doctest/doctest.h>
#include <atomic>
#include <cmath>
#include <preheat/methods.hpp>

#include "support/backends.hpp"
#include "support/small_problem.hpp"

using namespace preheat;
using conformance::problem;

namespace {

using Double = conformance::cpu_double;
const lora fast{.optim = {.lr = 1e-2}};

}  // namespace

TEST_CASE("scaling: α/r by default with α = 2r, α/√r, constant; each gives its s") {
  problem<Double> p;
  const auto s = [&](const fit_options& o) {
    return fit(fast, p.net, p.batches, o).layers[0].scaling;
  };
  CHECK(s({.rank = 3, .steps = 1}) == 2);
  CHECK(s({.rank = 2, .steps = 1, .scaling = scaling::over_rank(8)}) == 4);
  CHECK(s({.rank = 2, .steps = 1, .scaling = scaling::over_sqrt_rank(8)}) ==
        doctest::Approx(8 / std::sqrt(2.0)));
  CHECK(s({.rank = 2, .steps = 1, .scaling = scaling::constant(0.5)}) == 0.5);
}

TEST_CASE("budget: calibration is charged to the steps, and the schedule spans the rest") {
  problem<Double> p;
  const hrp<> m{.init = {.multiple = 1, .steps = 6}, .optim = {.lr = 1e-2}};
  fit_options options{.rank = 2, .steps = 20};
  options.schedule = schedule::linear{};
  const auto report = fit(m, p.net, p.batches, options);
  CHECK(report.steps == 14);
  CHECK(report.calibration_steps == 6);
  CHECK(report.learning_rates.front() == 1e-2);
  CHECK(report.learning_rates.back() == doctest::Approx(1e-2 / 14));
  options.count_calibration_steps = false;
  CHECK(fit(m, p.net, p.batches, options).steps == 20);
}

TEST_CASE("dropout keeps the mean: E[mask·x] = x, and drops the rate asked for") {
  Double be;
  mat<Double> x = be.zeros(200, 100);
  mat<Double> ones = be.zeros(200, 100);
  be.fill(1, ones);
  be.apply_indexed(dropout_kernel<double>{0.3, generator(7)}, x, ones);
  index_t dropped = 0;
  double sum = 0;
  for (const double value : be.download(x)) {
    CHECK((value == 0 || value == doctest::Approx(1 / 0.7)));
    dropped += value == 0;
    sum += value;
  }
  CHECK(double(dropped) / 20000 == doctest::Approx(0.3).epsilon(0.05));
  CHECK(sum / 20000 == doctest::Approx(1).epsilon(0.03));
}

TEST_CASE("clipping acts in fit: SGD's first move is lr × bound long") {
  problem<Double> p;
  fit_options options{.rank = 2, .steps = 1};
  options.max_gradient_norm = 1e-3;
  auto r = start_run(method<optim::sgd>{.optim = {.lr = 1}}, p.net, p.batches, options);
  r.step();
  double square = 0;
  for (auto& s : r.adapters.layers()) {  // B was zero; A's gradient is zero while B is
    square += p.be.dot(s.parameters.B, s.parameters.B);
  }
  CHECK(std::sqrt(square) == doctest::Approx(1e-3).epsilon(1e-2));
}

TEST_CASE("ends: a preheating that diverges is a status too") {
  problem<Double> p;
  const auto diverged = fit(hrp<>{.init = {.multiple = 1}, .optim = {.lr = 1e300}}, p.net,
                            p.batches, {.rank = 2, .steps = 300});
  CHECK(diverged.status == fit_status::non_finite);
  CHECK(diverged.steps == 0);
}

TEST_CASE("ends: the stop flag interrupts, in preheating too") {
  problem<Double> p;
  std::atomic<bool> stop = true;
  fit_options options{.rank = 2, .steps = 50};
  options.stop = &stop;
  CHECK(fit(fast, p.net, p.batches, options).status == fit_status::interrupted);
  const auto report =
      fit(hrp<>{.init = {.multiple = 1}, .optim = {.lr = 1e-2}}, p.net, p.batches, options);
  CHECK(report.status == fit_status::interrupted);
  CHECK(report.steps == 0);
}
