// Changes of rank during a run: the output moves by what was dropped and by nothing else, moments
// follow their parameters, and new ranks start at product zero.
#include <preheat/methods.hpp>
#include <preheat/nn/minibatches.hpp>
#include <preheat/train/fit.hpp>

#include "support/backends.hpp"
#include "support/toy_task.hpp"

using namespace conformance;
using namespace preheat;

namespace {

// The rows or columns of a table that are listed.
table chosen_columns(const table& a, const std::vector<index_t>& list) {
  table t(a.rows, index_t(list.size()));
  for (std::size_t k = 0; k < list.size(); ++k) {
    for (index_t i = 0; i < a.rows; ++i) {
      t(i, index_t(k)) = a(i, list[k]);
    }
  }
  return t;
}
table chosen_rows(const table& a, const std::vector<index_t>& list) {
  return transposed(chosen_columns(transposed(a), list));
}

template <class Be, class Run>
table output(toy_task<Be>& task, Run& run) {
  return read<Be>(task.be, task.net.forward(task.all.X, run.adapters));
}

}  // namespace

TEST_CASE_TEMPLATE("rank change: the dropped ranks leave the product and the kept ones stay", Be,
                   PREHEAT_BACKENDS) {
  toy_task<Be> task;
  auto run = start_run(lora{.optim = {.lr = 1e-2}}, task.net, task.data, {.rank = 4, .steps = 9});
  for (int i = 0; i < 5; ++i) {
    run.step();
  }
  const index_t l = 1;
  auto& adapted_layer = run.adapters.layers()[l];
  auto& adam = run.adapters.optimizer(l);
  const table a = read<Be>(task.be, adapted_layer.parameters.A);
  const table b = read<Be>(task.be, adapted_layer.parameters.B);
  const table m = read<Be>(task.be, adam.m.A);
  const table v = read<Be>(task.be, adam.v.B);
  const table before = output(task, run);

  const std::vector<index_t> keep{3, 1};
  run.select_ranks(l, keep, 0);
  CHECK(run.rank_of(l) == 2);
  CHECK(run.rank_of(0) == 4);
  CHECK(same(read<Be>(task.be, adapted_layer.parameters.A), chosen_rows(a, keep)));
  CHECK(same(read<Be>(task.be, adapted_layer.parameters.B), chosen_columns(b, keep)));
  CHECK(same(read<Be>(task.be, adam.m.A), chosen_rows(m, keep)));
  CHECK(same(read<Be>(task.be, adam.v.B), chosen_columns(v, keep)));
  CHECK(gap(output(task, run), before) > 0);

  // The factor s stays put, so ΔW changed by s·B·A of the dropped ranks.
  const std::vector<index_t> dropped{0, 2};
  const table change =
      double(adapted_layer.scaling) * (b * a - chosen_columns(b, keep) * chosen_rows(a, keep));
  const table gone =
      double(adapted_layer.scaling) * chosen_columns(b, dropped) * chosen_rows(a, dropped);
  CHECK(gap(change, gone) < tolerance<Be>(1));
  CHECK(adapted_layer.scaling == scalar_of<Be>(2));

  // Growing back: the output does not move, moments of the new ranks are zero.
  const table small = output(task, run);
  run.select_ranks(l, {0, 1}, 3);
  CHECK(run.rank_of(l) == 5);
  CHECK(gap(output(task, run), small) < tolerance<Be>(4) * largest(small));
  CHECK(same(chosen_rows(read<Be>(task.be, adapted_layer.parameters.A), {0, 1}),
             chosen_rows(a, keep)));
  CHECK(largest(chosen_rows(read<Be>(task.be, adapted_layer.parameters.A), {2, 3, 4})) > 0);
  CHECK(largest(chosen_columns(read<Be>(task.be, adapted_layer.parameters.B), {2, 3, 4})) == 0);
  CHECK(largest(chosen_rows(read<Be>(task.be, adam.m.A), {2, 3, 4})) == 0);
  CHECK(largest(chosen_columns(read<Be>(task.be, adam.v.B), {2, 3, 4})) == 0);
  CHECK_THROWS_AS(run.select_ranks(l, {0, 1}, 11), invalid_argument);

  while (!run.done()) {
    run.step();
  }
  const auto report = run.finish();
  CHECK(report.steps == 9);
  CHECK(report.layers[1].rank == 5);
  CHECK(largest(chosen_columns(read<Be>(task.be, report.layers[1].parameters.B), {2, 3, 4})) > 0);
}
