// What a run trains with, and what of its report goes into its record.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <preheat/train/options.hpp>
#include <preheat/train/report.hpp>

#include "catalogue.hpp"
#include "results.hpp"

namespace studies::common {

struct score {
  double loss = not_a_number;  // mean cross-entropy
  double accuracy = not_a_number;
};

// The same (base, seed) gives all methods the same start and the same batches; bases and seeds differ.
inline std::uint64_t seed_of(const run_definition& run) {
  return std::uint64_t(run.base) * 1000 + std::uint64_t(run.seed);
}

// What all methods of a study train with; `s` has the steps, s of ΔW = s·B·A and the warmup.
template <class Settings>
preheat::fit_options options_of(const Settings& s, const run_definition& run, rank_rule rank) {
  preheat::fit_options o;
  o.rank = rank(std::max(1, run.rank));
  o.steps = s.steps;
  o.seed = seed_of(run);
  o.scaling = preheat::scaling::constant(s.scaling);
  o.clamp_rank = true;
  o.schedule =
      preheat::schedule::linear{.warmup = preheat::index_t(std::lround(s.warmup * s.steps))};
  return o;
}

// A point of the validation curve.
inline void add_validation(run_outcome& result, int step, double loss) {
  result.curve.push_back({step, loss});
  result.best_validation_loss = std::fmin(result.best_validation_loss, loss);
}

// The mean of the training loss over consecutive parts of the run.
inline std::vector<curve_point> mean_losses(const std::vector<double>& losses, int points,
                                            int calibration_steps) {
  std::vector<curve_point> curve;
  const std::size_t n = losses.size();
  for (std::size_t k = 0; k < std::size_t(points) && n > 0; ++k) {
    const std::size_t begin = k * n / std::size_t(points);
    const std::size_t end = (k + 1) * n / std::size_t(points);
    if (end > begin) {
      curve.push_back(
          {calibration_steps + int(end), mean(std::span(losses).subspan(begin, end - begin))});
    }
  }
  return curve;
}

inline void put_scores(run_outcome& result, const score& validation, const score& test) {
  result.validation_loss = validation.loss;
  result.validation_accuracy = validation.accuracy;
  result.test_loss = test.loss;
  result.test_accuracy = test.accuracy;
}

// All that does not depend on the data: the end, counts, layers too small for the rank.
template <class Report>
void put_report(run_outcome& result, const Report& report) {
  result.status = preheat::to_string(report.status);
  result.trainable_parameters = long(report.trainable_parameters);
  result.calibration_steps = int(report.calibration_steps);
  for (const auto& layer : report.layers) {
    if (layer.clamped) {
      result.cut_layers += (result.cut_layers.empty() ? "" : ", ") + layer.name +
                           (layer.attached ? ": " + std::to_string(layer.rank) : std::string());
    }
  }
}

}  // namespace studies::common
