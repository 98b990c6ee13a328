// Exact resume of the published systems, each stopped where its state is richest: in the middle of a
// chain, after a reallocation or a pruning, past an optimizer's first phase.
#include <preheat/methods.hpp>

#include "support/resume_check.hpp"

using namespace preheat;
using conformance::check_resume;
using conformance::problem;

TEST_CASE("exact resume: XGBLoRA in the middle of a booster, of all layers or of some") {
  for (const index_t layers : {0, 2}) {
    const xgblora m{.optim = {.lr = 1e-2}, .chain = {.period = 6, .layers = layers}};
    check_resume(m, {.rank = 2}, 9);
    check_resume(m, {.rank = 2}, 6);  // at the end of a booster, before it is folded
  }
}

// A layer without an adapter when the run is saved is reported empty, by the run that was not
// stopped too.
TEST_CASE("exact resume: a layer that waits for its next booster is reported alike") {
  const xgblora m{.optim = {.lr = 1e-2}, .chain = {.period = 6, .layers = 1}};
  check_resume(m, {.rank = 2}, 13);
}

TEST_CASE("exact resume: RAC-LoRA in the middle of a chain") {
  const rac_lora m{.optim = {.base = {.lr = 1e-2, .momentum = 0.9}}, .chain = {.period = 6}};
  check_resume(m, {.rank = 2}, 9);
  check_resume(m, {.rank = 2}, 12);
}

TEST_CASE("exact resume: COLA whose first block alone was preheated") {
  const with<cola, init::first_then<init::hrp<>, init::kaiming>> m{
      .init = {.first = {.multiple = 1, .steps = 3}},
      .optim = {.lr = 1e-2},
      .chain = {.period = 5}};
  check_resume(m, {.rank = 2}, 3);  // in the first block, and in the second
  check_resume(m, {.rank = 2}, 8);
}

TEST_CASE("exact resume: LoRA-Pro's moments in m×n space") {
  check_resume(lora_pro{.optim = {.lr = 1e-2, .weight_decay = 0.1}}, {.rank = 2}, 9);
}

TEST_CASE("exact resume: LoRA-Pro by factors, in its plain steps and after them") {
  const lora_pro_factored m{.optim = {.base = {.lr = 1e-3}, .plain_steps = 5}};
  check_resume(m, {.rank = 2}, 3);
  check_resume(m, {.rank = 2}, 5);
  check_resume(m, {.rank = 2}, 9);
}

TEST_CASE("exact resume: RM-LoRA draws the masks of its step") {
  for (const bool paired : {true, false}) {
    const rm_lora m{
        .optim = {
            .base = {.base = {.lr = 1e-2}, .keep = 2, .paired = paired, .freeze_masked = true}}};
    check_resume(m, {.rank = 3}, 9);
  }
}

TEST_CASE("exact resume: ALoRA after a reallocation") {
  const alora m{.optim = {.lr = 2e-2}, .rank = {.first = 4, .every = 4, .rounds = 3}};
  const auto validation = [](auto& p) -> auto& {
    return p.all;
  };
  problem<conformance::cpu_double> p;
  const auto report = fit(m, p.net, p.batches, {.rank = 2, .steps = 6}, p.all);
  bool moved = false;
  for (const auto& l : report.layers) {
    moved = moved || l.rank != 2;
  }
  CHECK(moved);  // by the time that it is stopped
  check_resume(m, {.rank = 2}, 6, validation);
  check_resume(m, {.rank = 2}, 8, validation);
  check_resume(m, {.rank = 2}, 14, validation);
}

TEST_CASE("exact resume: PRILoRA after a pruning, between prunings") {
  for (const rank::prune_mode mode : {rank::prune_mode::transient, rank::prune_mode::frozen}) {
    for (const rank::prune_scope scope : {rank::prune_scope::row, rank::prune_scope::matrix}) {
      const prilora m{.optim = {.lr = 1e-2}, .rank = {.every = 4, .scope = scope, .mode = mode}};
      check_resume(m, {.rank = 2}, 3);  // there is a mean square, and nothing is pruned
      check_resume(m, {.rank = 2}, 10);
    }
  }
}

TEST_CASE("exact resume: SoRA between the stages of its threshold, its ranks still there") {
  const sora m{.optim = {.base = {.lr = 2e-2},
                         .eta = 1,
                         .xi = 1e-3,
                         .xi_last = 4e-2,
                         .schedule = optim::xi_schedule::linear,
                         .stages = 5}};
  problem<conformance::cpu_double> p;
  const auto report = fit(m, p.net, p.batches, {.rank = 3, .steps = 20});
  CHECK(report.layers[0].rank + report.layers[1].rank + report.layers[2].rank < 9);
  check_resume(m, {.rank = 3}, 9);
  check_resume(m, {.rank = 3}, 19);
}

TEST_CASE("exact resume: PRoLoRA, with and without plain ranks") {
  for (const index_t unshared : {0, 1, 3}) {
    const prolora m{.adapter = {.share_a = 2, .share_b = 3, .unshared = unshared},
                    .optim = {.lr = 1e-2}};
    check_resume(m, {.rank = 3}, 9);
  }
}
