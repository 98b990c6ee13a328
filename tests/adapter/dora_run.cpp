// DoRA in whole runs: from PiSSA's start and from HRP's, with dropout, in a chain, through a change
// of rank and a stop in the middle; and what memory it takes.
#include <preheat/adapter/dora.hpp>
#include <preheat/methods.hpp>
#include <preheat/optim/lora_fa.hpp>
#include <preheat/train/fit.hpp>

#include "support/backends.hpp"
#include "support/resume_check.hpp"
#include "support/toy_task.hpp"

using namespace conformance;
using namespace preheat;

namespace {

using plain = method<adapter::dora>;

template <class Be, class Run>
table output(toy_task<Be>& task, Run& run) {
  return read<Be>(task.be, task.net.forward(task.all.X, run.adapters));
}
template <class Be>
table row_norms(toy_task<Be>& task, index_t l) {
  const table W = read<Be>(task.be, task.net.layers()[l].W);
  table norms(W.rows, 1);
  for (index_t i = 0; i < W.rows; ++i) {
    for (index_t j = 0; j < W.cols; ++j) {
      norms(i, 0) += W(i, j) * W(i, j);
    }
    norms(i, 0) = std::sqrt(norms(i, 0));
  }
  return norms;
}

// The start leaves the output and takes W's row norms; training learns all three parts; merging the
// report gives the adapted output.
template <class Be, class Method>
void check_run(const Method& m) {
  toy_task<Be> task;
  const table before = task.base_output();
  const table norms = row_norms(task, 1);
  const fit_options options{.rank = 2, .steps = 30, .clamp_rank = true};
  auto run = start_run(m, task.net, task.data, options);
  CHECK(gap(output(task, run), before) < tolerance<Be>(20) * largest(before));
  const table mu = read<Be>(task.be, run.adapters.layers()[1].parameters.magnitude);
  CHECK(gap(mu, norms) < tolerance<Be>(20) * largest(norms));

  const double first = double(task.net.loss(task.all, run.adapters));
  const auto report = run.run_to_end();
  CHECK(report.status == fit_status::completed);
  CHECK(gap(read<Be>(task.be, report.layers[1].parameters.magnitude), mu) > 1e-3);
  const table adapted = task.adapted_output(report);
  auto linear = attach(task.net, report);
  CHECK(double(task.net.loss(task.all, linear)) < first);
  merge(task.net, report);
  CHECK(gap(task.base_output(), adapted) < tolerance<Be>(50) * largest(adapted));
}

}  // namespace

TEST_CASE_TEMPLATE("dora: from kaiming's and PiSSA's start", Be, PREHEAT_BACKENDS) {
  check_run<Be>(plain{.optim = {.lr = 1e-2}});
  check_run<Be>(method<adapter::dora, init::pissa>{.optim = {.lr = 1e-2}});
}
TEST_CASE("dora: from HRP's start, and with the optimizers that move a pair") {
  check_run<archetype_double>(method<adapter::dora, init::hrp<>>{.optim = {.lr = 1e-2}});
  check_run<archetype_double>(method<adapter::dora, optim::scaled<optim::adamw>>{
      .optim = {.base = {.lr = 1e-2}, .delta = 1e-2}});
  check_run<archetype_double>(method<adapter::dora, optim::lora_fa>{.optim = {.lr = 1e-2}});
}

// At the start c = 1: dropping inputs changes nothing, and later it does.
TEST_CASE_TEMPLATE("dora: dropout acts on what DoRA adds only", Be, PREHEAT_BACKENDS) {
  const auto losses = [](double dropout) {
    toy_task<Be> task;
    return fit(plain{.optim = {.lr = 1e-2}}, task.net, task.data,
               {.rank = 2, .steps = 12, .dropout = dropout})
        .losses;
  };
  const std::vector<double> without = losses(0);
  const std::vector<double> with = losses(0.5);
  REQUIRE(with.size() == without.size());
  CHECK(std::abs(with[0] - without[0]) < tolerance<Be>(20));
  CHECK(std::abs(with[11] - without[11]) > 1e-4);

  // Magnitudes alone moved: it is the change of W's own part that is dropped, not W's parameter.
  toy_task<Be> task;
  auto run = start_run(plain{}, task.net, task.data, {.rank = 2, .steps = 1});
  auto& p = run.adapters.layers()[0].parameters;
  const table mu = read<Be>(task.be, p.magnitude);
  const mat<Be> X = matrix(task.be, random_table(10, 6, 3));
  const auto training_output = [&](double dropout, double factor) {
    write(task.be, factor * mu, view_of<Be>(p.magnitude));
    adapted<Be, adapter::dora> linear(task.net);
    linear.attach(0, clone_params(task.be, p), run.adapters.layers()[0].scaling);
    linear.set_dropout(dropout, generator(4));
    linear.begin(pass_kind::training);
    return read<Be>(task.be, linear.forward(0, X));
  };
  const table base = training_output(0, 1);
  const table added = training_output(0.5, 2) - base;  // W·x̃
  const table linear = base - read<Be>(task.be, task.net.layers()[0].b) * table(1, 6, 1);
  CHECK(gap(added, linear) > 0.1);
  CHECK(gap(training_output(0.5, 3) - base, 2.0 * added) < tolerance<Be>(20) * largest(added));
  CHECK(gap(training_output(0, 2) - base, linear) < tolerance<Be>(20) * largest(linear));
}

TEST_CASE_TEMPLATE("dora: in a chain, a fold leaves the output", Be, PREHEAT_BACKENDS) {
  toy_task<Be> task;
  auto run = start_run(
      method<adapter::dora, chain::merge_every>{.optim = {.lr = 1e-2}, .chain = {.period = 4}},
      task.net, task.data, {.rank = 2, .steps = 8});
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
  const table norms = row_norms(task, 0);
  CHECK(gap(read<Be>(task.be, run.adapters.layers()[0].parameters.magnitude), norms) <
        tolerance<Be>(20) * largest(norms));
  CHECK(run.run_to_end().steps == 8);
}

TEST_CASE_TEMPLATE("dora: magnitudes outlive a change of rank", Be, PREHEAT_BACKENDS) {
  toy_task<Be> task;
  auto run = start_run(plain{.optim = {.lr = 1e-2}}, task.net, task.data, {.rank = 3, .steps = 8});
  for (int i = 0; i < 4; ++i) {
    run.step();
  }
  auto& p = run.adapters.layers()[1].parameters;
  auto& adam = run.adapters.optimizer(1);
  const table mu = read<Be>(task.be, p.magnitude);
  const table moment = read<Be>(task.be, adam.m.magnitude);
  CHECK(largest(moment) > 0);
  run.select_ranks(1, {2, 0}, 0);
  CHECK(run.rank_of(1) == 2);
  CHECK(same(read<Be>(task.be, p.magnitude), mu));
  CHECK(same(read<Be>(task.be, adam.m.magnitude), moment));
  const table before = output(task, run);
  run.select_ranks(1, {0, 1}, 2);  // new ranks have product zero: the norms stay, too
  CHECK(gap(output(task, run), before) < tolerance<Be>(20) * largest(before));
  CHECK(run.run_to_end().steps == 8);
}

TEST_CASE("exact resume: DoRA keeps its magnitudes, with dropout") {
  fit_options options{.rank = 2};
  options.dropout = 0.2;
  check_resume(plain{.optim = {.lr = 1e-2}}, options, 8);
}

// W is 40×150: nothing of that shape is ever made, and a second pass allocates nothing.
TEST_CASE("dora: V is never formed, and a steady pass does not allocate") {
  using Be = archetype_double;
  Be be;
  const mat<Be> W = matrix(be, random_table(40, 150, 1));
  const mat<Be> x = matrix(be, random_table(150, 7, 2));
  const mat<Be> dropped = matrix(be, random_table(150, 7, 3));
  const mat<Be> dY = matrix(be, random_table(40, 7, 4));
  mat<Be> Y = be.zeros(40, 7);
  mat<Be> dx = be.zeros(150, 7);
  mat<Be> d_dropped = be.zeros(150, 7);
  const frozen_linear<Be> base{W, {}, 1.5};
  factors<Be> f{matrix(be, random_table(3, 150, 5)), matrix(be, random_table(40, 3, 6))};
  be.forget();
  const adapter::dora dora;
  const auto p = dora.start(be, base, std::move(f), generator(1));
  auto gradient = zeros_like(be, p);
  adapter::dora::saved_activations<Be> saved_activations;
  for (int pass = 0; pass < 2; ++pass) {
    be.allocations = 0;
    dora.forward(be, p, base, {x, dropped}, view_of<Be>(Y), saved_activations);
    dora.backward(be, p, base, {x, dropped}, const_view_of<Be>(dY), gradient, {dx, d_dropped},
                  saved_activations);
    CHECK((be.allocations == 0) == (pass == 1));
  }
  CHECK_FALSE(be.made(40, 150));
  CHECK(be.made(40, adapter::dora::block_columns));
}
