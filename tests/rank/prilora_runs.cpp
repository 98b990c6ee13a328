// PRILoRA's pruning in a run: transient and frozen, of nothing, on layers that saw no input, resumed.
#include "prilora_support.hpp"
#include "support/backends.hpp"
#include "support/linear_network.hpp"

using namespace conformance;
using namespace preheat;
using rank::prune_mode;
using rank::prune_scope;

TEST_CASE_TEMPLATE("pruning: transient entries grow again", Be, PREHEAT_BACKENDS) {
  regression_task<Be> task(pruned_shapes);
  auto run = task.start(pruning(4, prune_mode::transient), {.rank = 3, .steps = 13});
  while (!run.done()) {
    run.step();
    const index_t now = run.steps_done();
    for (index_t l = 0; l < 3; ++l) {
      const double half = half_pruned(run.rank_of(l), pruned_shapes[l].second);
      CHECK(zero_count(run, l) == (now % 4 == 0 ? half : 0));
    }
  }
}

TEST_CASE_TEMPLATE("pruning: frozen entries stay zero, whatever the optimizer remembers", Be,
                   PREHEAT_BACKENDS) {
  const auto check = [](const auto& method) {
    regression_task<Be> task(pruned_shapes);
    auto run = task.start(method, {.rank = 3, .steps = 13});
    std::vector<table> first(3);  // where the zeros of the first pruning are
    while (!run.done()) {
      run.step();
      const index_t now = run.steps_done();
      for (index_t l = 0; l < 3; ++l) {
        table& pattern = first[l];
        if (now == 4) {
          pattern = zeros(read_a(run, l));
          CHECK(square_norm(pattern) == half_pruned(run.rank_of(l), pruned_shapes[l].second));
        }
        CHECK(zero_count(run, l) == (now < 4 ? 0 : square_norm(pattern)));
        // Pruning again frees none of those that the optimizer has just moved off zero.
        CHECK((now < 4 || same(zeros(read_a(run, l)), pattern)));
      }
    }
  };
  check(pruning(4, prune_mode::frozen));
  auto momentum = pruning<with<prilora, optim::sgd>>(4, prune_mode::frozen);
  momentum.optim.lr = 1e-3;
  momentum.optim.momentum = 0.9;
  momentum.optim.weight_decay = 0.1;
  check(momentum);
}

TEST_CASE_TEMPLATE("pruning: of nothing it is the ranks that it decorates", Be, PREHEAT_BACKENDS) {
  for (const auto mode : {prune_mode::transient, prune_mode::frozen}) {
    for (const auto scope : {prune_scope::row, prune_scope::matrix}) {
      auto lines = pruning(2, mode, scope);
      lines.rank.fraction = 0;
      const method<rank::linear> plain_lines{.optim = {.lr = 0.02}};
      CHECK(same_runs<Be>(lines, plain_lines, {.rank = 3, .steps = 9}));
      CHECK_FALSE(same_runs<Be>(lines, lora{.optim = {.lr = 0.02}}, {.rank = 3, .steps = 9}));
    }
  }
}

namespace {

// One batch for ever.
template <class Be>
struct constant_batch {
  Be& be;
  typename linear_network<Be>::batch_type batch;
  void load(const generator&, index_t, typename linear_network<Be>::batch_type& b) const {
    b = {clone<Be>(be, batch.X), clone<Be>(be, batch.C)};
  }
};

}  // namespace

TEST_CASE_TEMPLATE("pruning: a layer that saw no input keeps its A", Be, PREHEAT_BACKENDS) {
  Be be;
  std::vector<base_layer<Be>> layers;
  for (int l = 0; l < 3; ++l) {
    layers.push_back(random_layer(be, "l" + std::to_string(l), 6, 6, false, 900 + 2 * l));
  }
  linear_network<Be> net(be, std::move(layers), {0, 2});  // layer 1 is not used
  constant_batch<Be> batches{
      be, {matrix(be, random_table(6, 7, 950)), matrix(be, random_table(6, 7, 951))}};
  for (const auto mode : {prune_mode::transient, prune_mode::frozen}) {
    auto run = start_run(pruning(2, mode), net, batches, {.rank = 3, .steps = 5});
    take_steps(run, 4);
    CHECK(zero_count(run, 0) == half_pruned(1, 6));
    CHECK(zero_count(run, 1) == 0);
    CHECK(zero_count(run, 2) == half_pruned(5, 6));
    CHECK(run.rank_state.mean_square[1].rows() == 0);
  }
}

TEST_CASE_TEMPLATE("pruning: a run resumed after a pruning ends with the same bits", Be,
                   PREHEAT_BACKENDS) {
  const regression_data data(pruned_shapes);
  for (const auto mode : {prune_mode::transient, prune_mode::frozen}) {
    for (const index_t stop : {2, 4, 5, 7}) {
      CAPTURE(stop);
      CHECK(resumes_exactly<Be>(pruning(4, mode), data, {.rank = 3, .steps = 12}, stop));
    }
  }
}
