// LoRA-Pro in runs: moments that belong to W outlive a change of rank, and factors that overflow end
// a run with a status.
#include <preheat/methods.hpp>
#include <preheat/train/fit.hpp>

#include "pair_problem.hpp"
#include "support/regressions.hpp"

using namespace conformance;
using namespace preheat;

namespace {

template <class Be>
struct context {
  regression_data data{{{9, 7}, {6, 8}}};
  fit_options options{.rank = 3, .steps = 6, .layer_scaling = {1.5, 0.75}};
  Be be{};
  regressions<Be> net{be, data};
  typename regressions<Be>::batches batches{};
};

template <class Be, class Method>
void check_overflow(const Method& method) {
  context<Be> at;
  auto run = start_run(method, at.net, at.batches, at.options);
  // B = 0, so the loss is finite; AAᵀ is not.
  const double huge = 1e3 * std::sqrt(double(std::numeric_limits<scalar_of<Be>>::max()));
  auto& A = run.adapters.layers()[0].parameters.A;
  write<Be>(at.be, huge * random_table(A.rows(), A.cols(), 550), view_of<Be>(A));
  while (!run.done()) {
    REQUIRE_NOTHROW(run.step());
  }
  const auto report = run.finish();
  CHECK(report.status == fit_status::non_finite);
  CHECK(report.steps == 1);
}

}  // namespace

TEST_CASE_TEMPLATE("lora_pro_adamw: the moments belong to W and outlive a change of rank", Be,
                   PREHEAT_BACKENDS) {
  context<Be> at;
  auto run = start_run(lora_pro{.optim = {.lr = 0.05, .delta = 0}}, at.net, at.batches, at.options);
  for (int k = 0; k < 3; ++k) {
    run.step();
  }
  const auto& state = run.adapters.optimizer(0);
  const auto& p = run.adapters.layers()[0].parameters;
  const table first = read<Be>(at.be, state.m);
  const table second = read<Be>(at.be, state.v);
  run.select_ranks(0, {2, 0}, 2);
  CHECK(same(read<Be>(at.be, state.m), first));
  CHECK(same(read<Be>(at.be, state.v), second));

  // They go on from there; B has two ranks of zeros now.
  pair_problem now{.A = read<Be>(at.be, p.A), .B = read<Be>(at.be, p.B), .G = {}, .s = 1.5};
  const table W = at.data.layers[0].W + now.s * (now.B * now.A);
  now.G = at.data.gradient(0, W, regression_data::batch(3));
  const table g = now.in_reach();
  run.step();
  const double tol = tolerance<Be>(100) * largest(g);
  CHECK(gap(read<Be>(at.be, state.m), 0.9 * first + 0.1 * g) < tol);
  CHECK(gap(read<Be>(at.be, state.v),
            0.999 * second + 0.001 * mapped(g, [](double x) { return x * x; })) < tol * largest(g));
  CHECK(state.t == 4);
  CHECK(p.A.rows() == 4);
  while (!run.done()) {
    run.step();
  }
  CHECK(run.finish().status == fit_status::completed);
}

TEST_CASE_TEMPLATE("lora_pro: factors that overflow end the run with a status", Be,
                   PREHEAT_BACKENDS) {
  check_overflow<Be>(lora_pro_sgd{});
  check_overflow<Be>(lora_pro{});
  check_overflow<Be>(lora_pro_factored{});
}

TEST_CASE_TEMPLATE("lora_pro_factored: the moments of the factors follow their ranks", Be,
                   PREHEAT_BACKENDS) {
  context<Be> at;
  auto run = start_run(lora_pro_factored{}, at.net, at.batches, at.options);
  for (int k = 0; k < 3; ++k) {
    run.step();
  }
  const auto& moments = run.adapters.optimizer(0).base;
  const table first = read<Be>(at.be, moments.m.A);
  run.select_ranks(0, {2, 0}, 2);
  const table kept = read<Be>(at.be, moments.m.A);
  CHECK(kept.rows == 4);
  for (index_t j = 0; j < kept.cols; ++j) {
    CHECK(kept(0, j) == first(2, j));
    CHECK(kept(1, j) == first(0, j));
    CHECK(kept(2, j) == 0);
  }
  while (!run.done()) {
    run.step();
  }
  CHECK(run.finish().status == fit_status::completed);
}
