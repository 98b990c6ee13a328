// LoRA+ and LoRA-FA in whole runs: LoRA+ at ratio 1 is its base bitwise, LoRA-FA leaves A bitwise
// alone; both composed with HRP's start, a chain, masks, a change of rank and a stop in the middle.
#include <preheat/methods.hpp>
#include <preheat/optim/lora_fa.hpp>
#include <preheat/optim/lora_plus.hpp>
#include <preheat/train/fit.hpp>

#include "support/backends.hpp"
#include "support/resume_check.hpp"
#include "support/toy_task.hpp"

using namespace conformance;
using namespace preheat;

namespace {

using train_b = adapter::asymmetric<parameter_role::B>;

}  // namespace

TEST_CASE_TEMPLATE("lora_plus: ratio 1 is the base bitwise, over masks and under them", Be,
                   PREHEAT_BACKENDS) {
  const auto trained = [](const auto& method) {
    toy_task<Be> task;
    return fit(method, task.net, task.data, {.rank = 3, .steps = 8});
  };
  Be be;
  using plus = optim::lora_plus<>;
  const optim::adamw adamw{.lr = 1e-3};
  const plus four{.base = adamw, .ratio = 4};
  const auto plain = trained(lora{.optim = adamw});
  CHECK(same_results(be, trained(method<plus>{.optim = {.base = adamw, .ratio = 1}}), plain));
  CHECK_FALSE(same_results(be, trained(method<plus>{.optim = four}), plain));

  const auto under = trained(method<optim::masked<plus>>{.optim = {.base = four}});
  const auto over = trained(
      method<optim::lora_plus<optim::masked<>>>{.optim = {.base = {.base = adamw}, .ratio = 4}});
  CHECK(same_results(be, under, over));
  CHECK_FALSE(same_results(be, under, trained(method<plus>{.optim = four})));
}

TEST_CASE_TEMPLATE("lora_fa: from HRP's start A keeps the directions, whichever adapter", Be,
                   cpu_float, archetype_double) {
  const fit_options options{.rank = 2, .steps = 12, .clamp_rank = true};
  const auto trained = [&](const auto& method, toy_task<Be>& task) {
    auto run = start_run(method, task.net, task.data, options);
    std::vector<table> A;
    for (const auto& adapted_layer : run.adapters.layers()) {
      A.push_back(read<Be>(task.be, adapted_layer.parameters.A));
      CHECK(orthonormality_gap(transposed(A.back())) < tolerance<Be>(15));
    }
    auto report = run.run_to_end();
    for (std::size_t l = 0; l < A.size(); ++l) {
      CHECK(same(read<Be>(task.be, report.layers[l].parameters.A), A[l]));
      CHECK(largest(read<Be>(task.be, report.layers[l].parameters.B)) > 0);
    }
    return report;
  };
  toy_task<Be> first;
  toy_task<Be> second;
  const auto frozen =
      trained(method<train_b, init::hrp<>, optim::lora_fa>{.optim = {.lr = 1e-2}}, first);
  const auto both = trained(method<init::hrp<>, optim::lora_fa>{.optim = {.lr = 1e-2}}, second);
  CHECK(frozen.losses == both.losses);
  for (std::size_t l = 0; l < frozen.layers.size(); ++l) {
    CHECK(same(read<Be>(first.be, frozen.layers[l].parameters.B),
               read<Be>(second.be, both.layers[l].parameters.B)));
  }
}

TEST_CASE("exact resume: LoRA+ and LoRA-FA in a chain and from HRP's start") {
  const fit_options options{.rank = 2, .clamp_rank = true};
  check_resume(
      method<optim::lora_plus<>, chain::merge_every>{.optim = {.base = {.lr = 5e-3}, .ratio = 4},
                                                     .chain = {.period = 6}},
      options, 9);
  check_resume(
      method<train_b, init::orthogonal, optim::lora_fa, chain::merge_every>{.optim = {.lr = 2e-2},
                                                                            .chain = {.period = 6}},
      options, 9);
  check_resume(method<init::hrp<>, optim::lora_plus<>>{.optim = {.base = {.lr = 5e-3}, .ratio = 4}},
               options, 9);
}

TEST_CASE("lora_fa: moments follow a change of rank") {
  using Be = archetype_double;
  toy_task<Be> task;
  auto run = start_run(method<optim::lora_fa>{.optim = {.lr = 1e-2}}, task.net, task.data,
                       {.rank = 3, .steps = 8});
  run.step();
  const table kept = columns(read<Be>(task.be, run.adapters.optimizer(0).v.B), 2, 1);
  run.select_ranks(0, {2}, 1);
  const table now = read<Be>(task.be, run.adapters.optimizer(0).v.B);
  CHECK(now.cols == 2);
  CHECK(same(columns(now, 0, 1), kept));
  CHECK(largest(columns(now, 1, 1)) == 0);
  CHECK(run.run_to_end().status == fit_status::completed);
}
