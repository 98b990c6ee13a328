// LoRA-Pro's three methods over 20 steps against plain tables, to 1e-10: h_A, h_B by elimination,
// X from the r²×r² system of Sylvester's equation. And a resumed run ends with the same bits.
#include <preheat/methods.hpp>
#include <preheat/train/fit.hpp>

#include "support/backends.hpp"
#include "support/dense.hpp"
#include "support/regressions.hpp"

using namespace conformance;
using namespace preheat;

namespace {

using Be = cpu_double;

constexpr index_t rank = 3;
constexpr double lr = 0.02;
constexpr double delta = 1e-8;

double rate_of(index_t step) {
  return lr / double(1 + step % 3);
}

struct factor_tables {
  table A, B;
};

// (h_A, h_B) of the plain gradient g of the factors p.
factor_tables equivalent(const factor_tables& p, const factor_tables& g, double s) {
  const table gram_a = p.A * transposed(p.A);
  const table gram_b = transposed(p.B) * p.B;
  const table inverse_a = inverse(gram_a + delta * identity(rank));
  const table inverse_b = inverse(gram_b + delta * identity(rank));
  const table h = 1 / (s * s) * (inverse_b * g.A);
  const table X = sylvester(gram_b, gram_a, -1.0 * (h * transposed(p.A)));
  const table outside = g.B - p.B * (inverse_b * (transposed(p.B) * g.B));
  return {h + X * p.A, 1 / (s * s) * (outside * inverse_a) - p.B * X};
}
factor_tables plain(const factor_tables& p, const table& G, double s) {
  return {s * (transposed(p.B) * G), s * (G * transposed(p.A))};
}

// The rules: of a layer whose factors are p and whose gradient is G, at step k.
struct sgd_rule {
  static constexpr double momentum = 0.5;
  static constexpr double decay = 0.1;
  factor_tables velocity{};
  lora_pro_sgd method() const {
    return {.optim = {.base = {.lr = lr, .momentum = momentum, .weight_decay = decay}}};
  }
  void step(factor_tables& p, const table& G, double s, index_t k) {
    const factor_tables h = equivalent(p, plain(p, G, s), s);
    const auto move = [&](table& x, table& u, const table& direction) {
      const table g = direction + decay * x;
      u = k == 0 ? g : momentum * u + g;
      x = x - rate_of(k) * u;
    };
    move(p.A, velocity.A, h.A);
    move(p.B, velocity.B, h.B);
  }
};
template <int PlainSteps>
struct factored_rule {
  static constexpr double decay = 0.1;
  reference_adam a{.epsilon = 1e-6}, b{.epsilon = 1e-6};
  lora_pro_factored method() const {
    return {.optim = {.base = {.lr = lr, .epsilon = 1e-6, .weight_decay = decay},
                      .plain_steps = PlainSteps}};
  }
  void step(factor_tables& p, const table& G, double s, index_t k) {
    if (k == PlainSteps) {
      a = b = {.epsilon = 1e-6};
    }
    factor_tables h = plain(p, G, s);
    if (k >= PlainSteps) {
      h = equivalent(p, h, s);
    }
    p.A = (1 - rate_of(k) * decay) * p.A - rate_of(k) * a.direction(h.A);
    p.B = (1 - rate_of(k) * decay) * p.B - rate_of(k) * b.direction(h.B);
  }
};
struct full_rule {
  static constexpr double decay = 0.1;
  reference_adam adam{.beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-6};
  lora_pro method() const {
    return {
        .optim = {.lr = lr, .beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-6, .weight_decay = decay}};
  }
  void step(factor_tables& p, const table& G, double s, index_t k) {
    const factor_tables g = equivalent(p, plain(p, G, s), s);
    const table U = adam.direction(s * (p.B * g.A + g.B * p.A));
    const factor_tables h = equivalent(p, plain(p, U, s), s);
    p.A = (1 - rate_of(k) * decay) * p.A - rate_of(k) * h.A;
    p.B = (1 - rate_of(k) * decay) * p.B - rate_of(k) * h.B;
  }
};

struct context {
  static constexpr index_t steps = 20;
  regression_data data{{{9, 7}, {6, 8}}};
  std::vector<double> scaling{1.5, 0.75};
  Be be{};
  regressions<Be> net{be, data};
  regressions<Be>::batches batches{};
  fit_options options{.rank = rank,
                      .steps = steps,
                      .schedule = [](index_t k, index_t) { return rate_of(k) / lr; },
                      .layer_scaling = scaling};
};

// From B = 0, or from a random B that is written into the run.
template <class Rule>
void check_reference(bool from_zero) {
  context at;
  std::vector<Rule> rules(2);
  auto run = start_run(rules[0].method(), at.net, at.batches, at.options);
  std::vector<factor_tables> now;
  for (auto& adapted_layer : run.adapters.layers()) {
    auto& B = adapted_layer.parameters.B;
    if (!from_zero) {
      write<Be>(at.be, 0.5 * random_table(B.rows(), rank, 570), view_of<Be>(B));
    }
    now.push_back({read<Be>(at.be, adapted_layer.parameters.A), read<Be>(at.be, B)});
  }
  for (index_t k = 0; k < context::steps; ++k) {
    CAPTURE(k);
    run.step();
    for (std::size_t l = 0; l < 2; ++l) {
      CAPTURE(l);
      const table W = at.data.layers[l].W + at.scaling[l] * (now[l].B * now[l].A);
      const table G = at.data.gradient(l, W, regression_data::batch(k));
      rules[l].step(now[l], G, at.scaling[l], k);
      const auto& p = run.adapters.layers()[l].parameters;
      CHECK(gap(read<Be>(at.be, p.A), now[l].A) < 1e-10);
      CHECK(gap(read<Be>(at.be, p.B), now[l].B) < 1e-10);
    }
  }
}

// Stopped after half of the steps and resumed.
template <class Rule>
void check_resume() {
  const auto method = Rule{}.method();
  context whole;
  auto uninterrupted = start_run(method, whole.net, whole.batches, whole.options);
  training_state saved;
  for (index_t k = 0; k < context::steps; ++k) {
    if (k == context::steps / 2) {
      saved = uninterrupted.state();
    }
    uninterrupted.step();
  }
  context rest;
  rest.options.resume = &saved;
  auto resumed = start_run(method, rest.net, rest.batches, rest.options);
  CHECK(resumed.steps_done() == context::steps / 2);
  while (!resumed.done()) {
    resumed.step();
  }
  for (std::size_t l = 0; l < 2; ++l) {
    const auto& a = uninterrupted.adapters.layers()[l].parameters;
    const auto& b = resumed.adapters.layers()[l].parameters;
    CHECK(same(read<Be>(whole.be, a.A), read<Be>(rest.be, b.A)));
    CHECK(same(read<Be>(whole.be, a.B), read<Be>(rest.be, b.B)));
  }
}

}  // namespace

TEST_CASE("lora_pro_sgd: 20 steps are those of plain tables") {
  check_reference<sgd_rule>(false);
}
TEST_CASE("lora_pro_sgd: 20 steps from B = 0 are those of plain tables") {
  check_reference<sgd_rule>(true);
}
TEST_CASE("lora_pro: 20 steps are those of plain tables") {
  check_reference<full_rule>(false);
}
TEST_CASE("lora_pro: 20 steps from B = 0 are those of plain tables") {
  check_reference<full_rule>(true);
}
TEST_CASE("lora_pro_factored: 20 steps are those of plain tables") {
  check_reference<factored_rule<0>>(false);
}
TEST_CASE("lora_pro_factored: 20 steps from B = 0 are those of plain tables") {
  check_reference<factored_rule<0>>(true);
}
TEST_CASE("lora_pro_factored: after plain first steps from B = 0 too") {
  check_reference<factored_rule<4>>(true);
}
TEST_CASE("lora_pro: a resumed run ends with the same bits") {
  check_resume<sgd_rule>();
  check_resume<full_rule>();
  check_resume<factored_rule<4>>();
  check_resume<factored_rule<context::steps / 2>>();  // resumed where the moments start afresh
}
