// The laws of `fit`: determinism, targets, budget, accumulation, dropout, clipping, evaluation,
// ends.
#include <doctest/doctest.h>
#include <atomic>
#include <cmath>
#include <preheat/methods.hpp>

#include "backends.hpp"
#include "small_problem.hpp"

using namespace preheat;
using conformance::loss_with;
using conformance::problem;

namespace {

using Double = conformance::cpu_double;
const lora fast{.optim = {.lr = 1e-2}};

template <class Be, class Report>
std::vector<double> factors_of(problem<Be>& p, const Report& report) {
  std::vector<double> all;
  for (const auto& l : report.layers) {
    for (const auto* factor : {&l.parameters.A, &l.parameters.B}) {
      const auto values = p.be.download(*factor);
      all.insert(all.end(), values.begin(), values.end());
    }
  }
  return all;
}
double largest_gap(const std::vector<double>& x, const std::vector<double>& y) {
  REQUIRE(x.size() == y.size());
  double gap = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    gap = std::max(gap, std::abs(x[i] - y[i]));
  }
  return gap;
}
std::vector<double> trained_by(const fit_options& options) {
  problem<Double> p;
  return factors_of(p, fit(fast, p.net, p.batches, options));
}

}  // namespace

TEST_CASE_TEMPLATE("same seed, same bits; another seed, others; the loss falls", Be,
                   PREHEAT_BACKENDS) {
  problem<Be> a;
  problem<Be> b;
  problem<Be> c;
  const double before = a.base_loss();
  const auto x = fit(fast, a.net, a.batches, {.rank = 2, .steps = 40, .seed = 3});
  fit(fast, b.net, b.batches, {.rank = 3, .steps = 5, .seed = 8});  // earlier work does not matter
  const auto y = fit(fast, b.net, b.batches, {.rank = 2, .steps = 40, .seed = 3});
  const auto z = fit(fast, c.net, c.batches, {.rank = 2, .steps = 40, .seed = 4});
  CHECK(x.losses == y.losses);
  CHECK(factors_of(a, x) == factors_of(b, y));
  CHECK(factors_of(a, x) != factors_of(c, z));
  CHECK(loss_with(a, x) < before - 0.05);
  CHECK(a.base_loss() == before);
}

TEST_CASE("targets: whole names, suffixes after a dot, patterns; the others have no adapter") {
  problem<Double> p;
  const auto by_suffix = fit(fast, p.net, p.batches, {.rank = 2, .steps = 1, .targets = {"1"}});
  REQUIRE(by_suffix.layers.size() == 1);
  CHECK(by_suffix.layers[0].name == "layers.1");
  CHECK(by_suffix.layers[0].index == 1);
  CHECK(by_suffix.trainable_parameters == 2 * (11 + 9));
  const auto by_pattern =
      fit(fast, p.net, p.batches, {.rank = 2, .steps = 1, .targets = {"lay*.0", "layers.2"}});
  REQUIRE(by_pattern.layers.size() == 2);
  CHECK(by_pattern.layers[1].name == "layers.2");
  CHECK_FALSE(matches_target("encoder.fc10", {"fc1"}));
  CHECK_FALSE(matches_target("xfc1", {"fc1"}));
  CHECK(matches_target("encoder.fc1", {"fc1"}));
  CHECK(matches_target("fc1", {"f*1"}));
}

TEST_CASE("scaling: α/r by default with α = 2r, α/√r, constant; each gives its s") {
  problem<Double> p;
  const auto s = [&](const fit_options& o) {
    return fit(fast, p.net, p.batches, o).layers[0].scaling;
  };
  CHECK(s({.rank = 3, .steps = 1}) == 2);
  CHECK(s({.rank = 2, .steps = 1, .scaling = scaling::over_rank(8)}) == 4);
  CHECK(s({.rank = 2, .steps = 1, .scaling = scaling::over_sqrt_rank(8)}) ==
        doctest::Approx(8 / std::sqrt(2.0)));
  CHECK(s({.rank = 2, .steps = 1, .scaling = scaling::constant(0.5)}) == 0.5);
}

TEST_CASE("budget: evidence is charged to the steps, and the schedule spans the rest") {
  problem<Double> p;
  const hrp<> m{.init = {.multiple = 1, .steps = 6}, .optim = {.lr = 1e-2}};
  fit_options options{.rank = 2, .steps = 20};
  options.schedule = schedule::linear{};
  const auto report = fit(m, p.net, p.batches, options);
  CHECK(report.steps == 14);
  CHECK(report.evidence_steps == 6);
  CHECK(report.learning_rates.front() == 1e-2);
  CHECK(report.learning_rates.back() == doctest::Approx(1e-2 / 14));
  options.charge_evidence = false;
  CHECK(fit(m, p.net, p.batches, options).steps == 20);
}

TEST_CASE("accumulating k batches of b columns is one batch of k·b columns") {
  // Without shuffling: the halves of one batch, drawn in turn.
  struct halves {
    problem<Double>& p;
    void draw(const generator&, index_t step, nn::labelled_batch<Double>& batch) const {
      batch.X = clone<Double>(p.be, view<const double>(p.X).col_range(step % 2 * 20, 20));
      batch.target = clone<Double>(p.be, view<const double>(p.labels).col_range(step % 2 * 20, 20));
    }
  };
  problem<Double> p;
  nn::minibatches<Double> whole(p.be, clone<Double>(p.be, p.X), clone<Double>(p.be, p.labels), 0);
  fit_options options{.rank = 2, .steps = 10};
  const auto at_once = factors_of(p, fit(fast, p.net, whole, options));
  options.accumulate = 2;
  const auto in_turn = factors_of(p, fit(fast, p.net, halves{p}, options));
  CHECK(largest_gap(at_once, in_turn) < 1e-12);
}

TEST_CASE("dropout: rate 0 is no dropout, another rate is another run, evaluation has none") {
  fit_options options{.rank = 2, .steps = 10};
  const auto without = trained_by(options);
  options.dropout = 0.5;
  const auto with = trained_by(options);
  CHECK(largest_gap(without, with) > 1e-4);
  CHECK(with == trained_by(options));
  problem<Double> p;
  const auto report = fit(fast, p.net, p.batches, options);
  CHECK(loss_with(p, report) == loss_with(p, report));
}

TEST_CASE("dropout keeps the mean: E[mask·x] = x, and drops the rate asked for") {
  Double be;
  mat<Double> x = be.zeros(200, 100);
  mat<Double> ones = be.zeros(200, 100);
  be.fill(1, ones);
  be.each_indexed(dropout_kernel<double>{0.3, generator(7)}, x, ones);
  index_t dropped = 0;
  double sum = 0;
  for (const double value : be.download(x)) {
    CHECK((value == 0 || value == doctest::Approx(1 / 0.7)));
    dropped += value == 0;
    sum += value;
  }
  CHECK(double(dropped) / 20000 == doctest::Approx(0.3).epsilon(0.05));
  CHECK(sum / 20000 == doctest::Approx(1).epsilon(0.03));
}

TEST_CASE("clipping: the gradient's norm becomes the bound, a smaller one is left alone") {
  problem<Double> p;
  auto r = start_run(fast, p.net, p.batches, {.rank = 2, .steps = 3});
  r.step();
  const double norm = gradient_norm(r.lin);
  CHECK(norm > 0);
  clip_gradients(r.lin, 2 * norm);
  CHECK(gradient_norm(r.lin) == norm);
  clip_gradients(r.lin, norm / 4);
  CHECK(gradient_norm(r.lin) == doctest::Approx(norm / 4 * norm / (norm + 1e-6)).epsilon(1e-12));
}

TEST_CASE("clipping acts in fit: SGD's first move is lr × bound long") {
  problem<Double> p;
  fit_options options{.rank = 2, .steps = 1};
  options.max_gradient_norm = 1e-3;
  auto r = start_run(method<optim::sgd>{.optim = {.lr = 1}}, p.net, p.batches, options);
  r.step();
  double square = 0;
  for (auto& s : r.lin.slots()) {  // B was zero; A's gradient is zero while B is
    square += p.be.dot(s.parameters.B, s.parameters.B);
  }
  CHECK(std::sqrt(square) == doctest::Approx(1e-3).epsilon(1e-2));
}

TEST_CASE("evaluation every k steps, early stopping, and what the observer is told") {
  problem<Double> p;
  fit_options options{.rank = 2, .steps = 20};
  options.evaluate_every = 4;
  std::vector<progress> seen;
  options.observer = [&](const progress& now) { seen.push_back(now); };
  const auto report = fit(fast, p.net, p.batches, options, p.all);
  REQUIRE(report.evaluations.size() == 5);
  CHECK(report.evaluations[4].step == 20);
  CHECK(report.evaluations[4].loss == loss_with(p, report));
  REQUIRE(seen.size() == 20);
  CHECK(seen[6].step == 7);
  CHECK(seen[6].steps == 20);
  CHECK(seen[6].loss == report.losses[6]);
  CHECK(seen[6].learning_rate == 1e-2);
  CHECK(seen[19].eta_seconds == 0);

  options.patience = 2;
  const lora frozen{.optim = {.lr = 0}};  // the validation loss never moves
  const auto stopped = fit(frozen, p.net, p.batches, options, p.all);
  CHECK(stopped.status == fit_status::stopped_early);
  CHECK(stopped.steps == 12);  // a first best, then two evaluations without gain
}

TEST_CASE("ends: a non-finite loss is a status and leaves the last finite parameters") {
  problem<Double> p;
  const method<optim::sgd> wild{.optim = {.lr = 1e200}};
  const auto report = fit(wild, p.net, p.batches, {.rank = 2, .steps = 50});
  CHECK(report.status == fit_status::non_finite);
  CHECK(report.steps < 50);
  CHECK(report.losses.size() == std::size_t(report.steps));

  const auto diverged = fit(hrp<>{.init = {.multiple = 1}, .optim = {.lr = 1e300}}, p.net,
                            p.batches, {.rank = 2, .steps = 300});
  CHECK(diverged.status == fit_status::non_finite);
  CHECK(diverged.steps == 0);
}

TEST_CASE("ends: the stop flag interrupts, in preheating too") {
  problem<Double> p;
  std::atomic<bool> stop = true;
  fit_options options{.rank = 2, .steps = 50};
  options.stop = &stop;
  CHECK(fit(fast, p.net, p.batches, options).status == fit_status::interrupted);
  const auto report =
      fit(hrp<>{.init = {.multiple = 1}, .optim = {.lr = 1e-2}}, p.net, p.batches, options);
  CHECK(report.status == fit_status::interrupted);
  CHECK(report.steps == 0);
}

TEST_CASE("clamping: a rank above min(out, in) is cut and reported") {
  problem<Double> p;
  const auto report = fit(fast, p.net, p.batches, {.rank = 5, .steps = 1, .clamp_rank = true});
  CHECK(report.layers[0].rank == 5);
  CHECK_FALSE(report.layers[0].clamped);
  CHECK(report.layers[2].rank == 3);
  CHECK(report.layers[2].clamped);
  CHECK(report.layers[2].scaling == doctest::Approx(10.0 / 3));  // α/r of the layer
}
