// LoRA-Pro's optimizers: Adam's direction in m×n space and the step that follows it, what they keep
// in memory, and plain first steps. lora_pro_run.cpp has what happens in runs.
#include <array>
#include <preheat/optim/lora_pro_adamw.hpp>
#include <preheat/optim/sgd.hpp>

#include "pair_problem.hpp"
#include "support/regressions.hpp"

using namespace conformance;
using namespace preheat;

namespace {

constexpr index_t m = pair_problem::m;
constexpr index_t n = pair_problem::n;
constexpr index_t r = pair_problem::r;

// An optimizer on one layer. Whatever the weight, the gradient of step t is `gradient_of(t)`.
template <class Be, class Optim>
struct trainer {
  Be be{};
  Optim optim;
  lora_params<Be> p;
  typename Optim::template state<Be, lora_params<Be>> state;
  step_context context;

  trainer(const Optim& o, const pair_problem& from)
      : optim(o), p(from.factors(be)), state(optim.start(be, p)) {
    context.learning_rate = 0.05;
    context.scaling = from.s;
  }
  static table gradient_of(int t) { return random_table(m, n, std::uint64_t(540 + t)); }
  pair_problem here(const table& G) {
    return {.A = read<Be>(be, p.A), .B = read<Be>(be, p.B), .G = G, .s = context.scaling};
  }
  // Afterwards the archetype's record is that of the step.
  void step(const table& G) {
    lora_params<Be> gradient = here(G).gradient(be);
    if constexpr (requires { be.forget(); }) {
      be.forget();
    }
    optim.step(be, p, gradient, state, context);
  }
};

template <class M>
index_t size(const M& matrix) {
  return matrix.rows() * matrix.cols();
}

}  // namespace

TEST_CASE_TEMPLATE("lora_pro_adamw: the first direction is the sign of the equivalent gradient", Be,
                   PREHEAT_BACKENDS) {
  const pair_problem start;
  for (const double epsilon : {1e-8, 0.5}) {  // one that says nothing of size, and one that does
    CAPTURE(epsilon);
    trainer<Be, optim::lora_pro_adamw> t({.epsilon = epsilon, .delta = 0}, start);
    t.step(start.G);
    const table direction = read<Be>(t.be, t.state.direction);
    const table want =
        mapped(start.in_reach(), [&](double g) { return g / (std::abs(g) + epsilon); });
    CHECK(gap(direction, want) < rounding<Be>(start));
    if (epsilon < 0.1) {
      const table magnitudes = mapped(direction, [](double u) { return std::abs(u); });
      CHECK(gap(magnitudes, table(m, n, 1)) < 1e-4);
    }
  }
}

TEST_CASE_TEMPLATE("lora_pro_adamw: a step moves W by what a pair can reach of Adam's direction",
                   Be, PREHEAT_BACKENDS) {
  const optim::lora_pro_adamw optim{
      .beta1 = 0.8, .beta2 = 0.9, .epsilon = 1e-2, .weight_decay = 0.125, .delta = 0};
  reference_adam adam{.beta1 = 0.8, .beta2 = 0.9, .epsilon = 1e-2};
  trainer<Be, optim::lora_pro_adamw> t(optim, {});
  t.context.learning_rate = 0.5;
  t.context.rate_scale[int(parameter_role::B)] = 2;   // B has twice the rate,
  t.context.decay_scale[int(parameter_role::B)] = 0;  // and no decay
  for (int k = 0; k < 4; ++k) {
    CAPTURE(k);
    const pair_problem before = t.here(t.gradient_of(k));
    const double tol = 8 * rounding<Be>(before);
    t.step(before.G);
    const pair_problem after = t.here(before.G);
    pair_problem of_direction = before;
    of_direction.G = adam.direction(before.in_reach());
    CHECK(gap(read<Be>(t.be, t.state.direction), of_direction.G) < tol);
    CHECK(gap(read<Be>(t.be, t.state.m), adam.m) < tol);
    CHECK(gap(read<Be>(t.be, t.state.v), adam.v) < tol);
    const pair_steps h{2 * ((1 - 0.5 * 0.125) * before.A - after.A), before.B - after.B};
    CHECK(gap(effect(before, h), of_direction.in_reach()) < tol);
  }
}

TEST_CASE_TEMPLATE("lora_pro: SGD moves W by what a pair can reach of G, at any scaling", Be,
                   PREHEAT_BACKENDS) {
  for (const double s : {0.5, 1.75}) {
    const pair_problem start{.s = s};
    trainer<Be, optim::lora_pro<optim::sgd>> t({.delta = 0}, start);
    t.context.learning_rate = 0.5;
    t.step(start.G);
    const pair_problem after = t.here(start.G);
    const pair_steps h{2 * (start.A - after.A), 2 * (start.B - after.B)};
    CHECK(gap(effect(start, h), start.in_reach()) < rounding<Be>(start));
  }
}

TEST_CASE_TEMPLATE("lora_pro: plain steps are the base's, then its moments start afresh", Be,
                   PREHEAT_BACKENDS) {
  using pro = optim::lora_pro<optim::adamw>;
  const int plain_steps = 3;
  pair_problem start;
  start.B = table(m, r);
  const auto same_factors = [](auto& a, auto& b) {
    return same(read<Be>(a.be, a.p.A), read<Be>(b.be, b.p.A)) &&
           same(read<Be>(a.be, a.p.B), read<Be>(b.be, b.p.B));
  };
  trainer<Be, optim::adamw> plain({}, start);
  trainer<Be, pro> delayed({.plain_steps = plain_steps}, start);
  for (int k = 0; k < plain_steps; ++k) {
    plain.step(plain.gradient_of(k));
    delayed.step(plain.gradient_of(k));
    CHECK(same_factors(plain, delayed));
  }
  trainer<Be, pro> fresh({}, delayed.here({}));
  for (int k = plain_steps; k < 2 * plain_steps; ++k) {
    plain.step(plain.gradient_of(k));
    delayed.step(plain.gradient_of(k));
    fresh.step(plain.gradient_of(k));
    CHECK(same_factors(fresh, delayed));
    CHECK_FALSE(same_factors(plain, delayed));
  }
}

TEST_CASE_TEMPLATE("lora_pro: what a state holds is what its header says", Be, PREHEAT_BACKENDS) {
  for (const auto& [rows, cols, rank] : {std::array<index_t, 3>{9, 7, 3}, {4, 11, 1}, {5, 5, 5}}) {
    const pair_problem start{.A = random_table(rank, cols, 560),
                             .B = random_table(rows, rank, 561),
                             .G = random_table(rows, cols, 562)};
    const index_t thin = (rows + cols) * rank;
    const auto workspace = [](const auto& pair) { return size(pair.work_a) + size(pair.work_b); };

    trainer<Be, optim::lora_pro_adamw> full({}, start);
    full.step(start.G);
    CHECK(size(full.state.m) + size(full.state.v) + size(full.state.direction) +
              workspace(full.state.pair) ==
          optim::lora_pro_adamw::memory(rows, cols, rank));

    trainer<Be, optim::lora_pro<optim::adamw>> factored({}, start);
    factored.step(start.G);
    CHECK(workspace(factored.state.work) == thin);
    CHECK(trained_size(factored.state.base.m) + trained_size(factored.state.base.v) == 2 * thin);

    trainer<Be, optim::lora_pro<optim::sgd>> sgd({}, start);
    sgd.step(start.G);
    CHECK(workspace(sgd.state.work) == thin);
    CHECK(trained_size(sgd.state.base.velocity) == 0);
  }
}

TEST_CASE("lora_pro: no step makes an m×n matrix, and only lora_pro_adamw's start does") {
  const pair_problem start;
  trainer<archetype_double, optim::lora_pro_adamw> full({}, start);
  CHECK(full.be.made(m, n));
  trainer<archetype_double, optim::lora_pro<optim::adamw>> factored({.plain_steps = 1}, start);
  CHECK_FALSE(factored.be.made(m, n));
  trainer<archetype_double, optim::lora_pro<optim::sgd>> sgd({.base = {.momentum = 0.9}}, start);
  CHECK_FALSE(sgd.be.made(m, n));
  const auto check_step = [](auto& t, int k) {
    t.step(t.gradient_of(k));
    CHECK(t.be.calls["gemm"] + t.be.calls["each"] > 0);
    for (const auto& [rows, cols] : t.be.shapes) {
      CHECK(std::min(rows, cols) <= r);
    }
  };
  for (int k = 0; k < 3; ++k) {
    check_step(full, k);
    check_step(factored, k);
    check_step(sgd, k);
  }
}

TEST_CASE("lora_pro: settings without a meaning are refused") {
  const auto start = [](const auto& optim) {
    cpu_double be;
    const auto p = pair_problem{}.factors(be);
    return optim.start(be, p);
  };
  using adamw = optim::lora_pro_adamw;
  CHECK_THROWS_AS(start(optim::lora_pro<>{.delta = -1}), invalid_argument);
  CHECK_THROWS_AS(start(optim::lora_pro<>{.plain_steps = -1}), invalid_argument);
  for (const adamw& optim : {adamw{.lr = -1}, adamw{.beta1 = 1}, adamw{.beta2 = -0.1},
                             adamw{.epsilon = -1}, adamw{.weight_decay = -1}, adamw{.delta = -1}}) {
    CHECK_THROWS_AS(start(optim), invalid_argument);
  }
}
