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

#include "../console/thread_clock.hpp"
#include "methods.hpp"

namespace comparison {

using preheat::index_t;
using backend = preheat::cpu<float>;
using network = preheat::nn::mlp<backend>;
using batch = preheat::nn::labelled_batch<backend>;
using minibatches = preheat::nn::minibatches<backend>;

// A backend keeps nothing between calls, so all threads share one.
inline backend be;

class pretrained_base {
 public:
  explicit pretrained_base(network n) : net(std::move(n)) {}
  network net;
};

// The rank at which a method trains about as many numbers as LoRA at rank r.
using rank_rule = int (*)(int r);
constexpr rank_rule same_rank = [](int r) { return r; };
constexpr rank_rule twice = [](int r) { return 2 * r; };              // one factor is trained
constexpr rank_rule half_more = [](int r) { return r + r / 2; };      // before a third is pruned
constexpr rank_rule twice_but_one = [](int r) { return 2 * r - 1; };  // one rank whole, others half

template <class Method>
struct row {
  std::string id;
  std::string name;
  std::string citation;
  family kind;
  Method method;
  rank_rule rank = same_rank;
};
template <class Method, class... Rule>
row(const char*, const char*, const char*, family, Method, Rule...) -> row<Method>;

namespace init = preheat::init;
namespace adapter = preheat::adapter;
namespace optim = preheat::optim;
using preheat::method;
using preheat::role;

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

struct score {
  double loss = not_a_number;  // mean cross-entropy
  double accuracy = not_a_number;
};

// From one forward pass; sums in double precision.
template <class Lin>
score evaluate(network& net, const samples& s, Lin& lin) {
  const batch all = to_batch(s);
  const std::vector<float> logits = be.download(net.forward(all.X, lin));
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

inline void put_scores(run_outcome& result, const score& validation, const score& test) {
  result.validation_loss = validation.loss;
  result.validation_accuracy = validation.accuracy;
  result.test_loss = test.loss;
  result.test_accuracy = test.accuracy;
}

// Bases differ in their data's order and start; runs on one base in their draws. The same (base,
// seed) gives all methods the same batches.
inline std::uint64_t run_seed(const run_definition& run) {
  return std::uint64_t(run.base) * 1000 + std::uint64_t(run.seed);
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
run_outcome adapt(Method m, rank_rule rank, const pretrained_base& base, const shift_data& data,
                  const training_settings& s, const run_definition& run) {
  const double started = thread_seconds();
  network net = base.net.copy();
  preheat::learning_rate(m.optim) = run.rate;
  preheat::fit_options options = options_of(s, run, run_seed(run));
  options.rank = rank(int(options.rank));
  options.evaluate_every = std::max(1, s.steps / s.curve_points);
  const auto report =
      preheat::fit(m, net, to_minibatches(data.train, s.batch), options, to_batch(data.validation));

  run_outcome result;
  result.status = preheat::to_string(report.status);
  result.trainable_parameters = long(report.trainable_parameters);
  result.evidence_steps = int(report.evidence_steps);
  for (const auto& layer : report.layers) {
    if (layer.clamped) {
      result.cut_layers += (result.cut_layers.empty() ? "" : ", ") + layer.name +
                           (layer.attached ? ": " + std::to_string(layer.rank) : std::string());
    }
  }
  for (const auto& point : report.evaluations) {
    const int step = int(report.evidence_steps + point.step);
    result.curve.push_back({step, point.loss});
    result.best_validation_loss = std::fmin(result.best_validation_loss, point.loss);
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

template <class Method>
method_entry to_entry(const row<Method>& r) {
  return {.id = r.id,
          .name = r.name,
          .citation = r.citation,
          .kind = r.kind,
          .has_rank = Method::adapter_type::has_factors,
          .has_rate = true,
          .run = [r](const pretrained_base& base, const shift_data& data,
                     const training_settings& s, const run_definition& run) {
            return adapt(r.method, r.rank, base, data, s, run);
          }};
}

// HRP's other warm methods.
using warm_train_b = preheat::method<preheat::adapter::asymmetric<preheat::role::B>,
                                     preheat::init::orthogonal, preheat::optim::sgd>;
using warm_classic = preheat::method<>;

// The entries of a tuple of rows, in its order.
template <class... Rows>
std::vector<method_entry> to_entries(const std::tuple<Rows...>& rows) {
  return std::apply([](const auto&... r) { return std::vector<method_entry>{to_entry(r)...}; },
                    rows);
}

}  // namespace comparison
