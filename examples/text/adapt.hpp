// One run: a method adapts the encoder to a set of sentences. Included by methods_*.cpp only.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "../console/thread_clock.hpp"
#include "methods.hpp"
#include "model.hpp"

namespace sentiment {

namespace init = preheat::init;
namespace adapter = preheat::adapter;
namespace optim = preheat::optim;
using preheat::method;
using preheat::role;

// The rank at which a method trains about as many numbers as LoRA at rank r.
using rank_rule = int (*)(int r);
inline constexpr rank_rule same_rank = [](int r) { return r; };
inline constexpr rank_rule twice = [](int r) { return 2 * r; };  // one factor is trained
inline constexpr rank_rule twice_but_one = [](int r) { return 2 * r - 1; };  // one rank is whole

struct score {
  double loss = comparison::not_a_number;  // mean cross-entropy
  double accuracy = comparison::not_a_number;
};

// Sums in double precision.
template <class Lin>
score evaluate(network& net, std::span<const example> examples, Lin& lin) {
  constexpr std::size_t most_at_once = 64;
  backend& be = the_backend();
  double loss = 0;
  std::size_t right = 0;
  for (std::size_t first = 0; first < examples.size(); first += most_at_once) {
    const auto some = examples.subspan(first, std::min(most_at_once, examples.size() - first));
    const std::vector<float> logits = be.download(net.forward(batch_of(be, some), lin));
    for (std::size_t j = 0; j < some.size(); ++j) {
      const std::span<const float> z = std::span(logits).subspan(j * classes, classes);
      const double of_label = double(z[std::size_t(some[j].label)]);
      const double of_other = double(z[std::size_t(1 - some[j].label)]);
      right += of_label > of_other;
      const double margin = of_label - of_other;  // loss = log(1 + e^−margin), without overflow
      loss += std::max(-margin, 0.0) + std::log1p(std::exp(-std::abs(margin)));
    }
  }
  return {loss / double(examples.size()), double(right) / double(examples.size())};
}

// Seeds differ in the head's start, the order of the sentences and the draws of a method. The same
// seed gives all methods the same head and the same batches.
inline std::uint64_t seed_of(const run_definition& run) {
  return std::uint64_t(run.base) * 1000 + std::uint64_t(run.seed);
}

// The mean of the training loss over consecutive parts of the run.
inline std::vector<comparison::curve_point> mean_losses(const std::vector<double>& losses,
                                                        int points, int evidence_steps) {
  std::vector<comparison::curve_point> curve;
  const std::size_t n = losses.size();
  for (std::size_t k = 0; k < std::size_t(points) && n > 0; ++k) {
    const std::size_t begin = k * n / std::size_t(points);
    const std::size_t end = (k + 1) * n / std::size_t(points);
    if (end > begin) {
      curve.push_back({evidence_steps + int(end),
                       comparison::mean(std::span(losses).subspan(begin, end - begin))});
    }
  }
  return curve;
}

template <class Method>
run_outcome adapt(Method m, rank_rule rank, const base_model& model, const encoded_set& set,
                  const training_settings& s, const run_definition& run) {
  const double started = console::thread_seconds();
  network net = model.start(seed_of(run));
  preheat::learning_rate(m.optim) = run.rate;
  sentence_batches<backend> batches(the_backend(), set.train, s.batch);
  // For methods that score themselves (ALoRA).
  const batch scored =
      batch_of(the_backend(),
               std::span(set.validation).first(std::min<std::size_t>(32, set.validation.size())));
  const index_t warmup = index_t(std::lround(s.warmup * s.steps));
  auto training = preheat::start_run(m, net, batches,
                                     {.rank = rank(std::max(1, run.rank)),
                                      .steps = s.steps,
                                      .seed = seed_of(run),
                                      .scaling = preheat::scaling::constant(s.scaling),
                                      .clamp_rank = true,
                                      .schedule = preheat::schedule::linear{.warmup = warmup},
                                      .head_rate = s.head_rate},
                                     scored);

  run_outcome result;
  const auto note_validation = [&](const score& now, int step) {
    result.curve.push_back({step, now.loss});
    result.best_validation_loss = std::fmin(result.best_validation_loss, now.loss);
  };
  while (!training.done()) {
    const index_t before = training.steps_done();
    training.step();
    const index_t done = training.steps_done();
    const index_t planned = training.steps_planned();
    const bool due = done * s.evaluations / planned > before * s.evaluations / planned;
    if (due && done < planned) {
      note_validation(evaluate(net, set.validation, training.lin), int(s.steps - planned + done));
    }
  }
  const auto report = training.finish();

  result.status = preheat::to_string(report.status);
  result.trainable_parameters = long(report.trainable_parameters);
  result.evidence_steps = int(report.evidence_steps);
  result.training_curve = mean_losses(report.losses, s.training_points, result.evidence_steps);
  for (const auto& layer : report.layers) {
    if (layer.clamped) {
      result.cut_layers +=
          (result.cut_layers.empty() ? "" : ", ") + layer.name + ": " + std::to_string(layer.rank);
    }
  }
  if (report.status == preheat::fit_status::completed) {
    auto adapted = preheat::attach(net, report);
    const score validation = evaluate(net, set.validation, adapted);
    note_validation(validation, s.steps);
    result.validation_loss = validation.loss;
    result.validation_accuracy = validation.accuracy;
    const score test = evaluate(net, set.test, adapted);
    result.test_loss = test.loss;
    result.test_accuracy = test.accuracy;
  }
  result.seconds = console::thread_seconds() - started;
  return result;
}

// What is left out of an entry is the same for most.
struct row {
  const char* id;
  const char* name;
  const char* citation;
  family kind;
  bool by_default = false;
  rank_rule rank = same_rank;
};

template <class Method>
method_entry entry(const row& r, const Method& m) {
  return {.id = r.id,
          .name = r.name,
          .citation = r.citation,
          .kind = r.kind,
          .by_default = r.by_default,
          .has_rank = Method::adapter_type::has_factors,
          .has_rate = true,
          .run = [m, rank = r.rank](const base_model& model, const encoded_set& set,
                                    const training_settings& s, const run_definition& run) {
            return adapt(m, rank, model, set, s, run);
          }};
}

}  // namespace sentiment
