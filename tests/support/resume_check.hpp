// Stops a run, saves it, resumes it on a fresh network, and compares bits with a run that was not
// stopped.
#pragma once
#include <doctest/doctest.h>
#include <atomic>
#include <preheat/train/fit.hpp>
#include <string>
#include <vector>

#include "backends.hpp"
#include "small_problem.hpp"

namespace conformance {

// The bits of everything that a run leaves behind: factors, base weights, losses, counts.
template <class Be, class Report>
std::vector<double> outcome(problem<Be>& p, const Report& report) {
  std::vector<double> all = report.losses;
  all.push_back(double(report.calibration_steps));
  all.push_back(double(report.validation_passes));
  all.push_back(double(report.trainable_parameters));
  for (const auto& l : report.layers) {
    all.push_back(double(l.rank));
    for_each(
        [&](auto, const auto& x) {
          const auto values = p.be.download(x);
          all.insert(all.end(), values.begin(), values.end());
        },
        l.parameters);
  }
  for (const auto& w : p.weights()) {
    all.insert(all.end(), w.begin(), w.end());
  }
  return all;
}

// Runs of 20 steps, one of them stopped after `stop_after` and resumed. A validation batch, where
// the method needs one, is made by validation(problem).
template <class Method, class... Validation>
void check_resume(const Method& m, fit_options options, index_t stop_after,
                  Validation... validation) {
  using Be = cpu_double;
  options.steps = 20;
  options.schedule = schedule::cosine{.warmup = 3};
  const auto run = [&](problem<Be>& p, const fit_options& o) {
    return fit(m, p.net, p.batches, o, validation(p)...);
  };
  problem<Be> whole;
  const auto uninterrupted = outcome(whole, run(whole, options));

  problem<Be> first;
  training_state saved;
  std::atomic<bool> stop = false;
  fit_options until_stopped = options;
  until_stopped.stop = &stop;
  until_stopped.observer = [&](const training_progress& now) {
    stop = std::string(now.phase) == "training" && now.step == stop_after;
  };
  until_stopped.checkpoint = [&](const training_state& s) { saved = s; };
  const auto report = run(first, until_stopped);
  CHECK(report.status == fit_status::interrupted);
  CHECK(report.steps == stop_after);

  problem<Be> second;
  fit_options rest = options;
  rest.resume = &saved;
  const auto resumed = outcome(second, run(second, rest));
  CHECK(resumed == uninterrupted);
}

}  // namespace conformance
