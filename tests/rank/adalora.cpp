// AdaLoRA's laws: gates that start closed and their gradients, the pair of random factors, the
// budget in closed form and met exactly, masked ranks that return, the end of a run, exact resume.
#include <preheat/init/gaussian_pair.hpp>
#include <preheat/method.hpp>
#include <preheat/nn/minibatches.hpp>
#include <preheat/optim/proximal.hpp>
#include <preheat/optim/regularized.hpp>
#include <preheat/rank/adalora.hpp>
#include <preheat/train/fit.hpp>

#include "support/backends.hpp"
#include "support/linear_network.hpp"
#include "support/toy_task.hpp"

using namespace conformance;
using namespace preheat;

namespace {

using closed = adapter::gated<adapter::gate::closed>;
using method_type = method<closed, init::gaussian_pair, optim::regularized<>, rank::adalora>;

method_type settings(bool prune = true) {
  return {.init = {.sigma = 0.3},
          .optim = {.base = {.lr = 0.03}, .lambda = 0.5},
          .rank = {.target = 2, .warmup = 4, .final_steps = 7, .every = 3, .prune = prune}};
}
fit_options run_options() {
  return {.rank = 4, .steps = 40, .seed = 2};
}

// Which gates of the network are exactly zero, layer after layer.
template <class Run>
std::vector<char> closed_gates(Run& run) {
  std::vector<char> all;
  for (const auto& adapted_layer : run.adapters.layers()) {
    for (const double g :
         read(run.backend(), view(std::as_const(adapted_layer.parameters.g))).values) {
      all.push_back(char(g == 0));
    }
  }
  return all;
}
index_t open_in(const std::vector<char>& gates) {
  return index_t(std::count(gates.begin(), gates.end(), 0));
}

}  // namespace

// ΔW = s·B·diag(g)·A: the loss is linear in every single parameter, differences are exact.
TEST_CASE_TEMPLATE("closed gate: gradients equal differences", Be, PREHEAT_BACKENDS) {
  Be be;
  std::vector<base_layer<Be>> body;
  body.push_back(random_layer(be, "l0", 5, 4, true, 60));
  linear_network<Be> net(be, std::move(body), {0});
  typename linear_network<Be>::batch_type batch{matrix(be, random_table(4, 7, 62)),
                                                matrix(be, random_table(5, 7, 63))};
  adapted<Be, closed> linear(net);
  factors<Be> f{matrix(be, random_table(3, 4, 64)), matrix(be, random_table(5, 3, 65))};
  linear.attach(0, closed{}.start(be, linear.base(0), std::move(f), generator(1)),
                scalar_of<Be>(1.5));
  auto& adapted_layer = linear.layers()[0];
  CHECK(largest(read<Be>(be, adapted_layer.parameters.g)) == 0);

  for (const bool opened : {false, true}) {  // at the start, and later
    if (opened) {
      write(be, random_table(3, 1, 66), view_of<Be>(adapted_layer.parameters.g));
    }
    linear.zero_gradients();
    net.loss_and_gradient(batch, linear);
    for_each_trained(
        [&](auto parameter, mat<Be>& x, mat<Be>& g) {
          CAPTURE(std::string(parameter.name));
          const table start = read<Be>(be, x);
          table numeric(start.rows, start.cols);
          for (std::size_t i = 0; i < start.values.size(); ++i) {
            table moved = start;
            moved.values[i] += 0.5;
            write(be, moved, view_of<Be>(x));
            const double up = double(net.loss(batch, linear));
            moved.values[i] -= 1;
            write(be, moved, view_of<Be>(x));
            numeric.values[i] = up - double(net.loss(batch, linear));
          }
          write(be, start, view_of<Be>(x));
          CHECK(gap(read<Be>(be, g), numeric) < 40 * tolerance<Be>(7));
          CHECK((largest(numeric) > 0.1) == (opened || parameter.role == parameter_role::gate));
        },
        adapted_layer.parameters, adapted_layer.gradient);
  }
}

TEST_CASE_TEMPLATE("AdaLoRA: the start is the base's output, bitwise", Be, PREHEAT_BACKENDS) {
  toy_task<Be> untouched;
  toy_task<Be> task;
  auto run = start_run(settings(), task.net, task.data, run_options());
  CHECK(
      same(read<Be>(task.be, task.net.forward(task.all.X, run.adapters)), untouched.base_output()));
  CHECK(task.weights_are_those_of(untouched));
  CHECK(largest(read<Be>(task.be, run.adapters.layers()[0].parameters.A)) > 0);
  CHECK(largest(read<Be>(task.be, run.adapters.layers()[0].parameters.B)) > 0);
  run.step();
  CHECK_FALSE(
      same(read<Be>(task.be, task.net.forward(task.all.X, run.adapters)), untouched.base_output()));
  CHECK(task.weights_are_those_of(untouched));
  static_assert(method_type::leaves_base);
}

TEST_CASE_TEMPLATE("gaussian_pair: two independent draws of the given deviation", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const mat<Be> W = be.zeros(60, 60);
  const target_layer<Be> where{.W = W, .rank = 60, .gen = generator(70)};
  const auto f = init::gaussian_pair{}(be, where);
  const table a = read<Be>(be, f.A);
  const table b = read<Be>(be, f.B);
  const double entries = 3600;
  for (const table& x : {a, b}) {
    CHECK(std::sqrt(square_norm(x) / entries) == doctest::Approx(0.02).epsilon(0.06));
  }
  CHECK(std::abs(dot(a, b)) < 5 * 0.02 * 0.02 * std::sqrt(entries));
  const auto wide = init::gaussian_pair{.sigma = 0.04}(be, where);
  CHECK(gap(read<Be>(be, wide.B), 2.0 * b) < tolerance<Be>(1));
  const mat<Be> shape = be.zeros(7, 5);
  const auto small = init::gaussian_pair{}(be, target_layer<Be>{.W = shape, .rank = 2});
  CHECK((small.A.rows() == 2 && small.A.cols() == 5));
  CHECK((small.B.rows() == 7 && small.B.cols() == 2));
  CHECK_THROWS_AS(init::gaussian_pair{.sigma = 0}(be, where), invalid_argument);
}

TEST_CASE("AdaLoRA: the budget falls as a cube between two constants") {
  const rank::adalora policy{.warmup = 10, .final_steps = 20, .every = 1};
  index_t before = 90;
  for (index_t t = 0; t <= 130; ++t) {
    CAPTURE(t);
    const index_t now = policy.budget(t, 130, 90, 40);
    // In integers: 40 + ⌊50·(110 − t)³/100³⌋
    const index_t left = std::clamp<index_t>(110 - t, 0, 100);
    CHECK(now == 40 + 50 * left * left * left / 1000000);
    CHECK(now <= before);
    before = now;
  }
  CHECK(rank::adalora{}.budget(0, 10, 7, 3) == 7);
  CHECK(rank::adalora{}.budget(10, 10, 7, 3) == 3);
}

TEST_CASE_TEMPLATE("AdaLoRA: every allocation leaves the budget, and masked ranks may return", Be,
                   PREHEAT_BACKENDS) {
  toy_task<Be> task;
  const method_type m = settings(false);
  auto run = start_run(m, task.net, task.data, run_options());
  std::vector<char> masked;
  index_t allocations = 0;
  index_t moved_between = 0;
  index_t returned = 0;
  for (index_t t = 1; t <= 40; ++t) {
    CAPTURE(t);
    run.step();
    const std::vector<char> now = closed_gates(run);
    if (t <= 4) {
      CHECK(open_in(now) == 12);  // the warmup masks nothing
    } else if (t < 33 && t % 3 != 0) {
      moved_between += open_in(now) == 12;  // masked gates train on
    } else if (t <= 33) {
      CHECK(open_in(now) == m.rank.budget(t, 40, 12, 6));
      for (std::size_t i = 0; i < masked.size(); ++i) {
        returned += masked[i] != 0 && now[i] == 0;
      }
      masked = now;
      ++allocations;
    } else {
      CHECK(now == masked);  // final_steps
    }
  }
  CHECK(allocations == 10);  // 6, 9 … 33
  CHECK(moved_between > 0);
  CHECK(returned > 0);
  CHECK(open_in(masked) == 6);
  const auto report = run.finish();
  for (const auto& l : report.layers) {
    CHECK(l.rank == 4);  // prune = false
  }
}

TEST_CASE_TEMPLATE("AdaLoRA: at the end masked ranks are dropped and the output stays", Be,
                   PREHEAT_BACKENDS) {
  toy_task<Be> task;
  const auto masked = fit(settings(false), task.net, task.data, run_options());
  const auto pruned = fit(settings(true), task.net, task.data, run_options());
  index_t ranks = 0;
  for (std::size_t l = 0; l < pruned.layers.size(); ++l) {
    ranks += pruned.layers[l].rank;
    CHECK(pruned.layers[l].scaling == masked.layers[l].scaling);
    const auto& g = pruned.layers[l].parameters.g;
    CHECK(gap(read<Be>(task.be, g), table(g.rows(), 1, 1)) == 0);
  }
  CHECK(ranks == 6);
  const table want = task.adapted_output(masked);
  CHECK(gap(task.adapted_output(pruned), want) < tolerance<Be>(16) * largest(want));
  CHECK(gap(want, task.base_output()) > 0.1);
}

TEST_CASE("AdaLoRA: a run stopped between two allocations goes on with the same bits") {
  using Be = conformance::cpu_double;
  for (const index_t stop : {2, 14, 36}) {  // in the warmup, in the middle, final_steps
    CAPTURE(stop);
    toy_task<Be> whole;
    const auto want = fit(settings(), whole.net, whole.data, run_options());
    toy_task<Be> first;
    auto run = start_run(settings(), first.net, first.data, run_options());
    while (run.steps_done() < stop) {
      run.step();
    }
    const training_state saved = run.state();
    toy_task<Be> second;
    fit_options rest = run_options();
    rest.resume = &saved;
    const auto resumed = fit(settings(), second.net, second.data, rest);
    CHECK(same_results(second.be, resumed, want));
  }
}

TEST_CASE("AdaLoRA: without settings the ranks end at two thirds, and errors have words") {
  using Be = conformance::cpu_double;
  toy_task<Be> task;
  auto m = settings(false);
  m.rank = {.prune = false};
  auto run = start_run(m, task.net, task.data, {.rank = 5, .steps = 6});
  while (!run.done()) {
    run.step();
  }
  CHECK(open_in(closed_gates(run)) == 3 * 3);  // ⌊2·5/3⌋ in each of three layers

  const auto refused = [&](rank::adalora policy, index_t rank, index_t steps) {
    m.rank = policy;
    CHECK_THROWS_AS(fit(m, task.net, task.data, {.rank = rank, .steps = steps}), invalid_argument);
  };
  refused({.target = 4}, 3, 9);
  refused({.target = -1}, 3, 9);
  refused({.warmup = 4, .final_steps = 4}, 3, 9);
  refused({.warmup = -1}, 3, 9);
  refused({.final_steps = -1}, 3, 9);
  refused({.every = 0}, 3, 9);
  refused({.beta1 = 1}, 3, 9);
  refused({.beta2 = -0.1}, 3, 9);
  m.rank = {.warmup = 4, .final_steps = 4};
  CHECK(fit(m, task.net, task.data, {.rank = 3, .steps = 10}).steps == 10);
}

// SoRA's threshold on gates that start closed: they open, and a large ξ shuts them all.
TEST_CASE("closed gate: other policies of gates work with it") {
  using Be = conformance::cpu_double;
  toy_task<Be> task;
  for (const double xi : {0.0, 10.0}) {
    const method<closed, init::gaussian_pair, optim::proximal<>> m{
        .init = {.sigma = 0.3}, .optim = {.base = {.lr = 0.01}, .eta = 0, .xi = xi}};
    auto run = start_run(m, task.net, task.data, {.rank = 4, .steps = 3});
    run.step();
    CHECK(open_in(closed_gates(run)) == (xi == 0 ? 12 : 0));
  }
}
