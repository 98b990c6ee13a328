// LoRA+ and LoRA-FA: their updates against plain loops; A bitwise alone under LoRA-FA, whose
// projection is the least-squares one. Whole runs are in lora_plus_fa_run.cpp.
#include <preheat/adapter/asymmetric.hpp>
#include <preheat/optim/lora_fa.hpp>
#include <preheat/optim/lora_plus.hpp>

#include "support/backends.hpp"
#include "support/regressions.hpp"

using namespace conformance;
using namespace preheat;

namespace {

constexpr index_t m = 9, n = 7, r = 2;
constexpr int steps = 5;
using train_b = adapter::asymmetric<parameter_role::B>;

table a_start() {
  return random_table(r, n, 1);
}
table b_start() {
  return random_table(m, r, 2);
}
table a_gradient(int t) {
  return random_table(r, n, std::uint64_t(10 + t));
}
table b_gradient(int t) {
  return random_table(m, r, std::uint64_t(20 + t));
}

// A and B after `steps` steps on those gradients.
template <class Be, class Adapter, class Optim>
std::pair<table, table> stepped(const Optim& optim, step_context context, table A = a_start()) {
  Be be;
  typename Adapter::template params<Be> p{matrix(be, A), matrix(be, b_start())};
  auto state = optim.start(be, p);
  for (int t = 0; t < steps; ++t) {
    auto g = zeros_like(be, p);
    if (g.A.rows() > 0) {
      write(be, a_gradient(t), view_of<Be>(g.A));
    }
    write(be, b_gradient(t), view_of<Be>(g.B));
    optim.step(be, p, g, state, context);
  }
  return {read<Be>(be, p.A), read<Be>(be, p.B)};
}

// What AdamW makes of one factor, by the textbook.
table adamw(table x, table (*gradient)(int), double rate, double decay) {
  reference_adam adam;
  for (int t = 0; t < steps; ++t) {
    x = (1 - rate * decay) * x - rate * adam.direction(gradient(t));
  }
  return x;
}

// s⁻²·g·(A·Aᵀ)⁻¹ for two ranks, by Cramer's rule.
table projected(const table& g, const table& A, double s) {
  const table C = A * transposed(A);
  const double det = C(0, 0) * C(1, 1) - C(0, 1) * C(1, 0);
  table inverse(2, 2);
  inverse(0, 0) = C(1, 1) / det;
  inverse(1, 1) = C(0, 0) / det;
  inverse(0, 1) = inverse(1, 0) = -C(0, 1) / det;
  return (1 / (s * s)) * (g * inverse);
}

// The step that LoRA-FA takes for the gradient g of B, without its moments: β₁ = β₂ = 0, and an ε
// so large that the direction is the projected gradient itself.
template <class Be>
table bare_step(const table& A, const table& g, double s) {
  Be be;
  train_b::params<Be> p{matrix(be, A), be.zeros(m, A.rows)};
  auto gradient = zeros_like(be, p);
  write(be, g, view_of<Be>(gradient.B));
  const optim::lora_fa optim{.beta1 = 0, .beta2 = 0, .epsilon = 1e16, .delta = 0};
  auto state = optim.start(be, p);
  step_context context;
  context.learning_rate = 1e16;
  context.scaling = s;
  optim.step(be, p, gradient, state, context);
  return -1.0 * read<Be>(be, p.B);
}

}  // namespace

TEST_CASE_TEMPLATE("lora_plus: A at the rate, B at ratio times it, decay with each", Be,
                   PREHEAT_BACKENDS) {
  step_context context;
  context.learning_rate = 0.01;
  context.rate_scale[int(parameter_role::B)] = 2;  // another decorator's, kept
  const optim::lora_plus<> optim{.base = {.weight_decay = 0.3}, .ratio = 5};
  const auto [A, B] = stepped<Be, adapter::lora>(optim, context);
  CHECK(gap(A, adamw(a_start(), a_gradient, 0.01, 0.3)) < tolerance<Be>(1));
  CHECK(gap(B, adamw(b_start(), b_gradient, 0.1, 0.3)) < tolerance<Be>(1));
  CHECK(optim::lora_plus<>{}.ratio == 16);

  Be be;
  const adapter::lora::params<Be> p{be.zeros(r, n), be.zeros(m, r)};
  for (const double bad : {0.0, -1.0}) {
    CHECK_THROWS_AS(optim::lora_plus<>{.ratio = bad}.start(be, p), invalid_argument);
  }
}

TEST_CASE_TEMPLATE("lora_fa: the update is PEFT's, and A stays bitwise", Be, PREHEAT_BACKENDS) {
  const double s = 1.5;
  step_context context;
  context.learning_rate = 0.01;
  context.scaling = s;
  context.rate_scale[int(parameter_role::B)] = 2;
  context.decay_scale[int(parameter_role::B)] = 0.5;
  const optim::lora_fa optim{.beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-3, .weight_decay = 0.4};
  const auto [A, B] = stepped<Be, adapter::lora>(optim, context);
  const auto [A_frozen, B_frozen] = stepped<Be, train_b>(optim, context);
  Be be;
  CHECK(same(A, read<Be>(be, matrix(be, a_start()))));
  CHECK(same(A_frozen, A));
  CHECK(same(B_frozen, B));

  table want = b_start();
  table mean(m, r);
  table square(m, r);
  for (int t = 1; t <= steps; ++t) {
    const table g = projected(b_gradient(t - 1), a_start(), s);
    mean = 0.8 * mean + 0.2 * g;
    square = 0.95 * square + 0.05 * mapped(g, [](double x) { return x * x; });
    const double rate = 0.02 * std::sqrt(1 - std::pow(0.95, t)) / (1 - std::pow(0.8, t));
    for (std::size_t i = 0; i < want.values.size(); ++i) {
      want.values[i] -= rate * mean.values[i] / (std::sqrt(square.values[i]) + 1e-3);
      want.values[i] -= 0.02 * 0.2 * want.values[i];
    }
  }
  // PEFT's δ = 1e-8 is in the step and not in the reference.
  CHECK(gap(B, want) < tolerance<Be>(1) + 1e-7);

  const adapter::lora::params<Be> p{be.zeros(r, n), be.zeros(m, r)};
  const auto state = optim::lora_fa{}.start(be, p);
  CHECK(state.m.A.rows() == 0);
  CHECK(state.v.B.rows() == m);
  CHECK_THROWS_AS(optim::lora_fa{.delta = -1}.start(be, p), invalid_argument);
  CHECK_THROWS_AS(optim::lora_fa{.beta1 = 1}.start(be, p), invalid_argument);
  CHECK_THROWS_AS(optim::lora_fa{.epsilon = -1}.start(be, p), invalid_argument);
}

// min over h of ‖s·h·A − G‖: the residual is orthogonal to A's rows, for dependent rows too.
TEST_CASE_TEMPLATE("lora_fa: the projected gradient is the least-squares one", Be,
                   PREHEAT_BACKENDS) {
  const double s = 1.5;
  const table G = random_table(m, n, 30);
  table A = random_table(3, n, 31);
  for (const bool dependent : {false, true}) {
    CAPTURE(dependent);
    if (dependent) {
      for (index_t j = 0; j < n; ++j) {
        A(2, j) = A(0, j);
      }
    }
    const table h = bare_step<Be>(A, s * G * transposed(A), s);
    const table residual = s * h * A - G;
    CHECK(largest(h) > 0.01);
    CHECK(largest(residual * transposed(A)) < 10 * tolerance<Be>(n));
    CHECK(square_norm(residual) < square_norm(s * (1.01 * h) * A - G));
  }
  CHECK(largest(bare_step<Be>(table(2, n), table(m, 2), s)) == 0);  // A = 0: nothing moves
}
