// One run: a method adapts the encoder to a set of sentences. Included only where methods are
// instantiated.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "apps/console/thread_clock.hpp"
#include "methods.hpp"
#include "model.hpp"
#include "studies/common/catalogue.hpp"
#include "studies/common/outcome.hpp"

namespace studies::text {

using common::mean_losses;
using common::rank_rule;
using common::score;

// Sums in double precision.
template <class Linear>
score evaluate(network& net, std::span<const example> examples, Linear& linear) {
  constexpr std::size_t most_at_once = 64;
  backend& be = the_backend();
  double loss = 0;
  std::size_t right = 0;
  for (std::size_t first = 0; first < examples.size(); first += most_at_once) {
    const auto some = examples.subspan(first, std::min(most_at_once, examples.size() - first));
    const std::vector<float> logits = be.download(net.forward(batch_of(be, some), linear));
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

template <class Method>
run_outcome adapt(Method m, rank_rule rank, const base_model& model, const encoded_set& set,
                  const training_settings& s, const run_definition& run) {
  const double started = apps::console::thread_seconds();
  network net = model.start(seed_of(run));
  preheat::learning_rate(m.optim) = run.rate;
  sentence_batches<backend> batches(the_backend(), set.train, s.batch);
  // For methods that score themselves (ALoRA).
  const batch scored =
      batch_of(the_backend(),
               std::span(set.validation).first(std::min<std::size_t>(32, set.validation.size())));
  preheat::fit_options options = common::options_of(s, run, rank);
  options.head_rate = s.head_rate;
  auto training = preheat::start_run(m, net, batches, options, scored);

  run_outcome result;
  while (!training.done()) {
    const index_t before = training.steps_done();
    training.step();
    const index_t done = training.steps_done();
    const index_t planned = training.steps_planned();
    const bool due = done * s.evaluations / planned > before * s.evaluations / planned;
    if (due && done < planned) {
      add_validation(result, int(s.steps - planned + done),
                     evaluate(net, set.validation, training.adapters).loss);
    }
  }
  const auto report = training.finish();

  put_report(result, report);
  result.training_curve = mean_losses(report.losses, s.training_points, result.calibration_steps);
  if (report.status == preheat::fit_status::completed) {
    auto adapted = preheat::attach(net, report);
    const score validation = evaluate(net, set.validation, adapted);
    add_validation(result, s.steps, validation.loss);
    put_scores(result, validation, evaluate(net, set.test, adapted));
  }
  result.seconds = apps::console::thread_seconds() - started;
  return result;
}

}  // namespace studies::text
