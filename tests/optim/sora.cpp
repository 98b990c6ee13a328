// SoRA's optimizer: the threshold as a minimiser and as published, the penalty, no decay on gates,
// the schedules of ξ. Runs and their ends are in sora_runs.cpp.
#include <preheat/methods.hpp>

#include "sparse_support.hpp"
#include "support/backends.hpp"

using namespace conformance;
using namespace preheat;

namespace {

using gated = adapter::gated<>;
using optim::xi_schedule;

// Multiples of 1/16 in [−2, 2], exact in every scalar: those at ±ξ and ±2ξ too, with ξ = 1/4.
constexpr double xi = 0.25;
table gate_values() {
  table z(65, 1);
  for (index_t i = 0; i < z.rows; ++i) {
    z(i, 0) = double(i - 32) / 16;
  }
  return z;
}

// The gates after a step that moves nothing but by the threshold: learning rate 0.
template <class Be, class Optim>
table thresholded(const Optim& optim, const table& z, index_t step = 0) {
  Be be;
  typename gated::params<Be> p{matrix(be, random_table(z.rows, 5, 1)),
                               matrix(be, random_table(6, z.rows, 2)), matrix(be, z)};
  const auto before = clone_params(be, p);
  auto g = zeros_like(be, p);
  auto state = optim.start(be, p);
  optim.step(be, p, g, state, context_of(step, 0));
  CHECK(same(read<Be>(be, p.A), read<Be>(be, before.A)));
  CHECK(same(read<Be>(be, p.B), read<Be>(be, before.B)));
  return read<Be>(be, p.g);
}

}  // namespace

TEST_CASE_TEMPLATE("threshold: the minimiser of (z − p)²/2 + ξ|p|, whatever the learning rate", Be,
                   PREHEAT_BACKENDS) {
  const table z = gate_values();
  const table p = thresholded<Be>(optim::proximal<>{.xi = xi}, z);
  for (index_t i = 0; i < z.rows; ++i) {
    CAPTURE(z(i, 0));
    const auto objective = [&](double q) {
      return (z(i, 0) - q) * (z(i, 0) - q) / 2 + xi * std::abs(q);
    };
    for (int k = -96; k <= 96; ++k) {
      CHECK(objective(p(i, 0)) <= objective(double(k) / 32));
    }
    // 0 lies in the subdifferential at p.
    if (p(i, 0) != 0) {
      CHECK(z(i, 0) - p(i, 0) == xi * sign(p(i, 0)));
    } else {
      CHECK(std::abs(z(i, 0)) <= xi);
    }
  }
}

TEST_CASE_TEMPLATE("threshold: the published rule closes gates below 2ξ and shifts the others", Be,
                   PREHEAT_BACKENDS) {
  const table z = gate_values();
  const table p = thresholded<Be>(optim::proximal<>{.xi = xi, .published_rule = true}, z);
  const table proximal = thresholded<Be>(optim::proximal<>{.xi = xi}, z);
  for (index_t i = 0; i < z.rows; ++i) {
    CAPTURE(z(i, 0));
    CHECK(p(i, 0) == (std::abs(z(i, 0)) < 2 * xi ? 0 : proximal(i, 0)));
  }
  CHECK(!same(p, proximal));
}

TEST_CASE_TEMPLATE("threshold: none at ξ = 0, everything at a large ξ, and odd in z", Be,
                   PREHEAT_BACKENDS) {
  const table z = gate_values();
  for (const bool published : {false, true}) {
    CHECK(same(thresholded<Be>(optim::proximal<>{.xi = 0, .published_rule = published}, z), z));
    CHECK(largest(thresholded<Be>(optim::proximal<>{.xi = 9, .published_rule = published}, z)) ==
          0);
    const optim::proximal<> optim{.xi = 0.1, .published_rule = published};
    CHECK(same(thresholded<Be>(optim, -1.0 * z), -1.0 * thresholded<Be>(optim, z)));
  }
}

TEST_CASE_TEMPLATE("proximal: the gate gets no weight decay, A and B do", Be, PREHEAT_BACKENDS) {
  Be be;
  const auto check = [&](const auto& optim, double factor) {
    auto p = random_params<gated>(be, 1);
    const auto before = clone_params(be, p);
    auto g = zeros_like(be, p);
    auto state = optim.start(be, p);
    optim.step(be, p, g, state, context_of(0));
    CHECK(same(read<Be>(be, p.g), read<Be>(be, before.g)));
    CHECK(gap(read<Be>(be, p.A), factor * read<Be>(be, before.A)) < tolerance<Be>(1));
    CHECK(gap(read<Be>(be, p.B), factor * read<Be>(be, before.B)) < tolerance<Be>(1));
  };
  // The rate of the step is 0.1; the gradient is zero.
  check(optim::proximal<>{.base = {.weight_decay = 0.5}, .xi = 0}, 0.95);
  check(optim::proximal<optim::sgd>{.base = {.weight_decay = 0.5}, .xi = 0}, 0.95);
  check(optim::proximal<optim::masked<>>{.base = {.base = {.weight_decay = 0.5}}, .xi = 0}, 0.95);
}

TEST_CASE_TEMPLATE("proximal: the penalty adds η·sign(g)/N to the gate's gradient only", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  auto p = random_params<gated>(be, 1);
  table z(4, 1);
  z(0, 0) = 3;
  z(1, 0) = -1e-6;
  z(3, 0) = -2;
  write(be, z, view_of<Be>(p.g));
  const auto before = random_gradient<gated>(be, 2);
  auto g = clone_params(be, before);
  step_context context = context_of(0);
  context.entries[int(parameter_role::gate)] = 20;
  context.entries[int(parameter_role::A)] = 1000;
  context.matrices[int(parameter_role::gate)] = 5;
  optim::proximal<>{.eta = 5}.on(hook::penalize{}, be, p, g, context);
  CHECK(same(read<Be>(be, g.A), read<Be>(be, before.A)));
  CHECK(same(read<Be>(be, g.B), read<Be>(be, before.B)));
  const table wanted = read<Be>(be, before.g) + 0.25 * mapped(z, sign);
  CHECK(gap(read<Be>(be, g.g), wanted) < tolerance<Be>(1));
}

TEST_CASE("schedule of ξ: a first stage of its own length, the others equal") {
  const optim::proximal<> published{.xi = 0,
                                    .xi_last = 6,
                                    .schedule = xi_schedule::linear,
                                    .stages = 7,
                                    .first_stage = 50.0 / 140};
  for (index_t epoch = 0; epoch < 140; ++epoch) {
    CAPTURE(epoch);
    const double stage = epoch < 50 ? 0 : double(1 + (epoch - 50) / 15);
    CHECK(published.threshold(epoch, 140) == doctest::Approx(stage));
  }
}

TEST_CASE("schedule of ξ: equal stages from the first value to the last, by formula, monotone") {
  const auto formula = [](xi_schedule schedule, double a, double b, double x) {
    switch (schedule) {
      case xi_schedule::linear:
        return a + x * (b - a);
      case xi_schedule::log_linear:
        return std::log((1 - x) * std::exp(a) + x * std::exp(b));
      default:
        return std::pow(a, 1 - x) * std::pow(b, x);
    }
  };
  for (const auto kind : {xi_schedule::linear, xi_schedule::log_linear, xi_schedule::exp_linear}) {
    for (const auto& [first, last] : {std::pair(0.1, 0.9), std::pair(0.7, 1e-3)}) {
      for (const index_t steps : {7, 70, 100}) {
        CAPTURE(steps);
        const optim::proximal<> optim{.xi = first, .xi_last = last, .schedule = kind, .stages = 7};
        CHECK(std::abs(optim.threshold(0, steps) - first) < 1e-15);
        CHECK(std::abs(optim.threshold(steps - 1, steps) - last) < 1e-15);
        index_t length[7] = {};
        for (index_t step = 0; step < steps; ++step) {
          index_t stage = 0;  // the last whose part has begun
          while (stage < 6 && (stage + 1) * steps <= 7 * step) {
            ++stage;
          }
          ++length[stage];
          const double now = optim.threshold(step, steps);
          CHECK(std::abs(now - formula(kind, first, last, double(stage) / 6)) < 1e-15);
          CHECK((last - first) * (optim.threshold(step + 1, steps) - now) >= 0);
        }
        for (const index_t n : length) {
          CHECK((n == steps / 7 || n == steps / 7 + 1));
        }
      }
    }
  }
}

TEST_CASE("schedule of ξ: constant, a single stage, and the order of the three forms") {
  const auto at = [](xi_schedule kind, index_t stages, index_t step) {
    return optim::proximal<>{.xi = 0.2, .xi_last = 0.8, .schedule = kind, .stages = stages}
        .threshold(step, 50);
  };
  for (index_t step = 0; step < 50; ++step) {
    CHECK(at(xi_schedule::constant, 7, step) == 0.2);
    for (const auto kind :
         {xi_schedule::linear, xi_schedule::log_linear, xi_schedule::exp_linear}) {
      CHECK(at(kind, 1, step) == 0.2);
    }
    // The mean of logarithms is below the mean, that of exponentials above.
    const double middle = at(xi_schedule::linear, 5, step);
    const bool inside = step >= 10 && step < 40;
    CHECK((at(xi_schedule::exp_linear, 5, step) < middle - 0.01) == inside);
    CHECK((at(xi_schedule::log_linear, 5, step) > middle + 0.01) == inside);
  }
}

TEST_CASE_TEMPLATE("threshold: a step uses the ξ of its stage", Be, PREHEAT_BACKENDS) {
  const optim::proximal<> optim{
      .xi = 0, .xi_last = 0.75, .schedule = xi_schedule::linear, .stages = 4};
  const table z = gate_values();
  for (const index_t step : {0, 249, 250, 500, 999}) {  // of 1000
    const double now = 0.25 * double(step / 250);
    CHECK(same(thresholded<Be>(optim, z, step), thresholded<Be>(optim::proximal<>{.xi = now}, z)));
  }
}

TEST_CASE_TEMPLATE("threshold: a closed gate opens again when its gradient outweighs ξ", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  auto p = random_params<gated>(be, 1);
  be.fill(0, p.g);
  const optim::proximal<optim::sgd> optim{.xi = 0.25};
  auto state = optim.start(be, p);
  auto g = zeros_like(be, p);
  table pull(4, 1);
  pull(0, 0) = -10;  // times the rate: a move of 1
  pull(1, 0) = 20;
  pull(2, 0) = -2;  // a move of 0.2 < ξ
  write(be, pull, view_of<Be>(g.g));
  optim.step(be, p, g, state, context_of(0));
  table wanted(4, 1);
  wanted(0, 0) = 0.75;
  wanted(1, 0) = -1.75;
  CHECK(gap(read<Be>(be, p.g), wanted) < tolerance<Be>(1));
  CHECK(read<Be>(be, p.g)(2, 0) == 0);
}

TEST_CASE("proximal: settings that make no sense are refused") {
  cpu_double be;
  const auto p = random_params<gated>(be, 1);
  const auto refused = [&](const optim::proximal<>& optim) {
    CHECK_THROWS_AS(optim.start(be, p), invalid_argument);
  };
  refused({.eta = -1});
  refused({.xi = -1e-9});
  refused({.xi_last = -1e-9});
  refused({.stages = 0});
  refused({.first_stage = 1});
  refused({.first_stage = -0.1});
  refused({.xi = 0, .xi_last = 1, .schedule = xi_schedule::exp_linear});
  refused({.xi = 1, .xi_last = 0, .schedule = xi_schedule::exp_linear});
  CHECK_NOTHROW(optim::proximal<>{.eta = 0, .xi = 0, .stages = 1}.start(be, p));
}
