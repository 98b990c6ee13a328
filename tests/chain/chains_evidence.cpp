// HRP in RAC-LoRA's chain: with init::first_then the first block alone pays for calibration and starts
// from it, the later ones are drawn; without it every block pays.
#include "chain_support.hpp"

using namespace conformance;
using namespace preheat;

namespace {

using Be = cpu_double;
using warm_once = with<rac_lora, init::first_then<init::hrp<>, init::orthogonal>>;
using warm_always = with<rac_lora, init::hrp<>>;

constexpr index_t all_steps = 20;
constexpr index_t block = 5;
constexpr index_t price = 3;
const init::hrp<> preheating{.multiple = 2, .steps = price};
const optim::scaled<optim::sgd> sgd{.base = {.lr = 0.05}};
const chain::merge_every merging{.period = block};

const warm_once once{.init = {.first = preheating}, .optim = sgd, .chain = merging};
const warm_always always{.init = preheating, .optim = sgd, .chain = merging};
const rac_lora never_warm{.optim = sgd, .chain = merging};

// What a run leaves, and the frozen A of every block in both layers.
struct outcome {
  index_t steps = 0;
  index_t calibration_steps = 0;
  std::vector<std::vector<table>> blocks{};
};
template <class Method>
outcome trained(const Method& m, std::uint64_t data_seed = 300, bool charged = true) {
  chain_problem<Be> p({{6, 7}, {8, 6}}, data_seed);
  fit_options options{.rank = 2, .steps = all_steps};
  options.count_calibration_steps = charged;
  outcome result;
  auto run = start_run(m, p.net, p.batches, options);
  p.batches.at_draw = [&](index_t step) {
    // Preheating draws batches too, while the run has nothing attached.
    if (step % block == 0 && run.adapters.layers()[0].attached) {
      result.blocks.emplace_back();
      for (const auto& adapted_layer : run.adapters.layers()) {
        result.blocks.back().push_back(p.read(adapted_layer.parameters.A));
        CHECK(orthonormality_gap(transposed(result.blocks.back().back())) < tolerance<Be>(4));
        CHECK(largest(p.read(adapted_layer.parameters.B)) == 0);
      }
    }
  };
  const auto report = run.run_to_end();
  CHECK(report.status == fit_status::completed);
  CHECK(report.base_changed);
  CHECK_FALSE(report.layers[0].attached);
  result.steps = report.steps;
  result.calibration_steps = report.calibration_steps;
  return result;
}

bool same_block(const outcome& a, const outcome& b, std::size_t k) {
  return same(a.blocks[k][0], b.blocks[k][0]) && same(a.blocks[k][1], b.blocks[k][1]);
}

}  // namespace

TEST_CASE(
    "first_then: calibration is charged once and shapes the first block, later ones are drawn") {
  const outcome warm = trained(once);
  CHECK(warm.calibration_steps == price);
  CHECK(warm.steps == all_steps - price);
  REQUIRE(warm.blocks.size() == 4);  // 5 + 5 + 5 + 2 steps

  const outcome plain = trained(never_warm);
  const outcome warm_each_time = trained(always);
  CHECK(plain.calibration_steps == 0);
  CHECK(same_block(warm, warm_each_time, 0));
  CHECK_FALSE(same_block(warm, plain, 0));
  CHECK_FALSE(same_block(warm, warm_each_time, 1));
  for (std::size_t k = 1; k < 4; ++k) {
    CHECK(same_block(warm, plain, k));
    CHECK_FALSE(same(warm.blocks[k][0], warm.blocks[k - 1][0]));
  }
  // On other data only what learns from the data is another.
  const outcome elsewhere = trained(once, 700);
  CHECK_FALSE(same_block(warm, elsewhere, 0));
  CHECK(same_block(warm, elsewhere, 1));
}

TEST_CASE("HRP in rac_lora: every block is charged, and learns from the data") {
  const outcome warm = trained(always);
  CHECK(warm.steps + warm.calibration_steps == all_steps);
  CHECK(warm.calibration_steps == price * index_t(warm.blocks.size()));
  CHECK(index_t(warm.blocks.size()) == (warm.steps + block - 1) / block);
  CHECK(warm.blocks.size() == 3);  // 3 + 5, 3 + 5, 3 + 1
  const outcome elsewhere = trained(always, 700);
  CHECK_FALSE(same_block(warm, elsewhere, 1));
}

TEST_CASE("HRP in rac_lora: uncharged calibration leaves all the steps to the run") {
  for (const outcome& free : {trained(once, 300, false), trained(always, 300, false)}) {
    CHECK(free.steps == all_steps);
    CHECK(free.calibration_steps == 0);
    CHECK(free.blocks.size() == 4);
  }
}

TEST_CASE("first_then: calibration that costs the whole run is refused") {
  chain_problem<Be> p({{6, 7}});
  CHECK_THROWS_AS(fit(once, p.net, p.batches, {.rank = 2, .steps = price}), invalid_argument);
  CHECK_NOTHROW(fit(once, p.net, p.batches, {.rank = 2, .steps = price + 1}));
}
