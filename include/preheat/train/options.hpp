// The settings of a training run, which are the same for every method. Settings of a policy
// (learning rate, momentum, preheating rank …) are members of the policy.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "../core/archive.hpp"
#include "../core/communicator.hpp"
#include "scaling.hpp"
#include "schedule.hpp"

namespace preheat {

// The argument of an observer, which is called after every step.
struct training_progress {
  const char* phase = "training";           // or "preheating", "calibration"
  index_t step = 0;                         // steps done in this phase
  index_t steps = 0;                        // steps this phase will take
  double loss = 0;                          // mean training loss of the step's batches
  double learning_rate = 0;                 // used by the step, before factors by role
  double seconds = 0;                       // since the phase began
  double eta_seconds = 0;                   // until the phase ends, at the same pace
  std::optional<double> validation_loss{};  // if the validation batch was evaluated after the step
};

struct fit_options {
  index_t rank = 8;
  index_t steps = 100;  // in all, including those of the calibration (HRP's preheating)
  std::uint64_t seed = 0;
  scaling_rule scaling{};  // default s = α/r_layer with α = 2·rank

  // Which layers get an adapter. Empty: all. An entry is a whole name, a suffix after a dot ("fc1"
  // means "encoder.fc1" too), or a pattern with * for any characters.
  std::vector<std::string> targets{};
  bool clamp_rank = false;  // a rank above min(out, in) of a layer is cut instead of refused

  std::function<double(index_t step, index_t total)> schedule = schedule::constant{};
  double max_gradient_norm = 0;  // of the whole network's gradient; 0: no clipping
  index_t accumulate = 1;        // batches averaged in a step
  double dropout = 0;            // on the adapter's input
  // Learning rate of the trained head of a network that has one; empty: the method's [preheat].
  std::optional<double> head_rate{};

  // Loss on the validation batch every so many steps (0: never); stop after `patience` evaluations
  // in a row without an improvement of more than `min_improvement` (0: never).
  index_t evaluate_every = 0;
  index_t patience = 0;
  double min_improvement = 0;

  std::function<void(const training_progress&)> observer{};  // called after every step
  const std::atomic<bool>* stop = nullptr;  // set it, from a signal handler too, to end early

  // `checkpoint` is called with the state of the run every so many steps (0: only at the end or
  // when stopped); `resume` is a state from which to continue. A resumed run ends with the same
  // bits as one that was never stopped.
  index_t checkpoint_every = 0;
  std::function<void(const training_state&)> checkpoint{};
  const training_state* resume = nullptr;
  // false: the W and b that a method changes are no part of the state, and who resumes brings a network
  // that has those of that moment (after a residual init W − s·B·A of the start).
  bool checkpoint_base = true;

  bool count_calibration_steps = true;  // false: calibration costs no steps (for experiments only)
  std::vector<double> layer_scaling{};  // s of every layer of the network, instead of `scaling`
  std::vector<index_t> layer_ranks{};   // likewise the rank, instead of `rank`
  const char* phase = "training";       // training_progress::phase

  // The processes that train together: a communicator, with the same settings and the same network
  // in every process. Each process loads its part of every batch, and the result equals that of a
  // single process up to rounding. Only process 0 calls the observer and writes checkpoints; all
  // processes end when `stop` is set in one.
  process_group processes{};
};

// The settings as this process applies them: only process 0 has an observer and checkpoints.
template <class = void>  // (core/error.hpp says why)
[[gnu::cold]] fit_options for_this_process(const fit_options& of_all) {
  fit_options options = of_all;
  if (!options.processes.first()) {
    options.observer = nullptr;
    options.checkpoint = nullptr;
  }
  return options;
}

// Calls the observer, if there is one: `step` of `steps` steps are done after `seconds`.
template <class = void>
void report_progress(const fit_options& options, index_t step, index_t steps, double loss,
                     double rate, double seconds, std::optional<double> validation_loss) {
  if (options.observer) {
    options.observer({.phase = options.phase,
                      .step = step,
                      .steps = steps,
                      .loss = loss,
                      .learning_rate = rate,
                      .seconds = seconds,
                      .eta_seconds = seconds / double(step) * double(steps - step),
                      .validation_loss = validation_loss});
  }
}

// Whether the run should end because `stop` is set in some process. Every process must call it.
inline bool stop_requested(const fit_options& options) {
  return options.processes.any(options.stop != nullptr && options.stop->load());
}

namespace detail {
// Shell-like: * stands for any characters, everything else for itself.
inline bool matches_pattern(const char* name, const char* pattern) {
  if (*pattern == '\0') {
    return *name == '\0';
  }
  if (*pattern == '*') {
    return matches_pattern(name, pattern + 1) ||
           (*name != '\0' && matches_pattern(name + 1, pattern));
  }
  return *name == *pattern && matches_pattern(name + 1, pattern + 1);
}
}  // namespace detail

// Whether some target matches a layer's name; an empty list matches every layer.
template <class = void>
[[gnu::cold]] bool matches_target(const std::string& name,
                                  const std::vector<std::string>& targets) {
  for (const std::string& target : targets) {
    const bool suffix = name.size() > target.size() && name.ends_with(target) &&
                        name[name.size() - target.size() - 1] == '.';
    if (suffix || detail::matches_pattern(name.c_str(), target.c_str())) {
      return true;
    }
  }
  return targets.empty();
}

}  // namespace preheat
