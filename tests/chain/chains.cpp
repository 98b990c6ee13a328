// The laws of the chains, XGBLoRA's boosters and COLA's blocks: a merge and a fresh start leave the
// loss alone, W changes only where and as much as it may, optimizers start afresh and the schedule
// does not, the last block is merged whether whole or not, and a run can be resumed anywhere.
#include "chain_support.hpp"
#include "support/toy_task.hpp"

using namespace conformance;
using namespace preheat;

namespace {

// Steps through a run; the loss that a step sees is the loss before its hooks.
template <class Be, class Method>
void check_loss_at_borders(const Method& m) {
  chain_problem<Be> p(four_layers);
  const auto start = p.net.weights();
  const double loss_at_start = p.base_loss();
  fit_options options = settings();
  double seen = 0;
  options.observer = [&](const training_progress& now) { seen = now.loss; };
  auto run = start_run(m, p.net, p.batches, options);
  const double tol = tolerance<Be>(16);
  CHECK(p.loss(run.adapters) == doctest::Approx(loss_at_start).epsilon(tol));
  while (!run.done()) {
    const double before =
        double(p.net.loss(regression_data::batch(run.steps_done()), run.adapters));
    run.step();
    CHECK(seen == doctest::Approx(before).epsilon(tol));
  }
  const double last = p.loss(run.adapters);
  CHECK(last < 0.9 * loss_at_start);
  run.merge(run.targets());
  CHECK(p.loss(run.adapters) == doctest::Approx(last).epsilon(tol));
  run.attach(run.targets());
  CHECK(p.loss(run.adapters) == doctest::Approx(last).epsilon(tol));
  run.finish();
  CHECK(p.base_loss() == doctest::Approx(last).epsilon(tol));
}

// Every block: B = 0, A new, moments zero, t from 0.
template <class Be, class Method>
void check_fresh_starts(const Method& m) {
  chain_problem<Be> p(four_layers);
  fit_options options = settings();
  options.schedule = schedule::linear{};
  auto run = start_run(m, p.net, p.batches, options);
  std::vector<table> drawn(4);
  index_t starts = 0;
  p.batches.at_draw = [&](index_t step) {
    for (std::size_t l = 0; l < 4; ++l) {
      if (!run.adapters.layers()[l].attached) {
        continue;
      }
      const auto& now = run.adapters.layers()[l].parameters;
      const auto& adam = run.adapters.optimizer(l);
      CHECK(adam.t == step % period);
      if (step % period == 0) {
        ++starts;
        CHECK(largest(p.read(now.B)) == 0);
        CHECK_FALSE(same(p.read(now.A), drawn[l]));
        CHECK(largest(p.read(now.A)) > 0);
        for (const auto* moment : {&adam.m.A, &adam.m.B, &adam.v.A, &adam.v.B}) {
          CHECK(moment->rows() * moment->cols() > 0);
          CHECK(largest(p.read(*moment)) == 0);
        }
        drawn[l] = p.read(now.A);
      } else {
        CHECK(largest(p.read(now.B)) > 0);
        CHECK(largest(p.read(adam.v.B)) > 0);
      }
    }
  };
  const auto report = run.run_to_end();
  CHECK(starts >= 4);
  for (index_t k = 0; k < steps; ++k) {
    CHECK(report.learning_rates[k] ==
          doctest::Approx(0.1 * options.schedule(k, steps)).epsilon(1e-12));
  }
}

}  // namespace

TEST_CASE_TEMPLATE("chain: a merge and a fresh start leave the loss alone", Be, PREHEAT_BACKENDS) {
  check_loss_at_borders<Be>(boosters(2));
  check_loss_at_borders<Be>(boosters(0));
  check_loss_at_borders<Be>(blocks);
}

TEST_CASE_TEMPLATE("chain: every block starts afresh, the schedule does not", Be,
                   PREHEAT_BACKENDS) {
  check_fresh_starts<Be>(boosters(2));
  check_fresh_starts<Be>(blocks);
}

TEST_CASE_TEMPLATE("cola: W changes by at most blocks × r ranks, and the run leaves nothing over",
                   Be, PREHEAT_BACKENDS) {
  chain_problem<Be> p({{9, 8}, {10, 11}});
  const auto start = p.net.weights();
  const auto report = fit(blocks, p.net, p.batches, settings(1));
  const auto after = p.net.weights();
  for (std::size_t l = 0; l < 2; ++l) {
    // 4 + 4 + 4 + 2 steps
    CHECK(count_above(singular_values(p.be, after[l] - start[l]), tolerance<Be>(16)) == 4);
    CHECK_FALSE(report.layers[l].attached);
  }
  CHECK(report.base_changed);
  CHECK(report.steps == steps);
  merge(p.net, report);
  CHECK(same(p.net.weights()[0], after[0]));
  CHECK(p.base_loss() == [&] {
    auto linear = attach(p.net, report);
    return p.loss(linear);
  }());
}

TEST_CASE("cola: one block that is longer than the run is LoRA, merged") {
  chain_problem<cpu_double> chained(four_layers);
  chain_problem<cpu_double> plain(four_layers);
  for (const index_t longer : {steps, steps + 5}) {
    fit(cola{.optim = {.lr = 0.1}, .chain = {.period = longer}}, chained.net, chained.batches,
        settings());
    merge(plain.net, fit(lora{.optim = {.lr = 0.1}}, plain.net, plain.batches, settings()));
    for (std::size_t l = 0; l < 4; ++l) {
      CHECK(same(chained.net.weights()[l], plain.net.weights()[l]));
    }
  }
}

TEST_CASE("chain: on a classifier the base alone gives the adapted output, biases untouched") {
  toy_task<cpu_double> task;
  const auto start = task.weights();
  auto run = start_run(boosters(2), task.net, task.data, settings());
  while (!run.done()) {
    run.step();
  }
  const table adapted = read<cpu_double>(task.be, task.net.forward(task.all.X, run.adapters));
  run.finish();
  CHECK(gap(task.base_output(), adapted) < tolerance<cpu_double>(16) * largest(adapted));
  for (std::size_t i = 1; i < start.size(); i += 2) {
    CHECK(same(task.weights()[i], start[i]));
  }
}

TEST_CASE("chain: a resumed run ends with the same bits, from inside a block and from a border") {
  for (const index_t stop : {index_t(6), 2 * period}) {
    check_resume(boosters(2), stop);
    check_resume(blocks, stop);
  }
}

TEST_CASE("chain: a period below one is refused") {
  chain_problem<cpu_double> p(four_layers);
  const auto refused = [&](const auto& m) {
    CHECK_THROWS_AS(fit(m, p.net, p.batches, settings()), invalid_argument);
  };
  for (const index_t wrong : {0, -1}) {
    refused(xgblora{.chain = {.period = wrong}});
    refused(cola{.chain = {.period = wrong}});
  }
}

TEST_CASE("chain: a run that diverges leaves W as the last whole block did") {
  chain_problem<cpu_double> p(four_layers);
  const std::vector<table> before = p.net.weights();
  const auto report =
      fit(with<cola, optim::sgd>{.optim = {.lr = 1e200}}, p.net, p.batches, settings());
  CHECK(report.status == fit_status::non_finite);
  CHECK(report.layers[0].attached);
  for (std::size_t l = 0; l < before.size(); ++l) {
    CHECK(same(p.net.weights()[l], before[l]));
  }
}
