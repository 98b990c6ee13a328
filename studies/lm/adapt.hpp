// One run: a method adapts the language model to definitions. Included only where methods are
// instantiated.
#pragma once
#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include <preheat/preheat.hpp>

#include "measure.hpp"
#include "methods.hpp"
#include "studies/common/method_list.hpp"
#include "studies/common/outcome.hpp"
#include "why.hpp"

namespace studies::lm {

using common::rank_rule;

// What is measured of the model at the end. Test results choose nothing.
template <class Linear>
void measure(run_outcome& result, network& net, const base_model& model, const data_set& set,
             const training_settings& s, int step, Linear& linear) {
  const common::score validation = net.evaluate(set.validation, linear);
  common::add_validation(result, step, validation.loss);
  common::put_scores(result, validation, net.evaluate(set.test, linear));
  result.measures[drift_loss] = net.evaluate(set.drift, linear).loss;
  result.samples = write_samples(net, model, set, s.samples, s.sample_tokens, linear);
}

// Gives the method's start what the variant has in place of its own settings.
template <class Method>
void vary(Method& m, const start_variant& v, index_t rank) {
  if constexpr (common::scales_rows<Method>) {
    if (v.row_norm > 0) {
      m.init.row_norm = v.row_norm;
    }
  }
  if constexpr (common::preheats_first<Method>) {
    if (v.preheat_multiple > 0) {
      m.init.rank = v.preheat_multiple * rank;
    }
    if (v.preheat_steps > 0) {
      m.init.steps = v.preheat_steps;
    }
  }
}

template <class Method>
run_outcome adapt(Method m, rank_rule rank, const base_model& model, const data_set& set,
                  const training_settings& s, const run_definition& run) {
  forget_peak();
  const double started = computing_seconds();
  network net = model.start();
  preheat::learning_rate(m.optim) = run.rate;
  vary(m, s.start, rank(std::max(1, run.rank)));
  definition_batches<backend> batches(set.train, s.batch);
  // For methods that score themselves.
  const batch scored = batch_of<backend>(
      std::span(set.validation).first(std::min<std::size_t>(8, set.validation.size())));
  const double begun = computing_seconds();
  preheat::fit_options options = common::options_of(s, run, rank);
  options.max_gradient_norm = s.most_gradient;
  run_outcome result;
  auto training = preheat::start_run(m, net, batches, options, scored);
  batches.make_equally_long(
      computes_on_gpu);  // the start has seen inputs, and the rest needs gradients
  double aside = 0;      // what only explains does not count as training
  std::shared_ptr<const full_change> full;
  if constexpr (Method::adapter_type::has_factors) {
    if (s.why) {
      const double before = computing_seconds();
      full = full_change_of(model, set, s, run);
      result.measures[full_share_at_start] = common::share_in_rows(the_backend(), training, *full);
      measure_curvature(result, net, training, set, s, options.seed);
      measure_preheating(result, m, model, set, s, options);
      aside = computing_seconds() - before;
    }
  }
  while (!training.done()) {
    training.step();
  }
  const double trained = computing_seconds();
  if constexpr (Method::adapter_type::has_factors) {
    if (full) {
      result.measures[full_share_at_end] = common::share_in_rows(the_backend(), training, *full);
    }
  }
  const auto report = training.finish();

  common::put_report(result, report);
  result.training_curve =
      common::mean_losses(report.losses, s.training_points, result.calibration_steps);
  result.measures[tokens_per_second] = double(batches.tokens()) / (trained - begun - aside);
  result.measures[peak_memory] = peak_memory_mb();
  if (report.status == preheat::fit_status::completed) {
    auto adapted = preheat::attach(net, report);
    measure(result, net, model, set, s, s.steps, adapted);
  }
  result.seconds = computing_seconds() - started;
  return result;
}

}  // namespace studies::lm
