// VeRA in whole runs: one pair for all layers, which outlives the run; twenty steps against plain
// loops; resumed runs, chains, decorators; and what is refused.
#include <optional>
#include <preheat/methods.hpp>
#include <preheat/train/fit.hpp>

#include "support/backends.hpp"
#include "support/regressions.hpp"
#include "support/resume_check.hpp"
#include "support/toy_task.hpp"

using namespace conformance;
using namespace preheat;

namespace {

template <class Be, class Run>
table output(toy_task<Be>& task, Run& run) {
  return read<Be>(task.be, task.net.forward(task.all.X, run.adapters));
}

}  // namespace

TEST_CASE_TEMPLATE("vera: all layers refer to one pair; W and the output stay at the start", Be,
                   PREHEAT_BACKENDS) {
  toy_task<Be> task;  // 10 → 15 → 12 → 5
  const table before = task.base_output();
  const fit_options options{.rank = 20, .steps = 30};
  auto run = start_run(vera{.optim = {.lr = 2e-2}}, task.net, task.data, options);
  CHECK(same(output(task, run), before));
  const auto& layers = run.adapters.layers();
  const auto pair = layers[0].parameters.shared;
  REQUIRE(pair != nullptr);
  CHECK((pair->A.rows() == 20 && pair->A.cols() == 15));
  CHECK((pair->B.rows() == 15 && pair->B.cols() == 20));
  for (const auto& l : layers) {
    CHECK(l.parameters.shared.get() == pair.get());
    CHECK(double(l.scaling) == 1);
  }
  const table A = read<Be>(task.be, pair->A);
  const double first = double(task.net.loss(task.all, run.adapters));

  toy_task<Be> untouched;
  const auto report = run.run_to_end();
  CHECK(report.trainable_parameters == 3 * 20 + 15 + 12 + 5);
  CHECK(task.weights_are_those_of(untouched));
  CHECK(same(read<Be>(task.be, pair->A), A));  // not trained
  CHECK(report.layers[2].rank == 20);
  CHECK(report.layers[2].parameters.shared.get() == pair.get());
  CHECK(largest(read<Be>(task.be, report.layers[1].parameters.b)) > 1e-3);
  CHECK(gap(read<Be>(task.be, report.layers[1].parameters.d), table(20, 1, 0.1)) > 1e-3);

  auto linear = attach(task.net, report);
  CHECK(double(task.net.loss(task.all, linear)) < first);
  const table adapted_output = task.adapted_output(report);
  merge(task.net, report);
  CHECK(gap(task.base_output(), adapted_output) < tolerance<Be>(50) * largest(adapted_output));
}

TEST_CASE_TEMPLATE("vera: a report outlives its run, its network and its pair's other owners", Be,
                   PREHEAT_BACKENDS) {
  std::optional<fit_report<Be, adapter::vera>> report;
  table expected;
  {
    toy_task<Be> task;
    report = fit(vera{.optim = {.lr = 2e-2}}, task.net, task.data, {.rank = 3, .steps = 5});
    expected = task.adapted_output(*report);
  }
  CHECK(report->layers[0].parameters.shared.use_count() == 3);
  toy_task<Be> again;
  CHECK(same(again.adapted_output(*report), expected));
}

TEST_CASE("vera: the pair does not depend on which layers of these sizes are adapted") {
  using Be = cpu_double;
  const auto pair_of = [](std::vector<std::string> targets, std::uint64_t seed) {
    toy_task<Be> task;
    const std::string name = task.net.layers()[0].name;  // "layers.0"
    for (std::string& target : targets) {
      target = name.substr(0, name.size() - 1) + target;
    }
    const auto report =
        fit(vera{}, task.net, task.data, {.rank = 4, .steps = 1, .seed = seed, .targets = targets});
    CHECK(report.layers.size() == targets.size());
    const auto& pair = *report.layers[0].parameters.shared;
    return std::pair{read<Be>(task.be, pair.A), read<Be>(task.be, pair.B)};
  };
  const auto [A, B] = pair_of({"0", "1", "2"}, 7);
  const auto [A_two, B_two] = pair_of({"0", "1"}, 7);  // the same largest in and out: 15 and 15
  CHECK(same(A, A_two));
  CHECK(same(B, B_two));
  const auto [A_last, B_last] = pair_of({"2"}, 7);  // out 5, in 12
  CHECK(gap(A_last, std::sqrt(15.0 / 12) * columns(A, 0, 12)) < 1e-14);
  CHECK(same(transposed(B_last), columns(transposed(B), 0, 5)));
  CHECK(gap(pair_of({"0", "1"}, 8).first, A) > 0.1);
}

// AdamW on λ_d and λ_b.
TEST_CASE("vera: twenty steps equal plain loops") {
  using Be = cpu_double;
  constexpr double rate = 0.03;
  constexpr double decay = 0.1;
  const std::vector<std::pair<index_t, index_t>> sizes{{7, 10}, {11, 6}, {5, 5}};
  const regression_data data(sizes);
  Be be;
  regressions<Be> net(be, data);
  regressions<Be>::batches batches;
  auto run =
      start_run(vera{.adapter = {.d_initial = 0.4}, .optim = {.lr = rate, .weight_decay = decay}},
                net, batches, {.rank = 4, .steps = 20});
  const auto& pair = *run.adapters.layers()[0].parameters.shared;
  const table A_all = read<Be>(be, pair.A);
  const table B_all = read<Be>(be, pair.B);
  REQUIRE((A_all.cols == 10 && B_all.rows == 11));
  std::vector<table> d(3, table(4, 1, 0.4));
  std::vector<table> b;
  std::vector<reference_adam> adam_d(3);
  std::vector<reference_adam> adam_b(3);
  for (const auto& size : sizes) {
    b.push_back(table(size.first, 1));
  }
  std::vector<double> losses;
  for (index_t step = 0; step < 20; ++step) {
    double loss = 0;
    for (std::size_t l = 0; l < 3; ++l) {
      const auto [m, n] = sizes[l];
      const table A = columns(A_all, 0, n);
      const table B = transposed(columns(transposed(B_all), 0, m));
      const table W = data.layers[l].W + diagonal(b[l].values) * B * diagonal(d[l].values) * A;
      const column_range batch = regression_data::batch(step);
      loss += square_norm(data.residual(l, W, batch)) / (2 * double(batch.count));
      const table G = data.gradient(l, W, batch);
      table g_d(4, 1);
      table g_b(m, 1);
      for (index_t i = 0; i < m; ++i) {
        for (index_t j = 0; j < n; ++j) {
          for (index_t k = 0; k < 4; ++k) {
            const double BA = G(i, j) * B(i, k) * A(k, j);
            g_d(k, 0) += b[l](i, 0) * BA;
            g_b(i, 0) += d[l](k, 0) * BA;
          }
        }
      }
      d[l] = (1 - rate * decay) * d[l] - rate * adam_d[l].direction(g_d);
      b[l] = (1 - rate * decay) * b[l] - rate * adam_b[l].direction(g_b);
    }
    run.step();
    for (std::size_t l = 0; l < 3; ++l) {
      const auto& now = run.adapters.layers()[l].parameters;
      CHECK(gap(read<Be>(be, now.d), d[l]) < 1e-10);
      CHECK(gap(read<Be>(be, now.b), b[l]) < 1e-10);
    }
    losses.push_back(loss);
  }
  const auto report = run.finish();
  for (std::size_t i = 0; i < losses.size(); ++i) {
    CHECK(std::abs(report.losses[i] - losses[i]) < 1e-10 * losses[0]);
  }
}

TEST_CASE("vera: a stopped run goes on bitwise, its pair made again from the seed") {
  const fit_options options{.rank = 6, .seed = 12345678901234567890U};
  check_resume(vera{.optim = {.lr = 1e-2}}, options, 7);
  check_resume(with<vera, optim::sgd>{.optim = {.lr = 1e-2, .momentum = 0.9}}, options, 7);
  check_resume(with<vera, chain::merge_every>{.optim = {.lr = 1e-2}, .chain = {.period = 6}},
               options, 9);
}

TEST_CASE("vera: a run is not resumed with another seed") {
  problem<cpu_double> p;
  training_state saved;
  fit_options options{.rank = 3, .steps = 4, .seed = 5};
  options.checkpoint = [&](const training_state& s) { saved = s; };
  fit(vera{}, p.net, p.batches, options);
  options.checkpoint = nullptr;
  options.resume = &saved;
  options.seed = 6;
  CHECK_THROWS_WITH_AS(fit(vera{}, p.net, p.batches, options),
                       "preheat: layers that share factors are resumed with the saved seed (6, 5)",
                       invalid_argument);
}

TEST_CASE_TEMPLATE("vera: in a chain, merging leaves the output and the pair stays", Be,
                   PREHEAT_BACKENDS) {
  toy_task<Be> task;
  auto run =
      start_run(with<vera, chain::merge_every>{.optim = {.lr = 2e-2}, .chain = {.period = 4}},
                task.net, task.data, {.rank = 3, .steps = 8});
  const auto pair = run.adapters.layers()[0].parameters.shared;
  const table start = task.base_output();
  for (int i = 0; i < 4; ++i) {
    run.step();
  }
  const table first = output(task, run);
  CHECK(gap(first, start) > 1e-3);
  run.merge(run.targets());
  CHECK(gap(output(task, run), first) < tolerance<Be>(50) * largest(first));
  run.attach(run.targets());
  CHECK(gap(output(task, run), first) < tolerance<Be>(50) * largest(first));
  CHECK(run.adapters.layers()[2].parameters.shared.get() == pair.get());
  CHECK(run.run_to_end().steps == 8);
}

TEST_CASE("vera: ranks that differ between layers are refused") {
  toy_task<cpu_double> task;
  CHECK_THROWS_WITH_AS(
      fit(with<vera, rank::linear>{}, task.net, task.data, {.rank = 4, .steps = 1}),
      "preheat: layers that share factors have one rank: use rank::fixed or rank::constant (2, 4)",
      invalid_argument);
  const auto report = fit(with<vera, rank::constant>{.rank = {.value = 7}}, task.net, task.data,
                          {.rank = 4, .steps = 1});
  CHECK(report.layers[0].rank == 7);
}
