// SoRA in a run: the mean over the gates of the whole network, the penalty before clipping, gated
// LoRA without penalty and threshold, and the end: closed gates go, the output stays.
#include <preheat/methods.hpp>
#include <preheat/train/fit.hpp>

#include "sparse_support.hpp"
#include "support/backends.hpp"
#include "support/toy_task.hpp"

using namespace conformance;
using namespace preheat;

namespace {

// SoRA whose ranks are not dropped at the end.
using gated_lora = method<adapter::gated<>, optim::proximal<>>;

constexpr double rate = 0.02;

// Thresholds under which, in thirty steps, some gates close and others stay.
optim::proximal<> sparse() {
  return {.base = {.lr = rate}, .eta = 0.5, .xi = 0.02};
}
fit_options thirty_steps() {
  return {.rank = 4, .steps = 30, .seed = 3};
}

template <class Be, class Method>
auto report_of(toy_task<Be>& task, const Method& m) {
  return fit(m, task.net, task.data, thirty_steps());
}

template <class Be, class Run>
void set_gates(Be& be, Run& run, std::size_t l, const std::vector<double>& gates) {
  table z(index_t(gates.size()), 1);
  z.values = gates;
  write(be, z, view_of<Be>(run.adapters.layers()[l].parameters.g));
}

// The kept report is the whole one without its closed gates: fewer ranks, gates 1 and in B.
template <class Be, class Report>
index_t check_pruned(Be& be, const Report& pruned, const Report& whole) {
  index_t dropped = 0;
  for (std::size_t l = 0; l < whole.layers.size(); ++l) {
    CAPTURE(l);
    const auto& small = pruned.layers[l];
    const table g = read<Be>(be, whole.layers[l].parameters.g);
    const table A = transposed(read<Be>(be, whole.layers[l].parameters.A));
    const table B = read<Be>(be, whole.layers[l].parameters.B);
    CHECK(small.scaling == whole.layers[l].scaling);
    index_t place = 0;
    for (index_t k = 0; k < g.rows; ++k) {
      if (g(k, 0) == 0) {
        continue;
      }
      REQUIRE(place < small.rank);
      const table a = columns(transposed(read<Be>(be, small.parameters.A)), place, 1);
      const table b = columns(read<Be>(be, small.parameters.B), place, 1);
      CHECK(same(a, columns(A, k, 1)));
      CHECK(gap(b, g(k, 0) * columns(B, k, 1)) < tolerance<Be>(1));
      CHECK(read<Be>(be, small.parameters.g)(place, 0) == 1);
      ++place;
    }
    CHECK(small.rank == place);
    CHECK(small.attached == (place > 0));
    dropped += g.rows - place;
  }
  return dropped;
}

}  // namespace

TEST_CASE_TEMPLATE("proximal: the penalty is a mean over all gates, and clipping sees it", Be,
                   PREHEAT_BACKENDS) {
  const regression_data data({{9, 7}, {3, 8}, {6, 5}});  // ranks 4, 3 and 4
  for (const double bound : {0.0, 0.3}) {
    Be be;
    regressions<Be> net(be, data);
    typename regressions<Be>::batches batches;
    fit_options options{.rank = 4, .steps = 1, .clamp_rank = true, .max_gradient_norm = bound};
    options.layer_scaling = {1.5, 0.7, 1};
    const optim::proximal<optim::sgd> optim{.eta = 22};
    auto run = start_run(method<adapter::gated<>, optim::proximal<optim::sgd>>{.optim = optim}, net,
                         batches, options);
    std::vector<gated_tables> wanted;
    for (std::size_t l = 0; l < 3; ++l) {
      const auto& adapted_layer = run.adapters.layers()[l];
      const gated_tables p{read<Be>(be, adapted_layer.parameters.A),
                           read<Be>(be, adapted_layer.parameters.B),
                           read<Be>(be, adapted_layer.parameters.g)};
      wanted.push_back(
          loss_gradient(data, l, p, options.layer_scaling[l], regression_data::batch(0)));
      wanted[l].g = wanted[l].g + 2.0 * mapped(p.g, sign);  // 22/(4 + 3 + 4)
    }
    const double factor = bound > 0 ? clip_factor(wanted, bound) : 1;
    CHECK((factor < 1) == (bound > 0));
    run.step();
    for (std::size_t l = 0; l < 3; ++l) {
      const auto& g = run.adapters.layers()[l].gradient;
      CHECK(gap(read<Be>(be, g.g), factor * wanted[l].g) < tolerance<Be>(2));
      CHECK(gap(read<Be>(be, g.B), factor * wanted[l].B) < tolerance<Be>(8 * 7));
    }
  }
}

TEST_CASE_TEMPLATE("SoRA: the pruned network gives the gated network's output", Be,
                   PREHEAT_BACKENDS) {
  toy_task<Be> pruned;
  toy_task<Be> whole;
  const auto small = report_of(pruned, sora{.optim = sparse()});
  const auto large = report_of(whole, gated_lora{.optim = sparse()});
  CHECK(small.losses == large.losses);
  const index_t dropped = check_pruned(pruned.be, small, large);
  CHECK(dropped > 0);
  CHECK(dropped < 12);
  const table wanted = whole.adapted_output(large);
  CHECK(gap(pruned.adapted_output(small), wanted) < tolerance<Be>(4) * largest(wanted));
  CHECK(gap(wanted, whole.base_output()) > 0.01);
  merge(pruned.net, small);
  CHECK(gap(pruned.base_output(), wanted) < tolerance<Be>(16) * largest(wanted));
}

TEST_CASE_TEMPLATE("SoRA with ξ = η = 0 is gated LoRA, and drops no rank", Be, PREHEAT_BACKENDS) {
  toy_task<Be> task;
  const optim::adamw base{.lr = rate, .weight_decay = 0};
  const optim::proximal<> nothing{.base = base, .eta = 0, .xi = 0};
  const auto plain = report_of(task, method<adapter::gated<>>{.optim = base});
  CHECK(same_results(task.be, report_of(task, gated_lora{.optim = nothing}), plain));
  const auto mine = report_of(task, sora{.optim = nothing});
  CHECK(check_pruned(task.be, mine, plain) == 0);
  const table wanted = task.adapted_output(plain);
  CHECK(gap(task.adapted_output(mine), wanted) < tolerance<Be>(4) * largest(wanted));
  // A penalty or a threshold alone makes a difference.
  for (const auto& [eta, xi] : {std::pair(1.0, 0.0), std::pair(0.0, 1e-3)}) {
    const optim::proximal<> something{.base = base, .eta = eta, .xi = xi};
    const auto other = report_of(task, gated_lora{.optim = something});
    CHECK(parameter_gap(task.be, other, plain) > 0);
  }
}

TEST_CASE_TEMPLATE("SoRA: with all gates closed the adapter is gone", Be, PREHEAT_BACKENDS) {
  toy_task<Be> task;
  toy_task<Be> untouched;
  optim::proximal<> optim = sparse();
  optim.xi = 100;
  const auto report = report_of(task, sora{.optim = optim});
  CHECK(report.steps == 30);
  for (const auto& l : report.layers) {
    CHECK(!l.attached);
    CHECK(l.rank == 0);
  }
  CHECK(same(task.adapted_output(report), task.base_output()));
  merge(task.net, report);
  CHECK(task.weights_are_those_of(untouched));
}

TEST_CASE_TEMPLATE("SoRA: a layer may lose its adapter, another some ranks, another none", Be,
                   PREHEAT_BACKENDS) {
  toy_task<Be> task;
  auto run = start_run(sora{.optim = sparse()}, task.net, task.data, thirty_steps());
  for (int i = 0; i < 5; ++i) {
    run.step();
    CHECK(run.rank_of(1) == 4);
  }
  set_gates(task.be, run, 0, {0, 0, 0, 0});
  set_gates(task.be, run, 1, {0, -0.5, 1e-30, 0});  // small is not zero
  set_gates(task.be, run, 2, {2, 0.25, -1, -3});
  const table before = read<Be>(task.be, task.net.forward(task.all.X, run.adapters));
  const auto report = run.finish();
  CHECK(!report.layers[0].attached);
  CHECK(report.layers[1].attached);
  CHECK(report.layers[0].rank == 0);
  CHECK(report.layers[1].rank == 2);
  CHECK(report.layers[2].rank == 4);
  CHECK(report.layers[1].scaling == 2);
  const table after = task.adapted_output(report);
  CHECK(gap(after, before) < tolerance<Be>(8) * largest(before));
  CHECK(gap(after, task.base_output()) > 0.01);
  CHECK(!same(after, task.base_output()));
}

TEST_CASE_TEMPLATE("SoRA: a closed gate opens again in training, and ranks stay until the end", Be,
                   PREHEAT_BACKENDS) {
  toy_task<Be> task;
  optim::proximal<> optim = sparse();
  optim.eta = 0;
  optim.xi = 1e-3;
  auto run = start_run(sora{.optim = optim}, task.net, task.data, thirty_steps());
  for (int i = 0; i < 3; ++i) {
    run.step();
  }
  set_gates(task.be, run, 1, {0, 0, 0, 0});
  double opened = 0;
  while (!run.done()) {
    run.step();
    CHECK(run.rank_of(1) == 4);
    opened = std::max(opened, largest(read<Be>(task.be, run.adapters.layers()[1].parameters.g)));
  }
  CHECK(opened > 0);
  CHECK(run.finish().layers[1].rank > 0);
}

TEST_CASE("SoRA: a resumed run ends with the bits of a whole one") {
  using Be = cpu_double;
  optim::proximal<> optim = sparse();
  optim.xi_last = 0.05;
  optim.schedule = optim::xi_schedule::linear;
  toy_task<Be> first;
  auto run = start_run(sora{.optim = optim}, first.net, first.data, thirty_steps());
  for (int i = 0; i < 17; ++i) {
    run.step();
  }
  const training_state saved = run.state();
  toy_task<Be> second;
  fit_options options = thirty_steps();
  options.resume = &saved;
  const auto resumed = fit(sora{.optim = optim}, second.net, second.data, options);
  toy_task<Be> whole;
  CHECK(same_results(whole.be, resumed, report_of(whole, sora{.optim = optim})));
}
