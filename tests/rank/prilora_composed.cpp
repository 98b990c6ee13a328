// PRILoRA's pruning over other ranks, adapters and chains.
#include "prilora_support.hpp"
#include "support/backends.hpp"

using namespace conformance;
using namespace preheat;
using rank::prune_mode;

namespace {

using pruned_alora = with<alora, rank::pruned_a<rank::ablation>>;
using pruned_fixed = method<rank::pruned_a<rank::fixed>>;

}  // namespace

TEST_CASE_TEMPLATE("pruning: the hooks of the ranks that it decorates are called", Be,
                   PREHEAT_BACKENDS) {
  const rank::ablation rounds{.first = 3, .every = 2, .rounds = 3};
  auto both = pruning<pruned_alora>(4, prune_mode::transient);
  both.rank.base = rounds;
  both.rank.fraction = 0;
  CHECK(same_runs<Be>(both, alora{.optim = {.lr = 0.02}, .rank = rounds}, {.rank = 3, .steps = 9}));

  both.rank.fraction = 0.5;
  regression_task<Be> task(pruned_shapes);
  auto run = task.start(both, {.rank = 3, .steps = 9});
  index_t passes = 0;
  while (!run.done()) {
    const index_t now = run.steps_done() + 1;
    passes += now == 3 || now == 5 || now == 7 ? 1 + 2 * active_ranks(run) : 0;
    run.step();
    for (index_t l = 0; l < 3; ++l) {
      const double half = half_pruned(run.rank_of(l), pruned_shapes[l].second);
      CHECK(zero_count(run, l) == (now % 4 == 0 ? half : 0));
    }
  }
  CHECK(run.finish().validation_passes == passes);
}

// What is fresh has not been pruned, so none of its entries is zero one step later.
TEST_CASE("pruning: frozen entries are those of the A that was pruned, not of a later one") {
  {
    regression_task<cpu_double> task(pruned_shapes);
    auto run = task.start(pruning<pruned_fixed>(2, prune_mode::frozen), {.rank = 2, .steps = 4});
    take_steps(run, 2);
    REQUIRE(zero_count(run, 0) == half_pruned(2, 12));
    run.select_ranks(0, {1}, 1);
    run.step();
    CHECK(square_norm(zeros(row(read_a(run, 0), 1))) == 0);
  }
  {
    regression_task<cpu_double> task(pruned_shapes);
    auto method = pruning<with<pruned_fixed, chain::merge_every>>(4, prune_mode::frozen);
    method.chain.period = 4;
    auto run = task.start(method, {.rank = 2, .steps = 8});
    take_steps(run, 4);
    REQUIRE(zero_count(run, 0) == half_pruned(2, 12));
    run.step();
    CHECK(zero_count(run, 0) == 0);
  }
}

TEST_CASE_TEMPLATE("pruning: in a chain only the layers of the booster are pruned", Be,
                   PREHEAT_BACKENDS) {
  regression_task<Be> task(pruned_shapes);
  auto method = pruning<with<xgblora, rank::pruned_a<rank::constant>>>(4, prune_mode::transient);
  method.rank.base.value = 2;
  method.chain.period = 6;
  method.chain.layers = 1;
  auto run = task.start(method, {.steps = 18});
  std::vector<bool> seen(3, false);
  while (!run.done()) {
    const std::vector<table> before{read_a(run, 0), read_a(run, 1), read_a(run, 2)};
    run.step();
    const index_t now = run.steps_done();
    for (index_t l = 0; l < 3; ++l) {
      const auto& adapted_layer = run.adapters.layers()[l];
      seen[l] = seen[l] || adapted_layer.attached;
      const index_t n = seen[l] ? pruned_shapes[l].second : 0;
      CHECK(run.rank_state.mean_square[l].rows() == n);
      if (adapted_layer.attached) {
        CHECK(run.rank_of(l) == 2);
        CHECK(zero_count(run, l) == (now % 4 == 0 ? half_pruned(2, n) : 0));
      } else {
        CHECK(same(read_a(run, l), before[l]));  // what is left of an earlier booster
      }
    }
  }
  CHECK(std::count(seen.begin(), seen.end(), false) > 0);  // some layer was never chosen
}

TEST_CASE_TEMPLATE("pruning: of nothing, over one rank for all, it is LoRA", Be, PREHEAT_BACKENDS) {
  auto fixed = pruning<pruned_fixed>(2, prune_mode::transient);
  fixed.rank.fraction = 0;
  CHECK(same_runs<Be>(fixed, lora{.optim = {.lr = 0.02}}, {.rank = 3, .steps = 9}));
}

TEST_CASE_TEMPLATE(
    "pruning: a pruned run that is resumed after a reallocation ends with the same bits", Be,
    PREHEAT_BACKENDS) {
  const regression_data data(pruned_shapes);
  for (const auto mode : {prune_mode::transient, prune_mode::frozen}) {
    auto both = pruning<pruned_alora>(4, mode);
    both.rank.base = {.first = 3, .every = 3, .rounds = 3};
    for (const index_t stop : {4, 7}) {
      CHECK(resumes_exactly<Be>(both, data, {.rank = 3, .steps = 12}, stop));
    }
  }
}
