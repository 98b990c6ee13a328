// LoRA with a trained bias on B: output and gradients against plain loops, with and without dropout;
// LoRA as long as the bias is zero; merging into b, or a clear error; in runs.
#include <preheat/adapter/lora_bias.hpp>
#include <preheat/methods.hpp>
#include <preheat/optim/lora_plus.hpp>
#include <preheat/train/fit.hpp>

#include "support/backends.hpp"
#include "support/toy_task.hpp"

using namespace conformance;
using namespace preheat;

namespace {

constexpr index_t m = 5, n = 4, r = 2, N = 3;
constexpr double s = 1.5;

struct numbers {
  table W = random_table(m, n, 1), b = random_table(m, 1, 2);
  table A = random_table(r, n, 3), B = random_table(m, r, 4), bias = random_table(m, 1, 5);
  table x = random_table(n, N, 6), dropped = random_table(n, N, 7), C = random_table(m, N, 8);
  table ones = table(1, N, 1);
};

template <class Be>
adapter::lora_bias::params<Be> random_params(Be& be, const frozen_linear<Be>& base,
                                             const numbers& given) {
  auto p = adapter::lora_bias{}.start(be, base, {matrix(be, given.A), matrix(be, given.B)},
                                      generator(1));
  CHECK(same(read<Be>(be, p.bias), table(m, 1)));
  write(be, given.bias, view_of<Be>(p.bias));
  return p;
}

}  // namespace

TEST_CASE_TEMPLATE("lora_bias: output and gradients are the formula's", Be, PREHEAT_BACKENDS) {
  Be be;
  const numbers given;
  const double tol = 20 * tolerance<Be>(n);
  const mat<Be> W = matrix(be, given.W);
  const mat<Be> x = matrix(be, given.x);
  const mat<Be> dropped = matrix(be, given.dropped);
  const mat<Be> dY = matrix(be, given.C);
  for (const bool has_b : {true, false}) {
    for (const bool dropping : {true, false}) {
      const mat<Be> b = has_b ? matrix(be, given.b) : mat<Be>{};
      const frozen_linear<Be> base{W, b, scalar_of<Be>(s)};
      const layer_input<Be> input{x, dropping ? dropped : x};
      const table xt = dropping ? given.dropped : given.x;
      const auto p = random_params(be, base, given);
      auto gradient = zeros_like(be, p);
      adapter::lora_bias::saved_activations<Be> saved_activations;
      mat<Be> Y = be.zeros(m, N);
      mat<Be> dx = be.zeros(n, N);
      mat<Be> d_dropped = be.zeros(n, N);
      const input_gradient<Be> to{dx, dropping ? d_dropped : dx};
      for (int pass = 1; pass <= 2; ++pass) {  // gradients add up
        be.fill(0, d_dropped);
        adapter::lora_bias{}.forward(be, p, base, input, view_of<Be>(Y), saved_activations);
        adapter::lora_bias{}.backward(be, p, base, input, const_view_of<Be>(dY), gradient, to,
                                      saved_activations);
        const table adapter_input = s * (given.B * given.A * xt + given.bias * given.ones);
        const table b_part = (has_b ? given.b : table(m, 1)) * given.ones;
        CHECK(gap(read<Be>(be, Y), given.W * given.x + adapter_input + b_part) < tol);
        const double k = pass * s;
        CHECK(gap(read<Be>(be, gradient.bias), k * given.C * transposed(given.ones)) < tol);
        CHECK(gap(read<Be>(be, gradient.B), k * given.C * transposed(given.A * xt)) < tol);
        CHECK(gap(read<Be>(be, gradient.A), k * transposed(given.B) * given.C * transposed(xt)) <
              tol);
        const table by_base = transposed(given.W) * given.C;
        const table by_branch = s * transposed(given.B * given.A) * given.C;
        CHECK(gap(read<Be>(be, dx), dropping ? by_base : by_base + by_branch) < tol);
        CHECK(gap(read<Be>(be, d_dropped), dropping ? by_branch : table(n, N)) < tol);
      }
    }
  }
}

TEST_CASE_TEMPLATE("lora_bias: merges into W and b, or says that it cannot", Be, PREHEAT_BACKENDS) {
  Be be;
  const numbers given;
  const scalar_of<Be> scaling = scalar_of<Be>(s);
  mat<Be> W = matrix(be, given.W);
  mat<Be> b = matrix(be, given.b);
  const auto p = random_params(be, frozen_linear<Be>{W, b, scaling}, given);
  const adapter::lora_bias adapter;
  adapter.merge(be, p, scaling, view_of<Be>(W), view_of<Be>(b));
  CHECK(gap(read<Be>(be, W), given.W + s * given.B * given.A) < 20 * tolerance<Be>(1));
  CHECK(gap(read<Be>(be, b), given.b + s * given.bias) < 20 * tolerance<Be>(1));
  adapter.merge(be, p, -scaling, view_of<Be>(W), view_of<Be>(b));
  CHECK(gap(read<Be>(be, W), given.W) < 20 * tolerance<Be>(1));
  CHECK(gap(read<Be>(be, b), given.b) < 20 * tolerance<Be>(1));

  const table before = read<Be>(be, W);
  CHECK_THROWS_AS(adapter.merge(be, p, scaling, view_of<Be>(W), view_of<Be>()), invalid_argument);
  CHECK(same(read<Be>(be, W), before));
  factors<Be> with_core{matrix(be, given.A), matrix(be, given.B), be.zeros(r, r)};
  CHECK_THROWS_AS(
      adapter.start(be, frozen_linear<Be>{W, b, scaling}, std::move(with_core), generator(1)),
      invalid_argument);
}

TEST_CASE_TEMPLATE("lora_bias: starts as LoRA, trains its bias, merges and folds", Be,
                   PREHEAT_BACKENDS) {
  const fit_options options{.rank = 2, .steps = 20, .dropout = 0.1};
  toy_task<Be> task;
  const table start = task.base_output();
  const auto report =
      fit(method<adapter::lora_bias>{.optim = {.lr = 1e-2}}, task.net, task.data, options);
  toy_task<Be> other;
  const auto plain = fit(lora{.optim = {.lr = 1e-2}}, other.net, other.data, options);
  CHECK(report.losses[0] == plain.losses[0]);
  CHECK(report.losses[19] != plain.losses[19]);
  CHECK(report.trainable_parameters == plain.trainable_parameters + 15 + 12 + 5);
  CHECK(largest(read<Be>(task.be, report.layers[0].parameters.bias)) > 0.01);
  const table adapted = task.adapted_output(report);
  CHECK(gap(adapted, start) > 0.1);
  merge(task.net, report);
  CHECK(gap(task.base_output(), adapted) < tolerance<Be>(50) * largest(adapted));

  toy_task<Be> chained;  // W and b take the chain up; the last fold leaves the output
  auto run =
      start_run(method<adapter::lora_bias, init::pissa, chain::merge_every>{.optim = {.lr = 1e-2},
                                                                            .chain = {.period = 3}},
                chained.net, chained.data, options);
  while (!run.done()) {
    run.step();
  }
  const table last = read<Be>(chained.be, chained.net.forward(chained.all.X, run.adapters));
  run.finish();
  CHECK(gap(chained.base_output(), last) < tolerance<Be>(50) * largest(last));
}

// PEFT's groups of LoRA+: the bias steps at B's rate and does not decay.
TEST_CASE_TEMPLATE("lora_bias: with LoRA+, and PEFT's groups of it", Be, PREHEAT_BACKENDS) {
  using T = scalar_of<Be>;
  Be be;
  const numbers given;
  const mat<Be> W = matrix(be, given.W);
  for (const bool peft_groups : {false, true}) {
    auto p = random_params(be, frozen_linear<Be>{W, {}, T(s)}, given);
    auto g = zeros_like(be, p);
    write(be, given.b, view_of<Be>(g.bias));
    const optim::lora_plus<optim::sgd> optim{
        .base = {.weight_decay = 0.5}, .ratio = 8, .peft_groups = peft_groups};
    auto state = optim.start(be, p);
    step_context context;
    context.learning_rate = 0.1;
    optim.step(be, p, g, state, context);
    const table want = peft_groups ? given.bias - 0.8 * given.b : 0.95 * given.bias - 0.1 * given.b;
    CHECK(gap(read<Be>(be, p.bias), want) < tolerance<Be>(1));
    CHECK(gap(read<Be>(be, p.A), 0.95 * given.A) < tolerance<Be>(1));
    CHECK(gap(read<Be>(be, p.B), 0.6 * given.B) < tolerance<Be>(1));
  }
}
