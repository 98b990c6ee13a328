// ALoRA's rounds in a run: what is carried over, what starts afresh, when they happen and what they
// cost, layers that lose every rank, other inits, and resuming after a reallocation.
#include "alora_support.hpp"
#include "support/backends.hpp"

using namespace conformance;
using namespace preheat;

namespace {

// The moments of the ranks of a layer.
template <class Run>
std::pair<layer_ranks, layer_ranks> moments(Run& run, std::size_t l) {
  using Be = typename Run::backend_type;
  Be& be = run.backend();
  const auto& adam = run.adapters.optimizer(l);
  return {split(read<Be>(be, adam.m.A), read<Be>(be, adam.m.B)),
          split(read<Be>(be, adam.v.A), read<Be>(be, adam.v.B))};
}
bool same_pair(const rank_pair& x, const rank_pair& y) {
  return same(x.a, y.a) && same(x.b, y.b);
}
double largest_of(const rank_pair& x) {
  return std::max(largest(x.a), largest(x.b));
}

// The methods and settings of the tests that run by themselves: rounds after 3, 5 and 7 steps.
template <class Method = alora>
Method three_rounds() {
  Method m;
  m.optim.lr = 0.05;
  m.rank = {.first = 3, .every = 2, .rounds = 3};
  return m;
}

}  // namespace

TEST_CASE_TEMPLATE("alora: a round keeps what stays to the bit and starts what comes at zero", Be,
                   PREHEAT_BACKENDS) {
  regression_task<Be> task(shapes);
  auto run = task.start(by_hand(1e-2), {.rank = 3, .steps = 9});
  take_steps(run, 5);
  randomize(run);
  const std::vector<layer_ranks> before = read_all_ranks(run);
  std::vector<std::pair<layer_ranks, layer_ranks>> moments_before;
  for (std::size_t l = 0; l < 3; ++l) {
    moments_before.push_back(moments(run, l));
  }
  const round_plan plan = plan_round(importances(task.data, before, 2, task.validation), 3);
  round_now(run);
  index_t added = 0;
  for (std::size_t l = 0; l < 3; ++l) {
    CAPTURE(l);
    const layer_ranks after = read_ranks(run, index_t(l));
    const auto [m, v] = moments(run, l);
    const std::size_t kept = plan.kept[l].size();
    REQUIRE(after.size() == kept + std::size_t(plan.added[l]));
    for (std::size_t k = 0; k < kept; ++k) {
      const auto from = std::size_t(plan.kept[l][k]);
      CHECK(same_pair(after[k], before[l][from]));
      CHECK(same_pair(m[k], moments_before[l].first[from]));
      CHECK(same_pair(v[k], moments_before[l].second[from]));
      CHECK(largest_of(m[k]) > 0);
    }
    for (std::size_t k = kept; k < after.size(); ++k) {
      CHECK(largest(after[k].b) == 0);
      CHECK(largest(after[k].a) > 0);
      CHECK(largest(after[k].a) <= (1 + epsilon<Be>) / std::sqrt(double(after[k].a.cols)));
      CHECK(largest_of(m[k]) == 0);
      CHECK(largest_of(v[k]) == 0);
      CHECK(gap(after[k].a, before[l][0].a) > 0);
    }
    CHECK(run.adapters.optimizer(l).t == 5);
    CHECK(run.adapters.layers()[l].scaling == 2);
    added += plan.added[l];
  }
  CHECK(added == 3);  // some layer lost nothing
  CHECK(active_ranks(run) == 9);
  CHECK(gates_are_open(run));

  const std::vector<layer_ranks> changed = read_all_ranks(run);
  run.step();
  for (std::size_t l = 0; l < 3; ++l) {
    const layer_ranks moved = read_ranks(run, index_t(l));
    for (std::size_t k = 0; k < moved.size(); ++k) {
      CHECK(gap(moved[k].b, changed[l][k].b) > 0);  // all of them train
    }
  }
}

TEST_CASE_TEMPLATE("alora: rounds happen when they should and cost what they say", Be,
                   PREHEAT_BACKENDS) {
  const alora method = three_rounds();
  std::vector<index_t> active;  // before step 0, 1, …
  {
    regression_task<Be> task(shapes);
    auto run = task.start(method, {.rank = 3, .steps = 12});
    while (!run.done()) {
      active.push_back(active_ranks(run));
      const std::vector<index_t> ranks = all_ranks(run);
      run.step();
      const index_t now = run.steps_done();
      CHECK((all_ranks(run) != ranks) == (now == 3 || now == 5 || now == 7));
    }
  }
  for (const index_t evaluate_every : {0, 2}) {
    for (index_t steps = 2; steps <= 12; ++steps) {
      index_t passes = evaluate_every > 0 ? steps / evaluate_every : 0;
      for (const index_t when : {3, 5, 7}) {
        passes += when < steps ? 1 + 2 * active[when - 1] : 0;  // not at the very end
      }
      regression_task<Be> task(shapes);
      const fit_options options{.rank = 3, .steps = steps, .evaluate_every = evaluate_every};
      CAPTURE(steps);
      CHECK(task.start(method, options).run_to_end().validation_passes == passes);
    }
  }
}

TEST_CASE_TEMPLATE("alora: before its first round it is LoRA", Be, PREHEAT_BACKENDS) {
  regression_task<Be> task(shapes);
  auto run = task.start(by_hand(1e-2), {.rank = 3, .steps = 6});
  auto plain = task.start(lora{.optim = {.lr = 1e-2, .weight_decay = 0}}, {.rank = 3, .steps = 6});
  take_steps(run, 6);
  take_steps(plain, 6);
  for (index_t l = 0; l < 3; ++l) {
    for (std::size_t k = 0; k < 3; ++k) {
      CHECK(same_pair(read_ranks(run, l)[k], read_ranks(plain, l)[k]));
    }
  }
}

TEST_CASE_TEMPLATE("alora: when every layer lost a rank nothing is added", Be, PREHEAT_BACKENDS) {
  regression_task<Be> task(shapes);
  auto run = task.start(by_hand(), {.rank = 2, .steps = 8});
  take_steps(run, 1);
  clear_b(run);
  for (index_t l = 0; l < 3; ++l) {
    make_helpful(task, run, l, 1, 0.1);
  }
  const layer_ranks before = read_ranks(run, 2);
  round_now(run);
  CHECK(all_ranks(run) == std::vector<index_t>{1, 1, 1});
  CHECK(same(read_ranks(run, 2)[0].b, before[1].b));
  round_now(run);  // all three are dropped
  CHECK(all_ranks(run) == std::vector<index_t>{0, 0, 0});
  round_now(run);  // nothing is left to drop
  const auto report = run.run_to_end();
  CHECK(report.status == fit_status::completed);
  CHECK(report.steps == 8);
  CHECK(report.losses[3] == report.losses[7]);  // the base, on the same batch
  CHECK(report.validation_passes == (1 + 2 * 6) + (1 + 2 * 3) + 1);
}

TEST_CASE_TEMPLATE("alora: a layer that lost every rank stays out", Be, PREHEAT_BACKENDS) {
  regression_task<Be> task(shapes);
  auto run = task.start(by_hand(1e-3), {.rank = 3, .steps = 12});
  take_steps(run, 1);
  clear_b(run);
  make_helpful(task, run, 0, 0, 0.1);
  make_helpful(task, run, 2, 0, 0.1);
  round_now(run);
  CHECK(run.rank_of(1) == 0);
  CHECK_FALSE(run.adapters.layers()[1].attached);
  CHECK(active_ranks(run) == 9);
  for (index_t round = 0; round < 3; ++round) {
    take_steps(run, 2);
    round_now(run);
    CHECK(run.rank_of(1) == 0);
    CHECK_FALSE(run.adapters.layers()[1].attached);
  }
  const std::vector<table> weights = task.net.weights();
  const auto report = run.run_to_end();
  CHECK(report.status == fit_status::completed);
  CHECK(report.steps == 12);
  REQUIRE(report.layers.size() == 3);
  CHECK(report.layers[1].rank == 0);
  CHECK_FALSE(report.layers[1].attached);
  merge(task.net, report);
  CHECK(same(task.net.weights()[1], weights[1]));
}

TEST_CASE_TEMPLATE("alora: new ranks come from the init", Be, PREHEAT_BACKENDS) {
  regression_task<Be> task(shapes);
  auto run = task.start(by_hand<with<alora, init::orthogonal>>(), {.rank = 4, .steps = 4});
  take_steps(run, 1);
  clear_b(run);
  round_now(run);
  REQUIRE(all_ranks(run) == std::vector<index_t>{1, 6, 5});
  for (const index_t l : {1, 2}) {
    const table A = read<Be>(task.be, run.adapters.layers()[l].parameters.A);
    const table fresh = columns(transposed(A), 4, A.rows - 4);
    CHECK(orthonormality_gap(fresh) < tolerance<Be>(A.cols));
    CHECK(gap(columns(fresh, 0, 1), columns(transposed(A), 0, 1)) > 0.01);  // a draw of its own
  }
}

TEST_CASE("alora: with HRP the ranks that are added need an init of their own") {
  regression_task<cpu_double> task(shapes);
  using first_hrp = with<alora, init::first_then<init::hrp<>, init::kaiming>>;
  auto method = three_rounds<first_hrp>();
  method.init.first.multiple = 2;
  method.init.first.steps = 2;
  auto run = task.start(method, {.rank = 3, .steps = 9});
  CHECK(largest(read_ranks(run, 0)[0].b) == 0);
  run.step();
  clear_b(run);
  const auto report = run.run_to_end();
  CHECK(report.calibration_steps == 2);
  CHECK(report.steps == 7);
  CHECK(report.status == fit_status::completed);

  auto plain = task.start(three_rounds<with<alora, init::hrp<>>>(), {.rank = 2, .steps = 20});
  take_steps(plain, 2);
  clear_b(plain);
  plain.method.optim.lr = 0;  // all importances are equal: layer 2 gains
  try {
    plain.step();
    FAIL("ranks were added without an init");
  } catch (const invalid_argument& error) {
    CHECK(std::string(error.what()).find("init::first_then") != std::string::npos);
  }
}

TEST_CASE_TEMPLATE("alora: a run resumed after a reallocation ends with the same bits", Be,
                   PREHEAT_BACKENDS) {
  const regression_data data(shapes);
  for (const index_t stop : {2, 3, 4, 6, 9}) {
    CAPTURE(stop);
    CHECK(resumes_exactly<Be>(three_rounds(), data, {.rank = 3, .steps = 12}, stop));
    CHECK(resumes_exactly<Be>(three_rounds(), data, {.rank = 1, .steps = 12}, stop));
  }
}
