// How one run is made with the library: a pretrained classifier is adapted to a shift by any method.
// Included only where methods are instantiated; the driver sees methods.hpp.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <preheat/preheat.hpp>

#include "apps/console/thread_clock.hpp"
#include "classifier.hpp"
#include "studies/common/catalogue.hpp"
#include "studies/common/outcome.hpp"

namespace studies::digits {

using apps::console::thread_seconds;
using common::put_report;
using common::put_scores;
using common::rank_rule;
using common::score;
using common::seed_of;
using preheat::index_t;
using backend = preheat::cpu<float>;
using network = preheat::nn::mlp<backend>;
using batch = preheat::nn::labelled_batch<backend>;
using minibatches = preheat::nn::minibatches<backend>;

// A backend keeps nothing between calls, so all threads share one.
inline backend be;

class base_model {
 public:
  explicit base_model(network n) : net(std::move(n)) {}
  network net;
};

inline std::vector<index_t> widths() {
  return {pixels, 256, 256, classes};
}

inline batch to_batch(const samples& s) {
  batch b{be.zeros(pixels, index_t(s.count())), be.zeros(1, index_t(s.count()))};
  be.upload(s.X, b.X);
  const std::vector<float> labels(s.y.begin(), s.y.end());
  be.upload(labels, b.target);
  return b;
}

inline minibatches to_minibatches(const samples& s, int size) {
  batch all = to_batch(s);
  return minibatches(be, std::move(all.X), std::move(all.target), size);
}

// From one forward pass; sums in double precision.
template <class Linear>
score evaluate(network& net, const samples& s, Linear& linear) {
  const batch all = to_batch(s);
  const std::vector<float> logits = be.download(net.forward(all.X, linear));
  double loss = 0;
  int right = 0;
  for (std::size_t j = 0; j < s.count(); ++j) {
    const float* const z = &logits[j * classes];
    const int best = int(std::max_element(z, z + classes) - z);
    right += best == s.y[j];
    double sum = 0;
    for (int c = 0; c < classes; ++c) {
      sum += std::exp(double(z[c]) - double(z[best]));
    }
    loss += std::log(sum) + double(z[best]) - double(z[s.y[j]]);
  }
  return {loss / double(s.count()), double(right) / double(s.count())};
}

// What every run is made with; the rank is `run.rank`, or 1 where there is none.
inline preheat::fit_options options_of(const training_settings& s, const run_definition& run,
                                       std::uint64_t seed) {
  const index_t warmup = index_t(std::lround(s.warmup * s.steps));
  return {.rank = std::max(1, run.rank),
          .steps = s.steps,
          .seed = seed,
          .scaling = preheat::scaling::constant(s.scaling),
          .clamp_rank = true,
          .schedule = preheat::schedule::linear{.warmup = warmup}};
}

template <class Method>
run_outcome adapt(Method m, rank_rule rank, const base_model& base, const shift_data& data,
                  const training_settings& s, const run_definition& run) {
  const double started = thread_seconds();
  network net = base.net.copy();
  preheat::learning_rate(m.optim) = run.rate;
  preheat::fit_options options = options_of(s, run, seed_of(run));
  options.rank = rank(int(options.rank));
  options.evaluate_every = std::max(1, s.steps / s.curve_points);
  const auto report =
      preheat::fit(m, net, to_minibatches(data.train, s.batch), options, to_batch(data.validation));

  run_outcome result;
  put_report(result, report);
  for (const auto& point : report.evaluations) {
    const int step = int(report.calibration_steps + point.step);
    add_validation(result, step, point.loss);
  }
  if (report.status == preheat::fit_status::completed) {
    auto adapted = preheat::attach(net, report);
    const score on_validation = evaluate(net, data.validation, adapted);
    put_scores(result, on_validation, evaluate(net, data.test, adapted));
    result.best_validation_loss = std::fmin(result.best_validation_loss, on_validation.loss);
    if (result.curve.empty() || result.curve.back().step < s.steps) {
      result.curve.push_back({s.steps, on_validation.loss});
    }
  }
  result.seconds = thread_seconds() - started;
  return result;
}

}  // namespace studies::digits
